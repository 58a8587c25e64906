//! The table of tampered evidence: each row is refused, and with its own code.
//!
//! `signed …` rows carry a genuine signature by the right key over a changed document: the
//! signer, or somebody who can make the signer sign, is the attacker. All others were changed
//! after they were signed.

use serde_json::json;

use super::workbench::{Key, evidence, requirement, subject};
use super::*;

type Row = (&'static str, Evidence, &'static str);

/// Every row is refused with its code; whether claims are compared or not, it is refused,
/// unless the row is about the claim only.
fn check(key: &Key, rows: Vec<Row>) {
    let about_the_claim =
        ["other-digest", "other-subject", "missing-annotation", "wrong-annotation"];
    for (name, evidence, code) in rows {
        let asked = ImageSignatureRequirement {
            annotations: annotations(&[("env", "prod")]),
            ..requirement()
        };
        let asked = if code.ends_with("annotation") { asked } else { requirement() };
        let found = verify_image(&evidence, &key.authority(), &asked);
        assert_eq!(found.err().map(|reject| reject.code()), Some(code), "{name}");
        let ignored = ImageSignatureRequirement { claims: ClaimComparison::Ignored, ..asked };
        let ignored = verify_image(&evidence, &key.authority(), &ignored);
        assert_eq!(ignored.is_ok(), about_the_claim.contains(&code), "{name}, claims ignored");
    }
}

fn other_image() -> Digest {
    Digest::of(b"another image")
}

#[test]
fn legacy_signatures_changed_after_signing() {
    let key = Key::generate();
    let with = |name: &str, value: &str| {
        key.changed_legacy(|layer| {
            layer.annotations.insert(name.to_owned(), value.to_owned());
        })
    };
    let signature = STANDARD.encode(key.sign(b"something else"));
    let genuine = key.legacy(&BTreeMap::new()).annotations[annotation::SIGNATURE].clone();
    let mut trailing = STANDARD.decode(&genuine).unwrap();
    trailing.push(0);
    let other_key = Key::generate();
    check(
        &key,
        vec![
            ("signed by another key", other_key.legacy_evidence(), "wrong-signature"),
            (
                "another digest",
                changed_payload(&key, &subject(), &other_image()),
                "wrong-signature",
            ),
            ("payload cut", key.changed_legacy(|l| l.payload.truncate(100)), "wrong-signature"),
            ("payload empty", key.changed_legacy(|l| l.payload.clear()), "wrong-signature"),
            (
                "line break appended",
                key.changed_legacy(|l| l.payload = [&l.payload[..], b"\n"].concat().into()),
                "wrong-signature",
            ),
            (
                "signature of other bytes",
                with(annotation::SIGNATURE, &signature),
                "wrong-signature",
            ),
            (
                "trailing byte",
                with(annotation::SIGNATURE, &STANDARD.encode(trailing)),
                "wrong-signature",
            ),
            ("no annotations", key.changed_legacy(|l| l.annotations.clear()), "missing-signature"),
            ("empty signature", with(annotation::SIGNATURE, ""), "missing-signature"),
            ("no base64", with(annotation::SIGNATURE, "%%%"), "bad-base64"),
            ("blank in base64", with(annotation::SIGNATURE, &format!("{genuine} ")), "bad-base64"),
            (
                "no padding",
                with(annotation::SIGNATURE, genuine.trim_end_matches('=').get(..91).unwrap()),
                "bad-base64",
            ),
            ("URL alphabet", with(annotation::SIGNATURE, "_-__"), "bad-base64"),
            ("huge signature", with(annotation::SIGNATURE, &"AAAA".repeat(2000)), "too-large"),
            ("log entry is no JSON", with(annotation::BUNDLE, "{"), "not-json"),
            ("log entry without payload", with(annotation::BUNDLE, "{}"), "bad-field"),
            ("timestamp is a list", with(annotation::TIMESTAMP, "[]"), "bad-field"),
        ],
    );
}

fn changed_payload(key: &Key, from: &Digest, to: &Digest) -> Evidence {
    key.changed_legacy(|layer| {
        let text = String::from_utf8(layer.payload.to_vec()).unwrap();
        layer.payload = text.replace(from.hex(), to.hex()).into();
    })
}

