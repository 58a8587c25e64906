//! Scans of a folder: its YAML and JSON files, bounded, with a cheap check that nothing changed.
//!
//! Symbolic links are followed (a mounted ConfigMap consists of them); hidden files, files that do
//! not end in `.yaml`, `.yml` or `.json`, and folders below are not read, as with `kubectl apply -f
//! DIR`. A folder with the name of a policy file is a mistake to report, not a file that was deleted:
//! a container runtime makes one where the file to mount is missing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Bounds of a folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) files: usize,
    pub(super) file_bytes: u64,
    pub(super) folder_bytes: u64,
    /// The age from which a file is read. A younger one may still be being written; it is read by
    /// the next scan.
    pub(super) settle: Duration,
}

/// A file of a scan.
#[derive(Clone, Debug)]
pub(super) struct ScannedFile {
    stamp: Option<Stamp>,
    /// True if there is a version that is too young to be read.
    pub(super) young: bool,
    /// The text, or the reason why it could not be read.
    pub(super) text: Result<Arc<str>, String>,
}

/// The problem of a new file that is too young to be read.
pub(super) const BEING_WRITTEN: &str = "the file is being written";

/// The metadata that change when a file is written: cheaper to read than its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A scan of a folder: its files by name.
pub(super) type Scan = BTreeMap<String, ScannedFile>;

impl Default for Bounds {
    fn default() -> Self {
        Self {
            files: 2000,
            file_bytes: 1 << 20,
            folder_bytes: 32 << 20,
            settle: Duration::from_millis(200),
        }
    }
}

/// Scans `folder` again. Files whose stamp is as in `before` are not read again.
///
/// # Errors
/// A text when the folder as a whole cannot be read or is too large.
pub(super) fn scan(
    folder: &Path,
    before: &Scan,
    bounds: &Bounds,
    now: SystemTime,
) -> Result<Scan, String> {
    let mut scan = Scan::new();
    let mut total = 0;
    for name in names(folder, bounds)? {
        let Some(file) = scan_file(&folder.join(&name), before.get(&name), bounds, now) else {
            continue;
        };
        total += file.text.as_ref().map_or(0, |text| text.len() as u64);
        if total > bounds.folder_bytes {
            return Err(format!("more than {} bytes of policies", bounds.folder_bytes));
        }
        scan.insert(name, file);
    }
    Ok(scan)
}

fn names(folder: &Path, bounds: &Bounds) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let mut names = Vec::new();
    for (count, entry) in entries.enumerate() {
        // Other files count, too: reading a folder must end.
        if count >= bounds.files * 4 {
            return Err(format!("more than {} entries", bounds.files * 4));
        }
        let name = entry.map_err(|error| error.to_string())?.file_name();
        match name.into_string() {
            Ok(name) if is_policy_file(&name) => names.push(name),
            Ok(_) => {}
            Err(name) => {
                let name = name.to_string_lossy();
                if is_policy_file(&name) {
                    return Err(format!("a file name that is not UTF-8: {name}"));
                }
            }
        }
        if names.len() > bounds.files {
            return Err(format!("more than {} policy files", bounds.files));
        }
    }
    names.sort();
    Ok(names)
}

fn is_policy_file(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    !name.starts_with('.') && matches!(ending, Some("yaml" | "yml" | "json"))
}

/// The file at `path`; `None` if it does not exist.
fn scan_file(
    path: &Path,
    before: Option<&ScannedFile>,
    bounds: &Bounds,
    now: SystemTime,
) -> Option<ScannedFile> {
    let file = match open(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Some(ScannedFile::unreadable("not a regular file".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link(path) => return None,
        Err(error) => return Some(ScannedFile::unreadable(error.to_string())),
    };
    let (file, metadata) = file;
    let stamp = Stamp::of(&metadata);
    if let Some(before) = before.filter(|before| before.stamp == Some(stamp)) {
        return Some(before.clone());
    }
    let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
    if age.is_some_and(|age| age < bounds.settle) {
        // Without its stamp, so that the next scan reads it.
        let before =
            before.cloned().unwrap_or_else(|| ScannedFile::unreadable(BEING_WRITTEN.to_owned()));
        return Some(ScannedFile { stamp: None, young: true, ..before });
    }
    let text = read(file, bounds.file_bytes);
    Some(ScannedFile { stamp: Some(stamp), young: false, text })
}

impl ScannedFile {
    fn unreadable(why: String) -> Self {
        Self { stamp: None, young: false, text: Err(why) }
    }
}

/// A regular file, opened without waiting for the other end of a pipe.
fn open(path: &Path) -> io::Result<Option<(File, fs::Metadata)>> {
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata)))
}

