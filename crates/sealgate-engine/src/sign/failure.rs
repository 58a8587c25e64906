//! The failures of signing.

use std::fmt;

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reject::Reject;

use super::pending::PendingSignatures;
use crate::failure::Failure;

/// The reason why signing failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignFailure {
    /// Signing failed, and there is nothing to resume.
    Failed(Failure),
    /// Signatures were made, and a log or the registry did not accept them: signing can be resumed.
    Unfinished(Box<Unfinished>),
}

/// An interrupted signing run. None of its signatures was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The step that failed.
    pub step: Step,
    /// The reason.
    pub cause: Failure,
    /// The signatures so far.
    pub signatures: PendingSignatures,
}

/// A step at which signing can be interrupted and resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The upload to the transparency logs.
    Log,
    /// The storage in the registry, after the upload to the logs.
    Store,
}

impl SignFailure {
    /// The stable one-word code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Failed(failure) => failure.code(),
            Self::Unfinished(unfinished) => unfinished.cause.code(),
        }
    }

    /// The failure that keeps the signatures, unless resuming could never succeed.
    pub(crate) fn unfinished(step: Step, cause: Failure, signatures: PendingSignatures) -> Self {
        match cause {
            Failure::Fault(Fault { kind: FaultKind::Unsupported | FaultKind::Config, .. }) => {
                Self::Failed(cause)
            }
            _ => Self::Unfinished(Box::new(Unfinished { step, cause, signatures })),
        }
    }
}

impl fmt::Display for SignFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => write!(f, "{failure}"),
            Self::Unfinished(unfinished) => match unfinished.step {
                Step::Log => write!(f, "uploading to the transparency log: {}", unfinished.cause),
                Step::Store => write!(f, "storing the signature: {}", unfinished.cause),
            },
        }
    }
}

impl std::error::Error for SignFailure {}

impl From<Failure> for SignFailure {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Fault> for SignFailure {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault.into())
    }
}

impl From<Reject> for SignFailure {
    fn from(reason: Reject) -> Self {
        Self::Failed(reason.into())
    }
}
