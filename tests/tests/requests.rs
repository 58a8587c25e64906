//! How often the registry is asked.

use sealgate_tests::proxy::CountingProxy;
use sealgate_tests::registries;

use crate::support::{FORMATS, Format, Tool, sandbox_with_key};

#[test]
fn verifying_a_bundle_takes_five_requests_at_most() {
    let sandbox = sandbox_with_key();
    for registry in registries::all() {
        let image = registry.image("requests-verify");
        Tool::Cosign.sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
        let proxy = CountingProxy::start(&registry.host).unwrap();
        for reference in [image.at(&proxy.host).by_tag(), image.at(&proxy.host).by_digest()] {
            Tool::Sealgate.verify(&sandbox, "cosign", &reference, &[]).ok();
            let asked = proxy.take();
            assert!(asked.len() <= 5, "{} requests: {asked:#?}", asked.len());
        }
    }
}

#[test]
fn nothing_is_fetched_twice() {
    let sandbox = sandbox_with_key();
    for registry in registries::all() {
        let image = registry.image("requests-twice");
        for format in FORMATS {
            Tool::Cosign.sign(&sandbox, format, "cosign", &image.by_digest(), &[]).ok();
        }
        let proxy = CountingProxy::start(&registry.host).unwrap();
        let reference = image.at(&proxy.host).by_tag();
        Tool::Sealgate.verify(&sandbox, "cosign", &reference, &[]).ok();
        let mut asked = proxy.take();
        let all = asked.clone();
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), all.len(), "{all:#?}");
    }
}
