//! The trust roots that policies name: the default root, and those of TrustRoot objects, refreshed
//! in the background.
//!
//! A root stays in use when a refresh fails, and the status of its object is `Stale`. An object
//! that cannot be used has no root, and policies that name it are undecidable. An object that is
//! edited is read anew; the root of its older version is no longer used.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::RootSource;
use sealgate_policy::cip::compile::{Condition, RootRef};
use sealgate_policy::cip::trust_root::Spec;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::ports::{Clock, ReadRoot, RootRepositories, RootRepository};

/// The intervals at which TUF repositories are read.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The interval between two readings of a repository.
    refresh: Duration,
    /// The first wait after a failure; it doubles each time.
    retry: Duration,
    /// The longest wait after a failure.
    longest: Duration,
    /// The time limit of one reading.
    timeout: Duration,
}

const USUAL: Pace = Pace {
    refresh: Duration::from_secs(6 * 3600),
    retry: Duration::from_secs(5),
    longest: Duration::from_secs(3600),
    timeout: Duration::from_secs(60),
};

/// A trust root and its source, or the reason why there is none.
pub type OwnRoot = Result<(Arc<TrustRoot>, RootSource), Fault>;

/// TrustRoot objects by name: the parsed object, or the reason why it cannot be used.
pub type Objects = BTreeMap<String, Result<Spec, String>>;

/// The trust roots, shared by all policies.
pub struct Roots {
    own: OwnRoot,
    repositories: Arc<dyn RootRepositories>,
    clock: Arc<dyn Clock>,
    pace: Pace,
    kept: Mutex<BTreeMap<String, Kept>>,
    version: watch::Sender<u64>,
}

/// One TrustRoot object.
struct Kept {
    object: Result<Spec, String>,
    root: Option<Arc<TrustRoot>>,
    /// The time of the last successful reading; for repositories only.
    read: Option<Timestamp>,
    problem: Option<Problem>,
    /// The task that refreshes the repository; it ends with the object.
    reader: Option<Reader>,
}

/// The reason why a root is missing or stale.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    reason: &'static str,
    message: String,
}

/// A task that is aborted on drop.
struct Reader(AbortHandle);

impl Roots {
    /// The default root, and no others yet.
    pub fn new(
        own: OwnRoot,
        repositories: Arc<dyn RootRepositories>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Self::at_pace(own, repositories, clock, USUAL)
    }

    fn at_pace(
        own: OwnRoot,
        repositories: Arc<dyn RootRepositories>,
        clock: Arc<dyn Clock>,
        pace: Pace,
    ) -> Arc<Self> {
        let (version, _) = watch::channel(0);
        Arc::new(Self { own, repositories, clock, pace, kept: Mutex::default(), version })
    }

    /// Replaces the TrustRoot objects. Repositories are read in the background; until then their
    /// objects have no root. Must be called in a Tokio runtime.
    pub fn set(self: &Arc<Self>, objects: &Objects) {
        let mut kept = self.lock();
        kept.retain(|name, _| objects.contains_key(name));
        for (name, object) in objects {
            if kept.get(name).is_none_or(|kept| kept.object != *object) {
                kept.insert(name.clone(), self.start(name, object));
            }
        }
    }

    /// The root that a policy names.
    pub fn get(&self, which: &RootRef) -> OwnRoot {
        let RootRef::Named(name) = which else { return self.own.clone() };
        let fault = |kind, detail: String| Fault::new(kind, format!("TrustRoot {name}"), detail);
        match self.lock().get(name) {
            None => Err(fault(FaultKind::Missing, format!("trustRootRef {name} not found"))),
            Some(Kept { root: Some(root), .. }) => Ok((Arc::clone(root), RootSource::Configured)),
            Some(Kept { problem, .. }) => {
                let why = problem.as_ref().map_or("it is not read yet", |p| p.message.as_str());
                Err(fault(FaultKind::Missing, format!("TrustRoot {name}: {why}")))
            }
        }
    }

    /// The conditions for the status of a TrustRoot object.
    pub fn conditions(&self, name: &str) -> Vec<Condition> {
        self.lock().get(name).map(Kept::conditions).unwrap_or_default()
    }

