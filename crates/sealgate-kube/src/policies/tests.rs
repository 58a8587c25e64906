use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::verify::RootSource;
use sealgate_policy::cip::compile::RootRef;
use sealgate_policy::cip::trust_root::Keys;
use std::sync::Arc;

use super::*;

fn policy(spec: Value) -> Value {
    json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "p" },
        "spec": spec,
    })
}

fn static_pass() -> Value {
    json!({ "images": [{ "glob": "**" }], "authorities": [{ "static": { "action": "pass" } }] })
}

fn review(operation: &str, object: Value, old: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": { "group": "policy.sigstore.dev", "version": "v1beta1", "kind": "ClusterImagePolicy" },
            "resource": { "group": "policy.sigstore.dev", "version": "v1beta1", "resource": "clusterimagepolicies" },
            "operation": operation,
            "userInfo": {},
            "object": object,
            "oldObject": old,
        },
    })
}

fn validate_response(review: &Value) -> Value {
    response(validate_with(review.to_string().as_bytes(), PolicySource::Cluster))
}

fn validate_with(body: &[u8], source: PolicySource) -> Result<Reviewed, Malformed> {
    let roots = |which: &RootRef| match which {
        RootRef::Named(name) if name == "ours" => {
            let log = json!({ "baseURL": "https://rekor.example", "hashAlgorithm": "sha-256",
                "publicKey": STANDARD.encode(PEM) });
            let keys: Keys = serde_json::from_value(json!({ "tLogs": [log] })).expect("keys");
            Ok((Arc::new(keys.trust_root().expect("a root")), RootSource::Configured))
        }
        _ => Err(Fault::new(FaultKind::Missing, "trust root", "there is none")),
    };
    validated(body, &Validation { context: &Context::default(), roots: &roots, source })
}

/// A P-256 public key.
const PEM: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
";

/// policy-controller's own pair of policy and TrustRoot differs in the scheme, and works there.
#[test]
fn the_trust_root_decides_which_log_counts_and_a_difference_is_told() {
    for (url, reference, told) in [
        ("http://rekor.example", "ours", true),
        ("https://rekor.example/", "ours", false),
        ("https://rekor.example", "elsewhere", false),
    ] {
        let ctlog = json!({ "url": url, "trustRootRef": reference });
        let authority = json!({ "key": { "data": PEM }, "ctlog": ctlog });
        let spec = json!({ "images": [{ "glob": "**" }], "authorities": [authority] });
        let response = validate_response(&review("CREATE", policy(spec), Value::Null));
        assert_eq!(response["allowed"], true, "{response}");
        let warning = "http://rekor.example is not a log of TrustRoot ours; its logs are trusted instead: \
                       https://rekor.example: spec.authorities[0].ctlog.url";
        let expected = if told { json!([warning]) } else { Value::Null };
        assert_eq!(response["warnings"], expected, "{url} {reference}");
    }
}

#[test]
fn a_gate_on_a_folder_says_that_the_object_has_no_effect() {
    let warned = |review: &Value| {
        let answer = validate_with(review.to_string().as_bytes(), PolicySource::Folder);
        response(answer)["warnings"].clone()
    };
    let create = review("CREATE", policy(static_pass()), Value::Null);
    assert_eq!(warned(&create), json!([NO_EFFECT]));
    let mut spec = static_pass();
    spec["mode"] = json!("garbage");
    assert_eq!(warned(&review("CREATE", policy(spec), Value::Null)), json!([NO_EFFECT]));
    assert_eq!(validate_response(&create)["warnings"], Value::Null);
    assert!(NO_EFFECT.len() < 200, "kubectl cuts warnings at 256 bytes");
    // It comes first, whatever else is to be said.
    let mut spec = static_pass();
    spec["match"] = json!([{}]);
    spec["images"] =
        json!((0..40).map(|n| json!({ "glob": format!("a{n}.io*") })).collect::<Vec<_>>());
    let many = warned(&review("CREATE", policy(spec), Value::Null));
    assert_eq!(many[0], NO_EFFECT);
    assert!(many.as_array().is_some_and(|lines| lines.len() > 2), "{many}");
}

