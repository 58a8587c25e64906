//! Decision records in a folder: one JSON file for each decision, of bounded size together. The
//! oldest are deleted first. `sealgate replay` reads them.
//!
//! An admission never waits for a disk: records go through a bounded queue to a thread of their
//! own, and one that finds the queue full is dropped, counted and logged.

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use sealgate_core::digest::Digest;
use sealgate_engine::ports::AuditSink;
use sealgate_engine::record::{Decided, DecisionRecord};
use tracing::{info, warn};

use crate::metrics::Metrics;

/// The end of a record's file name. Other files in the folder are left alone.
const SUFFIX: &str = ".decision.json";
/// The end of the name of a record that is being written.
const PARTIAL: &str = ".decision.json.partial";
/// The largest record that is kept, in bytes.
const MAX_RECORD: u64 = 16 << 20;
/// The largest number of bytes in the queue.
const MAX_QUEUED: u64 = 32 << 20;

/// A folder of decision records. Dropping it writes the queue to the disk.
pub struct RecordFolder {
    sender: Option<Sender<Entry>>,
    queued: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
    metrics: Arc<Metrics>,
}

/// A record on its way to the disk.
struct Entry {
    name: String,
    json: Vec<u8>,
}

/// The folder as the writer knows it.
struct Folder {
    path: PathBuf,
    /// The largest size of all records together, in bytes.
    limit: u64,
    /// Names and sizes, the oldest first.
    files: VecDeque<(String, u64)>,
    size: u64,
}

impl RecordFolder {
    /// Keeps records of at most `limit` bytes together in the folder `path`, which is created if
    /// it does not exist. Records of an earlier process count.
    ///
    /// # Errors
    /// The folder cannot be created or read.
    pub fn open(path: &Path, limit: u64, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let folder = Folder::open(path, limit)?;
        info!(folder = %path.display(), records = folder.files.len(), bytes = folder.size, "records");
        let (sender, receiver) = channel();
        let queued = Arc::<AtomicU64>::default();
        let thread = std::thread::Builder::new().name("records".to_owned());
        let (left, counted) = (Arc::clone(&queued), Arc::clone(&metrics));
        let writer = thread.spawn(move || folder.write_all(&receiver, &left, &counted))?;
        Ok(Self { sender: Some(sender), queued, writer: Some(writer), metrics })
    }

    fn send(&self, entry: Entry) -> Result<(), &'static str> {
        let size = entry.json.len() as u64;
        if size > MAX_RECORD {
            return Err("the record is too large");
        }
        if self.queued.fetch_add(size, Ordering::Relaxed) + size > MAX_QUEUED {
            self.queued.fetch_sub(size, Ordering::Relaxed);
            return Err("the queue is full");
        }
        let sender = self.sender.as_ref().ok_or("the writer has stopped")?;
        sender.send(entry).map_err(|_| "the writer has stopped")
    }
}

impl AuditSink for RecordFolder {
    fn record(&self, decided: &Decided<'_>) {
        let record = DecisionRecord::from(decided);
        // Records are plain text and lists: writing them does not fail.
        let json = serde_json::to_vec(&record).unwrap_or_default();
        if let Err(why) = self.send(Entry { name: name(&record), json }) {
            self.metrics.record("dropped");
            warn!(uid = record.admission.uid, why, "decision not recorded");
        }
    }
}

impl Drop for RecordFolder {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(writer) = self.writer.take() {
            // It has logged why, if it panicked.
            let _ = writer.join();
        }
    }
}

impl Folder {
    fn open(path: &Path, limit: u64) -> std::io::Result<Self> {
        fs::create_dir_all(path)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !entry.file_type()?.is_file() {
                continue;
            }
            if name.ends_with(PARTIAL) {
                // Left by a process that was killed.
                fs::remove_file(entry.path())?;
            } else if name.ends_with(SUFFIX) {
                files.push((name, entry.metadata()?.len()));
            }
        }
        // Names begin with the time.
        files.sort();
        let size = files.iter().map(|(_, size)| size).sum();
        let mut folder = Self { path: path.to_owned(), limit, files: files.into(), size };
        folder.make_room(0);
        Ok(folder)
    }

    fn write_all(mut self, receiver: &Receiver<Entry>, queued: &AtomicU64, metrics: &Metrics) {
        for entry in receiver {
            queued.fetch_sub(entry.json.len() as u64, Ordering::Relaxed);
            match self.write(&entry) {
                Ok(()) => metrics.record("written"),
                Err(error) => {
                    metrics.record("failed");
                    warn!(%error, folder = %self.path.display(), "decision not recorded");
                }
            }
        }
    }

    fn write(&mut self, entry: &Entry) -> std::io::Result<()> {
        let size = entry.json.len() as u64;
        if size > self.limit {
            return Err(std::io::Error::other("the record is larger than the limit of the folder"));
        }
        self.make_room(size);
        let partial = self.path.join(format!("{}.partial", entry.name));
        let mut file = fs::OpenOptions::new();
        // Records name users and images.
        let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(&entry.json)?;
        drop(file);
        fs::rename(&partial, self.path.join(&entry.name))?;
        self.size += size;
        self.files.push_back((entry.name.clone(), size));
        Ok(())
    }

    /// Deletes the oldest records until `size` more bytes are within the limit.
    fn make_room(&mut self, size: u64) {
        while self.size + size > self.limit {
            let Some((name, freed)) = self.files.pop_front() else { return };
            // A file that somebody else has deleted is gone all the same.
            let _ = fs::remove_file(self.path.join(name));
            self.size -= freed;
        }
    }
}

/// Sorts by time. The uid comes from the request: its hash is a file name, whatever it is.
fn name(record: &DecisionRecord) -> String {
    let time = record.time.strftime("%Y%m%dT%H%M%S%.6fZ");
    let uid =
        Digest::of(record.admission.uid.as_bytes()).hex().chars().take(16).collect::<String>();
    let kind = if record.allowed { "allow" } else { "deny" };
    let unique = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    format!("{time}-{unique:06}-{kind}-{uid}{SUFFIX}")
}

/// Two decisions of one review in the same microsecond have names of their own.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn names(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_records_go_first_and_nothing_else_is_touched() {
        let at = folder();
        fs::write(at.path().join("notes.txt"), "mine").unwrap();
        let mut records = Folder::open(at.path(), 25).unwrap();
        for number in 0..5 {
            let entry = Entry { name: format!("{number}{SUFFIX}"), json: b"0123456789".to_vec() };
            records.write(&entry).unwrap();
        }
        let expected = ["3.decision.json", "4.decision.json", "notes.txt"];
        assert_eq!(names(at.path()), expected);
        let again = Folder::open(at.path(), 15).unwrap();
        assert_eq!((again.size, again.files.len()), (10, 1));
        assert_eq!(names(at.path()), ["4.decision.json", "notes.txt"]);
    }

    #[test]
    fn a_record_that_is_larger_than_the_folder_displaces_nothing() {
        let at = folder();
        let mut records = Folder::open(at.path(), 10).unwrap();
        let entry = |name: &str, json: &[u8]| Entry { name: name.to_owned(), json: json.to_vec() };
        records.write(&entry("1.decision.json", b"0123456789")).unwrap();
        assert!(records.write(&entry("2.decision.json", b"01234567890")).is_err());
        assert_eq!(names(at.path()), ["1.decision.json"]);
    }
}
