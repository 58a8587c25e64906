//! TUF client for trust roots, on top of the `sigstore-tuf` crate, which verifies metadata
//! (signatures and thresholds, versions, expiry, lengths and hashes). This module adds mirrors over
//! HTTP and in directories, archives in Kubernetes objects, limits, deadlines, and a cache shared
//! by several processes and with cosign.
//!
//! The content of the cache is verified from the initial root each time it is read. Targets are not
//! interpreted here.

mod archive;
mod cache;
mod error;
mod files;
mod mirror;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::trust::MAX_TRUST_ROOT;
use sigstore_tuf::{Updater, UpdaterConfig};

pub use cache::{Cache, RefreshTimes};
pub use error::TufError;
pub use mirror::Mirror;

use files::{CachedRepository, Overlay};

/// Target with Sigstore's trusted root.
pub(crate) const TRUSTED_ROOT: &str = "trusted_root.json";
/// Target with the signing configuration.
pub(crate) const SIGNING_CONFIG: &str = "signing_config.v0.2.json";

/// Maximum size of a target, in bytes.
pub(crate) const MAX_TARGET: u64 = MAX_TRUST_ROOT as u64;
/// Maximum size of TUF root metadata, in bytes.
pub const MAX_ROOT: u64 = 512_000;
/// Maximum number of root versions processed in one refresh.
pub(crate) const MAX_ROTATIONS: u32 = 256;

/// Number of attempts to read a copy that seems damaged.
const READ_ATTEMPTS: usize = 3;

/// Time before any expiry: metadata is verified without its expiry.
const BEFORE_ANY_EXPIRY: Timestamp = Timestamp::UNIX_EPOCH;

/// TUF repository: its mirror, its cached copy, and its initial root.
#[derive(Clone, Debug)]
pub struct Tuf {
    mirror: Mirror,
    cache: Cache,
    anchor: Vec<u8>,
}

/// Verified content of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedTargets {
    /// Requested targets that the repository has.
    pub targets: BTreeMap<String, Vec<u8>>,
    /// Names of all targets in the repository.
    pub listed: Vec<String>,
    /// Metadata of the repository: root, timestamp, snapshot, targets.
    pub roles: Vec<Role>,
}

/// Metadata of one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Role.
    pub name: &'static str,
    /// Version.
    pub version: u64,
    /// Expiry.
    pub expires: Timestamp,
    /// Size in bytes.
    pub length: usize,
}

/// Treatment of expired metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Refused: nothing stale is accepted.
    Enforced,
    /// Accepted and reported; see [`VerifiedTargets::expired`]. For a copy that was fresh when
    /// taken.
    Reported,
}

impl VerifiedTargets {
    /// Content of a requested target.
    ///
    /// # Errors
    /// [`TufError::NoTarget`].
    pub fn target(&self, name: &str) -> Result<&[u8], TufError> {
        let bytes = self.targets.get(name).map(Vec::as_slice);
        bytes.ok_or_else(|| TufError::NoTarget(name.to_owned()))
    }

    /// Earliest expiry of any role's metadata.
    pub fn expires(&self) -> Timestamp {
        self.roles.iter().map(|role| role.expires).min().unwrap_or(Timestamp::MIN)
    }

    /// Role whose metadata expired first, if any has expired at `now`.
    pub fn expired(&self, now: Timestamp) -> Option<&Role> {
        let expired = self.roles.iter().filter(|role| role.expires < now);
        expired.min_by_key(|role| role.expires)
    }
}

impl Tuf {
    /// Repository at `mirror`. `anchor` is the initial trusted root metadata, from which everything
    /// else is verified.
    pub fn new(mirror: Mirror, cache: Cache, anchor: Vec<u8>) -> Self {
        Self { mirror, cache, anchor }
    }

    /// Fetches updates from the mirror, verifies them, and stores them in the cache with these
    /// targets. Targets that the repository does not have are left out.
    ///
    /// Processes that share a cache refresh it one at a time. Nothing is written unless everything
    /// is valid.
    ///
    /// # Errors
    /// A refused update leaves the cache unchanged. [`TufError::Cache`]: the update cannot be
    /// stored.
    pub async fn refresh(
        &self,
        targets: &[&str],
        now: Timestamp,
        deadline: Duration,
    ) -> Result<VerifiedTargets, TufError> {
        let name = self.mirror.to_string();
        let work = self.refresh_locked(targets, now);
        tokio::time::timeout(deadline, work).await.map_err(|_| {
            let detail = format!("no response within {deadline:?}");
            TufError::Fault(Fault::new(FaultKind::Timeout, name, detail))
        })?
    }

    async fn refresh_locked(
        &self,
        targets: &[&str],
        now: Timestamp,
    ) -> Result<VerifiedTargets, TufError> {
        let folder = self.cache.folder(&self.mirror);
        let _alone = cache::lock_for_refresh(&folder).await?;
        let overlay = Overlay::over(&folder);
        let repository = self.mirror.repository()?;
        let verified = verify(repository, &self.anchor, &overlay, targets, now).await?;
        cache::commit(&folder, &overlay.written()).await?;
        Ok(verified)
    }

