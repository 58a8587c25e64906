//! Signatures over blobs: a bundle, or a signature that lies in a file of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::signature::{self, SignatureProof};
use super::{KeyAuthority, claim};
use crate::bundle::{Bundle, Content, MessageSignature, OlderBundle, VerificationMaterial};
use crate::digest::{Algorithm, Digest};
use crate::dsse::{Envelope, IN_TOTO};
use crate::key::{HashAlgorithm, PublicKey};
use crate::reject::{Foreign, Reject};

/// A signature over a blob, nothing in it believed.
#[derive(Clone, Copy, Debug)]
pub enum BlobSignature<'a> {
    /// The JSON text of a Sigstore bundle, or of the older form that cosign writes with
    /// `--new-bundle-format=false`.
    Bundle(&'a [u8]),
    /// A signature alone: its bytes, or the base64 text of them (line breaks allowed).
    Detached(&'a [u8]),
}

/// The blob itself, or digests of it where it is too large to hold.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// The whole content.
    Content(&'a [u8]),
    /// Digests of the same content, at least those of [`KeyAuthority::blob_digests`].
    Digests(&'a [Digest]),
}

/// A blob signature that was verified. Made by [`verify_blob`] only.
#[derive(Clone, Debug)]
pub struct VerifiedBlob {
    key: Digest,
    signature: Vec<u8>,
    predicate_type: Option<String>,
    has_log_material: bool,
}

impl VerifiedBlob {
    /// The fingerprint of the key that verified it.
    pub fn key(&self) -> &Digest {
        &self.key
    }
    /// The raw signature bytes.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
    /// The predicate type, where the evidence was an attestation about the blob.
    pub fn predicate_type(&self) -> Option<&str> {
        self.predicate_type.as_deref()
    }
    /// Whether log entries or timestamps lay in it that were not asked for.
    pub fn has_log_material(&self) -> bool {
        self.has_log_material
    }

    fn new(proof: SignatureProof, predicate_type: Option<String>, has_log_material: bool) -> Self {
        let (key, signature) = proof.into_parts();
        Self { key, signature, predicate_type, has_log_material }
    }
}

impl KeyAuthority {
    /// The digests to compute for a blob that is read once and not kept; none if whole content
    /// is needed (Ed25519, SHA-224).
    pub fn blob_digests(&self) -> Option<Vec<Algorithm>> {
        if self.keys.iter().any(PublicKey::needs_message) {
            return None;
        }
        let hashes = self.keys.iter().flat_map(|key| key.hashes(self.hash));
        let mut wanted: Vec<_> = hashes.map(HashAlgorithm::digest).collect::<Option<_>>()?;
        wanted.push(Algorithm::Sha256);
        wanted.sort_unstable();
        wanted.dedup();
        Some(wanted)
    }
}

/// Is this a signature by this authority over this blob?
///
/// A bundle with an in-toto statement is accepted as cosign's `verify-blob` does: its subject
/// must be the blob. [`VerifiedBlob::predicate_type`] then says what kind of statement it was.
pub fn verify_blob(
    evidence: BlobSignature<'_>,
    authority: &KeyAuthority,
    artifact: Artifact<'_>,
) -> Result<VerifiedBlob, Reject> {
    match evidence {
        BlobSignature::Detached(signature) => {
            let signature = undo_base64(signature);
            let proof = of_artifact(&signature, authority, artifact)?;
            Ok(VerifiedBlob::new(proof, None, false))
        }
        BlobSignature::Bundle(json) => match OlderBundle::recognise(json)? {
            Some(older) => {
                let proof = of_artifact(&older.signature, authority, artifact)?;
                Ok(VerifiedBlob::new(proof, None, !older.log.is_empty()))
            }
            None => verify_bundle(&Bundle::parse(json)?, authority, artifact),
        },
    }
}

fn verify_bundle(
    bundle: &Bundle,
    authority: &KeyAuthority,
    artifact: Artifact<'_>,
) -> Result<VerifiedBlob, Reject> {
    require_key(bundle)?;
    let has_log_material = !bundle.log.is_empty();
    match &bundle.content {
        Content::Message(message) => {
            check_digest(message, artifact)?;
            let proof = of_artifact(&message.signature, authority, artifact)?;
            Ok(VerifiedBlob::new(proof, None, has_log_material))
        }
        Content::Envelope(envelope) => {
            require_statement(envelope)?;
            let signed = signature::of_envelope(envelope, authority)?;
            let statement = claim::is_about(&signed, &artifact.digests())?;
            let (_, proof) = signed.into_parts();
            Ok(VerifiedBlob::new(proof, Some(statement.predicate_type), has_log_material))
        }
    }
}

/// A bundle with a certificate says that somebody else signed it than a holder of the key.
pub(super) fn require_key(bundle: &Bundle) -> Result<(), Reject> {
    match bundle.material {
        VerificationMaterial::PublicKey { .. } => Ok(()),
        VerificationMaterial::Certificate(_) | VerificationMaterial::CertificateChain(_) => {
            Err(Reject::CertificateInBundle)
        }
    }
}

pub(super) fn require_statement(envelope: &Envelope) -> Result<(), Reject> {
    if envelope.payload_type == IN_TOTO {
        return Ok(());
    }
    Err(Reject::EnvelopeType(Foreign::new(&envelope.payload_type)))
}

fn of_artifact(
    signature: &[u8],
    authority: &KeyAuthority,
    artifact: Artifact<'_>,
) -> Result<SignatureProof, Reject> {
    match signature::of_blob(artifact, signature, authority) {
        Err(Reject::WrongSignature) if !artifact.suffices(authority) => Err(Reject::NeedsContent),
        other => other,
    }
}

/// The digest that a bundle gives of its message signs nothing, but one that is wrong shows
/// that bundle and blob do not belong together.
fn check_digest(message: &MessageSignature, artifact: Artifact<'_>) -> Result<(), Reject> {
    let Some(named) = &message.digest else { return Ok(()) };
    let found = match artifact {
        Artifact::Content(bytes) => Some(Digest::with(named.algorithm(), bytes)),
        Artifact::Digests(digests) => {
            digests.iter().find(|digest| digest.algorithm() == named.algorithm()).cloned()
        }
    };
    match found {
        None => Err(Reject::NeedsContent),
        Some(digest) if digest == *named => Ok(()),
        Some(_) => Err(Reject::MessageDigest),
    }
}

impl Artifact<'_> {
    fn digests(&self) -> Vec<Digest> {
        match self {
            Self::Digests(digests) => digests.to_vec(),
            Self::Content(bytes) => [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512]
                .map(|algorithm| Digest::with(algorithm, bytes))
                .to_vec(),
        }
    }

    /// Whether every key could be tried.
    fn suffices(&self, authority: &KeyAuthority) -> bool {
        let Self::Digests(have) = self else { return true };
        authority.blob_digests().is_some_and(|wanted| {
            wanted.iter().all(|want| have.iter().any(|digest| digest.algorithm() == *want))
        })
    }
}

/// As cosign: what reads as base64 is base64, all else the signature itself.
fn undo_base64(signature: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = signature.iter().copied().filter(|b| !b"\r\n".contains(b)).collect();
    STANDARD.decode(text).unwrap_or_else(|_| signature.to_vec())
}
