//! The subject: digest, annotations and predicate type of signed content, compared with the
//! requirement.
//!
//! Content is read from a [`SignatureProof`] only, so that no claim is read before the signature
//! over it was verified. `ClaimComparison::Ignored` leaves out the comparison of digest and
//! annotations and nothing else.

use super::claims::{AnnotationsProof, ClaimsIgnored, DigestProof, TypedStatement};
use super::signature::{SignatureProof, SignedBytes};
use super::{
    Artifact, AttestationRequirement, Check, ImageSignatureRequirement, SubjectRequirement,
    VerifiedContent,
};
use crate::digest::Digest;
use crate::reject::Reject;
use crate::simple_signing::SimpleSigning;
use crate::statement::{Statement, Subject};

/// Proof that signed content applies to the subject of the requirement. Made by [`verify`] only.
#[derive(Clone, Debug)]
pub(super) struct SubjectProof {
    claim: ClaimProof,
    content: VerifiedContent,
}

/// Proof that a claim applies to the subject.
#[derive(Clone, Debug)]
enum ClaimProof {
    /// The claim of an image signature or attestation names the digest and the annotations.
    Image { digest: DigestProof, annotations: AnnotationsProof },
    /// The requirement ignores claims; the digest is the one that the claim names.
    Ignored { named: Option<Digest>, _ignored: ClaimsIgnored },
    /// A statement names a digest of the blob.
    BlobStatement(DigestProof),
    /// The signature is over the blob itself.
    Blob,
}

impl SubjectProof {
    pub(super) fn content(&self) -> &VerifiedContent {
        &self.content
    }

    /// The digest that the claim names; none where the signature is over a blob.
    pub(super) fn claimed(&self) -> Option<&Digest> {
        match &self.claim {
            ClaimProof::Image { digest, .. } | ClaimProof::BlobStatement(digest) => {
                Some(digest.digest())
            }
            ClaimProof::Ignored { named, .. } => named.as_ref(),
            ClaimProof::Blob => None,
        }
    }

    /// The comparisons of an image's claim that were made.
    pub(super) fn checks(&self) -> Vec<Check> {
        match &self.claim {
            ClaimProof::Image { annotations, .. } if annotations.compared() > 0 => {
                vec![Check::Annotations, Check::Claims]
            }
            ClaimProof::Image { .. } => vec![Check::Claims],
            ClaimProof::Ignored { .. } | ClaimProof::BlobStatement(_) | ClaimProof::Blob => {
                Vec::new()
            }
        }
    }
}

/// Compares signed content with the requirement.
pub(super) fn verify(
    signature: &SignatureProof,
    requirement: SubjectRequirement<'_>,
) -> Result<SubjectProof, Reject> {
    match (signature.content(), requirement) {
        (SignedBytes::SimpleSigning(payload), SubjectRequirement::ImageSignature(wanted)) => {
            of_payload(SimpleSigning::parse(payload)?, wanted)
        }
        (SignedBytes::Statement(payload), SubjectRequirement::ImageSignature(wanted)) => {
            of_image_statement(Statement::parse(payload)?, wanted)
        }
        (SignedBytes::Statement(payload), SubjectRequirement::Attestation(wanted)) => {
            of_attestation(Statement::parse(payload)?, wanted)
        }
        (SignedBytes::Statement(payload), SubjectRequirement::Blob(artifact)) => {
            of_blob_statement(Statement::parse(payload)?, artifact)
        }
        (SignedBytes::Artifact, SubjectRequirement::Blob(_)) => {
            Ok(SubjectProof { claim: ClaimProof::Blob, content: VerifiedContent::Blob })
        }
        (SignedBytes::SimpleSigning(_), _) => Err(Reject::ImageSignature),
        (SignedBytes::Artifact, _) => Err(Reject::NotAnEnvelope),
    }
}

fn of_payload(
    payload: SimpleSigning,
    wanted: &ImageSignatureRequirement,
) -> Result<SubjectProof, Reject> {
    let claim = match ClaimsIgnored::of(wanted.claims) {
        Some(ignored) => ClaimProof::Ignored { named: Some(payload.digest), _ignored: ignored },
        None => ClaimProof::Image {
            digest: DigestProof::of_payload(&payload.digest, &wanted.digest)?,
            annotations: AnnotationsProof::of(&payload.optional, &wanted.annotations)?,
        },
    };
    let content = VerifiedContent::ImageSignature {
        docker_reference: Some(payload.docker_reference),
        annotations: payload.optional,
    };
    Ok(SubjectProof { claim, content })
}

fn of_image_statement(
    statement: Statement,
    wanted: &ImageSignatureRequirement,
) -> Result<SubjectProof, Reject> {
    let statement = TypedStatement::image_signature(statement)?;
    let (claim, subject) = match ClaimsIgnored::of(wanted.claims) {
        Some(ignored) => {
            let first = statement.statement().subjects.first().ok_or(Reject::NoSubject)?;
            let named = named_digest(first, &wanted.digest);
            (ClaimProof::Ignored { named, _ignored: ignored }, first)
        }
        None => matching_subject(&statement, wanted)?,
    };
    let annotations = subject.annotations.clone();
    let content = VerifiedContent::ImageSignature { docker_reference: None, annotations };
    Ok(SubjectProof { claim, content })
}

fn of_attestation(
    statement: Statement,
    wanted: &AttestationRequirement,
) -> Result<SubjectProof, Reject> {
    let statement = TypedStatement::attestation(statement, &wanted.predicate_type)?;
    let digest = any_subject(&statement, std::slice::from_ref(&wanted.digest))?;
    let annotations = AnnotationsProof::of(&Default::default(), &Default::default())?;
    let claim = ClaimProof::Image { digest, annotations };
    Ok(SubjectProof { claim, content: VerifiedContent::Statement(statement.into_statement()) })
}

fn of_blob_statement(statement: Statement, artifact: Artifact<'_>) -> Result<SubjectProof, Reject> {
    let statement = TypedStatement::of_blob(statement);
    let claim = ClaimProof::BlobStatement(any_subject(&statement, &artifact.digests())?);
    Ok(SubjectProof { claim, content: VerifiedContent::Statement(statement.into_statement()) })
}

/// A subject with the digest and all annotations; both must be in the same one.
fn matching_subject<'a>(
    statement: &'a TypedStatement,
    wanted: &ImageSignatureRequirement,
) -> Result<(ClaimProof, &'a Subject), Reject> {
    let mut outcome = Reject::OtherSubject;
    for subject in &statement.statement().subjects {
        let digests = std::slice::from_ref(&wanted.digest);
        let Ok(digest) = DigestProof::of_subject(subject, digests) else { continue };
        match AnnotationsProof::of(&subject.annotations, &wanted.annotations) {
            Ok(annotations) => return Ok((ClaimProof::Image { digest, annotations }, subject)),
            Err(reject) => outcome = reject,
        }
    }
    Err(outcome)
}

fn any_subject(statement: &TypedStatement, wanted: &[Digest]) -> Result<DigestProof, Reject> {
    let subjects = &statement.statement().subjects;
    let mut found = subjects.iter().filter_map(|s| DigestProof::of_subject(s, wanted).ok());
    found.next().ok_or(Reject::OtherSubject)
}

/// The digest that a subject names: `preferred`, or else its SHA-256.
fn named_digest(subject: &Subject, preferred: &Digest) -> Option<Digest> {
    if subject.has(preferred) {
        return Some(preferred.clone());
    }
    format!("sha256:{}", subject.digests.get("sha256")?).parse().ok()
}
