//! Issuance of CA and serving certificates (ECDSA P-256).

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use sealgate_core::fault::{Fault, FaultKind};

use super::{BACKDATE, CA_LIFETIME, LEAF_LIFETIME, Serving};

/// Last representable time of a certificate (9999-12-31T23:59:59Z), minus a day.
const LAST_SECOND: i64 = 253_402_214_399;

/// CA certificate and key. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) not_after: Timestamp,
}

/// Serving certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) serving: Serving,
    pub(super) names: Vec<String>,
    pub(super) not_after: Timestamp,
}

/// Certificate for one process, without cluster or files.
#[derive(Clone, Debug)]
pub struct SelfSigned {
    /// Certificate chain and key.
    pub serving: Serving,
    /// CA certificate that clients must trust, PEM.
    pub ca: String,
}

/// Issues a certificate for `names` (DNS names or IP addresses) from a new CA, whose key is
/// discarded.
///
/// # Errors
/// [`FaultKind::Config`] for a name that is not valid in a certificate.
pub fn self_signed(names: &[String], now: Timestamp) -> Result<SelfSigned, Fault> {
    let authority = authority(now)?;
    let leaf = leaf(&authority, names, now)?;
    Ok(SelfSigned { serving: leaf.serving, ca: authority.certificate })
}

/// Creates a CA.
pub(super) fn authority(now: Timestamp) -> Result<Authority, Fault> {
    let key = generate()?;
    let not_after = later(now, CA_LIFETIME);
    let mut params = authority_params(not_after);
    set_validity(&mut params, now, not_after);
    let certificate = params.self_signed(&key).map_err(|error| fault(&error))?;
    Ok(Authority { certificate: certificate.pem(), key: key.serialize_pem(), not_after })
}

/// Issues a serving certificate from `authority`, which it does not outlive.
pub(super) fn leaf(authority: &Authority, names: &[String], now: Timestamp) -> Result<Leaf, Fault> {
    let ca_key = KeyPair::from_pem(&authority.key).map_err(|error| fault(&error))?;
    let issuer = Issuer::new(authority_params(authority.not_after), ca_key);
    let not_after = later(now, LEAF_LIFETIME).min(authority.not_after);
    let key = generate()?;
    let mut params = CertificateParams::new(names).map_err(|error| fault(&error))?;
    params.distinguished_name = common_name("sealgate");
    set_validity(&mut params, now, not_after);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(|error| fault(&error))?;
    let serving =
        Serving { chain: certificate.pem().into_bytes(), key: key.serialize_pem().into_bytes() };
    Ok(Leaf { serving, names: names.to_vec(), not_after })
}

/// Parameters of a CA certificate, also used when issuing from it. The end of validity is part of
/// the name, so that the CAs in one bundle have distinct names.
fn authority_params(not_after: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("sealgate CA {}", not_after.as_second()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn generate() -> Result<KeyPair, Fault> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| fault(&error))
}

fn later(now: Timestamp, by: jiff::SignedDuration) -> Timestamp {
    // Certificates have a resolution of one second.
    let end = now.saturating_add(by).unwrap_or(now).as_second();
    Timestamp::from_second(end).unwrap_or(now)
}

/// rcgen uses the time type of another crate; both convert to seconds.
fn set_validity(params: &mut CertificateParams, now: Timestamp, not_after: Timestamp) {
    let since_epoch =
        |at: Timestamp| Duration::from_secs(at.as_second().clamp(0, LAST_SECOND).unsigned_abs());
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(now.saturating_sub(BACKDATE).unwrap_or(now));
    params.not_after = epoch + since_epoch(not_after);
}

fn fault(error: &rcgen::Error) -> Fault {
    Fault::new(FaultKind::Config, "serving certificate", error.to_string())
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority(until {})", self.not_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_signed_certificate_has_a_ca_of_its_own() {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = self_signed(&names, Timestamp::UNIX_EPOCH).expect("makes");
        assert!(made.ca.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(made.serving.chain.starts_with(b"-----BEGIN CERTIFICATE-----"));
        assert!(made.serving.key.starts_with(b"-----BEGIN PRIVATE KEY-----"));
        assert_ne!(made.ca.as_bytes(), made.serving.chain);
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn no_time_makes_it_panic() {
        for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            let authority = authority(now).expect("a CA");
            leaf(&authority, &["a".to_owned()], now).expect("a leaf");
        }
    }
}
