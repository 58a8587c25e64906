//! Accepted evidence, the content of `Verified`, and (in `mutations`) the code of each reject.

mod attestations;
mod blobs;
mod keyless;
mod mutations;
mod workbench;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;
use workbench::{
    Key, requirement, subject, verify_blob, verify_blob_with, verify_image, verify_image_with,
};

use super::*;
use crate::bundle::{Bundle, Content, LogMaterial};
use crate::evidence::LegacySignature;
use crate::key::HashAlgorithm;

fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// As `base64` and `openssl base64` break the lines.
fn broken(text: &str) -> String {
    let lines: Vec<_> = text.as_bytes().chunks(20).map(String::from_utf8_lossy).collect();
    format!("{}\r\n", lines.join("\n"))
}

#[test]
fn line_breaks_in_base64_change_nothing() {
    let key = Key::generate();
    let note = |change: fn(&str) -> String| {
        key.changed_legacy(|layer| {
            let note = layer.annotations.get_mut(annotation::SIGNATURE).unwrap();
            *note = change(note);
        })
    };
    let code = |evidence: &Evidence| {
        let verified = verify_image(evidence, &key.authority(), &requirement());
        verified.err().map_or("ok", |reject| reject.code())
    };
    assert_eq!(code(&note(broken)), "ok");
    assert_eq!(code(&note(|text| format!("{text} "))), "bad-base64");
    for place in ["/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig"] {
        let changed = |change: fn(&str) -> String| {
            code(&key.changed_bundle(|bundle| {
                let text = bundle.pointer_mut(place).unwrap();
                *text = change(text.as_str().unwrap()).into();
            }))
        };
        assert_eq!(changed(broken), "ok", "{place}");
        assert_eq!(changed(|text| format!("{text} ")), "bad-base64", "{place}");
    }
}

#[test]
fn a_legacy_signature_verifies() {
    let key = Key::generate();
    let wanted = annotations(&[("a", "1")]);
    let layer = key.legacy(&annotations(&[("a", "1"), ("b", "<2>")]));
    let evidence = Evidence::Legacy(layer.clone());
    let requirement = ImageSignatureRequirement { annotations: wanted, ..requirement() };
    let verified = verify_image(&evidence, &key.authority(), &requirement).unwrap();
    assert_eq!(verified.format(), EvidenceFormat::Legacy);
    assert_eq!(verified.key(), &key.public.fingerprint());
    assert_eq!(verified.payload(), layer.payload);
    assert_eq!(verified.annotations()["b"], "<2>");
    assert_eq!(verified.checks(), [Check::Annotations, Check::Claims, Check::KeySignature]);
    assert!(!verified.has_log_material());
    assert_eq!(verified.origin(), Some(evidence.origin()));
    let payload: Value = serde_json::from_slice(&layer.payload).unwrap();
    assert_eq!(verified.simple_signing_json("as/named:tag"), payload);
}

#[test]
fn a_bundle_verifies() {
    let key = Key::generate();
    let bundle = key.bundle(&annotations(&[("a", "1")]));
    let verified = verify_image(&bundle, &key.authority(), &requirement()).unwrap();
    assert_eq!(verified.format(), EvidenceFormat::Bundle);
    assert_eq!(verified.checks(), [Check::Claims, Check::KeySignature]);
    assert_eq!(
        verified.simple_signing_json("reg/app:tag"),
        json!({
            "critical": {
                "identity": { "docker-reference": "reg/app:tag" },
                "image": { "docker-manifest-digest": subject().to_string() },
                "type": IMAGE_SIGNATURE_PREDICATE,
            },
            "optional": { "a": "1" },
        })
    );
    let bare = key.bundle(&BTreeMap::new());
    let verified = verify_image(&bare, &key.authority(), &requirement()).unwrap();
    assert_eq!(verified.simple_signing_json("x")["optional"], Value::Null);
}

