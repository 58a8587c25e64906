use super::*;

const SHA: &str = "-----BEGIN PUBLIC KEY-----\nno key\n-----END PUBLIC KEY-----\n";

/// Unsupported parts of a policy in a cluster with the TrustRoot `there` and no secret.
fn lacks_of(spec: Value) -> Vec<String> {
    let object = json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": "p" },
        "spec": spec,
    });
    let policy = ClusterImagePolicy::from_json(&object).expect("readable");
    lacking(&policy, "cosign-system", &Contents::new(), &BTreeSet::from(["there".to_owned()]))
}

fn with(authority: Value) -> Value {
    json!({ "images": [{ "glob": "r.example/**" }], "authorities": [authority] })
}

fn keyless() -> Value {
    json!({ "identities": [{ "issuer": "https://i.example", "subject": "s" }] })
}

#[track_caller]
fn assert_lacks(spec: Value, codes: &[&str]) {
    let mut warned = spec.clone();
    warned["mode"] = json!("warn");
    let lacks = lacks_of(spec);
    assert_eq!(lacks.len(), codes.len(), "{lacks:?}");
    for (lack, code) in lacks.iter().zip(codes) {
        assert!(lack.starts_with(&format!("p: {code}: ")), "{lack}");
    }
    assert_eq!(lacks_of(warned), [""; 0], "it refuses nothing");
}

#[test]
fn unsupported_policies_are_reported_whatever_their_condition() {
    let attestations = json!([{ "name": "s", "predicateType": "https://spdx.dev/Document" }]);
    let attested = json!({ "name": "a", "keyless": keyless(), "attestations": attestations });
    assert_lacks(with(attested.clone()), &["AttestationsUnsupported"]);
    assert_lacks(with(json!({ "key": { "kms": "hashivault://k" } })), &["KmsUnsupported"]);
    let mut cue = with(json!({ "keyless": keyless() }));
    cue["policy"] = json!({ "type": "cue", "data": "predicateType: string" });
    assert_lacks(cue, &["PolicyUnsupported"]);
    let secret = json!({ "key": { "secretRef": { "name": "k" } } });
    assert_lacks(with(secret), &["InliningKeysFailed"]);
    // Next to a trust root that is not used.
    let mut both = with(json!({ "name": "b", "keyless": keyless() }));
    both["authorities"].as_array_mut().expect("a list").push(attested);
    assert_lacks(both, &["AttestationsUnsupported"]);
}

#[test]
fn an_invalid_policy_is_reported() {
    let lacks = lacks_of(with(json!({ "key": { "data": SHA } })));
    assert!(!lacks.is_empty());
    assert!(lacks.iter().any(|lack| lack.starts_with("p: Invalid: ")), "{lacks:?}");
}

#[test]
fn only_a_missing_trust_root_is_reported() {
    let named = |name: &str| {
        let mut keyless = keyless();
        keyless["trustRootRef"] = json!(name);
        with(json!({ "keyless": keyless, "ctlog": { "trustRootRef": name } }))
    };
    assert_eq!(lacks_of(named("gone")), ["p: TrustRootUnavailable: TrustRoot gone not found"]);
    assert_eq!(lacks_of(named("there")), [""; 0]);
    assert_eq!(lacks_of(with(json!({ "keyless": keyless() }))), [""; 0], "the gate's own");
    let key = json!({ "secretRef": { "name": "k" } });
    let timestamp = json!({ "trustRootRef": "gone" });
    let lacks = lacks_of(with(json!({ "key": key, "rfc3161timestamp": timestamp })));
    assert!(lacks.contains(&"p: TrustRootUnavailable: TrustRoot gone not found".to_owned()));
}
