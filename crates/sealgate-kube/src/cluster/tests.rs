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