    /// A receiver that is notified when the results of [`Roots::get`] or [`Roots::conditions`] may
    /// have changed without a call of [`Roots::set`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, name: &str, object: &Result<Spec, String>) -> Kept {
        let object = object.clone();
        let mut kept = Kept { object, root: None, read: None, problem: None, reader: None };
        match &kept.object {
            Err(why) => kept.problem = Some(Problem::new("Invalid", why)),
            Ok(Spec { sigstore_keys: Some(keys), .. }) => match keys.trust_root() {
                Ok(root) => kept.root = Some(Arc::new(root)),
                Err(error) => kept.problem = Some(Problem::new("Invalid", &error.to_string())),
            },
            Ok(spec) => match self.repositories.open(spec) {
                Ok(repository) => {
                    kept.problem = Some(Problem::new("Pending", "it is not read yet"));
                    let (roots, name) = (Arc::downgrade(self), name.to_owned());
                    let work = read_again_and_again(roots, name, spec.clone(), repository);
                    kept.reader = Some(Reader(tokio::spawn(work).abort_handle()));
                }
                Err(fault) => kept.problem = Some(Problem::new("Invalid", &fault.to_string())),
            },
        }
        kept
    }

    /// Stores the result of reading a repository, unless its object has changed meanwhile.
    fn take(&self, name: &str, spec: &Spec, answer: Result<ReadRoot, Fault>) {
        let mut all = self.lock();
        let Some(kept) = all.get_mut(name).filter(|kept| kept.object.as_ref() == Ok(spec)) else {
            return;
        };
        let before = (kept.root.clone(), kept.conditions());
        match answer {
            Ok(ReadRoot { root, expired }) => {
                kept.root = Some(Arc::new(root));
                kept.read = Some(self.clock.now());
                kept.problem = expired.map(Problem::expired);
            }
            Err(fault) => {
                tracing::warn!(name, %fault, "the TrustRoot could not be read");
                kept.problem = Some(Problem::new("RefreshFailed", &fault.to_string()));
            }
        }
        let changed = before != (kept.root.clone(), kept.conditions());
        drop(all);
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
    }
}

async fn read_again_and_again(
    roots: Weak<Roots>,
    name: String,
    spec: Spec,
    mut repository: Box<dyn RootRepository>,
) {
    let mut failures = 0;
    loop {
        let Some((now, pace)) = roots.upgrade().map(|roots| (roots.clock.now(), roots.pace)) else {
            return;
        };
        let answer = tokio::time::timeout(pace.timeout, repository.read(now)).await;
        let answer = answer.unwrap_or_else(|_| Err(pace.late()));
        failures = if answer.is_ok() { 0 } else { failures + 1 };
        let Some(here) = roots.upgrade() else { return };
        here.take(&name, &spec, answer);
        drop(here);
        tokio::time::sleep(pace.wait(failures)).await;
    }
}

impl Pace {
    fn late(&self) -> Fault {
        let detail = format!("no answer within {} s", self.timeout.as_secs());
        Fault::new(FaultKind::Timeout, "the TUF repository", detail)
    }

    /// The wait after so many consecutive failures, with up to a quarter of jitter, so that
    /// replicas do not read at the same time.
    fn wait(&self, failures: u32) -> Duration {
        let wait = match failures {
            0 => self.refresh,
            failures => self.retry.saturating_mul(1 << (failures - 1).min(16)).min(self.longest),
        };
        // The keys of a new hasher are random enough for jitter.
        let random = RandomState::new().hash_one(0) % 1024;
        wait + wait.mul_f64(random as f64 / 4096.0)
    }
}

impl Kept {
    fn conditions(&self) -> Vec<Condition> {
        let problem = |missing: bool| self.problem.as_ref().filter(|_| missing);
        let lacking = problem(self.root.is_none());
        let ready = Condition {
            kind: "Ready",
            holds: lacking.is_none(),
            reason: lacking.map_or("", |problem| problem.reason),
            message: lacking.map_or_else(String::new, |problem| problem.message.clone()),
        };
        if self.reader.is_none() {
            return vec![ready];
        }
        let old = problem(self.root.is_some());
        let stale = Condition {
            kind: "Stale",
            holds: old.is_some(),
            reason: old.map_or("", |problem| problem.reason),
            message: old.map_or_else(String::new, |problem| self.kept_since(problem)),
        };
        vec![ready, stale]
    }

    fn kept_since(&self, problem: &Problem) -> String {
        let read = self.read.map(text).unwrap_or_default();
        format!("the root read at {read} is kept: {}", problem.message)
    }
}

impl Problem {
    fn new(reason: &'static str, message: &str) -> Self {
        Self { reason, message: message.to_owned() }
    }

    fn expired(since: Timestamp) -> Self {
        Self::new("Expired", &format!("its TUF metadata expired at {}", text(since)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;
