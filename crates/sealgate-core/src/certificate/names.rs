//! The identity in a certificate: subject alternative names (RFC 5280, section 4.2.1.6) and the
//! extensions of Fulcio (its `oid-info.md`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use der::Decode;
use der::asn1::{ObjectIdentifier, Utf8StringRef};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};

use crate::identity::{Claim, Identity, Subject};
use crate::reject::Reject;
use crate::x509::{X509, bad};

const MAX_NAMES: usize = 64;
const MAX_TEXT: usize = 4096;

const OTHER_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");
const ISSUER_RAW: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
const ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");

pub(super) fn identity(certificate: &X509) -> Result<Identity, Reject> {
    let identity = read(certificate)?;
    if identity.subjects.is_empty() {
        return Err(Reject::NoSubjectName);
    }
    Ok(identity)
}

/// The identity, which may have no subject.
pub(super) fn read(certificate: &X509) -> Result<Identity, Reject> {
    let subjects = subjects(certificate)?;
    let mut claims = BTreeMap::new();
    for claim in Claim::ALL {
        if let Some(value) = certificate.extension(claim.oid()) {
            let text = if claim.is_raw() { raw(value)? } else { utf8_string(value)? };
            claims.insert(*claim, text);
        }
    }
    Ok(Identity { subjects, issuer: issuer(certificate)?, claims })
}

/// Both extensions name the same issuer, or only one is there.
fn issuer(certificate: &X509) -> Result<Option<String>, Reject> {
    let old = certificate.extension(ISSUER_RAW).map(raw).transpose()?;
    let new = certificate.extension(ISSUER).map(utf8_string).transpose()?;
    match (old, new) {
        (Some(old), Some(new)) if old != new => Err(bad("its two issuers are not the same")),
        (old, new) => Ok(new.or(old)),
    }
}

fn raw(value: &[u8]) -> Result<String, Reject> {
    text(std::str::from_utf8(value).map_err(|_| bad("a name that is not UTF-8"))?)
}

fn utf8_string(value: &[u8]) -> Result<String, Reject> {
    let value = Utf8StringRef::from_der(value);
    text(value.map_err(|_| bad("an extension that is not a UTF8String"))?.as_str())
}

fn text(text: &str) -> Result<String, Reject> {
    if text.len() > MAX_TEXT {
        return Err(bad("a name longer than any real one"));
    }
    Ok(text.to_owned())
}

fn subjects(certificate: &X509) -> Result<Vec<Subject>, Reject> {
    let Some(names) = certificate.known::<SubjectAltName>()? else { return Ok(Vec::new()) };
    if names.0.len() > MAX_NAMES {
        return Err(bad("more names than any real one"));
    }
    let subjects = names.0.iter().map(subject).collect::<Result<Vec<_>, _>>()?;
    Ok(subjects.into_iter().flatten().collect())
}

/// Names of other kinds (directory names, registered ids) name no signer.
fn subject(name: &GeneralName) -> Result<Option<Subject>, Reject> {
    Ok(match name {
        GeneralName::Rfc822Name(email) => Some(Subject::Email(text(email.as_str())?)),
        GeneralName::UniformResourceIdentifier(uri) => Some(Subject::Uri(text(uri.as_str())?)),
        GeneralName::DnsName(name) => Some(Subject::Dns(text(name.as_str())?)),
        GeneralName::IpAddress(octets) => Some(Subject::Ip(address(octets.as_bytes())?)),
        GeneralName::OtherName(other) => other_name(other)?,
        _ => None,
    })
}

fn address(octets: &[u8]) -> Result<IpAddr, Reject> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Ok(IpAddr::from(v4));
    }
    let v6 = <[u8; 16]>::try_from(octets).map_err(|_| bad("an IP address of a wrong length"))?;
    Ok(IpAddr::from(v6))
}

fn other_name(name: &OtherName) -> Result<Option<Subject>, Reject> {
    if name.type_id != OTHER_NAME {
        return Ok(None);
    }
    let value = name.value.decode_as::<Utf8StringRef<'_>>();
    let value = value.map_err(|_| bad("an other name that is not a UTF8String"))?;
    Ok(Some(Subject::Other(text(value.as_str())?)))
}
