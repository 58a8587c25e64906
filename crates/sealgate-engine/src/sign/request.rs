//! The settings of signing images.

use std::collections::BTreeMap;

use sealgate_core::reference::Repository;

use crate::legacy::MediaTypes;
use crate::limits::Limits;

/// The formats that signatures are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Formats {
    /// A Sigstore bundle as a referrer, the format of cosign 3.
    #[default]
    Bundle,
    /// A layer of the `.sig` image (`--new-bundle-format=false`), the format of cosign 1 and 2.
    Legacy,
    /// Both.
    Both,
}

impl Formats {
    pub(super) fn bundle(self) -> bool {
        self != Self::Legacy
    }

    pub(super) fn legacy(self) -> bool {
        self != Self::Bundle
    }
}

/// The destination of signatures (`--upload`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upload {
    /// The registry.
    #[default]
    Registry,
    /// The caller only, who gets the bytes.
    Nowhere,
}

/// The settings of signing images.
#[derive(Clone, Debug, Default)]
pub struct SignRequest {
    /// Annotations that the signature carries (`-a`).
    pub annotations: BTreeMap<String, String>,
    /// The formats to write.
    pub formats: Formats,
    /// True if the signatures are stored.
    pub upload: Upload,
    /// True if everything below an index is signed as well (`--recursive`).
    pub recursive: bool,
    /// Media types of a new `.sig` image (`COSIGN_DOCKER_MEDIA_TYPES`).
    pub media_types: MediaTypes,
    /// True if the `.sig` image records its creation time (`--record-creation-timestamp`).
    pub record_creation_timestamp: bool,
    /// The image name in a legacy payload, instead of the repository
    /// (`--sign-container-identity`).
    pub container_identity: Option<String>,
    /// The repository to store signatures in, instead of the image's own (`COSIGN_REPOSITORY`).
    pub signature_repository: Option<Repository>,
    /// The prefix of legacy tags.
    pub tag_prefix: String,
    /// Bounds.
    pub limits: Limits,
}
