use super::*;

#[test]
fn both_forms_of_registry_credentials_are_found() {
    let data = |key: &str| BTreeMap::from([(key.to_owned(), b"{}".to_vec())]);
    assert!(docker_config(data(".dockerconfigjson")).is_some());
    assert!(docker_config(data(".dockercfg")).is_some());
    assert!(docker_config(data("password")).is_none());
}

#[test]
fn refusals_of_the_api_server_have_kinds() {
    let table = [
        (401, FaultKind::Unauthorized),
        (403, FaultKind::Denied),
        (404, FaultKind::Missing),
        (409, FaultKind::Config),
        (429, FaultKind::Throttled),
        (500, FaultKind::ServerError),
        (503, FaultKind::ServerError),
        (504, FaultKind::Timeout),
    ];
    for (code, kind) in table {
        assert_eq!(status_kind(code), kind, "{code}");
    }
    let status = kube::core::Status::failure("no\nway", "Forbidden").with_code(403);
    let fault = fault("secret a/b", &kube::Error::Api(status.boxed()));
    assert_eq!(fault.to_string(), "secret a/b: no way (denied)");
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_is_a_configuration_fault() {
    let missing = Connect { kubeconfig: Some("/does/not/exist".into()), ..Connect::default() };
    let fault = connect(&missing).await.err().expect("cannot connect");
    assert_eq!(fault.kind, FaultKind::Config);
    assert_eq!(fault.target, "/does/not/exist");
}

/// `imagePullSecrets` and `serviceAccountName` are a stranger's words, and the client puts them
/// into a URL as they are.
#[tokio::test]
async fn names_that_nothing_has_are_not_asked_for() {
    struct Frozen;
    impl Clock for Frozen {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }
    }
    // Nobody listens there: whoever asks gets a fault.
    let config = Config::new("http://127.0.0.1:9/".parse().expect("is a URL"));
    let client = Client::try_from(config).expect("is a configuration");
    let secrets = ClusterSecrets::new(client, PullSecretRights::Cluster, Arc::new(Frozen));
    for name in [
        "../../other/secrets/theirs",
        "..",
        "a/b",
        "a?watch=true",
        "a#b",
        "a%2fb",
        "A",
        "-a",
        "a-",
        "a..b",
        ".a",
        "a\n",
        "é",
        &"a".repeat(254),
    ] {
        assert_eq!(secrets.secret("shop", name).await, Ok(None), "{name}");
        let found = secrets.pull_secrets("shop", name, &[name.to_owned()]).await;
        assert_eq!(found, Ok(Vec::new()), "{name}");
        assert_eq!(secrets.secret(name, "good").await, Ok(None), "{name}");
    }
    for name in ["a", "my-secret.v1", "0"] {
        assert!(secrets.secret("shop", name).await.is_err(), "{name}");
        assert!(secrets.pull_secrets("shop", name, &[]).await.is_err(), "{name}");
    }
}
