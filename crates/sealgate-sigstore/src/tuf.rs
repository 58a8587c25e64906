//! Trust roots by TUF: a client over the `sigstore-tuf` crate, which verifies (signatures and
//! thresholds, versions, expiry, lengths and hashes). Here is what stands around it: mirrors over
//! HTTP and in folders, archives in cluster objects, bounds, deadlines, and a cache that several
//! processes share with each other and with cosign.
//!
//! Whatever lies in the cache is verified again, from the root that we begin with, each time that
//! it is read. What its targets mean is not known here.

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

pub use cache::{Cache, Times};
pub use error::TufError;
pub use mirror::Mirror;

use files::{Cached, Overlay};

/// The target that holds the trusted root of Sigstore.
pub(crate) const TRUSTED_ROOT: &str = "trusted_root.json";
/// The target that says where the services are.
pub(crate) const SIGNING_CONFIG: &str = "signing_config.v0.2.json";

/// The largest target that is read, in bytes.
pub(crate) const MAX_TARGET: u64 = MAX_TRUST_ROOT as u64;
/// The largest TUF root that is read, in bytes.
pub const MAX_ROOT: u64 = 512_000;
/// The most root versions that are walked through in one refresh.
pub(crate) const MAX_ROTATIONS: u32 = 256;

/// How often a copy is read that seems to be damaged.
const READS: usize = 3;

/// Before anything expires: metadata is judged by all but its expiry.
const LONG_AGO: Timestamp = Timestamp::UNIX_EPOCH;

/// One repository: where it is, where its copy is kept, and the root with which trust begins.
#[derive(Clone, Debug)]
pub struct Tuf {
    mirror: Mirror,
    cache: Cache,
    anchor: Vec<u8>,
}

/// What a repository holds, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The targets that were asked for, as far as the repository has them.
    pub targets: BTreeMap<String, Vec<u8>>,
    /// The names of all its targets.
    pub listed: Vec<String>,
    /// The metadata that vouches for them: root, timestamp, snapshot, targets.
    pub roles: Vec<Role>,
}

/// One piece of metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Which.
    pub name: &'static str,
    /// Its version.
    pub version: u64,
    /// Until when it counts.
    pub expires: Timestamp,
    /// Its size in bytes.
    pub length: usize,
}

/// Whether metadata that has expired is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It is: nothing stale gets in.
    Enforced,
    /// It is not; see [`Verified::expired`]. For a copy that was fresh when it was taken.
    Told,
}

impl Verified {
    /// A target that was asked for.
    ///
    /// # Errors
    /// [`TufError::NoTarget`].
    pub fn target(&self, name: &str) -> Result<&[u8], TufError> {
        let bytes = self.targets.get(name).map(Vec::as_slice);
        bytes.ok_or_else(|| TufError::NoTarget(name.to_owned()))
    }

    /// The first moment at which some of the metadata does not count any more.
    pub fn expires(&self) -> Timestamp {
        self.roles.iter().map(|role| role.expires).min().unwrap_or(Timestamp::MIN)
    }

    /// The metadata that has expired at `now`, the one that did so first.
    pub fn expired(&self, now: Timestamp) -> Option<&Role> {
        let expired = self.roles.iter().filter(|role| role.expires < now);
        expired.min_by_key(|role| role.expires)
    }
}

impl Tuf {
    /// The repository at `mirror`. `anchor` is the root metadata that is trusted from the
    /// beginning; all else follows from it.
    pub fn new(mirror: Mirror, cache: Cache, anchor: Vec<u8>) -> Self {
        Self { mirror, cache, anchor }
    }

    /// Asks the mirror for news, verifies them, and keeps them in the cache with the targets of
    /// these names. A target that the repository does not have is left out.
    ///
    /// Processes that share a cache refresh it one after the other. Nothing is written unless all
    /// of it is good.
    ///
    /// # Errors
    /// What is refused leaves the cache as it was. [`TufError::Cache`]: what was brought cannot
    /// be kept.
    pub async fn refresh(
        &self,
        targets: &[&str],
        now: Timestamp,
        deadline: Duration,
    ) -> Result<Verified, TufError> {
        let name = self.mirror.to_string();
        let work = self.refresh_locked(targets, now);
        tokio::time::timeout(deadline, work).await.map_err(|_| {
            let detail = format!("no answer within {deadline:?}");
            TufError::Fault(Fault::new(FaultKind::Timeout, name, detail))
        })?
    }

