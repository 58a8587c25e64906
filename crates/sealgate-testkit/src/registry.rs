//! In-memory registry with a request log and injected faults and delays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, Manifest};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::ports::{BlobStream, RawManifest, RegistryRead, RegistryWrite};

/// Kinds of registry requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// HEAD of a manifest.
    Resolve,
    /// GET of a manifest.
    Manifest,
    /// GET of a blob.
    Blob,
    /// GET of the referrers.
    Referrers,
    /// GET of the fallback tag, when the API's list is empty.
    ReferrersTag,
    /// PUT of a blob.
    PushBlob,
    /// POST of a mount.
    Mount,
    /// PUT of a manifest.
    PushManifest,
    /// Conditional PUT of a manifest.
    Replace,
    /// DELETE.
    Delete,
    /// GET of the tags.
    Tags,
}

/// Logged request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRequest {
    /// Kind.
    pub request: Request,
    /// Its repository and target.
    pub what: String,
}

struct InjectedFault {
    request: Request,
    part: String,
    times: usize,
    delay: Duration,
    fault: Option<Fault>,
}

#[derive(Default)]
struct Content {
    manifests: HashMap<Digest, (String, Bytes)>,
    tags: BTreeMap<String, Digest>,
    blobs: HashMap<Digest, Bytes>,
    listed: Vec<(Digest, Descriptor)>,
    /// Not listed until pushed again.
    unlisted: BTreeSet<Digest>,
}

/// Number of concurrent requests.
#[derive(Default)]
struct Concurrency {
    now: usize,
    most: usize,
}

/// Request in progress, until dropped.
struct Pending<'a>(&'a Mutex<Concurrency>);

/// In-memory registry.
#[derive(Default)]
pub struct MemoryRegistry {
    repositories: Mutex<HashMap<Repository, Content>>,
    log: Mutex<Vec<LoggedRequest>>,
    injected: Mutex<Vec<InjectedFault>>,
    concurrency: Mutex<Concurrency>,
    latency: Duration,
    ignores_conditions: bool,
    lists_empty: bool,
}

impl MemoryRegistry {
    /// Empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Delays every request.
    pub fn with_latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// Compares before and not atomically with a replacement, like a registry that ignores
    /// conditional requests.
    pub fn ignoring_conditions(self, ignores_conditions: bool) -> Self {
        Self { ignores_conditions, ..self }
    }

    /// Returns empty lists from the referrers API; referrers are listed under fallback tags only.
    pub fn with_empty_lists(self) -> Self {
        Self { lists_empty: true, ..self }
    }

    /// Fails the next `times` requests of this kind whose text contains `part` with `fault`.
    pub fn fail(&self, request: Request, part: &str, times: usize, fault: Fault) {
        self.inject(request, part, times, Duration::ZERO, Some(fault));
    }

    /// Delays the next `times` requests of this kind whose text contains `part`.
    pub fn delay(&self, request: Request, part: &str, times: usize, delay: Duration) {
        self.inject(request, part, times, delay, None);
    }

    /// Removes all injected faults and delays.
    pub fn clear_faults(&self) {
        self.injected.lock().unwrap().clear();
    }

    fn inject(
        &self,
        request: Request,
        part: &str,
        times: usize,
        delay: Duration,
        fault: Option<Fault>,
    ) {
        let part = part.to_owned();
        self.injected.lock().unwrap().push(InjectedFault { request, part, times, delay, fault });
    }

    /// Adds `entry` to the referrers of `subject`, whether or not the manifest exists.
    pub fn list_referrer(&self, repository: &Repository, subject: &Digest, entry: Descriptor) {
        self.within(repository, |content| content.listed.push((subject.clone(), entry)));
    }

    /// Stores a manifest without a request.
    pub fn put_manifest(&self, repository: &Repository, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let stored = (media_type.to_owned(), Bytes::copy_from_slice(bytes));
        self.within(repository, |content| {
            content.unlisted.remove(&digest);
            content.manifests.insert(digest.clone(), stored)
        });
        digest
    }

    /// Stores a blob without a request.
    pub fn put_blob(&self, repository: &Repository, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let stored = Bytes::copy_from_slice(bytes);
        self.within(repository, |content| content.blobs.insert(digest.clone(), stored));
        digest
    }

    /// Sets a tag without a request.
    pub fn put_tag(&self, repository: &Repository, tag: &str, digest: &Digest) {
        self.within(repository, |content| content.tags.insert(tag.to_owned(), digest.clone()));
    }

    /// Empties all referrers lists; later pushes are listed again.
    pub fn forget_lists(&self, repository: &Repository) {
        self.within(repository, |content| {
            content.listed.clear();
            content.unlisted = content.manifests.keys().cloned().collect();
        });
    }

    /// Removes a blob.
    pub fn lose_blob(&self, repository: &Repository, digest: &Digest) {
        self.within(repository, |content| content.blobs.remove(digest));
    }

