//! Policies that cost the gate far more to read than their authors to write.

use serde_json::{Value, json};

use super::reviews;

/// Expressions of one policy: the review has 161 KiB.
const EXPRESSIONS: usize = 3_000;
/// Patterns of one policy: the review has 0.8 MiB.
const GLOBS: usize = 40_000;

/// Review of a policy with 3,000 subject expressions, each of which compiles to megabytes.
pub fn expressions() -> String {
    let identity = json!({ "issuer": "https://a", "subjectRegExp": r"(\pL{30}){20}" });
    let identities = vec![identity; EXPRESSIONS];
    let keyless = json!({ "url": "https://fulcio.example", "identities": identities });
    review(&json!({ "images": [{ "glob": "**" }], "authorities": [{ "keyless": keyless }] }))
}

/// Review of a policy with 40,000 image patterns.
pub fn globs() -> String {
    let glob = |number| json!({ "glob": format!("a/{number}/*") });
    let globs: Vec<Value> = (0..GLOBS).map(glob).collect();
    review(&json!({ "images": globs, "authorities": [{ "static": { "action": "pass" } }] }))
}

fn review(spec: &Value) -> String {
    let object = json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "costly" },
        "spec": spec,
    });
    let kind = ["policy.sigstore.dev", "v1beta1", "ClusterImagePolicy", "clusterimagepolicies"];
    reviews::creation(kind, "", &object)
}
