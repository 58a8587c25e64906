//! A small certificate authority with a certificate log, for tests of this crate.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Encode};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PublicKeyData, SanType, SerialNumber, SigningKey,
};

use crate::certificate::X509;
use crate::key::{HashAlgorithm, PublicKey};
use crate::trust::{CertificateAuthority, LogKey, TransparencyLog, TrustRoot, Validity};

/// The middle of everything's validity, in seconds since 1970.
pub(crate) const NOW: i64 = 1_700_000_000;
pub(crate) const YEAR: i64 = 365 * 86_400;
pub(crate) const SCT_LIST: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
pub(crate) const ISSUER: &str = "https://issuer.example";
pub(crate) const SUBJECT: &str = "https://ci.example/acme/app";

/// A root and one intermediate authority, and a certificate log.
pub(crate) struct Pki {
    pub(crate) root: Ca,
    pub(crate) intermediate: Ca,
    pub(crate) ct: Signer,
}

/// An authority.
pub(crate) struct Ca {
    pub(crate) params: CertificateParams,
    pub(crate) key: KeyPair,
    pub(crate) der: Vec<u8>,
}

/// A key that signs, P-256.
pub(crate) struct Signer {
    pub(crate) pair: KeyPair,
}

/// A signer's key and certificate.
pub(crate) struct Leaf {
    pub(crate) key: Signer,
    pub(crate) der: Vec<u8>,
}

impl Signer {
    pub(crate) fn generate() -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap() }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        SigningKey::sign(&self.pair, message).unwrap()
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::from_spki_der(&self.pair.subject_public_key_info()).unwrap()
    }

    pub(crate) fn log(&self, url: &str) -> TransparencyLog {
        let key = LogKey { key: self.public(), hash: Some(HashAlgorithm::Sha256) };
        TransparencyLog::new(url, key, None, around(YEAR))
    }
}

/// The window of so many seconds before and after [`NOW`].
pub(crate) fn around(seconds: i64) -> Validity {
    Validity { start: Some(NOW - seconds), end: Some(NOW + seconds) }
}

pub(crate) fn set_window(params: &mut CertificateParams, from: i64, to: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |seconds: i64| epoch + Duration::from_secs(u64::try_from(seconds).unwrap());
    (params.not_before, params.not_after) = (at(from), at(to));
}

pub(crate) fn ca_params(name: &str, below: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(below);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_window(&mut params, NOW - YEAR, NOW + YEAR);
    params
}

impl Ca {
    pub(crate) fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { params, key, der }
    }

    pub(crate) fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let der = self.sign(&params, &key);
        Self { params, key, der }
    }

    pub(crate) fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(key, &issuer).unwrap().der().to_vec()
    }

    fn spki(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }
}

impl Pki {
    pub(crate) fn new() -> Self {
        let root = Ca::root(ca_params("root", BasicConstraints::Unconstrained));
        let mut params = ca_params("intermediate", BasicConstraints::Constrained(0));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let intermediate = root.below(params);
        Self { root, intermediate, ct: Signer::generate() }
    }

    pub(crate) fn authority(&self) -> CertificateAuthority {
        let chain = vec![self.intermediate.der.clone(), self.root.der.clone()];
        CertificateAuthority::new("https://ca.example", chain, around(YEAR)).unwrap()
    }

    pub(crate) fn trust_root(&self) -> TrustRoot {
        TrustRoot {
            certificate_authorities: vec![self.authority()],
            ct_logs: vec![self.ct.log("https://ct.example")],
            ..TrustRoot::default()
        }
    }

    /// A certificate for [`SUBJECT`], ten minutes from [`NOW`], with a timestamp of the log.
    pub(crate) fn leaf(&self) -> Leaf {
        self.changed_leaf(|_| {})
    }

