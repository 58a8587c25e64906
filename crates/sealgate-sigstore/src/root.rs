//! Which trust root a verification rests on: a file, what the environment names, the TUF mirror
//! that the user has chosen by `initialize`, or the public-good root that came with the program.
//!
//! A verification never needs the network: what a mirror does not give now, the last good copy
//! decides, and what went wrong is told as a warning. What the root means is `sealgate-core`'s.

mod choice;
mod embedded;
mod environment;
mod initialize;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sealgate_core::trust::{InvalidTrustRoot, TrustRoot};
use sealgate_core::verify::RootSource;

use crate::tuf::{SIGNING_CONFIG, TRUSTED_ROOT, TufError};

pub use embedded::embedded;
use embedded::embedded_signing_config;
pub use environment::{Environment, Keys};
pub use initialize::{Initialize, Initialized, initialize};

/// The mirror of the public-good Sigstore.
pub const PUBLIC_GOOD: &str = "https://tuf-repo-cdn.sigstore.dev";
/// The mirror of Sigstore's staging services.
pub const STAGING: &str = "https://tuf-repo-cdn.sigstage.dev";

/// When the age of the embedded root is worth a warning.
const OLD: SignedDuration = SignedDuration::from_hours(365 * 24);

/// What decides which root it is.
#[derive(Clone, Debug)]
pub struct RootOptions {
    /// `--trusted-root`: it wins over everything.
    pub file: Option<PathBuf>,
    /// What the environment says.
    pub environment: Environment,
    /// Whether a mirror may be asked for news.
    pub refresh: Refresh,
}

/// Whether a mirror may be asked for news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// Once a day, and not longer than this.
    WhenDue(Duration),
    /// Never: what is there decides.
    Never,
}

/// A root, and where it came from.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The root.
    pub root: Arc<TrustRoot>,
    /// Whether the user has chosen it.
    pub source: RootSource,
    /// Where it came from.
    pub origin: Origin,
    /// What people should know.
    pub warnings: Vec<Warning>,
}

/// A signing configuration (`signing_config.v0.2.json`), and where it came from.
#[derive(Clone, Debug)]
pub struct ChosenConfig {
    /// The document.
    pub json: Vec<u8>,
    /// Whether the user has chosen it.
    pub source: RootSource,
    /// Where it came from.
    pub origin: Origin,
    /// What people should know.
    pub warnings: Vec<Warning>,
}

/// Where a root came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file that the user named.
    File(PathBuf),
    /// Keys and certificates that the environment names; the rest is of the other.
    Environment(Vec<PathBuf>, Option<Box<Origin>>),
    /// A TUF mirror.
    Tuf {
        /// Which.
        mirror: String,
        /// When it was asked last with success; `None` where nobody noted it.
        refreshed: Option<Timestamp>,
        /// When its metadata expires.
        expires: Timestamp,
    },
    /// It came with the program.
    Embedded {
        /// When it was taken from the public-good repository.
        taken: Timestamp,
    },
}

/// What people should know about a root that decides all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The mirror gave no news; the last good copy decides.
    NotRefreshed {
        /// Which mirror.
        mirror: String,
        /// Why.
        error: TufError,
        /// When it was asked last with success.
        refreshed: Option<Timestamp>,
    },
    /// The metadata that vouches for the root has expired; the last good copy decides.
    Expired {
        /// Which mirror.
        mirror: String,
        /// Which metadata.
        role: &'static str,
        /// Since when.
        expires: Timestamp,
    },
    /// The copy is missing or damaged; it was not believed.
    Unusable {
        /// Of which mirror.
        mirror: String,
        /// What is wrong with it.
        error: TufError,
        /// What was done.
        remedy: Remedy,
    },
    /// The root that came with the program is old.
    Old {
        /// When it was taken.
        taken: Timestamp,
        /// How many days ago.
        days: i64,
    },
}

/// What was done about a copy that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It was fetched again.
    Refreshed,
    /// The root that came with the program decides.
    Embedded,
}

