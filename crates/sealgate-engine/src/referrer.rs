//! The OCI referrer of a bundle: the manifest exactly as cosign 3 writes it, pushed by digest.

use bytes::Bytes;
use jiff::Timestamp;
use sealgate_core::digest::Digest;
use sealgate_core::manifest::{Descriptor, Manifest, media_type};
use sealgate_core::reference::Repository;

use crate::annotation;
use crate::failure::Failure;
use crate::ports::RegistryWrite;
use crate::write;

const EMPTY: &[u8] = b"{}";

/// The manifest of a bundle with this predicate type, which refers to `subject`.
pub fn manifest(
    bundle: &[u8],
    predicate_type: &str,
    subject: &Descriptor,
    created: Timestamp,
) -> Manifest {
    let mut config = write::describe(media_type::OCI_EMPTY, EMPTY);
    // Not in the specification, but cosign writes it, and its `clean` looks for it.
    config.artifact_type = Some(media_type::BUNDLE_V03.to_owned());
    let created = created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let annotations = [
        (annotation::BUNDLE_CONTENT, "dsse-envelope".to_owned()),
        (annotation::BUNDLE_PREDICATE_TYPE, predicate_type.to_owned()),
        (annotation::CREATED, created),
    ];
    Manifest {
        schema_version: 2,
        media_type: Some(media_type::OCI_MANIFEST.to_owned()),
        config,
        layers: vec![write::describe(media_type::BUNDLE_V03, bundle)],
        annotations: annotations.map(|(name, text)| (name.to_owned(), text)).into(),
        subject: Some(Descriptor {
            annotations: Default::default(),
            platform: None,
            ..subject.clone()
        }),
        artifact_type: Some(media_type::BUNDLE_V03.to_owned()),
    }
}

/// Stores a bundle as a referrer of its subject. Returns the digest of its manifest.
pub async fn push(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    bundle: Bytes,
    manifest: &Manifest,
) -> Result<Digest, Failure> {
    let bytes = write::json(manifest)?;
    let empty = Bytes::from_static(EMPTY);
    futures::try_join!(
        write::blob(registry, repository, media_type::OCI_EMPTY, empty),
        write::blob(registry, repository, media_type::BUNDLE_V03, bundle),
    )?;
    write::manifest_by_digest(registry, repository, media_type::OCI_MANIFEST, bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_what_cosign_writes() {
        let subject = write::describe(media_type::OCI_MANIFEST, b"image");
        let created = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let made = manifest(b"{\"b\":1}", "https://sigstore.dev/cosign/sign/v1", &subject, created);
        let text = String::from_utf8(write::json(&made).unwrap().to_vec()).unwrap();
        let layer = Digest::of(b"{\"b\":1}");
        let want = format!(
            concat!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                r#""config":{{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"#,
                r#""digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","#,
                r#""artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}},"#,
                r#""layers":[{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","size":7,"#,
                r#""digest":"{}"}}],"annotations":{{"dev.sigstore.bundle.content":"dsse-envelope","#,
                r#""dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1","#,
                r#""org.opencontainers.image.created":"2026-01-02T03:04:05Z"}},"#,
                r#""subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":5,"#,
                r#""digest":"{}"}},"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}}"#
            ),
            layer, subject.digest
        );
        assert_eq!(text, want);
    }
}
