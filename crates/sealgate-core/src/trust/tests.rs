//! Reading and writing of trust roots.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::time::{Edge, seconds, text};

const PUBLIC_GOOD: &[u8] = include_bytes!("../../tests/data/trusted_root.json");

fn public_good() -> TrustRoot {
    TrustRoot::parse(PUBLIC_GOOD).unwrap()
}

fn changed(change: impl FnOnce(&mut Value)) -> Result<TrustRoot, InvalidTrustRoot> {
    let mut value: Value = serde_json::from_slice(PUBLIC_GOOD).unwrap();
    change(&mut value);
    TrustRoot::parse(value.to_string().as_bytes())
}

#[test]
fn the_public_good_root_is_read() {
    let root = public_good();
    let counts = [
        root.certificate_authorities.len(),
        root.transparency_logs.len(),
        root.ct_logs.len(),
        root.timestamp_authorities.len(),
        root.skipped.len(),
    ];
    assert_eq!(counts, [2, 2, 2, 1, 0]);
    let first = &root.certificate_authorities[0];
    // 2022-12-31T23:59:59.999Z: the last whole second in it.
    assert_eq!(first.validity, Validity { start: Some(1_615_087_229), end: Some(1_672_531_199) });
    assert_eq!(root.certificate_authorities[1].intermediates().len(), 1);
    let [v1, v2] = root.transparency_logs.as_slice() else { panic!() };
    assert_eq!(
        (v1.origin.as_str(), v2.origin.as_str()),
        ("rekor.sigstore.dev", "log2025-1.rekor.sigstore.dev")
    );
    // What the document gives is what we compute: the hash of the key, and of the noted name.
    assert_eq!(v1.log_id(), v1.key.id());
    assert_eq!(v2.log_id(), v2.note_id());
    assert!(v2.is_named(&v2.key.id()) && !v2.is_named(v1.log_id()) && !v2.is_named(b""));
    assert!(v2.checkpoint_key_ids().contains(v2.log_id().first_chunk().unwrap()));
}

#[test]
fn both_spellings_and_all_media_types_are_read() {
    for version in [
        "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
        "application/vnd.dev.sigstore.trustedroot.v0.1+json",
        "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    ] {
        assert_eq!(changed(|root| root["mediaType"] = version.into()), Ok(public_good()));
    }
    let snake = String::from_utf8(PUBLIC_GOOD.to_vec()).unwrap();
    let mut snake = snake.replace("mediaType", "media_type");
    for (camel, other) in [
        ("baseUrl", "base_url"),
        ("hashAlgorithm", "hash_algorithm"),
        ("publicKey", "public_key"),
        ("rawBytes", "raw_bytes"),
        ("keyDetails", "key_details"),
        ("validFor", "valid_for"),
        ("logId", "log_id"),
        ("keyId", "key_id"),
        ("certChain", "cert_chain"),
        ("certificateAuthorities", "certificate_authorities"),
        ("timestampAuthorities", "timestamp_authorities"),
    ] {
        snake = snake.replace(camel, other);
    }
    assert_eq!(TrustRoot::parse(snake.as_bytes()), Ok(public_good()));
    let numbers = changed(|root| {
        root["tlogs"][0]["hashAlgorithm"] = 1.into();
        root["tlogs"][1]["publicKey"]["keyDetails"] = 7.into();
    });
    assert_eq!(numbers, Ok(public_good()));
}

#[test]
fn what_cannot_be_used_is_skipped_and_told_and_the_rest_counts() {
    for change in [
        |log: &mut Value| log["publicKey"]["keyDetails"] = "PKIX_ED25519_PH".into(),
        |log: &mut Value| log["publicKey"]["keyDetails"] = 99.into(),
        |log: &mut Value| log["publicKey"]["keyDetails"] = "PKIX_ED25519".into(),
        |log: &mut Value| log["publicKey"]["validFor"] = json!({}),
        |log: &mut Value| log["publicKey"] = Value::Null,
        |log: &mut Value| log["hashAlgorithm"] = "SHA2_512".into(),
    ] {
        let root = changed(|root| change(&mut root["tlogs"][0])).unwrap();
        assert_eq!((root.transparency_logs.len(), root.skipped.len()), (1, 1));
        assert_eq!(root.skipped[0].uri.as_str(), "https://rekor.sigstore.dev");
    }
}