/// Why there is no root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// A file that cannot be read.
    #[error("loading trusted root: {}: {detail}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// A document that is no trusted root.
    #[error("loading trusted root: {place}: {error}")]
    Invalid {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        error: InvalidTrustRoot,
    },
    /// The mirror that the user has chosen gives none, and there is no good copy.
    #[error("getting trusted root from TUF: {mirror}: {error}")]
    Tuf {
        /// Which mirror.
        mirror: String,
        /// Why.
        error: TufError,
    },
    /// A variable that names what cannot be used.
    #[error("{variable}: {detail}")]
    Variable {
        /// Which.
        variable: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

/// The root that `options` mean.
///
/// # Errors
/// Only where what the user has chosen cannot be had: nothing else takes its place.
pub async fn current_root(options: &RootOptions, now: Timestamp) -> Result<Chosen, RootError> {
    if let Some(path) = &options.file {
        return environment::root_of_file(path);
    }
    let keys = &options.environment.keys;
    if keys.are_all() {
        return keys.over(None);
    }
    let found = choice::find(options, TRUSTED_ROOT, now).await?;
    let below = match &found.json {
        None => embedded().0,
        Some(json) => parse(json, &found.origin)?,
    };
    let choice::Found { source, origin, warnings, .. } = found;
    let chosen = Chosen { root: below, source, origin, warnings };
    if keys.is_empty() { Ok(chosen) } else { keys.over(Some(chosen)) }
}

/// The signing configuration that `options` mean (but for [`RootOptions::file`], which names a
/// trust root): that of the mirror that the user has chosen, else the public-good one that came
/// with the program.
///
/// # Errors
/// The mirror that the user has chosen has none, or it cannot be had: private set-ups do not end
/// at public services.
pub async fn current_signing_config(
    options: &RootOptions,
    now: Timestamp,
) -> Result<ChosenConfig, RootError> {
    let found = choice::find(options, SIGNING_CONFIG, now).await?;
    let json = found.json.unwrap_or_else(|| embedded_signing_config().to_vec());
    let choice::Found { source, origin, warnings, .. } = found;
    Ok(ChosenConfig { json, source, origin, warnings })
}

fn parse(json: &[u8], origin: &Origin) -> Result<Arc<TrustRoot>, RootError> {
    let invalid = |error| RootError::Invalid { place: origin.to_string(), error };
    TrustRoot::parse(json).map(Arc::new).map_err(invalid)
}

impl RootError {
    /// What a person can do about it.
    pub fn remedy(&self) -> Option<String> {
        let Self::Tuf { mirror, error } = self else { return None };
        let again = format!("run `sealgate initialize --mirror {mirror} --root FILE` again");
        Some(match error {
            TufError::Rollback { .. } => format!(
                "if the repository was made anew on purpose, remove its copy in the cache and {again}"
            ),
            TufError::Expired { .. } => "check this machine's clock, and ask the repository's \
                                         owner to renew it"
                .to_owned(),
            TufError::Threshold { .. } | TufError::RootVersion { .. } => {
                "the keys of the root that we begin with did not sign this: check the mirror's \
                 address and the root (--root)"
                    .to_owned()
            }
            TufError::NoTarget(_) => {
                "the repository must hold it: repositories with single keys only are not supported"
                    .to_owned()
            }
            TufError::NotCached { .. } | TufError::NoAnchor { .. } => again,
            TufError::Mismatch(_) | TufError::Malformed(_) | TufError::Cache { .. } => {
                format!("if it is the copy that is damaged, {again}")
            }
            _ => format!("check the address, the network and the proxy settings of {mirror}"),
        })
    }
}

impl Origin {
    /// For people: where the root came from, and how old it is.
    pub fn describe(&self, now: Timestamp) -> String {
        match self {
            Self::Embedded { taken } => format!("{self} ({} old)", age(*taken, now)),
            Self::Tuf { refreshed: Some(time), .. } => {
                format!("{self}, asked {} ago", age(*time, now))
            }
            other => other.to_string(),
        }
    }
}

/// Whole days from `since` to `now`; none where the clock went back.
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

impl fmt::Display for Origin {
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
                write!(f, "the public-good root that came with sealgate, taken {}", date(*taken))
            }
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRefreshed { mirror, error, refreshed } => {
                let verb = if error.is_refusal() { "was refused" } else { "was not possible" };
                write!(f, "a refresh of the trust root from {mirror} {verb}: {error}; ")?;
                match refreshed {
                    Some(time) => write!(f, "the last good one, of {}, decides", date(*time)),
                    None => write!(f, "the last good one decides"),
                }
            }
            Self::Expired { mirror, role, expires } => write!(
                f,
                "the {role} metadata of the trust root from {mirror} expired on {}; its last good \
                 copy decides: run `sealgate initialize` where {mirror} can be reached",
                date(*expires)
            ),
            Self::Unusable { mirror, error, remedy } => {
                let remedy = match remedy {
                    Remedy::Refreshed => "it was fetched again",
                    Remedy::Embedded => "the root that came with sealgate decides",
                };
                write!(f, "the copy of {mirror} cannot be used: {error}; {remedy}")
            }
            Self::Old { taken, days } => write!(
                f,
                "the trust root that came with sealgate is {days} days old (of {}): run `sealgate \
                 initialize` for a newer one",
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