#[test]
fn legacy_payloads_changed_before_signing() {
    let key = Key::generate();
    let digest = subject().to_string();
    let replaced = |from: &str, to: &str| key.replaced_payload(from, to);
    let sha512 = Digest::with(crate::digest::Algorithm::Sha512, b"image").to_string();
    check(
        &key,
        vec![
            ("signed other digest", replaced(subject().hex(), other_image().hex()), "other-digest"),
            ("signed sha512", replaced(&digest, &sha512), "other-digest"),
            ("signed no digest", replaced(&digest, ""), "claim-digest"),
            ("signed null digest", replaced(&format!("\"{digest}\""), "null"), "claim-digest"),
            ("signed short digest", replaced(&digest, "sha256:ab"), "claim-digest"),
            (
                "signed upper case",
                replaced(subject().hex(), &subject().hex().to_uppercase()),
                "claim-digest",
            ),
            ("signed number", replaced(&format!("\"{digest}\""), "7"), "bad-field"),
            ("signed other type", replaced("cosign container", "atomic container"), "payload-kind"),
            (
                "signed digest twice",
                replaced("\"docker-manifest", "\"docker-manifest-digest\":\"\",\"docker-manifest"),
                "duplicate-key",
            ),
            (
                "signed digest in two cases",
                replaced("\"docker-manifest", "\"Docker-manifest-digest\":\"\",\"docker-manifest"),
                "ambiguous-key",
            ),
            (
                "signed critical twice",
                replaced("{\"critical\"", "{\"CRITICAL\":{},\"critical\""),
                "ambiguous-key",
            ),
            (
                "signed unknown critical",
                replaced("\"type\":", "\"expires\":1,\"type\":"),
                "unknown-critical",
            ),
            (
                "signed unknown in image",
                replaced("\"image\":{", "\"image\":{\"x\":1,"),
                "unknown-critical",
            ),
            ("signed optional list", replaced("null", "[]"), "bad-field"),
            ("signed trailing bytes", replaced("null}", "null}{}"), "not-json"),
            ("signed byte order mark", replaced("{\"critical", "\u{feff}{\"critical"), "not-json"),
            (
                "signed deep nesting",
                replaced("null", &format!("{}{}", "[".repeat(70), "]".repeat(70))),
                "too-deep",
            ),
            (
                "signed huge payload",
                replaced("null", &format!("\"{}\"", "x".repeat(1 << 20))),
                "too-large",
            ),
            ("signed no object", key.signed_payload(b"[]"), "bad-field"),
            ("signed nothing", key.signed_payload(b""), "not-json"),
            ("signed no annotation", replaced("null", "{}"), "missing-annotation"),
            ("signed other annotation", replaced("null", "{\"env\":\"dev\"}"), "wrong-annotation"),
            (
                "signed annotation list",
                replaced("null", "{\"env\":[\"prod\"]}"),
                "wrong-annotation",
            ),
            (
                "signed annotation in other case",
                replaced("null", "{\"Env\":\"prod\"}"),
                "missing-annotation",
            ),
        ],
    );
}

