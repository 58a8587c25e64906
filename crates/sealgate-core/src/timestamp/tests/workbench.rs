//! A small timestamp authority that stamps what it is told, right or wrong.

use der::asn1::ObjectIdentifier;
use der::{Decode, Encode};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, SignatureAlgorithm, SigningKey,
};
use x509_cert::Certificate;

use crate::certificate::tests::pki::{Ca, NOW, YEAR, around, ca_params, set_window};
use crate::digest::{Algorithm, Digest};
use crate::trust::CertificateAuthority;

pub(crate) const SIGNATURE: &[u8] = b"a signature";
pub(crate) const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
pub(crate) const SHA256: &str = "2.16.840.1.101.3.4.2.1";
pub(crate) const SHA1: &str = "1.3.14.3.2.26";
pub(crate) const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
const SIGNED_DATA: &str = "1.2.840.113549.1.7.2";
const CONTENT_TYPE: &str = "1.2.840.113549.1.9.3";
const MESSAGE_DIGEST: &str = "1.2.840.113549.1.9.4";
const SIGNING_CERTIFICATE: &str = "1.2.840.113549.1.9.16.2.12";
const SIGNING_CERTIFICATE_V2: &str = "1.2.840.113549.1.9.16.2.47";
const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
pub(crate) const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
pub(crate) const OCTETS: u8 = 0x04;

/// One DER value: tag, length, and these parts.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let mut der = vec![tag];
    match value.len() {
        short @ 0..=127 => der.push(u8::try_from(short).unwrap()),
        long => {
            let bytes = u32::try_from(long).unwrap().to_be_bytes();
            let bytes: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            der.push(0x80 | u8::try_from(bytes.len()).unwrap());
            der.extend(bytes);
        }
    }
    der.extend(value);
    der
}

pub(crate) fn oid(text: &str) -> Vec<u8> {
    ObjectIdentifier::new_unwrap(text).to_der().unwrap()
}

pub(crate) fn identifier(text: &str) -> Vec<u8> {
    tlv(SEQUENCE, &[&oid(text)])
}

fn small(number: u8) -> Vec<u8> {
    vec![2, 1, number]
}

pub(crate) fn attribute(kind: &str, values: &[&[u8]]) -> Vec<u8> {
    tlv(SEQUENCE, &[&oid(kind), &tlv(SET, values)])
}

/// An authority: root, intermediate, and a certificate that signs timestamps.
pub(crate) struct Tsa {
    pub(crate) root: Ca,
    pub(crate) intermediate: Ca,
    pub(crate) key: KeyPair,
    pub(crate) leaf: Vec<u8>,
}

impl Tsa {
    pub(crate) fn new() -> Self {
        Self::with(&PKCS_ECDSA_P256_SHA256, |_| {})
    }

    pub(crate) fn with(
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let root = Ca::root(ca_params("tsa root", BasicConstraints::Unconstrained));
        let params = ca_params("tsa intermediate", BasicConstraints::Constrained(0));
        let intermediate = root.below(params);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = leaf_params();
        change(&mut params);
        let leaf = intermediate.sign(&params, &key);
        Self { root, intermediate, key, leaf }
    }

    /// The trust root's view: the chain without the signing certificate.
    pub(crate) fn authority(&self) -> CertificateAuthority {
        let chain = vec![self.intermediate.der.clone(), self.root.der.clone()];
        CertificateAuthority::new("https://tsa.example", chain, around(YEAR)).unwrap()
    }

    /// The trust root's view as Sigstore's has it: with the signing certificate.
    pub(crate) fn pinned(&self) -> CertificateAuthority {
        let chain = vec![self.leaf.clone(), self.intermediate.der.clone(), self.root.der.clone()];
        CertificateAuthority::new("https://tsa.example", chain, around(YEAR)).unwrap()
    }

    pub(crate) fn stamp(&self) -> Stamp {
        let hash = Algorithm::Sha256;
        Stamp {
            status: small(0),
            content_info: SIGNED_DATA,
            content: Some(TST_INFO),
            version: 1,
            imprint: (SHA256, hash_bytes(hash, SIGNATURE)),
            time: "20231114221320Z".to_owned(),
            after_time: Vec::new(),
            certificates: vec![self.leaf.clone()],
            signers: 1,
            signer: issuer_and_serial(&self.leaf),
            hash: (SHA256, hash),
            content_type: Some(oid(TST_INFO)),
            digest: None,
            signing_certificate: vec![essv2(&self.leaf)],
            more_attributes: Vec::new(),
            signature_algorithm: identifier(ECDSA_SHA256),
            signature: None,
            unsigned: Vec::new(),
        }
    }
}

pub(crate) fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "tsa");
    params.serial_number = Some(SerialNumber::from(vec![9; 16]));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.custom_extensions = vec![usage(&[TIME_STAMPING], true)];
    set_window(&mut params, NOW - YEAR, NOW + YEAR);
    params
}

pub(crate) fn usage(uses: &[&str], critical: bool) -> CustomExtension {
    let uses: Vec<_> = uses.iter().map(|text| oid(text)).collect();
    let uses: Vec<_> = uses.iter().map(Vec::as_slice).collect();
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 37], tlv(SEQUENCE, &uses));
    extension.set_criticality(critical);
    extension
}

pub(crate) fn also_code_signing() -> CustomExtension {
    usage(&[TIME_STAMPING, CODE_SIGNING], true)
}

pub(crate) fn not_critical() -> CustomExtension {
    usage(&[TIME_STAMPING], false)
}

