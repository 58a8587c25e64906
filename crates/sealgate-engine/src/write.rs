//! The steps that every use case writes blobs and manifests with.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Repository};

use crate::failure::Failure;
use crate::ports::{BlobStream, RegistryWrite};

/// A descriptor of `content`: media type, size and digest.
pub(crate) fn describe(media_type: &str, content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        size: content.len() as u64,
        digest: Digest::of(content),
        artifact_type: None,
        annotations: Default::default(),
        platform: None,
    }
}

/// A stream of one item.
pub(crate) fn one_piece(content: Bytes) -> BlobStream {
    stream::once(std::future::ready(Ok(content))).boxed()
}

/// Stores a blob that is in memory.
pub(crate) async fn blob(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    media_type: &str,
    content: Bytes,
) -> Result<(), Fault> {
    let descriptor = describe(media_type, &content);
    registry.push_blob(repository, &descriptor, one_piece(content)).await
}

/// Stores a manifest under its digest, and checks the digest that the registry returns.
pub(crate) async fn manifest_by_digest(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    media_type: &str,
    bytes: Bytes,
) -> Result<Digest, Failure> {
    let digest = Digest::of(&bytes);
    let at = Identifier::Digest(digest.clone());
    let stored = registry.push_manifest(repository, &at, media_type, bytes).await?;
    if stored != digest {
        let detail = format!("stored {digest}, the registry says {stored}");
        return Err(Fault::new(FaultKind::DigestMismatch, repository.registry(), detail).into());
    }
    Ok(digest)
}

/// JSON without line breaks, in the order of the fields.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<Bytes, Failure> {
    let bytes = serde_json::to_vec(value);
    bytes.map(Bytes::from).map_err(|error| Failure::Invalid(error.to_string()))
}

/// A random duration between half of `longest` and `longest`, so that writers that collided retry
/// at different times. It need not be unpredictable.
pub(crate) fn jittered(longest: Duration) -> Duration {
    let spread = RandomState::new().hash_one(()) % 1024;
    longest / 2 + longest.mul_f64(spread as f64 / 2048.0)
}
