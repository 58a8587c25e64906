//! The signature over the content, by a key that the authority allows.

use super::material::{SignatureMaterial, SignedContent};
use super::{Artifact, KeyAuthority};
use crate::certificate::CertifiedKey;
use crate::digest::Digest;
use crate::identity::{IdentityAuthority, IdentityProof};
use crate::key::{PublicKey, SignatureAlgorithm, SignatureMismatch, SignatureScheme};
use crate::reject::{Document, Reject};

/// The longest signature that is tried, in bytes: RSA-8192 makes 1024.
const MAX_SIGNATURE: usize = 4096;

/// Keys that may have made a signature: those of a key authority, or the key of a certificate
/// that names an identity of an identity authority.
pub(super) struct AuthorizedKeys {
    keys: KeyAuthority,
    certified: Option<CertifiedSigner>,
}

/// A certificate that names an identity of the authority.
#[derive(Clone, Debug)]
pub(super) struct CertifiedSigner {
    certificate: CertifiedKey,
    _identity: IdentityProof,
}

/// Proof that an authorized key has signed the content. Made by [`verify`] only.
#[derive(Clone, Debug)]
pub(super) struct SignatureProof {
    key: PublicKey,
    fingerprint: Digest,
    scheme: SignatureScheme,
    signature: Vec<u8>,
    content: SignedBytes,
    certified: Option<CertifiedSigner>,
}

/// Bytes whose signature was verified.
#[derive(Clone, Debug)]
pub(super) enum SignedBytes {
    /// A SimpleSigning payload.
    SimpleSigning(Vec<u8>),
    /// The in-toto statement of an envelope.
    Statement(Vec<u8>),
    /// The artifact of the requirement.
    Artifact,
}

impl AuthorizedKeys {
    pub(super) fn of_authority(keys: &KeyAuthority) -> Self {
        Self { keys: keys.clone(), certified: None }
    }

    /// The key of `certificate`, whose identity must be one of `identities`.
    pub(super) fn of_certificate(
        certificate: CertifiedKey,
        identities: &IdentityAuthority,
    ) -> Result<Self, Reject> {
        let identity = certificate.identity().check(identities)?;
        let keys = KeyAuthority { keys: vec![certificate.key().clone()], hash: None };
        Ok(Self { keys, certified: Some(CertifiedSigner { certificate, _identity: identity }) })
    }
}

impl SignatureProof {
    pub(super) fn key(&self) -> &PublicKey {
        &self.key
    }
    pub(super) fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm { key: self.key.algorithm(), scheme: self.scheme }
    }
    /// The fingerprint of the key.
    pub(super) fn fingerprint(&self) -> &Digest {
        &self.fingerprint
    }
    /// The raw signature.
    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
    pub(super) fn content(&self) -> &SignedBytes {
        &self.content
    }
    /// The certificate whose key has signed, and which names an identity of the authority.
    pub(super) fn certificate(&self) -> Option<&CertifiedKey> {
        self.certified.as_ref().map(|signer| &signer.certificate)
    }
}

/// Verifies the signature over the content with each authorized key in turn.
pub(super) fn verify(
    material: &SignatureMaterial<'_>,
    authorized: AuthorizedKeys,
) -> Result<SignatureProof, Reject> {
    let AuthorizedKeys { keys, certified } = authorized;
    let signature = material.signature;
    let (key, scheme) = match &material.content {
        SignedContent::SimpleSigning(payload) => {
            by_any(signature, &keys, |key| key.scheme_of(payload, signature, keys.hash))
        }
        SignedContent::Statement(statement) => {
            let message = statement.envelope().pae();
            by_any(signature, &keys, |key| key.scheme_of(&message, signature, keys.hash))
        }
        SignedContent::Artifact(artifact) => of_artifact(artifact.get(), signature, &keys),
    }?;
    let content = match &material.content {
        SignedContent::SimpleSigning(payload) => SignedBytes::SimpleSigning(payload.to_vec()),
        SignedContent::Statement(statement) => {
            SignedBytes::Statement(statement.envelope().payload.clone())
        }
        SignedContent::Artifact(_) => SignedBytes::Artifact,
    };
    let (fingerprint, signature) = (key.fingerprint(), signature.to_vec());
    Ok(SignatureProof { key, fingerprint, scheme, signature, content, certified })
}

fn of_artifact(
    artifact: Artifact<'_>,
    signature: &[u8],
    keys: &KeyAuthority,
) -> Result<(PublicKey, SignatureScheme), Reject> {
    let found = by_any(signature, keys, |key| match artifact {
        Artifact::Content(bytes) => key.scheme_of(bytes, signature, keys.hash),
        Artifact::Digests(digests) => key.scheme_of_digests(digests, signature, keys.hash),
    });
    match found {
        Err(Reject::WrongSignature) if !artifact.suffices(keys) => Err(Reject::NeedsContent),
        other => other,
    }
}

/// Tries each key in turn; `verifies` knows the message.
fn by_any(
    signature: &[u8],
    authority: &KeyAuthority,
    verifies: impl Fn(&PublicKey) -> Result<SignatureScheme, SignatureMismatch>,
) -> Result<(PublicKey, SignatureScheme), Reject> {
    if signature.is_empty() {
        return Err(Reject::MissingSignature(Document::Signature));
    }
    if signature.len() > MAX_SIGNATURE {
        return Err(Reject::TooLarge { what: Document::Signature, limit: MAX_SIGNATURE });
    }
    check_usable(authority)?;
    let by = |key: &PublicKey| verifies(key).ok().map(|scheme| (key.clone(), scheme));
    authority.keys.iter().find_map(by).ok_or(Reject::WrongSignature)
}

fn check_usable(authority: &KeyAuthority) -> Result<(), Reject> {
    if authority.keys.is_empty() {
        return Err(Reject::NoKey);
    }
    match authority.hash {
        Some(hash) if !authority.keys.iter().any(|key| key.supports(hash)) => {
            Err(Reject::UnsupportedHash)
        }
        _ => Ok(()),
    }
}
