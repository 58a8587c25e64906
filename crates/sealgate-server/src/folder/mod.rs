//! Policies from a folder of files: what is good is kept, what is broken is told.
//!
//! A file that cannot be used never takes a policy away: its last good version stays, and the
//! problem is reported. Only deleting a file removes what was in it. What the files *mean* is
//! `D`, read by `sealgate-kube`; this module knows names, versions and problems only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use self::scan::{Bounds, Look};

mod assemble;
pub(crate) mod scan;
mod secrets;
mod source;

pub use secrets::FolderSecrets;
pub use source::{FolderOptions, follow};

/// A file's text to what it says.
type Parse<D> = dyn Fn(&str) -> Result<D, String> + Send;

/// A file's documents to what they define.
type Define<D> = dyn Fn(&D) -> Defined + Send;

/// How a file is read.
pub(crate) struct Reading<D> {
    pub(crate) parse: Box<Parse<D>>,
    pub(crate) defined: Box<Define<D>>,
}

/// What a file defines, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defined {
    /// Policies.
    pub(crate) policies: BTreeSet<String>,
    /// What policies rest on.
    pub(crate) roots: BTreeSet<String>,
    /// What else is read.
    pub(crate) others: BTreeSet<String>,
    /// What is not read.
    pub(crate) unread: BTreeSet<String>,
}

/// A folder that is looked at again and again.
pub(crate) struct Folder<D> {
    path: PathBuf,
    reading: Reading<D>,
    bounds: Bounds,
    look: Look,
    files: BTreeMap<String, Kept<D>>,
    /// Why the folder as a whole could not be read at the last look.
    unreadable: Option<String>,
}

/// One file: its last good version, and what is wrong with the present one.
struct Kept<D> {
    seen: Result<Arc<str>, String>,
    good: Option<Arc<D>>,
    problem: Option<String>,
}

/// Something in the folder that cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file's name, or the folder.
    pub(crate) file: String,
    pub(crate) what: String,
    /// Whether an older version of it is enforced meanwhile.
    pub(crate) has_good: bool,
}

impl<D> Folder<D> {
    /// A folder that was not looked at yet.
    pub(crate) fn new(path: &Path, reading: Reading<D>, bounds: Bounds) -> Self {
        let unreadable = Some("not read yet".to_owned());
        let (look, files) = (Look::new(), BTreeMap::new());
        Self { path: path.to_owned(), reading, bounds, look, files, unreadable }
    }

    /// Looks again. Says whether anything is different: a version, or a problem.
    pub(crate) fn refresh(&mut self, now: SystemTime) -> bool {
        match scan::look(&self.path, &self.look, &self.bounds, now) {
            Err(problem) => self.unreadable.replace(problem.clone()) != Some(problem),
            Ok(look) => {
                let reappeared = self.unreadable.take().is_some();
                let changed = self.take_over(&look);
                self.look = look;
                reappeared || changed
            }
        }
    }

    /// Whether a file has a version that is too young to be read: worth another look soon.
    pub(crate) fn has_young(&self) -> bool {
        self.look.values().any(|found| found.young)
    }

    /// The good version of every file that has one, by file name.
    pub(crate) fn good(&self) -> impl Iterator<Item = (&str, &Arc<D>)> + Clone {
        self.files.iter().filter_map(|(name, kept)| Some((name.as_str(), kept.good.as_ref()?)))
    }

