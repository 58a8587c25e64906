//! TUF repository in a gzipped tar archive, as in TrustRoot objects; unpacked into memory only,
//! within limits.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use sigstore_tuf::Repository;
use sigstore_tuf::transport::FetchFuture;
use tar::{Entry, EntryType};

use super::error::TufError;
use super::files;

/// Maximum size of an archive, in bytes.
pub(crate) const MAX_ARCHIVE: usize = 8 << 20;
/// Maximum unpacked size, tar headers included, in bytes.
pub(crate) const MAX_UNPACKED: u64 = 32 << 20;
const MAX_ENTRIES: usize = 1024;
/// Directory prefix that policy-controller strips from names.
const PREFIX: &str = "repository/";

/// TUF repository in memory.
#[derive(Debug)]
pub(super) struct Archive {
    files: BTreeMap<String, Vec<u8>>,
    targets: String,
}

impl Archive {
    /// Unpacks an archive; `targets` is the directory of the targets, `targets` if empty.
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
                return Err(bad(format!("duplicate entry {name:.80?}")));
            }
            files.insert(name, bytes);
        }
        if !files.contains_key("timestamp.json") {
            return Err(bad("no timestamp.json"));
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

/// Name and bytes of an entry that is a file; `None` for a directory.
fn file(mut entry: Entry<'_, impl Read>) -> Result<Option<(String, Vec<u8>)>, TufError> {
    let path = entry.path_bytes();
    let name = std::str::from_utf8(&path).map_err(|_| bad("an entry name is not text"))?;
    let name = name.trim_start_matches("./").trim_start_matches('/').to_owned();
    drop(path);
    match entry.header().entry_type() {
        EntryType::Directory | EntryType::XGlobalHeader => return Ok(None),
        EntryType::Regular | EntryType::Continuous => {}
        _ => return Err(bad(format!("{name:.80?} is neither a file nor a directory"))),
    }
    let name = name.strip_prefix(PREFIX).unwrap_or(&name).to_owned();
    files::inside(std::path::Path::new(""), &name)
        .map_err(|_| bad(format!("an entry name that leads outside the archive: {name:.80?}")))?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(bad)?;
    Ok(Some((name, bytes)))
}

fn bad(error: impl std::fmt::Display) -> TufError {
    TufError::Archive(error.to_string().chars().take(300).collect())
}

/// Reader that fails beyond the limit instead of reporting the end of the input.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            std::io::Error::other(format!("unpacks to more than {MAX_UNPACKED} bytes"))
        })?;
        Ok(count)
    }
}
