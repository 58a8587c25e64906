//! What kind of document a manifest is: the answer's media type and the document's own must be
//! one and the same, and a document is an index or a manifest, never something of both.

use bytes::Bytes;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_core::reference::is_tag;
use sealgate_engine::ports::RawManifest;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The `Accept` of every request for a manifest.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// What the media types of Docker's schema 1 begin with.
const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// The parts that tell the kinds apart. A key that stands there twice is an error.
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

/// A manifest's kind, and what it says about itself.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) media_type: String,
    pub(crate) artifact_type: Option<String>,
    pub(crate) subject: Option<Descriptor>,
}

impl Shape {
    /// Refuses a Docker manifest of schema 1 by its media type alone.
    pub(crate) fn check_schema(said: Option<&str>) -> Result<(), (FaultKind, String)> {
        match said.is_some_and(|said| said.starts_with(DOCKER_SCHEMA_1)) {
            true => Err(schema_1()),
            false => Ok(()),
        }
    }

    /// Reads `bytes` that came (or go) with the media type `said`. The error is a sentence.
    pub(crate) fn of(said: Option<&str>, bytes: &[u8]) -> Result<Self, (FaultKind, String)> {
        let malformed = |detail: String| (FaultKind::Malformed, detail);
        let outline: Outline = serde_json::from_slice(bytes).map_err(|e| {
            malformed(format!("no manifest (line {}, column {})", e.line(), e.column()))
        })?;
        if outline.schema_version == Some(1) || outline.fs_layers.is_some() {
            return Err(schema_1());
        }
        let media_type = agreed(said, outline.media_type.as_deref()).map_err(malformed)?;
        let index = outline.manifests.is_some();
        let image = outline.config.is_some() || outline.layers.is_some();
        let wrong = match media_type.as_str() {
            media_type::OCI_INDEX | media_type::DOCKER_LIST => image,
            media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST => index,
            _ => index && image,
        };
        if wrong {
            let media_type = crate::reply::printable(&media_type);
            let detail = format!("its content is not the {media_type} that it says it is");
            return Err(malformed(detail));
        }
        let Outline { artifact_type, subject, .. } = outline;
        Ok(Self { media_type, artifact_type, subject })
    }
}

fn schema_1() -> (FaultKind, String) {
    let detail = "a Docker manifest of schema 1, which nobody can sign";
    (FaultKind::Unsupported, detail.to_owned())
}

/// The media type that both sides name; generic types say nothing.
fn agreed(said: Option<&str>, own: Option<&str>) -> Result<String, String> {
    let generic = |t: &&str| {
        !matches!(*t, "" | "application/json" | "application/octet-stream" | "text/plain")
    };
    match (said.filter(generic), own.filter(|t| !t.is_empty())) {
        (Some(said), Some(own)) if said != own => Err(format!(
            "the answer says {}, the document {}",
            crate::reply::printable(said),
            crate::reply::printable(own)
        )),
        (Some(one), _) | (None, Some(one)) => Ok(one.to_owned()),
        (None, None) => Err("a manifest without a media type".to_owned()),
    }
}

/// A [`RawManifest`] from its parts.
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

/// Whether a text can be a tag.
pub(crate) fn check_tag(target: &str, tag: &str) -> Result<(), Fault> {
    if is_tag(tag) {
        return Ok(());
    }
    let detail = format!("{:?} cannot be a tag", crate::reply::printable(tag));
    Err(Fault::new(FaultKind::Config, target, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(said: Option<&str>, text: &str) -> Result<String, FaultKind> {
        Shape::of(said, text.as_bytes()).map(|s| s.media_type).map_err(|(kind, _)| kind)
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
        for said in [media_type::OCI_INDEX, media_type::OCI_MANIFEST, "application/x"] {
            assert_eq!(kind(Some(said), both), Err(FaultKind::Malformed), "{said}");
        }
        let twice = r#"{"schemaVersion":2,"mediaType":"a","mediaType":"b"}"#;
        assert_eq!(kind(None, twice), Err(FaultKind::Malformed));
        assert_eq!(kind(None, "<html>"), Err(FaultKind::Malformed));
        assert_eq!(kind(None, r#"{"schemaVersion":1,"fsLayers":[]}"#), Err(FaultKind::Unsupported));
    }
}
