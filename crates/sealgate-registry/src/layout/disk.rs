//! File access to a layout directory: paths, bounded reads, atomic writes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, Index, is_index, media_type};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::ports::RawManifest;
use serde::Deserialize;

use super::{REF_NAME, kind};
use crate::options::Limits;
use crate::referrers::fallback_tag;
use crate::shape::{self, Shape, check_tag};

/// Maximum number of files read when searching for referrers.
const MAX_FILES: usize = 20_000;

/// Lock file held while changing `index.json`.
const LOCK: &str = ".sealgate.lock";

/// Layout directory.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    limits: Limits,
    name: String,
}

/// Temporary file, removed on drop unless renamed into place.
pub(super) struct TemporaryFile {
    path: PathBuf,
    file: Option<File>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Disk {
    pub(super) fn new(root: PathBuf, limits: Limits) -> Self {
        let name = root.display().to_string();
        Self { root, limits, name }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Checks that this is a layout whose directories are not symbolic links, which could redirect
    /// writes, and whose lock file is a regular file: opening a FIFO would block forever.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let Some(text) = self.read("oci-layout", 64 << 10)? else {
            return Err(self.fault(FaultKind::Missing, "is not an OCI layout (no oci-layout file)"));
        };
        let marker: Marker = serde_json::from_slice(&text)
            .map_err(|_| self.fault(FaultKind::Malformed, "oci-layout is not valid JSON"))?;
        if !marker.image_layout_version.starts_with("1.") {
            return Err(self.fault(FaultKind::Unsupported, "unsupported layout version"));
        }
        self.check_directories()
    }

    fn check_directories(&self) -> Result<(), Fault> {
        for folder in ["blobs", "blobs/sha256", "blobs/sha384", "blobs/sha512"] {
            self.check_file_type(folder, "directory", fs::Metadata::is_dir)?;
        }
        self.check_file_type(LOCK, "file", fs::Metadata::is_file)
    }

