use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;
use sealgate_core::key::KeyAlgorithm;
use sealgate_testkit::keyless::TestSigstore;

use super::*;
use crate::cip::read::{Document, documents};
use crate::testing::{KEY, OTHER_KEY};

fn b64(text: impl AsRef<[u8]>) -> String {
    STANDARD.encode(text)
}

fn object(spec: Value) -> TrustRootObject {
    TrustRootObject::from_json(&json!({
        "apiVersion": "policy.sigstore.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": {"name": "t", "generation": 3},
        "spec": spec,
        "status": {"conditions": []},
    }))
    .unwrap_or_else(|e| panic!("{e}"))
}

fn errors(spec: Value) -> String {
    validate::validate(&object(spec)).filter(Level::Error).to_string()
}

fn tuf_root() -> String {
    b64(json!({"signed": {}, "signatures": [{"keyid": "k", "sig": "s"}]}).to_string())
}

fn authority(chain: &str) -> Value {
    let subject = json!({"organization": "o", "commonName": "c"});
    json!({"subject": subject, "uri": "https://ca", "certChain": b64(chain)})
}

fn log(key: &str) -> Value {
    json!({"baseURL": "https://log", "hashAlgorithm": "sha-256", "publicKey": b64(key)})
}

fn keys(part: &str, element: Value) -> Value {
    json!({"sigstoreKeys": {part: [element]}})
}