    /// What cannot be used as it is.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let of_folder = self.unreadable.iter().map(|what| Problem {
            file: self.path.display().to_string(),
            what: what.clone(),
            has_good: !self.files.is_empty(),
        });
        let of_files = self.files.iter().filter_map(|(file, kept)| {
            let (file, what) = (file.clone(), kept.problem.clone()?);
            Some(Problem { file, what, has_good: kept.good.is_some() })
        });
        of_folder.chain(of_files).collect()
    }

    fn take_over(&mut self, look: &Look) -> bool {
        let before = self.files.len();
        self.files.retain(|name, _| look.contains_key(name));
        let mut changed = self.files.len() != before;
        let mut open: Vec<&String> = look
            .iter()
            .filter(|(name, found)| {
                self.files.get(*name).is_none_or(|kept| kept.seen != found.content)
            })
            .map(|(name, _)| name)
            .collect();
        changed |= !open.is_empty();
        if changed {
            // A name may have become free, or been taken, by another file's change.
            open.extend(look.keys().filter(|name| self.has_problem(name)));
            open.sort();
            open.dedup();
        }
        // A policy may move between files that changed together: try as long as that helps.
        while !open.is_empty() {
            let left = open.len();
            open.retain(|name| {
                look.get(*name).is_some_and(|found| !self.adopt(name, &found.content))
            });
            if open.len() == left {
                break;
            }
        }
        changed
    }

    fn has_problem(&self, name: &str) -> bool {
        self.files.get(name).is_some_and(|kept| kept.problem.is_some())
    }

    /// Takes over one file's content; `false` if it cannot be used.
    fn adopt(&mut self, name: &str, content: &Result<Arc<str>, String>) -> bool {
        let read = content.clone().and_then(|text| {
            let documents = (self.reading.parse)(&text)?;
            self.check_names(name, &documents)?;
            self.check_emptied(name, &documents)?;
            Ok(Arc::new(documents))
        });
        let kept = self.files.entry(name.to_owned()).or_insert_with(|| Kept {
            seen: content.clone(),
            good: None,
            problem: None,
        });
        kept.seen.clone_from(content);
        kept.problem = None;
        match read {
            Ok(documents) => kept.good = Some(documents),
            Err(problem) => kept.problem = Some(problem),
        }
        kept.problem.is_none()
    }

    fn check_names(&self, file: &str, documents: &D) -> Result<(), String> {
        let defined = (self.reading.defined)(documents);
        for (other, kept) in self.good().filter(|(other, _)| *other != file) {
            let there = (self.reading.defined)(kept);
            if let Some(name) = there.names().find(|name| defined.names().any(|own| own == *name)) {
                return Err(format!("{name} is already defined in {other}"));
            }
        }
        Ok(())
    }

    /// A file that defined something and is another thing now was not changed on purpose.
    fn check_emptied(&self, file: &str, documents: &D) -> Result<(), String> {
        let good = self.files.get(file).and_then(|kept| kept.good.as_deref());
        match good {
            Some(good) => {
                let good = (self.reading.defined)(good);
                (self.reading.defined)(documents).check_follows(&good)
            }
            None => Ok(()),
        }
    }
}

impl Defined {
    /// All that is read. Two files must not define the same name.
    fn names(&self) -> impl Iterator<Item = &String> {
        self.policies.iter().chain(&self.roots).chain(&self.others)
    }

    /// Whether this may be the next version of a file that defined `before`. Policies that are
    /// renamed or taken out of a file are; those that became something else are not.
    fn check_follows(&self, before: &Self) -> Result<(), String> {
        let advice = "delete the file to remove what it defined";
        if before.names().next().is_some() && self.names().next().is_none() {
            return Err(format!("nothing in it is read by this gate any more ({advice})"));
        }
        if !before.policies.is_empty() && self.policies.is_empty() {
            return Err(format!("no ClusterImagePolicy is in it any more ({advice})"));
        }
        let rules = |it: &Self| !it.policies.is_empty() || !it.roots.is_empty();
        if rules(before) && !rules(self) {
            return Err(format!("no TrustRoot is in it any more ({advice})"));
        }
        let lost = before.policies.difference(&self.policies);
        let lost = lost.chain(before.roots.difference(&self.roots)).next();
        let gained = self.unread.difference(&before.unread).next();
        if let (Some(lost), Some(gained)) = (lost, gained) {
            return Err(format!(
                "{lost} is not in it any more, but {gained}, which this gate does not read"
            ));
        }
        Ok(())
    }
}

impl Problem {
    /// Whether it will be gone in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        self.what == scan::IN_WRITING
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.what)?;
        if self.has_good {
            write!(f, " (its last good version is enforced)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
