//! Bundles that are read, bundles that are refused, and what is written is read again.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const HASH: &str = "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=";

fn good() -> Value {
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": "h" } },
        "dsseEnvelope": {
            "payload": "e30=",
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": "c2ln" }],
        },
    })
}

fn with_log() -> Value {
    let mut bundle = good();
    bundle["verificationMaterial"]["tlogEntries"] = json!([{
        "logIndex": "7", "logId": { "keyId": "aWQ=" },
        "kindVersion": { "kind": "dsse", "version": "0.0.1" },
        "integratedTime": "1700000000",
        "inclusionPromise": { "signedEntryTimestamp": "c2V0" },
        "inclusionProof": {
            "logIndex": "3", "rootHash": "cm9vdA==", "treeSize": "9",
            "hashes": ["aA=="], "checkpoint": { "envelope": "note\n" },
        },
        "canonicalizedBody": "Ym9keQ==",
    }]);
    bundle["verificationMaterial"]["timestampVerificationData"] =
        json!({ "rfc3161Timestamps": [{ "signedTimestamp": "dHM=" }] });
    bundle
}

fn read(value: &Value) -> Result<Bundle, Reject> {
    Bundle::parse(value.to_string().as_bytes())
}

/// The good bundle with one member replaced, or removed where `to` is null.
fn code(path: &str, to: Value) -> &'static str {
    let mut bundle = with_log();
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = bundle.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list[name.parse::<usize>().unwrap()] = to,
        parent => parent[name] = to,
    }
    read(&bundle).err().map_or("accepted", |reject| reject.code())
}

#[test]
fn reads_every_version_and_both_spellings() {
    for (name, version) in [
        ("application/vnd.dev.sigstore.bundle+json;version=0.1", Version::V01),
        ("application/vnd.dev.sigstore.bundle+json;version=0.2", Version::V02),
        ("application/vnd.dev.sigstore.bundle+json;version=0.3", Version::V03),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", Version::V03),
    ] {
        let mut bundle = good();
        bundle["mediaType"] = name.into();
        assert_eq!(read(&bundle).unwrap().version, version);
    }
    let text = with_log().to_string();
    let mut snake = text.clone();
    for (camel, original) in [
        ("mediaType", "media_type"),
        ("verificationMaterial", "verification_material"),
        ("publicKey", "public_key"),
        ("tlogEntries", "tlog_entries"),
        ("logIndex", "log_index"),
        ("logId", "log_id"),
        ("keyId", "key_id"),
        ("kindVersion", "kind_version"),
        ("integratedTime", "integrated_time"),
        ("inclusionPromise", "inclusion_promise"),
        ("signedEntryTimestamp", "signed_entry_timestamp"),
        ("inclusionProof", "inclusion_proof"),
        ("rootHash", "root_hash"),
        ("treeSize", "tree_size"),
        ("canonicalizedBody", "canonicalized_body"),
        ("timestampVerificationData", "timestamp_verification_data"),
        ("rfc3161Timestamps", "rfc3161_timestamps"),
        ("signedTimestamp", "signed_timestamp"),
        ("dsseEnvelope", "dsse_envelope"),
        ("payloadType", "payload_type"),
    ] {
        assert!(snake.contains(camel), "{camel}");
        snake = snake.replace(&format!("\"{camel}\""), &format!("\"{original}\""));
    }
    assert_eq!(Bundle::parse(snake.as_bytes()), Bundle::parse(text.as_bytes()));
}

#[test]
fn keeps_log_material_and_unknown_fields_do_not_matter() {
    let mut value = with_log();
    value["future"] = json!({ "x": 1 });
    let bundle = read(&value).unwrap();
    assert_eq!(bundle.log.entries[0].log_index, 7);
    assert_eq!(bundle.log.entries[0].proof.as_ref().unwrap().tree_size, 9);
    assert_eq!(bundle.log.timestamps, [b"ts".to_vec()]);
    assert_eq!(Bundle::parse(bundle.to_json().as_bytes()), Ok(bundle));
    assert!(read(&good()).unwrap().log.is_empty());
}

