//! Manifest, tag and referrers endpoints.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use sealgate_core::digest::Digest;
use sealgate_core::manifest::{Descriptor, Manifest, media_type};
use serde_json::json;

use super::route::{IncomingRequest, empty, error, json as json_answer, not_found_page};
use super::store::{Repository, Stored};
use super::{Referrers, State, TagUpdates, locked};
use crate::shape::{Shape, check_tag};

impl State {
    pub(super) fn manifest(
        &self,
        asked: &IncomingRequest,
        name: &str,
        reference: &str,
    ) -> Response<Body> {
        match asked.method {
            Method::GET | Method::HEAD => self.read_manifest(asked, name, reference),
            Method::PUT => self.write_manifest(asked, name, reference),
            Method::DELETE => self.delete_manifest(name, reference),
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "not for manifests"),
        }
    }

    fn read_manifest(
        &self,
        asked: &IncomingRequest,
        name: &str,
        reference: &str,
    ) -> Response<Body> {
        let store = locked(&self.store);
        let Some(repository) = store.repository(name) else { return name_unknown() };
        let found = repository.digest(reference).and_then(|digest| {
            let stored = repository.manifests.get(&digest)?.clone();
            Some((digest, stored))
        });
        match found {
            Some((digest, stored)) => manifest_answer(asked, &digest, stored),
            None => manifest_unknown(),
        }
    }

    fn write_manifest(
        &self,
        asked: &IncomingRequest,
        name: &str,
        reference: &str,
    ) -> Response<Body> {
        let invalid = |text: &str| error(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", text);
        let stated = asked.header(header::CONTENT_TYPE);
        let shape = match Shape::of(stated, &asked.body) {
            Ok(shape) => shape,
            Err((_, detail)) => return invalid(&detail),
        };
        let digest = match reference.parse::<Digest>() {
            Ok(digest) if digest.matches(&asked.body) => digest,
            Ok(_) => return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "other bytes"),
            Err(_) if check_tag("", reference).is_err() => return invalid("no tag"),
            Err(_) => Digest::of(&asked.body),
        };
        let refers = match referring(&shape, &digest, &asked.body) {
            Ok(refers) => refers,
            Err(detail) => return invalid(&detail),
        };
        let mut store = locked(&self.store);
        let repository = store.make(name);
        if let Some(missing) = missing_blob(repository, &shape, &asked.body) {
            return error(StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", &missing);
        }
        if self.options.tags == TagUpdates::Conditional && !holds(repository, asked, reference) {
            return error(StatusCode::PRECONDITION_FAILED, "UNKNOWN", "the tag has moved");
        }
        if self.options.tags == TagUpdates::Immutable
            && repository.tags.get(reference).is_some_and(|now| *now != digest)
        {
            return immutable(reference);
        }
        let subject = refers.as_ref().map(|(to, _)| to.to_string());
        let stored = Stored { media_type: shape.media_type, bytes: asked.body.clone(), refers };
        repository.manifests.insert(digest.clone(), stored);
        if reference.parse::<Digest>().is_err() {
            repository.tags.insert(reference.to_owned(), digest.clone());
        }
        drop(store);
        self.stored(name, &digest, subject)
    }

    fn stored(&self, name: &str, digest: &Digest, subject: Option<String>) -> Response<Body> {
        let text = digest.to_string();
        let location = self.address(&format!("/v2/{name}/manifests/{text}"));
        let mut headers =
            vec![("location", location.as_str()), ("docker-content-digest", text.as_str())];
        let promises = match self.options.referrers {
            Referrers::Api | Referrers::HeaderOnly | Referrers::Untyped => true,
            Referrers::Absent | Referrers::Empty => false,
        };
        if let Some(subject) = subject.as_ref().filter(|_| promises) {
            headers.push(("oci-subject", subject.as_str()));
        }
        empty(StatusCode::CREATED, &headers)
    }

    fn delete_manifest(&self, name: &str, reference: &str) -> Response<Body> {
        let mut store = locked(&self.store);
        let repository = store.make(name);
        let Ok(digest) = reference.parse::<Digest>() else {
            if self.options.tags == TagUpdates::Immutable && repository.tags.contains_key(reference)
            {
                return immutable(reference);
            }
            return match repository.tags.remove(reference) {
                Some(_) => empty(StatusCode::ACCEPTED, &[]),
                None => manifest_unknown(),
            };
        };
        if repository.manifests.remove(&digest).is_none() {
            return manifest_unknown();
        }
        repository.tags.retain(|_, to| *to != digest);
        empty(StatusCode::ACCEPTED, &[])
    }

    pub(super) fn tag_list(&self, asked: &IncomingRequest, name: &str) -> Response<Body> {
        let store = locked(&self.store);
        let Some(repository) = store.repository(name) else { return name_unknown() };
        let after = asked.query("last").unwrap_or_default();
        let size = asked.query("n").and_then(|n| n.parse().ok()).unwrap_or(self.options.page);
        let mut rest = repository.tags.keys().filter(|tag| tag.as_str() > after);
        let page: Vec<&String> = rest.by_ref().take(size).collect();
        let last = page.last().map(|tag| tag.to_string());
        let more = rest.next().is_some();
        let mut answer = json_answer(StatusCode::OK, &json!({ "name": name, "tags": page }));
        if let (true, Some(last)) = (more, last) {
            link(&mut answer, &self.address(&format!("/v2/{name}/tags/list?n={size}&last={last}")));
        }
        answer
    }

    pub(super) fn referrers_list(
        &self,
        asked: &IncomingRequest,
        name: &str,
        digest: &str,
    ) -> Response<Body> {
        if matches!(self.options.referrers, Referrers::Absent | Referrers::HeaderOnly) {
            return not_found_page();
        }
        let Ok(subject) = digest.parse::<Digest>() else {
            return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "no digest");
        };
        let list = locked(&self.store).repository(name).map(|r| r.referrers(&subject));
        let Some(mut list) = list else { return name_unknown() };
        if self.options.referrers == Referrers::Empty {
            list.clear();
        }
        let kind = asked.query("artifactType");
        if let Some(kind) = kind {
            list.retain(|entry| entry.artifact_type.as_deref() == Some(kind));
        }
        let from: usize = asked.query("from").and_then(|n| n.parse().ok()).unwrap_or(0);
        let next = from.saturating_add(self.options.page);
        let more = next < list.len();
        let page: Vec<Descriptor> = list.into_iter().skip(from).take(self.options.page).collect();
        let mut answer = index_answer(&page);
        if more {
            let filter = kind.map(|k| format!("&artifactType={k}")).unwrap_or_default();
            let path = format!("/v2/{name}/referrers/{subject}?from={next}{filter}");
            link(&mut answer, &self.address(&path));
        }
        if kind.is_some() {
            let applied = HeaderValue::from_static("artifactType");
            answer.headers_mut().insert("oci-filters-applied", applied);
        }
        if self.options.referrers == Referrers::Untyped {
            let json = HeaderValue::from_static("application/json");
            answer.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        answer
    }
}