#[test]
fn what_is_malformed_is_refused() {
    let refused: &[fn(&mut Value)] = &[
        |root| root["mediaType"] = "application/vnd.dev.sigstore.trustedroot+json;version=9".into(),
        |root| root["mediaType"] = Value::Null,
        |root| root["tlogs"][0]["publicKey"]["rawBytes"] = "AAAA".into(),
        |root| root["tlogs"][0]["publicKey"]["rawBytes"] = "-_-_".into(),
        |root| root["tlogs"][0]["publicKey"]["validFor"]["start"] = "yesterday".into(),
        |root| root["tlogs"][0]["PublicKey"] = json!({}),
        |root| root["tlogs"] = vec![json!({}); 65].into(),
        |root| root["tlogs"] = json!({}),
        |root| root["certificateAuthorities"][0]["certChain"] = json!({ "certificates": [] }),
        |root| root["certificateAuthorities"][0]["certChain"]["certificates"][0] = json!({}),
        |root| {
            let one = root["certificateAuthorities"][0]["certChain"]["certificates"][0].clone();
            let chain = &mut root["certificateAuthorities"][0]["certChain"]["certificates"];
            *chain = vec![one; 9].into();
        },
    ];
    for (at, change) in refused.iter().enumerate() {
        assert!(changed(change).is_err(), "{at}");
    }
    assert!(TrustRoot::parse(b"").is_err());
}

#[test]
fn what_is_written_is_read_and_has_the_same_fingerprint() {
    let root = public_good();
    let again = TrustRoot::parse(root.to_json().as_bytes()).unwrap();
    assert_eq!(again, root);
    assert_eq!(again.fingerprint(), root.fingerprint());
    let other = changed(|root| {
        root["tlogs"][0]["publicKey"]["validFor"]["start"] = "2020-01-01T00:00:00Z".into()
    });
    assert_ne!(other.unwrap().fingerprint(), root.fingerprint());
    // A log that cannot be used is asked for all the same: that is another answer.
    let skipped = |part| Skipped { part, uri: Foreign::new("u"), reason: Foreign::new("r") };
    let with = |part| TrustRoot { skipped: vec![skipped(part)], ..root.clone() }.fingerprint();
    let prints = [with(Part::TransparencyLog), with(Part::CtLog), root.fingerprint()];
    assert_eq!(std::collections::BTreeSet::from(prints).len(), 3);
}

#[test]
fn windows_hold_both_ends() {
    let window = Validity { start: Some(5), end: Some(7) };
    assert_eq!([4, 5, 7, 8].map(|t| window.contains(t)), [false, true, true, false]);
    assert!(Validity::default().contains(i64::MIN) && Validity::default().contains(i64::MAX));
}