/// `value` with the field at `pointer` replaced.
fn with(mut value: Value, pointer: &str, field: Value) -> Value {
    *value.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = field;
    value
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

#[test]
fn each_form_is_valid() {
    let chain = TestSigstore::default().chain_pem();
    for spec in [
        json!({"remote": {"root": tuf_root(), "mirror": "https://tuf.example/path"}}),
        json!({"remote": {"root": tuf_root(), "mirror": "http://10.0.0.1:8080", "targets": "t/u",
            "trustedRootTarget": "r.json"}}),
        json!({"repository": {"root": tuf_root(), "mirrorFS": b64([0x1f, 0x8b, 8])}}),
        keys("certificateAuthorities", authority(&chain)),
        keys("timestampAuthorities", authority(&chain)),
        keys("tLogs", log(KEY)),
        keys("ctLogs", log(OTHER_KEY)),
    ] {
        assert_eq!(errors(spec.clone()), "", "{spec}");
        assert!(object(spec).checked().is_ok());
    }
}

#[test]
fn exactly_one_form() {
    let forms = "spec.remote, spec.repository, spec.sigstoreKeys";
    assert_eq!(errors(json!({})), format!("expected exactly one, got neither: {forms}"));
    let both = json!({
        "remote": {"root": tuf_root(), "mirror": "https://m"},
        "sigstoreKeys": {"tLogs": [log(KEY)]},
    });
    assert_eq!(errors(both.clone()), format!("expected exactly one, got both: {forms}"));
    let line = object(both).checked().unwrap_err();
    assert_eq!(
        line,
        format!("the trust root is not valid: expected exactly one, got both: {forms}")
    );
}

#[test]
fn repositories() {
    let remote = json!({"root": tuf_root(), "mirror": "https://m"});
    let of_remote = |remote: Value| errors(json!({"remote": remote}));
    assert_eq!(of_remote(json!({})), "missing field(s): spec.remote.mirror, spec.remote.root");
    for mirror in ["tuf.example", "file:///etc", "/etc", "ftp://m", "https://", "https://a@b"] {
        let text = of_remote(with(remote.clone(), "/mirror", json!(mirror)));
        let expected = format!("invalid value: {mirror}: spec.remote.mirror\n");
        assert!(text.starts_with(&expected), "{text}");
    }
    for (root, text) in [
        ("not json", "invalid value: failed to unmarshal: spec.remote.root\n"),
        ("{}", "invalid value: missing signatures in root.json: spec.remote.root\nno signatures"),
        (
            r#"{"signatures": []}"#,
            "invalid value: missing signatures in root.json: spec.remote.root\nno signatures",
        ),
    ] {
        assert!(of_remote(with(remote.clone(), "/root", json!(b64(root)))).starts_with(text));
    }
    let large = b64(vec![b' '; 600_000]);
    assert!(of_remote(with(remote, "/root", json!(large))).contains("larger than"));
    let repository = |mirror_fs: Value, target: &str| {
        let repository = json!({"root": tuf_root(), "mirrorFS": mirror_fs, "targets": target});
        errors(json!({"repository": repository}))
    };
    assert_eq!(repository(Value::Null, ""), "missing field(s): spec.repository.mirrorFS");
    assert_eq!(
        repository(json!(b64("plain tar")), ""),
        "invalid value: failed to construct a TUF client: spec.repository.mirrorFS\nfailed to uncompress: gzip: invalid header"
    );
    for target in ["/abs", "../up", "a/../b", "."] {
        let text = repository(json!(b64([0x1f, 0x8b])), target);
        assert_eq!(
            text,
            format!("invalid value: {target}: spec.repository.targets\nwant a relative path")
        );
    }
}

/// policy-controller reports the errors of a list's last element only.
#[test]
fn every_element_is_validated() {
    let chain = TestSigstore::default().chain_pem();
    let bad = json!({"certChain": b64("junk")});
    let spec = json!({"sigstoreKeys": {
        "certificateAuthorities": [bad, authority(&chain)],
        "timestampAuthorities": [without(authority(&chain), "uri"), authority(&chain)],
        "tLogs": [{}, log(KEY)],
        "ctLogs": [with(log(KEY), "/publicKey", json!(b64("junk"))), log(KEY)],
    }});
    let text = errors(spec);
    let at = "spec.sigstoreKeys";
    for expected in [
        format!("{at}.certificateAuthorities[0].subject.commonName"),
        format!("{at}.certificateAuthorities[0].subject.organization"),
        format!("{at}.certificateAuthorities[0].uri"),
        format!(
            "invalid value: error splitting the certificates: {at}.certificateAuthorities[0].certChain"
        ),
        format!("{at}.timestampAuthorities[0].uri"),
        format!("{at}.tLogs[0].baseURL, {at}.tLogs[0].hashAlgorithm, {at}.tLogs[0].publicKey"),
        format!("invalid value: not a public key: {at}.ctLogs[0].publicKey"),
    ] {
        assert!(text.contains(&expected), "{expected}\n{text}");
    }
    assert!(!text.contains("[1]"), "{text}");
    let none = json!({"sigstoreKeys": {}});
    assert_eq!(
        errors(none),
        format!(
            "expected exactly one, got neither: {at}.certificateAuthorities, {at}.timestampAuthorities"
        )
    );
}

#[test]
fn unusable_logs_and_validity_periods() {
    let at = "spec.sigstoreKeys.tLogs[0]";
    let hash = with(log(KEY), "/hashAlgorithm", json!("md5"));
    assert_eq!(errors(keys("tLogs", hash)), format!("invalid value: md5: {at}.hashAlgorithm"));
    // policy-controller accepts it, and so does Sealgate; but no log verifies with it, so there is
    // a warning.
    let sha512 = object(keys("tLogs", with(log(KEY), "/hashAlgorithm", json!("sha-512"))));
    let messages = validate::validate(&sha512);
    assert!(messages.filter(Level::Error).is_empty());
    assert!(messages.filter(Level::Warning).to_string().contains("https://log is not used"));
    for (times, text) in [
        (json!({"start": "yesterday"}), "not a time"),
        (json!({"end": "2026-13-01T00:00:00Z"}), "not a time"),
        (
            json!({"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}),
            "the end is before the start",
        ),
    ] {
        let mut log = log(KEY);
        log["validFor"] = times;
        let messages = errors(keys("tLogs", log));
        assert!(
            messages.contains(&format!("{at}.validFor")) && messages.contains(text),
            "{messages}"
        );
    }
    let secret = keys("tLogs", log("-----BEGIN PRIVATE KEY-----\nc2VjcmV0"));
    assert!(!errors(secret.clone()).contains("c2VjcmV0"));
    assert!(!format!("{:?}", object(secret)).contains("c2VjcmV0"));
}

#[test]
fn keys_of_every_kind_and_their_windows_are_kept() {
    let chain = TestSigstore::default().chain_pem();
    let mut ed25519 = log(OTHER_KEY);
    ed25519["validFor"] = json!({"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"});
    let mut ca = authority(&chain);
    ca["validFor"] = json!({"start": "2025-01-01T00:00:00Z"});
    let spec = object(json!({"sigstoreKeys": {
        "certificateAuthorities": [ca],
        "tLogs": [log(KEY), ed25519],
        "ctLogs": [log(KEY)],
        "timestampAuthorities": [authority(&chain)],
    }}));
    let root = spec.checked().unwrap().sigstore_keys.unwrap().trust_root().unwrap();
    let validity = root.certificate_authorities[0].validity;
    assert_eq!((validity.start, validity.end), (Some(1_735_689_600), None));
    let [p256, ed25519] = root.transparency_logs.as_slice() else { panic!("two logs") };
    assert_ne!(p256.key.key.algorithm(), KeyAlgorithm::Ed25519);
    assert_eq!(ed25519.key.key.algorithm(), KeyAlgorithm::Ed25519);
    assert_eq!(
        (ed25519.validity.start, ed25519.validity.end),
        (Some(1_767_225_600), Some(1_769_904_000))
    );
    assert_eq!((root.ct_logs.len(), root.timestamp_authorities.len()), (1, 1));
}

#[test]
fn reading_is_strict() {
    let read = |value: Value| TrustRootObject::from_json(&value).unwrap_err().to_string();
    let object = |version: &str, kind: &str, spec: Value| {
        json!({"apiVersion": format!("policy.sigstore.dev/{version}"), "kind": kind,
            "metadata": {"name": "t"}, "spec": spec})
    };
    assert!(read(object("v1beta1", "TrustRoot", json!({}))).contains("v1beta1 TrustRoot"));
    assert!(read(object("v1alpha1", "ClusterImagePolicy", json!({}))).starts_with("neither"));
    for (spec, text) in [
        (json!({"remotes": {}}), "json: unknown field \"remotes\": spec.remotes"),
        (json!({"remote": {"url": "x"}}), "json: unknown field \"url\": spec.remote.url"),
        (
            json!({"sigstoreKeys": {"tLogs": [{}, {"logID": "x"}]}}),
            "json: unknown field \"logID\": spec.sigstoreKeys.tLogs[1].logID",
        ),
        (json!({"remote": {"root": "not base64!"}}), "illegal base64 data: spec.remote.root"),
        (
            json!({"repository": {"mirrorFS": "not base64!"}}),
            "illegal base64 data: spec.repository.mirrorFS",
        ),
        (
            json!({"sigstoreKeys": {"certificateAuthorities": [{"certChain": "not base64!"}]}}),
            "illegal base64 data: spec.sigstoreKeys.certificateAuthorities[0].certChain",
        ),
        (
            json!({"sigstoreKeys": {"ctLogs": [{}, {"publicKey": "not base64!"}]}}),
            "illegal base64 data: spec.sigstoreKeys.ctLogs[1].publicKey",
        ),
    ] {
        let error = read(object("v1alpha1", "TrustRoot", spec));
        // The error about an unknown field lists the known ones.
        let (message, at) = text.rsplit_once(": ").unwrap();
        assert!(error.starts_with(message) && error.ends_with(&format!(": {at}")), "{error}");
    }
    let nameless = with(object("v1alpha1", "TrustRoot", json!({})), "/metadata", json!({}));
    assert_eq!(read(nameless), "missing field(s): metadata.name");
}

#[test]
fn folders_may_contain_trust_roots_and_policies() {
    let yaml = format!(
        "apiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\nmetadata: {{name: ours}}\n\
         spec:\n  sigstoreKeys:\n    tLogs:\n    - baseURL: https://log\n      hashAlgorithm: sha-256\n\
         \x20     publicKey: {}\n---\napiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\n\
         metadata: {{name: bad}}\nspec: {{unheardOf: 1}}\n",
        b64(KEY)
    );
    let all = documents(&yaml).unwrap();
    assert!(matches!(&all[0], Document::TrustRoot(root) if root.name == "ours"));
    assert!(matches!(&all[1], Document::Unreadable { name, .. } if name == "bad"));
}

#[test]
fn defaults_are_filled_in_for_omitted_fields() {
    let remote = object(json!({"remote": {"targets": "mine"}}));
    let fields: Vec<String> =
        remote.default_fields().iter().map(|f| format!("{}={}", f.pointer, f.value)).collect();
    assert_eq!(fields, ["/spec/remote/trustedRootTarget=\"trusted_root.json\""]);
    let mut spec = remote.spec;
    spec.set_defaults();
    let remote = spec.remote.unwrap();
    assert_eq!(
        (remote.targets.as_str(), remote.trusted_root_target.as_str()),
        ("mine", "trusted_root.json")
    );
    let repository = object(json!({"repository": {}}));
    assert_eq!(repository.default_fields().len(), 2);
    assert_eq!(object(keys("tLogs", log(KEY))).default_fields(), []);
}

/// Nothing in a list that is too long is parsed: the excess is the only error.
#[test]
fn lists_and_texts_are_bounded() {
    let (no_key, no_chain) = (log("no key"), authority("no chain"));
    let many = |part: &str, element: &Value, count: usize| json!({"sigstoreKeys": {part: vec![element; count]}});
    let (chain, key) = ("a".repeat(64 * 1024), "a".repeat(16 * 1024 + 1));
    let mut late = no_key.clone();
    late["validFor"] = json!({"end": "1".repeat(1025)});
    for (spec, message) in [
        (many("tLogs", &no_key, 65), "more than 64 entries: spec.sigstoreKeys.tLogs"),
        (many("ctLogs", &no_key, 4_000), "more than 64 entries: spec.sigstoreKeys.ctLogs"),
        (
            many("certificateAuthorities", &no_chain, 65),
            "more than 64 entries: spec.sigstoreKeys.certificateAuthorities",
        ),
        (
            many("timestampAuthorities", &no_chain, 65),
            "more than 64 entries: spec.sigstoreKeys.timestampAuthorities",
        ),
        (
            many("certificateAuthorities", &authority(&chain), 9),
            "more than 524288 bytes of keys and certificates: spec.sigstoreKeys",
        ),
        (
            keys("timestampAuthorities", authority(&format!("{chain}a"))),
            "longer than 65536 bytes: spec.sigstoreKeys.timestampAuthorities[0].certChain",
        ),
        (keys("tLogs", log(&key)), "longer than 16384 bytes: spec.sigstoreKeys.tLogs[0].publicKey"),
        (keys("tLogs", late), "longer than 1024 bytes: spec.sigstoreKeys.tLogs[0].validFor.end"),
        (
            json!({"remote": {"mirror": "h".repeat(4097)}}),
            "longer than 4096 bytes: spec.remote.mirror",
        ),
        (
            json!({"repository": {"mirrorFS": b64(vec![0; 2 * 1024 * 1024 + 1])}}),
            "longer than 2097152 bytes: spec.repository.mirrorFS",
        ),
    ] {
        assert_eq!(errors(spec), message);
    }
}
