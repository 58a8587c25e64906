//! Trust root selection: a file, keys named by the environment, the TUF mirror chosen with
//! `initialize`, or the embedded public-good root.
//!
//! Verification never requires the network: when a mirror is unavailable, the last valid copy is
//! used and the problem is reported as a warning. The root is interpreted in `sealgate-core`.

mod choice;
mod embedded;
mod environment;
mod initialize;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sealgate_core::trust::{InvalidTrustRoot, SharedRoot, TrustRoot};
use sealgate_core::verify::RootSource;

use crate::tuf::{SIGNING_CONFIG, TRUSTED_ROOT, TufError};

pub use embedded::embedded;
use embedded::embedded_signing_config;
pub use environment::{Environment, Keys};
pub use initialize::{Initialize, Initialized, initialize};

/// Mirror of the public-good instance.
pub const PUBLIC_GOOD: &str = "https://tuf-repo-cdn.sigstore.dev";
/// Mirror of the staging instance.
pub const STAGING: &str = "https://tuf-repo-cdn.sigstage.dev";

/// Age of the embedded root above which a warning is given.
const OLD: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Options of the trust root selection.
#[derive(Clone, Debug)]
pub struct RootOptions {
    /// `--trusted-root`: takes precedence over everything else.
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub environment: Environment,
    /// Permission to contact a mirror.
    pub refresh: Refresh,
}

/// Permission to contact a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// At most once a day, within this time limit.
    WhenDue(Duration),
    /// Never: only local copies are used.
    Never,
}

/// Loaded trust root and its origin.
#[derive(Clone, Debug)]
pub struct LoadedRoot {
    /// Trust root; the embedded one is parsed on first use.
    pub root: SharedRoot,
    /// Source of the choice: the user or the default.
    pub source: RootSource,
    /// Origin.
    pub origin: RootOrigin,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

/// Loaded signing configuration (`signing_config.v0.2.json`) and its origin.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// JSON document.
    pub json: Vec<u8>,
    /// Source of the choice: the user or the default.
    pub source: RootSource,
    /// Origin.
    pub origin: RootOrigin,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

/// Origin of a trust root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootOrigin {
    /// File named by the user.
    File(PathBuf),
    /// Files with keys and certificates named by the environment; the rest comes from the other
    /// root.
    Environment(Vec<PathBuf>, Option<Box<RootOrigin>>),
    /// TUF mirror.
    Tuf {
        /// URL or directory of the mirror.
        mirror: String,
        /// Last successful refresh; `None` if not recorded.
        refreshed: Option<Timestamp>,
        /// Expiry of its metadata.
        expires: Timestamp,
    },
    /// Embedded in the program.
    Embedded {
        /// Time at which it was copied from the public-good repository.
        taken: Timestamp,
    },
}

/// Warning about a root that is used nevertheless.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The refresh failed; the last valid copy is used.
    NotRefreshed {
        /// Mirror.
        mirror: String,
        /// Reason.
        error: TufError,
        /// Last successful refresh.
        refreshed: Option<Timestamp>,
    },
    /// The TUF metadata of the root has expired; the last valid copy is used.
    Expired {
        /// Mirror.
        mirror: String,
        /// Role of the expired metadata.
        role: &'static str,
        /// Expiry.
        expires: Timestamp,
    },
    /// The copy is missing or damaged and was not used.
    Unusable {
        /// Mirror.
        mirror: String,
        /// Reason.
        error: TufError,
        /// Replacement.
        remedy: Remedy,
    },
    /// The embedded root is old.
    Old {
        /// Time at which it was copied.
        taken: Timestamp,
        /// Age in days.
        days: i64,
    },
}

/// Replacement for an unusable copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The copy was fetched again.
    Refreshed,
    /// The embedded root is used.
    Embedded,
}

/// Error of the trust root selection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// Unreadable file.
    #[error("loading trusted root: {}: {detail}", path.display())]
    File {
        /// Path.
        path: PathBuf,
        /// Error of the operating system.
        detail: String,
    },
    /// Invalid trusted root document.
    #[error("loading trusted root: {place}: {error}")]
    Invalid {
        /// Its location.
        place: String,
        /// Reason.
        error: InvalidTrustRoot,
    },
    /// The chosen mirror provides no root, and there is no valid copy.
    #[error("getting trusted root from TUF: {mirror}: {error}")]
    Tuf {
        /// Mirror.
        mirror: String,
        /// Reason.
        error: TufError,
    },
    /// Variable with an unusable value.
    #[error("{variable}: {detail}")]
    Variable {
        /// Variable.
        variable: &'static str,
        /// Reason.
        detail: String,
    },
}

