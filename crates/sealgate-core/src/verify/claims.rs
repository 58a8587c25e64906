//! Comparisons of a claim with a requirement. Each returns a proof, which nothing else makes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ClaimComparison;
use crate::digest::Digest;
use crate::reject::{Foreign, Reject};
use crate::statement::{IMAGE_SIGNATURE_PREDICATE, Statement, Subject};

/// Proof that a claim names a required digest.
#[derive(Clone, Debug)]
pub(super) struct DigestProof(Digest);

/// Proof that a claim carries all required annotations.
#[derive(Clone, Debug)]
pub(super) struct AnnotationsProof {
    compared: usize,
}

/// Proof that the requirement itself leaves out the comparison of claims.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClaimsIgnored(());

/// A statement whose predicate type is a required one.
#[derive(Clone, Debug)]
pub(super) struct TypedStatement(Statement);

impl DigestProof {
    /// Compares the digest of a SimpleSigning payload.
    pub(super) fn of_payload(found: &Digest, want: &Digest) -> Result<Self, Reject> {
        match found == want {
            true => Ok(Self(want.clone())),
            false => Err(Reject::OtherDigest { found: found.clone(), want: want.clone() }),
        }
    }

    /// Compares the digests of a statement's subject; one of `wanted`, all of the same artifact,
    /// is enough.
    pub(super) fn of_subject(subject: &Subject, wanted: &[Digest]) -> Result<Self, Reject> {
        let found = wanted.iter().find(|digest| subject.has(digest));
        found.map(|digest| Self(digest.clone())).ok_or(Reject::OtherSubject)
    }

    pub(super) fn digest(&self) -> &Digest {
        &self.0
    }
}

impl AnnotationsProof {
    /// Compares annotations: each wanted one must be a string with exactly the wanted value.
    pub(super) fn of(
        found: &BTreeMap<String, Value>,
        wanted: &BTreeMap<String, String>,
    ) -> Result<Self, Reject> {
        let compared = wanted.iter().map(|(key, want)| match found.get(key) {
            None => Err(Reject::MissingAnnotation(Foreign::new(key))),
            Some(Value::String(value)) if value == want => Ok(key),
            Some(_) => Err(Reject::WrongAnnotation { key: Foreign::new(key) }),
        });
        Ok(Self { compared: compared.collect::<Result<Vec<_>, _>>()?.len() })
    }

    /// The number of annotations that were compared.
    pub(super) fn compared(&self) -> usize {
        self.compared
    }
}

impl ClaimsIgnored {
    pub(super) fn of(claims: ClaimComparison) -> Option<Self> {
        match claims {
            ClaimComparison::Checked => None,
            ClaimComparison::Ignored => Some(Self(())),
        }
    }
}

impl TypedStatement {
    /// A statement that is an image signature.
    pub(super) fn image_signature(statement: Statement) -> Result<Self, Reject> {
        match statement.predicate_type == IMAGE_SIGNATURE_PREDICATE {
            true => Ok(Self(statement)),
            false => Err(Reject::NotASignature {
                found: Foreign::new(statement.predicate_type),
                want: IMAGE_SIGNATURE_PREDICATE,
            }),
        }
    }

    /// An attestation of the predicate type `want`.
    pub(super) fn attestation(statement: Statement, want: &str) -> Result<Self, Reject> {
        match statement.predicate_type == want {
            true => Ok(Self(statement)),
            false => Err(Reject::OtherPredicateType {
                found: Foreign::new(statement.predicate_type),
                want: Foreign::new(want),
            }),
        }
    }

    /// A statement about a blob, of any predicate type, as cosign's `verify-blob` accepts it.
    pub(super) fn of_blob(statement: Statement) -> Self {
        Self(statement)
    }

    pub(super) fn statement(&self) -> &Statement {
        &self.0
    }

    pub(super) fn into_statement(self) -> Statement {
        self.0
    }
}