fn default_response(review: &Value) -> Value {
    response(defaulted(review.to_string().as_bytes()))
}

fn response(answer: Result<Reviewed, Malformed>) -> Value {
    let reviewed = answer.expect("reads");
    let value: Value = serde_json::from_slice(&reviewed.body).expect("JSON");
    assert_eq!(value["response"]["uid"], "u-1");
    assert_eq!(value["response"]["allowed"], reviewed.allowed);
    assert_eq!(reviewed.scope.resource, "clusterimagepolicies");
    value["response"].clone()
}

fn message(response: &Value) -> &str {
    assert_eq!(response["allowed"], false, "{response}");
    response["status"]["message"].as_str().expect("text")
}

#[test]
fn a_good_policy_is_taken_and_a_bad_one_refused_in_the_peers_words() {
    let good = validate_response(&review("CREATE", policy(static_pass()), Value::Null));
    assert_eq!(good["allowed"], true, "{good}");
    let mut spec = static_pass();
    spec["mode"] = json!("garbage");
    let bad = validate_response(&review("UPDATE", policy(spec), policy(static_pass())));
    assert_eq!(
        message(&bad),
        "validation failed: invalid value: garbage: spec.mode\nunsupported mode"
    );
    assert_eq!(bad["status"]["reason"], "BadRequest");
}

#[test]
fn advice_is_one_line_that_begins_with_the_reason() {
    let spec = json!({
        "images": [{ "glob": "**" }],
        "match": [{}],
        "authorities": [{ "keyless": {
            "url": "https://fulcio.example.com",
            "identities": [{ "issuer": "https://issuer.example.com", "subjectRegExp": "me" }],
        } }],
    });
    let response = validate_response(&review("CREATE", policy(spec), Value::Null));
    assert_eq!(response["allowed"], true, "{response}");
    assert_eq!(
        response["warnings"],
        json!([
            "an empty entry matches every object: spec.match[0]",
            "the regular expression is not anchored: it also matches longer texts; write ^...$: \
             spec.authorities[0].keyless.identities[0].subjectRegExp: me",
        ])
    );
}

#[test]
fn a_field_that_nobody_knows_is_refused_by_both() {
    let mut spec = static_pass();
    spec["modus"] = json!("warn");
    let create = review("CREATE", policy(spec), Value::Null);
    for response in [validate_response(&create), default_response(&create)] {
        let text = message(&response);
        assert!(text.starts_with("decoding request failed: "), "{text}");
        assert!(text.contains("unknown field \"modus\""), "{text}");
    }
}

#[test]
fn defaults_become_a_patch() {
    let response = default_response(&review("CREATE", policy(static_pass()), Value::Null));
    assert_eq!(response["allowed"], true);
    let patch = STANDARD.decode(response["patch"].as_str().expect("text")).expect("base64");
    let patch: Value = serde_json::from_slice(&patch).expect("JSON");
    let expected = json!([
        { "op": "add", "path": "/spec/mode", "value": "enforce" },
        { "op": "add", "path": "/spec/authorities/0/name", "value": "authority-0" },
    ]);
    assert_eq!(patch, expected);
}

#[test]
fn a_write_of_metadata_leaves_the_spec_as_it_is() {
    let stored = policy(static_pass());
    let mut new = stored.clone();
    new["metadata"]["finalizers"] = json!([]);
    let response = default_response(&review("UPDATE", new.clone(), stored.clone()));
    assert_eq!(response["allowed"], true);
    assert!(response.get("patch").is_none(), "{response}");
    new["spec"]["images"] = json!([{ "glob": "a/**" }]);
    let response = default_response(&review("UPDATE", new, stored));
    assert!(response.get("patch").is_some(), "{response}");
}

#[test]
fn a_policy_with_all_its_defaults_gets_no_patch() {
    let spec = json!({
        "mode": "warn",
        "images": [{ "glob": "**" }],
        "authorities": [{ "name": "a", "static": { "action": "pass" } }],
    });
    let response = default_response(&review("CREATE", policy(spec), Value::Null));
    assert_eq!(response, json!({ "uid": "u-1", "allowed": true }));
}

