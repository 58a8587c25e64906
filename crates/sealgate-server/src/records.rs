//! Decision records in a folder: one JSON file for each evaluated admission, bounded in total size.
//! The oldest are deleted first. Reviews that are answered without an evaluation are only logged.
//! `sealgate replay` reads the records.
//!
//! An admission never waits for a disk: records go through a bounded queue to a thread of their
//! own, and one that finds the queue full is dropped, counted and logged.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use sealgate_core::digest::Digest;
use sealgate_engine::admit::ImageUse;
use sealgate_engine::ports::AuditSink;
use sealgate_engine::record::{Decided, DecisionRecord, ImageRecord};
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
/// The largest number of records in the queue.
const MAX_RECORDS: usize = 256;
/// The age from which the partial file of another process is one that was left behind.
const ABANDONED: Duration = Duration::from_secs(60);

/// A folder of decision records. Dropping it writes the queue to the disk.
pub struct RecordFolder {
    sender: Option<SyncSender<Entry>>,
    queued: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
    metrics: Arc<Metrics>,
}

/// A record on its way to the disk, with the bytes that it is counted as in the queue.
struct Entry {
    record: Box<DecisionRecord>,
    weight: u64,
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
        let (sender, receiver) = sync_channel(MAX_RECORDS);
        let queued = Arc::<AtomicU64>::default();
        let thread = std::thread::Builder::new().name("records".to_owned());
        let (left, counted) = (Arc::clone(&queued), Arc::clone(&metrics));
        let writer = thread.spawn(move || folder.write_all(&receiver, &left, &counted))?;
        Ok(Self { sender: Some(sender), queued, writer: Some(writer), metrics })
    }

    fn send(&self, entry: Entry) -> Result<(), &'static str> {
        let weight = entry.weight;
        if self.queued.fetch_add(weight, Ordering::Relaxed) + weight > MAX_QUEUED {
            self.queued.fetch_sub(weight, Ordering::Relaxed);
            return Err("the queue is full");
        }
        let sender = self.sender.as_ref().ok_or("the writer has stopped")?;
        sender.try_send(entry).map_err(|error| {
            self.queued.fetch_sub(weight, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => "the queue is full",
                TrySendError::Disconnected(_) => "the writer has stopped",
            }
        })
    }
}

impl AuditSink for RecordFolder {
    /// Clones the decision; facts and criteria are shared. The writer serialises it.
    fn record(&self, decided: &Decided<'_>) {
        let record = Box::new(DecisionRecord::from(decided));
        let weight = weight(&record);
        if let Err(why) = self.send(Entry { record, weight }) {
            self.metrics.record("dropped");
            warn!(uid = decided.admission.uid, why, "decision not recorded");
        }
    }
}

/// An estimate of the memory that a queued record holds, in bytes. Facts and criteria are shared with
/// the gate; [`MAX_RECORDS`] bounds those that nothing else holds any more.
fn weight(record: &DecisionRecord) -> u64 {
    let workload = &record.admission.workload;
    let of_use =
        |image: &ImageUse| 512 + 2 * (image.path.len() + image.pointer.len() + image.image.len());
    let of_record = |image: &ImageRecord| {
        let ImageRecord { path, image, subject, rule, authorities, signers, codes, .. } = image;
        let lists = [authorities, signers, codes].into_iter().flatten().map(|it| it.len() + 24);
        256 + path.len() + image.len() + subject.len() + rule.len() + lists.sum::<usize>()
    };
    let unchanged = workload.unchanged.iter();
    let uses = workload.images.iter().chain(&workload.restarted);
    let uses: usize = uses.chain(unchanged.clone().flat_map(|it| &it.images)).map(of_use).sum();
    let labels = workload.scope.labels.iter().chain(&workload.pod_labels);
    let labels = labels.chain(unchanged.flat_map(|it| &it.labels));
    let labels: usize = labels.map(|(key, value)| 64 + key.len() + value.len()).sum();
    let texts = workload.pull_secrets.iter().chain(&record.warnings);
    let texts = texts.chain([&record.message, &record.admission.user, &record.admission.uid]);
    let texts: usize = texts.map(|text| 24 + text.len()).sum();
    let images: usize = record.images.iter().map(of_record).sum();
    (4096 + uses + labels + texts + images) as u64
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
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Another process with the same folder may have renamed or deleted it.
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_file() {
                continue;
            }
            if name.ends_with(PARTIAL) {
                // Left by a process that was killed.
                let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
                if age.is_some_and(|age| age > ABANDONED) {
                    let _ = fs::remove_file(entry.path());
                }
            } else if name.ends_with(SUFFIX) {
                files.push((name, metadata.len()));
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
            let Entry { mut record, weight } = entry;
            let written = self.write_record(&mut record);
            drop(record);
            queued.fetch_sub(weight, Ordering::Relaxed);
            match written {
                Ok(()) => metrics.record("written"),
                Err(error) => {
                    metrics.record("failed");
                    warn!(%error, folder = %self.path.display(), "decision not recorded");
                }
            }
        }
    }

    /// Writes a record; one that is too large is reduced to its decision.
    fn write_record(&mut self, record: &mut DecisionRecord) -> std::io::Result<()> {
        let limit = self.limit.min(MAX_RECORD);
        let json = match bounded_json(record, limit) {
            Some(json) => json,
            None => {
                record.reduce();
                bounded_json(record, limit).ok_or_else(|| {
                    std::io::Error::other("the record is larger than the limit of the folder")
                })?
            }
        };
        let name = name(record);
        match self.write(&name, &json) {
            // The disk is full before the folder is: the oldest records make room.
            Err(error) if is_full(&error) && !self.files.is_empty() => {
                self.shrink_to(self.size.saturating_sub(2 * json.len() as u64));
                self.write(&name, &json)
            }
            other => other,
        }
    }

    fn write(&mut self, name: &str, json: &[u8]) -> std::io::Result<()> {
        let size = json.len() as u64;
        if size > self.limit {
            return Err(std::io::Error::other("the record is larger than the limit of the folder"));
        }
        if !self.make_room(size) {
            return Err(std::io::Error::other("old records cannot be deleted"));
        }
        let partial = self.path.join(format!("{name}.partial"));
        let written =
            write_new(&partial, json).and_then(|()| fs::rename(&partial, self.path.join(name)));
        if let Err(error) = written {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        self.size += size;
        self.files.push_back((name.to_owned(), size));
        Ok(())
    }

    /// Deletes the oldest records until `size` more bytes are within the limit; false if it cannot.
    fn make_room(&mut self, size: u64) -> bool {
        self.shrink_to(self.limit.saturating_sub(size))
    }

    /// Deletes the oldest records until all together have at most `size` bytes; false if it cannot.
    fn shrink_to(&mut self, size: u64) -> bool {
        let mut kept = VecDeque::new();
        while self.size > size {
            let Some((name, freed)) = self.files.pop_front() else { break };
            match fs::remove_file(self.path.join(&name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    warn!(%error, name, "old decision record not deleted");
                    kept.push_back((name, freed));
                }
                _ => self.size = self.size.saturating_sub(freed),
            }
        }
        kept.append(&mut self.files);
        self.files = kept;
        self.size <= size
    }
}

