//! Tags updated by several writers at the same time: the fallback tag of the referrers API, and the
//! legacy `.sig` tag.
//!
//! The distribution specification has no transactions for tags. Where a registry honours
//! `If-Match`, a lost race is a 412 under a tag that has changed, and the update is retried. (A 412
//! under an unchanged tag is a refusal: the tag is immutable.) Where it does not (docker-registry 2
//! and 3 ignore it), the protocol is:
//!
//! 1. Writers of one process hold a lock per tag.
//! 2. The read and the write follow each other as closely as possible.
//! 3. After the write comes a watch period, in which the tag is read several times at random
//!    moments. A writer that finds its own entry missing, or an entry that it has read before and
//!    whose manifest still exists, merges all entries and writes again. The watch period is several
//!    times the writer's own round trip, and longer after each conflict.
//!
//! So every writer restores its own lost entries, and those it saw others lose, during its watch
//! period. One gap remains: a writer that read before our write, and writes after our watch period,
//! removes our entry unnoticed. Only the registry can close it, with the referrers API or
//! `If-Match`.

use std::collections::BTreeMap;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, Index, Manifest, media_type};
use sealgate_core::reference::{Identifier, Repository};
use serde::Deserialize;
use tokio::time::Instant;

use crate::client::Client;
use crate::read::Tagged;
use crate::referrers::{empty_index, fallback_tag};
use crate::shape::Shape;
use crate::write::{Precondition, Put};

/// Reads of the tag during one watch period.
const WATCH_READS: u32 = 3;
/// Shortest watch period, for a registry with low latency.
const SHORT_WATCH: Duration = Duration::from_millis(240);
/// Longest watch period.
const LONG_WATCH: Duration = Duration::from_secs(5);
/// Watch period as a multiple of the measured read-to-write round trip.
const ROUND_TRIPS: u32 = 8;

/// Referrers list entry of a manifest, as the specification defines it: the artifact type,
/// otherwise the configuration's media type, and the manifest's annotations.
pub(crate) fn entry(shape: &Shape, digest: &Digest, bytes: &[u8]) -> Result<Descriptor, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Parts {
        config: Option<Config>,
        annotations: Option<BTreeMap<String, String>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        media_type: Option<String>,
    }
    let parts: Parts = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let config = parts.config.and_then(|c| c.media_type);
    Ok(Descriptor {
        media_type: shape.media_type.clone(),
        size: bytes.len() as u64,
        digest: digest.clone(),
        artifact_type: shape.artifact_type.clone().filter(|t| !t.is_empty()).or(config),
        annotations: parts.annotations.unwrap_or_default(),
        platform: None,
    })
}

/// Attempts to remove an entry from a list that others are changing.
const REMOVAL_ATTEMPTS: u32 = 10;

/// Entries read under the tag so far, by digest.
type KnownEntries = BTreeMap<String, Descriptor>;