    /// Manifest under a tag or digest, without a request.
    pub fn peek(&self, repository: &Repository, what: &Identifier) -> Option<RawManifest> {
        self.within(repository, |content| content.manifest(what))
    }

    /// Digests of all manifests in a repository.
    pub fn manifests(&self, repository: &Repository) -> BTreeSet<Digest> {
        self.within(repository, |content| content.manifests.keys().cloned().collect())
    }

    /// All requests so far.
    pub fn log(&self) -> Vec<LoggedRequest> {
        self.log.lock().unwrap().clone()
    }

    /// Number of requests so far; clears the log.
    pub fn take_count(&self) -> usize {
        std::mem::take(&mut *self.log.lock().unwrap()).len()
    }

    /// Number of requests of this kind.
    pub fn count(&self, request: Request) -> usize {
        self.log.lock().unwrap().iter().filter(|logged| logged.request == request).count()
    }

    /// Maximum number of concurrent requests so far; resets it.
    pub fn take_most_at_once(&self) -> usize {
        std::mem::take(&mut self.concurrency.lock().unwrap().most)
    }

    fn within<T>(&self, repository: &Repository, work: impl FnOnce(&mut Content) -> T) -> T {
        work(self.repositories.lock().unwrap().entry(repository.clone()).or_default())
    }

    async fn begin_request(&self, request: Request, what: String) -> Result<(), Fault> {
        let _pending = Pending::new(&self.concurrency);
        let (delay, fault) = self.next_injected(request, &what);
        self.log.lock().unwrap().push(LoggedRequest { request, what });
        // Always yields once, so that tests see interleavings.
        tokio::task::yield_now().await;
        let delay = delay.max(self.latency);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        fault.map_or(Ok(()), Err)
    }

    fn next_injected(&self, request: Request, what: &str) -> (Duration, Option<Fault>) {
        let mut injected = self.injected.lock().unwrap();
        let fits =
            |t: &&mut InjectedFault| t.request == request && t.times > 0 && what.contains(&t.part);
        match injected.iter_mut().find(fits) {
            Some(injected) => {
                injected.times = injected.times.saturating_sub(1);
                (injected.delay, injected.fault.clone())
            }
            None => (Duration::ZERO, None),
        }
    }
}

impl<'a> Pending<'a> {
    fn new(concurrency: &'a Mutex<Concurrency>) -> Self {
        let mut counts = concurrency.lock().unwrap();
        counts.now += 1;
        counts.most = counts.most.max(counts.now);
        Self(concurrency)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().now -= 1;
    }
}

impl Content {
    fn manifest(&self, what: &Identifier) -> Option<RawManifest> {
        let digest = match what {
            Identifier::Tag(tag) => self.tags.get(tag)?,
            Identifier::Digest(digest) => digest,
        };
        let (media_type, bytes) = self.manifests.get(digest)?;
        let descriptor = descriptor(media_type, digest, bytes.len());
        Some(RawManifest { descriptor, bytes: bytes.clone() })
    }

    fn referrers(&self, subject: &Digest) -> Vec<Descriptor> {
        let mut found = Vec::new();
        let listed = self.manifests.iter().filter(|(digest, _)| !self.unlisted.contains(digest));
        for (digest, (media_type, bytes)) in listed {
            let manifest = serde_json::from_slice::<Manifest>(bytes);
            let about = manifest.ok().and_then(|m| m.subject.map(|s| (s.digest, m.artifact_type)));
            if let Some((about, artifact_type)) = about
                && about == *subject
            {
                let entry = descriptor(media_type, digest, bytes.len());
                found.push(Descriptor { artifact_type, ..entry });
            }
        }
        found.sort_by(|a, b| a.digest.cmp(&b.digest));
        let listed = self.listed.iter().filter(|(about, _)| about == subject);
        found.extend(listed.map(|(_, entry)| entry.clone()));
        found
    }
}

fn descriptor(media_type: &str, digest: &Digest, size: usize) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        size: size as u64,
        digest: digest.clone(),
        artifact_type: None,
        annotations: BTreeMap::new(),
        platform: None,
    }
}

fn fault(kind: FaultKind, repository: &Repository, detail: impl Into<String>) -> Fault {
    Fault::new(kind, repository.registry(), detail)
}