#[test]
fn any_key_of_the_authority_will_do_and_is_named() {
    let (signer, other) = (Key::generate(), Key::generate());
    let keys = vec![other.public.clone(), signer.public.clone()];
    let authority = KeyAuthority { keys, hash: Some(HashAlgorithm::Sha256) };
    for evidence in [signer.bundle(&BTreeMap::new()), signer.legacy_evidence()] {
        let verified = verify_image(&evidence, &authority, &requirement()).unwrap();
        assert_eq!(verified.key(), &signer.public.fingerprint());
    }
}

#[test]
fn the_hint_is_only_a_hint() {
    let key = Key::generate();
    for hint in ["", "somebody else's", "🔑"] {
        let bundle =
            key.changed_bundle(|b| b["verificationMaterial"]["publicKey"]["hint"] = hint.into());
        assert!(verify_image(&bundle, &key.authority(), &requirement()).is_ok(), "{hint}");
    }
}

#[test]
fn ignored_claims_leave_out_the_comparison_and_nothing_else() {
    let key = Key::generate();
    let requirement = ImageSignatureRequirement {
        digest: Digest::of(b"another image"),
        annotations: annotations(&[("a", "not there")]),
        claims: ClaimComparison::Ignored,
    };
    for evidence in [key.bundle(&BTreeMap::new()), key.legacy_evidence()] {
        let verified = verify_image(&evidence, &key.authority(), &requirement).unwrap();
        assert_eq!(verified.checks(), [Check::KeySignature]);
        assert_eq!(verified.claimed(), Some(&subject()));
        let other_key = Key::generate().authority();
        let reject = verify_image(&evidence, &other_key, &requirement).unwrap_err();
        assert_eq!(reject, Reject::WrongSignature);
    }
    let attestation =
        key.statement_bundle(|s| s["predicateType"] = "https://slsa.dev/provenance/v1".into());
    let reject = verify_image(&attestation, &key.authority(), &requirement).unwrap_err();
    assert_eq!(reject.code(), "not-a-signature");
    let no_subject = key.statement_bundle(|s| s["subject"] = json!([]));
    let reject = verify_image(&no_subject, &key.authority(), &requirement).unwrap_err();
    assert_eq!(reject.code(), "no-subject");
    let malformed = key.signed_payload(b"{}");
    let reject = verify_image(&malformed, &key.authority(), &requirement).unwrap_err();
    assert_eq!(reject.code(), "bad-field");
}

#[test]
fn a_certificate_beside_a_legacy_signature_does_not_matter() {
    let key = Key::generate();
    let evidence = key.changed_legacy(|layer| {
        layer.annotations.insert(annotation::CERTIFICATE.to_owned(), "any text".to_owned());
        layer.annotations.insert(annotation::CHAIN.to_owned(), String::new());
    });
    assert!(verify_image(&evidence, &key.authority(), &requirement()).is_ok());
}

#[test]
fn log_material_is_told_but_not_judged() {
    let key = Key::generate();
    let bundle = key.changed_bundle(|b| {
        b["verificationMaterial"]["tlogEntries"] = json!([{ "logIndex": "1" }]);
    });
    assert!(verify_image(&bundle, &key.authority(), &requirement()).unwrap().has_log_material());
    let legacy = key.changed_legacy(|layer| {
        let stamp = r#"{"SignedRFC3161Timestamp":"dHM="}"#.to_owned();
        layer.annotations.insert(annotation::TIMESTAMP.to_owned(), stamp);
    });
    assert!(verify_image(&legacy, &key.authority(), &requirement()).unwrap().has_log_material());
}

#[test]
fn one_of_several_subjects_is_enough_but_digest_and_annotation_go_together() {
    let key = Key::generate();
    let other = "0".repeat(64);
    let bundle = key.statement_bundle(|s| {
        s["subject"] = json!([
            { "digest": { "sha256": other }, "annotations": { "a": "1" } },
            { "digest": { "sha256": subject().hex() } },
        ]);
    });
    assert!(verify_image(&bundle, &key.authority(), &requirement()).is_ok());
    let requirement =
        ImageSignatureRequirement { annotations: annotations(&[("a", "1")]), ..requirement() };
    let reject = verify_image(&bundle, &key.authority(), &requirement).unwrap_err();
    assert_eq!(reject.code(), "missing-annotation");
}

