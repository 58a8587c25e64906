//! Tests of the client against the in-memory registry.

mod auth;
mod destinations;
mod faults;
mod plain;
mod push;
mod real;
mod referrers;
mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use sealgate_core::digest::Digest;
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::budget::Lease;
use sealgate_engine::ports::{BlobStream, RegistryWrite};
use sealgate_registry::serve::{self, Served};
use sealgate_registry::{Client, Options, Proxies, Retries, Timeouts};

/// Options with short timeouts.
fn options() -> Options {
    Options {
        proxies: Proxies::Off,
        timeouts: Timeouts {
            connect: Duration::from_secs(2),
            idle: Duration::from_millis(500),
            request: Duration::from_secs(3),
            ..Timeouts::default()
        },
        retries: Retries { first_pause: Duration::from_millis(10), ..Retries::default() },
        ..Options::default()
    }
}

fn client() -> Client {
    Client::new(options()).unwrap()
}

/// A lease that limits nothing.
fn lease() -> Lease {
    Lease::standalone(u64::MAX)
}

async fn served(options: serve::Options) -> Served {
    Served::start(options).await.unwrap()
}

fn repository(served: &Served, path: &str) -> Repository {
    Repository::parse(&format!("{}/{path}", served.registry())).unwrap()
}

fn tag(name: &str) -> Identifier {
    Identifier::Tag(name.to_owned())
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        size: bytes.len() as u64,
        digest: Digest::of(bytes),
        artifact_type: None,
        annotations: BTreeMap::new(),
        platform: None,
    }
}

fn content(bytes: impl Into<Bytes>) -> BlobStream {
    let bytes = bytes.into();
    let pieces: Vec<_> = bytes.chunks(100_000).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
    Box::pin(stream::iter(pieces))
}

async fn push_blob(client: &Client, repository: &Repository, bytes: &[u8]) -> Descriptor {
    let descriptor = descriptor("application/octet-stream", bytes);
    let content = content(bytes.to_vec());
    client.push_blob(repository, &descriptor, content).await.unwrap();
    descriptor
}

/// Pushes a small image; returns its descriptor.
async fn push_image(client: &Client, repository: &Repository, at: &str) -> Descriptor {
    let config = push_blob(client, repository, b"{}").await;
    let layer = push_blob(client, repository, format!("layer of {at}").as_bytes()).await;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": { "mediaType": media_type::OCI_CONFIG, "size": config.size, "digest": config.digest },
        "layers": [layer],
    });
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let found = descriptor(media_type::OCI_MANIFEST, &bytes);
    let put =
        client.push_manifest(repository, &tag(at), media_type::OCI_MANIFEST, bytes.into()).await;
    assert_eq!(put.unwrap(), found.digest);
    found
}

/// Bytes of a bundle manifest with the subject `subject`, as cosign writes it.
fn bundle_manifest(subject: &Descriptor, layer: &Descriptor) -> Vec<u8> {
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": {
            "mediaType": media_type::OCI_EMPTY, "size": 2, "digest": Digest::of(b"{}"),
            "artifactType": media_type::BUNDLE_V03,
        },
        "layers": [layer],
        "annotations": { "dev.sigstore.bundle.content": "dsse-envelope" },
        "subject": subject,
        "artifactType": media_type::BUNDLE_V03,
    });
    serde_json::to_vec(&manifest).unwrap()
}

/// Pushes a bundle as a referrer of `subject`.
async fn push_bundle(
    client: &Client,
    repository: &Repository,
    subject: &Descriptor,
    text: &str,
) -> Digest {
    push_blob(client, repository, b"{}").await;
    let mut layer = push_blob(client, repository, text.as_bytes()).await;
    layer.media_type = media_type::BUNDLE_V03.to_owned();
    let bytes = bundle_manifest(subject, &layer);
    let at = Identifier::Digest(Digest::of(&bytes));
    let put = client.push_manifest(repository, &at, media_type::OCI_MANIFEST, bytes.into()).await;
    put.unwrap()
}
