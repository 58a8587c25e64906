//! Blob signatures: detached and in bundles, over content and over digests of it.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::workbench::Key;
use super::*;
use crate::digest::Algorithm;
use crate::dsse::{IN_TOTO, pae};
use crate::key::tests::spki;

const BLOB: &[u8] = b"a blob";

fn message_bundle(key: &Key) -> Value {
    let bundle = Bundle::of_message(Digest::of(BLOB), key.sign(BLOB), &key.public);
    serde_json::from_str(&bundle.to_json()).unwrap()
}

fn code(key: &Key, evidence: &[u8], artifact: Artifact<'_>) -> &'static str {
    let evidence = match evidence.first() {
        Some(b'{') => BlobSignature::Bundle(evidence),
        _ => BlobSignature::Detached(evidence),
    };
    verify_blob(evidence, &key.authority(), artifact).err().map_or("ok", |reject| reject.code())
}

#[test]
fn detached_signatures_verify_in_every_spelling() {
    let key = Key::generate();
    let raw = key.sign(BLOB);
    let text = STANDARD.encode(&raw);
    let wrapped = format!("{}\r\n{}\n", &text[..40], &text[40..]);
    let digests = [Digest::of(BLOB)];
    for signature in [&raw[..], text.as_bytes(), wrapped.as_bytes()] {
        assert_eq!(code(&key, signature, Artifact::Content(BLOB)), "ok");
        assert_eq!(code(&key, signature, Artifact::Digests(&digests)), "ok");
        assert_eq!(code(&key, signature, Artifact::Content(b"x")), "wrong-signature");
        let other = [Digest::of(b"x")];
        assert_eq!(code(&key, signature, Artifact::Digests(&other)), "wrong-signature");
        assert_eq!(code(&key, signature, Artifact::Digests(&[])), "needs-content");
    }
    assert_eq!(code(&key, b"", Artifact::Content(BLOB)), "missing-signature");
    assert_eq!(code(&key, &[7; 5000], Artifact::Content(BLOB)), "too-large");
    assert_eq!(code(&Key::generate(), &raw, Artifact::Content(BLOB)), "wrong-signature");
}

#[test]
fn message_bundles_verify_and_must_name_the_right_digest() {
    let key = Key::generate();
    let good = message_bundle(&key);
    let digests = [Digest::of(BLOB)];
    let read = |value: &Value, artifact| code(&key, value.to_string().as_bytes(), artifact);
    assert_eq!(read(&good, Artifact::Content(BLOB)), "ok");
    assert_eq!(read(&good, Artifact::Digests(&digests)), "ok");
    assert_eq!(read(&good, Artifact::Content(b"x")), "message-digest");
    let mut breaks = good.clone();
    for place in ["/messageSignature/signature", "/messageSignature/messageDigest/digest"] {
        let text = breaks.pointer_mut(place).unwrap();
        *text = broken(text.as_str().unwrap()).into();
    }
    assert_eq!(read(&breaks, Artifact::Content(BLOB)), "ok");
    let changed = |change: fn(&mut Value)| {
        let mut bundle = message_bundle(&key);
        change(&mut bundle);
        read(&bundle, Artifact::Digests(&digests))
    };
    let message = "messageSignature";
    let mut no_digest = good.clone();
    no_digest[message]["messageDigest"] = Value::Null;
    assert_eq!(read(&no_digest, Artifact::Content(BLOB)), "ok");
    no_digest[message]["messageDigest"] = json!({});
    assert_eq!(read(&no_digest, Artifact::Content(BLOB)), "ok");
    assert_eq!(read(&no_digest, Artifact::Content(b"x")), "wrong-signature");
    let sha512 = Digest::with(Algorithm::Sha512, BLOB);
    let mut other = good.clone();
    other[message]["messageDigest"] = json!({
        "algorithm": "SHA2_512", "digest": STANDARD.encode(hex::decode(sha512.hex()).unwrap()),
    });
    assert_eq!(read(&other, Artifact::Content(BLOB)), "ok");
    assert_eq!(read(&other, Artifact::Digests(&digests)), "needs-content");
    assert_eq!(changed(|b| b["messageSignature"]["signature"] = "".into()), "missing-signature");
    assert_eq!(changed(|b| b["messageSignature"]["signature"] = "AAAA".into()), "wrong-signature");
    assert_eq!(
        changed(|b| b["verificationMaterial"] = json!({ "certificate": { "rawBytes": "AA==" } })),
        "certificate-in-bundle"
    );
}

#[test]
fn statement_bundles_must_be_about_the_blob() {
    let key = Key::generate();
    let bundle = |digest: &Digest, name: &str| {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": "blob", "digest": { name: digest.hex() } }],
            "predicateType": "https://example.com/test",
        });
        key.bundle_of(statement.to_string().as_bytes())
    };
    let good = bundle(&Digest::of(BLOB), "sha256");
    let evidence = BlobSignature::Bundle(good.as_bytes());
    let verified = verify_blob(evidence, &key.authority(), Artifact::Content(BLOB)).unwrap();
    assert_eq!(verified.predicate_type(), Some("https://example.com/test"));
    assert_eq!(verified.key(), &key.public.fingerprint());
    assert_eq!(code(&key, good.as_bytes(), Artifact::Digests(&[Digest::of(BLOB)])), "ok");
    assert_eq!(code(&key, good.as_bytes(), Artifact::Content(b"x")), "other-subject");
    assert_eq!(code(&key, good.as_bytes(), Artifact::Digests(&[])), "other-subject");
    let sha512 = bundle(&Digest::with(Algorithm::Sha512, BLOB), "sha512");
    assert_eq!(code(&key, sha512.as_bytes(), Artifact::Content(BLOB)), "ok");
    let empty = json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "x",
    });
    let empty = key.bundle_of(empty.to_string().as_bytes());
    assert_eq!(code(&key, empty.as_bytes(), Artifact::Content(BLOB)), "no-subject");
    let typed = good.replace(IN_TOTO, "text/plain");
    assert_eq!(code(&key, typed.as_bytes(), Artifact::Content(BLOB)), "envelope-type");
}

