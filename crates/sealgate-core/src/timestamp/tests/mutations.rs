//! Timestamps that are wrong in one thing, all else genuine and signed: each has its own code.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};

use super::verify;
use super::workbench::{
    CODE_SIGNING, SEQUENCE, SHA1, SHA256, Stamp, TST_INFO, Tsa, also_code_signing, attribute,
    essv1, essv2, hash_bytes, identifier, leaf_params, not_critical, oid, tlv, usage,
};
use crate::certificate::tests::pki::{Ca, NOW, ca_params, set_window};
use crate::digest::Algorithm;

type Row = (&'static str, &'static str, fn(&mut Stamp, &Tsa));

const STAMPS: &[Row] = &[
    ("not granted", "timestamp-status", |s, _| s.status = vec![2, 1, 2]),
    ("a negative status", "timestamp-malformed", |s, _| s.status = vec![2, 1, 0xff]),
    ("a status of many bytes", "timestamp-malformed", |s, _| s.status = tlv(2, &[&[1; 9]])),
    ("no status", "timestamp-malformed", |s, _| s.status = Vec::new()),
    ("plain data", "timestamp-content", |s, _| s.content_info = "1.2.840.113549.1.7.1"),
    ("signed data of another kind", "timestamp-content", |s, _| {
        s.content = Some("1.2.840.113549.1.7.1");
    }),
    ("detached content", "timestamp-content", |s, _| s.content = None),
    ("no signer", "timestamp-signers", |s, _| s.signers = 0),
    ("two signers", "timestamp-signers", |s, _| s.signers = 2),
    ("endless signers", "timestamp-too-many", |s, _| s.signers = 9),
    ("endless certificates", "timestamp-too-many", |s, tsa| {
        s.certificates = vec![tsa.leaf.clone(); 9];
    }),
    ("SHA-1 as message digest", "timestamp-hash", |s, _| s.hash = (SHA1, Algorithm::Sha256)),
    ("SHA-1 as imprint", "timestamp-hash", |s, _| s.imprint = (SHA1, vec![0; 20])),
    ("no content type", "timestamp-attributes", |s, _| s.content_type = None),
    ("another content type", "timestamp-attributes", |s, _| {
        s.content_type = Some(oid("1.2.840.113549.1.7.1"));
    }),
    ("a content type that is no identifier", "timestamp-attributes", |s, _| {
        s.content_type = Some(vec![5, 0]);
    }),
    ("a content type that stands twice", "timestamp-attributes", |s, _| {
        s.more_attributes = vec![attribute("1.2.840.113549.1.9.3", &[&oid(TST_INFO)])];
    }),
    ("a message digest that stands twice", "timestamp-attributes", |s, _| {
        s.more_attributes = vec![attribute("1.2.840.113549.1.9.4", &[&tlv(4, &[&[0; 32]])])];
    }),
    ("an attribute with two values", "timestamp-attributes", |s, _| {
        s.more_attributes = vec![attribute("1.2.3", &[&[5, 0], &[5, 0]])];
    }),
    ("an attribute without value", "timestamp-attributes", |s, _| {
        s.more_attributes = vec![attribute("1.2.3", &[])];
    }),
    ("endless attributes", "timestamp-too-many", |s, _| {
        s.more_attributes = vec![attribute("1.2.3", &[&[5, 0]]); 40];
    }),
    ("another message digest", "timestamp-message-digest", |s, _| s.digest = Some(vec![0; 32])),
    ("a short message digest", "timestamp-message-digest", |s, _| s.digest = Some(vec![0; 31])),
    ("no signing certificate", "timestamp-signing-certificate", |s, _| {
        s.signing_certificate.clear();
    }),
    ("another signing certificate", "timestamp-signing-certificate", |s, tsa| {
        s.signing_certificate = vec![essv2(&tsa.root.der)];
    }),
    ("another signing certificate, older form", "timestamp-signing-certificate", |s, tsa| {
        s.signing_certificate = vec![essv1(&tsa.root.der)];
    }),
    ("both forms, one of another certificate", "timestamp-signing-certificate", |s, tsa| {
        s.signing_certificate = vec![essv2(&tsa.leaf), essv1(&tsa.root.der)];
    }),
    ("an empty list of signing certificates", "timestamp-signing-certificate", |s, _| {
        let value = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[])]);
        s.signing_certificate = vec![attribute("1.2.840.113549.1.9.16.2.47", &[&value])];
    }),
    ("an algorithm for another hash", "timestamp-algorithm", |s, _| {
        s.signature_algorithm = identifier("1.2.840.10045.4.3.3");
    }),
    ("an algorithm for another key", "timestamp-algorithm", |s, _| {
        s.signature_algorithm = identifier("1.2.840.113549.1.1.11");
    }),
    ("an algorithm that is not accepted", "timestamp-algorithm", |s, _| {
        s.signature_algorithm = identifier("1.2.840.10045.4.1");
    }),
    ("an algorithm with parameters", "timestamp-algorithm", |s, _| {
        s.signature_algorithm = tlv(SEQUENCE, &[&oid("1.2.840.113549.1.1.10"), &[0x30, 0]]);
    }),
    ("another signature", "timestamp-signature", |s, _| s.signature = Some(vec![0x30, 0])),
    ("no signature", "timestamp-signature", |s, _| s.signature = Some(Vec::new())),
    ("something else is stamped", "timestamp-imprint", |s, _| {
        s.imprint = (SHA256, hash_bytes(Algorithm::Sha256, b"another signature"));
    }),
    ("the digest of another hash", "timestamp-imprint", |s, _| {
        s.imprint = (SHA256, hash_bytes(Algorithm::Sha512, super::SIGNATURE));
    }),
    ("an empty imprint", "timestamp-imprint", |s, _| s.imprint = (SHA256, Vec::new())),
    ("version 2", "timestamp-version", |s, _| s.version = 2),
    ("version 0", "timestamp-version", |s, _| s.version = 0),
    ("local time", "timestamp-time", |s, _| s.time = "20231114221320+0100".to_owned()),
    ("a leap second", "timestamp-time", |s, _| s.time = "20231114221360Z".to_owned()),
    ("before 1970", "timestamp-time", |s, _| s.time = "19691231235959Z".to_owned()),
    ("no time", "timestamp-time", |s, _| s.time = String::new()),
    ("a critical extension", "timestamp-critical-extension", |s, _| {
        let extension = tlv(SEQUENCE, &[&oid("1.2.3"), &[1, 1, 0xff], &tlv(4, &[b"x"])]);
        s.after_time = tlv(0xa1, &[&extension]);
    }),
    ("endless extensions", "timestamp-too-many", |s, _| {
        let extension = tlv(SEQUENCE, &[&oid("1.2.3"), &tlv(4, &[b"x"])]);
        let extensions = vec![extension.as_slice(); 33];
        s.after_time = tlv(0xa1, &extensions);
    }),
    ("a field that does not belong there", "timestamp-malformed", |s, _| {
        s.after_time = tlv(0xa2, &[&[5, 0]]);
    }),
    ("fields in another order", "timestamp-malformed", |s, _| {
        s.after_time = [tlv(2, &[&[1]]), tlv(SEQUENCE, &[&[2, 1, 1]])].concat();
    }),
    ("a field that does not belong to the signer", "timestamp-malformed", |s, _| {
        s.unsigned = tlv(0xa2, &[&[5, 0]]);
    }),
    ("another serial number of the signer", "unknown-authority", |s, tsa| {
        s.signer = super::workbench::issuer_and_serial(&tsa.root.der);
    }),
    ("no certificate of the signer", "unknown-authority", |s, _| s.certificates.clear()),
    ("after its certificate", "timestamp-expired", |s, _| s.time = "20301114221320Z".to_owned()),
    ("before its certificate", "timestamp-expired", |s, _| s.time = "20201114221320Z".to_owned()),
];

