//! TUF cache on disk, at cosign's location (`~/.sigstore/root`, `TUF_ROOT`) and in sigstore-go's
//! layout, so that each program can use the other's copies:
//!
//! ```text
//! remote.json                      mirror chosen with `initialize`
//! <mirror>.json                    time of the last refresh
//! <mirror>/root.json …             newest metadata
//! <mirror>/root_history/N.root.json   intermediate roots (Sealgate only)
//! <mirror>/targets/trusted_root.json  targets
//! ```
//!
//! Files are replaced by renaming, and all files of one refresh under a lock.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::TufError;
use super::files;
use super::mirror::Mirror;

const REMOTE: &str = "remote.json";
const MAX_NOTE: u64 = 64 << 10;
/// Time limit for waiting on readers and writers; even without the lock, each file is complete.
const TIMEOUT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Directory with copies of repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
}

/// Times of the last refreshes of a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefreshTimes {
    /// Last successful refresh (sigstore-go's field name).
    #[serde(default, rename = "lastTimestamp", skip_serializing_if = "Option::is_none")]
    pub refreshed: Option<Timestamp>,
    /// Last attempt.
    #[serde(default, rename = "lastAttempt", skip_serializing_if = "Option::is_none")]
    pub tried: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Remote {
    mirror: String,
}

impl Cache {
    /// Cache in `folder`. Nothing is read or created yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Path of the cache.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Mirror chosen with `initialize` (ours or cosign's), if it has run.
    ///
    /// # Errors
    /// An error if the record of the choice cannot be read; it is never guessed.
    pub fn chosen(&self) -> Result<Option<String>, TufError> {
        let Some(bytes) = files::read(&self.folder, REMOTE, MAX_NOTE)? else { return Ok(None) };
        let remote: Remote = serde_json::from_slice(&bytes)
            .map_err(|error| TufError::cache(&self.folder.join(REMOTE), error))?;
        Ok(Some(remote.mirror))
    }

    /// Records the choice, in cosign's format.
    ///
    /// # Errors
    /// An error if the cache cannot be written.
    pub(crate) fn choose(&self, mirror: &Mirror) -> Result<(), TufError> {
        let remote = Remote { mirror: mirror.to_string() };
        self.write(REMOTE, &serde_json::to_vec(&remote).unwrap_or_default())
    }

    /// Times of the last refreshes of `mirror`; empty if not recorded.
    pub fn times(&self, mirror: &Mirror) -> RefreshTimes {
        let name = format!("{}.json", mirror.folder_name());
        let bytes = files::read(&self.folder, &name, MAX_NOTE).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Records the times.
    ///
    /// # Errors
    /// An error if the cache cannot be written.
    pub fn note(&self, mirror: &Mirror, times: RefreshTimes) -> Result<(), TufError> {
        let name = format!("{}.json", mirror.folder_name());
        self.write(&name, &serde_json::to_vec(&times).unwrap_or_default())
    }

    /// Newest cached root of `mirror`: the initial root for mirrors without an embedded one.
    ///
    /// # Errors
    /// An error if the cache cannot be read.
    pub fn anchor(&self, mirror: &Mirror) -> Result<Option<Vec<u8>>, TufError> {
        files::read(&self.folder(mirror), "root.json", super::MAX_ROOT)
    }

    /// Directory of the copy of `mirror`.
    pub fn folder(&self, mirror: &Mirror) -> PathBuf {
        self.folder.join(mirror.folder_name())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TufError> {
        create_directory(&self.folder)?;
        replace(&files::inside(&self.folder, name)?, bytes)
    }
}

/// Waits for other refreshes of this copy to end, and locks it until the handle is dropped.
pub(super) async fn lock_for_refresh(folder: &Path) -> Result<File, TufError> {
    create_directory(folder)?;
    let path = folder.join(".refresh.lock");
    let file = lock_file(&path)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // The caller has a deadline.
            Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
            Err(TryLockError::Error(error)) => return Err(TufError::cache(&path, error)),
        }
    }
}

/// Locks the copy against replacement while it is read. When the lock is not available (a read-only
/// cache, a hanging writer), the copy is read anyway: its content is verified, and a mixture of an
/// old and a new copy is refused.
pub(super) async fn lock_for_reading(folder: &Path) -> Option<File> {
    let file = File::open(folder.join(".lock")).ok()?;
    lock_with_timeout(|| file.try_lock_shared()).await;
    Some(file)
}

/// Replaces the files of a copy.
pub(super) async fn commit(folder: &Path, new: &BTreeMap<String, Vec<u8>>) -> Result<(), TufError> {
    let file = lock_file(&folder.join(".lock"))?;
    lock_with_timeout(|| file.try_lock()).await;
    let kept = new.iter().filter(|(name, _)| !is_versioned(name));
    let mut kept: Vec<_> = kept.collect();
    // Files are written before the metadata that refers to them.
    kept.sort_by_key(|(name, _)| *name == "timestamp.json");
    for (name, bytes) in kept {
        let path = files::inside(folder, name)?;
        path.parent().map_or(Ok(()), create_directory)?;
        replace(&path, bytes)?;
    }
    Ok(())
}

/// Opens a lock file. A symbolic link is not followed or truncated, and a FIFO is refused because
/// it would block.
fn lock_file(path: &Path) -> Result<File, TufError> {
    let failed = |error| TufError::cache(path, error);
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            return Err(TufError::cache(path, "the lock is not a regular file"));
        }
        _ => {}
    }
    let mut options = File::options();
    options.write(true).create(true).truncate(false).open(path).map_err(failed)
}

/// `12.snapshot.json`: the same file is stored without its version.
fn is_versioned(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit())
}

async fn lock_with_timeout(lock: impl Fn() -> Result<(), TryLockError>) {
    let wait = async {
        while let Err(TryLockError::WouldBlock) = lock() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    if tokio::time::timeout(TIMEOUT, wait).await.is_err() {
        tracing::debug!("timed out waiting for the lock of the TUF cache; continuing without it");
    }
}

fn create_directory(path: &Path) -> Result<(), TufError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| TufError::cache(path, error))
}

/// Writes a temporary file and renames it: readers never see a partial file.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), TufError> {
    let failed = |error: std::io::Error| TufError::cache(path, error);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_data()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
