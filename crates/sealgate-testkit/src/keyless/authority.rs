//! Certificate authority like Fulcio: root, intermediate, CT log.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use der::asn1::{AnyRef, OctetStringRef, Utf8StringRef};
use der::{Decode, Encode, Reader as _};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PublicKeyData, SanType, SigningKey,
};
use sealgate_core::key::HashAlgorithm;
use sealgate_core::trust::{CertificateAuthority, LogKey, TransparencyLog, Validity};

use super::{CertificateIdentity, RootUsage, public};

const SCT_LIST: &[u64] = &[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
const FULCIO: [u64; 8] = [1, 3, 6, 1, 4, 1, 57264, 1];
/// Validity of a signing certificate, in seconds.
const VALID: i64 = 600;

/// CA certificate and key.
pub(super) struct Ca {
    params: CertificateParams,
    key: KeyPair,
    pub(super) der: Vec<u8>,
}

/// Issuer of signing certificates.
pub(super) struct Certifier {
    window: Validity,
    root: Ca,
    intermediate: Ca,
    ct: KeyPair,
}

impl Ca {
    pub(super) fn root(name: &str, window: Validity) -> Self {
        let params = params(name, BasicConstraints::Unconstrained, window);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { params, key, der }
    }

    pub(super) fn below(&self, name: &str, usage: Usage, window: Validity) -> Self {
        let mut params = params(name, BasicConstraints::Constrained(0), window);
        params.extended_key_usages = usage;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let der = self.sign(&params, &key);
        Self { params, key, der }
    }

    /// The same root, with the same key, restricted to a use.
    pub(super) fn restricted(&self, usage: RootUsage) -> Vec<u8> {
        let mut params = self.params.clone();
        params.extended_key_usages = vec![match usage {
            RootUsage::Servers => ExtendedKeyUsagePurpose::ServerAuth,
            RootUsage::CodeSigning => ExtendedKeyUsagePurpose::CodeSigning,
            RootUsage::TimeStamping => ExtendedKeyUsagePurpose::TimeStamping,
            RootUsage::Any => ExtendedKeyUsagePurpose::Any,
        }];
        params.self_signed(&self.key).unwrap().der().to_vec()
    }

    pub(super) fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(key, &issuer).unwrap().der().to_vec()
    }
}

type Usage = Vec<ExtendedKeyUsagePurpose>;

impl Certifier {
    pub(super) fn new(window: Validity) -> Self {
        let root = Ca::root("root", window);
        let usage = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let intermediate = root.below("intermediate", usage, window);
        let ct = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self { window, root, intermediate, ct }
    }

    pub(super) fn authority(&self) -> CertificateAuthority {
        let chain = vec![self.intermediate.der.clone(), self.root.der.clone()];
        CertificateAuthority::new("https://fulcio.example", chain, self.window).unwrap()
    }

    /// The chain below a root that is restricted to a use.
    pub(super) fn restricted_chain(&self, usage: RootUsage) -> Vec<Vec<u8>> {
        vec![self.intermediate.der.clone(), self.root.restricted(usage)]
    }

    pub(super) fn ct_log(&self) -> TransparencyLog {
        let key = LogKey { key: public(&self.ct), hash: Some(HashAlgorithm::Sha256) };
        TransparencyLog::new("https://ctfe.example", key, None, self.window)
    }

    /// Certificate with an embedded SCT.
    pub(super) fn issue(&self, named: &CertificateIdentity, key: &KeyPair, now: i64) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        let subject = named.subject.as_str().try_into().unwrap();
        params.subject_alt_names = vec![match named.subject.contains("://") {
            true => SanType::URI(subject),
            false => SanType::Rfc822Name(subject),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.custom_extensions = extensions(named);
        set_window(&mut params, now, now + VALID);
        let list = vector16(&vector16(&self.sct(&self.intermediate.sign(&params, key), now)));
        let list = OctetStringRef::new(&list).unwrap().to_der().unwrap();
        params.custom_extensions.push(CustomExtension::from_oid_content(SCT_LIST, list));
        self.intermediate.sign(&params, key)
    }

    /// SCT for a precertificate (RFC 6962 section 3.2).
    fn sct(&self, bare: &[u8], now: i64) -> Vec<u8> {
        let time = u64::try_from(now * 1000).unwrap().to_be_bytes();
        let issuer = digest(&SHA256, &self.intermediate.key.subject_public_key_info());
        let tbs = tbs(bare);
        let length = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        let entry = [&[0, 1], issuer.as_ref(), &length[1..], &tbs].concat();
        let message = [&[0, 0], &time[..], &entry, &[0, 0]].concat();
        let id = digest(&SHA256, &self.ct.subject_public_key_info());
        let signature = vector16(&SigningKey::sign(&self.ct, &message).unwrap());
        [&[0], id.as_ref(), &time, &[0, 0], &[4, 3], &signature].concat()
    }
}

/// Fulcio's oldest extensions hold raw text, the newer ones a UTF8String.
fn extensions(named: &CertificateIdentity) -> Vec<CustomExtension> {
    let oid = |last: u64| [&FULCIO[..], &[last]].concat();
    let utf8 = |text: &str| Utf8StringRef::new(text).unwrap().to_der().unwrap();
    let mut extensions = Vec::new();
    if !named.issuer.is_empty() {
        let issuer = named.issuer.as_str();
        extensions.push(CustomExtension::from_oid_content(&oid(1), issuer.into()));
        extensions.push(CustomExtension::from_oid_content(&oid(8), utf8(issuer)));
    }
    for (claim, text) in &named.claims {
        let last = claim.oid().arcs().last().unwrap().into();
        let value = if last < 8 { text.as_str().into() } else { utf8(text) };
        extensions.push(CustomExtension::from_oid_content(&oid(last), value));
    }
    extensions
}

fn params(name: &str, below: BasicConstraints, window: Validity) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(below);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_window(&mut params, window.start.unwrap(), window.end.unwrap());
    params
}

pub(super) fn set_window(params: &mut CertificateParams, from: i64, to: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |seconds: i64| epoch + Duration::from_secs(u64::try_from(seconds).unwrap());
    (params.not_before, params.not_after) = (at(from), at(to));
}

/// TBSCertificate, cut out of a certificate.
fn tbs(certificate: &[u8]) -> Vec<u8> {
    let fields = AnyRef::from_der(certificate).unwrap().value();
    der::SliceReader::new(fields).unwrap().tlv_bytes().unwrap().to_vec()
}

fn vector16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}
