//! Unverified contents of a certificate, for display and for signers that inspect the certificate
//! that they received. Verification is [`super::certify`].

use super::names;
use crate::digest::Digest;
use crate::identity::Identity;
use crate::key::PublicKey;
use crate::reject::{Foreign, Reject};
use crate::x509::{X509, bad};

/// A certificate that was read and not verified.
#[derive(Clone, Debug)]
pub struct Unverified {
    der: Vec<u8>,
    key: PublicKey,
    identity: Identity,
    window: (i64, i64),
    names: (Foreign, Foreign),
    serial: String,
    authority: bool,
}

impl Unverified {
    /// Reads one, DER.
    ///
    /// # Errors
    /// It is malformed, or has an unsupported key.
    pub fn read(der: &[u8]) -> Result<Self, Reject> {
        let certificate = X509::parse(der)?;
        Ok(Self {
            key: certificate.public_key()?,
            identity: names::read(&certificate)?,
            window: certificate.window(),
            names: certificate.distinguished_names(),
            serial: certificate.serial(),
            authority: certificate.certifies()?.is_some(),
            der: der.to_vec(),
        })
    }

    /// Reads the certificates of a PEM text, in their order, at most `limit`.
    ///
    /// # Errors
    /// It is malformed, or one of its certificates cannot be parsed.
    pub fn of_pem(pem: &str, limit: usize) -> Result<Vec<Self>, Reject> {
        let chain = crate::x509::pem::read(pem, limit).map_err(bad)?;
        chain.iter().map(|der| Self::read(der)).collect()
    }

    /// The certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
    /// Its public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
    /// The identity that it names; without subjects where it names none.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    /// The first second in which it is valid, since 1970.
    pub fn not_before(&self) -> i64 {
        self.window.0
    }
    /// The last second in which it is valid.
    pub fn not_after(&self) -> i64 {
        self.window.1
    }
    /// The subject's distinguished name; empty in Fulcio's certificates.
    pub fn subject(&self) -> &Foreign {
        &self.names.0
    }
    /// The issuer's distinguished name.
    pub fn issuer(&self) -> &Foreign {
        &self.names.1
    }
    /// Its serial number, hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }
    /// True if it may sign certificates.
    pub fn is_authority(&self) -> bool {
        self.authority
    }
    /// The hash of the certificate.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.der)
    }
}
