//! Verification of signers' certificates.
//!
//! Input: an unverified certificate, the trust root, and the trusted times at which the signature
//! is known to have existed. Output: [`CertifiedKey`], a key and the identity that an authority has
//! bound to it. [`crate::identity`] compares that identity with the accepted ones.

mod chain;
mod names;
mod sct;
mod unverified;

pub(crate) use chain::{Chain, MAX_UNTRUSTED, Purpose, accepted_key, verify as verify_chain};
use sct::RequiredScts;
pub use unverified::Unverified;

use crate::digest::Digest;
use crate::identity::Identity;
use crate::key::PublicKey;
use crate::reject::Reject;
use crate::trust::TrustRoot;
use crate::x509::X509;
pub use crate::x509::{names_itself, pem};

/// A certificate with intermediates and a detached SCT, unverified.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The signer's certificate, DER.
    pub leaf: &'a [u8],
    /// Certificates that may fill gaps up to a root, DER. At most four.
    pub untrusted: &'a [Vec<u8>],
    /// A detached SCT: the JSON of Fulcio's former response.
    pub detached_sct: Option<&'a [u8]>,
}

/// Requirement of an SCT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SctRequirement {
    /// At least one CT log of the trust root must have signed an SCT.
    Required,
    /// No SCT is required. An SCT of a known log that does not verify is still a reject.
    NotRequired,
}

/// A key and the identity that an authority of the trust root has certified for it. Made by
/// [`certify`] only.
#[derive(Clone, Debug)]
pub struct CertifiedKey {
    key: PublicKey,
    identity: Identity,
    window: (i64, i64),
    chain: Chain,
    scts: RequiredScts,
    der: Vec<u8>,
}

impl CertifiedKey {
    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
    /// The identity that the certificate names.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
    /// The first second of the certificate, since 1970.
    pub fn not_before(&self) -> i64 {
        self.window.0
    }
    /// The last second of the certificate.
    pub fn not_after(&self) -> i64 {
        self.window.1
    }
    /// The address of the authority that issued it.
    pub fn authority(&self) -> &str {
        self.chain.authority()
    }
    /// The number of CT logs of the trust root that have signed an SCT of the certificate.
    pub fn ct_logs(&self) -> usize {
        self.scts.logs()
    }
    /// The certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
    /// The hash of the certificate.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.der)
    }
}

/// Verifies a signer's certificate at every one of `times` (seconds since 1970; at least one).
///
/// The chain ends in an authority of `root` within that authority's validity period; every
/// certificate is valid at every time; the leaf is for code signing; a CT log has signed an SCT, if
/// `sct` requires one.
pub fn certify(
    presented: Presented<'_>,
    root: &TrustRoot,
    times: &[i64],
    sct: SctRequirement,
) -> Result<CertifiedKey, Reject> {
    let leaf = X509::parse(presented.leaf)?;
    let authorities = &root.certificate_authorities;
    let chain = verify_chain(&leaf, presented.untrusted, authorities, times, Purpose::CodeSigning)?;
    let scts = sct::verify(&leaf, &chain, presented.detached_sct, &root.ct_logs)?.require(sct)?;
    Ok(CertifiedKey {
        key: accepted_key(&leaf)?,
        identity: names::identity(&leaf)?,
        window: leaf.window(),
        chain,
        scts,
        der: leaf.der().to_vec(),
    })
}

#[cfg(test)]
pub(crate) mod tests;
