//! Signatures and trust roots that are changed in one thing: each refused with its own code.

use serde_json::json;

use super::super::workbench::evidence;
use super::super::*;
use super::world::*;
use crate::bundle::{VerificationMaterial, Version};
use crate::certificate::tests::pki::{Leaf, NOW, Pki, Signer, leaf_params, set_window};
use crate::log::tests::workbench::{TestLog, pem};
use crate::statement::image_signature;
use crate::timestamp::tests::workbench::{SHA256, hash_bytes};
use crate::trust::{TransparencyLog, TrustRoot, Validity};

type LegacyRow = (&'static str, &'static str, fn(&mut LegacySignature, &World));

const LEGACY: &[LegacyRow] = &[
    ("no certificate", "no-certificate", |l, _| {
        l.annotations.remove(annotation::CERTIFICATE);
    }),
    ("another certificate for the same identity", "log-other-signer", |l, w| {
        let other = pem("CERTIFICATE", &w.pki.leaf().der);
        l.annotations.insert(annotation::CERTIFICATE.to_owned(), other);
    }),
    ("two certificates", "bad-certificate", |l, _| {
        let note = l.annotations.get_mut(annotation::CERTIFICATE).unwrap();
        *note = note.repeat(2);
    }),
    ("text for a certificate", "no-certificate", |l, _| {
        l.annotations.insert(annotation::CERTIFICATE.to_owned(), "x".to_owned());
    }),
    ("no log entry", "not-logged", |l, _| {
        l.annotations.remove(annotation::BUNDLE);
    }),
    ("the log entry of another signature", "log-other-signature", |l, w| {
        let other = w.legacy().annotations[annotation::BUNDLE].clone();
        l.annotations.insert(annotation::BUNDLE.to_owned(), other);
    }),
    ("the timestamp of another signature", "timestamp-imprint", |l, w| {
        let other = w.legacy().annotations[annotation::TIMESTAMP].clone();
        l.annotations.insert(annotation::TIMESTAMP.to_owned(), other);
    }),
    ("another payload", "log-other-digest", |l, _| {
        l.payload = [&l.payload[..], b" "].concat().into()
    }),
    ("an endless chain", "bad-certificate", |l, _| {
        let note = l.annotations.get_mut(annotation::CHAIN).unwrap();
        *note = note.repeat(9);
    }),
    ("many intermediates", "too-many", |l, w| {
        let one = pem("CERTIFICATE", &w.pki.intermediate.der);
        l.annotations.insert(annotation::CHAIN.to_owned(), one.repeat(5));
    }),
];

#[test]
fn legacy_signatures_that_were_changed_are_refused() {
    let world = World::new();
    for (name, expected, change) in LEGACY {
        let mut layer = world.legacy();
        change(&mut layer, &world);
        assert_eq!(code(world.judge(&Evidence::Legacy(layer), &wanted())), *expected, "{name}");
    }
}

type Row = (&'static str, &'static str, fn(&mut Bundle, &World));