/// Records name users and images. An existing file or link is never written to.
fn write_new(path: &Path, json: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(json)
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// The JSON of a record, unless it is longer than `limit` bytes.
fn bounded_json(record: &DecisionRecord, limit: u64) -> Option<Vec<u8>> {
    let mut json = Bounded { bytes: Vec::new(), limit };
    // Records are plain text and lists: nothing but the bound makes writing them fail.
    serde_json::to_writer(&mut json, record).ok().map(|()| json.bytes)
}

/// Bytes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: u64,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > self.limit {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Two decisions of one review in the same microsecond have names of their own.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// Sorts by time. The uid comes from the request: its hash is a file name, whatever it is.
fn name(record: &DecisionRecord) -> String {
    let time = record.time.strftime("%Y%m%dT%H%M%S%.6fZ");
    let uid =
        Digest::of(record.admission.uid.as_bytes()).hex().chars().take(16).collect::<String>();
    let kind = if record.allowed { "allow" } else { "deny" };
    let unique = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    format!("{time}-{unique:06}-{kind}-{uid}{SUFFIX}")
}

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
            records.write(&format!("{number}{SUFFIX}"), b"0123456789").unwrap();
        }
        let expected = ["3.decision.json", "4.decision.json", "notes.txt"];
        assert_eq!(names(at.path()), expected);
        let again = Folder::open(at.path(), 15).unwrap();
        assert_eq!((again.size, again.files.len()), (10, 1));
        assert_eq!(names(at.path()), ["4.decision.json", "notes.txt"]);
    }

    #[test]
    fn a_record_that_is_too_large_is_reduced_to_the_decision() {
        let at = folder();
        let mut records = Folder::open(at.path(), 4096).unwrap();
        let image = |number: usize| ImageUse {
            path: format!("spec.containers[{number}].image"),
            pointer: String::new(),
            image: "app".to_owned(),
        };
        let images: Vec<ImageRecord> = (0..100)
            .map(|number| ImageRecord {
                path: image(number).path,
                image: "app".to_owned(),
                subject: String::new(),
                rule: String::new(),
                mode: "".into(),
                outcome: "no-match".into(),
                denies: true,
                authorities: Vec::new(),
                signers: Vec::new(),
                codes: Vec::new(),
            })
            .collect();
        let mut record = DecisionRecord {
            schema: sealgate_engine::record::SCHEMA.to_owned(),
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            admission: sealgate_policy::workload::Admission {
                uid: "../u".to_owned(),
                user: "ada".to_owned(),
                dry_run: false,
                workload: Default::default(),
            },
            allowed: false,
            message: "denied".to_owned(),
            warnings: Vec::new(),
            images,
            policies: String::new(),
            no_match: Default::default(),
            evaluated: Default::default(),
            reduced: false,
            micros: 1,
        };
        records.write_record(&mut record).unwrap();
        let [name] = &names(at.path())[..] else { panic!("one record") };
        let read = fs::read(at.path().join(name)).unwrap();
        let read: DecisionRecord = serde_json::from_slice(&read).unwrap();
        assert!(read.reduced && read.replay().is_err());
        assert_eq!((read.message.as_str(), read.images.len()), ("denied", 0));
    }

    #[test]
    fn a_record_that_is_larger_than_the_folder_displaces_nothing() {
        let at = folder();
        let mut records = Folder::open(at.path(), 10).unwrap();
        records.write("1.decision.json", b"0123456789").unwrap();
        assert!(records.write("2.decision.json", b"01234567890").is_err());
        assert_eq!(names(at.path()), ["1.decision.json"]);
    }
}
