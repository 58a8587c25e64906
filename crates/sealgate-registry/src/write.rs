//! Pushes and deletions of blobs and manifests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use sealgate_core::digest::{Digest, Hasher};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::ports::{BlobStream, RegistryRead as _};
use tokio::time::Instant;
use url::Url;

use crate::auth::TokenScope;
use crate::capability::Capability;
use crate::client::Client;
use crate::referrers::{ListType, ReferrersResponse};
use crate::reply::Reply;
use crate::session::{ApiRequest, Endpoint, Retry};
use crate::shape::{Shape, check_tag};
use crate::transport::{Body, check_hop, content_type};

/// Header by which a registry confirms that it maintains the referrers list itself.
pub(crate) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Maximum size of blobs (signatures, bundles, configurations) buffered in memory, so that a failed
/// upload can be retried.
const MAX_BUFFERED_BLOB: u64 = 1 << 20;

/// Attempts to push a manifest to a registry that temporarily loses its blobs, and the first pause.
const MANIFEST_ATTEMPTS: u32 = 6;
const MANIFEST_FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Precondition of a manifest PUT against concurrent writers.
#[derive(Clone, Debug, Default)]
pub(crate) enum Precondition {
    /// None.
    #[default]
    None,
    /// None that the registry checks, but the PUT is not retried after a lost response.
    NoRetry,
    /// `If-Match` with the entity tag of the version read; and that version's digest.
    IfMatch(HeaderValue, Digest),
    /// `If-None-Match: *`.
    IfNoneMatch,
}

/// Presence of a pushed manifest in the referrers API's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    Yes,
    /// Absent, or not visible to strict readers, which read the fallback tag.
    No,
    /// Only other manifests are listed, so readers do not read the fallback tag.
    OthersOnly,
    /// The list could not be read.
    Unknown,
}

/// Reads of a list that lacks the pushed manifest, and the first pause between them.
const LIST_READS: u32 = 4;
const LIST_FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Result of a PUT.
pub(crate) enum Put {
    Done {
        /// True if the registry answered with `OCI-Subject`.
        keeps_referrers: bool,
    },
    /// 412, and the tag has changed since: another writer was first.
    Conflict,
}

