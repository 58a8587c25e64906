//! Verification of evidence against a requirement: [`verify`] returns [`Verified`] or [`Reject`].
//!
//! `requirements` decides which proofs are required; `material` parses and bounds the evidence;
//! `signer` verifies timestamps, log entries, certificate, identity and signature (`signature`);
//! `subject` compares digest, annotations and predicate type (`claims`). Each check returns a
//! proof type with private fields and no `Default`, and [`Verified`] is made from all of them:
//! code that leaves out a check does not compile. `crates/sealgate-core/tests/deletions.rs` deletes
//! each one.

mod blob;
mod claims;
mod material;
mod requirements;
mod signature;
mod signer;
mod subject;
mod trust_config;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use blob::{Artifact, BlobSignature, Parts};
use material::ParsedEvidence;
pub use requirements::{Chains, Overrides, ProofRequirements, RootSource, VerificationContext};
use signature::SignedBytes;
use signer::{LogMaterialUse, SignerProof};
use subject::SubjectProof;
pub use trust_config::TrustConfig;

use crate::certificate::CertifiedKey;
use crate::digest::{Algorithm, Digest};
use crate::evidence::{Evidence, Origin};
use crate::identity::IdentityAuthority;
use crate::key::{HashAlgorithm, PublicKey, SignatureAlgorithm};
use crate::log::LogProof;
use crate::reject::Reject;
pub use crate::requirement::{Override, ProofRequirement};
use crate::simple_signing::COSIGN_TYPE;
pub use crate::statement::IMAGE_SIGNATURE_PREDICATE;
use crate::statement::Statement;
use crate::timestamp::TrustedTime;

/// Evidence in every form that [`verify`] reads, unverified.
#[derive(Clone, Copy, Debug)]
pub enum Candidate<'a> {
    /// A legacy signature or a bundle from a registry, a layout folder or a file.
    Stored(&'a Evidence),
    /// A signature over a blob.
    Blob(BlobSignature<'a>),
}

/// Signer and subject that evidence must have.
#[derive(Clone, Copy, Debug)]
pub struct Requirement<'a> {
    /// The accepted signers.
    pub authority: &'a Authority,
    /// The subject and the kind of content.
    pub subject: SubjectRequirement<'a>,
}

/// Subject and kind of content that evidence must have.
#[derive(Clone, Copy, Debug)]
pub enum SubjectRequirement<'a> {
    /// A signature of an image. An attestation is rejected with a code of its own, even where
    /// claims are ignored.
    ImageSignature(&'a ImageSignatureRequirement),
    /// An attestation about an image.
    Attestation(&'a AttestationRequirement),
    /// A signature over a blob, or a statement of any predicate type about it.
    Blob(Artifact<'a>),
}

/// Claim that an image signature must make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSignatureRequirement {
    /// The digest of the image's manifest or index.
    pub digest: Digest,
    /// Annotations that the signature must carry, each with this value.
    pub annotations: BTreeMap<String, String>,
    /// Comparison of the claim with digest and annotations.
    pub claims: ClaimComparison,
}

/// Statement that an attestation must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationRequirement {
    /// The digest of the image's manifest or index.
    pub digest: Digest,
    /// The predicate type, compared exactly.
    pub predicate_type: String,
}

/// Authority that accepts signatures by any one of several keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAuthority {
    /// The accepted keys; an empty list verifies nothing.
    pub keys: Vec<PublicKey>,
    /// The required hash; `None` accepts each one that cosign has used for the key's algorithm.
    pub hash: Option<HashAlgorithm>,
}

/// The accepted signers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Holders of keys.
    Keys(KeyAuthority),
    /// Identities in certificates that authorities of the trust root issued.
    Identities(IdentityAuthority),
}

/// Comparison of claims (`--check-claims`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimComparison {
    /// The claim must name the digest and the annotations.
    Checked,
    /// Claims are not compared, at the user's request, which the output states.
    Ignored,
}

/// Format of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceFormat {
    /// A `.sig` layer, a detached signature, or cosign's older bundle.
    Legacy,
    /// A Sigstore bundle.
    Bundle,
}

/// A check that was made, for the output of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// The required annotations were compared.
    Annotations,
    /// The claim names the digest.
    Claims,
    /// A transparency log of the trust root has an entry for the signature.
    Log,
    /// A timestamp authority of the trust root has signed the time.
    Timestamp,
    /// A CT log of the trust root has signed an SCT of the certificate.
    Sct,
    /// The signature was verified with a certificate that an authority of the trust root issued for
    /// an accepted identity.
    Certificate,
    /// The signature was verified with a key.
    KeySignature,
}

/// Verified evidence. Made by [`verify`] only, from the proofs of signer and subject.
#[derive(Clone, Debug)]
pub struct Verified {
    format: EvidenceFormat,
    origin: Option<Origin>,
    signer: SignerProof,
    subject: SubjectProof,
    checks: Vec<Check>,
}

/// Content of verified evidence.
#[derive(Clone, Debug)]
pub enum VerifiedContent {
    /// A signature of an image.
    ImageSignature {
        /// The repository that a SimpleSigning payload names; never compared.
        docker_reference: Option<String>,
        /// The signer's annotations: SimpleSigning `optional`, or those of the subject.
        annotations: BTreeMap<String, Value>,
    },
    /// An in-toto statement about an image or a blob.
    Statement(Statement),
    /// A signature over a blob.
    Blob,
}

