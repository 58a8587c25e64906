//! `initialize`: selects a mirror and its initial TUF root.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use sealgate_core::trust::TrustRoot;

use super::{Environment, PUBLIC_GOOD, RootError, choice, embedded};
use crate::tuf::{Cache, Mirror, RefreshTimes, TRUSTED_ROOT, Tuf, TufError, VerifiedTargets};

/// Options of `initialize`.
#[derive(Clone, Debug)]
pub struct Initialize {
    /// Mirror.
    pub mirror: String,
    /// Initial TUF root, obtained out of band (`--root`); by default the embedded one for this
    /// mirror, the previous one, or the public-good one.
    pub root: Option<Vec<u8>>,
    /// Time limit.
    pub deadline: Duration,
}

/// Result of `initialize`.
#[derive(Clone, Debug)]
pub struct Initialized {
    /// Mirror.
    pub mirror: String,
    /// Cache directory.
    pub cache: PathBuf,
    /// Verified content of the mirror.
    pub verified: VerifiedTargets,
    /// Trust root.
    pub root: TrustRoot,
}

/// Fetches and verifies the content of the mirror, stores it, and records the choice. The previous
/// choice is kept unless everything is valid; a copy of the same mirror keeps its rollback
/// protection.
///
/// # Errors
/// An error if the mirror cannot be reached, or its content is refused.
pub async fn initialize(
    environment: &Environment,
    wanted: Initialize,
    now: Timestamp,
) -> Result<Initialized, RootError> {
    let folder = environment.cache.clone().ok_or_else(|| RootError::Variable {
        variable: "TUF_ROOT",
        detail: "no directory for the copy: set TUF_ROOT or HOME".to_owned(),
    })?;
    let cache = Cache::new(&folder);
    let failed = |error: TufError| RootError::Tuf { mirror: wanted.mirror.clone(), error };
    let mirror = Mirror::parse(&wanted.mirror).map_err(|fault| failed(fault.into()))?;
    let anchor = match wanted.root {
        Some(root) => Some(root),
        None => choice::anchor(environment, &cache, &mirror)?,
    };
    let anchor = anchor.or_else(|| embedded::anchor(PUBLIC_GOOD).map(<[u8]>::to_vec));
    let tuf = Tuf::new(mirror.clone(), cache.clone(), anchor.unwrap_or_default());
    let verified = tuf.refresh(choice::TARGETS, now, wanted.deadline).await.map_err(failed)?;
    let json = verified.target(TRUSTED_ROOT).map_err(failed)?;
    let root = TrustRoot::parse(json)
        .map_err(|error| RootError::Invalid { place: wanted.mirror.clone(), error })?;
    cache.choose(&mirror).map_err(failed)?;
    let times = RefreshTimes { refreshed: Some(now), tried: Some(now) };
    cache.note(&mirror, times).map_err(failed)?;
    Ok(Initialized { mirror: mirror.to_string(), cache: folder, verified, root })
}