#[test]
fn other_digest_algorithms_are_compared_as_such() {
    let key = Key::generate();
    let sha512 = Digest::with(crate::digest::Algorithm::Sha512, b"image");
    let bundle = key.statement_bundle(|s| {
        s["subject"] = json!([{ "digest": { "sha512": sha512.hex() } }]);
    });
    let asked = ImageSignatureRequirement { digest: sha512, ..requirement() };
    assert!(verify_image(&bundle, &key.authority(), &asked).is_ok());
    let reject = verify_image(&bundle, &key.authority(), &requirement()).unwrap_err();
    assert_eq!(reject.code(), "other-subject");
}

#[test]
fn no_key_and_no_usable_hash_have_codes_of_their_own() {
    let key = Key::generate();
    let code = |keys, hash| {
        let authority = KeyAuthority { keys, hash };
        verify_image(&key.legacy_evidence(), &authority, &requirement()).unwrap_err().code()
    };
    assert_eq!(code(Vec::new(), None), "no-key");
    assert_eq!(code(vec![key.public.clone()], Some(HashAlgorithm::Sha224)), "unsupported-hash");
    assert_eq!(code(vec![key.public.clone()], Some(HashAlgorithm::Sha384)), "wrong-signature");
}

#[test]
fn what_is_unusable_says_why() {
    let reason = Reject::MediaType(crate::reject::Foreign::new("text/plain"));
    let origin = workbench::origin();
    let evidence = Evidence::Unusable { origin, reason: reason.clone() };
    let key = Key::generate();
    assert_eq!(verify_image(&evidence, &key.authority(), &requirement()).unwrap_err(), reason);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Any flipped bit of what is signed, or of the signature, is fatal.
    #[test]
    fn a_flipped_bit_never_verifies(at: prop::sample::Index, bit in 0..8, in_signature: bool) {
        let key = Key::generate();
        let flip = |bytes: &mut Vec<u8>| {
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
        };
        let mut bundle = Bundle::parse(&key.bundle_json()).unwrap();
        let Content::Envelope(envelope) = &mut bundle.content else { panic!() };
        flip(if in_signature { &mut envelope.signatures[0] } else { &mut envelope.payload });
        let evidence = workbench::evidence(bundle.to_json());
        let reject = verify_image(&evidence, &key.authority(), &requirement()).unwrap_err();
        prop_assert_eq!(reject, Reject::WrongSignature);

        let evidence = key.changed_legacy(|layer| {
            if in_signature {
                let note = layer.annotations.get_mut(annotation::SIGNATURE).unwrap();
                let mut signature = STANDARD.decode(&*note).unwrap();
                flip(&mut signature);
                *note = STANDARD.encode(signature);
            } else {
                let mut payload = layer.payload.to_vec();
                flip(&mut payload);
                layer.payload = payload.into();
            }
        });
        let reject = verify_image(&evidence, &key.authority(), &requirement()).unwrap_err();
        prop_assert_eq!(reject, Reject::WrongSignature);
    }

    /// Whatever byte of the bundle's text changes: never a panic, and if it still verifies,
    /// then exactly the same was signed.
    #[test]
    fn a_changed_text_verifies_only_the_same_statement(at: prop::sample::Index, byte: u8) {
        let key = Key::generate();
        let mut json = key.bundle_json();
        let at = at.index(json.len());
        json[at] = byte;
        let evidence = workbench::evidence(json);
        if let Ok(verified) = verify_image(&evidence, &key.authority(), &requirement()) {
            prop_assert_eq!(verified.payload(), key.statement().to_string().into_bytes());
        }
    }
}