/// A link to nothing is a mistake to report, not a file that was deleted.
fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

fn read(file: File, limit: u64) -> Result<Arc<str>, String> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("larger than {limit} bytes"));
    }
    String::from_utf8(bytes).map(Arc::from).map_err(|_| "not UTF-8 text".to_owned())
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        Bounds { settle: Duration::ZERO, ..Bounds::default() }
    }

    fn texts(folder: &Path) -> Vec<(String, String)> {
        let scan = scan(folder, &Scan::new(), &bounds(), SystemTime::now()).unwrap();
        scan.into_iter().map(|(name, file)| (name, format!("{:?}", file.text))).collect()
    }

    #[test]
    fn reads_what_kubectl_would_and_follows_the_links_of_a_mounted_config_map() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("..2026_01_01")).unwrap();
        fs::write(at("..2026_01_01/a.yaml"), "one").unwrap();
        std::os::unix::fs::symlink("..2026_01_01", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/a.yaml", at("a.yaml")).unwrap();
        fs::write(at("b.json"), "two").unwrap();
        fs::write(at(".hidden.yaml"), "no").unwrap();
        fs::write(at("README.md"), "no").unwrap();
        fs::create_dir(at("sub.yaml")).unwrap();
        assert_eq!(
            texts(folder.path()),
            [
                ("a.yaml".to_owned(), "Ok(\"one\")".to_owned()),
                ("b.json".to_owned(), "Ok(\"two\")".to_owned()),
                ("sub.yaml".to_owned(), "Err(\"not a regular file\")".to_owned()),
            ]
        );
    }

    #[test]
    fn a_link_to_nothing_is_a_problem_and_bounds_hold() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("gone", at("a.yaml")).unwrap();
        fs::write(at("big.yaml"), "x".repeat(101)).unwrap();
        fs::write(at("latin.yaml"), [0xe4]).unwrap();
        let bounds = Bounds { file_bytes: 100, ..bounds() };
        let seen = scan(folder.path(), &Scan::new(), &bounds, SystemTime::now()).unwrap();
        let problems: Vec<_> = seen.values().filter_map(|f| f.text.as_ref().err()).collect();
        assert_eq!(problems.len(), 3, "{problems:?}");
        let few = Bounds { files: 2, ..bounds };
        assert!(scan(folder.path(), &Scan::new(), &few, SystemTime::now()).is_err());
        let small = Bounds { folder_bytes: 10, file_bytes: 1000, ..bounds };
        assert!(scan(folder.path(), &Scan::new(), &small, SystemTime::now()).is_err());
        assert!(scan(&at("nowhere"), &Scan::new(), &bounds, SystemTime::now()).is_err());
    }

    #[test]
    fn a_file_that_is_being_written_keeps_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "old").unwrap();
        let later = SystemTime::now() + Duration::from_secs(60);
        let settle = Bounds { settle: Duration::from_secs(5), ..bounds() };
        let first = scan(folder.path(), &Scan::new(), &settle, later).unwrap();
        assert_eq!(first["a.yaml"].text.as_deref(), Ok("old"));
        fs::write(&path, "new").unwrap();
        let young = scan(folder.path(), &first, &settle, SystemTime::now()).unwrap();
        assert_eq!(young["a.yaml"].text.as_deref(), Ok("old"));
        assert!(young["a.yaml"].young && !first["a.yaml"].young);
        let settled = scan(folder.path(), &young, &settle, later).unwrap();
        assert_eq!(settled["a.yaml"].text.as_deref(), Ok("new"));
    }
}