#[test]
fn a_generated_name_is_a_name() {
    let mut object = policy(static_pass());
    object["metadata"] = json!({ "generateName": "p-" });
    let response = default_response(&review("CREATE", object.clone(), Value::Null));
    assert_eq!(response["allowed"], true, "{response}");
    object["metadata"] = json!({});
    message(&default_response(&review("CREATE", object, Value::Null)));
}

#[test]
fn status_deletion_and_what_is_going_away_are_not_judged() {
    let bad = || policy(json!({}));
    let mut status = review("UPDATE", bad(), bad());
    status["request"]["subResource"] = json!("status");
    let mut dying = bad();
    dying["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for review in [status, review("DELETE", Value::Null, bad()), review("UPDATE", bad(), dying)] {
        assert_eq!(validate_response(&review)["allowed"], true, "{review}");
        assert_eq!(default_response(&review)["allowed"], true, "{review}");
    }
    message(&validate_response(&review("UPDATE", bad(), bad())));
}

#[test]
fn another_kind_is_malformed() {
    let mut other = review("CREATE", policy(static_pass()), Value::Null);
    other["request"]["kind"]["kind"] = json!("TrustRoots");
    let error =
        validate_with(other.to_string().as_bytes(), PolicySource::Cluster).expect_err("other");
    assert_eq!(error.uid.as_deref(), Some("u-1"));
    // The review says a trust root, the object is a policy.
    other["request"]["kind"]["kind"] = json!("TrustRoot");
    assert!(message(&validate_response(&other)).starts_with("decoding request failed: "));
}

fn trust_root(spec: Value) -> Value {
    let mut review = review("CREATE", Value::Null, Value::Null);
    review["request"]["kind"] =
        json!({ "group": "policy.sigstore.dev", "version": "v1alpha1", "kind": "TrustRoot" });
    review["request"]["object"] = json!({
        "apiVersion": "policy.sigstore.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": { "name": "t" },
        "spec": spec,
    });
    review
}

#[test]
fn trust_roots_are_validated_and_get_their_defaults() {
    let root = STANDARD.encode(json!({ "signed": {}, "signatures": [{}] }).to_string());
    let remote = json!({ "remote": { "root": root, "mirror": "https://tuf.example" } });
    let good = trust_root(remote.clone());
    assert_eq!(validate_response(&good)["allowed"], true);
    let patch = default_response(&good)["patch"].as_str().map(|text| STANDARD.decode(text));
    let patch: Value = serde_json::from_slice(&patch.expect("a patch").unwrap()).expect("JSON");
    let expected = json!([
        { "op": "add", "path": "/spec/remote/targets", "value": "targets" },
        { "op": "add", "path": "/spec/remote/trustedRootTarget", "value": "trusted_root.json" },
    ]);
    assert_eq!(patch, expected);
    let mut both = remote;
    both["sigstoreKeys"] = json!({ "tLogs": [{}] });
    for (spec, text) in [
        (json!({}), "got neither: spec.remote, spec.repository, spec.sigstoreKeys"),
        (both, "got both: spec.remote, spec.repository, spec.sigstoreKeys"),
    ] {
        let response = validate_response(&trust_root(spec));
        let message = message(&response);
        assert!(message.starts_with("validation failed: ") && message.contains(text), "{message}");
    }
    let unknown = trust_root(json!({ "remotes": {} }));
    for response in [validate_response(&unknown), default_response(&unknown)] {
        assert!(message(&response).starts_with("decoding request failed: "), "{response}");
    }
}

fn conversion(to: &str, objects: Value) -> Value {
    let review = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "ConversionReview",
        "request": { "uid": "u-1", "desiredAPIVersion": to, "objects": objects },
    });
    let answer = converted(review.to_string().as_bytes()).expect("reads");
    serde_json::from_slice::<Value>(&answer).expect("JSON")["response"].clone()
}

