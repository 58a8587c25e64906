//! The cache on disk, where cosign has it (`~/.sigstore/root`, `TUF_ROOT`) and laid out as
//! sigstore-go does it, so that each finds what the other has left:
//!
//! ```text
//! remote.json                      which mirror `initialize` has chosen
//! <mirror>.json                    when it was refreshed
//! <mirror>/root.json …             the metadata, newest
//! <mirror>/root_history/N.root.json   the roots between (ours)
//! <mirror>/targets/trusted_root.json  the targets
//! ```
//!
//! Files are replaced by renaming, and all files of a refresh under a lock.

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
/// How long a reader or writer waits for the others; each file is whole even without.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// The folder that holds the copies of repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
}

/// When a copy was brought up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// The last refresh that succeeded (sigstore-go's name for it).
    #[serde(default, rename = "lastTimestamp", skip_serializing_if = "Option::is_none")]
    pub refreshed: Option<Timestamp>,
    /// The last one that was tried.
    #[serde(default, rename = "lastAttempt", skip_serializing_if = "Option::is_none")]
    pub tried: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Remote {
    mirror: String,
}

impl Cache {
    /// The cache in `folder`. Nothing is read or made yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The mirror that `initialize` (ours or cosign's) has chosen, if it ever ran.
    ///
    /// # Errors
    /// The note of the choice cannot be read: it is never guessed.
    pub fn chosen(&self) -> Result<Option<String>, TufError> {
        let Some(bytes) = files::read(&self.folder, REMOTE, MAX_NOTE)? else { return Ok(None) };
        let remote: Remote = serde_json::from_slice(&bytes)
            .map_err(|error| TufError::cache(&self.folder.join(REMOTE), error))?;
        Ok(Some(remote.mirror))
    }

    /// Notes the choice, as cosign does.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub(crate) fn choose(&self, mirror: &Mirror) -> Result<(), TufError> {
        let remote = Remote { mirror: mirror.to_string() };
        self.write(REMOTE, &serde_json::to_vec(&remote).unwrap_or_default())
    }

    /// When the copy of `mirror` was brought up to date; nothing where nobody knows.
    pub fn times(&self, mirror: &Mirror) -> Times {
        let name = format!("{}.json", mirror.folder_name());
        let bytes = files::read(&self.folder, &name, MAX_NOTE).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Notes it.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn note(&self, mirror: &Mirror, times: Times) -> Result<(), TufError> {
        let name = format!("{}.json", mirror.folder_name());
        self.write(&name, &serde_json::to_vec(&times).unwrap_or_default())
    }

    /// The newest root of `mirror` that the cache holds: where trust in a mirror begins whose
    /// root did not come with the program.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn anchor(&self, mirror: &Mirror) -> Result<Option<Vec<u8>>, TufError> {
        files::read(&self.folder(mirror), "root.json", super::MAX_ROOT)
    }

    /// Where the copy of `mirror` is.
    pub fn folder(&self, mirror: &Mirror) -> PathBuf {
        self.folder.join(mirror.folder_name())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TufError> {
        make_folder(&self.folder)?;
        replace(&files::inside(&self.folder, name)?, bytes)
    }
}

/// Waits until nobody else refreshes this copy, and keeps others waiting until it is dropped.
pub(super) async fn only_refresher(folder: &Path) -> Result<File, TufError> {
    make_folder(folder)?;
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

/// Keeps the copy from being replaced while it is read. Where that cannot be had (a cache that
/// may only be read, a writer that hangs), reading goes on: what is read is verified, and half of
/// an old and half of a new copy are refused.
pub(super) async fn reader(folder: &Path) -> Option<File> {
    let file = File::open(folder.join(".lock")).ok()?;
    patiently(|| file.try_lock_shared()).await;
    Some(file)
}

/// Replaces the files of a copy.
pub(super) async fn commit(folder: &Path, new: &BTreeMap<String, Vec<u8>>) -> Result<(), TufError> {
    let file = lock_file(&folder.join(".lock"))?;
    patiently(|| file.try_lock()).await;
    let kept = new.iter().filter(|(name, _)| !is_versioned(name));
    let mut kept: Vec<_> = kept.collect();
    // What others vouch for comes before what vouches for it.
    kept.sort_by_key(|(name, _)| *name == "timestamp.json");
    for (name, bytes) in kept {
        let path = files::inside(folder, name)?;
        path.parent().map_or(Ok(()), make_folder)?;
        replace(&path, bytes)?;
    }
    Ok(())
}

/// The file of a lock. Where a link lies in its place, nothing is made or emptied behind it; a
/// pipe would keep us waiting.
fn lock_file(path: &Path) -> Result<File, TufError> {
    let failed = |error| TufError::cache(path, error);
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            return Err(TufError::cache(path, "the lock is no plain file"));
        }
        _ => {}
    }
    let mut options = File::options();
    options.write(true).create(true).truncate(false).open(path).map_err(failed)
}

/// `12.snapshot.json`: the same file is kept without its version.
fn is_versioned(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit())
}

async fn patiently(lock: impl Fn() -> Result<(), TryLockError>) {
    let wait = async {
        while let Err(TryLockError::WouldBlock) = lock() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        tracing::debug!("the lock of the TUF cache is held for long; going on without");
    }
}

fn make_folder(path: &Path) -> Result<(), TufError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| TufError::cache(path, error))
}

/// Writes beside the file and renames: nobody sees half a file.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), TufError> {
    let failed = |error: std::io::Error| TufError::cache(path, error);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_data()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
