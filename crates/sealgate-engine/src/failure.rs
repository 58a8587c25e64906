//! Failures of the use cases.

use std::fmt;

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::Reference;
use sealgate_core::reject::Reject;

/// The reason why a use case failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The registry reported that the image does not exist.
    NotFound(Box<Reference>),
    /// A signature from the user, or one about to be stored, does not verify.
    Rejected(Reject),
    /// The target contains other content, and replacing it was not requested.
    Occupied {
        /// The target.
        at: Box<Reference>,
        /// Its content.
        found: String,
    },
    /// The request cannot be fulfilled for this image or these arguments.
    Invalid(String),
    /// The registry or a service could not be read or written.
    Fault(Fault),
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
        }
    }

    /// Converts to a fault, for callers that treat every failure as one.
    pub(crate) fn into_fault(self) -> Fault {
        match self {
            Self::Fault(fault) => fault,
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
