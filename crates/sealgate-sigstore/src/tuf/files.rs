//! Files of a repository copy, as read and written by the `sigstore-tuf` crate: read from a
//! directory, with all new files held in memory until everything is verified.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{MetadataStore, Repository};

use super::error::TufError;

/// Maximum size of a cached file, in bytes: the limit of targets metadata.
const MAX_FILE: u64 = 5_000_000;

/// Read-only directory with new files on top. Clones share the new files.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    folder: Option<PathBuf>,
    known: Arc<BTreeMap<String, Vec<u8>>>,
    new: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Overlay {
    pub(super) fn over(folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), ..Self::default() }
    }

    /// Overlay over files in memory.
    pub(super) fn of(known: BTreeMap<String, Vec<u8>>) -> Self {
        Self { known: Arc::new(known), ..Self::default() }
    }

    /// New files.
    pub(super) fn written(&self) -> BTreeMap<String, Vec<u8>> {
        self.fresh().clone()
    }

    /// New files, and known files that are not replaced.
    pub(super) fn all(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = (*self.known).clone();
        all.extend(self.written());
        all
    }

    pub(super) fn length(&self, name: &str) -> usize {
        self.load(name).ok().flatten().map_or(0, |bytes| bytes.len())
    }

    fn fresh(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.new.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetadataStore for Overlay {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        if let Some(bytes) = self.fresh().get(name).or_else(|| self.known.get(name)) {
            return Ok(Some(bytes.clone()));
        }
        let Some(folder) = &self.folder else { return Ok(None) };
        match read(folder, name, MAX_FILE).map_err(into_crate)? {
            // cosign keeps the newest root only. It may be the requested one; otherwise it does not
            // follow the previous root and is refused.
            None if name.starts_with("root_history/") => {
                read(folder, "root.json", MAX_FILE).map_err(into_crate)
            }
            other => Ok(other),
        }
    }

    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        self.fresh().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

/// Cached copy of a repository, served as a repository.
#[derive(Debug)]
pub(super) struct CachedRepository(PathBuf);

impl CachedRepository {
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }
}

impl Repository for CachedRepository {
    fn fetch_metadata<'a>(&'a self, name: &'a str, limit: u64) -> FetchFuture<'a> {
        let unversioned = name.trim_start_matches(|c: char| c.is_ascii_digit());
        let file = match unversioned.strip_prefix('.') {
            // The newest root has already been found; the cache has no newer one.
            Some("root.json") if unversioned.len() < name.len() => return found(Ok(None)),
            Some(rest) if unversioned.len() < name.len() => rest,
            _ => name,
        };
        found(read(&self.0, file, limit))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, limit: u64) -> FetchFuture<'a> {
        // Cached targets have no hash in their names.
        let name = path.split_once('.').map_or(path, |(_, name)| name);
        let missing = || TufError::NoTarget(name.to_owned());
        let bytes = read(&self.0, &format!("targets/{name}"), limit);
        found(bytes.and_then(|bytes| bytes.ok_or_else(missing)).map(Some))
    }
}

pub(super) fn found<'a>(answer: Result<Option<Vec<u8>>, TufError>) -> FetchFuture<'a> {
    let answer = answer.map_err(into_crate);
    Box::pin(async move { answer })
}

pub(super) fn into_crate(error: TufError) -> sigstore_tuf::Error {
    sigstore_tuf::Error::transport_with_source(error.to_string(), error)
}

/// Reads at most `limit` bytes of a file below `folder`; `None` if it does not exist.
pub(super) fn read(folder: &Path, name: &str, limit: u64) -> Result<Option<Vec<u8>>, TufError> {
    let path = inside(folder, name)?;
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(TufError::cache(&path, error)),
    };
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| TufError::cache(&path, error))?;
    if bytes.len() as u64 > limit {
        return Err(TufError::cache(&path, format!("larger than {limit} bytes")));
    }
    Ok(Some(bytes))
}

/// Path of `name` below `folder`. A name that leads out of it is an error.
pub(super) fn inside(folder: &Path, name: &str) -> Result<PathBuf, TufError> {
    let plain = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0', ':'])
    };
    if name.len() > 512 || !name.split('/').all(plain) {
        return Err(TufError::Malformed(format!(
            "a file name that leads outside the repository: {name:.80?}"
        )));
    }
    Ok(folder.join(name))
}