pub(crate) fn hash_bytes(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
    hex::decode(Digest::with(algorithm, bytes).hex()).unwrap()
}

pub(crate) fn issuer_and_serial(certificate: &[u8]) -> Vec<u8> {
    let certificate = Certificate::from_der(certificate).unwrap();
    let certificate = certificate.tbs_certificate();
    let issuer = certificate.issuer().to_der().unwrap();
    tlv(SEQUENCE, &[&issuer, &certificate.serial_number().to_der().unwrap()])
}

pub(crate) fn essv2(certificate: &[u8]) -> Vec<u8> {
    let id = tlv(SEQUENCE, &[&tlv(OCTETS, &[&hash_bytes(Algorithm::Sha256, certificate)])]);
    let value = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&id])]);
    attribute(SIGNING_CERTIFICATE_V2, &[&value])
}

pub(crate) fn essv2_sha512(certificate: &[u8]) -> Vec<u8> {
    let hash = tlv(OCTETS, &[&hash_bytes(Algorithm::Sha512, certificate)]);
    let id = tlv(SEQUENCE, &[&identifier("2.16.840.1.101.3.4.2.3"), &hash]);
    let value = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&id])]);
    attribute(SIGNING_CERTIFICATE_V2, &[&value])
}

pub(crate) fn essv1(certificate: &[u8]) -> Vec<u8> {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate);
    let id = tlv(SEQUENCE, &[&tlv(OCTETS, &[hash.as_ref()])]);
    attribute(SIGNING_CERTIFICATE, &[&tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&id])])])
}

/// A timestamp before it is signed: what is changed here is signed too.
pub(crate) struct Stamp {
    pub(crate) status: Vec<u8>,
    pub(crate) content_info: &'static str,
    /// The type of the content; none is a detached one.
    pub(crate) content: Option<&'static str>,
    pub(crate) version: u8,
    pub(crate) imprint: (&'static str, Vec<u8>),
    pub(crate) time: String,
    /// DER of what follows the time.
    pub(crate) after_time: Vec<u8>,
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) signers: usize,
    pub(crate) signer: Vec<u8>,
    pub(crate) hash: (&'static str, Algorithm),
    pub(crate) content_type: Option<Vec<u8>>,
    /// Another message digest than that of the content.
    pub(crate) digest: Option<Vec<u8>>,
    pub(crate) signing_certificate: Vec<Vec<u8>>,
    pub(crate) more_attributes: Vec<Vec<u8>>,
    pub(crate) signature_algorithm: Vec<u8>,
    /// Another signature than the key's.
    pub(crate) signature: Option<Vec<u8>>,
    pub(crate) unsigned: Vec<u8>,
}

impl Stamp {
    pub(crate) fn der(&self, key: &KeyPair) -> Vec<u8> {
        let status = tlv(SEQUENCE, &[&self.status]);
        tlv(SEQUENCE, &[&status, &self.token(key)])
    }

    fn token(&self, key: &KeyPair) -> Vec<u8> {
        let info = self.info();
        let econtent = tlv(0xa0, &[&tlv(OCTETS, &[&info])]);
        let content = match self.content {
            Some(kind) => tlv(SEQUENCE, &[&oid(kind), &econtent]),
            None => tlv(SEQUENCE, &[&oid(TST_INFO)]),
        };
        let certificates: Vec<_> = self.certificates.iter().map(Vec::as_slice).collect();
        let signer = self.signer_info(&info, key);
        let signers = vec![signer.as_slice(); self.signers];
        let signed_data = tlv(
            SEQUENCE,
            &[
                &small(3),
                &tlv(SET, &[&identifier(self.hash.0)]),
                &content,
                &tlv(0xa0, &certificates),
                &tlv(SET, &signers),
            ],
        );
        tlv(SEQUENCE, &[&oid(self.content_info), &tlv(0xa0, &[&signed_data])])
    }

    fn info(&self) -> Vec<u8> {
        let (hash, imprint) = &self.imprint;
        tlv(
            SEQUENCE,
            &[
                &small(self.version),
                &oid("1.3.6.1.4.1.57264.2"),
                &tlv(SEQUENCE, &[&identifier(hash), &tlv(OCTETS, &[imprint])]),
                &tlv(2, &[&[5; 16]]),
                &tlv(0x18, &[self.time.as_bytes()]),
                &self.after_time,
            ],
        )
    }

    fn signer_info(&self, info: &[u8], key: &KeyPair) -> Vec<u8> {
        let digest = self.digest.clone().unwrap_or_else(|| hash_bytes(self.hash.1, info));
        let mut attributes = vec![attribute(MESSAGE_DIGEST, &[&tlv(OCTETS, &[&digest])])];
        if let Some(kind) = &self.content_type {
            attributes.push(attribute(CONTENT_TYPE, &[kind]));
        }
        attributes.extend(self.signing_certificate.iter().cloned());
        attributes.extend(self.more_attributes.iter().cloned());
        attributes.sort();
        let attributes: Vec<_> = attributes.iter().map(Vec::as_slice).collect();
        let signature = self.signature.clone();
        let signature =
            signature.unwrap_or_else(|| SigningKey::sign(key, &tlv(SET, &attributes)).unwrap());
        tlv(
            SEQUENCE,
            &[
                &small(1),
                &self.signer,
                &identifier(self.hash.0),
                &tlv(0xa0, &attributes),
                &self.signature_algorithm,
                &tlv(OCTETS, &[&signature]),
                &self.unsigned,
            ],
        )
    }
}