#[test]
fn bundles_changed_after_signing() {
    let key = Key::generate();
    let material = "verificationMaterial";
    let other = STANDARD.encode(image_statement(&other_image()));
    let changed = |change: fn(&mut Value)| key.changed_bundle(change);
    let certificate =
        changed(|b| b["verificationMaterial"] = json!({ "certificate": { "rawBytes": "AA==" } }));
    let chain = changed(|b| {
        b["verificationMaterial"] =
            json!({ "x509CertificateChain": { "certificates": [{ "rawBytes": "AA==" }] } });
    });
    let message = changed(|b| {
        b["messageSignature"] = json!({ "signature": b["dsseEnvelope"]["signatures"][0]["sig"] });
        b["dsseEnvelope"] = Value::Null;
    });
    let two = changed(|b| {
        let signature = b["dsseEnvelope"]["signatures"][0].clone();
        b["dsseEnvelope"]["signatures"] = json!([signature, signature]);
    });
    check(
        &key,
        vec![
            ("signed by another key", Key::generate().bundle(&BTreeMap::new()), "wrong-signature"),
            (
                "another statement",
                key.changed_bundle(|b| b["dsseEnvelope"]["payload"] = other.into()),
                "wrong-signature",
            ),
            ("a blob's signature", plain_signature(&key), "wrong-signature"),
            (
                "other payload type",
                changed(|b| b["dsseEnvelope"]["payloadType"] = "text/plain".into()),
                "envelope-type",
            ),
            (
                "no payload type",
                changed(|b| b["dsseEnvelope"]["payloadType"] = Value::Null),
                "envelope-type",
            ),
            (
                "payload without padding",
                changed(|b| b["dsseEnvelope"]["payload"] = "e30".into()),
                "bad-base64",
            ),
            (
                "payload with a blank",
                changed(|b| b["dsseEnvelope"]["payload"] = "e30= ".into()),
                "bad-base64",
            ),
            (
                "payload missing",
                changed(|b| b["dsseEnvelope"]["payload"] = Value::Null),
                "bad-field",
            ),
            (
                "no signature",
                changed(|b| b["dsseEnvelope"]["signatures"] = json!([])),
                "missing-signature",
            ),
            (
                "empty signature",
                changed(|b| b["dsseEnvelope"]["signatures"] = json!([{ "sig": "" }])),
                "missing-signature",
            ),
            ("two signatures", two, "several-signatures"),
            ("a message signature", message, "not-an-envelope"),
            (
                "both contents",
                changed(|b| b["messageSignature"] = json!({ "signature": "AA==" })),
                "several-contents",
            ),
            ("no content", changed(|b| b["dsseEnvelope"] = Value::Null), "no-content"),
            ("a certificate", certificate, "certificate-in-bundle"),
            ("a chain", chain, "certificate-in-bundle"),
            (
                "key and certificate",
                key.changed_bundle(|b| b[material]["certificate"] = json!({ "rawBytes": "AA==" })),
                "several-verification-materials",
            ),
            (
                "no material",
                key.changed_bundle(|b| b[material] = json!({})),
                "no-verification-material",
            ),
            ("version 99.9", key.replaced_bundle("v0.3+json", "v99.9+json"), "bundle-version"),
            ("no version", changed(|b| b["mediaType"] = Value::Null), "bundle-version"),
            (
                "envelope twice",
                key.replaced_bundle("{\"dsseEnvelope\"", "{\"dsseEnvelope\":{},\"dsseEnvelope\""),
                "duplicate-key",
            ),
            (
                "envelope in two spellings",
                key.replaced_bundle("{\"dsseEnvelope\"", "{\"dsse_envelope\":{},\"dsseEnvelope\""),
                "ambiguous-key",
            ),
            (
                "payload in two cases",
                key.replaced_bundle("\"payload\"", "\"PAYLOAD\":\"\",\"payload\""),
                "ambiguous-key",
            ),
            ("trailing bytes", key.replaced_bundle("}}}", "}}}}"), "not-json"),
            ("empty", evidence(""), "not-json"),
            ("nested without end", evidence("[".repeat(1 << 20)), "too-deep"),
            ("huge", evidence(vec![b' '; crate::bundle::MAX_BUNDLE + 1]), "too-large"),
            (
                "33 log entries",
                key.changed_bundle(|b| b[material]["tlogEntries"] = json!(vec![json!({}); 33])),
                "too-many",
            ),
            (
                "33 timestamps",
                key.changed_bundle(|b| {
                    b[material]["timestampVerificationData"] =
                        json!({ "rfc3161Timestamps": vec![json!({}); 33] })
                }),
                "too-many",
            ),
            (
                "malformed log entry",
                key.changed_bundle(|b| b[material]["tlogEntries"] = json!([{ "logIndex": "one" }])),
                "bad-field",
            ),
            (
                "log index beyond 64 bits",
                key.changed_bundle(|b| {
                    b[material]["tlogEntries"] = json!([{ "logIndex": "99999999999999999999" }])
                }),
                "bad-field",
            ),
        ],
    );
}

fn image_statement(digest: &Digest) -> Vec<u8> {
    crate::statement::image_signature(digest, &BTreeMap::new())
}

/// The statement signed as a blob, without the envelope's framing.
fn plain_signature(key: &Key) -> Evidence {
    let signature = STANDARD.encode(key.sign(key.statement().to_string().as_bytes()));
    key.changed_bundle(|b| b["dsseEnvelope"]["signatures"][0]["sig"] = signature.into())
}