#[async_trait]
impl RegistryRead for MemoryRegistry {
    async fn resolve(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<Descriptor>, Fault> {
        self.begin_request(Request::Resolve, format!("{repository} {what}")).await?;
        Ok(self.within(repository, |content| content.manifest(what)).map(|raw| raw.descriptor))
    }

    async fn manifest(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<RawManifest>, Fault> {
        self.begin_request(Request::Manifest, format!("{repository} {what}")).await?;
        Ok(self.within(repository, |content| content.manifest(what)))
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, Fault> {
        self.begin_request(Request::Blob, format!("{repository} {digest}")).await?;
        match self.within(repository, |content| content.blobs.get(digest).cloned()) {
            Some(bytes) if bytes.len() as u64 > limit => {
                Err(fault(FaultKind::TooLarge, repository, format!("more than {limit} bytes")))
            }
            found => Ok(found),
        }
    }

    async fn blob_stream(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<BlobStream>, Fault> {
        self.begin_request(Request::Blob, format!("{repository} {digest}")).await?;
        let bytes = self.within(repository, |content| content.blobs.get(digest).cloned());
        Ok(bytes.map(|bytes| stream::iter([Ok(bytes)]).boxed()))
    }

    async fn referrers_by_api(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        self.begin_request(Request::Referrers, format!("{repository} {subject}")).await?;
        let listed = self.within(repository, |content| content.referrers(subject));
        Ok((!self.lists_empty).then_some(listed))
    }

    async fn referrers_by_tag(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Fault> {
        self.begin_request(Request::ReferrersTag, format!("{repository} {subject}")).await?;
        Ok(self.within(repository, |content| content.referrers(subject)))
    }

    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Fault> {
        self.begin_request(Request::Tags, repository.to_string()).await?;
        Ok(self.within(repository, |content| content.tags.keys().cloned().collect()))
    }
}

#[async_trait]
impl RegistryWrite for MemoryRegistry {
    async fn push_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        content: BlobStream,
    ) -> Result<(), Fault> {
        self.begin_request(Request::PushBlob, format!("{repository} {}", descriptor.digest))
            .await?;
        let bytes = content.try_concat_bytes().await?;
        if !descriptor.digest.matches(&bytes) || bytes.len() as u64 != descriptor.size {
            return Err(fault(FaultKind::DigestMismatch, repository, "not what was announced"));
        }
        let digest = descriptor.digest.clone();
        self.within(repository, |content| content.blobs.insert(digest, bytes));
        Ok(())
    }

    async fn mount_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<bool, Fault> {
        self.begin_request(Request::Mount, format!("{repository} {digest}")).await?;
        let Some(bytes) = self.within(from, |content| content.blobs.get(digest).cloned()) else {
            return Ok(false);
        };
        self.within(repository, |content| content.blobs.insert(digest.clone(), bytes));
        Ok(true)
    }

    async fn push_manifest(
        &self,
        repository: &Repository,
        at: &Identifier,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, Fault> {
        self.begin_request(Request::PushManifest, format!("{repository} {at}")).await?;
        self.check_blobs(repository, &bytes)?;
        let digest = self.put_manifest(repository, media_type, &bytes);
        match at {
            Identifier::Tag(tag) => self.put_tag(repository, tag, &digest),
            Identifier::Digest(asked) if *asked != digest => {
                return Err(fault(FaultKind::DigestMismatch, repository, "not what was announced"));
            }
            Identifier::Digest(_) => {}
        }
        Ok(digest)
    }

    async fn replace_manifest(
        &self,
        repository: &Repository,
        tag: &str,
        expected: Option<&Digest>,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<bool, Fault> {
        let standing = |content: &mut Content| content.tags.get(tag).cloned();
        let before = self.within(repository, standing);
        self.begin_request(Request::Replace, format!("{repository} {tag}")).await?;
        self.check_blobs(repository, &bytes)?;
        let digest = Digest::of(&bytes);
        Ok(self.within(repository, |content| {
            let now = if self.ignores_conditions { before } else { standing(content) };
            if now.as_ref() != expected {
                return false;
            }
            content.manifests.insert(digest.clone(), (media_type.to_owned(), bytes));
            content.tags.insert(tag.to_owned(), digest);
            true
        }))
    }

    async fn delete(&self, repository: &Repository, what: &Identifier) -> Result<bool, Fault> {
        self.begin_request(Request::Delete, format!("{repository} {what}")).await?;
        Ok(self.within(repository, |content| match what {
            Identifier::Tag(tag) => content.tags.remove(tag).is_some(),
            Identifier::Digest(digest) => {
                content.tags.retain(|_, tagged| tagged != digest);
                content.manifests.remove(digest).is_some()
            }
        }))
    }
}

impl MemoryRegistry {
    /// Refuses a manifest whose blobs are missing.
    fn check_blobs(&self, repository: &Repository, bytes: &[u8]) -> Result<(), Fault> {
        let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else { return Ok(()) };
        let wanted = std::iter::once(&manifest.config).chain(&manifest.layers);
        self.within(repository, |content| {
            match wanted.into_iter().find(|blob| !content.blobs.contains_key(&blob.digest)) {
                Some(missing) => {
                    let detail = format!("blob unknown: {}", missing.digest);
                    Err(fault(FaultKind::Malformed, repository, detail))
                }
                None => Ok(()),
            }
        })
    }
}

/// Concatenation of a byte stream.
trait ConcatBytes {
    async fn try_concat_bytes(self) -> Result<Bytes, Fault>;
}

impl ConcatBytes for BlobStream {
    async fn try_concat_bytes(self) -> Result<Bytes, Fault> {
        let pieces: Vec<Bytes> = self.try_collect().await?;
        Ok(pieces.concat().into())
    }
}
