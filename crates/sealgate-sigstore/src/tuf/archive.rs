//! A TUF repository in a gzipped tar, as TrustRoot objects carry it: unpacked into memory, with
//! bounds, and nowhere else.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use sigstore_tuf::Repository;
use sigstore_tuf::transport::FetchFuture;
use tar::{Entry, EntryType};

use super::error::TufError;
use super::files;

/// The largest archive that is read, in bytes.
pub(crate) const MAX_ARCHIVE: usize = 8 << 20;
/// The most bytes that an archive may unpack to, headers included.
pub(crate) const MAX_UNPACKED: u64 = 32 << 20;
const MAX_ENTRIES: usize = 1024;
/// The folder that policy-controller takes off the names.
const PREFIX: &str = "repository/";

/// A repository in memory.
#[derive(Debug)]
pub(super) struct Archive {
    files: BTreeMap<String, Vec<u8>>,
    targets: String,
}

impl Archive {
    /// Unpacks it; `targets` is the folder of the targets, `targets` if it is empty.
    pub(super) fn read(gzipped: &[u8], targets: &str) -> Result<Self, TufError> {
        if gzipped.len() > MAX_ARCHIVE {
            return Err(bad(format!("larger than {MAX_ARCHIVE} bytes")));
        }
        let unpacked = Bounded { inner: MultiGzDecoder::new(gzipped), left: MAX_UNPACKED };
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(unpacked);
        let entries = archive.entries().map_err(bad)?;
        for (count, entry) in entries.enumerate() {
            if count >= MAX_ENTRIES {
                return Err(bad(format!("more than {MAX_ENTRIES} entries")));
            }
            let Some((name, bytes)) = file(entry.map_err(bad)?)? else { continue };
            if files.contains_key(&name) {
                return Err(bad(format!("{name:.80?} is in it twice")));
            }
            files.insert(name, bytes);
        }
        if !files.contains_key("timestamp.json") {
            return Err(bad("it has no timestamp.json"));
        }
        let targets = Some(targets.trim_matches('/')).filter(|folder| !folder.is_empty());
        Ok(Self { files, targets: targets.unwrap_or("targets").to_owned() })
    }

    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, TufError> {
        match self.files.get(name) {
            Some(bytes) if bytes.len() as u64 > limit => {
                Err(bad(format!("{name} is larger than {limit} bytes")))
            }
            other => Ok(other.cloned()),
        }
    }
}

impl Repository for Archive {
    fn fetch_metadata<'a>(&'a self, name: &'a str, limit: u64) -> FetchFuture<'a> {
        files::found(self.get(name, limit))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, limit: u64) -> FetchFuture<'a> {
        files::found(self.get(&format!("{}/{path}", self.targets), limit))
    }
}

/// The name and bytes of an entry that is a file; nothing for a folder.
fn file(mut entry: Entry<'_, impl Read>) -> Result<Option<(String, Vec<u8>)>, TufError> {
    let path = entry.path_bytes();
    let name = std::str::from_utf8(&path).map_err(|_| bad("a name that is not text"))?;
    let name = name.trim_start_matches("./").trim_start_matches('/').to_owned();
    drop(path);
    match entry.header().entry_type() {
        EntryType::Directory | EntryType::XGlobalHeader => return Ok(None),
        EntryType::Regular | EntryType::Continuous => {}
        _ => return Err(bad(format!("{name:.80?} is neither a file nor a folder"))),
    }
    let name = name.strip_prefix(PREFIX).unwrap_or(&name).to_owned();
    files::inside(std::path::Path::new(""), &name)
        .map_err(|_| bad(format!("a name that leads astray: {name:.80?}")))?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(bad)?;
    Ok(Some((name, bytes)))
}

fn bad(error: impl std::fmt::Display) -> TufError {
    TufError::Archive(error.to_string().chars().take(300).collect())
}

/// Fails where more comes than is allowed, instead of pretending an end.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            std::io::Error::other(format!("it unpacks to more than {MAX_UNPACKED} bytes"))
        })?;
        Ok(count)
    }
}
