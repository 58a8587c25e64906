//! The names of the annotations that signatures and their manifests carry.

pub(crate) use sealgate_core::verify::annotation::{
    BUNDLE, CERTIFICATE, CHAIN, SIGNATURE, TIMESTAMP,
};

/// The kind of content in a bundle, in its manifest.
pub(crate) const BUNDLE_CONTENT: &str = "dev.sigstore.bundle.content";
/// The predicate type of the statement in a bundle.
pub(crate) const BUNDLE_PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
/// The time of creation.
pub(crate) const CREATED: &str = "org.opencontainers.image.created";

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
