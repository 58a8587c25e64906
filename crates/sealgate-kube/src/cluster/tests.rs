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

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
}

/// Secrets of an unreachable cluster: every read is a fault.
fn unreachable() -> ClusterSecrets {
    let config = Config::new("http://127.0.0.1:9/".parse().expect("is a URL"));
    let client = Client::try_from(config).expect("is a configuration");
    ClusterSecrets::new(client, PullSecretRights::Cluster, Arc::new(Frozen))
}

#[tokio::test]
async fn the_secrets_of_one_pod_are_bounded_together() {
    let secrets = unreachable();
    let names: Vec<String> = (0..70).map(|number| number.to_string()).collect();
    for name in &names {
        let docker_config_json = vec![b' '; 16 << 10];
        secrets.cache.keep_secret("shop", name, Some(PullSecret { docker_config_json }));
    }
    let few = secrets.pull_secrets("shop", "", &names[..64]).await.expect("a megabyte");
    assert_eq!(few.len(), 64);
    let fault = secrets.pull_secrets("shop", "", &names).await.expect_err("too much");
    assert_eq!(fault.kind, FaultKind::TooLarge);
}

/// `imagePullSecrets` and `serviceAccountName` are untrusted, and the client puts them into a URL
/// unescaped.
#[tokio::test]
async fn invalid_object_names_are_not_requested() {
    let secrets = unreachable();
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

#[test]
fn only_what_can_be_scaled_is_read() {
    let scope = |group: &str, resource: &str, name: &str| Scope {
        group: group.to_owned(),
        resource: resource.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        ..Scope::default()
    };
    let path = |group, resource, name| workload_path(&scope(group, resource, name));
    assert_eq!(
        path("apps", "deployments", "web").as_deref(),
        Some("/apis/apps/v1/namespaces/shop/deployments/web")
    );
    assert_eq!(
        path("", "replicationcontrollers", "web").as_deref(),
        Some("/api/v1/namespaces/shop/replicationcontrollers/web")
    );
    for (group, resource, name) in [
        ("", "secrets", "web"),
        ("apps", "secrets", "web"),
        ("apps", "deployments", "../../other/deployments/web"),
        ("apps", "deployments", "web?x=1"),
        ("apps", "deployments", ""),
    ] {
        assert_eq!(path(group, resource, name), None, "{group}/{resource}/{name}");
    }
}
