//! Why a trust root did not come by TUF: what was refused (we know: no), and what kept us from
//! finding out.

use std::fmt;

use jiff::Timestamp;
use sealgate_core::fault::{Fault, FaultKind};

/// What a TUF repository, or a copy of one, did not give us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TufError {
    /// The repository could not be asked, or gave more than a bound allows.
    #[error("{0}")]
    Fault(#[from] Fault),
    /// Metadata with an older version than what we have: a rollback.
    #[error("rollback: {role} is at version {trusted}, the repository offers version {offered}")]
    Rollback {
        /// Which metadata.
        role: String,
        /// The version that we have verified before.
        trusted: u64,
        /// What is offered now.
        offered: u64,
    },
    /// Metadata that no longer counts: a repository that nobody renews, or a mirror that is
    /// frozen.
    #[error("{role} metadata expired at {expires}: nobody renews it, or the mirror is frozen")]
    Expired {
        /// Which metadata.
        role: String,
        /// Since when.
        expires: Timestamp,
    },
    /// Metadata without enough valid signatures of the keys that may sign it.
    #[error("{role} metadata has {found} valid signatures of {threshold} that it needs")]
    Threshold {
        /// Which metadata.
        role: String,
        /// How many count.
        found: usize,
        /// How many are needed.
        threshold: usize,
    },
    /// A root that does not follow the one before it.
    #[error("root version {offered} does not follow version {trusted}")]
    RootVersion {
        /// The version that we have verified.
        trusted: u64,
        /// What is offered as the next.
        offered: u64,
    },
    /// A file that is not what the metadata above it says: length, hash or version.
    #[error("not what its metadata says: {0}")]
    Mismatch(String),
    /// No metadata names this target.
    #[error("the repository has no target {0:?}")]
    NoTarget(String),
    /// A file that every repository has is not there: perhaps it is no TUF repository.
    #[error("incomplete TUF repository: {0}")]
    Incomplete(String),
    /// Not TUF metadata that we can read.
    #[error("malformed TUF metadata: {0}")]
    Malformed(String),
    /// An archive of a repository that cannot be used.
    #[error("malformed TUF repository archive: {0}")]
    Archive(String),
    /// There is no copy in the cache.
    #[error("no copy of {mirror} in the cache {folder}")]
    NotCached {
        /// Of which repository.
        mirror: String,
        /// Where it would be.
        folder: String,
    },
    /// No root to begin with is known for a mirror.
    #[error("no trusted TUF root for {mirror}: give one with `initialize --root FILE`")]
    NoAnchor {
        /// Which mirror.
        mirror: String,
    },
    /// The cache cannot be read or written.
    #[error("TUF cache: {path}: {detail}")]
    Cache {
        /// Which file.
        path: String,
        /// What the system says.
        detail: String,
    },
}

impl TufError {
    /// A stable word for it.
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

    /// Whether what was offered is known to be bad; else we could not find out.
    pub(crate) fn is_refusal(&self) -> bool {
        let unknown = matches!(self, Self::Fault(_) | Self::Incomplete(_))
            || matches!(self, Self::NotCached { .. } | Self::NoAnchor { .. } | Self::Cache { .. });
        !unknown
    }

    /// The same as a fault at `target`, for those who only need to know that there is no root.
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

/// Our own repositories put the fault into the error's source; what the crate says itself is
/// about files that a repository must have and has not.
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
