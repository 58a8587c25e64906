//! What the caller of `sign` decides.

use std::collections::BTreeMap;

use sealgate_core::reference::Repository;

use crate::legacy::MediaTypes;
use crate::limits::Limits;

/// Which form signatures are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Formats {
    /// A Sigstore bundle as a referrer, what cosign 3 writes.
    #[default]
    Bundle,
    /// A layer of the `.sig` image (`--new-bundle-format=false`).
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

/// Whether signatures are stored (`--upload`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upload {
    /// Beside the image.
    #[default]
    Registry,
    /// Not at all: the caller gets the bytes.
    Nowhere,
}

/// How to sign.
#[derive(Clone, Debug, Default)]
pub struct SignRequest {
    /// Annotations that the signature carries (`-a`).
    pub annotations: BTreeMap<String, String>,
    /// Which form to write.
    pub formats: Formats,
    /// Whether to store it.
    pub upload: Upload,
    /// Whether to sign everything below an index, too (`--recursive`).
    pub recursive: bool,
    /// Media types of a new `.sig` image (`COSIGN_DOCKER_MEDIA_TYPES`).
    pub media_types: MediaTypes,
    /// Whether the `.sig` image says when it was made (`--record-creation-timestamp`).
    pub record_creation_timestamp: bool,
    /// What a legacy payload names instead of the repository (`--sign-container-identity`).
    pub container_identity: Option<String>,
    /// Where to store, if not beside the image (`COSIGN_REPOSITORY`).
    pub signature_repository: Option<Repository>,
    /// What legacy tags begin with.
    pub tag_prefix: String,
    /// Bounds.
    pub limits: Limits,
}
