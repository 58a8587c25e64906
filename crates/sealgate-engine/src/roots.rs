//! Trust roots of policies: the default root, and those of TrustRoot objects, refreshed in the
//! background.
//!
//! A root remains in use when a refresh fails, and the status of its object is `Stale`. An object
//! that is invalid has no root, and policies that name it are undecidable. An edited object is read
//! again; the root of its older version is no longer used.

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

/// The refresh intervals of TUF repositories.
#[derive(Clone, Copy, Debug)]
struct RefreshSchedule {
    /// The interval between two refreshes of a repository.
    refresh: Duration,
    /// The first wait after a failure; it doubles each time.
    retry: Duration,
    /// The longest wait after a failure.
    longest: Duration,
    /// The time limit of one refresh.
    timeout: Duration,
}

const DEFAULT_SCHEDULE: RefreshSchedule = RefreshSchedule {
    refresh: Duration::from_secs(6 * 3600),
    retry: Duration::from_secs(5),
    longest: Duration::from_secs(3600),
    timeout: Duration::from_secs(60),
};

/// A trust root and its source, or the reason why there is none.
pub type RootResult = Result<(Arc<TrustRoot>, RootSource), Fault>;

/// TrustRoot objects by name: the parsed object, or the reason why it is invalid.
pub type Objects = BTreeMap<String, Result<Spec, String>>;

/// The trust roots, shared by all policies.
pub struct Roots {
    default: RootResult,
    repositories: Arc<dyn RootRepositories>,
    clock: Arc<dyn Clock>,
    schedule: RefreshSchedule,
    entries: Mutex<BTreeMap<String, RootEntry>>,
    version: watch::Sender<u64>,
}

/// One TrustRoot object.
struct RootEntry {
    object: Result<Spec, String>,
    root: Option<Arc<TrustRoot>>,
    /// The time of the last successful refresh; for repositories only.
    read: Option<Timestamp>,
    problem: Option<Problem>,
    /// The task that refreshes the repository, aborted when the object is removed.
    task: Option<RefreshTask>,
}

/// The reason why a root is missing or stale.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    reason: &'static str,
    message: String,
}

/// A task that is aborted on drop.
struct RefreshTask(AbortHandle);

impl Roots {
    /// Creates the set with the default root only.
    pub fn new(
        default: RootResult,
        repositories: Arc<dyn RootRepositories>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Self::with_schedule(default, repositories, clock, DEFAULT_SCHEDULE)
    }

    fn with_schedule(
        default: RootResult,
        repositories: Arc<dyn RootRepositories>,
        clock: Arc<dyn Clock>,
        schedule: RefreshSchedule,
    ) -> Arc<Self> {
        let (version, _) = watch::channel(0);
        Arc::new(Self {
            default,
            repositories,
            clock,
            schedule,
            entries: Mutex::default(),
            version,
        })
    }

    /// Replaces the TrustRoot objects. Repositories are fetched in the background; until then their
    /// objects have no root. Must be called in a Tokio runtime.
    pub fn set(self: &Arc<Self>, objects: &Objects) {
        let mut entries = self.lock();
        entries.retain(|name, _| objects.contains_key(name));
        for (name, object) in objects {
            if entries.get(name).is_none_or(|entry| entry.object != *object) {
                entries.insert(name.clone(), self.start(name, object));
            }
        }
    }

    /// Returns the root that a policy names.
    pub fn get(&self, which: &RootRef) -> RootResult {
        let RootRef::Named(name) = which else { return self.default.clone() };
        let fault = |kind, detail: String| Fault::new(kind, format!("TrustRoot {name}"), detail);
        match self.lock().get(name) {
            None => Err(fault(FaultKind::Missing, format!("trustRootRef {name} not found"))),
            Some(RootEntry { root: Some(root), .. }) => {
                Ok((Arc::clone(root), RootSource::Configured))
            }
            Some(RootEntry { problem, .. }) => {
                let reason = problem.as_ref().map_or("not fetched yet", |p| p.message.as_str());
                Err(fault(FaultKind::Missing, format!("TrustRoot {name}: {reason}")))
            }
        }
    }

    /// Returns the conditions for the status of a TrustRoot object.
    pub fn conditions(&self, name: &str) -> Vec<Condition> {
        self.lock().get(name).map(RootEntry::conditions).unwrap_or_default()
    }