impl Verified {
    /// The format of the evidence.
    pub fn format(&self) -> EvidenceFormat {
        self.format
    }
    /// The place of the evidence; none for a signature over a blob.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }
    /// The content that was signed.
    pub fn content(&self) -> &VerifiedContent {
        self.subject.content()
    }
    /// The fingerprint of the key that verified the signature.
    pub fn key(&self) -> &Digest {
        self.signer.signature().fingerprint()
    }
    /// The signed bytes: SimpleSigning JSON or in-toto statement; empty for a signature over a
    /// blob, which holds no copy of it.
    pub fn payload(&self) -> &[u8] {
        match self.signer.signature().content() {
            SignedBytes::SimpleSigning(payload) | SignedBytes::Statement(payload) => payload,
            SignedBytes::Artifact => &[],
        }
    }
    /// The raw signature.
    pub fn signature(&self) -> &[u8] {
        self.signer.signature().signature()
    }
    /// The algorithm of the signature.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.signer.algorithm().algorithm()
    }
    /// The annotations of an image signature; empty for other content.
    pub fn annotations(&self) -> &BTreeMap<String, Value> {
        static NONE: BTreeMap<String, Value> = BTreeMap::new();
        match self.content() {
            VerifiedContent::ImageSignature { annotations, .. } => annotations,
            VerifiedContent::Statement(_) | VerifiedContent::Blob => &NONE,
        }
    }
    /// The predicate type of a statement; none for other content.
    pub fn predicate_type(&self) -> Option<&str> {
        match self.content() {
            VerifiedContent::Statement(statement) => Some(&statement.predicate_type),
            VerifiedContent::ImageSignature { .. } | VerifiedContent::Blob => None,
        }
    }
    /// The checks that were made.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
    /// True if there were log entries or timestamps, and no trust root to verify them with.
    pub fn has_log_material(&self) -> bool {
        self.signer.log_material() == LogMaterialUse::Skipped
    }
    /// The certificate and its identity, if its key has signed.
    pub fn certificate(&self) -> Option<&CertifiedKey> {
        self.signer.signature().certificate()
    }
    /// The entries in logs of the trust root.
    pub fn logs(&self) -> &[LogProof] {
        self.signer.log().proofs().proofs()
    }
    /// The timestamps of authorities of the trust root.
    pub fn timestamps(&self) -> &[TrustedTime] {
        self.signer.times().times().times()
    }
    /// The digest that the signature names: the required one, unless claims were ignored. None
    /// for a signature over a blob.
    pub fn claimed(&self) -> Option<&Digest> {
        self.subject.claimed()
    }

    /// The object that cosign prints on standard output for an image signature, `{critical,
    /// optional}`. `reference` is the image as the user named it; a legacy signature names its
    /// own repository.
    pub fn simple_signing_json(&self, reference: &str) -> Value {
        let kind = match self.format {
            EvidenceFormat::Legacy => COSIGN_TYPE,
            EvidenceFormat::Bundle => IMAGE_SIGNATURE_PREDICATE,
        };
        let digest = self.claimed().map(Digest::to_string).unwrap_or_default();
        let named = match self.content() {
            VerifiedContent::ImageSignature { docker_reference, .. } => docker_reference.as_deref(),
            VerifiedContent::Statement(_) | VerifiedContent::Blob => None,
        };
        let optional = match self.annotations().is_empty() {
            true => Value::Null,
            false => serde_json::json!(self.annotations()),
        };
        serde_json::json!({
            "critical": {
                "identity": { "docker-reference": named.unwrap_or(reference) },
                "image": { "docker-manifest-digest": digest },
                "type": kind,
            },
            "optional": optional,
        })
    }

    fn new(evidence: &ParsedEvidence<'_>, signer: SignerProof, subject: SubjectProof) -> Self {
        let checks = [subject.checks(), signer.checks()].concat();
        let (format, origin) = (evidence.format, evidence.origin.cloned());
        Self { format, origin, signer, subject, checks }
    }
}

/// Verifies evidence: an image signature, an attestation, or a signature over a blob.
///
/// Log entries and timestamps beside the signature are verified whether they are required or not,
/// as far as the trust root has the log or authority that they name: one that is present and
/// wrong is a reject. Without a trust root they are skipped, and only keys can verify.
///
/// # Errors
/// The evidence does not meet the requirement; the code says why.
pub fn verify<'a>(
    evidence: impl Into<Candidate<'a>>,
    requirement: &Requirement<'_>,
    context: &VerificationContext<'_>,
) -> Result<Verified, Reject> {
    let Requirement { authority, subject } = *requirement;
    let evidence = ParsedEvidence::parse(evidence.into(), authority, context)?;
    let material = evidence.material(subject)?;
    let signer = signer::verify(&material, authority, context)?;
    let subject = subject::verify(signer.signature(), subject)?;
    Ok(Verified::new(&evidence, signer, subject))
}

impl<'a> From<&'a Evidence> for Candidate<'a> {
    fn from(evidence: &'a Evidence) -> Self {
        Self::Stored(evidence)
    }
}

impl<'a> From<BlobSignature<'a>> for Candidate<'a> {
    fn from(signature: BlobSignature<'a>) -> Self {
        Self::Blob(signature)
    }
}

impl From<KeyAuthority> for Authority {
    fn from(keys: KeyAuthority) -> Self {
        Self::Keys(keys)
    }
}

impl From<IdentityAuthority> for Authority {
    fn from(identities: IdentityAuthority) -> Self {
        Self::Identities(identities)
    }
}

impl Authority {
    /// True if it accepts no signer, so that it verifies nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Keys(keys) => keys.keys.is_empty(),
            Self::Identities(wanted) => wanted.identities.is_empty(),
        }
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

/// Digests by every algorithm that a log entry may name.
fn all_digests(content: &[u8]) -> [Digest; 3] {
    [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512]
        .map(|algorithm| Digest::with(algorithm, content))
}

#[cfg(test)]
mod tests;
