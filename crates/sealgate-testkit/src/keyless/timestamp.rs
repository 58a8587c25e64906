//! Timestamp authority (RFC 3161), with hand-written DER.

use aws_lc_rs::digest::{SHA256, digest};
use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SigningKey,
};
use sealgate_core::trust::{CertificateAuthority, Validity};

use super::RootUsage;
use super::authority::{Ca, set_window};

const SHA256_OID: &str = "2.16.840.1.101.3.4.2.1";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OCTETS: u8 = 0x04;
const ZERO: &[u8] = &[2, 1, 0];
const ONE: &[u8] = &[2, 1, 1];
const THREE: &[u8] = &[2, 1, 3];

/// Timestamp authority.
pub(super) struct TimestampAuthority {
    window: Validity,
    root: Ca,
    intermediate: Ca,
    key: KeyPair,
    leaf: Vec<u8>,
}

impl TimestampAuthority {
    pub(super) fn new(window: Validity) -> Self {
        let root = Ca::root("tsa root", window);
        let intermediate = root.below("tsa intermediate", Vec::new(), window);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "tsa");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let usage = tlv(SEQUENCE, &[&oid("1.3.6.1.5.5.7.3.8")]);
        let mut usage = CustomExtension::from_oid_content(&[2, 5, 29, 37], usage);
        usage.set_criticality(true);
        params.custom_extensions = vec![usage];
        set_window(&mut params, window.start.unwrap(), window.end.unwrap());
        let leaf = intermediate.sign(&params, &key);
        Self { window, root, intermediate, key, leaf }
    }

    pub(super) fn authority(&self) -> CertificateAuthority {
        let (above, root) = (self.intermediate.der.clone(), self.root.der.clone());
        let chain = vec![self.leaf.clone(), above, root];
        CertificateAuthority::new("https://tsa.example", chain, self.window).unwrap()
    }

    /// The chain below a root that is restricted to a use.
    pub(super) fn restricted_chain(&self, usage: RootUsage) -> Vec<Vec<u8>> {
        vec![self.leaf.clone(), self.intermediate.der.clone(), self.root.restricted(usage)]
    }

    /// Granted response with a token over the hash of `signature`.
    pub(super) fn timestamp(&self, signature: &[u8], now: i64) -> Vec<u8> {
        let info = info(signature, now);
        let content = tlv(0xa0, &[&tlv(OCTETS, &[&info])]);
        let signed_data = tlv(
            SEQUENCE,
            &[
                THREE,
                &tlv(SET, &[&identifier(SHA256_OID)]),
                &tlv(SEQUENCE, &[&oid(TST_INFO), &content]),
                &tlv(0xa0, &[&self.leaf]),
                &tlv(SET, &[&self.signer(&info)]),
            ],
        );
        let signed_data = tlv(0xa0, &[&signed_data]);
        let token = tlv(SEQUENCE, &[&oid("1.2.840.113549.1.7.2"), &signed_data]);
        tlv(SEQUENCE, &[&tlv(SEQUENCE, &[ZERO]), &token])
    }

    fn signer(&self, info: &[u8]) -> Vec<u8> {
        let of_leaf = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&hash(&self.leaf)])]);
        let mut attributes = [
            attribute("1.2.840.113549.1.9.3", &oid(TST_INFO)),
            attribute("1.2.840.113549.1.9.4", &hash(info)),
            attribute("1.2.840.113549.1.9.16.2.47", &tlv(SEQUENCE, &[&of_leaf])),
        ];
        attributes.sort();
        let attributes = attributes.each_ref().map(Vec::as_slice);
        let signature = SigningKey::sign(&self.key, &tlv(SET, &attributes)).unwrap();
        tlv(
            SEQUENCE,
            &[
                ONE,
                &issuer_and_serial(&self.leaf),
                &identifier(SHA256_OID),
                &tlv(0xa0, &attributes),
                &identifier("1.2.840.10045.4.3.2"),
                &tlv(OCTETS, &[&signature]),
            ],
        )
    }
}

/// TSTInfo.
fn info(signature: &[u8], now: i64) -> Vec<u8> {
    let time = jiff::Timestamp::from_second(now).unwrap().strftime("%Y%m%d%H%M%SZ").to_string();
    tlv(
        SEQUENCE,
        &[
            ONE,
            &oid("1.3.6.1.4.1.57264.2"),
            &tlv(SEQUENCE, &[&identifier(SHA256_OID), &hash(signature)]),
            &tlv(2, &[&[5; 16]]),
            &tlv(0x18, &[time.as_bytes()]),
        ],
    )
}

/// Octet string with the hash.
fn hash(bytes: &[u8]) -> Vec<u8> {
    tlv(OCTETS, &[digest(&SHA256, bytes).as_ref()])
}

fn issuer_and_serial(certificate: &[u8]) -> Vec<u8> {
    let certificate = x509_cert::Certificate::from_der(certificate).unwrap();
    let certificate = certificate.tbs_certificate();
    let issuer = certificate.issuer().to_der().unwrap();
    tlv(SEQUENCE, &[&issuer, &certificate.serial_number().to_der().unwrap()])
}

fn attribute(kind: &str, value: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[&oid(kind), &tlv(SET, &[value])])
}

fn oid(text: &str) -> Vec<u8> {
    ObjectIdentifier::new_unwrap(text).to_der().unwrap()
}

fn identifier(text: &str) -> Vec<u8> {
    tlv(SEQUENCE, &[&oid(text)])
}

/// DER value: tag, length, content.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let mut der = vec![tag];
    match u8::try_from(value.len()) {
        Ok(short @ 0..=127) => der.push(short),
        _ => {
            let bytes = u32::try_from(value.len()).unwrap().to_be_bytes();
            let bytes: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            der.push(0x80 | u8::try_from(bytes.len()).unwrap());
            der.extend(bytes);
        }
    }
    der.extend(value);
    der
}
