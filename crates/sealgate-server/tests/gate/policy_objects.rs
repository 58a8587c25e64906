//! Reviews of policy objects: few at a time, and bounded; policies of the folder that exceed a
//! limit.

use sealgate_server::listener::limits::Limits;
use sealgate_server::webhook::policy_objects::PolicyReviews;
use serde_json::{Value, json};

use crate::fixture::{GateFixture, gate, gate_with, policy};

fn review(spec: &Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": { "group": "policy.sigstore.dev", "version": "v1beta1", "kind": "ClusterImagePolicy" },
            "resource": { "group": "policy.sigstore.dev", "version": "v1beta1", "resource": "clusterimagepolicies" },
            "operation": "CREATE",
            "userInfo": {},
            "object": {
                "apiVersion": "policy.sigstore.dev/v1beta1",
                "kind": "ClusterImagePolicy",
                "metadata": { "name": "p" },
                "spec": spec,
            },
        },
    })
    .to_string()
}

fn with_subjects(subjects: impl Iterator<Item = String>) -> Value {
    let identities: Vec<_> =
        subjects.map(|subject| json!({ "issuer": "i", "subjectRegExp": subject })).collect();
    let authority = json!({ "keyless": { "url": "https://f", "identities": identities } });
    json!({ "images": [{ "glob": "**" }], "authorities": [authority] })
}

async fn answer(gate: &GateFixture, path: &str, spec: &Value) -> Value {
    let (status, text) = gate.post(path, review(spec)).await;
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["response"]["uid"], "u-1");
    answer["response"].clone()
}

#[tokio::test]
async fn a_review_that_does_not_get_its_turn_is_denied_as_busy() {
    let files = |key: &_| vec![("signed.yaml", policy("signed", "**", key))];
    let gate = gate_with(files, PolicyReviews::new(0, 0), Limits::default());
    let digest = gate.push("good");
    gate.sign("good", &digest).await;
    gate.ready().await;
    let spec = with_subjects(std::iter::once("^s$".to_owned()));
    for path in ["/validate-policies", "/default-policies"] {
        let response = answer(&gate, path, &spec).await;
        assert_eq!(response["allowed"], false);
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.ends_with("too many policies at once; try again"), "{message}");
    }
    let conversion = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "ConversionReview",
        "request": { "uid": "u-1", "desiredAPIVersion": "policy.sigstore.dev/v1beta1", "objects": [] },
    });
    let (status, _) = gate.post("/resource-conversion", conversion.to_string()).await;
    assert_eq!(status, 503);
    // Workloads are none of it.
    assert_eq!(gate.denial("good", &digest).await, "");
    let (_, page) = gate.get("/metrics").await;
    let busy = page.lines().filter(|line| line.contains("reason=\"busy\""));
    assert_eq!(busy.count(), 3, "{page}");
}

#[tokio::test]
async fn costly_policies_are_denied_and_others_get_their_turn() {
    let gate = gate(|key| vec![("signed.yaml", policy("signed", "**", key))]);
    gate.ready().await;
    let costly = with_subjects((0..900).map(|n| format!(r"^\pL{{10}}{n}$")));
    let good = with_subjects((0..3).map(|n| format!("^https://s{n}$")));
    let (costly, good) = tokio::join!(
        futures::future::join_all((0..8).map(|_| answer(&gate, "/validate-policies", &costly))),
        futures::future::join_all((0..8).map(|_| answer(&gate, "/validate-policies", &good))),
    );
    for response in costly {
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains("regular expressions of the policy are too large"), "{message}");
        assert!(message.contains("spec.authorities[0].keyless.identities["), "{message}");
    }
    assert!(good.iter().all(|response| response["allowed"] == true), "{good:?}");
}

/// A file that exceeds a limit is a problem that names the field, as any invalid policy.
#[tokio::test]
async fn a_file_that_exceeds_a_limit_is_a_problem() {
    let gate = gate(|key| vec![("signed.yaml", policy("signed", "**", key))]);
    gate.ready().await;
    let globs = "  - glob: \"a/**\"\n".repeat(1_001);
    let large = format!(
        "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  \
         name: large\nspec:\n  authorities:\n  - static: {{action: pass}}\n  images:\n{globs}"
    );
    gate.file("large.yaml", Some(&large));
    let problem = "more than 1000 entries: spec.images";
    gate.until("/readyz", |_, text| text.contains(problem)).await;
}