/// Returns whether the precondition of a write holds for the tag.
fn holds(repository: &Repository, asked: &IncomingRequest, reference: &str) -> bool {
    let now = repository.digest(reference).filter(|d| repository.manifests.contains_key(d));
    let fresh = match asked.header(header::IF_NONE_MATCH) {
        Some("*") => now.is_none(),
        _ => true,
    };
    let same = match asked.header(header::IF_MATCH) {
        Some(etag) => now.is_some_and(|digest| etag == format!("\"{digest}\"")),
        None => true,
    };
    fresh && same
}

/// Subject of a manifest, and the manifest's entry in the referrers list of that subject.
fn referring(
    shape: &Shape,
    digest: &Digest,
    bytes: &[u8],
) -> Result<Option<(Digest, Descriptor)>, String> {
    let Some(subject) = &shape.subject else { return Ok(None) };
    let entry = crate::fallback::entry(shape, digest, bytes)?;
    Ok(Some((subject.digest.clone(), entry)))
}

/// Blob that an image manifest references and the repository lacks.
fn missing_blob(repository: &Repository, shape: &Shape, bytes: &[u8]) -> Option<String> {
    if !matches!(shape.media_type.as_str(), media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST)
    {
        return None;
    }
    let manifest: Manifest = match serde_json::from_slice(bytes) {
        Ok(manifest) => manifest,
        Err(e) => return Some(e.to_string()),
    };
    std::iter::once(&manifest.config)
        .chain(&manifest.layers)
        .find(|blob| !repository.blobs.contains_key(&blob.digest))
        .map(|blob| blob.digest.to_string())
}

fn manifest_answer(asked: &IncomingRequest, digest: &Digest, stored: Stored) -> Response<Body> {
    let length = HeaderValue::from(stored.bytes.len());
    let body = if asked.method == Method::HEAD { Body::empty() } else { Body::from(stored.bytes) };
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length);
    let text = [
        ("content-type", stored.media_type),
        ("docker-content-digest", digest.to_string()),
        ("etag", format!("\"{digest}\"")),
    ];
    for (name, value) in text {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    answer
}

fn index_answer(page: &[Descriptor]) -> Response<Body> {
    let body = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": page,
    });
    let mut answer = json_answer(StatusCode::OK, &body);
    let kind = HeaderValue::from_static(media_type::OCI_INDEX);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// Page of an endless list.
pub(super) fn endless_page(path: &str) -> Response<Body> {
    let (bare, query) = path.split_once('?').unwrap_or((path, ""));
    let number: u64 = query.strip_prefix("page=").and_then(|n| n.parse().ok()).unwrap_or(0);
    let entry = |i: u64| Descriptor {
        media_type: media_type::OCI_MANIFEST.to_owned(),
        size: 2,
        digest: Digest::of(format!("{number}/{i}").as_bytes()),
        artifact_type: None,
        annotations: Default::default(),
        platform: None,
    };
    let page: Vec<Descriptor> = (0..10).map(entry).collect();
    let mut answer = index_answer(&page);
    link(&mut answer, &format!("{bare}?page={}", number + 1));
    answer
}

fn link(answer: &mut Response<Body>, to: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("<{to}>; rel=\"next\"")) {
        answer.headers_mut().insert(header::LINK, value);
    }
}

fn name_unknown() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such repository")
}

/// Error text of Harbor.
fn immutable(tag: &str) -> Response<Body> {
    let text = format!("the tag {tag} is immutable, cannot be overwritten");
    error(StatusCode::PRECONDITION_FAILED, "PRECONDITION", &text)
}

fn manifest_unknown() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "no such manifest")
}