    pub(crate) fn changed_leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = leaf_params();
        change(&mut params);
        self.issue(params, |pki, precertificate| {
            vec![pki.embedded_sct(&pki.ct, precertificate, NOW)]
        })
    }

    /// A certificate with the timestamps that `scts` makes for the certificate without them.
    pub(crate) fn issue(
        &self,
        params: CertificateParams,
        scts: impl FnOnce(&Self, &[u8]) -> Vec<Vec<u8>>,
    ) -> Leaf {
        let key = Signer::generate();
        let bare = self.intermediate.sign(&params, &key.pair);
        let scts = scts(self, &bare);
        let der = match scts.is_empty() {
            true => bare,
            false => self.intermediate.sign(&with_scts(params, &scts), &key.pair),
        };
        Leaf { key, der }
    }

    /// A timestamp of `log` for a certificate, as it is embedded.
    pub(crate) fn embedded_sct(&self, log: &Signer, precertificate: &[u8], at: i64) -> Vec<u8> {
        let tbs = tbs(precertificate);
        let issuer = digest(&SHA256, &self.intermediate.spki());
        sct(log, &[&[0, 1], issuer.as_ref(), &vector24(&tbs)].concat(), at)
    }

    /// A timestamp beside a certificate, the JSON that Fulcio once gave.
    pub(crate) fn detached_sct(&self, log: &Signer, certificate: &[u8], at: i64) -> String {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD;
        let sct = sct(log, &[&[0, 0][..], &vector24(certificate)].concat(), at);
        let (id, signature) = (&sct[1..33], &sct[43..]);
        serde_json::json!({
            "sct_version": 0,
            "id": STANDARD.encode(id),
            "timestamp": at * 1000,
            "extensions": "",
            "signature": STANDARD.encode(signature),
        })
        .to_string()
    }
}

pub(crate) fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from(vec![7; 16]));
    params.subject_alt_names = vec![SanType::URI(SUBJECT.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.custom_extensions = vec![raw(1, ISSUER), utf8(8, ISSUER)];
    set_window(&mut params, NOW, NOW + 600);
    params
}

fn with_scts(mut params: CertificateParams, scts: &[Vec<u8>]) -> CertificateParams {
    let list: Vec<u8> = scts.iter().flat_map(|sct| vector16(sct)).collect();
    params.custom_extensions.push(sct_extension(&vector16(&list)));
    params
}

/// The extension with a list of timestamps, whatever bytes these are.
pub(crate) fn sct_extension(list: &[u8]) -> CustomExtension {
    let value = OctetStringRef::new(list).unwrap().to_der().unwrap();
    CustomExtension::from_oid_content(SCT_LIST, value)
}

/// An extension of Fulcio whose value is the text itself.
pub(crate) fn raw(number: u64, text: &str) -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, number], text.into())
}

/// An extension of Fulcio whose value is a UTF8String.
pub(crate) fn utf8(number: u64, text: &str) -> CustomExtension {
    let value = der::asn1::Utf8StringRef::new(text).unwrap().to_der().unwrap();
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, number], value)
}

/// The TBSCertificate, cut out of a certificate.
fn tbs(certificate: &[u8]) -> Vec<u8> {
    let fields = AnyRef::from_der(certificate).unwrap().value();
    let mut reader = der::SliceReader::new(fields).unwrap();
    der::Reader::tlv_bytes(&mut reader).unwrap().to_vec()
}

fn sct(log: &Signer, entry: &[u8], at: i64) -> Vec<u8> {
    let time = u64::try_from(at * 1000).unwrap().to_be_bytes();
    let message = [&[0, 0], &time[..], entry, &[0, 0]].concat();
    let id = digest(&SHA256, log.public().spki_der());
    let signature = vector16(&log.sign(&message));
    [&[0], id.as_ref(), &time, &[0, 0], &[4, 3], &signature].concat()
}

pub(crate) fn vector16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn vector24(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[1..], bytes].concat()
}

/// The helper that cuts out is not the one that is tested.
pub(crate) fn assert_cut_as_tested(certificate: &[u8]) {
    let sct = der::asn1::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");
    assert_eq!(X509::parse(certificate).unwrap().tbs_without(sct).unwrap(), tbs(certificate));
}
