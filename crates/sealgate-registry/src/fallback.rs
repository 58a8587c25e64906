//! Tags that several writers change at the same time: the fallback tag of the referrers API, and
//! the legacy `.sig` tag.
//!
//! The specification has no transaction for tags. Where a registry honours `If-Match`, a lost race
//! is a 412 and a tag that reads differently, and everything is simple. (A 412 under a tag that is
//! what it was is a refusal: the tag may not be moved.) Where it does not (docker-registry 2 and 3 ignore it), this is
//! what we do:
//!
//! 1. Writers of one process take turns per tag.
//! 2. The read and the write stand as close together as possible.
//! 3. After writing, the tag is watched: read back several times at random moments. Whoever finds
//!    its own entry missing, or an entry that it has seen before and whose manifest is still there,
//!    merges all and writes again. The watch is as long as several of our own round trips, and
//!    longer after each conflict.
//!
//! So every writer repairs what it lost and what it saw others lose, as long as it watches. What
//! remains: a writer that read before our write and writes after our watch has ended (it hung in
//! between for longer than the watch, or does not watch and is slow) takes our entry away unseen.
//! Nobody can close that gap without the registry's help; the referrers API and `If-Match` do.

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
use crate::write::{Guard, Put};

/// Reads of one watch.
const LOOKS: u32 = 3;
/// The shortest watch, for a registry next door.
const SHORT_WATCH: Duration = Duration::from_millis(240);
/// The longest watch.
const LONG_WATCH: Duration = Duration::from_secs(5);
/// A watch lasts so many of our own round trips from read to written.
const ROUND_TRIPS: u32 = 8;

/// The entry of a manifest in its subject's list, as the specification wants it: the artifact
/// type, else the configuration's media type; the annotations copied.
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

/// How often an entry is taken out of a list that others change.
const DROPS: u32 = 10;

