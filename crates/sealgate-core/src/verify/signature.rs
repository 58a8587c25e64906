//! Do the bytes carry a signature by one of these keys?
//!
//! [`Signed`] is the proof. Nothing else makes one, and the claim is read out of it only.

use super::{Artifact, KeyAuthority};
use crate::dsse::Envelope;
use crate::key::{PublicKey, SignatureAlgorithm, SignatureMismatch, SignatureScheme};
use crate::reject::{Document, Reject};

/// The longest signature that is tried, in bytes: RSA-8192 makes 1024.
const MAX_SIGNATURE: usize = 4096;

/// Bytes that a key of the authority has signed.
pub(super) struct Signed {
    payload: Vec<u8>,
    proof: SignatureProof,
}

/// A signature that a key of the authority has made.
pub(super) struct SignatureProof {
    key: PublicKey,
    scheme: SignatureScheme,
    signature: Vec<u8>,
}

/// A proof that tells which key has signed, and by which algorithm.
pub(super) trait BySigner {
    fn key(&self) -> &PublicKey;
    fn scheme(&self) -> SignatureScheme;

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm { key: self.key().algorithm(), scheme: self.scheme() }
    }
}

impl BySigner for Signed {
    fn key(&self) -> &PublicKey {
        &self.proof.key
    }

    fn scheme(&self) -> SignatureScheme {
        self.proof.scheme
    }
}

impl BySigner for SignatureProof {
    fn key(&self) -> &PublicKey {
        &self.key
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl Signed {
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload and its signature.
    pub(super) fn into_parts(self) -> (Vec<u8>, Vec<u8>) {
        (self.payload, self.proof.signature)
    }
}

impl SignatureProof {
    pub(super) fn into_signature(self) -> Vec<u8> {
        self.signature
    }
}
/// Checks a signature over `payload` itself.
pub(super) fn of_payload(
    payload: &[u8],
    signature: &[u8],
    authority: &KeyAuthority,
) -> Result<Signed, Reject> {
    let proof =
        of_message(signature, authority, |key| key.scheme_of(payload, signature, authority.hash))?;
    Ok(Signed { payload: payload.to_vec(), proof })
}

/// Checks the one signature of an envelope, over its payload and payload type.
pub(super) fn of_envelope(envelope: &Envelope, authority: &KeyAuthority) -> Result<Signed, Reject> {
    let signature = match envelope.signatures.as_slice() {
        [] => return Err(Reject::MissingSignature(Document::Envelope)),
        [signature] => signature,
        several => return Err(Reject::SeveralSignatures(several.len())),
    };
    let message = envelope.pae();
    let proof =
        of_message(signature, authority, |key| key.scheme_of(&message, signature, authority.hash))?;
    Ok(Signed { payload: envelope.payload.clone(), proof })
}

/// Checks a signature over a blob.
pub(super) fn of_blob(
    artifact: Artifact<'_>,
    signature: &[u8],
    authority: &KeyAuthority,
) -> Result<SignatureProof, Reject> {
    let hash = authority.hash;
    of_message(signature, authority, |key| match artifact {
        Artifact::Content(bytes) => key.scheme_of(bytes, signature, hash),
        Artifact::Digests(digests) => key.scheme_of_digests(digests, signature, hash),
    })
}

/// Checks a signature with each key in turn; `verifies` knows the message.
fn of_message(
    signature: &[u8],
    authority: &KeyAuthority,
    verifies: impl Fn(&PublicKey) -> Result<SignatureScheme, SignatureMismatch>,
) -> Result<SignatureProof, Reject> {
    if signature.is_empty() {
        return Err(Reject::MissingSignature(Document::Signature));
    }
    if signature.len() > MAX_SIGNATURE {
        return Err(Reject::TooLarge { what: Document::Signature, limit: MAX_SIGNATURE });
    }
    check_usable(authority)?;
    let by = |key: &PublicKey| verifies(key).ok().map(|scheme| (key.clone(), scheme));
    let (key, scheme) = authority.keys.iter().find_map(by).ok_or(Reject::WrongSignature)?;
    Ok(SignatureProof { key, scheme, signature: signature.to_vec() })
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