#[test]
fn refuses_the_frame_with_the_right_code() {
    assert_eq!(
        code("/mediaType", json!("application/vnd.dev.sigstore.bundle.v0.4+json")),
        "bundle-version"
    );
    assert_eq!(code("/mediaType", Value::Null), "bundle-version");
    assert_eq!(code("/mediaType", json!(3)), "bad-field");
    assert_eq!(code("/media_type", json!("x")), "ambiguous-key");
    assert_eq!(code("/MediaType", json!("x")), "ambiguous-key");
    assert_eq!(code("/verificationMaterial", Value::Null), "no-verification-material");
    assert_eq!(code("/verificationMaterial", json!({})), "no-verification-material");
    assert_eq!(code("/verificationMaterial", json!([])), "bad-field");
    assert_eq!(
        code("/verificationMaterial/certificate", json!({ "rawBytes": "" })),
        "several-verification-materials"
    );
    assert_eq!(code("/verificationMaterial/publicKey/hint", json!(1)), "bad-field");
    assert_eq!(code("/dsseEnvelope", Value::Null), "no-content");
    assert_eq!(code("/messageSignature", json!({ "signature": "" })), "several-contents");
    assert_eq!(code("/dsseEnvelope/signatures", json!([])), "missing-signature");
    assert_eq!(
        code("/dsseEnvelope/signatures", json!([{ "sig": "" }, { "sig": "" }])),
        "several-signatures"
    );
    assert_eq!(code("/dsseEnvelope/payload", json!("e30")), "bad-base64");
    assert_eq!(code("/dsseEnvelope/payload", json!("e3 0=")), "bad-base64");
    assert_eq!(code("/dsseEnvelope/signatures/0", json!({ "sig": "_-==" })), "bad-base64");
    assert_eq!(code("/unknown", json!(1)), "accepted");
}

/// Values cost more than bytes, and a bundle is read before anything in it is verified.
#[test]
fn a_bundle_of_many_values_is_refused() {
    let with = |values: usize| {
        let mut bundle = with_log();
        bundle["unknown"] = json!(vec![0; values]);
        read(&bundle).err().map_or("accepted", |reject| reject.code())
    };
    assert_eq!(with(16_000), "accepted");
    assert_eq!(with(16_384), "too-many");
}

#[test]
fn all_timestamps_together_are_bounded() {
    let with = |count: usize, size: usize| {
        let timestamp = json!({ "signedTimestamp": STANDARD.encode(vec![0; size]) });
        let timestamps = json!({ "rfc3161Timestamps": vec![timestamp; count] });
        code("/verificationMaterial/timestampVerificationData", timestamps)
    };
    assert_eq!(with(32, 8 << 10), "accepted");
    assert_eq!(with(4, 64 << 10), "accepted");
    assert_eq!(with(5, 64 << 10), "too-large");
    assert_eq!(with(1, (64 << 10) + 1), "too-large");
    assert_eq!(with(33, 1), "too-many");
}

#[test]
fn refuses_malformed_log_material() {
    let entry = "/verificationMaterial/tlogEntries/0";
    let with = |field: &str, to| code(&format!("{entry}/{field}"), to);
    assert_eq!(with("logIndex", json!("0x7")), "bad-field");
    assert_eq!(with("logIndex", json!(7)), "accepted");
    assert_eq!(with("logIndex", json!("9223372036854775808")), "bad-field");
    assert_eq!(with("integratedTime", json!(1.5)), "bad-field");
    assert_eq!(with("logId", json!("id")), "bad-field");
    assert_eq!(with("inclusionProof/hashes", json!("aA==")), "bad-field");
    assert_eq!(with("inclusionProof/hashes", json!(vec!["aA=="; 65])), "too-many");
    assert_eq!(with("inclusionProof/hashes", json!(["a"])), "bad-base64");
    assert_eq!(with("canonicalizedBody", json!("*")), "bad-base64");
    let large = STANDARD.encode(vec![0; (1 << 20) + 1]);
    assert_eq!(with("canonicalizedBody", json!(large)), "too-large");
    assert_eq!(code("/verificationMaterial/tlogEntries", json!(vec![json!({}); 33])), "too-many");
    let stamps = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";
    assert_eq!(code(stamps, json!(vec![json!({}); 33])), "too-many");
    assert_eq!(code(stamps, json!([1])), "bad-field");
}