/// Everything that has been seen under the tag, by digest.
type Seen = BTreeMap<String, Descriptor>;

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
        let work = self.keep_adding(repository, subject, entry, deadline);
        tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_| {
            let detail = format!("other writers kept changing {} ", fallback_tag(subject));
            let detail = format!("{detail}for {} s", limit.as_secs());
            Err(Fault::new(FaultKind::Timeout, repository.registry(), detail))
        })
    }

    async fn keep_adding(
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
        let mut seen = Seen::from([(own.clone(), entry)]);
        loop {
            match self.merge_once(repository, subject, &own, &mut seen).await {
                // Whatever became of the write: the next round reads first.
                Err(fault) => faults.before_next(fault, &host.budget).await?,
                Ok(Merge::Lost) => {}
                Ok(Merge::Written(trip)) => {
                    let watch = conflicts.watch(trip);
                    if self.watch(repository, subject, &own, &mut seen, watch).await? {
                        return Ok(());
                    }
                }
            }
            conflicts.pause().await;
        }
    }

    /// Reads, merges, and writes if that changes anything.
    async fn merge_once(
        &self,
        repository: &Repository,
        subject: &Digest,
        own: &str,
        seen: &mut Seen,
    ) -> Result<Merge, Fault> {
        let tag = fallback_tag(subject);
        let lock = self.shared.tag_lock(repository, &tag);
        let _turn = lock.lock().await;
        let start = Instant::now();
        let found = self.fallback_index(repository, subject).await?;
        let gone = self.gather(repository, found.as_ref().map(|(i, _)| i), own, seen).await?;
        gone.iter().for_each(|digest| {
            seen.remove(digest);
        });
        let (old, guard) = match found {
            Some((index, tagged)) => (Some(index), guard(&tagged)),
            None => (None, Guard::Absent),
        };
        let Some(index) = merged(old, seen) else { return Ok(Merge::Written(start.elapsed())) };
        if index.manifests.len() > self.shared.options.limits.referrers {
            let detail = format!("{subject} would have {} referrers", index.manifests.len());
            return Err(Fault::new(FaultKind::TooMany, repository.registry(), detail));
        }
        let bytes = serde_json::to_vec(&index)
            .map_err(|e| Fault::new(FaultKind::Malformed, repository.registry(), e.to_string()))?;
        let at = Identifier::Tag(tag);
        let bytes = Bytes::from(bytes);
        match self.put_manifest(repository, &at, media_type::OCI_INDEX, bytes, guard).await? {
            Put::Done { .. } => Ok(Merge::Written(start.elapsed())),
            Put::Lost => Ok(Merge::Lost),
        }
    }

    /// Adds what `index` holds to `seen`, and names what was seen before, is missing now, and has
    /// been deleted: that must not come back.
    async fn gather(
        &self,
        repository: &Repository,
        index: Option<&Index>,
        own: &str,
        seen: &mut Seen,
    ) -> Result<Vec<String>, Fault> {
        let entries = index.map(|i| i.manifests.as_slice()).unwrap_or_default();
        let now: Vec<String> = entries.iter().map(|d| d.digest.to_string()).collect();
        let lost = |digest: &&String| *digest != own && !now.contains(digest);
        let missing: Vec<Descriptor> =
            seen.iter().filter(|(digest, _)| lost(digest)).map(|(_, e)| e.clone()).collect();
        let mut gone = Vec::new();
        for lost in missing {
            let what = Identifier::Digest(lost.digest.clone());
            if self.read_descriptor(repository, &what).await?.is_none() {
                gone.push(lost.digest.to_string());
            }
        }
        for (digest, entry) in now.into_iter().zip(entries) {
            seen.entry(digest).or_insert_with(|| entry.clone());
        }
        Ok(gone)
    }

    /// Looks at the tag several times. `false`: something that should be there is not.
    async fn watch(
        &self,
        repository: &Repository,
        subject: &Digest,
        own: &str,
        seen: &mut Seen,
        length: Duration,
    ) -> Result<bool, Fault> {
        let mut naps = naps(length / LOOKS);
        for _ in 0..LOOKS {
            tokio::time::sleep(naps.next().unwrap_or(length)).await;
            let found = self.fallback_index(repository, subject).await?;
            let gone = self.gather(repository, found.as_ref().map(|(i, _)| i), own, seen).await?;
            let complete = found.is_some_and(|(index, _)| {
                let now: Vec<String> =
                    index.manifests.iter().map(|d| d.digest.to_string()).collect();
                seen.keys().all(|digest| now.contains(digest) || gone.contains(digest))
            });
            if !complete {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes a manifest that was deleted out of the list under the fallback tag of `subject`.
    /// Nobody brings it back: other writers restore only what is still there.
    pub(crate) async fn drop_referrer(
        &self,
        repository: &Repository,
        subject: &Digest,
        deleted: &Digest,
    ) -> Result<(), Fault> {
        let tag = fallback_tag(subject);
        let mut conflicts = Conflicts::new();
        for _ in 0..DROPS {
            let lock = self.shared.tag_lock(repository, &tag);
            let turn = lock.lock().await;
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
            let (kind, guard) = (media_type::OCI_INDEX, guard(&tagged));
            self.put_manifest(repository, &at, kind, Bytes::from(bytes), guard).await?;
            drop(turn);
            conflicts.pause().await;
        }
        let detail = format!("other writers kept changing {tag}");
        Err(Fault::new(FaultKind::Timeout, repository.registry(), detail))
    }

    /// The port's compare-and-replace, for tags that the use cases merge themselves (`.sig`).
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
                // Whatever became of the write: the next round reads first.
                Err(fault) => faults.before_next(fault, &host.budget).await?,
            }
            start = Instant::now();
        }
        self.stays(repository, &at, &bytes, Conflicts::new().watch(start.elapsed())).await
    }

    /// One comparison and one write. `true`: our bytes are under the tag.
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
        let guard = found.as_ref().map_or(Guard::Absent, guard);
        let put = self.put_manifest(repository, at, media_type, bytes.clone(), guard).await?;
        Ok(matches!(put, Put::Done { .. }))
    }

    /// Whether what we wrote is still under the tag after a while: the very bytes, or a newer
    /// document that holds everything of ours.
    async fn stays(
        &self,
        repository: &Repository,
        at: &Identifier,
        bytes: &[u8],
        length: Duration,
    ) -> Result<bool, Fault> {
        let mut naps = naps(length / LOOKS);
        for _ in 0..LOOKS {
            tokio::time::sleep(naps.next().unwrap_or(length)).await;
            let now = self.read_manifest(repository, at).await?;
            if !now.is_some_and(|now| holds(&now.manifest.bytes, bytes)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What became of one round.
enum Merge {
    /// Everything is under the tag; how long it took from the read to the written answer.
    Written(Duration),
    /// Another writer was faster.
    Lost,
}

/// How often others were in the way.
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

    /// How long to watch after a write that took `trip`.
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

/// Random pauses around `length`.
fn naps(length: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_factor(1.0)
        .with_min_delay(length.mul_f32(0.7))
        .with_max_delay(length * 2)
        .without_max_times()
        .build()
}

fn guard(tagged: &Tagged) -> Guard {
    let digest = &tagged.manifest.descriptor.digest;
    tagged.etag.clone().map_or(Guard::Once, |etag| Guard::Match(etag, digest.clone()))
}

/// The list with everything in it, sorted by digest; `None` where it already is.
fn merged(old: Option<Index>, seen: &Seen) -> Option<Index> {
    let mut index = old.unwrap_or_else(empty_index);
    let mut all = seen.clone();
    // By digest: a list may hold one twice.
    let there = |digest: &String| index.manifests.iter().any(|it| it.digest.to_string() == *digest);
    if seen.keys().all(there) {
        return None;
    }
    for entry in std::mem::take(&mut index.manifests) {
        all.insert(entry.digest.to_string(), entry);
    }
    index.manifests = all.into_values().collect();
    Some(index)
}

/// Whether the document `now` holds everything that `ours` holds.
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

    fn seen(names: &[&str]) -> Seen {
        names.iter().map(|n| (named(n).digest.to_string(), named(n))).collect()
    }

    #[test]
    fn merging_sorts_keeps_and_stops() {
        let first = merged(None, &seen(&["a", "b"])).unwrap();
        assert_eq!(first.manifests.len(), 2);
        assert_eq!(merged(Some(first.clone()), &seen(&["a"])), None);
        let second = merged(Some(first), &seen(&["c"])).unwrap();
        assert_eq!(second.manifests.len(), 3);
        assert!(second.manifests.is_sorted_by_key(|d| d.digest.to_string()));
        let mut twice = second;
        twice.manifests = vec![named("a"), named("a")];
        assert_eq!(merged(Some(twice.clone()), &seen(&["a"])), None);
        assert_eq!(merged(Some(twice), &seen(&["b"])).unwrap().manifests.len(), 2);
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
        let index = |names: &[&str]| serde_json::to_vec(&merged(None, &seen(names))).unwrap();
        assert!(holds(&index(&["a", "b"]), &index(&["a"])));
        assert!(!holds(&index(&["b"]), &index(&["a"])));
        assert!(!holds(b"{}", &index(&["a"])));
    }
}