#[test]
fn times_are_read_as_rfc_3339_has_them() {
    for (written, want) in [
        ("1970-01-01T00:00:00Z", Some(0)),
        ("2000-02-29T12:34:56Z", Some(951_827_696)),
        ("2025-09-23T00:00:00+02:00", Some(1_758_578_400)),
        ("2025-09-23T00:00:00-02:30", Some(1_758_594_600)),
        ("1969-12-31T23:59:59Z", Some(-1)),
        ("0001-01-01T00:00:00Z", Some(-62_135_596_800)),
        ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
        ("2025-02-29T00:00:00Z", None),
        ("2025-00-01T00:00:00Z", None),
        ("2025-01-32T00:00:00Z", None),
        ("2025-01-01T24:00:00Z", None),
        ("2025-01-01T00:60:00Z", None),
        ("2025-01-01T00:00:60Z", None),
        ("2025-01-01 00:00:00Z", None),
        ("2025-01-01T00:00:00", None),
        ("2025-01-01T00:00:00.Z", None),
        ("2025-01-01T00:00:00z", None),
        ("2025-01-01T00:00:00+1:00", None),
        ("2025-01-01T00:00:00+01:00 ", None),
        ("2025-01-01T00:00:00é", None),
        ("+025-01-01T00:00:00Z", None),
        ("", None),
    ] {
        assert_eq!(seconds(written, Edge::End), want, "{written}");
    }
    assert_eq!(seconds("1970-01-01T00:00:00.5Z", Edge::Start), Some(1));
    assert_eq!(seconds("1970-01-01T00:00:00.5Z", Edge::End), Some(0));
    assert_eq!(seconds("1970-01-01T00:00:00.000Z", Edge::Start), Some(0));
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn objects() -> SigstoreKeys {
    let root = public_good();
    let authority = |authority: &CertificateAuthority| AuthorityObject {
        uri: authority.uri.clone(),
        cert_chain: authority.chain().iter().map(|der| pem("CERTIFICATE", der)).collect(),
        validity: authority.validity,
    };
    let log = |log: &TransparencyLog| LogObject {
        base_url: log.base_url.clone(),
        hash_algorithm: "sha-256".to_owned(),
        public_key: log.key.key.to_pem(),
        validity: log.validity,
    };
    SigstoreKeys {
        certificate_authorities: root.certificate_authorities.iter().map(authority).collect(),
        t_logs: root.transparency_logs.iter().map(log).collect(),
        ct_logs: root.ct_logs.iter().map(log).collect(),
        timestamp_authorities: root.timestamp_authorities.iter().map(authority).collect(),
    }
}

#[test]
fn the_keys_of_an_object_are_the_same_trust_root() {
    let (root, of_keys) = (public_good(), TrustRoot::of_keys(&objects()).unwrap());
    assert_eq!(of_keys.certificate_authorities, root.certificate_authorities);
    assert_eq!(of_keys.timestamp_authorities, root.timestamp_authorities);
    for (ours, theirs) in of_keys.logs().zip(root.logs()) {
        assert_eq!((&ours.key.key, ours.validity), (&theirs.key.key, theirs.validity));
        // The object names no id: entries that use the document's are found all the same.
        assert!(ours.is_named(theirs.log_id()));
    }
    let mut turned = objects();
    let chain = &mut turned.certificate_authorities[1].cert_chain;
    let mut blocks: Vec<_> = chain.split_inclusive("-----END CERTIFICATE-----\n").collect();
    blocks.reverse();
    *chain = blocks.concat();
    assert_eq!(TrustRoot::of_keys(&turned), TrustRoot::of_keys(&objects()));
}

#[test]
fn objects_that_are_malformed_are_refused() {
    let refused: &[fn(&mut SigstoreKeys)] = &[
        |keys| keys.certificate_authorities[0].cert_chain.clear(),
        |keys| keys.certificate_authorities[0].cert_chain.truncate(200),
        |keys| keys.certificate_authorities[0].cert_chain = pem("CERTIFICATE", b"x"),
        |keys| keys.certificate_authorities[0].cert_chain = pem("PUBLIC KEY", b"x"),
        |keys| keys.t_logs[0].public_key.clear(),
        |keys| keys.t_logs = vec![keys.t_logs[0].clone(); 65],
        |keys| {
            let one = keys.certificate_authorities[0].cert_chain.clone();
            keys.certificate_authorities[0].cert_chain = one.repeat(9);
        },
    ];
    for (at, change) in refused.iter().enumerate() {
        let mut keys = objects();
        change(&mut keys);
        assert!(TrustRoot::of_keys(&keys).is_err(), "{at}");
    }
    let mut keys = objects();
    keys.t_logs[0].hash_algorithm = "sha-512".to_owned();
    assert_eq!(TrustRoot::of_keys(&keys).unwrap().skipped.len(), 1);
}

#[test]
fn the_origin_is_the_host_name() {
    for (url, host) in [
        ("https://rekor.example/api", "rekor.example"),
        ("https://rekor.example:8080", "rekor.example"),
        ("https://user:pw@rekor.example:8080/x?y#z", "rekor.example"),
        ("http://[::1]:3000/", "::1"),
        ("rekor.example", "rekor.example"),
        ("", ""),
    ] {
        assert_eq!(host_name(url), host, "{url}");
    }
}

proptest! {
    #[test]
    fn a_written_time_is_the_same_time(time in -62_135_596_800i64..=253_402_300_799) {
        prop_assert_eq!(seconds(&text(time), Edge::Start), Some(time));
    }

    #[test]
    fn any_text_is_read_without_panic(bytes: Vec<u8>, line: String, at: prop::sample::Index, byte: u8) {
        let _ = TrustRoot::parse(&bytes);
        let _ = (seconds(&line, Edge::End), host_name(&line).len());
        let _ = crate::x509::pem::read(&line, 8);
        let mut changed = PUBLIC_GOOD.to_vec();
        let at = at.index(changed.len());
        changed[at] = byte;
        let _ = TrustRoot::parse(&changed);
    }
}