    async fn refresh_locked(&self, targets: &[&str], now: Timestamp) -> Result<Verified, TufError> {
        let folder = self.cache.folder(&self.mirror);
        let _alone = cache::only_refresher(&folder).await?;
        let overlay = Overlay::over(&folder);
        let repository = self.mirror.repository()?;
        let verified = verify(repository, &self.anchor, &overlay, targets, now).await?;
        cache::commit(&folder, &overlay.written()).await?;
        Ok(verified)
    }

    /// What the cache holds, verified from the beginning, without a network. Expiry is told and
    /// not enforced: the last good copy is better than none.
    ///
    /// # Errors
    /// There is no copy, or it is damaged; it is never believed then.
    pub async fn cached(&self, targets: &[&str]) -> Result<Verified, TufError> {
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
                // cosign takes no lock: half of an old and half of a new copy become whole.
                Err(error) if error.is_refusal() && tries < READS => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
                answer => return answer,
            }
        }
    }

    async fn read_copy(&self, folder: &Path, targets: &[&str]) -> Result<Verified, TufError> {
        let _unchanged = cache::reader(folder).await;
        let repository = Box::new(Cached::new(folder));
        verify(repository, &self.anchor, &Overlay::over(folder), targets, LONG_AGO).await
    }

    /// The mirror.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }
}

/// A target of the repository that a gzipped tar holds, as TrustRoot objects carry it
/// (`spec.repository`): `root` is the root metadata, `folder` where the archive has its targets.
///
/// # Errors
/// [`TufError::Archive`] where the archive itself is bad or too large.
pub async fn of_archive(
    gzipped: &[u8],
    root: &[u8],
    folder: &str,
    target: &str,
    now: Timestamp,
    expiry: Expiry,
) -> Result<Verified, TufError> {
    let repository = Box::new(archive::Archive::read(gzipped, folder)?);
    let verified = verify(repository, root, &Overlay::default(), &[target], expiry.at(now)).await?;
    verified.target(target)?;
    Ok(verified)
}

/// A target of the repository at `mirror`, as TrustRoot objects name it (`spec.remote`). Nothing
/// is kept on disk; whoever asks keeps `known`, the answer of the time before, so that a mirror
/// cannot go back.
///
/// # Errors
/// A fault where the mirror cannot be asked, else what is wrong with its answer.
pub async fn remote(
    mirror: &Mirror,
    root: &[u8],
    target: &str,
    known: &Memory,
    now: Timestamp,
    deadline: Duration,
) -> Result<(Verified, Memory), TufError> {
    let overlay = Overlay::of(known.files.clone());
    let targets = [target];
    let repository = mirror.repository()?;
    let work = verify(repository, root, &overlay, &targets, now);
    let verified = tokio::time::timeout(deadline, work).await.map_err(|_| {
        let detail = format!("no answer within {deadline:?}");
        Fault::new(FaultKind::Timeout, mirror.to_string(), detail)
    })??;
    verified.target(target)?;
    Ok((verified, Memory { files: overlay.all() }))
}

/// The metadata of a repository that was asked before, for [`remote`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    files: BTreeMap<String, Vec<u8>>,
}

/// Checks that `root` is root metadata that its own keys have signed: worth beginning with, if
/// whoever gives it is trusted.
///
/// # Errors
/// It is malformed, or not signed by enough of its keys.
pub fn check_anchor(root: &[u8]) -> Result<(), TufError> {
    sigstore_tuf::TrustedMetadataSet::from_root(root)?;
    Ok(())
}

impl Expiry {
    /// The moment at which metadata is judged.
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Enforced => now,
            Self::Told => LONG_AGO,
        }
    }
}

/// The one way to a target: refresh, look up, compare with its hash.
async fn verify(
    repository: Box<dyn sigstore_tuf::Repository>,
    anchor: &[u8],
    files: &Overlay,
    targets: &[&str],
    now: Timestamp,
) -> Result<Verified, TufError> {
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
    Ok(Verified { targets: found, listed: listed(&updater), roles: roles(&updater, files) })
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