const BUNDLES: &[Row] = &[
    ("nothing", "verified", |_, _| {}),
    ("a public key's bundle", "no-certificate", |b, _| {
        b.material = VerificationMaterial::PublicKey { hint: String::new() };
    }),
    ("another certificate for the same identity", "log-other-signer", |b, w| {
        b.material = VerificationMaterial::Certificate(w.pki.leaf().der);
    }),
    ("a certificate of an untrusted authority", "log-other-signer", |b, _| {
        b.material = VerificationMaterial::Certificate(Pki::new().leaf().der);
    }),
    ("no certificate at all", "log-other-signer", |b, _| {
        b.material = VerificationMaterial::Certificate(Vec::new());
    }),
    ("an empty chain", "no-certificate", |b, _| {
        b.material = VerificationMaterial::CertificateChain(Vec::new());
    }),
    ("a chain in version 0.3", "bad-certificate", |b, w| {
        let VerificationMaterial::Certificate(leaf) = b.material.clone() else { panic!() };
        let chain = vec![leaf, w.pki.intermediate.der.clone()];
        b.material = VerificationMaterial::CertificateChain(chain);
    }),
    ("a chain in version 0.2", "verified", |b, w| {
        let VerificationMaterial::Certificate(leaf) = b.material.clone() else { panic!() };
        let chain = vec![leaf, w.pki.intermediate.der.clone()];
        b.material = VerificationMaterial::CertificateChain(chain);
        b.version = Version::V02;
    }),
    ("a chain with its root", "bad-certificate", |b, w| {
        let VerificationMaterial::Certificate(leaf) = b.material.clone() else { panic!() };
        let chain = vec![leaf, w.pki.intermediate.der.clone(), w.pki.root.der.clone()];
        b.material = VerificationMaterial::CertificateChain(chain);
        b.version = Version::V02;
    }),
    ("version 0.1 needs a signed entry timestamp", "log-no-promise", |b, _| {
        b.version = Version::V01;
        entry(b).signed_entry_timestamp = None;
    }),
    ("version 0.1 needs no proof", "verified", |b, _| {
        b.version = Version::V01;
        entry(b).proof = None;
    }),
    ("no proof", "log-no-proof", |b, _| entry(b).proof = None),
    ("a time that the log has not signed", "no-trusted-time", |b, _| {
        entry(b).signed_entry_timestamp = None
    }),
    ("another time than the log has signed", "log-promise", |b, _| {
        entry(b).integrated_time += 1;
    }),
    ("a log time after the certificate", "certificate-time", |b, w| {
        let entry = entry(b);
        entry.integrated_time = NOW + 601;
        w.rekor1.sign_entry(entry);
    }),
    ("a log time before the certificate", "certificate-time", |b, w| {
        let entry = entry(b);
        entry.integrated_time = NOW - 1;
        w.rekor1.sign_entry(entry);
    }),
    ("no entry", "not-logged", |b, _| b.log.entries.clear()),
    ("an unknown log's entry only", "not-logged", |b, _| entry(b).log_id = vec![7; 32]),
    ("an unknown log's entry too", "verified", |b, _| {
        let mut other = entry(b).clone();
        other.log_id = vec![7; 32];
        other.body = b"anything".to_vec();
        b.log.entries.push(other);
    }),
    ("a wrong entry beside a good one", "log-promise", |b, _| {
        let mut other = entry(b).clone();
        other.signed_entry_timestamp = Some(vec![0; 70]);
        b.log.entries.push(other);
    }),
    ("the entry of another signature", "log-other-signature", |b, w| {
        *entry(b) = w.bundle().log.entries.remove(0);
    }),
    ("the entry of a Rekor v2 log without a timestamp", "no-trusted-time", |b, w| {
        *b = w.bundle2();
        b.log.timestamps.clear();
    }),
    ("another checkpoint", "log-checkpoint-signature", |b, _| {
        let proof = entry(b).proof.as_mut().unwrap();
        proof.checkpoint = proof.checkpoint.replacen("\n11\n", "\n12\n", 1);
    }),
    ("a timestamp of something else", "timestamp-imprint", |b, w| {
        b.log.timestamps = vec![w.stamp(b"something else")];
    }),
    ("a timestamp of an unknown authority", "verified", |b, _| {
        let signature = envelope(b).signatures[0].clone();
        b.log.timestamps = vec![unknown_authority_stamp(&signature)];
    }),
    ("a timestamp of an unknown authority is no time", "no-trusted-time", |b, w| {
        *b = w.bundle2();
        let signature = envelope(b).signatures[0].clone();
        b.log.timestamps = vec![unknown_authority_stamp(&signature)];
    }),
    ("a timestamp after the certificate", "certificate-time", |b, w| {
        let signature = envelope(b).signatures[0].clone();
        let mut stamp = w.tsa.stamp();
        stamp.imprint = (SHA256, hash_bytes(Algorithm::Sha256, &signature));
        stamp.time = "20231114222321Z".to_owned();
        b.log.timestamps = vec![stamp.der(&w.tsa.key)];
    }),
    ("not a timestamp", "timestamp-malformed", |b, _| b.log.timestamps = vec![vec![1]]),
    ("another statement", "log-other-digest", |b, _| envelope(b).payload.push(b' ')),
    ("another signature", "log-other-signature", |b, _| envelope(b).signatures[0][10] ^= 1),
    ("another payload type", "envelope-type", |b, _| envelope(b).payload_type.push('x')),
    ("a genuine entry of a signature that is none", "wrong-signature", |b, w| {
        let leaf = w.pki.leaf();
        let other_key = Leaf { key: Signer::generate(), der: leaf.der };
        let (bundle, told) = w.unlogged(&other_key, &statement());
        *b = bundle;
        b.log.entries = vec![w.rekor1.entry(&told.dsse_001())];
    }),
    ("an attestation", "not-a-signature", |b, w| {
        let mut statement: Value = serde_json::from_slice(&statement()).unwrap();
        statement["predicateType"] = "https://slsa.dev/provenance/v1".into();
        *b = w.bundle_of(&w.pki.leaf(), statement.to_string().as_bytes());
    }),
    ("another image", "other-subject", |b, w| {
        let other = image_signature(&Digest::of(b"other"), &BTreeMap::new());
        *b = w.bundle_of(&w.pki.leaf(), &other);
    }),
    ("no subject", "no-subject", |b, w| {
        let mut statement: Value = serde_json::from_slice(&statement()).unwrap();
        statement["subject"] = json!([]);
        *b = w.bundle_of(&w.pki.leaf(), statement.to_string().as_bytes());
    }),
    ("no SCT", "no-sct", |b, w| {
        let leaf = w.pki.issue(leaf_params(), |_, _| Vec::new());
        *b = w.bundle_of(&leaf, &statement());
    }),
    ("a wrong SCT", "wrong-sct", |b, w| {
        let leaf = w
            .pki
            .issue(leaf_params(), |pki, _| vec![pki.embedded_sct(&pki.ct, &pki.leaf().der, NOW)]);
        *b = w.bundle_of(&leaf, &statement());
    }),
    ("a certificate for another use", "certificate-usage", |b, w| {
        let leaf = w.pki.changed_leaf(|params| params.extended_key_usages.clear());
        *b = w.bundle_of(&leaf, &statement());
    }),
    ("an expired certificate", "certificate-time", |b, w| {
        let leaf = w.pki.changed_leaf(|params| set_window(params, NOW - 600, NOW - 1));
        *b = w.bundle_of(&leaf, &statement());
    }),
    (
        "a certificate of an untrusted authority, all else genuine",
        "untrusted-certificate",
        |b, w| {
            *b = w.bundle_of(&Pki::new().leaf(), &statement());
        },
    ),
    ("a blob's signature", "not-an-envelope", |b, w| *b = w.blob(b"content")),
];

