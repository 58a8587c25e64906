//! A process without file descriptors: apart from the other tests, which need some.

use std::fs::File;

use rustix::process::{Resource, Rlimit, setrlimit};
use sealgate_core::fault::FaultKind;
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::ports::RegistryRead;
use sealgate_registry::serve::{self, Failure, Rule, Served};
use sealgate_registry::{Client, Options, Proxies, Retries};

/// The registry is not blamed, and may be retried afterwards as often as before.
#[tokio::test]
async fn a_process_without_descriptors_is_busy_and_spends_no_retry_budget() {
    let served = Served::start(serve::Options::default()).await.unwrap();
    let repository = Repository::parse(&format!("{}/a/b", served.registry())).unwrap();
    let retries = Retries { budget: 1, ..Retries::default() };
    let options = Options { proxies: Proxies::Off, retries, ..Options::default() };
    let client = Client::new(options).unwrap();
    let ask = async || client.manifest(&repository, &Identifier::Tag("v1".to_owned())).await;

    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    for _ in 0..20 {
        let fault = ask().await.unwrap_err();
        assert_eq!((fault.kind, fault.target.as_str()), (FaultKind::Busy, "this process"));
    }
    drop(files);
    served.inject(Rule::times("/v2/", 1, Failure::Status(503)));
    assert!(ask().await.unwrap().is_none());
}
