//! Evidence and an authority in, [`Verified`] or [`Reject`] out.
//!
//! Always in this order, one file each: `signature` (the bytes), `claim` (is it about *this*
//! digest, and of *this* predicate type?). Each returns a small private proof; [`Verified`] can
//! only be made from all of them, so a skipped check does not compile.
//! (Time, certificate and log join with keyless verification.)

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::evidence::{Evidence, Origin};
use crate::key::{HashAlgorithm, PublicKey};
use crate::reject::Reject;

/// The predicate type of a cosign image signature.
pub const IMAGE_SIGNATURE_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Who may sign: any one of these keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAuthority {
    /// The keys; empty never verifies anything.
    pub keys: Vec<PublicKey>,
    /// The hash to insist on; `None` accepts each that cosign has used for the key's algorithm.
    pub hash: Option<HashAlgorithm>,
}

/// What the evidence must be about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The digest of the image's manifest or index.
    pub subject: Digest,
    /// Annotations that the signature must carry, each with this value.
    pub annotations: BTreeMap<String, String>,
    /// Whether the claim must name [`Question::subject`].
    pub claims: Claims,
}

/// Whether claims are compared (`--check-claims`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// The payload must be about the subject.
    Checked,
    /// Only the signature counts: the user asked for it, and the output says so.
    Ignored,
}

/// Which form the evidence had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A `.sig` layer.
    Legacy,
    /// A Sigstore bundle.
    Bundle,
}

/// A check that was really made; what a tool may claim in its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// The required annotations were compared.
    Annotations,
    /// The claim names the digest.
    Claims,
    /// The signature was verified with a key.
    KeySignature,
}

/// An image signature that was verified. Made by [`verify_image`] only.
#[derive(Clone, Debug)]
pub struct Verified {
    pub(crate) format: Format,
    pub(crate) origin: Origin,
    pub(crate) key: Digest,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) annotations: BTreeMap<String, serde_json::Value>,
    pub(crate) checks: Vec<Check>,
    pub(crate) has_log_material: bool,
}

impl Verified {
    /// Legacy layer or bundle.
    pub fn format(&self) -> Format {
        self.format
    }
    /// Where the evidence lay.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
    /// The fingerprint of the key that verified it.
    pub fn key(&self) -> &Digest {
        &self.key
    }
    /// The signed bytes: SimpleSigning JSON (legacy) or in-toto statement (bundle).
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
    /// The raw signature bytes.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
    /// The signer's annotations, SimpleSigning `optional` or the subject's `annotations`.
    pub fn annotations(&self) -> &BTreeMap<String, serde_json::Value> {
        &self.annotations
    }
    /// The checks that were made.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
    /// Whether log entries or timestamps lay in it that were not asked for.
    pub fn has_log_material(&self) -> bool {
        self.has_log_material
    }
}

/// Is this evidence an image signature by this authority, about this subject?
///
/// An attestation (a bundle of another predicate type) is not a signature:
/// it is rejected with its own code, whatever [`Question::claims`] says.
pub fn verify_image(
    _evidence: &Evidence,
    _authority: &KeyAuthority,
    _question: &Question,
) -> Result<Verified, Reject> {
    todo!()
}
