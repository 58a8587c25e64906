//! Genuine timestamps, of OpenSSL and of a small authority, and changed ones.

mod mutations;
pub(crate) mod workbench;

use proptest::prelude::*;
use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, PKCS_RSA_SHA512, SignatureAlgorithm,
};
use workbench::{SHA256, SIGNATURE, Stamp, Tsa, hash_bytes, identifier, tlv};

use super::*;
use crate::certificate::tests::pki::{NOW, YEAR, around};
use crate::digest::Algorithm;
use crate::trust::{TrustRoot, Validity};

const ROOT: &[u8] = include_bytes!("../../tests/data/timestamps/root.der");
const INTERMEDIATE: &[u8] = include_bytes!("../../tests/data/timestamps/inter.der");
const EC: &[u8] = include_bytes!("../../tests/data/timestamps/ec.der");
const RSA: &[u8] = include_bytes!("../../tests/data/timestamps/rsa.der");
const ECDSA_SHA256: &[u8] = include_bytes!("../../tests/data/timestamps/ecdsa-sha256.tsr");
const ECDSA_SHA384: &[u8] = include_bytes!("../../tests/data/timestamps/ecdsa-sha384.tsr");
const RSA_SHA512: &[u8] = include_bytes!("../../tests/data/timestamps/rsa-sha512.tsr");

const ALWAYS: Validity = Validity { start: None, end: None };
const SHA384: &str = "2.16.840.1.101.3.4.2.2";
const SHA512: &str = "2.16.840.1.101.3.4.2.3";

fn authority(chain: &[&[u8]], validity: Validity) -> CertificateAuthority {
    let chain = chain.iter().map(|der| der.to_vec()).collect();
    CertificateAuthority::new("https://tsa.example", chain, validity).unwrap()
}

fn code(stamped: Result<TimestampOutcome, Reject>) -> &'static str {
    match stamped {
        Ok(TimestampOutcome::Trusted(_)) => "trusted",
        Ok(TimestampOutcome::UnknownAuthority) => "unknown-authority",
        Err(reject) => reject.code(),
    }
}

fn verify(response: &[u8], authorities: &[CertificateAuthority]) -> &'static str {
    code(verify_timestamp(response, authorities, SIGNATURE))
}

#[test]
fn timestamps_of_openssl_are_trusted() {
    let pinned_ec = authority(&[EC, INTERMEDIATE, ROOT], ALWAYS);
    let pinned_rsa = authority(&[RSA, INTERMEDIATE, ROOT], ALWAYS);
    let chain = authority(&[INTERMEDIATE, ROOT], ALWAYS);
    let root = authority(&[ROOT], ALWAYS);
    for (response, authority, want) in [
        // It carries its whole chain: the root alone is enough.
        (ECDSA_SHA256, &root, "trusted"),
        (ECDSA_SHA256, &chain, "trusted"),
        (ECDSA_SHA256, &pinned_ec, "trusted"),
        (ECDSA_SHA256, &pinned_rsa, "unknown-authority"),
        // It carries its signing certificate only.
        (ECDSA_SHA384, &chain, "trusted"),
        (ECDSA_SHA384, &root, "unknown-authority"),
        // It carries nothing.
        (RSA_SHA512, &pinned_rsa, "trusted"),
        (RSA_SHA512, &chain, "unknown-authority"),
    ] {
        assert_eq!(verify(response, std::slice::from_ref(authority)), want);
        assert_eq!(
            code(verify_timestamp(response, std::slice::from_ref(authority), b"other")),
            "timestamp-imprint"
        );
    }
}

/// The outcome of verifying a timestamp.
fn believed(stamped: &TimestampOutcome) -> Option<(i64, &str, &Digest)> {
    match stamped {
        TimestampOutcome::Trusted(time) => Some((time.seconds, &time.authority, &time.root)),
        TimestampOutcome::UnknownAuthority => None,
    }
}

#[test]
fn every_change_of_one_byte_of_openssls_timestamp_is_noticed() {
    let authorities = [authority(&[ROOT], ALWAYS)];
    let genuine = verify_timestamp(ECDSA_SHA256, &authorities, SIGNATURE).unwrap();
    let mut trusted = 0;
    for at in 0..ECDSA_SHA256.len() {
        let mut changed = ECDSA_SHA256.to_vec();
        changed[at] ^= 1;
        let stamped = verify_timestamp(&changed, &authorities, SIGNATURE);
        if let Ok(stamped @ TimestampOutcome::Trusted(_)) = stamped {
            // What nobody signs: the root in the bag, which is trusted anyway, the status, CMS
            // versions, the list of digest algorithms. It never says another time.
            assert_eq!(believed(&stamped), believed(&genuine), "byte {at}");
            trusted += 1;
        }
    }
    assert!(trusted < ROOT.len() + 30, "{trusted} bytes do not matter");
}

