//! Manifests, blobs and tags, read with their digests checked.

use bytes::Bytes;
use futures::stream;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, ETAG, HeaderValue};
use reqwest::{Method, StatusCode};
use sealgate_core::digest::{Algorithm, Digest, Hasher};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, is_index, is_manifest};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::ports::{BlobStream, RawManifest};
use serde::Deserialize;
use tokio::time::Instant;

use crate::client::Client;
use crate::links;
use crate::reply::Reply;
use crate::session::{Ask, Place, is_own};
use crate::shape::{self, Shape, check_tag};
use crate::transport::Take;

/// A manifest and the registry's name for this state of it.
pub(crate) struct Tagged {
    pub(crate) manifest: RawManifest,
    /// A strong `ETag`, where sent.
    pub(crate) etag: Option<HeaderValue>,
}

impl Client {
    /// The descriptor of a manifest: by HEAD, and by GET where HEAD does not say everything.
    pub(crate) async fn read_descriptor(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<Descriptor>, Fault> {
        let reply = self.ask(self.manifest_ask(Method::HEAD, repository, what)?).await?;
        match reply.status {
            StatusCode::OK => {
                if let Some(descriptor) = self.described(&reply, what)? {
                    return Ok(Some(descriptor));
                }
            }
            StatusCode::NOT_FOUND => {
                if reply.is_absent().is_ok_and(|absent| absent) {
                    return Ok(None);
                }
            }
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {}
            _ => return Err(reply.refusal()),
        }
        let found = self.read_manifest(repository, what).await?;
        Ok(found.map(|tagged| tagged.manifest.descriptor))
    }

    /// What the headers say; `None` where they do not say it all.
    fn described(&self, reply: &Reply, what: &Identifier) -> Result<Option<Descriptor>, Fault> {
        let size = reply.header(&CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        let (Some(digest), Some(media_type), Some(size)) =
            (reply.digest()?, reply.media_type(), size.filter(|size| *size > 0))
        else {
            return Ok(None);
        };
        // Of anything else the document itself says more: schema 1, a page, a generic type.
        if !is_manifest(&media_type) && !is_index(&media_type) {
            return Ok(None);
        }
        if let Identifier::Digest(asked) = what
            && *asked != digest
        {
            let detail = format!("asked for {asked}, it offers {digest}");
            return Err(reply.fault(FaultKind::DigestMismatch, detail));
        }
        let limit = self.shared.options.limits.manifest_bytes;
        if size > limit {
            let detail = format!("the manifest is larger than {limit} bytes");
            return Err(reply.fault(FaultKind::TooLarge, detail));
        }
        let annotations = Default::default();
        let (artifact_type, platform) = (None, None);
        Ok(Some(Descriptor { media_type, size, digest, artifact_type, annotations, platform }))
    }

    /// A manifest, whole.
    pub(crate) async fn read_manifest(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<Tagged>, Fault> {
        let reply = self.ask(self.manifest_ask(Method::GET, repository, what)?).await?;
        if reply.is_absent()? {
            return Ok(None);
        }
        if reply.status != StatusCode::OK {
            return Err(reply.refusal());
        }
        let said = reply.media_type();
        let refused = |(kind, detail): (FaultKind, String)| {
            reply.fault(kind, format!("{repository} {what}: {detail}"))
        };
        // Before the digest, which is not that of the bytes where they hold signatures of their own.
        Shape::check_schema(said.as_deref()).map_err(refused)?;
        let digest = digest_of(&reply, what)?;
        let shape = Shape::of(said.as_deref(), &reply.body).map_err(refused)?;
        let etag = reply.headers.get(ETAG).filter(|e| e.as_bytes().starts_with(b"\"")).cloned();
        Ok(Some(Tagged { manifest: shape::raw(shape, digest, reply.body), etag }))
    }

    fn manifest_ask<'a>(
        &self,
        method: Method,
        repository: &'a Repository,
        what: &Identifier,
    ) -> Result<Ask<'a>, Fault> {
        if let Identifier::Tag(tag) = what {
            check_tag(repository.registry(), tag)?;
        }
        let mut ask = Ask::new(self, method, repository).below(format!("manifests/{what}"));
        ask.headers.insert(ACCEPT, HeaderValue::from_static(shape::ACCEPT));
        Ok(ask)
    }

    /// A blob of at most `limit` bytes.
    pub(crate) async fn read_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, Fault> {
        let mut ask = Ask::new(self, Method::GET, repository).below(format!("blobs/{digest}"));
        ask.limit = limit;
        let reply = self.ask(ask).await?;
        if self.blob_absent(repository, &reply).await? {
            return Ok(None);
        }
        if !digest.matches(&reply.body) {
            return Err(mismatch(&reply.target, digest));
        }
        Ok(Some(reply.body))
    }

    /// Whether there is no such blob. Where the registry sent us to its storage and that has
    /// none, the registry has lost what it says it has: a fault.
    async fn blob_absent(&self, repository: &Repository, reply: &Reply) -> Result<bool, Fault> {
        if reply.status == StatusCode::OK {
            return Ok(false);
        }
        let host = self.host(repository).await;
        if is_own(&host, &reply.url) && reply.is_absent()? {
            return Ok(true);
        }
        Err(reply.refusal())
    }

    /// A blob as a stream whose end is checked.
    pub(crate) async fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<BlobStream>, Fault> {
        let mut ask = Ask::new(self, Method::GET, repository).below(format!("blobs/{digest}"));
        ask.take = Take::Open;
        let mut reply = self.ask(ask).await?;
        if self.blob_absent(repository, &reply).await? {
            return Ok(None);
        }
        let Some(response) = reply.open.take() else { return Err(reply.refusal()) };
        let incoming = Incoming {
            client: self.clone(),
            target: reply.target,
            response,
            hasher: Some(Digest::hasher(digest.algorithm())),
            digest: digest.clone(),
            deadline: Instant::now() + self.shared.options.timeouts.transfer,
        };
        Ok(Some(Box::pin(stream::try_unfold(incoming, Incoming::step))))
    }

    /// All tags.
    pub(crate) async fn list_tags(&self, repository: &Repository) -> Result<Vec<String>, Fault> {
        let limits = &self.shared.options.limits;
        let deadline = Instant::now() + self.shared.options.timeouts.request;
        let (mut tags, mut place) = (Vec::new(), Place::Below("tags/list".to_owned()));
        // A tag is at most 128 bytes long.
        let mut left = limits.manifest_bytes.max(limits.tags as u64 * 132);
        for _ in 0..limits.pages {
            let mut ask = Ask::new(self, Method::GET, repository);
            (ask.place, ask.deadline, ask.limit) = (place, deadline, left);
            let reply = self.ask(ask).await?;
            left = left.saturating_sub(reply.body.len() as u64);
            if reply.is_absent()? {
                return Ok(tags);
            }
            tags.extend(tags_of(&reply)?);
            if tags.len() > limits.tags {
                break;
            }
            match links::next(&reply)? {
                Some(url) => place = Place::At(url),
                None => return Ok(tags),
            }
        }
        let detail = format!("more than {} tags or {} pages of them", limits.tags, limits.pages);
        Err(Fault::new(FaultKind::TooMany, repository.registry(), detail))
    }
}

#[derive(Deserialize)]
struct TagList {
    /// Go writes an empty list as `null`. No list at all is no answer.
    #[serde(deserialize_with = "Option::deserialize")]
    tags: Option<Vec<String>>,
}

fn tags_of(reply: &Reply) -> Result<Vec<String>, Fault> {
    if reply.status != StatusCode::OK {
        return Err(reply.refusal());
    }
    let list: TagList = serde_json::from_slice(&reply.body)
        .map_err(|_| reply.fault(FaultKind::Malformed, "the list of tags is not its JSON"))?;
    Ok(list.tags.unwrap_or_default())
}

/// The digest of a manifest's bytes: the one it was asked by, the one the registry names, or
/// SHA-256; and whatever was asked or named, the bytes have it.
fn digest_of(reply: &Reply, what: &Identifier) -> Result<Digest, Fault> {
    let said = reply.digest()?;
    let check = |digest: &Digest| match digest.matches(&reply.body) {
        true => Ok(()),
        false => Err(mismatch(&reply.target, digest)),
    };
    said.as_ref().map_or(Ok(()), check)?;
    match (what, said) {
        (Identifier::Digest(asked), _) => check(asked).map(|()| asked.clone()),
        (Identifier::Tag(_), Some(said)) => Ok(said),
        (Identifier::Tag(_), None) => Ok(Digest::with(Algorithm::Sha256, &reply.body)),
    }
}

pub(crate) fn mismatch(target: &str, wanted: &Digest) -> Fault {
    let detail = format!("the bytes it sent do not have the digest {wanted}");
    Fault::new(FaultKind::DigestMismatch, target, detail)
}

/// A blob that is arriving.
struct Incoming {
    client: Client,
    target: String,
    response: reqwest::Response,
    /// Gone once the end has been checked.
    hasher: Option<Hasher>,
    digest: Digest,
    deadline: Instant,
}

impl Incoming {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, Fault> {
        let Some(hasher) = self.hasher.as_mut() else { return Ok(None) };
        let wire = &self.client.shared.wire;
        if let Some(piece) = wire.next(&self.target, &mut self.response, self.deadline).await? {
            hasher.update(&piece);
            return Ok(Some((piece, self)));
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(digest) if digest == self.digest => Ok(None),
            _ => Err(mismatch(&self.target, &self.digest)),
        }
    }
}
