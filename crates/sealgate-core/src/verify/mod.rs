//! Evidence and an authority in, [`Verified`] or [`Reject`] out.
//!
//! Always in this order, one file each: `signature` (the bytes), `claim` (is it about *this*
//! digest, and of *this* predicate type?). Each returns a small private proof; [`Verified`] can
//! only be made from all of them, so a skipped check does not compile.
//! (Time, certificate and log join with keyless verification.)

mod blob;
mod claim;
mod signature;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

pub use blob::{Artifact, BlobSignature, VerifiedBlob, verify_blob};
use claim::Claimed;

use crate::bundle::{Bundle, Content, LogMaterial};
use crate::digest::Digest;
use crate::evidence::{BundleBytes, Evidence, LegacySignature, Origin};
use crate::key::{HashAlgorithm, PublicKey};
use crate::reject::{Document, Reject};
use crate::simple_signing::COSIGN_TYPE;

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
    format: Format,
    origin: Origin,
    key: Digest,
    payload: Vec<u8>,
    signature: Vec<u8>,
    claimed: Option<Digest>,
    docker_reference: Option<String>,
    annotations: BTreeMap<String, Value>,
    checks: Vec<Check>,
    has_log_material: bool,
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
    pub fn annotations(&self) -> &BTreeMap<String, Value> {
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
    /// The digest that the signature is about: the subject of the question, unless claims were
    /// ignored.
    pub fn claimed(&self) -> Option<&Digest> {
        self.claimed.as_ref()
    }

    /// The object that cosign prints on standard output for this signature, `{critical,
    /// optional}`. `reference` is the image as the user named it; a legacy signature names its
    /// own repository.
    pub fn simple_signing_json(&self, reference: &str) -> Value {
        let kind = match self.format {
            Format::Legacy => COSIGN_TYPE,
            Format::Bundle => IMAGE_SIGNATURE_PREDICATE,
        };
        let digest = self.claimed.as_ref().map(Digest::to_string).unwrap_or_default();
        let optional = match self.annotations.is_empty() {
            true => Value::Null,
            false => serde_json::json!(self.annotations),
        };
        serde_json::json!({
            "critical": {
                "identity": {
                    "docker-reference": self.docker_reference.as_deref().unwrap_or(reference),
                },
                "image": { "docker-manifest-digest": digest },
                "type": kind,
            },
            "optional": optional,
        })
    }

    /// The only way to a `Verified`: from the proofs, the later holding the earlier.
    fn new(format: Format, origin: &Origin, claimed: Claimed, log: &LogMaterial) -> Self {
        let (signed, claim) = claimed.into_parts();
        let (payload, proof) = signed.into_parts();
        let (key, signature) = proof.into_parts();
        let mut checks = claim.compared;
        checks.push(Check::KeySignature);
        Self {
            format,
            origin: origin.clone(),
            key,
            payload,
            signature,
            claimed: claim.digest,
            docker_reference: claim.docker_reference,
            annotations: claim.annotations,
            checks,
            has_log_material: !log.is_empty(),
        }
    }
}

/// Is this evidence an image signature by this authority, about this subject?
///
/// An attestation (a bundle of another predicate type) is not a signature:
/// it is rejected with its own code, whatever [`Question::claims`] says.
pub fn verify_image(
    evidence: &Evidence,
    authority: &KeyAuthority,
    question: &Question,
) -> Result<Verified, Reject> {
    match evidence {
        Evidence::Legacy(layer) => verify_legacy(layer, authority, question),
        Evidence::Bundle(bundle) => verify_bundle(bundle, authority, question),
        Evidence::Unusable { reason, .. } => Err(reason.clone()),
    }
}

/// The annotations of a legacy layer, by cosign's names.
pub mod annotation {
    /// The signature, base64.
    pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
    /// The signer's certificate, PEM.
    pub const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
    /// The certificate's chain, PEM.
    pub const CHAIN: &str = "dev.sigstore.cosign/chain";
    /// The log entry.
    pub const BUNDLE: &str = "dev.sigstore.cosign/bundle";
    /// The RFC 3161 timestamp.
    pub const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
}

/// A certificate beside the signature is not looked at: the key decides, as with cosign.
fn verify_legacy(
    layer: &LegacySignature,
    authority: &KeyAuthority,
    question: &Question,
) -> Result<Verified, Reject> {
    let note = |key: &str| layer.annotations.get(key).map(String::as_str).unwrap_or_default();
    let signature = note(annotation::SIGNATURE);
    if signature.is_empty() {
        return Err(Reject::MissingSignature(Document::Payload));
    }
    let signature = STANDARD
        .decode(signature)
        .map_err(|_| Reject::Base64 { what: Document::Signature, field: annotation::SIGNATURE })?;
    let log = LogMaterial::of_annotations(note(annotation::BUNDLE), note(annotation::TIMESTAMP))?;
    let signed = signature::of_payload(&layer.payload, &signature, authority)?;
    let claimed = claim::of_simple_signing(signed, question)?;
    Ok(Verified::new(Format::Legacy, &layer.origin, claimed, &log))
}

/// The hint in the bundle does not matter: each key of the authority is tried.
fn verify_bundle(
    evidence: &BundleBytes,
    authority: &KeyAuthority,
    question: &Question,
) -> Result<Verified, Reject> {
    let bundle = Bundle::parse(&evidence.json)?;
    blob::require_key(&bundle)?;
    let Content::Envelope(envelope) = &bundle.content else {
        return Err(Reject::NotAnEnvelope);
    };
    blob::require_statement(envelope)?;
    let signed = signature::of_envelope(envelope, authority)?;
    let claimed = claim::of_statement(signed, question)?;
    Ok(Verified::new(Format::Bundle, &evidence.origin, claimed, &bundle.log))
}

#[cfg(test)]
mod tests;