    /// Returns a receiver that is notified when the results of [`Roots::get`] or
    /// [`Roots::conditions`] may have changed without a call of [`Roots::set`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, RootEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>, name: &str, object: &Result<Spec, String>) -> RootEntry {
        let object = object.clone();
        let mut entry = RootEntry { object, root: None, read: None, problem: None, task: None };
        match &entry.object {
            Err(reason) => entry.problem = Some(Problem::new("Invalid", reason)),
            Ok(Spec { sigstore_keys: Some(keys), .. }) => match keys.trust_root() {
                Ok(root) => entry.root = Some(Arc::new(root)),
                Err(error) => entry.problem = Some(Problem::new("Invalid", &error.to_string())),
            },
            Ok(spec) => match self.repositories.open(spec) {
                Ok(repository) => {
                    entry.problem = Some(Problem::new("Pending", "not fetched yet"));
                    let (roots, name) = (Arc::downgrade(self), name.to_owned());
                    let work = refresh_loop(roots, name, spec.clone(), repository);
                    entry.task = Some(RefreshTask(tokio::spawn(work).abort_handle()));
                }
                Err(fault) => entry.problem = Some(Problem::new("Invalid", &fault.to_string())),
            },
        }
        entry
    }

    /// Stores the result of a refresh, unless the object has changed since.
    fn store(&self, name: &str, spec: &Spec, answer: Result<ReadRoot, Fault>) {
        let mut all = self.lock();
        let Some(entry) = all.get_mut(name).filter(|entry| entry.object.as_ref() == Ok(spec))
        else {
            return;
        };
        let before = (entry.root.clone(), entry.conditions());
        match answer {
            Ok(ReadRoot { root, expired }) => {
                entry.root = Some(Arc::new(root));
                entry.read = Some(self.clock.now());
                entry.problem = expired.map(Problem::expired);
            }
            Err(fault) => {
                tracing::warn!(name, %fault, "the TrustRoot could not be refreshed");
                entry.problem = Some(Problem::new("RefreshFailed", &fault.to_string()));
            }
        }
        let changed = before != (entry.root.clone(), entry.conditions());
        drop(all);
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
    }
}

async fn refresh_loop(
    roots: Weak<Roots>,
    name: String,
    spec: Spec,
    mut repository: Box<dyn RootRepository>,
) {
    let mut failures = 0;
    loop {
        let Some((now, schedule)) =
            roots.upgrade().map(|roots| (roots.clock.now(), roots.schedule))
        else {
            return;
        };
        let answer = tokio::time::timeout(schedule.timeout, repository.read(now)).await;
        let answer = answer.unwrap_or_else(|_| Err(schedule.timeout_fault()));
        failures = if answer.is_ok() { 0 } else { failures + 1 };
        let Some(here) = roots.upgrade() else { return };
        here.store(&name, &spec, answer);
        drop(here);
        tokio::time::sleep(schedule.wait(failures)).await;
    }
}

impl RefreshSchedule {
    fn timeout_fault(&self) -> Fault {
        let detail = format!("no answer within {} s", self.timeout.as_secs());
        Fault::new(FaultKind::Timeout, "the TUF repository", detail)
    }

    /// Returns the wait after this number of consecutive failures, with up to a quarter of jitter,
    /// so that replicas do not refresh at the same time.
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

impl RootEntry {
    fn conditions(&self) -> Vec<Condition> {
        let problem_if = |applies: bool| self.problem.as_ref().filter(|_| applies);
        let missing = problem_if(self.root.is_none());
        let ready = Condition {
            kind: "Ready",
            holds: missing.is_none(),
            reason: missing.map_or("", |problem| problem.reason),
            message: missing.map_or_else(String::new, |problem| problem.message.clone()),
        };
        if self.task.is_none() {
            return vec![ready];
        }
        let old = problem_if(self.root.is_some());
        let stale = Condition {
            kind: "Stale",
            holds: old.is_some(),
            reason: old.map_or("", |problem| problem.reason),
            message: old.map_or_else(String::new, |problem| self.stale_message(problem)),
        };
        vec![ready, stale]
    }

    fn stale_message(&self, problem: &Problem) -> String {
        let read = self.read.map(text).unwrap_or_default();
        format!("the root fetched at {read} is still used: {}", problem.message)
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

impl Drop for RefreshTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;
