//! One X.509 certificate (RFC 5280), read strictly: canonical DER, no extension twice.
//!
//! Parses a certificate; [`crate::certificate`] verifies it.

pub mod pem;

use std::collections::BTreeSet;

use der::asn1::{AnyRef, BitStringRef, ContextSpecificRef, ObjectIdentifier};
use der::oid::AssociatedOid;
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber};
use x509_cert::Certificate;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

use crate::key::PublicKey;
use crate::reject::{Foreign, Reject};

/// The largest certificate that is read, in bytes; genuine ones have a few kilobytes. The cost of
/// parsing one grows with its size.
pub(crate) const MAX_CERTIFICATE: usize = 16 << 10;
const MAX_EXTENSIONS: usize = 64;
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Critical extensions of a root that are evaluated, or limit nothing here: key identifiers, key
/// usage, alternative names, basic and name constraints, policies, extended key usage.
const KNOWN_CRITICAL: [ObjectIdentifier; 8] = [
    ObjectIdentifier::new_unwrap("2.5.29.14"),
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.30"),
    ObjectIdentifier::new_unwrap("2.5.29.32"),
    ObjectIdentifier::new_unwrap("2.5.29.35"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];

/// True if a certificate (DER) names itself as its issuer, as roots do. Only the names are
/// compared.
pub fn names_itself(der: &[u8]) -> bool {
    Certificate::from_der(der).is_ok_and(|certificate| {
        let certificate = certificate.tbs_certificate();
        certificate.issuer() == certificate.subject()
    })
}

/// A certificate, parsed but unverified.
#[derive(Clone, Debug)]
pub(crate) struct X509 {
    der: Vec<u8>,
    certificate: Certificate,
}

/// The parts of a certificate that its issuer's signature is verified with.
pub(crate) struct SignedParts<'a> {
    /// The TBSCertificate, DER.
    pub(crate) message: &'a [u8],
    /// The contents of the AlgorithmIdentifier.
    pub(crate) algorithm: &'a [u8],
    /// The signature.
    pub(crate) signature: &'a [u8],
}

/// The parts of a SubjectPublicKeyInfo.
pub(crate) struct KeyParts<'a> {
    /// The contents of the AlgorithmIdentifier.
    pub(crate) algorithm: Vec<u8>,
    /// The key.
    pub(crate) key: &'a [u8],
}

impl X509 {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Reject> {
        if bytes.is_empty() || bytes.len() > MAX_CERTIFICATE {
            return Err(bad(format!("{} bytes long", bytes.len())));
        }
        let certificate = Certificate::from_der(bytes).map_err(not_der)?;
        if certificate.to_der().map_err(not_der)? != bytes {
            return Err(bad("not canonical DER"));
        }
        let parsed = Self { der: bytes.to_vec(), certificate };
        let mut seen = BTreeSet::new();
        if parsed.extensions().len() > MAX_EXTENSIONS {
            return Err(bad("more extensions than any real one"));
        }
        if !parsed.extensions().iter().all(|extension| seen.insert(extension.extn_id)) {
            return Err(bad("an extension stands twice"));
        }
        Ok(parsed)
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The SubjectPublicKeyInfo, DER.
    pub(crate) fn spki(&self) -> Result<Vec<u8>, Reject> {
        self.certificate.tbs_certificate().subject_public_key_info().to_der().map_err(not_der)
    }

    pub(crate) fn public_key(&self) -> Result<PublicKey, Reject> {
        PublicKey::from_spki_der(&self.spki()?).map_err(|error| bad(error.to_string()))
    }

    /// The parts of its key, which is not checked here.
    pub(crate) fn key_parts(&self) -> Result<KeyParts<'_>, Reject> {
        let spki = self.certificate.tbs_certificate().subject_public_key_info();
        let identifier = spki.algorithm.to_der().map_err(not_der)?;
        let algorithm = AnyRef::from_der(&identifier).map_err(not_der)?.value().to_vec();
        let key =
            spki.subject_public_key.as_bytes().ok_or_else(|| bad("unused bits in the key"))?;
        Ok(KeyParts { algorithm, key })
    }

