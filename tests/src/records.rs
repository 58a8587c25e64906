//! The decision records of a gate: every decision that it made is replayed when it ends, and must
//! be the same.

use std::path::Path;

use tempfile::TempDir;

use crate::programs::Sandbox;

/// A folder for the records of one gate.
pub struct Records(TempDir);

impl Records {
    /// An empty folder.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The arguments of `sealgate serve` that write records there.
    pub fn arguments(&self) -> [String; 2] {
        ["--record-dir".to_owned(), self.path().display().to_string()]
    }

    /// The number of records.
    pub fn count(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(self.path()) else { return 0 };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.ends_with(".decision.json")).count()
    }

    /// Replays all of them from the records alone.
    fn replay(&self) -> Result<(), String> {
        if self.count() == 0 {
            return Ok(());
        }
        let path = self.path().display().to_string();
        let run = Sandbox::new().sealgate(&["replay", "--output", "json", &path]);
        if run.code == 0 { Ok(()) } else { Err(run.report()) }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        if let Err(report) = self.replay()
            && !std::thread::panicking()
        {
            panic!("a decision is not the same when it is replayed: {report}");
        }
    }
}
