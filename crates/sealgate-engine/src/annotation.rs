//! The names of the annotations that signatures and their manifests carry.

pub(crate) use sealgate_core::verify::annotation::{
    BUNDLE, CERTIFICATE, CHAIN, SIGNATURE, TIMESTAMP,
};

/// What a bundle's manifest says is in the bundle.
pub(crate) const BUNDLE_CONTENT: &str = "dev.sigstore.bundle.content";
/// The predicate type of the statement in a bundle.
pub(crate) const BUNDLE_PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";
/// When something was made.
pub(crate) const CREATED: &str = "org.opencontainers.image.created";

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
