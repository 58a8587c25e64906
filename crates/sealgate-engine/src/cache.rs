//! Verdicts that need not be found out again, and single flight for those that must.
//!
//! A pass is content-addressed: the same digest, repository and rules (with their keys) give the
//! same verdict whoever asks, so it is shared by everybody, for as long as its time to live. It
//! says that the content is signed, not that the asker may pull it: the kubelet finds that out.
//! A refusal is kept briefly, and only for the same credentials, since a registry may say "not
//! found" to those it does not know. A fault is never kept.
//!
//! No lock is held while anything is asked. If who asks first gives up, the next one asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::reference::Repository;
use sealgate_policy::judge::{Cause, Verdict};

/// How long, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long a pass is good.
    pub pass: Duration,
    /// How long a refusal that is known to be one is good; zero: not at all.
    pub refusal: Duration,
    /// How many passes are kept, and a tenth as many refusals.
    pub entries: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { pass: Duration::from_secs(3600), refusal: Duration::from_secs(30), entries: 20_000 }
    }
}

/// What a verdict is about: content, where its signatures lie, and what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The image's repository.
    pub repository: Repository,
    /// Its digest.
    pub digest: Digest,
    /// The fingerprints of the rules, with the keys that they trust; in order.
    pub rules: Arc<[Digest]>,
}

/// With which credentials signatures are read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reader {
    /// The namespace.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// The names of the pull secrets.
    pub pull_secrets: Vec<String>,
}

impl Reader {
    /// A name of fixed size: whoever writes a pod chooses how long its list of secrets is.
    pub(crate) fn print(&self) -> Digest {
        let texts = [&self.namespace, &self.service_account];
        let texts = texts.into_iter().chain(&self.pull_secrets);
        let mut form = Digest::hasher(Algorithm::Sha256);
        for text in texts {
            form.update(&(text.len() as u64).to_be_bytes());
            form.update(text.as_bytes());
        }
        form.finish()
    }
}

/// The verdicts of the rules of a [`Subject`], in their order.
pub type Verdicts = Arc<[Verdict]>;

/// How often it helped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Answers from memory.
    pub hits: u64,
    /// Answers that had to be found out.
    pub misses: u64,
    /// Entries now.
    pub entries: u64,
}

/// The verdict cache. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct VerdictCache {
    passes: Cache<Subject, Verdicts>,
    /// Flights under way, and what landed as a refusal a moment ago.
    flights: Cache<(Subject, Digest), Verdicts>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// How an answer was had.
pub enum Landed {
    /// A verdict that is known.
    Known(Verdicts),
    /// We asked, and something could not be found out.
    Faulted(Verdicts),
    /// Somebody else asked for us, and could not find out something.
    OthersFault(Verdicts),
}

impl VerdictCache {
    /// An empty cache.
    pub fn new(settings: &CacheSettings) -> Self {
        let passes = Cache::builder().max_capacity(settings.entries).time_to_live(settings.pass);
        let flights = Cache::builder()
            .max_capacity((settings.entries / 10).max(16))
            .time_to_live(settings.refusal);
        Self { passes: passes.build(), flights: flights.build(), counts: Arc::default() }
    }

    /// A pass that is known.
    pub async fn pass(&self, subject: &Subject) -> Option<Verdicts> {
        let known = self.passes.get(subject).await;
        if known.is_some() {
            self.counts.hits.fetch_add(1, Ordering::Relaxed);
        }
        known
    }

    /// What is known, else what `find_out` says; it runs once however many ask at the same time.
    pub async fn get(
        &self,
        subject: Subject,
        reader: &Reader,
        find_out: impl Future<Output = Verdicts>,
    ) -> Landed {
        let mut asked = false;
        let key = (subject.clone(), reader.print());
        let landed = self.flights.try_get_with(key.clone(), async {
            asked = true;
            self.counts.misses.fetch_add(1, Ordering::Relaxed);
            let verdicts = find_out.await;
            match verdicts.iter().any(has_fault) {
                true => Err(verdicts),
                false => Ok(verdicts),
            }
        });
        match landed.await {
            Ok(verdicts) if asked => {
                if verdicts.iter().all(|verdict| matches!(verdict, Verdict::Pass { .. })) {
                    self.passes.insert(subject, verdicts.clone()).await;
                    self.flights.invalidate(&key).await;
                }
                Landed::Known(verdicts)
            }
            Ok(verdicts) => {
                self.counts.hits.fetch_add(1, Ordering::Relaxed);
                Landed::Known(verdicts)
            }
            Err(verdicts) if asked => Landed::Faulted(Verdicts::clone(&verdicts)),
            Err(verdicts) => Landed::OthersFault(Verdicts::clone(&verdicts)),
        }
    }

    /// How often it helped.
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.counts.hits.load(Ordering::Relaxed),
            misses: self.counts.misses.load(Ordering::Relaxed),
            entries: self.passes.entry_count() + self.flights.entry_count(),
        }
    }
}

/// Whether the same question may have another answer a moment later. A policy that cannot be
/// decided because of what stands in it is as definitive as a refusal: its fingerprint changes
/// when it changes.
fn has_fault(verdict: &Verdict) -> bool {
    let faults = |cause: &Cause| matches!(cause, Cause::Fault(_));
    matches!(verdict, Verdict::Fault { reasons } if reasons.iter().any(|r| faults(&r.cause)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_with_other_secrets_have_other_prints() {
        let reader = |namespace: &str, secrets: &[&str]| Reader {
            namespace: namespace.to_owned(),
            service_account: "default".to_owned(),
            pull_secrets: secrets.iter().map(|name| (*name).to_owned()).collect(),
        };
        let all = [
            reader("shop", &[]),
            reader("shop", &["a", "b"]),
            reader("shop", &["ab"]),
            reader("shop", &["b", "a"]),
            reader("shopdefault", &[]),
        ];
        let prints = all.iter().map(Reader::print).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(prints.len(), all.len());
    }
}