    /// Content of the cache, verified from the initial root, without network access. Expiry is
    /// reported and not enforced: the last valid copy is better than none.
    ///
    /// # Errors
    /// An error if there is no copy, or it is damaged; it is never used then.
    pub async fn cached(&self, targets: &[&str]) -> Result<VerifiedTargets, TufError> {
        let folder = self.cache.folder(&self.mirror);
        if !folder.join("timestamp.json").exists() {
            return Err(TufError::NotCached {
                mirror: self.mirror.to_string(),
                folder: folder.display().to_string(),
            });
        }
        let mut tries = 1;
        loop {
            match self.read_copy(&folder, targets).await {
                // cosign takes no lock, so a mixture of an old and a new copy may be read; another
                // attempt sees a complete one.
                Err(error) if error.is_refusal() && tries < READ_ATTEMPTS => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
                answer => return answer,
            }
        }
    }

    async fn read_copy(
        &self,
        folder: &Path,
        targets: &[&str],
    ) -> Result<VerifiedTargets, TufError> {
        let _unchanged = cache::lock_for_reading(folder).await;
        let repository = Box::new(CachedRepository::new(folder));
        verify(repository, &self.anchor, &Overlay::over(folder), targets, BEFORE_ANY_EXPIRY).await
    }

    /// Mirror.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }
}

/// Target of a repository in a gzipped tar archive, as in TrustRoot objects (`spec.repository`):
/// `root` is the root metadata, `folder` the directory of targets in the archive.
///
/// # Errors
/// [`TufError::Archive`] when the archive itself is invalid or too large.
pub async fn of_archive(
    gzipped: &[u8],
    root: &[u8],
    folder: &str,
    target: &str,
    now: Timestamp,
    expiry: Expiry,
) -> Result<VerifiedTargets, TufError> {
    let repository = Box::new(archive::Archive::read(gzipped, folder)?);
    let verified = verify(repository, root, &Overlay::default(), &[target], expiry.at(now)).await?;
    verified.target(target)?;
    Ok(verified)
}

/// Target of the repository at `mirror`, as in TrustRoot objects (`spec.remote`). Nothing is stored
/// on disk; the caller keeps `known`, the metadata of the previous call, for rollback protection.
///
/// # Errors
/// A fault when the mirror cannot be reached, otherwise the reason why its content is refused.
pub async fn remote(
    mirror: &Mirror,
    root: &[u8],
    target: &str,
    known: &KnownMetadata,
    now: Timestamp,
    deadline: Duration,
) -> Result<(VerifiedTargets, KnownMetadata), TufError> {
    let overlay = Overlay::of(known.files.clone());
    let targets = [target];
    let repository = mirror.repository()?;
    let work = verify(repository, root, &overlay, &targets, now);
    let verified = tokio::time::timeout(deadline, work).await.map_err(|_| {
        let detail = format!("no response within {deadline:?}");
        Fault::new(FaultKind::Timeout, mirror.to_string(), detail)
    })??;
    verified.target(target)?;
    Ok((verified, KnownMetadata { files: overlay.all() }))
}

/// Metadata of a repository from a previous call of [`remote`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownMetadata {
    files: BTreeMap<String, Vec<u8>>,
}

/// Checks that `root` is root metadata signed by its own keys, so that it can serve as an initial
/// root if its source is trusted.
///
/// # Errors
/// An error if it is malformed, or signed by too few of its keys.
pub fn check_anchor(root: &[u8]) -> Result<(), TufError> {
    sigstore_tuf::TrustedMetadataSet::from_root(root)?;
    Ok(())
}

impl Expiry {
    /// Time at which metadata is verified.
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Enforced => now,
            Self::Reported => BEFORE_ANY_EXPIRY,
        }
    }
}

/// Only path to a target: refresh, look up, compare with its hash.
async fn verify(
    repository: Box<dyn sigstore_tuf::Repository>,
    anchor: &[u8],
    files: &Overlay,
    targets: &[&str],
    now: Timestamp,
) -> Result<VerifiedTargets, TufError> {
    let updater = Updater::new(repository, anchor)?;
    let mut updater = updater.with_config(limits()).with_store(files.clone());
    updater.refresh(now).await?;
    let mut found = BTreeMap::new();
    for name in targets {
        match updater.get_target(name, now).await.map_err(TufError::from) {
            Ok(bytes) => drop(found.insert((*name).to_owned(), bytes)),
            Err(TufError::NoTarget(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(VerifiedTargets { targets: found, listed: listed(&updater), roles: roles(&updater, files) })
}

fn limits() -> UpdaterConfig {
    let mut limits = UpdaterConfig::default();
    limits.root_max_length = MAX_ROOT;
    limits.target_max_length = MAX_TARGET;
    limits.max_root_rotations = MAX_ROTATIONS;
    limits
}

fn listed(updater: &Updater) -> Vec<String> {
    let targets = updater.trusted().targets_role("targets");
    targets.map(|role| role.targets.keys().cloned().collect()).unwrap_or_default()
}

fn roles(updater: &Updater, files: &Overlay) -> Vec<Role> {
    let trusted = updater.trusted();
    let all = [
        ("root", Some((trusted.root().version, trusted.root().expires))),
        ("timestamp", trusted.timestamp().map(|role| (role.version, role.expires))),
        ("snapshot", trusted.snapshot().map(|role| (role.version, role.expires))),
        ("targets", trusted.targets_role("targets").map(|role| (role.version, role.expires))),
    ];
    let role = |(name, found): (&'static str, Option<(u64, Timestamp)>)| {
        let (version, expires) = found?;
        Some(Role { name, version, expires, length: files.length(&format!("{name}.json")) })
    };
    all.into_iter().filter_map(role).collect()
}

#[cfg(test)]
mod tests;