    /// Checks that `name`, if it exists, is of the expected file type and not a symbolic link.
    fn check_file_type(
        &self,
        name: &str,
        kind: &str,
        is: fn(&fs::Metadata) -> bool,
    ) -> Result<(), Fault> {
        match fs::symlink_metadata(self.root.join(name)) {
            Ok(data) if is(&data) => Ok(()),
            Ok(_) => {
                let detail = format!("{name} is a symbolic link or not a {kind}");
                Err(self.fault(FaultKind::Malformed, detail))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(self.io(&e)),
        }
    }

    /// Creates the missing parts of an empty layout, in real directories only.
    pub(super) fn create(&self) -> Result<(), Fault> {
        self.check_directories()?;
        fs::create_dir_all(self.root.join("blobs/sha256")).map_err(|e| self.io(&e))?;
        if self.read("oci-layout", 64 << 10)?.is_none() {
            self.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        if self.read("index.json", self.limits.manifest_bytes)?.is_none() {
            self.save_index(&empty_index())?;
        }
        Ok(())
    }

    pub(super) fn index(&self) -> Result<Index, Fault> {
        let Some(text) = self.read("index.json", self.limits.manifest_bytes)? else {
            return Ok(empty_index());
        };
        serde_json::from_slice(&text).map_err(|e| {
            let place = format!("line {}, column {}", e.line(), e.column());
            self.fault(FaultKind::Malformed, format!("index.json is not an OCI index ({place})"))
        })
    }

    fn save_index(&self, index: &Index) -> Result<(), Fault> {
        let text = serde_json::to_vec(index)
            .map_err(|e| self.fault(FaultKind::Malformed, e.to_string()))?;
        self.write("index.json", &text)
    }

    /// Changes `index.json` while holding the lock.
    fn change<T>(
        &self,
        edit: impl FnOnce(&mut Index) -> Result<(bool, T), Fault>,
    ) -> Result<T, Fault> {
        let path = self.root.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(|e| self.io(&e))?;
        lock.lock().map_err(|e| self.io(&e))?;
        let mut index = self.index()?;
        let (changed, answer) = edit(&mut index)?;
        if changed {
            self.save_index(&index)?;
        }
        Ok(answer)
    }

    pub(super) fn add_entry(&self, entry: Descriptor) -> Result<(), Fault> {
        self.change(|index| {
            let same = |d: &Descriptor| {
                d.digest == entry.digest
                    && d.annotations.get(kind::ANNOTATION)
                        == entry.annotations.get(kind::ANNOTATION)
            };
            index.manifests.retain(|d| !same(d));
            index.manifests.push(entry);
            Ok((true, ()))
        })
    }

    /// Checks that the manifest of an entry exists and matches the entry.
    pub(super) fn check_entry(&self, entry: &Descriptor) -> Result<(), Fault> {
        match self.blob(&entry.digest, self.limits.manifest_bytes)? {
            Some(bytes) if bytes.len() as u64 == entry.size => Ok(()),
            Some(_) => Err(self.fault(FaultKind::Malformed, "index.json states a wrong size")),
            None => {
                let detail = format!("index.json names {}, which is missing", entry.digest);
                Err(self.fault(FaultKind::Malformed, detail))
            }
        }
    }

    /// Entry of `index.json` for a tag.
    fn tagged(
        &self,
        repository: Option<&Repository>,
        tag: &str,
        index: &Index,
    ) -> Option<Descriptor> {
        let full = repository.map(|r| format!("{r}:{tag}"));
        let named = |d: &&Descriptor| {
            let name = d.annotations.get(REF_NAME).map(String::as_str);
            name == Some(tag) || name.is_some() && name == full.as_deref()
        };
        index.manifests.iter().find(named).cloned().or_else(|| saved(tag, index))
    }

    pub(super) fn manifest(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<RawManifest>, Fault> {
        let index = self.index()?;
        let (digest, stated) = match what {
            Identifier::Tag(tag) => match self.tagged(Some(repository), tag, &index) {
                Some(entry) => (entry.digest, Some(entry.media_type)),
                None => return Ok(None),
            },
            Identifier::Digest(digest) => {
                let entry = index.manifests.iter().find(|d| d.digest == *digest);
                (digest.clone(), entry.map(|d| d.media_type.clone()))
            }
        };
        let Some(bytes) = self.blob(&digest, self.limits.manifest_bytes)? else { return Ok(None) };
        // A child manifest is named by its parent only, so its media type comes from the document,
        // or is guessed from its fields.
        let stated = stated.or_else(|| guess(&bytes));
        let shape = Shape::of(stated.as_deref(), &bytes)
            .map_err(|(kind, detail)| self.fault(kind, format!("{digest}: {detail}")))?;
        Ok(Some(shape::raw(shape, digest, bytes)))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    pub(super) fn open_blob(&self, digest: &Digest) -> Result<Option<File>, Fault> {
        self.open(&self.path(digest))
    }

    /// Opens a regular file only: reading a FIFO would block forever.
    fn open(&self, path: &Path) -> Result<Option<File>, Fault> {
        match fs::metadata(path) {
            Ok(data) if data.is_file() => {}
            Ok(_) => {
                return Err(self
                    .fault(FaultKind::Malformed, "contains something other than a regular file"));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.io(&e)),
        }
        File::open(path).map(Some).map_err(|e| self.io(&e))
    }

    fn bounded(&self, file: File, limit: u64) -> Result<Bytes, Fault> {
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| self.io(&e))?;
        if bytes.len() as u64 > limit {
            let detail = format!("a file is larger than {limit} bytes");
            return Err(self.fault(FaultKind::TooLarge, detail));
        }
        Ok(Bytes::from(bytes))
    }

    fn read(&self, name: &str, limit: u64) -> Result<Option<Bytes>, Fault> {
        match self.open(&self.root.join(name))? {
            Some(file) => self.bounded(file, limit).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn blob(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>, Fault> {
        let Some(file) = self.open_blob(digest)? else { return Ok(None) };
        let bytes = self.bounded(file, limit)?;
        if digest.matches(&bytes) { Ok(Some(bytes)) } else { Err(self.mismatch(digest)) }
    }

    /// All manifests whose subject is `subject`.
    pub(super) fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Fault> {
        let mut found = BTreeMap::new();
        let folder = self.root.join("blobs").join("sha256");
        let files = match fs::read_dir(&folder) {
            Ok(files) => files,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.io(&e)),
        };
        for (number, file) in files.enumerate() {
            if number >= MAX_FILES || found.len() > self.limits.referrers {
                let detail = format!("more than {MAX_FILES} blobs or too many referrers");
                return Err(self.fault(FaultKind::TooMany, detail));
            }
            let file = file.map_err(|e| self.io(&e))?;
            if let Some(entry) = self.referring(&file, subject)? {
                found.insert(entry.digest.to_string(), entry);
            }
        }
        self.listed(subject, &mut found)?;
        Ok(found.into_values().collect())
    }

    /// Referrers entry of a file, if it is a manifest with the subject `subject`.
    fn referring(
        &self,
        file: &fs::DirEntry,
        subject: &Digest,
    ) -> Result<Option<Descriptor>, Fault> {
        let name = file.file_name();
        let digest = name.to_str().and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        let Some(digest) = digest else { return Ok(None) };
        let size = fs::metadata(file.path()).map_err(|e| self.io(&e))?.len();
        if size > self.limits.manifest_bytes {
            return Ok(None);
        }
        let Some(mut opened) = self.open_blob(&digest)? else { return Ok(None) };
        let mut first = [0_u8; 1];
        if opened.read(&mut first).map_err(|e| self.io(&e))? == 0 || first != *b"{" {
            return Ok(None);
        }
        let Some(bytes) = self.blob(&digest, self.limits.manifest_bytes)? else { return Ok(None) };
        let stated = guess(&bytes);
        let Ok(shape) = Shape::of(stated.as_deref(), &bytes) else { return Ok(None) };
        if shape.subject.as_ref().is_none_or(|s| s.digest != *subject) {
            return Ok(None);
        }
        let entry = crate::fallback::entry(&shape, &digest, &bytes);
        entry.map(Some).map_err(|detail| self.fault(FaultKind::Malformed, detail))
    }

    /// Entries under the fallback tag, if a tool copied that tag into the layout.
    fn listed(
        &self,
        subject: &Digest,
        found: &mut BTreeMap<String, Descriptor>,
    ) -> Result<(), Fault> {
        let index = self.index()?;
        let Some(entry) = self.tagged(None, &fallback_tag(subject), &index) else { return Ok(()) };
        let Some(bytes) = self.blob(&entry.digest, self.limits.manifest_bytes)? else {
            return Ok(());
        };
        let list: Index = serde_json::from_slice(&bytes).map_err(|_| {
            self.fault(FaultKind::Malformed, "the referrers list is not an OCI index")
        })?;
        for entry in list.manifests {
            found.entry(entry.digest.to_string()).or_insert(entry);
        }
        Ok(())
    }

    pub(super) fn push_manifest(
        &self,
        at: &Identifier,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, Fault> {
        let entry = self.store_manifest(at, media_type, bytes)?;
        let digest = entry.digest.clone();
        if let Identifier::Tag(tag) = at {
            self.change(|index| {
                set_tag(index, tag, entry);
                Ok((true, ()))
            })?;
        }
        Ok(digest)
    }

    fn store_manifest(
        &self,
        at: &Identifier,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Descriptor, Fault> {
        let shape = Shape::of(Some(media_type), bytes)
            .map_err(|(_, detail)| self.fault(FaultKind::Config, detail))?;
        let digest = match at {
            Identifier::Digest(digest) if digest.matches(bytes) => digest.clone(),
            Identifier::Digest(digest) => return Err(self.mismatch(digest)),
            Identifier::Tag(tag) => {
                check_tag(&self.name, tag)?;
                Digest::of(bytes)
            }
        };
        let mut beside = self.temporary()?;
        beside.write(bytes).map_err(|e| self.io(&e))?;
        self.keep(beside, &digest)?;
        let raw = shape::raw(shape, digest, Bytes::copy_from_slice(bytes));
        Ok(raw.descriptor)
    }

    pub(super) fn replace(
        &self,
        repository: &Repository,
        tag: &str,
        expected: Option<&Digest>,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<bool, Fault> {
        let entry = self.store_manifest(&Identifier::Tag(tag.to_owned()), media_type, bytes)?;
        self.change(|index| {
            let current = self.tagged(Some(repository), tag, index).map(|d| d.digest);
            if current.as_ref() != expected {
                return Ok((false, false));
            }
            let entry = in_place_of_saved(index, tag, entry);
            set_tag(index, tag, entry);
            Ok((true, true))
        })
    }

    pub(super) fn delete(&self, what: &Identifier) -> Result<bool, Fault> {
        let removed = self.change(|index| {
            let before = index.manifests.len();
            match what {
                Identifier::Tag(tag) => {
                    let saved = saved(tag, index);
                    index.manifests.retain(|d| {
                        d.annotations.get(REF_NAME) != Some(tag) && Some(d) != saved.as_ref()
                    });
                }
                Identifier::Digest(digest) => index.manifests.retain(|d| d.digest != *digest),
            }
            let changed = index.manifests.len() != before;
            Ok((changed, changed))
        })?;
        let Identifier::Digest(digest) = what else { return Ok(removed) };
        match fs::remove_file(self.path(digest)) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(removed),
            Err(e) => Err(self.io(&e)),
        }
    }

    /// New temporary file in the blobs directory.
    pub(super) fn temporary(&self) -> Result<TemporaryFile, Fault> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("blobs/.{}-{number}.tmp", std::process::id());
        let path = self.root.join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        Ok(TemporaryFile { path, file: Some(file.map_err(|e| self.io(&e))?) })
    }

    /// Renames a file to the blob `digest`; the caller has checked its content.
    pub(super) fn keep(&self, beside: TemporaryFile, digest: &Digest) -> Result<(), Fault> {
        let to = self.path(digest);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|e| self.io(&e))?;
        }
        fs::rename(&beside.path, to).map_err(|e| self.io(&e))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let mut beside = self.temporary()?;
        beside.write(bytes).map_err(|e| self.io(&e))?;
        fs::rename(&beside.path, self.root.join(name)).map_err(|e| self.io(&e))
    }

    pub(super) fn fault(&self, kind: FaultKind, detail: impl Into<String>) -> Fault {
        Fault::new(kind, self.name.clone(), detail)
    }

    pub(super) fn mismatch(&self, digest: &Digest) -> Fault {
        let detail = format!("a file does not have the digest {digest}");
        self.fault(FaultKind::DigestMismatch, detail)
    }

    pub(super) fn io(&self, error: &std::io::Error) -> Fault {
        self.fault(FaultKind::Config, error.to_string())
    }
}

impl TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    /// Another handle to the file.
    pub(super) fn file(&self) -> Result<File, Fault> {
        let copy = self.file.as_ref().map(File::try_clone).and_then(Result::ok);
        copy.ok_or_else(|| Fault::new(FaultKind::Config, "layout", "too many open files"))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Missing if it was renamed into place.
        let _ = fs::remove_file(&self.path);
    }
}

fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

fn set_tag(index: &mut Index, tag: &str, mut entry: Descriptor) {
    index.manifests.retain(|d| d.annotations.get(REF_NAME).is_none_or(|name| name != tag));
    entry.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
    index.manifests.push(entry);
}

/// Entry that `cosign save` wrote for `sha256-<hex>.sig` or `.att` of the saved image.
fn saved(tag: &str, index: &Index) -> Option<Descriptor> {
    let (name, suffix) = tag.rsplit_once('.')?;
    let wanted = match suffix {
        "sig" => kind::SIGNATURES,
        "att" => kind::ATTESTATIONS,
        _ => return None,
    };
    let has =
        |d: &&Descriptor, k: &str| d.annotations.get(kind::ANNOTATION).is_some_and(|v| v == k);
    let is_image = |d: &&Descriptor| has(d, kind::IMAGE) || has(d, kind::IMAGE_INDEX);
    let image = index.manifests.iter().find(is_image)?;
    let mine = image.digest.to_string().replacen(':', "-", 1) == name;
    index.manifests.iter().find(|d| mine && has(d, wanted)).cloned()
}

/// Returns `entry` with the `kind` of the entry that `cosign save` wrote for the tag, and removes
/// the latter.
fn in_place_of_saved(index: &mut Index, tag: &str, mut entry: Descriptor) -> Descriptor {
    if let Some(old) = saved(tag, index) {
        index.manifests.retain(|d| *d != old);
        entry.annotations.extend(old.annotations);
    }
    entry
}

/// Media type guessed from the fields of a manifest that does not state one.
fn guess(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Parts {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
    }
    let parts: Parts = serde_json::from_slice(bytes).ok()?;
    let by_parts = match (&parts.manifests, &parts.layers) {
        (Some(_), None) => Some(media_type::OCI_INDEX.to_owned()),
        (None, Some(_)) => Some(media_type::OCI_MANIFEST.to_owned()),
        _ => None,
    };
    let own = parts.media_type.filter(|t| is_index(t) || t.contains("manifest"));
    own.or(by_parts)
}