#[test]
fn conversion_changes_the_version_and_nothing_else() {
    let spec = json!({ "authorities": [{ "ctlog": { "trustRootRef": "mine" }, "later": [1] }] });
    let response = conversion("policy.sigstore.dev/v1alpha1", json!([policy(spec)]));
    assert_eq!(response["result"]["status"], "Success");
    let mut expected =
        policy(json!({ "authorities": [{ "ctlog": { "trustRootRef": "mine" }, "later": [1] }] }));
    expected["apiVersion"] = json!("policy.sigstore.dev/v1alpha1");
    assert_eq!(response["convertedObjects"], json!([expected]));
}

#[test]
fn conversion_to_or_of_something_else_fails() {
    let to = conversion("policy.sigstore.dev/v2", json!([policy(static_pass())]));
    assert_eq!(to["result"]["status"], "Failure");
    let of = conversion("policy.sigstore.dev/v1beta1", json!([{ "kind": "Pod" }]));
    assert_eq!(of["result"]["status"], "Failure");
    assert!(converted(b"{}").is_err());
}

#[test]
fn conversion_is_bounded() {
    let objects = |count: usize| json!(vec![policy(json!({})); count]);
    let to = "policy.sigstore.dev/v1alpha1";
    assert_eq!(conversion(to, objects(MAX_CONVERTED))["result"]["status"], "Success");
    for (objects, message) in [
        (objects(MAX_CONVERTED + 1), "more than 10000 objects"),
        (json!([policy(json!(vec![0; 100_000]))]), "the object has more than 100000 values"),
        (
            json!([policy(json!("a".repeat(3 * 1024 * 1024)))]),
            "the object is larger than 3145728 bytes",
        ),
    ] {
        let response = conversion(to, objects);
        assert_eq!(response["result"], json!({ "status": "Failure", "message": message }));
        assert_eq!(response["convertedObjects"], Value::Null);
    }
    assert_eq!(conversion(to, Value::Null)["convertedObjects"], json!([]));
}

/// The bodies of an attack: many values, many entries, deep nesting, a field twice.
#[test]
fn objects_are_bounded_before_they_are_parsed() {
    let mut values = static_pass();
    values["match"] = json!(vec![json!({}); 100_000]);
    let mut entries = static_pass();
    entries["images"] = json!(vec![json!({ "glob": "a/**" }); 40_000]);
    let identity = |n| json!({ "issuer": "i", "subjectRegExp": format!(r"(\pL{{30}}){{20}}{n}") });
    let identities: Vec<_> = (0..3_000).map(identity).collect();
    let keyless = json!({ "keyless": { "identities": identities } });
    let expressions = json!({ "images": [{ "glob": "**" }], "authorities": [keyless] });
    let unreadable = "decoding request failed: cannot decode incoming new object: ";
    for (spec, start, text) in [
        (values, unreadable, "the object has more than 100000 values"),
        (entries, "validation failed: ", "more than 1000 entries: spec.images"),
        (
            expressions,
            "validation failed: ",
            "more than 1000 entries: spec.authorities[0].keyless.identities",
        ),
    ] {
        let response = validate_response(&review("CREATE", policy(spec), Value::Null));
        assert_eq!(message(&response), format!("{start}{text}"));
    }
    let create = review("CREATE", policy(json!("HERE")), Value::Null).to_string();
    for part in [format!("{}1{}", "[".repeat(60_000), "]".repeat(60_000)), "{".repeat(50_000)] {
        let body = create.replace("\"HERE\"", &part);
        assert!(validate_with(body.as_bytes(), PolicySource::Cluster).is_err());
        assert!(defaulted(body.as_bytes()).is_err());
    }
    // Go and serde_json keep the last of two values of a map; a field of the review itself may
    // stand there once.
    let twice = create.replace("\"HERE\"", r#"{"images": [], "images": [{"glob": "["}]}"#);
    let denial = response(validate_with(twice.as_bytes(), PolicySource::Cluster));
    assert!(message(&denial).contains("spec.images[0].glob"), "{denial}");
    let twice = create.replace("\"uid\"", "\"uid\":\"u-2\",\"uid\"");
    assert!(validate_with(twice.as_bytes(), PolicySource::Cluster).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_are_never_taken(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(validate_with(&body, PolicySource::Folder).is_err());
        prop_assert!(defaulted(&body).is_err());
        prop_assert!(converted(&body).is_err());
    }
}