#[test]
fn every_algorithm_is_trusted() {
    let ecdsa = ["1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3", "1.2.840.10045.4.3.4"];
    let rsa = ["1.2.840.113549.1.1.11", "1.2.840.113549.1.1.13", "1.2.840.113549.1.1.1"];
    let rows: [(&'static SignatureAlgorithm, &str, (&str, Algorithm)); 8] = [
        (&PKCS_ECDSA_P256_SHA256, ecdsa[0], (SHA256, Algorithm::Sha256)),
        (&PKCS_ECDSA_P384_SHA384, ecdsa[1], (SHA384, Algorithm::Sha384)),
        (&PKCS_ECDSA_P521_SHA512, ecdsa[2], (SHA512, Algorithm::Sha512)),
        (&PKCS_RSA_SHA256, rsa[0], (SHA256, Algorithm::Sha256)),
        (&PKCS_RSA_SHA512, rsa[1], (SHA512, Algorithm::Sha512)),
        (&PKCS_RSA_SHA256, rsa[2], (SHA256, Algorithm::Sha256)),
        (&PKCS_ED25519, "1.3.101.112", (SHA512, Algorithm::Sha512)),
        (&PKCS_ED25519, "1.3.101.112", (SHA256, Algorithm::Sha256)),
    ];
    for (key, signature, hash) in rows {
        let tsa = Tsa::with(key, |_| {});
        let stamp = Stamp {
            hash: (Box::leak(hash.0.to_owned().into_boxed_str()), hash.1),
            signature_algorithm: identifier(signature),
            imprint: (Box::leak(hash.0.to_owned().into_boxed_str()), hash_bytes(hash.1, SIGNATURE)),
            ..tsa.stamp()
        };
        let response = stamp.der(&tsa.key);
        assert_eq!(verify(&response, &[tsa.authority()]), "trusted", "{signature} {hash:?}");
        assert_eq!(verify(&response, &[tsa.pinned()]), "trusted", "{signature} {hash:?}");
    }
}

#[test]
fn the_time_is_that_of_the_timestamp() {
    let tsa = Tsa::new();
    let mut stamp = tsa.stamp();
    stamp.time = "20231114221320.999Z".to_owned();
    let stamped = verify_timestamp(&stamp.der(&tsa.key), &[tsa.authority()], SIGNATURE);
    let Ok(TimestampOutcome::Trusted(time)) = stamped else { panic!("{stamped:?}") };
    assert_eq!((time.seconds(), time.authority()), (NOW, "https://tsa.example"));
}

#[test]
fn all_optional_fields_may_be_there() {
    let tsa = Tsa::new();
    let mut stamp = tsa.stamp();
    let name = tlv(0xa0, &[&tlv(0x82, &[b"tsa.example"])]);
    let extension = tlv(0x30, &[&workbench::oid("1.2.3"), &tlv(4, &[b"x"])]);
    let accuracy = tlv(0x30, &[&[2, 1, 1]]);
    stamp.after_time =
        [accuracy, vec![1, 1, 0xff], vec![2, 1, 7], name, tlv(0xa1, &[&extension])].concat();
    stamp.unsigned = tlv(0xa1, &[&workbench::attribute("1.2.3", &[&[5, 0]])]);
    stamp.status = vec![2, 1, 1];
    assert_eq!(verify(&stamp.der(&tsa.key), &[tsa.authority()]), "trusted");
    stamp.signing_certificate = vec![workbench::essv1(&tsa.leaf)];
    assert_eq!(verify(&stamp.der(&tsa.key), &[tsa.authority()]), "trusted");
    stamp.signing_certificate = vec![workbench::essv2_sha512(&tsa.leaf)];
    assert_eq!(verify(&stamp.der(&tsa.key), &[tsa.authority()]), "trusted");
}

#[test]
fn the_order_of_the_bag_never_matters() {
    let (tsa, forger) = (Tsa::new(), Tsa::new());
    let bare = authority(&[&tsa.root.der], around(YEAR));
    let bag = [
        tsa.leaf.clone(),
        tsa.intermediate.der.clone(),
        tsa.root.der.clone(),
        // The same names and serial number, another key.
        forger.leaf.clone(),
        forger.intermediate.der.clone(),
        b"\x30\x03\x02\x01\x01".to_vec(),
    ];
    for first in 0..bag.len() {
        let mut stamp = tsa.stamp();
        stamp.certificates = bag.to_vec();
        stamp.certificates.rotate_left(first);
        let response = stamp.der(&tsa.key);
        for authorities in [
            vec![bare.clone()],
            vec![tsa.authority()],
            vec![tsa.pinned()],
            vec![forger.authority(), bare.clone()],
            vec![forger.pinned(), tsa.pinned()],
        ] {
            assert_eq!(verify(&response, &authorities), "trusted", "{first}");
        }
        // Signed by the forger, with the genuine certificates in the bag.
        let forged = stamp.der(&forger.key);
        assert_eq!(verify(&forged, std::slice::from_ref(&bare)), "timestamp-signature");
        assert_eq!(verify(&forged, &[tsa.pinned()]), "timestamp-signature");
    }
}

#[test]
fn a_signer_may_be_named_by_its_key() {
    use der::Encode as _;
    let tsa = Tsa::with(&PKCS_ECDSA_P256_SHA256, |params| {
        let id = der::asn1::OctetStringRef::new(b"key").unwrap().to_der().unwrap();
        let extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 14], id);
        params.custom_extensions.push(extension);
    });
    let mut stamp = tsa.stamp();
    stamp.signer = tlv(0x80, &[b"key"]);
    assert_eq!(verify(&stamp.der(&tsa.key), &[tsa.authority()]), "trusted");
    stamp.signer = tlv(0x80, &[b"kez"]);
    assert_eq!(verify(&stamp.der(&tsa.key), &[tsa.authority()]), "unknown-authority");
}

