//! The files of a folder, each with its last good version and the problem of the present one.
//!
//! The content of a file is a `D`, whose format the caller defines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::definitions::Definitions;
use super::scan::{self, Bounds, Scan};

/// Parses the text of a file.
type Parse<D> = dyn Fn(&str) -> Result<D, String> + Send;

/// Lists the definitions in the content of a file.
type Define<D> = dyn Fn(&D) -> Definitions + Send;

/// The format of files.
pub(super) struct FileFormat<D> {
    pub(super) parse: Box<Parse<D>>,
    pub(super) define: Box<Define<D>>,
}

/// A folder that is scanned again and again.
pub(crate) struct Folder<D> {
    path: PathBuf,
    format: FileFormat<D>,
    bounds: Bounds,
    scan: Scan,
    files: BTreeMap<String, File<D>>,
    /// The reason why the folder as a whole could not be read at the last scan.
    unreadable: Option<String>,
}

/// A file.
struct File<D> {
    /// The text that was parsed last, or the reason why it could not be read.
    text: Result<Arc<str>, String>,
    last_good: Option<Arc<D>>,
    /// The problem of the present version.
    problem: Option<String>,
}

/// A file, or a folder, that cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileProblem {
    /// The name of the file, or the path of the folder.
    pub(super) file: String,
    pub(super) reason: String,
    /// True if an older version of it is enforced in the meantime.
    pub(super) has_good: bool,
}

impl<D> Folder<D> {
    /// A folder that was not scanned yet.
    pub(super) fn new(path: &Path, format: FileFormat<D>, bounds: Bounds) -> Self {
        let unreadable = Some("it has not been read yet".to_owned());
        let (scan, files) = (Scan::new(), BTreeMap::new());
        Self { path: path.to_owned(), format, bounds, scan, files, unreadable }
    }

    /// Scans again. Returns whether anything is different: a version, or a problem.
    pub(super) fn refresh(&mut self, now: SystemTime) -> bool {
        match scan::scan(&self.path, &self.scan, &self.bounds, now) {
            Err(problem) => self.unreadable.replace(problem.clone()) != Some(problem),
            Ok(scan) => {
                let reappeared = self.unreadable.take().is_some();
                let changed = self.update(&scan);
                self.scan = scan;
                reappeared || changed
            }
        }
    }

    /// Returns whether a file has a version that is too young to be read: worth another scan soon.
    pub(super) fn has_young(&self) -> bool {
        self.scan.values().any(|file| file.young)
    }

    /// The good version of every file that has one, by file name.
    pub(super) fn good(&self) -> impl Iterator<Item = (&str, &Arc<D>)> + Clone {
        self.files.iter().filter_map(|(name, file)| Some((name.as_str(), file.last_good.as_ref()?)))
    }

    /// The problems of the folder and of its files.
    pub(super) fn problems(&self) -> Vec<FileProblem> {
        let of_folder = self.unreadable.iter().map(|reason| FileProblem {
            file: self.path.display().to_string(),
            reason: reason.clone(),
            has_good: !self.files.is_empty(),
        });
        let of_files = self.files.iter().filter_map(|(name, file)| {
            let (reason, has_good) = (file.problem.clone()?, file.last_good.is_some());
            Some(FileProblem { file: name.clone(), reason, has_good })
        });
        of_folder.chain(of_files).collect()
    }

    fn update(&mut self, scan: &Scan) -> bool {
        let before = self.files.len();
        self.files.retain(|name, _| scan.contains_key(name));
        let mut changed = self.files.len() != before;
        let mut open: Vec<&String> = scan
            .iter()
            .filter(|(name, scanned)| {
                self.files.get(*name).is_none_or(|file| file.text != scanned.text)
            })
            .map(|(name, _)| name)
            .collect();
        changed |= !open.is_empty();
        if changed {
            // A name may have become free, or been taken, by another file's change.
            open.extend(scan.keys().filter(|name| self.has_problem(name)));
            open.sort();
            open.dedup();
        }
        // A policy may move between files that changed together: try as long as that helps.
        while !open.is_empty() {
            let left = open.len();
            open.retain(|name| {
                scan.get(*name).is_some_and(|scanned| !self.parse(name, &scanned.text))
            });
            if open.len() == left {
                break;
            }
        }
        changed
    }

    fn has_problem(&self, name: &str) -> bool {
        self.files.get(name).is_some_and(|file| file.problem.is_some())
    }

    /// Parses one file; `false` if it cannot be used.
    fn parse(&mut self, name: &str, text: &Result<Arc<str>, String>) -> bool {
        let parsed = text.clone().and_then(|text| {
            let content = (self.format.parse)(&text)?;
            self.check_names(name, &content)?;
            self.check_follows(name, &content)?;
            Ok(Arc::new(content))
        });
        let file = self.files.entry(name.to_owned()).or_insert_with(|| File {
            text: text.clone(),
            last_good: None,
            problem: None,
        });
        file.text.clone_from(text);
        file.problem = None;
        match parsed {
            Ok(content) => file.last_good = Some(content),
            Err(problem) => file.problem = Some(problem),
        }
        file.problem.is_none()
    }

    /// Checks that no other file defines an object of this one.
    fn check_names(&self, name: &str, content: &D) -> Result<(), String> {
        let defined = (self.format.define)(content);
        for (other, content) in self.good().filter(|(other, _)| *other != name) {
            let there = (self.format.define)(content);
            if let Some(name) = there.names().find(|name| defined.names().any(|own| own == *name)) {
                return Err(format!("{name} is already defined in {other}"));
            }
        }
        Ok(())
    }

    /// Checks that the file did not become something else, which is a mistake.
    fn check_follows(&self, name: &str, content: &D) -> Result<(), String> {
        let last_good = self.files.get(name).and_then(|file| file.last_good.as_deref());
        match last_good {
            Some(before) => {
                let before = (self.format.define)(before);
                (self.format.define)(content).check_follows(&before)
            }
            None => Ok(()),
        }
    }
}

impl FileProblem {
    /// Returns whether the problem will be gone in a moment.
    pub(super) fn is_transient(&self) -> bool {
        self.reason == scan::BEING_WRITTEN
    }
}

impl std::fmt::Display for FileProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.reason)?;
        if self.has_good {
            write!(f, " (its last good version stays in force)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
