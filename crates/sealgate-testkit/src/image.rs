//! Small images, indexes, and their signatures.

use sealgate_core::digest::Digest;
use sealgate_core::manifest::media_type;
use sealgate_core::reference::{Identifier, Reference, Repository};
use sealgate_engine::ports::Signer;
use sealgate_engine::sign::{Formats, SignRequest, SignedImage, sign_image};
use serde_json::json;

use crate::ports::FrozenClock;
use crate::registry::MemoryRegistry;

/// Parses a repository.
pub fn repository(text: &str) -> Repository {
    Repository::parse(text).unwrap()
}

/// Parses a reference.
pub fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// `repository@digest`.
pub fn at(repository: &Repository, digest: &Digest) -> Reference {
    repository.at(Identifier::Digest(digest.clone()))
}

/// Stores an image with one layer that contains `text`; returns its digest.
pub fn image(registry: &MemoryRegistry, repository: &Repository, text: &str) -> Digest {
    let config = json!({"architecture": "amd64", "os": "linux", "config": {}}).to_string();
    let config_digest = registry.put_blob(repository, config.as_bytes());
    let layer = registry.put_blob(repository, text.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": {"mediaType": media_type::OCI_CONFIG, "size": config.len(), "digest": config_digest},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": text.len(), "digest": layer}],
    });
    registry.put_manifest(repository, media_type::OCI_MANIFEST, manifest.to_string().as_bytes())
}

/// Stores an image under a tag.
pub fn tagged(registry: &MemoryRegistry, reference: &Reference, text: &str) -> Digest {
    let digest = image(registry, reference.repository(), text);
    registry.put_tag(reference.repository(), reference.tag().unwrap(), &digest);
    digest
}

/// Stores an index of `children`, each with its platform.
pub fn index(
    registry: &MemoryRegistry,
    repository: &Repository,
    children: &[(&Digest, &str)],
) -> Digest {
    let entries = children.iter().map(|(digest, architecture)| {
        let raw = registry.peek(repository, &Identifier::Digest((*digest).clone())).unwrap();
        json!({
            "mediaType": raw.descriptor.media_type,
            "size": raw.bytes.len(),
            "digest": digest,
            "platform": {"os": "linux", "architecture": architecture},
        })
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": entries.collect::<Vec<_>>(),
    });
    registry.put_manifest(repository, media_type::OCI_INDEX, index.to_string().as_bytes())
}

/// Signs an image in `formats`, and clears the request log.
pub async fn sign(
    registry: &MemoryRegistry,
    image: &Reference,
    signer: &dyn Signer,
    formats: Formats,
) -> SignedImage {
    let request = SignRequest { formats, ..SignRequest::default() };
    let clock = FrozenClock::default();
    let mut signed = sign_image(registry, image, signer, &clock, &request).await.unwrap();
    registry.take_count();
    signed.remove(0)
}
