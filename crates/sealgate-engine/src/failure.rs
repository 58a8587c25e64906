//! How a use case ends when it does not end well.

use std::fmt;

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::Reference;
use sealgate_core::reject::Reject;

use crate::unfinished::{Step, Unfinished};

/// Why nothing was done, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no such image: the registry said so.
    NotFound(Box<Reference>),
    /// Our own verifier does not accept what we were about to write, or what was given.
    Rejected(Reject),
    /// Something else stands where we would write, and we were not told to replace it.
    Occupied {
        /// Where.
        at: Box<Reference>,
        /// What stands there.
        found: String,
    },
    /// What was asked for cannot be done with this image or these arguments.
    Invalid(String),
    /// We could not find out, or could not write.
    Fault(Fault),
    /// Signatures were made, and a log or the registry did not take them: they can be finished
    /// later.
    Unfinished(Box<Unfinished>),
}

impl Failure {
    /// The stable one-word code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not-found",
            Self::Rejected(reason) => reason.code(),
            Self::Occupied { .. } => "occupied",
            Self::Invalid(_) => "invalid",
            Self::Fault(fault) => fault.kind.code(),
            Self::Unfinished(unfinished) => unfinished.cause.code(),
        }
    }

    /// The same as a fault, for callers that only ask whether they could find out.
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Fault(fault) => fault,
            Self::Unfinished(unfinished) => unfinished.cause.into_fault(),
            other => Fault::new(FaultKind::Missing, "image", other.to_string()),
        }
    }

    pub(crate) fn not_found(image: Reference) -> Self {
        Self::NotFound(Box::new(image))
    }

    pub(crate) fn malformed(target: &str, detail: impl Into<String>) -> Self {
        Self::Fault(Fault::new(FaultKind::Malformed, target, detail))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(image) => write!(f, "image tag not found: {image}"),
            Self::Rejected(reason) => write!(f, "{reason}"),
            Self::Occupied { at, found } => {
                write!(f, "{at} already holds {found}; use --force to replace it")
            }
            Self::Invalid(text) => f.write_str(text),
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Unfinished(unfinished) => match unfinished.step {
                Step::Log => write!(f, "uploading to the transparency log: {}", unfinished.cause),
                Step::Store => write!(f, "storing the signature: {}", unfinished.cause),
            },
        }
    }
}

impl std::error::Error for Failure {}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Reject> for Failure {
    fn from(reason: Reject) -> Self {
        Self::Rejected(reason)
    }
}
