//! Digest-checked reads of manifests, blobs and tags.

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
use crate::session::{ApiRequest, Endpoint, is_own};
use crate::shape::{self, Shape, check_tag};
use crate::transport::{BodyMode, Target};

/// Manifest with the registry's entity tag.
pub(crate) struct Tagged {
    pub(crate) manifest: RawManifest,
    /// Strong `ETag`, if sent.
    pub(crate) etag: Option<HeaderValue>,
    /// Host that answered.
    pub(crate) target: Target,
}

impl Client {
    /// Descriptor of a manifest, from HEAD, or from GET when the headers of HEAD are incomplete.
    pub(crate) async fn read_descriptor(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<Descriptor>, Fault> {
        let reply = self.send(self.manifest_request(Method::HEAD, repository, what)?).await?;
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

    /// Descriptor from the headers; `None` when they are incomplete.
    fn described(&self, reply: &Reply, what: &Identifier) -> Result<Option<Descriptor>, Fault> {
        let size = reply.header(&CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        let (Some(digest), Some(media_type), Some(size)) =
            (reply.digest()?, reply.media_type(), size.filter(|size| *size > 0))
        else {
            return Ok(None);
        };
        // For any other media type, the document is read: schema 1, a web page, or a generic type.
        if !is_manifest(&media_type) && !is_index(&media_type) {
            return Ok(None);
        }
        if let Identifier::Digest(asked) = what
            && *asked != digest
        {
            let detail = format!("requested {asked}, but the registry returned {digest}");
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

    /// Whole manifest.
    pub(crate) async fn read_manifest(
        &self,
        repository: &Repository,
        what: &Identifier,
    ) -> Result<Option<Tagged>, Fault> {
        let reply = self.send(self.manifest_request(Method::GET, repository, what)?).await?;
        if reply.is_absent()? {
            return Ok(None);
        }
        if reply.status != StatusCode::OK {
            return Err(reply.refusal());
        }
        let stated = reply.media_type();
        let refused = |(kind, detail): (FaultKind, String)| {
            reply.fault(kind, format!("{repository} {what}: {detail}"))
        };
        // Before the digest check: the digest of a schema 1 manifest excludes the signatures in it.
        Shape::check_schema(stated.as_deref()).map_err(refused)?;
        let digest = digest_of(&reply, what)?;
        let shape = Shape::of(stated.as_deref(), &reply.body).map_err(refused)?;
        let etag = reply.headers.get(ETAG).filter(|e| e.as_bytes().starts_with(b"\"")).cloned();
        let manifest = shape::raw(shape, digest, reply.body);
        Ok(Some(Tagged { manifest, etag, target: reply.target }))
    }

    fn manifest_request<'a>(
        &self,
        method: Method,
        repository: &'a Repository,
        what: &Identifier,
    ) -> Result<ApiRequest<'a>, Fault> {
        if let Identifier::Tag(tag) = what {
            check_tag(repository.registry(), tag)?;
        }
        let mut req =
            ApiRequest::new(self, method, repository).at_path(format!("manifests/{what}"));
        req.headers.insert(ACCEPT, HeaderValue::from_static(shape::ACCEPT));
        Ok(req)
    }

    /// Blob of at most `limit` bytes.
    pub(crate) async fn read_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, Fault> {
        let mut req =
            ApiRequest::new(self, Method::GET, repository).at_path(format!("blobs/{digest}"));
        req.limit = limit;
        let reply = self.send(req).await?;
        if self.blob_absent(repository, &reply).await? {
            return Ok(None);
        }
        if !digest.matches(&reply.body) {
            return Err(mismatch(&reply.target, digest));
        }
        Ok(Some(reply.body))
    }

    /// Returns whether the blob is absent. If the registry redirected to storage that does not have
    /// it, the registry has lost a blob it lists, which is a fault.
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

    /// Blob as a stream; its digest and size are checked at the end.
    pub(crate) async fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<BlobStream>, Fault> {
        let mut req =
            ApiRequest::new(self, Method::GET, repository).at_path(format!("blobs/{digest}"));
        req.mode = BodyMode::Streamed;
        let mut reply = self.send(req).await?;
        if self.blob_absent(repository, &reply).await? {
            return Ok(None);
        }
        let Some(response) = reply.open.take() else { return Err(reply.refusal()) };
        let incoming = BlobDownload {
            client: self.clone(),
            target: reply.target,
            response,
            hasher: Some(Digest::hasher(digest.algorithm())),
            digest: digest.clone(),
            deadline: Instant::now() + self.shared.options.timeouts.transfer,
        };
        Ok(Some(Box::pin(stream::try_unfold(incoming, BlobDownload::step))))
    }

    /// All tags.
    pub(crate) async fn list_tags(&self, repository: &Repository) -> Result<Vec<String>, Fault> {
        let limits = &self.shared.options.limits;
        let deadline = Instant::now() + self.shared.options.timeouts.request;
        let (mut tags, mut endpoint) = (Vec::new(), Endpoint::Path("tags/list".to_owned()));
        // A tag is at most 128 bytes long.
        let mut left = limits.manifest_bytes.max(limits.tags as u64 * 132);
        for _ in 0..limits.pages {
            let mut req = ApiRequest::new(self, Method::GET, repository);
            (req.endpoint, req.deadline, req.limit) = (endpoint, deadline, left);
            let reply = self.send(req).await?;
            left = left.saturating_sub(reply.body.len() as u64);
            if reply.is_absent()? {
                return Ok(tags);
            }
            tags.extend(tags_of(&reply)?);
            if tags.len() > limits.tags {
                break;
            }
            match links::next(&reply)? {
                Some(url) => endpoint = Endpoint::Url(url),
                None => return Ok(tags),
            }
        }
        let detail = format!("more than {} tags or {} pages of tags", limits.tags, limits.pages);
        Err(Fault::new(FaultKind::TooMany, repository.registry(), detail))
    }
}

#[derive(Deserialize)]
struct TagList {
    /// Go writes an empty list as `null`. A missing list is an error.
    #[serde(deserialize_with = "Option::deserialize")]
    tags: Option<Vec<String>>,
}

fn tags_of(reply: &Reply) -> Result<Vec<String>, Fault> {
    if reply.status != StatusCode::OK {
        return Err(reply.refusal());
    }
    let list: TagList = serde_json::from_slice(&reply.body)
        .map_err(|_| reply.fault(FaultKind::Malformed, "the tag list is not valid JSON"))?;
    Ok(list.tags.unwrap_or_default())
}

/// Digest of a manifest: the requested one, the one in the header, or SHA-256. The bytes are
/// checked against it.
fn digest_of(reply: &Reply, what: &Identifier) -> Result<Digest, Fault> {
    let stated = reply.digest()?;
    let check = |digest: &Digest| match digest.matches(&reply.body) {
        true => Ok(()),
        false => Err(mismatch(&reply.target, digest)),
    };
    stated.as_ref().map_or(Ok(()), check)?;
    match (what, stated) {
        (Identifier::Digest(asked), _) => check(asked).map(|()| asked.clone()),
        (Identifier::Tag(_), Some(stated)) => Ok(stated),
        (Identifier::Tag(_), None) => Ok(Digest::with(Algorithm::Sha256, &reply.body)),
    }
}

pub(crate) fn mismatch(target: &Target, wanted: &Digest) -> Fault {
    let detail = format!("the received bytes do not have the digest {wanted}");
    target.fault(FaultKind::DigestMismatch, detail)
}

/// Blob being downloaded.
struct BlobDownload {
    client: Client,
    target: Target,
    response: reqwest::Response,
    /// `None` once the end has been checked.
    hasher: Option<Hasher>,
    digest: Digest,
    deadline: Instant,
}

impl BlobDownload {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, Fault> {
        let Some(hasher) = self.hasher.as_mut() else { return Ok(None) };
        let transport = &self.client.shared.transport;
        if let Some(piece) = transport.next(&self.target, &mut self.response, self.deadline).await?
        {
            hasher.update(&piece);
            return Ok(Some((piece, self)));
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(digest) if digest == self.digest => Ok(None),
            _ => Err(mismatch(&self.target, &self.digest)),
        }
    }
}
