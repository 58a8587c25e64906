//! Cache of facts, and sharing of gatherings between concurrent requests.
//!
//! A verified signature is content-addressed: the same digest, repository and requirement give the
//! same fact for every request, so it is shared by all workloads until it expires. It says that the
//! content is signed, not that the workload may pull it: the kubelet checks that. Verdicts are
//! never cached; each is judged anew, so that a policy which reads the workload never gets the
//! verdict for another one. Other facts are cached briefly, and only for the same credentials,
//! since a registry may return "not found" to a client without access. Facts with a fault that
//! affects the verdict are never cached.
//!
//! No lock is held during requests to a registry. If the caller that gathers is cancelled, the next
//! one gathers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_policy::facts::{Candidates, Facts};
use sealgate_policy::image_state::PinnedImage;
use sealgate_policy::judge::{Cause, Verdict, judge};
use sealgate_policy::rule::{Criterion, RequirementId};

use crate::evaluate::all_hold;

/// Times to live and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// The time to live of a verified signature.
    pub pass: Duration,
    /// The time to live of facts by which a policy fails; zero: not cached.
    pub refusal: Duration,
    /// The largest number of pairs of image and requirement with verified signatures; a tenth of it
    /// for other facts.
    pub entries: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { pass: Duration::from_secs(3600), refusal: Duration::from_secs(30), entries: 20_000 }
    }
}

/// The key of a gathering: an image, and the criteria that it is gathered for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GatheringKey {
    pub(crate) image: PinnedImage,
    /// The fingerprints of the criteria, in order.
    pub(crate) criteria: Arc<[Digest]>,
}

/// The credentials that signatures are read with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CredentialsKey<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) service_account: &'a str,
    /// The names of the pull secrets.
    pub(crate) pull_secrets: &'a [String],
}

impl CredentialsKey<'_> {
    /// Returns a fingerprint of fixed size: the author of a pod chooses the length of its list of
    /// Secrets.
    pub(crate) fn fingerprint(&self) -> Digest {
        let texts = [self.namespace, self.service_account];
        let texts = texts.into_iter().chain(self.pull_secrets.iter().map(String::as_str));
        let mut form = Digest::hasher(Algorithm::Sha256);
        for text in texts {
            form.update(&(text.len() as u64).to_be_bytes());
            form.update(text.as_bytes());
        }
        form.finish()
    }
}

/// Counters of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Requests answered from the cache.
    pub hits: u64,
    /// Requests for which evidence was gathered.
    pub misses: u64,
    /// The current number of entries.
    pub entries: u64,
}

/// The fact cache. Clones share their content.
#[derive(Clone)]
pub(crate) struct FactCache {
    verified: Cache<(PinnedImage, RequirementId), Arc<Candidates>>,
    /// Gatherings in progress, and recently gathered facts.
    gatherings: Cache<(GatheringKey, Digest), Arc<Facts>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// The result of a gathering.
pub(crate) enum GatherResult {
    /// Facts without a fault that affects the verdict.
    Final(Arc<Facts>),
    /// This caller gathered, and there was a fault.
    OwnFault(Arc<Facts>),
    /// Another caller gathered, and there was a fault.
    OthersFault(Arc<Facts>),
}

impl FactCache {
    pub(crate) fn new(settings: &CacheSettings) -> Self {
        let verified = Cache::builder().max_capacity(settings.entries).time_to_live(settings.pass);
        let gatherings = Cache::builder()
            .max_capacity((settings.entries / 10).max(16))
            .time_to_live(settings.refusal);
        Self { verified: verified.build(), gatherings: gatherings.build(), counts: Arc::default() }
    }

    /// Returns the facts by which all criteria hold, if they are cached.
    pub(crate) async fn passing(
        &self,
        image: &PinnedImage,
        criteria: &[Arc<Criterion>],
    ) -> Option<Facts> {
        let mut facts = Facts::default();
        let mut key = (image.clone(), image.digest.clone());
        for signed in criteria.iter().flat_map(|criterion| criterion.need.signed()) {
            key.1.clone_from(signed.requirement.id());
            if let Some(candidates) = self.verified.get(&key).await {
                facts.insert(key.1.clone(), candidates);
            }
        }
        if !all_hold(criteria, &facts) {
            return None;
        }
        self.counts.hits.fetch_add(1, Ordering::Relaxed);
        Some(facts)
    }

    /// Returns cached facts, or those from `gather`, which runs once however many callers ask
    /// concurrently.
    pub(crate) async fn get(
        &self,
        key: GatheringKey,
        credentials: &CredentialsKey<'_>,
        criteria: &[Arc<Criterion>],
        gather: impl Future<Output = Facts>,
    ) -> GatherResult {
        let mut gathered = false;
        let key = (key, credentials.fingerprint());
        let shared = self.gatherings.try_get_with_by_ref(&key, async {
            gathered = true;
            self.counts.misses.fetch_add(1, Ordering::Relaxed);
            let facts = Arc::new(gather.await);
            match criteria.iter().any(|criterion| has_fault(&judge(criterion, &facts))) {
                true => Err(facts),
                false => Ok(facts),
            }
        });
        match shared.await {
            Ok(facts) if gathered => {
                self.cache_verified(&key.0.image, &facts).await;
                if all_hold(criteria, &facts) {
                    self.gatherings.invalidate(&key).await;
                }
                GatherResult::Final(facts)
            }
            Ok(facts) => {
                self.counts.hits.fetch_add(1, Ordering::Relaxed);
                GatherResult::Final(facts)
            }
            Err(facts) if gathered => GatherResult::OwnFault(Arc::clone(&facts)),
            Err(facts) => GatherResult::OthersFault(Arc::clone(&facts)),
        }
    }

    async fn cache_verified(&self, image: &PinnedImage, facts: &Facts) {
        for (requirement, candidates) in facts.iter() {
            if !candidates.verified().is_empty() {
                let key = (image.clone(), requirement.clone());
                self.verified.insert(key, Arc::new(candidates.verified_only())).await;
            }
        }
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.counts.hits.load(Ordering::Relaxed),
            misses: self.counts.misses.load(Ordering::Relaxed),
            entries: self.verified.entry_count() + self.gatherings.entry_count(),
        }
    }
}

/// True if a later attempt may succeed: a source could not be read. An undecidable policy is final,
/// because its fingerprint changes with its content.
fn has_fault(verdict: &Verdict) -> bool {
    let faults = |cause: &Cause| matches!(cause, Cause::Fault(_));
    matches!(verdict, Verdict::Fault { reasons } if reasons.iter().any(|r| faults(&r.cause)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_credentials_have_different_fingerprints() {
        let names = |secrets: &[&str]| secrets.iter().map(|name| (*name).to_owned()).collect();
        let all: [(&str, Vec<String>); 5] = [
            ("shop", names(&[])),
            ("shop", names(&["a", "b"])),
            ("shop", names(&["ab"])),
            ("shop", names(&["b", "a"])),
            ("shopdefault", names(&[])),
        ];
        let fingerprints = all.iter().map(|(namespace, pull_secrets)| {
            CredentialsKey { namespace, service_account: "default", pull_secrets }.fingerprint()
        });
        assert_eq!(fingerprints.collect::<std::collections::BTreeSet<_>>().len(), all.len());
    }
}
