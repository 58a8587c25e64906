//! Blobs and manifests, written and removed.

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
use sealgate_engine::ports::{BlobStream, Registry as _};
use tokio::time::Instant;
use url::Url;

use crate::auth::Scope;
use crate::client::Client;
use crate::host::Capability;
use crate::referrers::{Answer, Labelled};
use crate::reply::Reply;
use crate::session::{Ask, Place, Repeat};
use crate::shape::{Shape, check_tag};
use crate::transport::{Body, check_hop, content_type};

/// The registry keeps the list of referrers itself.
pub(crate) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Blobs up to this size (signatures, bundles, configurations) are held in memory, so that an
/// upload that fails half-way can be made again.
const HELD: u64 = 1 << 20;

/// How often a manifest is sent to a registry that loses sight of its blobs, and the first pause.
const SIGHTS: u32 = 6;
const BLINK: Duration = Duration::from_millis(50);

/// How a PUT of a manifest is guarded against other writers.
#[derive(Clone, Debug, Default)]
pub(crate) enum Guard {
    /// Not at all.
    #[default]
    None,
    /// By nothing that the registry offers; but a lost answer is not followed by another PUT.
    Once,
    /// `If-Match`: the registry's name for what was read, and its digest.
    Match(HeaderValue, Digest),
    /// `If-None-Match: *`.
    Absent,
}

/// Whether the referrers API has what was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    Yes,
    /// No, or not for readers that go by the letter: they read the fallback tag.
    No,
    /// There are others in the list: nobody reads the fallback tag.
    OthersOnly,
    /// The list could not be read.
    Unknown,
}

/// Looks at a list that does not hold what was pushed, and the first pause between them.
const LOOKS: u32 = 4;
const LATE_LIST: Duration = Duration::from_millis(200);

/// What became of a PUT.
pub(crate) enum Put {
    Done {
        /// Whether the registry answered with `OCI-Subject`.
        keeps_referrers: bool,
    },
    /// 412, and the tag reads differently now: somebody else was faster.
    Lost,
}