#[test]
fn every_change_is_refused_with_its_code() {
    let tsa = Tsa::new();
    let authorities = [tsa.authority()];
    assert_eq!(verify(&tsa.stamp().der(&tsa.key), &authorities), "trusted");
    for (what, want, change) in STAMPS {
        let mut stamp = tsa.stamp();
        change(&mut stamp, &tsa);
        assert_eq!(verify(&stamp.der(&tsa.key), &authorities), *want, "{what}");
    }
}

#[test]
fn a_certificate_that_is_not_for_timestamps_alone_is_refused() {
    type Change = fn(&mut CertificateParams);
    let rows: [(&str, &str, Change); 7] = [
        ("another use", "timestamp-usage", |p| {
            p.custom_extensions = vec![usage(&[CODE_SIGNING], true)]
        }),
        ("no use", "timestamp-usage", |p| p.custom_extensions.clear()),
        ("another use too", "timestamp-usage", |p| p.custom_extensions = vec![also_code_signing()]),
        ("not critical", "timestamp-usage", |p| p.custom_extensions = vec![not_critical()]),
        ("not for signatures", "timestamp-usage", |p| {
            p.key_usages = vec![rcgen::KeyUsagePurpose::KeyAgreement];
        }),
        ("unknown and critical", "timestamp-chain", |p| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
            extension.set_criticality(true);
            p.custom_extensions.push(extension);
        }),
        ("expired", "timestamp-expired", |p| set_window(p, NOW - 9, NOW - 1)),
    ];
    for (what, want, change) in rows {
        let tsa = Tsa::with(&PKCS_ECDSA_P256_SHA256, change);
        let response = tsa.stamp().der(&tsa.key);
        assert_eq!(verify(&response, &[tsa.authority()]), want, "{what}");
        assert_eq!(verify(&response, &[tsa.pinned()]), want, "{what}, pinned");
    }
}