#[test]
fn statements_changed_before_signing() {
    let key = Key::generate();
    let signed = |change: fn(&mut Value)| key.statement_bundle(change);
    let hex = subject().hex().to_owned();
    let upper = key.replaced_statement(&hex, &hex.to_uppercase());
    let renamed = key.replaced_statement("sha256", "sha512");
    let digests =
        (0..33).map(|i| (format!("d{i}"), json!("00"))).collect::<serde_json::Map<_, _>>();
    check(
        &key,
        vec![
            (
                "signed other subject",
                evidence(key.bundle_of(&image_statement(&other_image()))),
                "other-subject",
            ),
            ("signed upper-case digest", upper, "other-subject"),
            ("signed digest under another algorithm", renamed, "other-subject"),
            (
                "signed empty digest",
                signed(|s| s["subject"][0]["digest"] = json!({ "sha256": "" })),
                "other-subject",
            ),
            (
                "signed digest set without digests",
                signed(|s| s["subject"][0]["digest"] = json!({})),
                "other-subject",
            ),
            (
                "signed no digest set",
                signed(|s| s["subject"][0]["digest"] = Value::Null),
                "bad-field",
            ),
            ("signed empty subjects", signed(|s| s["subject"] = json!([])), "no-subject"),
            ("signed no subjects", signed(|s| s["subject"] = Value::Null), "no-subject"),
            (
                "signed 1025 subjects",
                signed(|s| s["subject"] = json!(vec![s["subject"][0].clone(); 1025])),
                "too-many",
            ),
            (
                "signed 33 digests",
                key.statement_bundle(|s| s["subject"][0]["digest"] = digests.into()),
                "too-many",
            ),
            (
                "signed attestation",
                signed(|s| s["predicateType"] = "https://slsa.dev/provenance/v1".into()),
                "not-a-signature",
            ),
            (
                "signed look-alike predicate type",
                signed(|s| s["predicateType"] = "https://sigstore.dev/cosign/sign/v1/".into()),
                "not-a-signature",
            ),
            (
                "signed upper-case predicate type",
                signed(|s| s["predicateType"] = "https://sigstore.dev/cosign/sign/V1".into()),
                "not-a-signature",
            ),
            ("signed no predicate type", signed(|s| s["predicateType"] = Value::Null), "bad-field"),
            (
                "signed list of predicate types",
                signed(|s| s["predicateType"] = json!([IMAGE_SIGNATURE_PREDICATE])),
                "bad-field",
            ),
            (
                "signed predicate type twice",
                key.replaced_statement(
                    "\"predicateType\"",
                    "\"predicateType\":\"x\",\"predicateType\"",
                ),
                "duplicate-key",
            ),
            (
                "signed predicate type in two spellings",
                key.replaced_statement(
                    "\"predicateType\"",
                    "\"predicate_type\":\"x\",\"predicateType\"",
                ),
                "ambiguous-key",
            ),
            (
                "signed subject in two cases",
                key.replaced_statement("\"subject\"", "\"Subject\":[],\"subject\""),
                "ambiguous-key",
            ),
            (
                "signed digest twice",
                key.replaced_statement("\"sha256\"", "\"sha256\":\"00\",\"sha256\""),
                "duplicate-key",
            ),
            (
                "signed other statement type",
                signed(|s| s["_type"] = "https://in-toto.io/Statement/v9".into()),
                "statement-type",
            ),
            ("signed no statement type", signed(|s| s["_type"] = Value::Null), "statement-type"),
            ("signed no statement", evidence(key.bundle_of(b"hello")), "not-json"),
            ("signed nothing", evidence(key.bundle_of(b"")), "not-json"),
            ("signed trailing bytes", key.replaced_statement("}", "}}"), "not-json"),
            (
                "signed deep nesting",
                evidence(key.bundle_of("[".repeat(500).as_bytes())),
                "too-deep",
            ),
            (
                "signed a SimpleSigning payload",
                evidence(key.bundle_of(&key.legacy(&BTreeMap::new()).payload)),
                "statement-type",
            ),
            ("signed no annotation", signed(|_| ()), "missing-annotation"),
            (
                "signed other annotation",
                signed(|s| s["subject"][0]["annotations"] = json!({ "env": "dev" })),
                "wrong-annotation",
            ),
            (
                "signed annotation in predicate",
                signed(|s| s["predicate"] = json!({ "env": "prod" })),
                "missing-annotation",
            ),
            (
                "signed annotations list",
                signed(|s| s["subject"][0]["annotations"] = json!(["env"])),
                "bad-field",
            ),
        ],
    );
}