impl Client {
    /// Stores a blob unless it is there.
    pub(crate) async fn write_blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        content: BlobStream,
    ) -> Result<(), Fault> {
        if self.has_blob(repository, &descriptor.digest).await? {
            return Ok(());
        }
        if descriptor.size > HELD {
            return self.upload_stream(repository, descriptor, content).await;
        }
        let bytes = held(repository.registry(), descriptor, content).await?;
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
        let mut ask = Ask::new(self, Method::HEAD, repository).below(format!("blobs/{digest}"));
        // The scope of what follows, so that one token does for both.
        ask.scope = Scope::Push(repository.path().to_owned());
        let reply = self.ask(ask).await?;
        match reply.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(false),
            _ => Err(reply.refusal()),
        }
    }

    /// Sends a large blob, checking it on its way out.
    async fn upload_stream(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        content: BlobStream,
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + self.shared.options.timeouts.transfer;
        let broken = Arc::new(Mutex::new(None));
        let target = repository.registry().to_owned();
        let checked = Outgoing::new(target, descriptor, content).stream(broken.clone());
        let body = Body::Stream(reqwest::Body::wrap_stream(checked));
        let sent = self.upload(repository, descriptor, body, deadline).await;
        // Our side's failure is the cause of whatever the registry said about it.
        match broken.lock().ok().and_then(|mut slot| slot.take()) {
            Some(fault) => Err(fault),
            None => sent,
        }
    }

    /// POST for an address, then PUT everything there.
    async fn upload(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        body: Body,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let scope = Scope::Push(repository.path().to_owned());
        let reply = self.begin_upload(repository, scope.clone(), "", deadline).await?;
        let mut url = location(&reply)?;
        url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
        let mut ask = Ask::new(self, Method::PUT, repository);
        ask.place = Place::At(url);
        ask.headers.insert(CONTENT_LENGTH, HeaderValue::from(descriptor.size));
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        (ask.body, ask.scope, ask.deadline, ask.repeat) = (body, scope, deadline, Repeat::Never);
        let reply = self.ask(ask).await?;
        if !reply.status.is_success() {
            return Err(reply.refusal());
        }
        match reply.digest()? {
            Some(stored) if stored != descriptor.digest => {
                let detail = format!("stored {stored} where {} was sent", descriptor.digest);
                Err(reply.fault(FaultKind::DigestMismatch, detail))
            }
            _ => Ok(()),
        }
    }

    async fn begin_upload(
        &self,
        repository: &Repository,
        scope: Scope,
        query: &str,
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        let place = format!("blobs/uploads/{query}");
        let mut ask = Ask::new(self, Method::POST, repository).below(place);
        ask.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        (ask.scope, ask.deadline) = (scope, deadline);
        let reply = self.ask(ask).await?;
        match reply.status {
            StatusCode::ACCEPTED | StatusCode::CREATED => Ok(reply),
            _ => Err(reply.refusal()),
        }
    }

    /// Makes a blob of another repository of the same registry known here.
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
        let begun = self.begin_upload(repository, Scope::Mount(to, path), &query, deadline).await;
        match begun {
            Ok(reply) if reply.status == StatusCode::CREATED => Ok(true),
            Ok(reply) => {
                self.abandon(repository, &reply).await;
                Ok(false)
            }
            // A registry that does not mount, or not from there: the caller moves the bytes, and
            // hears of rights that are missing then.
            Err(fault) if fault.kind.is_transient() => Err(fault),
            Err(_) => Ok(false),
        }
    }

    /// Gives back an upload that will not be used. Of no consequence where it fails.
    async fn abandon(&self, repository: &Repository, reply: &Reply) {
        let Ok(url) = location(reply) else { return };
        let mut ask = Ask::new(self, Method::DELETE, repository);
        ask.place = Place::At(url);
        ask.scope = Scope::Push(repository.path().to_owned());
        ask.repeat = Repeat::Never;
        let _ = self.ask(ask).await;
    }

    /// Stores a manifest, and keeps the fallback tag of its subject where the registry does not.
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
                return Err(config(format!("the manifest to push does not have {digest}")));
            }
            Identifier::Tag(_) => Digest::of(&bytes),
        };
        let put = self.put_manifest(repository, at, media_type, bytes.clone(), Guard::None).await?;
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

    /// Looks for what was pushed as a reader does, until the list of a registry that is slow to
    /// update it has it. A list with somebody in it keeps readers from the fallback tag.
    async fn find_referrer(
        &self,
        repository: &Repository,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<(), Fault> {
        for look in 1..=LOOKS {
            let list = self.referrers(repository, subject).await?;
            if list.iter().any(|entry| entry.digest == *digest) {
                return Ok(());
            }
            if look < LOOKS {
                tokio::time::sleep(LATE_LIST * look).await;
            }
        }
        let detail = format!(
            "its list of the referrers of {subject} holds others and not {digest}, which was \
             stored: those who verify will not find it",
        );
        Err(Fault::new(FaultKind::Malformed, repository.registry(), detail))
    }

    /// Whether readers find `digest` under its subject by the registry's API. `OCI-Subject` is a
    /// promise only: some registries make it and have no API, or one that lists nobody, or one
    /// whose lists other readers do not take for lists. So we look as a reader would. Once that
    /// was seen to hold, the promise is taken for it for a while.
    async fn listed(
        &self,
        repository: &Repository,
        subject: &Digest,
        digest: &Digest,
        put: Put,
    ) -> Result<Listed, Fault> {
        let host = self.host(repository).await;
        let promised = matches!(put, Put::Done { keeps_referrers: true });
        match host.capability(repository.path()) {
            Some(Capability::FallbackTag) => return Ok(Listed::No),
            Some(Capability::ApiLists) if promised => return Ok(Listed::Yes),
            _ => {}
        }
        let (list, labelled) = match self.api_list(repository, subject).await {
            Ok(Answer::List(list, labelled)) => (list, labelled),
            Ok(Answer::NoApi | Answer::NotHere) => return Ok(Listed::No),
            // Whoever may push may not be allowed to read the list, or it is longer than we read:
            // nothing that contradicts the promise, and nothing that bears it out.
            Err(fault) if promised => {
                tracing::warn!(%fault, "the list of referrers could not be read after a push");
                return Ok(Listed::Unknown);
            }
            Err(fault) => return Err(fault),
        };
        let found = list.iter().any(|entry| entry.digest == *digest);
        match labelled {
            Labelled::Index if found => {
                let keep = self.shared.options.timeouts.capability;
                host.remember_capability(repository.path(), Capability::ApiLists, keep);
                Ok(Listed::Yes)
            }
            _ if !found && !list.is_empty() => Ok(Listed::OthersOnly),
            _ => Ok(Listed::No),
        }
    }

    /// One PUT of a manifest. Guarded ones are not repeated: a lost answer may have been a success.
    pub(crate) async fn put_manifest(
        &self,
        repository: &Repository,
        at: &Identifier,
        media_type: &str,
        bytes: Bytes,
        guard: Guard,
    ) -> Result<Put, Fault> {
        if let Identifier::Tag(tag) = at {
            check_tag(repository.registry(), tag)?;
        }
        let digest = match at {
            Identifier::Digest(digest) => digest.clone(),
            Identifier::Tag(_) => Digest::of(&bytes),
        };
        let headers = guarded(media_type, &guard).ok_or_else(|| {
            Fault::new(FaultKind::Config, repository.registry(), "unusable media type")
        })?;
        let mut sights = 0;
        let reply = loop {
            let mut ask = Ask::new(self, Method::PUT, repository).below(format!("manifests/{at}"));
            ask.headers = headers.clone();
            if !matches!(guard, Guard::None) {
                ask.repeat = Repeat::Never;
            }
            ask.scope = Scope::Push(repository.path().to_owned());
            ask.body = Body::Bytes(bytes.clone());
            let reply = self.ask(ask).await?;
            sights += 1;
            if sights == SIGHTS || !reply.lost_sight() {
                break reply;
            }
            tokio::time::sleep(BLINK * sights).await;
        };
        if reply.status == StatusCode::PRECONDITION_FAILED
            && self.moved(repository, at, &guard).await?
        {
            return Ok(Put::Lost);
        }
        if !reply.status.is_success() {
            return Err(reply.refusal());
        }
        match reply.digest()? {
            Some(stored) if stored.algorithm() == digest.algorithm() && stored != digest => {
                let detail = format!("stored {stored} where {digest} was sent");
                Err(reply.fault(FaultKind::DigestMismatch, detail))
            }
            _ => Ok(Put::Done { keeps_referrers: reply.headers.contains_key(OCI_SUBJECT) }),
        }
    }

    /// Whether a tag reads differently from what a condition was made of. Registries answer 412 to
    /// who would move a tag that must not be moved, too; that will be so the next time.
    async fn moved(
        &self,
        repository: &Repository,
        at: &Identifier,
        guard: &Guard,
    ) -> Result<bool, Fault> {
        let was = match guard {
            Guard::None | Guard::Once => return Ok(false),
            Guard::Match(_, digest) => Some(digest),
            Guard::Absent => None,
        };
        let now = self.read_descriptor(repository, at).await?;
        Ok(now.as_ref().map(|descriptor| &descriptor.digest) != was)
    }

    /// Removes a tag or a manifest; the latter from the fallback list of what it refers to, too.
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
            self.drop_referrer(repository, &subject.digest, digest).await?;
        }
        Ok(removed)
    }

    async fn remove_one(&self, repository: &Repository, what: &Identifier) -> Result<bool, Fault> {
        if let Identifier::Tag(tag) = what {
            check_tag(repository.registry(), tag)?;
        }
        let mut ask = Ask::new(self, Method::DELETE, repository).below(format!("manifests/{what}"));
        ask.scope = Scope::Delete(repository.path().to_owned());
        let reply = self.ask(ask).await?;
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

    /// Registries that delete by digest only (docker-registry before 3) lose the tag with its
    /// manifest. A manifest with several tags loses them all: nothing else is offered there.
    async fn remove_tagged(
        &self,
        repository: &Repository,
        tag: &Identifier,
    ) -> Result<bool, Fault> {
        let Some(found) = self.read_descriptor(repository, tag).await? else { return Ok(false) };
        let mut ask =
            Ask::new(self, Method::DELETE, repository).below(format!("manifests/{}", found.digest));
        ask.scope = Scope::Delete(repository.path().to_owned());
        let reply = self.ask(ask).await?;
        match reply.is_absent()? {
            true => Ok(false),
            false if reply.status.is_success() => Ok(true),
            false => Err(reply.refusal()),
        }
    }
}

