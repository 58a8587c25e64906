//! A gate with `--client-ca`, and an API server that presents a client certificate to it.

use sealgate_tests::certificates::{self, Authority};
use sealgate_tests::cluster::Cluster;
use sealgate_tests::gate::{Gate, GateOptions, Installation};
use sealgate_tests::programs::Sandbox;
use serde_json::json;

use super::{DENIED, Scenario};

const CLIENT: &str = "kube-apiserver";

/// Gate that answers reviews of its API server only.
fn gate() -> &'static Installation<'static> {
    let sandbox = Sandbox::new();
    let authority = Authority::new("tests webhook client ca").unwrap();
    let client = authority.issue(&sandbox.path(""), CLIENT).unwrap();
    let ca = sandbox.write("client-ca.pem", &authority.pem);
    let cluster = Box::leak(Box::new(Cluster::start_presenting("clients", &client).unwrap()));
    // The API server reads the files of its certificate at each connection.
    Box::leak(Box::new(sandbox));
    let arguments = [&format!("--client-ca={}", ca.display()), "--client-name", CLIENT];
    let setting =
        GateOptions { arguments: arguments.map(str::to_owned).to_vec(), ..GateOptions::default() };
    Box::leak(Box::new(Installation::start_with("clients", cluster, &setting).unwrap()))
}

/// The value of a metric without labels, or the sum over its labels.
fn metric(gate: &Gate, name: &str) -> u64 {
    let page = gate.get("/metrics").unwrap().text();
    let values = page.lines().filter(|line| line.starts_with(name));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// C12 of the field report: anyone in the cluster could ask for reviews as the API server.
#[test]
fn reviews_are_answered_for_the_api_server_only() {
    let scenario = Scenario::bare_at(gate(), "clients");
    let policy = scenario.policy(&json!({ "authorities": [scenario.key_authority("cosign")] }));
    scenario.apply_strict(&policy);
    scenario.run("signed", &scenario.signed("signed").by_tag()).ok();
    let unsigned = scenario.image("unsigned");
    scenario.run("unsigned", &unsigned.by_tag()).fails_with(DENIED);
    scenario.gate.replicas(|replicas| replicas.iter().for_each(|gate| refuses(gate, &scenario)));
    // The API server is still served.
    scenario.run("unsigned", &unsigned.by_tag()).fails_with(DENIED);
}

/// A caller without a certificate gets 403 from every webhook, and leaves no trace of a decision.
fn refuses(gate: &Gate, scenario: &Scenario) {
    let pod = scenario.pod("direct", &scenario.image("unsigned").by_tag()).to_string();
    let (records, decisions) = (gate.records().count(), metric(gate, "sealgate_admissions_total"));
    for path in ["/validate", "/mutate", "/validate-policies", "/default-policies"] {
        let answer = certificates::request(gate.port, "POST", path, pod.as_bytes()).unwrap();
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
        assert!(answer.text().contains("client"), "{}", answer.text());
    }
    assert_eq!(gate.get("/healthz").unwrap().status, 200);
    assert_eq!(metric(gate, "sealgate_unauthenticated_requests_total"), 4);
    assert_eq!(metric(gate, "sealgate_admissions_total"), decisions);
    assert_eq!(gate.records().count(), records);
    assert!(!gate.log().contains("name=direct"), "no decision is logged");
}