#[test]
fn message_digests_are_read_and_checked_for_shape() {
    let bundle = |digest: Value| {
        let mut bundle = good();
        bundle["dsseEnvelope"] = Value::Null;
        bundle["messageSignature"] = json!({ "messageDigest": digest, "signature": "c2ln" });
        read(&bundle)
    };
    for algorithm in [json!("SHA2_256"), json!(1)] {
        let read = bundle(json!({ "algorithm": algorithm, "digest": HASH })).unwrap();
        let Content::Message(message) = &read.content else { panic!() };
        assert_eq!(message.digest, Some(Digest::of(b"{}")));
    }
    let code = |digest| bundle(digest).unwrap_err().code();
    assert_eq!(
        code(json!({ "algorithm": "SHA3_256", "digest": HASH })),
        "message-digest-algorithm"
    );
    assert_eq!(code(json!({ "digest": HASH })), "message-digest-algorithm");
    assert_eq!(code(json!({ "algorithm": "SHA2_512", "digest": HASH })), "bad-field");
    assert_eq!(code(json!({ "algorithm": "SHA2_256" })), "bad-field");
    assert!(bundle(Value::Null).is_ok());
}

#[test]
fn legacy_annotations_are_read_for_their_shape() {
    let entry = r#"{"SignedEntryTimestamp":"c2V0","Payload":{"body":"Ym9keQ==","integratedTime":1,"logIndex":2,"logID":"c0de"}}"#;
    let stamp = r#"{"SignedRFC3161Timestamp":"dHM="}"#;
    let material = LogMaterial::of_annotations(entry, stamp).unwrap();
    assert_eq!((material.entries[0].log_index, material.timestamps.len()), (2, 1));
    assert!(LogMaterial::of_annotations("", "").unwrap().is_empty());
    assert!(LogMaterial::of_annotations("null", "null").unwrap().is_empty());
    for (entry, stamp, code) in [
        ("{", "", "not-json"),
        ("{}", "", "bad-field"),
        (&entry.replace("c0de", "xyz"), "", "bad-field"),
        (&entry.replace("c2V0", "c2V"), "", "bad-base64"),
        ("", "[]", "bad-field"),
        ("", r#"{"SignedRFC3161Timestamp":"*"}"#, "bad-base64"),
    ] {
        assert_eq!(
            LogMaterial::of_annotations(entry, stamp).unwrap_err().code(),
            code,
            "{entry}{stamp}"
        );
    }
}

prop_compose! {
    fn any_bundle()(
        hint: String,
        chain in prop::collection::vec(any::<Vec<u8>>(), 0..3),
        material in 0..3,
        payload: Vec<u8>,
        payload_type: String,
        signature: Vec<u8>,
        is_message: bool,
        digest in prop::option::of(any::<[u8; 8]>()),
        timestamps in prop::collection::vec(any::<Vec<u8>>(), 0..3),
        numbers: (i64, i64, i64),
    ) -> Bundle {
        let material = match material {
            0 => VerificationMaterial::PublicKey { hint },
            1 => VerificationMaterial::Certificate(payload.clone()),
            _ => VerificationMaterial::CertificateChain(chain),
        };
        let digest = digest.map(|bytes| Digest::with(Algorithm::Sha384, &bytes));
        let content = match is_message {
            true => Content::Message(MessageSignature { digest, signature }),
            false => Content::Envelope(Envelope { payload_type, payload, signatures: vec![signature] }),
        };
        let entry = LogEntry { log_index: numbers.0, integrated_time: numbers.1, ..LogEntry::default() };
        let log = LogMaterial { entries: vec![entry], timestamps };
        Bundle { version: Version::V02, material, log, content }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, entry: String) {
        let _ = Bundle::parse(&bytes);
        let _ = LogMaterial::of_annotations(&entry, &entry);
    }

    #[test]
    fn a_changed_byte_never_panics(at: prop::sample::Index, byte: u8) {
        let mut bytes = with_log().to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Bundle::parse(&bytes);
    }

    #[test]
    fn what_is_written_is_read(bundle in any_bundle()) {
        prop_assert_eq!(Bundle::parse(bundle.to_json().as_bytes()), Ok(bundle));
    }
}
