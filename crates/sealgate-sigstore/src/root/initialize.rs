//! `initialize`: the user chooses a mirror, and the root with which trust in it begins.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use sealgate_core::trust::TrustRoot;

use super::{Environment, PUBLIC_GOOD, RootError, choice, embedded};
use crate::tuf::{Cache, Mirror, TRUSTED_ROOT, Times, Tuf, TufError, Verified};

/// What the user chooses.
#[derive(Clone, Debug)]
pub struct Initialize {
    /// The mirror.
    pub mirror: String,
    /// The root that was had in another way (`--root`); without it the one that came with the
    /// program for this mirror, or that of the time before, or the public-good one.
    pub root: Option<Vec<u8>>,
    /// How long it may take.
    pub deadline: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Initialized {
    /// The mirror.
    pub mirror: String,
    /// The cache.
    pub cache: PathBuf,
    /// What the mirror holds.
    pub verified: Verified,
    /// The trust root.
    pub root: TrustRoot,
}

/// Fetches what the mirror holds, verifies it, keeps it, and notes the choice. Nothing of the
/// choice before is lost unless all of that is good; a copy of the same mirror keeps its
/// protection against going back.
///
/// # Errors
/// The mirror cannot be asked, or what it gives is refused.
pub async fn initialize(
    environment: &Environment,
    wanted: Initialize,
    now: Timestamp,
) -> Result<Initialized, RootError> {
    let folder = environment.cache.clone().ok_or_else(|| RootError::Variable {
        variable: "TUF_ROOT",
        detail: "no folder for the copy: set TUF_ROOT or HOME".to_owned(),
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
    let times = Times { refreshed: Some(now), tried: Some(now) };
    cache.note(&mirror, times).map_err(failed)?;
    Ok(Initialized { mirror: mirror.to_string(), cache: folder, verified, root })
}
