//! Manifest kinds. The response's media type and the document's own must agree, and a document is
//! either an index or a manifest, never both.

use bytes::Bytes;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_core::reference::is_tag;
use sealgate_engine::ports::RawManifest;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// `Accept` header of every manifest request.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// Prefix of the media types of Docker schema 1.
const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// Fields that tell the kinds apart. Duplicate keys are an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<IgnoredAny>,
    artifact_type: Option<String>,
    subject: Option<Descriptor>,
}

/// Media type, artifact type and subject of a manifest.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) media_type: String,
    pub(crate) artifact_type: Option<String>,
    pub(crate) subject: Option<Descriptor>,
}

impl Shape {
    /// Rejects a Docker schema 1 manifest by its media type alone.
    pub(crate) fn check_schema(stated: Option<&str>) -> Result<(), (FaultKind, String)> {
        match stated.is_some_and(|stated| stated.starts_with(DOCKER_SCHEMA_1)) {
            true => Err(schema_1()),
            false => Ok(()),
        }
    }

    /// Classifies `bytes` received (or sent) with the media type `stated`. The error is a sentence.
    pub(crate) fn of(stated: Option<&str>, bytes: &[u8]) -> Result<Self, (FaultKind, String)> {
        let malformed = |detail: String| (FaultKind::Malformed, detail);
        let outline: Outline = serde_json::from_slice(bytes).map_err(|e| {
            malformed(format!("not a manifest (line {}, column {})", e.line(), e.column()))
        })?;
        if outline.schema_version == Some(1) || outline.fs_layers.is_some() {
            return Err(schema_1());
        }
        let media_type = agreed(stated, outline.media_type.as_deref()).map_err(malformed)?;
        let index = outline.manifests.is_some();
        let image = outline.config.is_some() || outline.layers.is_some();
        let wrong = match media_type.as_str() {
            media_type::OCI_INDEX | media_type::DOCKER_LIST => image,
            media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => index,
            _ => index && image,
        };
        if wrong {
            let media_type = crate::reply::printable(&media_type);
            let detail = format!("its content does not match its media type {media_type}");
            return Err(malformed(detail));
        }
        let Outline { artifact_type, subject, .. } = outline;
        Ok(Self { media_type, artifact_type, subject })
    }
}

fn schema_1() -> (FaultKind, String) {
    let detail = "a Docker manifest of schema 1, which cannot be signed";
    (FaultKind::Unsupported, detail.to_owned())
}

/// Media type on which both sides agree; generic types are ignored.
fn agreed(stated: Option<&str>, own: Option<&str>) -> Result<String, String> {
    let generic = |t: &&str| {
        !matches!(*t, "" | "application/json" | "application/octet-stream" | "text/plain")
    };
    match (stated.filter(generic), own.filter(|t| !t.is_empty())) {
        (Some(stated), Some(own)) if stated != own => Err(format!(
            "the response has the media type {}, the document {}",
            crate::reply::printable(stated),
            crate::reply::printable(own)
        )),
        (Some(one), _) | (None, Some(one)) => Ok(one.to_owned()),
        (None, None) => Err("a manifest without a media type".to_owned()),
    }
}

/// Builds a [`RawManifest`].
pub(crate) fn raw(shape: Shape, digest: Digest, bytes: Bytes) -> RawManifest {
    let descriptor = Descriptor {
        media_type: shape.media_type,
        size: bytes.len() as u64,
        digest,
        artifact_type: shape.artifact_type,
        annotations: Default::default(),
        platform: None,
    };
    RawManifest { descriptor, bytes }
}

/// Checks the syntax of a tag.
pub(crate) fn check_tag(target: &str, tag: &str) -> Result<(), Fault> {
    if is_tag(tag) {
        return Ok(());
    }
    let detail = format!("{:?} is not a valid tag", crate::reply::printable(tag));
    Err(Fault::new(FaultKind::Config, target, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(stated: Option<&str>, text: &str) -> Result<String, FaultKind> {
        Shape::of(stated, text.as_bytes()).map(|s| s.media_type).map_err(|(kind, _)| kind)
    }

    #[test]
    fn both_media_types_must_agree() {
        let own = format!(r#"{{"schemaVersion":2,"mediaType":"{}"}}"#, media_type::OCI_MANIFEST);
        assert_eq!(kind(None, &own).as_deref(), Ok(media_type::OCI_MANIFEST));
        assert_eq!(kind(Some("application/json"), &own).as_deref(), Ok(media_type::OCI_MANIFEST));
        assert_eq!(kind(Some(media_type::OCI_INDEX), &own), Err(FaultKind::Malformed));
        let silent = r#"{"schemaVersion":2,"manifests":[]}"#;
        let index = kind(Some(media_type::OCI_INDEX), silent);
        assert_eq!(index.as_deref(), Ok(media_type::OCI_INDEX));
        assert_eq!(kind(None, silent), Err(FaultKind::Malformed));
    }

    #[test]
    fn a_document_of_two_kinds_is_refused() {
        let both = r#"{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}"#;
        for stated in [media_type::OCI_INDEX, media_type::OCI_MANIFEST, "application/x"] {
            assert_eq!(kind(Some(stated), both), Err(FaultKind::Malformed), "{stated}");
        }
        let twice = r#"{"schemaVersion":2,"mediaType":"a","mediaType":"b"}"#;
        assert_eq!(kind(None, twice), Err(FaultKind::Malformed));
        assert_eq!(kind(None, "<html>"), Err(FaultKind::Malformed));
        assert_eq!(kind(None, r#"{"schemaVersion":1,"fsLayers":[]}"#), Err(FaultKind::Unsupported));
    }
}
