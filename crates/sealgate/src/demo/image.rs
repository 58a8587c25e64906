//! Minimal runnable image: one layer with one file, a configuration, a manifest.

use bytes::Bytes;
use sealgate_core::digest::Digest;
use sealgate_core::fault::Fault;
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::ports::{BlobStream, RegistryWrite};
use serde_json::json;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Builds an image whose only file contains `text`, pushes it as `tag`, and returns its digest.
pub(super) async fn push(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    tag: &str,
    text: &str,
) -> Result<Digest, Fault> {
    let layer = layer(text).map_err(|error| {
        Fault::new(sealgate_core::fault::FaultKind::Config, "the demo's layer", error.to_string())
    })?;
    let config = config(&Digest::of(&layer));
    let config = push_blob(registry, repository, media_type::OCI_CONFIG, config.into()).await?;
    let layer = push_blob(registry, repository, LAYER, layer.into()).await?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": config,
        "layers": [layer],
    });
    let at = Identifier::Tag(tag.to_owned());
    let bytes = manifest.to_string().into_bytes().into();
    registry.push_manifest(repository, &at, media_type::OCI_MANIFEST, bytes).await
}

/// Pushes one blob and returns its descriptor.
pub(super) async fn push_blob(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    media_type: &str,
    bytes: Bytes,
) -> Result<Descriptor, Fault> {
    let descriptor = Descriptor {
        media_type: media_type.to_owned(),
        size: bytes.len() as u64,
        digest: Digest::of(&bytes),
        artifact_type: None,
        annotations: Default::default(),
        platform: None,
    };
    let content: BlobStream = Box::pin(futures::stream::iter([Ok(bytes)]));
    registry.push_blob(repository, &descriptor, content).await?;
    Ok(descriptor)
}

/// Builds a tar archive with `/hello.txt`.
fn layer(text: &str) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "hello.txt", text.as_bytes())?;
    archive.into_inner()
}

fn config(layer: &Digest) -> String {
    json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Cmd": ["/hello.txt"] },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
    })
    .to_string()
}