#[test]
fn the_authority_counts_in_its_window_with_both_ends() {
    let tsa = Tsa::new();
    let response = tsa.stamp().der(&tsa.key);
    let chain: Vec<&[u8]> = vec![&tsa.intermediate.der, &tsa.root.der];
    let with = |start, end| verify(&response, &[authority(&chain, Validity { start, end })]);
    assert_eq!(with(Some(NOW), Some(NOW)), "trusted");
    assert_eq!(with(Some(NOW + 1), None), "timestamp-window");
    assert_eq!(with(None, Some(NOW - 1)), "timestamp-window");
}

#[test]
fn timestamps_of_unknown_authorities_neither_count_nor_break_the_rest() {
    let tsa = Tsa::new();
    let unknown = Tsa::with(&PKCS_ECDSA_P256_SHA256, |params| {
        params.serial_number = Some(rcgen::SerialNumber::from(vec![8; 16]));
    });
    let (good, foreign) = (tsa.stamp().der(&tsa.key), unknown.stamp().der(&unknown.key));
    let timestamp_authorities = vec![tsa.authority(), tsa.pinned()];
    let root = TrustRoot { timestamp_authorities, ..TrustRoot::default() }.into();
    let all = [foreign.clone(), good.clone(), good.clone(), foreign];
    let times = verify_timestamps(&all, Some(&root), SIGNATURE).unwrap();
    assert_eq!((times.authorities(), times.unknown(), times.seconds()), (1, 2, vec![NOW, NOW]));
    let wrong = [good, Vec::new()];
    let reject = verify_timestamps(&wrong, Some(&root), SIGNATURE).unwrap_err();
    assert_eq!(reject.code(), "timestamp-malformed");
    assert_eq!(verify(&all[1], &[]), "unknown-authority");
}

#[test]
fn what_is_too_large_is_not_read() {
    let large = vec![0x30; MAX_TIMESTAMP + 1];
    assert_eq!(verify(&large, &[]), "too-large");
}

/// Untrusted chains that could be built in many ways cost no more than the bound allows.
#[test]
fn a_bag_full_of_look_alikes_ends_soon() {
    use rcgen::BasicConstraints;
    let tsa = Tsa::new();
    let names =
        || crate::certificate::tests::pki::ca_params("tsa root", BasicConstraints::Unconstrained);
    let forger = crate::certificate::tests::pki::Ca::root(names());
    let mut stamp = tsa.stamp();
    let leaf = forger.sign(&workbench::leaf_params(), &tsa.key);
    stamp.certificates = vec![leaf.clone()];
    for number in 0..4_u8 {
        let mut params = names();
        params.serial_number = Some(rcgen::SerialNumber::from(vec![number + 1]));
        stamp.certificates.push(forger.sign(&params, &forger.key));
    }
    stamp.signer = workbench::issuer_and_serial(&leaf);
    stamp.signing_certificate = vec![workbench::essv2(&leaf)];
    let response = stamp.der(&tsa.key);
    let start = std::time::Instant::now();
    assert_eq!(verify(&response, &[tsa.authority()]), "unknown-authority");
    assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        prop_assert!(verify_timestamp(&bytes, &[], SIGNATURE).is_err());
    }

    #[test]
    fn changed_bytes_never_panic_and_never_give_another_time(
        changes in prop::collection::vec((0..ECDSA_SHA256.len(), any::<u8>()), 1..8),
    ) {
        let authorities = [authority(&[ROOT], ALWAYS)];
        let genuine = verify_timestamp(ECDSA_SHA256, &authorities, SIGNATURE).unwrap();
        let mut changed = ECDSA_SHA256.to_vec();
        for (at, byte) in changes {
            changed[at] = byte;
        }
        let stamped = verify_timestamp(&changed, &authorities, SIGNATURE);
        if let Ok(stamped @ TimestampOutcome::Trusted(_)) = stamped {
            prop_assert_eq!(believed(&stamped), believed(&genuine));
        }
    }
}