impl Client {
    /// Pushes a blob unless it exists.
    pub(crate) async fn write_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        content: BlobStream,
    ) -> Result<(), Fault> {
        if self.has_blob(repository, &descriptor.digest).await? {
            return Ok(());
        }
        if descriptor.size > MAX_BUFFERED_BLOB {
            return self.upload_stream(repository, descriptor, content).await;
        }
        let bytes = buffered(repository.registry(), descriptor, content).await?;
        let deadline = Instant::now() + self.shared.options.timeouts.request;
        let host = self.host(repository).await;
        let mut pauses = self.shared.options.retries.pauses(deadline);
        loop {
            let body = Body::Bytes(bytes.clone());
            match self.upload(repository, descriptor, body, deadline).await {
                Err(fault) => pauses.before_next(fault, &host.budget).await?,
                done => return done,
            }
        }
    }

    async fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, Fault> {
        let mut req =
            ApiRequest::new(self, Method::HEAD, repository).at_path(format!("blobs/{digest}"));
        // Same scope as the following upload, so that one token serves for both.
        req.scope = TokenScope::Push(repository.path().to_owned());
        let reply = self.send(req).await?;
        match reply.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(false),
            _ => Err(reply.refusal()),
        }
    }

    /// Streams a large blob, checking it while sending.
    async fn upload_stream(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        content: BlobStream,
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + self.shared.options.timeouts.transfer;
        let broken = Arc::new(Mutex::new(None));
        let target = repository.registry().to_owned();
        let checked = BlobUpload::new(target, descriptor, content).stream(broken.clone());
        let body = Body::Stream(reqwest::Body::wrap_stream(checked));
        let sent = self.upload(repository, descriptor, body, deadline).await;
        // A failure of the source caused whatever the registry reported.
        match broken.lock().ok().and_then(|mut slot| slot.take()) {
            Some(fault) => Err(fault),
            None => sent,
        }
    }

    /// Starts an upload with POST, then PUTs the whole content.
    async fn upload(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        body: Body,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let scope = TokenScope::Push(repository.path().to_owned());
        let reply = self.begin_upload(repository, scope.clone(), "", deadline).await?;
        let mut url = location(&reply)?;
        url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
        let mut req = ApiRequest::new(self, Method::PUT, repository);
        req.endpoint = Endpoint::Url(url);
        req.headers.insert(CONTENT_LENGTH, HeaderValue::from(descriptor.size));
        req.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        (req.body, req.scope, req.deadline, req.retry) = (body, scope, deadline, Retry::Never);
        let reply = self.send(req).await?;
        if !reply.status.is_success() {
            return Err(reply.refusal());
        }
        match reply.digest()? {
            Some(stored) if stored != descriptor.digest => {
                let detail = format!("stored the digest {stored} instead of {}", descriptor.digest);
                Err(reply.fault(FaultKind::DigestMismatch, detail))
            }
            _ => Ok(()),
        }
    }

    async fn begin_upload(
        &self,
        repository: &Repository,
        scope: TokenScope,
        query: &str,
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        let place = format!("blobs/uploads/{query}");
        let mut req = ApiRequest::new(self, Method::POST, repository).at_path(place);
        req.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        (req.scope, req.deadline) = (scope, deadline);
        let reply = self.send(req).await?;
        match reply.status {
            StatusCode::ACCEPTED | StatusCode::CREATED => Ok(reply),
            _ => Err(reply.refusal()),
        }
    }

    /// Mounts a blob from another repository of the same registry.
    pub(crate) async fn mount(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<bool, Fault> {
        if from.registry() != repository.registry() {
            return Ok(false);
        }
        let (to, path) = (repository.path().to_owned(), from.path().to_owned());
        let query = format!("?mount={digest}&from={}", urlencoded(&path));
        let deadline = Instant::now() + self.shared.options.timeouts.request;
        let begun =
            self.begin_upload(repository, TokenScope::Mount(to, path), &query, deadline).await;
        match begun {
            Ok(reply) if reply.status == StatusCode::CREATED => Ok(true),
            Ok(reply) => {
                self.cancel_upload(repository, &reply).await;
                Ok(false)
            }
            // If the registry does not mount the blob, the caller uploads it, and gets any
            // permission error then.
            Err(fault) if fault.kind.is_transient() => Err(fault),
            Err(_) => Ok(false),
        }
    }

    /// Cancels an unused upload; failures are ignored.
    async fn cancel_upload(&self, repository: &Repository, reply: &Reply) {
        let Ok(url) = location(reply) else { return };
        let mut req = ApiRequest::new(self, Method::DELETE, repository);
        req.endpoint = Endpoint::Url(url);
        req.scope = TokenScope::Push(repository.path().to_owned());
        req.retry = Retry::Never;
        let _ = self.send(req).await;
    }

    /// Pushes a manifest, and maintains the fallback tag of its subject if the registry does not.
    pub(crate) async fn write_manifest(
        &self,
        repository: &Repository,
        at: &Identifier,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, Fault> {
        let config = |detail: String| Fault::new(FaultKind::Config, repository.registry(), detail);
        let shape = Shape::of(Some(media_type), &bytes)
            .map_err(|(_, detail)| config(format!("manifest to push: {detail}")))?;
        let digest = match at {
            Identifier::Digest(digest) if digest.matches(&bytes) => digest.clone(),
            Identifier::Digest(digest) => {
                return Err(config(format!(
                    "the manifest to push does not have the digest {digest}"
                )));
            }
            Identifier::Tag(_) => Digest::of(&bytes),
        };
        let put = self
            .put_manifest(repository, at, media_type, bytes.clone(), Precondition::None)
            .await?;
        let Some(subject) = shape.subject.clone() else { return Ok(digest) };
        let listed = self.listed(repository, &subject.digest, &digest, put).await?;
        if listed != Listed::Yes {
            let entry = crate::fallback::entry(&shape, &digest, &bytes)
                .map_err(|detail| config(format!("manifest to push: {detail}")))?;
            self.add_referrer(repository, &subject.digest, entry).await?;
        }
        if listed == Listed::OthersOnly {
            self.find_referrer(repository, &subject.digest, &digest).await?;
        }
        Ok(digest)
    }

    /// Looks for the pushed manifest as a reader does, until a registry that updates its list late
    /// includes it. A non-empty list keeps readers from the fallback tag.
    async fn find_referrer(
        &self,
        repository: &Repository,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), Fault> {
        for look in 1..=LIST_READS {
            let list = self.referrers(repository, subject).await?;
            if list.iter().any(|entry| entry.digest == *digest) {
                return Ok(());
            }
            if look < LIST_READS {
                tokio::time::sleep(LIST_FIRST_PAUSE * look).await;
            }
        }
        let detail = format!(
            "its referrers list of {subject} lacks {digest}, which was stored: verifiers will not \
             find it",
        );
        Err(Fault::new(FaultKind::Malformed, repository.registry(), detail))
    }

    /// Returns whether readers find `digest` through the referrers API. `OCI-Subject` is not
    /// reliable: some registries send it without having the API, with one that lists nothing, or
    /// with lists that other readers do not recognise. So the list is read as a reader would. Once
    /// that has succeeded, the header alone is accepted for a while.
    async fn listed(
        &self,
        repository: &Repository,
        subject: &Digest,
        digest: &Digest,
        put: Put,
    ) -> Result<Listed, Fault> {
        let (registry, path) = (repository.registry(), repository.path());
        let capabilities = &self.shared.capabilities;
        let promised = matches!(put, Put::Done { keeps_referrers: true });
        match capabilities.of(registry, path).await {
            Some(Capability::FallbackTag) => return Ok(Listed::No),
            Some(Capability::ApiLists) if promised => return Ok(Listed::Yes),
            _ => {}
        }
        let (list, labelled) = match self.api_list(repository, subject).await {
            Ok(ReferrersResponse::List(list, labelled)) => (list, labelled),
            Ok(ReferrersResponse::NoApi | ReferrersResponse::NotHere) => return Ok(Listed::No),
            // A client that may push may not be allowed to read the list, or the list exceeds the
            // limits: this neither contradicts nor confirms the header.
            Err(fault) if promised => {
                tracing::warn!(%fault, "the list of referrers could not be read after a push");
                return Ok(Listed::Unknown);
            }
            Err(fault) => return Err(fault),
        };
        let found = list.iter().any(|entry| entry.digest == *digest);
        match labelled {
            ListType::Index if found => {
                capabilities.remember(registry, path, Capability::ApiLists).await;
                Ok(Listed::Yes)
            }
            _ if !found && !list.is_empty() => Ok(Listed::OthersOnly),
            _ => Ok(Listed::No),
        }
    }

    /// Sends one PUT of a manifest. A conditional PUT is not retried: a lost response may have been
    /// a success.
    pub(crate) async fn put_manifest(
        &self,
        repository: &Repository,
        at: &Identifier,
        media_type: &str,
        bytes: Bytes,
        precondition: Precondition,
    ) -> Result<Put, Fault> {
        if let Identifier::Tag(tag) = at {
            check_tag(repository.registry(), tag)?;
        }
        let digest = match at {
            Identifier::Digest(digest) => digest.clone(),
            Identifier::Tag(_) => Digest::of(&bytes),
        };
        let headers = precondition_headers(media_type, &precondition).ok_or_else(|| {
            Fault::new(FaultKind::Config, repository.registry(), "unusable media type")
        })?;
        let mut sights = 0;
        let reply = loop {
            let mut req =
                ApiRequest::new(self, Method::PUT, repository).at_path(format!("manifests/{at}"));
            req.headers = headers.clone();
            if !matches!(precondition, Precondition::None) {
                req.retry = Retry::Never;
            }
            req.scope = TokenScope::Push(repository.path().to_owned());
            req.body = Body::Bytes(bytes.clone());
            let reply = self.send(req).await?;
            sights += 1;
            if sights == MANIFEST_ATTEMPTS || !reply.lost_blobs() {
                break reply;
            }
            tokio::time::sleep(MANIFEST_FIRST_PAUSE * sights).await;
        };
        if reply.status == StatusCode::PRECONDITION_FAILED
            && self.moved(repository, at, &precondition).await?
        {
            return Ok(Put::Conflict);
        }
        if !reply.status.is_success() {
            return Err(reply.refusal());
        }
        match reply.digest()? {
            Some(stored) if stored.algorithm() == digest.algorithm() && stored != digest => {
                let detail = format!("stored the digest {stored} instead of {digest}");
                Err(reply.fault(FaultKind::DigestMismatch, detail))
            }
            _ => Ok(Put::Done { keeps_referrers: reply.headers.contains_key(OCI_SUBJECT) }),
        }
    }

    /// Returns whether a tag has changed since the precondition was read. Registries also answer
    /// 412 when an immutable tag would be moved, which a retry would not change.
    async fn moved(
        &self,
        repository: &Repository,
        at: &Identifier,
        precondition: &Precondition,
    ) -> Result<bool, Fault> {
        let was = match precondition {
            Precondition::None | Precondition::NoRetry => return Ok(false),
            Precondition::IfMatch(_, digest) => Some(digest),
            Precondition::IfNoneMatch => None,
        };
        let now = self.read_descriptor(repository, at).await?;
        Ok(now.as_ref().map(|descriptor| &descriptor.digest) != was)
    }

    /// Deletes a tag or a manifest; the latter also from the fallback list of its subject.
    pub(crate) async fn remove(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<bool, Fault> {
        let Identifier::Digest(digest) = what else {
            return self.remove_one(repository, what).await;
        };
        let Some(found) = self.read_manifest(repository, what).await? else { return Ok(false) };
        let removed = self.remove_one(repository, what).await?;
        let shape = Shape::of(Some(&found.manifest.descriptor.media_type), &found.manifest.bytes);
        if let Ok(Shape { subject: Some(subject), .. }) = shape {
            self.remove_referrer(repository, &subject.digest, digest).await?;
        }
        Ok(removed)
    }

    async fn remove_one(&self, repository: &Repository, what: &Identifier) -> Result<bool, Fault> {
        if let Identifier::Tag(tag) = what {
            check_tag(repository.registry(), tag)?;
        }
        let mut req =
            ApiRequest::new(self, Method::DELETE, repository).at_path(format!("manifests/{what}"));
        req.scope = TokenScope::Delete(repository.path().to_owned());
        let reply = self.send(req).await?;
        if reply.is_absent()? {
            return Ok(false);
        }
        if reply.status.is_success() {
            return Ok(true);
        }
        if unsupported_tag(&reply, what) {
            return self.remove_tagged(repository, what).await;
        }
        Err(reply.refusal())
    }

    /// Registries that delete by digest only (docker-registry before 3) delete the tag with its
    /// manifest, and with it all other tags of that manifest: they offer nothing else.
    async fn remove_tagged(
        &self,
        repository: &Repository,
        tag: &Identifier,
    ) -> Result<bool, Fault> {
        let Some(found) = self.read_descriptor(repository, tag).await? else { return Ok(false) };
        let mut req = ApiRequest::new(self, Method::DELETE, repository)
            .at_path(format!("manifests/{}", found.digest));
        req.scope = TokenScope::Delete(repository.path().to_owned());
        let reply = self.send(req).await?;
        match reply.is_absent()? {
            true => Ok(false),
            false if reply.status.is_success() => Ok(true),
            false => Err(reply.refusal()),
        }
    }
}

/// Returns whether the registry reports that it cannot delete by tag.
fn unsupported_tag(reply: &Reply, what: &Identifier) -> bool {
    let codes = reply.codes();
    let says = |code: &str| codes.iter().any(|c| c == code);
    matches!(what, Identifier::Tag(_))
        && match reply.status.as_u16() {
            400 => says("DIGEST_INVALID") || says("UNSUPPORTED") || says("MANIFEST_INVALID"),
            405 => says("DIGEST_INVALID") || says("UNSUPPORTED") && !reply.body.is_empty(),
            _ => false,
        }
}

fn precondition_headers(media_type: &str, precondition: &Precondition) -> Option<HeaderMap> {
    let mut headers = content_type(media_type)?;
    match precondition {
        Precondition::None | Precondition::NoRetry => {}
        Precondition::IfMatch(etag, _) => {
            headers.insert(reqwest::header::IF_MATCH, etag.clone());
        }
        Precondition::IfNoneMatch => {
            headers.insert(reqwest::header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
    }
    Some(headers)
}

/// Location of an upload: relative or absolute, with its query.
fn location(reply: &Reply) -> Result<Url, Fault> {
    let text = reply.header(&LOCATION);
    let url = text
        .and_then(|text| reply.url.join(text).ok())
        .ok_or_else(|| reply.fault(FaultKind::Malformed, "the upload has no usable Location"))?;
    check_hop(&reply.target, &reply.url, &url)?;
    Ok(url)
}

fn urlencoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Buffers a small blob and checks it against its descriptor.
async fn buffered(
    target: &str,
    descriptor: &Descriptor,
    content: BlobStream,
) -> Result<Bytes, Fault> {
    let mut all = BytesMut::new();
    let mut checked =
        std::pin::pin!(BlobUpload::new(target.to_owned(), descriptor, content).checked());
    while let Some(piece) = checked.try_next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// Blob being uploaded.
struct BlobUpload {
    target: String,
    content: BlobStream,
    hasher: Option<Hasher>,
    left: u64,
    digest: Digest,
}

impl BlobUpload {
    fn new(target: String, descriptor: &Descriptor, content: BlobStream) -> Self {
        let digest = descriptor.digest.clone();
        let hasher = Some(Digest::hasher(digest.algorithm()));
        Self { target, content, hasher, left: descriptor.size, digest }
    }

    /// Same bytes; the last item is a fault if they do not match the descriptor.
    fn checked(self) -> impl Stream<Item = Result<Bytes, Fault>> + Send {
        stream::try_unfold(self, Self::step)
    }

    /// Variant of [`Self::checked`] for the HTTP library; the fault is stored in `broken`.
    fn stream(
        self,
        broken: Arc<Mutex<Option<Fault>>>,
    ) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
        self.checked().map(move |item| {
            item.map_err(|fault| {
                let text = fault.detail.clone();
                if let Ok(mut slot) = broken.lock() {
                    *slot = Some(fault);
                }
                std::io::Error::other(text)
            })
        })
    }

    /// Next chunk. The last one is held back until all checks have passed: an HTTP library stops
    /// reading after `Content-Length` bytes, so a later fault would be lost.
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, Fault> {
        let Some(hasher) = self.hasher.as_mut() else { return Ok(None) };
        let Some(piece) = self.content.try_next().await? else {
            self.finish()?;
            return Ok(None);
        };
        hasher.update(&piece);
        let left = self.left.checked_sub(piece.len() as u64);
        self.left = left.ok_or_else(|| self.wrong("more bytes than its descriptor says"))?;
        if self.left == 0 {
            while let Some(more) = self.content.try_next().await? {
                if !more.is_empty() {
                    return Err(self.wrong("more bytes than its descriptor says"));
                }
            }
            self.finish()?;
        }
        Ok(Some((piece, self)))
    }

    fn finish(&mut self) -> Result<(), Fault> {
        if self.left > 0 {
            return Err(self.wrong("fewer bytes than its descriptor says"));
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(digest) if digest == self.digest => Ok(()),
            _ => Err(self.wrong("content that does not match its descriptor")),
        }
    }

    fn wrong(&self, what: &str) -> Fault {
        let detail = format!("the blob {} to push has {what}", self.digest);
        Fault::new(FaultKind::DigestMismatch, self.target.clone(), detail)
    }
}
