//! Reviews and their answers.

use std::time::{Duration, Instant};

use base64::Engine as _;
use sealgate_server::listener::limits::Limits;
use sealgate_server::webhook::policy_objects::PolicyReviews;
use sealgate_testkit::registry::Request;
use serde_json::{Value, json};

use crate::fixture::{GateFixture, gate, gate_with, policy, review};

fn gate_with_policy() -> GateFixture {
    gate(|key| vec![("signed.yaml", policy("signed", "**", key))])
}

#[tokio::test]
async fn signed_images_are_admitted_and_others_denied() {
    let gate = gate_with_policy();
    let (good, bad) = (gate.push("good"), gate.push("bad"));
    gate.sign("good", &good).await;
    gate.ready().await;
    assert_eq!(gate.denial("good", &good).await, "");
    let denial = gate.denial("bad", &bad).await;
    let start = "validation failed: failed policy: signed: spec.containers[0].image\n";
    assert!(denial.starts_with(start), "{denial}");
    assert!(denial.contains("no signatures found"), "{denial}");
}

#[tokio::test]
async fn a_tag_is_replaced_by_what_it_points_to() {
    let gate = gate_with_policy();
    let digest = gate.push("good");
    gate.ready().await;
    let response = gate.pod("/mutate", "registry.test/good:v1").await;
    let patch = base64::engine::general_purpose::STANDARD
        .decode(response["patch"].as_str().unwrap())
        .unwrap();
    let patch: Value = serde_json::from_slice(&patch).unwrap();
    assert_eq!(patch[1]["value"], format!("registry.test/good:v1@{digest}"));
    assert_eq!(patch[1]["path"], "/spec/containers/0/image");
}

#[tokio::test]
async fn a_second_review_is_answered_from_the_cache_and_counted() {
    let gate = gate_with_policy();
    let digest = gate.push("good");
    gate.sign("good", &digest).await;
    gate.ready().await;
    gate.registry.take_count();
    gate.denial("good", &digest).await;
    let asked = gate.registry.take_count();
    assert!((1..=3).contains(&asked), "{asked}");
    assert_eq!(gate.denial("good", &digest).await, "");
    assert_eq!(gate.registry.take_count(), 0);
    let (_, page) = gate.get("/metrics").await;
    for line in [
        "sealgate_verdict_cache_hits_total 1",
        "sealgate_verdict_cache_misses_total 1",
        "sealgate_policies 1",
        "sealgate_ready 1",
        "policy_controller_validations_total{result=\"allow\"} 2",
        "policy_controller_validations_total{result=\"deny\"} 0",
        "sealgate_images_total{verdict=\"pass\"} 2",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
    let calls = page.lines().filter(|line| line.starts_with("sealgate_registry_calls_total"));
    let calls: usize =
        calls.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!(calls, asked);
}

#[tokio::test]
async fn a_slow_registry_is_named_before_the_api_server_gives_up() {
    let gate = gate_with_policy();
    let digest = gate.push("good");
    gate.sign("good", &digest).await;
    gate.ready().await;
    gate.registry.delay(Request::Referrers, "", usize::MAX, Duration::from_secs(30));
    let start = Instant::now();
    let image = format!("registry.test/good@{digest}");
    let response = gate.pod("/validate?timeout=2s", &image).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("registry.test") && message.contains("unreachable"), "{message}");
}

/// With as many evaluations in progress as there may be, the longest-running one is denied.
#[tokio::test]
async fn a_review_that_is_given_up_for_a_new_one_is_denied_with_a_reason() {
    let files = |key: &_| vec![("signed.yaml", policy("signed", "**", key))];
    let gate =
        gate_with(files, PolicyReviews::default(), Limits { requests: 1, ..Limits::default() });
    let digest = gate.push("slow");
    gate.ready().await;
    gate.registry.delay(Request::Referrers, "", 1, Duration::from_secs(30));
    let image = format!("registry.test/slow@{digest}");
    let new = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.post("/validate", "no review").await.0
    };
    let (response, new) = tokio::join!(gate.pod("/validate", &image), new);
    assert_eq!(new, 400);
    assert_eq!((&response["allowed"], &response["uid"]), (&json!(false), &json!("u-1")));
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("too many requests at once"), "{message}");
    let (_, page) = gate.get("/metrics").await;
    assert!(page.contains("allowed=\"false\",dry_run=\"false\",reason=\"busy\"} 1"), "{page}");
}

