//! Second check: is what was signed an image signature, and about this subject?
//!
//! [`Claimed`] is the proof. It is made from [`Signed`] bytes only, and tells which checks were
//! made. `Claims::Ignored` leaves out the comparison with digest and annotations, nothing else.

use std::collections::BTreeMap;

use serde_json::Value;

use super::signature::Signed;
use super::{Check, Claims, IMAGE_SIGNATURE_PREDICATE, Question};
use crate::digest::Digest;
use crate::reject::{Foreign, Reject};
use crate::simple_signing::SimpleSigning;
use crate::statement::{Statement, Subject};

/// Signed bytes whose claim was compared with the question.
pub(super) struct Claimed {
    signed: Signed,
    claim: Claim,
}

/// What signed bytes say; proves nothing by itself.
pub(super) struct Claim {
    pub(super) digest: Option<Digest>,
    pub(super) docker_reference: Option<String>,
    pub(super) annotations: BTreeMap<String, Value>,
    /// The comparisons that were made.
    pub(super) compared: Vec<Check>,
}

impl Claimed {
    pub(super) fn into_parts(self) -> (Signed, Claim) {
        (self.signed, self.claim)
    }
}

/// The claim of a legacy signature.
pub(super) fn of_simple_signing(signed: Signed, question: &Question) -> Result<Claimed, Reject> {
    let payload = SimpleSigning::parse(signed.payload())?;
    if question.claims == Claims::Checked {
        if payload.digest != question.subject {
            let (found, want) = (payload.digest, question.subject.clone());
            return Err(Reject::OtherDigest { found, want });
        }
        check_annotations(&payload.optional, &question.annotations)?;
    }
    let claim = Claim {
        digest: Some(payload.digest),
        docker_reference: Some(payload.docker_reference),
        annotations: payload.optional,
        compared: compared(question),
    };
    Ok(Claimed { signed, claim })
}

/// The claim of a bundle: a statement that must be an image signature.
pub(super) fn of_statement(signed: Signed, question: &Question) -> Result<Claimed, Reject> {
    let statement = Statement::parse(signed.payload())?;
    if statement.predicate_type != IMAGE_SIGNATURE_PREDICATE {
        return Err(Reject::NotASignature {
            found: Foreign::new(statement.predicate_type),
            want: IMAGE_SIGNATURE_PREDICATE,
        });
    }
    let subject = match question.claims {
        Claims::Checked => matching_subject(&statement, question)?,
        Claims::Ignored => statement.subjects.first().ok_or(Reject::NoSubject)?,
    };
    let claim = Claim {
        digest: subject_digest(subject, question),
        docker_reference: None,
        annotations: subject.annotations.clone(),
        compared: compared(question),
    };
    Ok(Claimed { signed, claim })
}

/// Checks that a statement, of whatever predicate type, is about one of `digests`, all of the
/// same artifact.
pub(super) fn is_about(signed: &Signed, digests: &[Digest]) -> Result<Statement, Reject> {
    let statement = Statement::parse(signed.payload())?;
    let about = |subject: &Subject| digests.iter().any(|digest| subject.has(digest));
    if statement.subjects.iter().any(about) { Ok(statement) } else { Err(Reject::OtherSubject) }
}

/// A subject with the digest and all annotations; both must be in the same one.
fn matching_subject<'a>(
    statement: &'a Statement,
    question: &Question,
) -> Result<&'a Subject, Reject> {
    let mut outcome = Err(Reject::OtherSubject);
    for subject in statement.subjects.iter().filter(|subject| subject.has(&question.subject)) {
        match check_annotations(&subject.annotations, &question.annotations) {
            Ok(()) => return Ok(subject),
            Err(reject) => outcome = Err(reject),
        }
    }
    outcome
}

/// The digest that the subject names: the one asked for, or else its SHA-256.
fn subject_digest(subject: &Subject, question: &Question) -> Option<Digest> {
    if subject.has(&question.subject) {
        return Some(question.subject.clone());
    }
    format!("sha256:{}", subject.digests.get("sha256")?).parse().ok()
}

/// Every wanted annotation must be there, a text with exactly the wanted value.
fn check_annotations(
    found: &BTreeMap<String, Value>,
    wanted: &BTreeMap<String, String>,
) -> Result<(), Reject> {
    for (key, want) in wanted {
        match found.get(key) {
            None => return Err(Reject::MissingAnnotation(Foreign::new(key))),
            Some(Value::String(value)) if value == want => {}
            Some(_) => return Err(Reject::WrongAnnotation { key: Foreign::new(key) }),
        }
    }
    Ok(())
}

fn compared(question: &Question) -> Vec<Check> {
    match question.claims {
        Claims::Ignored => Vec::new(),
        Claims::Checked if question.annotations.is_empty() => vec![Check::Claims],
        Claims::Checked => vec![Check::Annotations, Check::Claims],
    }
}