#[test]
fn ed25519_needs_the_content_and_says_so() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = spki("1.3.101.112", None, pair.public_key().as_ref());
    let public = PublicKey::from_spki_der(&public).unwrap();
    let authority = KeyAuthority { keys: vec![public.clone()], hash: None };
    assert_eq!(authority.blob_digests(), None);
    let signature = pair.sign(BLOB);
    let evidence = BlobSignature::Detached(signature.as_ref());
    assert!(verify_blob(evidence, &authority, Artifact::Content(BLOB)).is_ok());
    let digests = [Digest::of(BLOB)];
    let reject = verify_blob(evidence, &authority, Artifact::Digests(&digests)).unwrap_err();
    assert_eq!(reject, Reject::NeedsContent);
    // in an envelope the key signs the envelope, so that a digest of the blob is enough
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": digests[0].hex() } }],
        "predicateType": "https://example.com/test",
    });
    let statement = statement.to_string().into_bytes();
    let signature = pair.sign(&pae(IN_TOTO, &statement)).as_ref().to_vec();
    let bundle = Bundle::of_statement(statement, signature, &public).to_json();
    let evidence = BlobSignature::Bundle(bundle.as_bytes());
    assert!(verify_blob(evidence, &authority, Artifact::Digests(&digests)).is_ok());
}

#[test]
fn tells_which_digests_to_compute() {
    let key = Key::generate();
    assert_eq!(key.authority().blob_digests(), Some(vec![Algorithm::Sha256]));
    let authority = KeyAuthority { hash: Some(HashAlgorithm::Sha512), ..key.authority() };
    assert_eq!(authority.blob_digests(), Some(vec![Algorithm::Sha256, Algorithm::Sha512]));
    let authority = KeyAuthority { hash: Some(HashAlgorithm::Sha224), ..key.authority() };
    assert_eq!(authority.blob_digests(), None);
}

#[test]
fn the_older_bundle_is_read_too() {
    let key = Key::generate();
    let bundle = json!({
        "base64Signature": STANDARD.encode(key.sign(BLOB)),
        "cert": "cHVibGljIGtleQ==",
        "rekorBundle": {
            "SignedEntryTimestamp": "c2V0",
            "Payload": { "body": "e30=", "integratedTime": 1, "logIndex": 2, "logID": "c0de" },
        },
    });
    let read = |value: &Value| code(&key, value.to_string().as_bytes(), Artifact::Content(BLOB));
    assert_eq!(read(&bundle), "ok");
    let changed = |name: &str, to: Value| {
        let mut bundle = bundle.clone();
        bundle[name] = to;
        read(&bundle)
    };
    assert_eq!(changed("rekorBundle", Value::Null), "ok");
    let signature = bundle["base64Signature"].as_str().unwrap();
    assert_eq!(changed("base64Signature", broken(signature).into()), "ok");
    assert_eq!(changed("rekorBundle", json!([])), "bad-field");
    assert_eq!(changed("base64Signature", json!("AAAA")), "wrong-signature");
    assert_eq!(changed("base64Signature", json!("A")), "bad-base64");
    assert_eq!(changed("base64Signature", json!("")), "missing-signature");
    assert_eq!(changed("Cert", json!("")), "ambiguous-key");
    assert_eq!(changed("mediaType", json!("x")), "bundle-version");
    let other = code(&key, bundle.to_string().as_bytes(), Artifact::Content(b"x"));
    assert_eq!(other, "wrong-signature");
}