/// Whether the registry says that it does not delete by tag.
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

fn guarded(media_type: &str, guard: &Guard) -> Option<HeaderMap> {
    let mut headers = content_type(media_type)?;
    match guard {
        Guard::None | Guard::Once => {}
        Guard::Match(etag, _) => {
            headers.insert(reqwest::header::IF_MATCH, etag.clone());
        }
        Guard::Absent => {
            headers.insert(reqwest::header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
    }
    Some(headers)
}

/// The address of an upload: relative or absolute, its query kept.
fn location(reply: &Reply) -> Result<Url, Fault> {
    let text = reply.header(&LOCATION);
    let url = text
        .and_then(|text| reply.url.join(text).ok())
        .ok_or_else(|| reply.fault(FaultKind::Malformed, "an upload without a usable Location"))?;
    check_hop(&reply.target, &reply.url, &url)?;
    Ok(url)
}

fn urlencoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A small blob, whole, exactly as its descriptor says.
async fn held(target: &str, descriptor: &Descriptor, content: BlobStream) -> Result<Bytes, Fault> {
    let mut all = BytesMut::new();
    let mut checked =
        std::pin::pin!(Outgoing::new(target.to_owned(), descriptor, content).checked());
    while let Some(piece) = checked.try_next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

/// A blob on its way out.
struct Outgoing {
    target: String,
    content: BlobStream,
    hasher: Option<Hasher>,
    left: u64,
    digest: Digest,
}

impl Outgoing {
    fn new(target: String, descriptor: &Descriptor, content: BlobStream) -> Self {
        let digest = descriptor.digest.clone();
        let hasher = Some(Digest::hasher(digest.algorithm()));
        Self { target, content, hasher, left: descriptor.size, digest }
    }

    /// The same bytes; the last item is a fault if they are not what the descriptor says.
    fn checked(self) -> impl Stream<Item = Result<Bytes, Fault>> + Send {
        stream::try_unfold(self, Self::step)
    }

    /// As [`Self::checked`] for the HTTP library; the fault itself is left in `broken`.
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

    /// The next piece. The last one is held back until everything is known to be right: an HTTP
    /// library does not ask for more than `Content-Length`, so a fault after it would be unheard.
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
            _ => Err(self.wrong("not the bytes that its descriptor says")),
        }
    }

    fn wrong(&self, what: &str) -> Fault {
        let detail = format!("the blob {} to push has {what}", self.digest);
        Fault::new(FaultKind::DigestMismatch, self.target.clone(), detail)
    }
}