#[test]
fn bundles_that_were_changed_are_refused() {
    let world = World::new();
    for (name, expected, change) in BUNDLES {
        let mut bundle = world.bundle();
        change(&mut bundle, &world);
        assert_eq!(world.code(&bundle), *expected, "{name}");
    }
}

type RootRow = (&'static str, &'static str, &'static str, fn(&mut TrustRoot));

/// Codes for the bundle with a Rekor v1 entry, and for that with a Rekor v2 entry.
const ROOTS: &[RootRow] = &[
    ("nothing", "verified", "verified", |_| {}),
    ("no authority", "untrusted-certificate", "untrusted-certificate", |root| {
        root.certificate_authorities.clear();
    }),
    ("another authority", "untrusted-certificate", "untrusted-certificate", |root| {
        root.certificate_authorities = vec![Pki::new().authority()];
    }),
    ("an authority that has ended", "authority-time", "authority-time", |root| {
        root.certificate_authorities[0].validity.end = Some(NOW - 1);
    }),
    ("an authority that has not begun", "authority-time", "authority-time", |root| {
        root.certificate_authorities[0].validity.start = Some(NOW + 1);
    }),
    ("no certificate log", "no-sct", "no-sct", |root| root.ct_logs.clear()),
    ("a certificate log that has ended", "no-sct", "no-sct", |root| {
        root.ct_logs[0].validity.end = Some(NOW - 1);
    }),
    ("no log", "not-logged", "not-logged", |root| root.transparency_logs.clear()),
    ("logs that have ended", "log-window", "log-window", |root| {
        for log in &mut root.transparency_logs {
            log.validity = Validity { start: None, end: Some(NOW - 1) };
        }
    }),
    ("another key for the same log", "log-promise", "log-checkpoint-signature", |root| {
        for log in &mut root.transparency_logs {
            let key = TestLog::rekor1().log.key;
            let id = Some(log.log_id().to_vec());
            *log = TransparencyLog::new(&log.base_url, key, id, log.validity);
        }
    }),
    ("no timestamp authority", "verified", "no-trusted-time", |root| {
        root.timestamp_authorities.clear();
    }),
    ("a timestamp authority that has ended", "verified", "timestamp-window", |root| {
        root.timestamp_authorities[0].validity.end = Some(NOW - 1);
    }),
];

#[test]
fn other_trust_roots_give_other_answers() {
    let world = World::new();
    let (one, two) = (world.bundle().to_json(), world.bundle2().to_json());
    for (name, rekor1, rekor2, change) in ROOTS {
        let mut root = world.root();
        change(&mut root);
        assert_eq!(code(judge(&root, &evidence(&*one), &wanted())), *rekor1, "{name}, Rekor v1");
        assert_eq!(code(judge(&root, &evidence(&*two), &wanted())), *rekor2, "{name}, Rekor v2");
    }
}