/// Trust root selected by `options`.
///
/// # Errors
/// Only when the user's choice cannot be loaded; nothing else replaces it.
pub async fn current_root(options: &RootOptions, now: Timestamp) -> Result<LoadedRoot, RootError> {
    if let Some(path) = &options.file {
        return environment::root_of_file(path);
    }
    let keys = &options.environment.keys;
    if keys.is_complete() {
        return keys.over(None);
    }
    let found = choice::find(options, TRUSTED_ROOT, now).await?;
    let below = match &found.json {
        None => embedded().0,
        Some(json) => parse(json, &found.origin)?,
    };
    let choice::FoundTarget { source, origin, warnings, .. } = found;
    let chosen = LoadedRoot { root: below, source, origin, warnings };
    if keys.is_empty() { Ok(chosen) } else { keys.over(Some(chosen)) }
}

/// Signing configuration selected by `options` (except [`RootOptions::file`], which names a trust
/// root): from the chosen mirror, otherwise the embedded public-good one.
///
/// # Errors
/// An error if the chosen mirror has none or it cannot be loaded: a private deployment never falls
/// back to public services.
pub async fn current_signing_config(
    options: &RootOptions,
    now: Timestamp,
) -> Result<LoadedConfig, RootError> {
    let found = choice::find(options, SIGNING_CONFIG, now).await?;
    let json = found.json.unwrap_or_else(|| embedded_signing_config().to_vec());
    let choice::FoundTarget { source, origin, warnings, .. } = found;
    Ok(LoadedConfig { json, source, origin, warnings })
}

fn parse(json: &[u8], origin: &RootOrigin) -> Result<SharedRoot, RootError> {
    let invalid = |error| RootError::Invalid { place: origin.to_string(), error };
    TrustRoot::parse(json).map(SharedRoot::from).map_err(invalid)
}

impl RootError {
    /// Remedy for the user.
    pub fn remedy(&self) -> Option<String> {
        let Self::Tuf { mirror, error } = self else { return None };
        let again = format!("run `sealgate initialize --mirror {mirror} --root FILE` again");
        Some(match error {
            TufError::Rollback { .. } => format!(
                "if the repository was recreated on purpose, remove its copy from the cache and \
                 {again}"
            ),
            TufError::Expired { .. } => "check this machine's clock, and ask the repository's \
                                         owner to renew it"
                .to_owned(),
            TufError::Threshold { .. } | TufError::RootVersion { .. } => {
                "the initial root's keys did not sign this: check the mirror's address and the root \
                 (--root)"
                    .to_owned()
            }
            TufError::NoTarget(_) => {
                "the repository must contain this target: repositories with individual keys only are \
                 not supported"
                    .to_owned()
            }
            TufError::NotCached { .. } | TufError::NoAnchor { .. } => again,
            TufError::Mismatch(_) | TufError::Malformed(_) | TufError::Cache { .. } => {
                format!("if the local copy is damaged, {again}")
            }
            _ => format!("check the address, the network and the proxy settings of {mirror}"),
        })
    }
}

impl RootOrigin {
    /// Description for users: the origin of the root and its age.
    pub fn describe(&self, now: Timestamp) -> String {
        match self {
            Self::Embedded { taken } => format!("{self} ({} old)", age(*taken, now)),
            Self::Tuf { refreshed: Some(time), .. } => {
                format!("{self}, refreshed {} ago", age(*time, now))
            }
            other => other.to_string(),
        }
    }
}

/// Whole days from `since` to `now`; zero if the clock went back.
fn days(since: Timestamp, now: Timestamp) -> i64 {
    (now.duration_since(since).as_hours() / 24).max(0)
}

fn age(since: Timestamp, now: Timestamp) -> String {
    match days(since, now) {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

impl fmt::Display for RootOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(files, below) => {
                let names: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
                write!(f, "{}", names.join(", "))?;
                below.as_ref().map_or(Ok(()), |below| write!(f, ", the rest from {below}"))
            }
            Self::Tuf { mirror, .. } => write!(f, "the TUF mirror {mirror}"),
            Self::Embedded { taken } => {
                write!(f, "the public-good root embedded in sealgate, taken {}", date(*taken))
            }
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRefreshed { mirror, error, refreshed } => {
                let verb = if error.is_refusal() { "was refused" } else { "failed" };
                write!(f, "refreshing the trust root from {mirror} {verb}: {error}; ")?;
                match refreshed {
                    Some(time) => write!(f, "the last valid copy, of {}, is used", date(*time)),
                    None => write!(f, "the last valid copy is used"),
                }
            }
            Self::Expired { mirror, role, expires } => write!(
                f,
                "the {role} metadata of the trust root from {mirror} expired on {}; its last valid \
                 copy is used: run `sealgate initialize` where {mirror} can be reached",
                date(*expires)
            ),
            Self::Unusable { mirror, error, remedy } => {
                let remedy = match remedy {
                    Remedy::Refreshed => "it was fetched again",
                    Remedy::Embedded => "the root embedded in sealgate is used",
                };
                write!(f, "the copy of {mirror} cannot be used: {error}; {remedy}")
            }
            Self::Old { taken, days } => write!(
                f,
                "the trust root embedded in sealgate is {days} days old (of {}): run `sealgate \
                 initialize` to get a newer one",
                date(*taken)
            ),
        }
    }
}

fn date(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests;
