//! Blob endpoints: read, upload in one or several chunks, mount, delete.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use sealgate_core::digest::Digest;

use super::route::{IncomingRequest, empty, error};
use super::{Locations, State, locked};

impl State {
    pub(super) fn blob(&self, asked: &IncomingRequest, name: &str, digest: &str) -> Response<Body> {
        let unknown = || error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "no such blob");
        let Ok(digest) = digest.parse::<Digest>() else {
            return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "no digest");
        };
        let mut store = locked(&self.store);
        match asked.method {
            Method::GET | Method::HEAD => {
                let found = store.repository(name).and_then(|r| r.blobs.get(&digest)).cloned();
                found.map_or_else(unknown, |bytes| found_blob(asked, &digest, bytes))
            }
            Method::DELETE => match store.make(name).blobs.remove(&digest) {
                Some(_) => empty(StatusCode::ACCEPTED, &[]),
                None => unknown(),
            },
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "not for blobs"),
        }
    }

    /// POST: starts an upload, mounts a blob, or uploads a blob in a single request.
    pub(super) fn begin_upload(&self, asked: &IncomingRequest, name: &str) -> Response<Body> {
        if asked.method != Method::POST {
            return error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "POST starts an upload");
        }
        if let (Some(digest), Some(from)) = (asked.query("mount"), asked.query("from")) {
            let found = digest.parse::<Digest>().ok().and_then(|digest| {
                let bytes = locked(&self.store).repository(from)?.blobs.get(&digest)?.clone();
                Some((digest, bytes))
            });
            if let Some((digest, bytes)) = found {
                return self.created(name, digest, bytes);
            }
        }
        if let Some(digest) = asked.query("digest") {
            return self.finish(name, digest, asked.body.clone());
        }
        let id = locked(&self.store).begin_upload(name);
        self.under_way(StatusCode::ACCEPTED, name, &id, 0)
    }

    /// PATCH, PUT, GET and DELETE of an upload.
    pub(super) fn upload(&self, asked: &IncomingRequest, name: &str, id: &str) -> Response<Body> {
        let mut store = locked(&self.store);
        let uploads = &mut store.make(name).uploads;
        let Some(held) = uploads.get_mut(id) else {
            return error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "no such upload");
        };
        match asked.method {
            Method::PATCH | Method::PUT
                if held.len() + asked.body.len() > self.options.blob_bytes =>
            {
                error(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "too large")
            }
            Method::PATCH => {
                held.extend_from_slice(&asked.body);
                let length = held.len();
                self.under_way(StatusCode::ACCEPTED, name, id, length)
            }
            Method::PUT => {
                held.extend_from_slice(&asked.body);
                let bytes = uploads.remove(id).unwrap_or_default().freeze();
                drop(store);
                self.finish(name, asked.query("digest").unwrap_or_default(), bytes)
            }
            Method::GET => {
                let length = held.len();
                self.under_way(StatusCode::NO_CONTENT, name, id, length)
            }
            Method::DELETE => {
                uploads.remove(id);
                empty(StatusCode::NO_CONTENT, &[])
            }
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "not for uploads"),
        }
    }

    fn finish(&self, name: &str, digest: &str, bytes: Bytes) -> Response<Body> {
        match digest.parse::<Digest>() {
            Ok(digest) if digest.matches(&bytes) => self.created(name, digest, bytes),
            _ => error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "the bytes are others"),
        }
    }

    fn created(&self, name: &str, digest: Digest, bytes: Bytes) -> Response<Body> {
        let text = digest.to_string();
        locked(&self.store).make(name).blobs.insert(digest, bytes);
        let location = self.address(&format!("/v2/{name}/blobs/{text}"));
        let headers = [("location", location.as_str()), ("docker-content-digest", text.as_str())];
        empty(StatusCode::CREATED, &headers)
    }

    fn under_way(&self, status: StatusCode, name: &str, id: &str, held: usize) -> Response<Body> {
        // A query, as real registries have one: clients must keep it.
        let location = self.address(&format!("/v2/{name}/blobs/uploads/{id}?_state=kept"));
        let range = format!("0-{}", held.saturating_sub(1));
        empty(status, &[("location", location.as_str()), ("range", range.as_str())])
    }

    pub(super) fn address(&self, path: &str) -> String {
        match self.options.locations {
            Locations::Relative => path.to_owned(),
            Locations::Absolute => format!("http://{}{path}", self.addr),
        }
    }
}

fn found_blob(asked: &IncomingRequest, digest: &Digest, bytes: Bytes) -> Response<Body> {
    let length = HeaderValue::from(bytes.len());
    let body = if asked.method == Method::HEAD { Body::empty() } else { Body::from(bytes) };
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(value) = HeaderValue::from_str(&digest.to_string()) {
        headers.insert("docker-content-digest", value);
    }
    answer
}