#[tokio::test]
async fn a_body_that_is_no_review_is_refused() {
    let gate = gate_with_policy();
    gate.ready().await;
    for body in ["", "{", "[]", "null", "{\"kind\":\"AdmissionReview\"}", "\u{0}"] {
        let (status, text) = gate.post("/validate", body).await;
        assert_eq!(status, 400, "{body}: {text}");
    }
    let mut strange = review("registry.test/good:v1");
    strange["request"]["kind"]["kind"] = json!("Widget");
    strange["request"]["object"]["kind"] = json!("Widget");
    let mut broken = review("registry.test/good:v1");
    broken["request"]["object"]["spec"]["containers"] = json!("not a list");
    let mut nameless = review("registry.test/good:v1");
    nameless["request"]["object"] = Value::Null;
    for review in [strange, broken, nameless] {
        for path in ["/validate", "/mutate"] {
            let (status, text) = gate.post(path, review.to_string()).await;
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((status, &answer["response"]["allowed"]), (200, &json!(false)), "{text}");
            assert_eq!(answer["response"]["uid"], "u-1");
        }
    }
}

#[tokio::test]
async fn policies_are_reviewed_themselves() {
    let gate = gate_with_policy();
    gate.ready().await;
    let mut review = review("");
    review["request"]["kind"] = json!({ "group": "policy.sigstore.dev", "version": "v1beta1", "kind": "ClusterImagePolicy" });
    review["request"]["object"] = json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "p" },
        "spec": { "images": [{ "glob": "**" }] },
    });
    let (_, text) = gate.post("/validate-policies", review.to_string()).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["response"]["allowed"], false);
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert_eq!(message, "validation failed: missing field(s): spec.authorities");
    review["request"]["object"]["spec"]["authorities"] =
        json!([{ "static": { "action": "pass" } }]);
    let (_, text) = gate.post("/validate-policies", review.to_string()).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["response"]["allowed"], true);
    let (_, text) = gate.post("/default-policies", review.to_string()).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert!(answer["response"]["patch"].is_string(), "{text}");
}

/// A restart starts nothing that is not judged by itself: it is let in by a gate that has no
/// policies yet, too, as an update that changes nothing is.
#[tokio::test]
async fn a_restart_is_allowed_by_a_gate_that_is_not_ready() {
    let gate = gate(|_| vec![("broken.yaml", "not: a policy".to_owned())]);
    let deployment = |annotation: &str| {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "web", "namespace": "default" },
            "spec": { "template": {
                "metadata": { "annotations": { "restarted": annotation } },
                "spec": { "containers": [{ "name": "c", "image": "registry.test/good:v1" }] },
            } },
        })
    };
    let mut review = review("registry.test/good:v1");
    let request = &mut review["request"];
    request["kind"] = json!({ "group": "apps", "version": "v1", "kind": "Deployment" });
    request["resource"] = json!({ "group": "apps", "version": "v1", "resource": "deployments" });
    request["operation"] = json!("UPDATE");
    request["oldObject"] = deployment("before");
    request["object"] = deployment("now");
    let (_, text) = gate.post("/validate", review.to_string()).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["response"]["allowed"], true, "{text}");
    review["request"]["object"]["spec"]["template"]["spec"]["containers"][0]["image"] =
        json!("registry.test/other:v1");
    let (_, text) = gate.post("/validate", review.to_string()).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["response"]["allowed"], false, "{text}");
}