    /// The parts that its issuer's signature is verified with.
    pub(crate) fn signed_parts(&self) -> Result<SignedParts<'_>, Reject> {
        signed_parts(&self.der).map_err(not_der)
    }

    /// True if it names `issuer` as its issuer. Only the names are compared.
    pub(crate) fn names_issuer(&self, issuer: &Self) -> bool {
        let subject = issuer.certificate.tbs_certificate().subject();
        self.certificate.tbs_certificate().issuer() == subject
    }

    /// The DER of its issuer's name and of its serial number, by which CMS names it.
    pub(crate) fn issuer_and_serial(&self) -> der::Result<(Vec<u8>, Vec<u8>)> {
        let certificate = self.certificate.tbs_certificate();
        Ok((certificate.issuer().to_der()?, certificate.serial_number().to_der()?))
    }

    /// A critical extension that is not evaluated anywhere.
    pub(crate) fn unknown_critical_extension(&self) -> Option<ObjectIdentifier> {
        let unknown =
            |found: &&Extension| found.critical && !KNOWN_CRITICAL.contains(&found.extn_id);
        self.extensions().iter().find(unknown).map(|extension| extension.extn_id)
    }

    /// First and last second in which it is valid, since 1970.
    pub(crate) fn window(&self) -> (i64, i64) {
        let validity = self.certificate.tbs_certificate().validity();
        let seconds = |time: &x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
        };
        (seconds(&validity.not_before), seconds(&validity.not_after))
    }

    /// True if it names itself as its issuer, as roots do.
    pub(crate) fn is_self_issued(&self) -> bool {
        let certificate = self.certificate.tbs_certificate();
        certificate.issuer() == certificate.subject()
    }

    /// Its own name and its issuer's, for display.
    pub(crate) fn distinguished_names(&self) -> (Foreign, Foreign) {
        let certificate = self.certificate.tbs_certificate();
        let text = |name: String| Foreign::new(name);
        (text(certificate.subject().to_string()), text(certificate.issuer().to_string()))
    }

    /// The first organization and the common name in its name; empty where there is none.
    pub(crate) fn organization_and_common_name(&self) -> (String, String) {
        let subject = self.certificate.tbs_certificate().subject();
        let attribute = |oid: ObjectIdentifier| {
            let found = subject.iter().find(|attribute| attribute.oid == oid)?;
            let text = String::from_utf8(found.value.value().to_vec()).ok()?;
            Some(Foreign::new(text).to_string())
        };
        (attribute(ORGANIZATION).unwrap_or_default(), attribute(COMMON_NAME).unwrap_or_default())
    }

    /// Its serial number, hexadecimal.
    pub(crate) fn serial(&self) -> String {
        hex::encode(self.certificate.tbs_certificate().serial_number().as_bytes())
    }

    pub(crate) fn extensions(&self) -> &[Extension] {
        self.certificate.tbs_certificate().extensions().map_or(&[], Vec::as_slice)
    }

    /// The bytes of an extension's value.
    pub(crate) fn extension(&self, oid: ObjectIdentifier) -> Option<&[u8]> {
        let found = self.extensions().iter().find(|extension| extension.extn_id == oid);
        found.map(|extension| extension.extn_value.as_bytes())
    }

    /// The value of an extension that RFC 5280 defines.
    pub(crate) fn known<'a, T: Decode<'a> + AssociatedOid>(&'a self) -> Result<Option<T>, Reject> {
        let value = self.extension(T::OID);
        value.map(|value| T::from_der(value).map_err(|_| bad(T::OID.to_string()))).transpose()
    }

    pub(crate) fn key_usage(&self) -> Result<Option<KeyUsage>, Reject> {
        self.known()
    }

    pub(crate) fn extended_key_usage(&self) -> Result<Vec<ObjectIdentifier>, Reject> {
        Ok(self.known::<ExtendedKeyUsage>()?.map(|usage| usage.0).unwrap_or_default())
    }

    /// The path length constraint if it may sign certificates; none if it may not.
    pub(crate) fn certifies(&self) -> Result<Option<Option<u8>>, Reject> {
        let usage = self.key_usage()?;
        let basic = self.known::<BasicConstraints>()?;
        let may_sign = usage.is_none_or(|usage| usage.key_cert_sign());
        Ok(basic.filter(|basic| basic.ca && may_sign).map(|basic| basic.path_len_constraint))
    }

    /// The TBSCertificate without the extension `left_out`, which a CT log signs (RFC 6962, section
    /// 3.2).
    pub(crate) fn tbs_without(&self, left_out: ObjectIdentifier) -> Result<Vec<u8>, Reject> {
        tbs_without(&self.der, left_out).map_err(not_der)
    }
}

fn signed_parts(certificate: &[u8]) -> der::Result<SignedParts<'_>> {
    let mut fields = SliceReader::new(AnyRef::from_der(certificate)?.value())?;
    let message = fields.tlv_bytes()?;
    let algorithm = AnyRef::decode(&mut fields)?.value();
    let signature = BitStringRef::decode(&mut fields)?;
    let signature = signature.as_bytes().ok_or_else(|| Tag::BitString.value_error())?;
    Ok(SignedParts { message, algorithm, signature })
}

fn tbs_without(certificate: &[u8], left_out: ObjectIdentifier) -> der::Result<Vec<u8>> {
    const EXTENSIONS: TagNumber = TagNumber(3);
    let mut reader = SliceReader::new(AnyRef::from_der(certificate)?.value())?;
    let mut fields = SliceReader::new(AnyRef::decode(&mut reader)?.value())?;
    let mut kept = Vec::new();
    while !fields.is_finished() {
        let is_extensions =
            Tag::peek(&fields)? == Tag::ContextSpecific { constructed: true, number: EXTENSIONS };
        let field = fields.tlv_bytes()?;
        if is_extensions {
            kept.extend(extensions_without(field, left_out)?);
        } else {
            kept.extend_from_slice(field);
        }
    }
    AnyRef::new(Tag::Sequence, &kept)?.to_der()
}

fn extensions_without(tagged: &[u8], left_out: ObjectIdentifier) -> der::Result<Vec<u8>> {
    let list = AnyRef::from_der(AnyRef::from_der(tagged)?.value())?;
    let mut reader = SliceReader::new(list.value())?;
    let mut kept = Vec::new();
    while !reader.is_finished() {
        let bytes = reader.tlv_bytes()?;
        if Extension::from_der(bytes)?.extn_id != left_out {
            kept.extend_from_slice(bytes);
        }
    }
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let list = AnyRef::new(Tag::Sequence, &kept)?;
    ContextSpecificRef { tag_number: TagNumber(3), tag_mode: der::TagMode::Explicit, value: &list }
        .to_der()
}

pub(crate) fn bad(detail: impl AsRef<str>) -> Reject {
    Reject::Certificate(Foreign::new(detail))
}

fn not_der(error: der::Error) -> Reject {
    bad(error.to_string())
}