/// The usages of a root limit its whole chain, whether the signing certificate is in the trust root
/// or not.
#[test]
fn a_root_that_is_not_for_timestamps_is_refused() {
    for (usages, want) in [
        (vec![], "trusted"),
        (vec![ExtendedKeyUsagePurpose::TimeStamping], "trusted"),
        (vec![ExtendedKeyUsagePurpose::Any], "trusted"),
        (vec![ExtendedKeyUsagePurpose::ServerAuth], "timestamp-usage"),
        (vec![ExtendedKeyUsagePurpose::CodeSigning], "timestamp-usage"),
    ] {
        let mut tsa = Tsa::new();
        let mut params = ca_params("tsa root", BasicConstraints::Unconstrained);
        params.extended_key_usages = usages.clone();
        tsa.root = Ca::root(params);
        tsa.intermediate = tsa.root.below(tsa.intermediate.params.clone());
        tsa.leaf = tsa.intermediate.sign(&leaf_params(), &tsa.key);
        let response = tsa.stamp().der(&tsa.key);
        assert_eq!(verify(&response, &[tsa.authority()]), want, "{usages:?}");
        assert_eq!(verify(&response, &[tsa.pinned()]), want, "{usages:?}, pinned");
    }
}

#[test]
fn what_is_not_der_is_refused() {
    let tsa = Tsa::new();
    let response = tsa.stamp().der(&tsa.key);
    let authorities = [tsa.authority()];
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("bytes after its end", [response.as_slice(), &[0]].concat()),
        ("the end is missing", response[..response.len() - 1].to_vec()),
        ("an indefinite length", [&[0x30, 0x80], &response[4..], &[0, 0]].concat()),
        ("a length that is not the shortest", {
            let length = u32::try_from(response.len() - 4).unwrap().to_be_bytes();
            [&[0x30, 0x84], length.as_slice(), &response[4..]].concat()
        }),
        ("the token alone", {
            let status = 5;
            response[4 + status..].to_vec()
        }),
        ("text", b"MIIC".to_vec()),
    ] {
        assert_eq!(verify(&bytes, &authorities), "timestamp-malformed", "{what}");
    }
    let granted = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&[2, 1, 0]])]);
    assert_eq!(verify(&granted, &authorities), "timestamp-content");
}
