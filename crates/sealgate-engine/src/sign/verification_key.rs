//! The public key that signatures are verified with, and the certificates that bind it to an
//! identity.

use sealgate_core::bundle::{VerificationMaterial, key_hint};
use sealgate_core::certificate::Unverified;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::identity::{IdentityAuthority, IdentityMatcher, Wanted};
use sealgate_core::key::{HashAlgorithm, PublicKey};
use sealgate_core::reject::Reject;
use sealgate_core::verify::{Authority, KeyAuthority};

use crate::failure::Failure;
use crate::ports::{CertificateIssuer, IdentityToken, Signer, SubmittedVerifier};

/// The public key of a signer, with its certificate chain where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationKey {
    key: PublicKey,
    certificates: Vec<Vec<u8>>,
}

impl VerificationKey {
    /// A key without certificates.
    pub fn plain(key: PublicKey) -> Self {
        Self { key, certificates: Vec::new() }
    }

    /// A key with its certificates: DER, leaf first.
    ///
    /// # Errors
    /// There is no certificate, or the first one cannot be read or is of another key.
    pub fn certified(key: PublicKey, certificates: Vec<Vec<u8>>) -> Result<Self, Failure> {
        let leaf = certificates.first().ok_or(Reject::NoCertificate)?;
        if Unverified::read(leaf)?.key() != &key {
            let text = "public key in certificate does not match the provided public key";
            return Err(Failure::Invalid(text.to_owned()));
        }
        Ok(Self { key, certificates })
    }

    /// Requests a certificate that binds the signer's key to the identity in `token`.
    ///
    /// # Errors
    /// The certificate authority issues none, or one of another key.
    pub async fn issued(
        signer: &dyn Signer,
        issuer: &dyn CertificateIssuer,
        token: &IdentityToken,
    ) -> Result<Self, Failure> {
        let certificates = issuer.certify(signer, token).await?;
        Self::certified(signer.public_key().clone(), certificates)
    }

    /// The public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The certificates: DER, leaf first; empty for a plain key.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// The leaf certificate, unverified.
    pub fn certificate(&self) -> Option<Unverified> {
        self.certificates.first().and_then(|der| Unverified::read(der).ok())
    }

    /// The verification material of a bundle.
    pub(super) fn material(&self) -> VerificationMaterial {
        match self.certificates.first() {
            Some(leaf) => VerificationMaterial::Certificate(leaf.clone()),
            None => self.key_material(),
        }
    }

    /// The same without the certificates.
    pub(super) fn key_material(&self) -> VerificationMaterial {
        VerificationMaterial::PublicKey { hint: key_hint(&self.key) }
    }

    /// The verifier of a log entry.
    pub(super) fn submitted(&self) -> SubmittedVerifier {
        match self.certificates.first() {
            Some(leaf) => SubmittedVerifier::Certificate(leaf.clone()),
            None => SubmittedVerifier::Key(self.key.clone()),
        }
    }

    /// An authority that accepts this signer only: the identity in its certificate, or its key.
    pub(super) fn authority(&self) -> Result<Authority, Failure> {
        let Some(leaf) = self.certificates.first() else { return Ok(self.key_authority()) };
        let identity = Unverified::read(leaf)?.identity().clone();
        let subject = identity.subjects.first().ok_or(Reject::NoSubjectName)?;
        let matcher = IdentityMatcher {
            issuer: identity.issuer.map(Wanted::Exactly),
            subject: Some(Wanted::Exactly(subject.to_string())),
            claims: identity.claims,
        };
        Ok(IdentityAuthority { identities: vec![matcher] }.into())
    }

    /// An authority that accepts this key, whatever its certificates say.
    pub(super) fn key_authority(&self) -> Authority {
        KeyAuthority { keys: vec![self.key.clone()], hash: None }.into()
    }

    /// The digest of `content` by the hash algorithm that `signature` was made with.
    pub(crate) fn signed_digest(&self, content: &[u8], signature: &[u8]) -> Digest {
        let fits = |hash: &HashAlgorithm| self.key.verify(content, signature, Some(*hash)).is_ok();
        let hash = self.key.hashes(None).into_iter().find(fits);
        let algorithm = hash.and_then(HashAlgorithm::digest).unwrap_or(Algorithm::Sha256);
        Digest::with(algorithm, content)
    }
}