impl Client {
    /// Adds `entry` to the list under the fallback tag of `subject`.
    pub(crate) async fn add_referrer(
        &self,
        repository: &Repository,
        subject: &Digest,
        entry: Descriptor,
    ) -> Result<(), Fault> {
        let limit = self.shared.options.timeouts.tag_update;
        let deadline = Instant::now() + limit;
        let work = self.add_until_stable(repository, subject, entry, deadline);
        tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| {
            let detail = format!("other writers kept changing {} ", fallback_tag(subject));
            let detail = format!("{detail}for {} s", limit.as_secs());
            Err(Fault::new(FaultKind::Timeout, repository.registry(), detail))
        })
    }

    async fn add_until_stable(
        &self,
        repository: &Repository,
        subject: &Digest,
        entry: Descriptor,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let host = self.host(repository).await;
        let mut faults = self.shared.options.retries.pauses(deadline);
        let mut conflicts = Conflicts::new();
        let own = entry.digest.to_string();
        let mut known = KnownEntries::from([(own.clone(), entry)]);
        loop {
            match self.merge_once(repository, subject, &own, &mut known).await {
                // The result of the write is unknown; the next round reads first.
                Err(fault) => faults.before_next(fault, &host.budget).await?,
                Ok(Merge::Conflict) => {}
                Ok(Merge::Written(trip)) => {
                    let watch = conflicts.watch(trip);
                    if self.watch(repository, subject, &own, &mut known, watch).await? {
                        return Ok(());
                    }
                }
            }
            conflicts.pause().await;
        }
    }

    /// Reads the list, merges it, and writes it if that changes anything.
    async fn merge_once(
        &self,
        repository: &Repository,
        subject: &Digest,
        own: &str,
        known: &mut KnownEntries,
    ) -> Result<Merge, Fault> {
        let tag = fallback_tag(subject);
        let lock = self.shared.tag_lock(repository, &tag);
        let _turn = lock.lock().await;
        let start = Instant::now();
        let found = self.fallback_index(repository, subject).await?;
        let gone = self.gather(repository, found.as_ref().map(|(i, _)| i), own, known).await?;
        gone.iter().for_each(|digest| {
            known.remove(digest);
        });
        let (old, precondition) = match found {
            Some((index, tagged)) => (Some(index), precondition(&tagged)),
            None => (None, Precondition::IfNoneMatch),
        };
        let Some(index) = merged(old, known) else { return Ok(Merge::Written(start.elapsed())) };
        if index.manifests.len() > self.shared.options.limits.referrers {
            let detail = format!("{subject} would have {} referrers", index.manifests.len());
            return Err(Fault::new(FaultKind::TooMany, repository.registry(), detail));
        }
        let bytes = serde_json::to_vec(&index)
            .map_err(|e| Fault::new(FaultKind::Malformed, repository.registry(), e.to_string()))?;
        let at = Identifier::Tag(tag);
        let bytes = Bytes::from(bytes);
        match self.put_manifest(repository, &at, media_type::OCI_INDEX, bytes, precondition).await?
        {
            Put::Done { .. } => Ok(Merge::Written(start.elapsed())),
            Put::Conflict => Ok(Merge::Conflict),
        }
    }

    /// Adds the entries of `index` to `known`, and returns known entries that are missing because
    /// their manifests were deleted, which must not be restored.
    async fn gather(
        &self,
        repository: &Repository,
        index: Option<&Index>,
        own: &str,
        known: &mut KnownEntries,
    ) -> Result<Vec<String>, Fault> {
        let entries = index.map(|i| i.manifests.as_slice()).unwrap_or_default();
        let now: Vec<String> = entries.iter().map(|d| d.digest.to_string()).collect();
        let lost = |digest: &&String| *digest != own && !now.contains(digest);
        let missing: Vec<Descriptor> =
            known.iter().filter(|(digest, _)| lost(digest)).map(|(_, e)| e.clone()).collect();
        let mut gone = Vec::new();
        for lost in missing {
            let what = Identifier::Digest(lost.digest.clone());
            if self.read_descriptor(repository, &what).await?.is_none() {
                gone.push(lost.digest.to_string());
            }
        }
        for (digest, entry) in now.into_iter().zip(entries) {
            known.entry(digest).or_insert_with(|| entry.clone());
        }
        Ok(gone)
    }

    /// Reads the tag several times during the watch period. Returns `false` when an expected entry
    /// is missing.
    async fn watch(
        &self,
        repository: &Repository,
        subject: &Digest,
        own: &str,
        known: &mut KnownEntries,
        length: Duration,
    ) -> Result<bool, Fault> {
        let mut watch_pauses = watch_pauses(length / WATCH_READS);
        for _ in 0..WATCH_READS {
            tokio::time::sleep(watch_pauses.next().unwrap_or(length)).await;
            let found = self.fallback_index(repository, subject).await?;
            let gone = self.gather(repository, found.as_ref().map(|(i, _)| i), own, known).await?;
            let complete = found.is_some_and(|(index, _)| {
                let now: Vec<String> =
                    index.manifests.iter().map(|d| d.digest.to_string()).collect();
                known.keys().all(|digest| now.contains(digest) || gone.contains(digest))
            });
            if !complete {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes a deleted manifest from the list under the fallback tag of `subject`. Other writers
    /// do not restore it: they restore existing manifests only.
    pub(crate) async fn remove_referrer(
        &self,
        repository: &Repository,
        subject: &Digest,
        deleted: &Digest,
    ) -> Result<(), Fault> {
        let tag = fallback_tag(subject);
        let mut conflicts = Conflicts::new();
        for _ in 0..REMOVAL_ATTEMPTS {
            let lock = self.shared.tag_lock(repository, &tag);
            let auth = lock.lock().await;
            let found = self.fallback_index(repository, subject).await?;
            let Some((mut index, tagged)) = found else { return Ok(()) };
            let before = index.manifests.len();
            index.manifests.retain(|entry| entry.digest != *deleted);
            if index.manifests.len() == before {
                return Ok(());
            }
            let bytes = serde_json::to_vec(&index).map_err(|e| {
                Fault::new(FaultKind::Malformed, repository.registry(), e.to_string())
            })?;
            let at = Identifier::Tag(tag.clone());
            let (kind, precondition) = (media_type::OCI_INDEX, precondition(&tagged));
            self.put_manifest(repository, &at, kind, Bytes::from(bytes), precondition).await?;
            drop(auth);
            conflicts.pause().await;
        }
        let detail = format!("other writers kept changing {tag}");
        Err(Fault::new(FaultKind::Timeout, repository.registry(), detail))
    }

    /// Compare-and-replace of the registry port, for tags merged by the use cases themselves
    /// (`.sig`).
    pub(crate) async fn replace(
        &self,
        repository: &Repository,
        tag: &str,
        expected: Option<&Digest>,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<bool, Fault> {
        let at = Identifier::Tag(tag.to_owned());
        let deadline = Instant::now() + self.shared.options.timeouts.tag_update;
        let host = self.host(repository).await;
        let mut faults = self.shared.options.retries.pauses(deadline);
        let mut start = Instant::now();
        loop {
            match self.replace_once(repository, &at, expected, media_type, &bytes).await {
                Ok(true) => break,
                Ok(false) => return Ok(false),
                // The result of the write is unknown; the next round reads first.
                Err(fault) => faults.before_next(fault, &host.budget).await?,
            }
            start = Instant::now();
        }
        self.remains(repository, &at, &bytes, Conflicts::new().watch(start.elapsed())).await
    }

    /// One comparison and one write. Returns `true` when the new bytes are under the tag.
    async fn replace_once(
        &self,
        repository: &Repository,
        at: &Identifier,
        expected: Option<&Digest>,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<bool, Fault> {
        let lock = self.shared.tag_lock(repository, &at.to_string());
        let _turn = lock.lock().await;
        let found = self.read_manifest(repository, at).await?;
        let current = found.as_ref().map(|t| &t.manifest.descriptor.digest);
        if found.as_ref().is_some_and(|t| t.manifest.bytes == *bytes) {
            return Ok(true);
        }
        if current != expected {
            return Ok(false);
        }
        let precondition = found.as_ref().map_or(Precondition::IfNoneMatch, precondition);
        let put =
            self.put_manifest(repository, at, media_type, bytes.clone(), precondition).await?;
        Ok(matches!(put, Put::Done { .. }))
    }

    /// Returns whether the written document is still under the tag at the end of the watch period:
    /// the same bytes, or a newer document that contains all its entries.
    async fn remains(
        &self,
        repository: &Repository,
        at: &Identifier,
        bytes: &[u8],
        length: Duration,
    ) -> Result<bool, Fault> {
        let mut watch_pauses = watch_pauses(length / WATCH_READS);
        for _ in 0..WATCH_READS {
            tokio::time::sleep(watch_pauses.next().unwrap_or(length)).await;
            let now = self.read_manifest(repository, at).await?;
            if !now.is_some_and(|now| holds(&now.manifest.bytes, bytes)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Result of one merge round.
enum Merge {
    /// All entries are under the tag; the time from the read to the response to the write.
    Written(Duration),
    /// Another writer changed the tag first.
    Conflict,
}

/// Number of conflicts with other writers so far.
struct Conflicts {
    rounds: u32,
    pauses: ExponentialBackoff,
}

impl Conflicts {
    fn new() -> Self {
        let pauses = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(Duration::from_millis(10))
            .with_max_delay(Duration::from_millis(800))
            .without_max_times()
            .build();
        Self { rounds: 0, pauses }
    }

    /// Watch period after a write with round trip `trip`.
    fn watch(&self, trip: Duration) -> Duration {
        let longer = 1 + self.rounds.min(8);
        (trip * ROUND_TRIPS).max(SHORT_WATCH).saturating_mul(longer).min(LONG_WATCH)
    }

    async fn pause(&mut self) {
        self.rounds += 1;
        let pause = self.pauses.next().unwrap_or(Duration::from_millis(800));
        tokio::time::sleep(pause).await;
    }
}

/// Random pauses that add up to about `length`.
fn watch_pauses(length: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_factor(1.0)
        .with_min_delay(length.mul_f32(0.7))
        .with_max_delay(length * 2)
        .without_max_times()
        .build()
}

fn precondition(tagged: &Tagged) -> Precondition {
    let digest = &tagged.manifest.descriptor.digest;
    tagged
        .etag
        .clone()
        .map_or(Precondition::NoRetry, |etag| Precondition::IfMatch(etag, digest.clone()))
}

/// List with all known entries, sorted by digest; `None` when nothing changes.
fn merged(old: Option<Index>, known: &KnownEntries) -> Option<Index> {
    let mut index = old.unwrap_or_else(empty_index);
    let mut all = known.clone();
    // Compared by digest: a list may hold an entry twice.
    let there = |digest: &String| index.manifests.iter().any(|it| it.digest.to_string() == *digest);
    if known.keys().all(there) {
        return None;
    }
    for entry in std::mem::take(&mut index.manifests) {
        all.insert(entry.digest.to_string(), entry);
    }
    index.manifests = all.into_values().collect();
    Some(index)
}

/// Returns whether the document `now` contains every entry of `ours`.
fn holds(now: &[u8], ours: &[u8]) -> bool {
    if now == ours {
        return true;
    }
    let manifests = |b: &[u8]| serde_json::from_slice::<Manifest>(b).ok().map(|m| m.layers);
    if let (Some(now), Some(ours)) = (manifests(now), manifests(ours)) {
        return ours.iter().all(|layer| now.contains(layer));
    }
    let lists = |b: &[u8]| serde_json::from_slice::<Index>(b).ok().map(|i| i.manifests);
    match (lists(now), lists(ours)) {
        (Some(now), Some(ours)) => ours.iter().all(|entry| now.contains(entry)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Descriptor {
        Descriptor {
            media_type: media_type::OCI_MANIFEST.to_owned(),
            size: 2,
            digest: Digest::of(text.as_bytes()),
            artifact_type: None,
            annotations: BTreeMap::new(),
            platform: None,
        }
    }

    fn known(names: &[&str]) -> KnownEntries {
        names.iter().map(|n| (named(n).digest.to_string(), named(n))).collect()
    }

    #[test]
    fn merging_sorts_keeps_and_stops() {
        let first = merged(None, &known(&["a", "b"])).unwrap();
        assert_eq!(first.manifests.len(), 2);
        assert_eq!(merged(Some(first.clone()), &known(&["a"])), None);
        let second = merged(Some(first), &known(&["c"])).unwrap();
        assert_eq!(second.manifests.len(), 3);
        assert!(second.manifests.is_sorted_by_key(|d| d.digest.to_string()));
        let mut twice = second;
        twice.manifests = vec![named("a"), named("a")];
        assert_eq!(merged(Some(twice.clone()), &known(&["a"])), None);
        assert_eq!(merged(Some(twice), &known(&["b"])).unwrap().manifests.len(), 2);
    }

    #[test]
    fn an_entry_says_what_the_manifest_says() {
        let of = |text: &str| {
            let shape = Shape::of(Some(media_type::OCI_MANIFEST), text.as_bytes()).unwrap();
            entry(&shape, &Digest::of(text.as_bytes()), text.as_bytes()).unwrap()
        };
        let config = r#""config":{"mediaType":"application/x.config"}"#;
        let with = format!(r#"{{{config},"artifactType":"a/b","annotations":{{"k":"v"}}}}"#);
        assert_eq!(of(&with).artifact_type.as_deref(), Some("a/b"));
        assert_eq!(of(&with).annotations.get("k").map(String::as_str), Some("v"));
        let without = of(&format!("{{{config}}}"));
        assert_eq!(without.artifact_type.as_deref(), Some("application/x.config"));
    }

    #[test]
    fn a_newer_document_may_hold_ours() {
        let index = |names: &[&str]| serde_json::to_vec(&merged(None, &known(names))).unwrap();
        assert!(holds(&index(&["a", "b"]), &index(&["a"])));
        assert!(!holds(&index(&["b"]), &index(&["a"])));
        assert!(!holds(b"{}", &index(&["a"])));
    }
}
