//! Errors of TUF: refused content, and faults.

use std::fmt;

use jiff::Timestamp;
use sealgate_core::fault::{Fault, FaultKind};

/// Error of a TUF repository or its copy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TufError {
    /// The repository cannot be reached, or a limit was exceeded.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// Metadata older than the trusted version: a rollback.
    #[error("rollback: {role} is at version {trusted}, the repository offers version {offered}")]
    Rollback {
        /// Role.
        role: String,
        /// Trusted version.
        trusted: u64,
        /// Offered version.
        offered: u64,
    },
    /// Expired metadata: the repository is not maintained, or the mirror is frozen.
    #[error(
        "{role} metadata expired at {expires}: it is not being renewed, or the mirror is frozen"
    )]
    Expired {
        /// Role.
        role: String,
        /// Expiry.
        expires: Timestamp,
    },
    /// Metadata with fewer valid signatures than its threshold.
    #[error("{role} metadata has {found} of {threshold} required valid signatures")]
    Threshold {
        /// Role.
        role: String,
        /// Number of valid signatures.
        found: usize,
        /// Required number.
        threshold: usize,
    },
    /// Root that does not follow the previous one.
    #[error("root version {offered} does not follow version {trusted}")]
    RootVersion {
        /// Trusted version.
        trusted: u64,
        /// Offered version.
        offered: u64,
    },
    /// File whose length, hash or version differs from the metadata.
    #[error("does not match its metadata: {0}")]
    Mismatch(String),
    /// Target that is not in the metadata.
    #[error("the repository has no target {0:?}")]
    NoTarget(String),
    /// A file that every repository has is missing: possibly not a TUF repository.
    #[error("incomplete TUF repository: {0}")]
    Incomplete(String),
    /// Malformed TUF metadata.
    #[error("malformed TUF metadata: {0}")]
    Malformed(String),
    /// Unusable archive.
    #[error("malformed TUF repository archive: {0}")]
    Archive(String),
    /// No copy in the cache.
    #[error("no copy of {mirror} in the cache {folder}")]
    NotCached {
        /// Repository.
        mirror: String,
        /// Expected directory.
        folder: String,
    },
    /// Mirror without a known initial root.
    #[error("no trusted TUF root for {mirror}: give one with `initialize --root FILE`")]
    NoAnchor {
        /// Mirror.
        mirror: String,
    },
    /// The cache cannot be read or written.
    #[error("TUF cache: {path}: {detail}")]
    Cache {
        /// Path.
        path: String,
        /// Error of the operating system.
        detail: String,
    },
}

impl TufError {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.kind.code(),
            Self::Rollback { .. } => "tuf-rollback",
            Self::Expired { .. } => "tuf-expired",
            Self::Threshold { .. } => "tuf-signatures",
            Self::RootVersion { .. } => "tuf-root-version",
            Self::Mismatch(_) => "tuf-mismatch",
            Self::NoTarget(_) => "tuf-no-target",
            Self::Incomplete(_) => "tuf-incomplete",
            Self::Malformed(_) => "tuf-malformed",
            Self::Archive(_) => "tuf-archive",
            Self::NotCached { .. } => "tuf-not-cached",
            Self::NoAnchor { .. } => "tuf-no-root",
            Self::Cache { .. } => "tuf-cache",
        }
    }

    /// Returns whether the content is known to be bad; otherwise the result is unknown.
    pub(crate) fn is_refusal(&self) -> bool {
        let unknown = matches!(self, Self::Fault(_) | Self::Incomplete(_))
            || matches!(self, Self::NotCached { .. } | Self::NoAnchor { .. } | Self::Cache { .. });
        !unknown
    }

    /// Conversion into a fault at `target`, for callers that need no details.
    pub fn into_fault(self, target: &str) -> Fault {
        let kind = match &self {
            Self::Fault(fault) => return fault.clone(),
            Self::NoTarget(_) | Self::Incomplete(_) | Self::NotCached { .. } => FaultKind::Missing,
            Self::NoAnchor { .. } | Self::Cache { .. } => FaultKind::Config,
            _ => FaultKind::Malformed,
        };
        Fault::new(kind, target, self.to_string())
    }

    pub(super) fn cache(path: &std::path::Path, error: impl fmt::Display) -> Self {
        Self::Cache { path: path.display().to_string(), detail: error.to_string() }
    }
}

impl From<sigstore_tuf::Error> for TufError {
    fn from(error: sigstore_tuf::Error) -> Self {
        use sigstore_tuf::Error;
        match error {
            Error::Rollback { role, trusted, new } => {
                Self::Rollback { role, trusted, offered: new }
            }
            Error::Expired { role, expires } => Self::Expired { role, expires },
            Error::ThresholdNotMet { role, found, threshold } => {
                Self::Threshold { role, found, threshold }
            }
            Error::BadRootVersion { trusted, new } => Self::RootVersion { trusted, offered: new },
            Error::IntegrityMismatch(detail) => Self::Mismatch(detail),
            Error::TargetNotFound(name) => Self::NoTarget(name),
            Error::Transport { message, source } => transport(message, source),
            other => Self::Malformed(with_causes(&other)),
        }
    }
}

/// Our repositories store the fault as the error's source; the crate's own errors are about
/// required files that are missing.
fn transport(
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> TufError {
    match source.and_then(|source| source.downcast::<TufError>().ok()) {
        Some(own) => *own,
        None => TufError::Incomplete(message),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.chars().take(400).collect()
}
