//! What signing makes: signatures on their way, and what was stored of them.

use sealgate_core::bundle::{Content, LogMaterial};
use sealgate_core::digest::Digest;
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::Reference;
use sealgate_core::reject::Reject;

use crate::annotation;
use crate::failure::Failure;
use crate::transparency::{self, Draft};

/// One image that was signed.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The image, with the digest that was signed.
    pub reference: Reference,
    /// The digest that was signed.
    pub digest: Digest,
    /// The bundle, if one was made.
    pub bundle: Option<SignedBundle>,
    /// The legacy signature, if one was made.
    pub legacy: Option<SignedLegacy>,
}

/// A bundle that was made.
#[derive(Clone, Debug)]
pub struct SignedBundle {
    /// The in-toto statement.
    pub payload: Vec<u8>,
    /// The signature over the envelope's encoding of it, base64.
    pub signature: String,
    /// The bundle, JSON.
    pub json: Vec<u8>,
    /// Its log entries and timestamps.
    pub log: LogMaterial,
    /// The manifest it was stored with: `repository@digest`; none without upload.
    pub stored: Option<Reference>,
}

/// A legacy signature that was made.
#[derive(Clone, Debug)]
pub struct SignedLegacy {
    /// The SimpleSigning payload.
    pub payload: Vec<u8>,
    /// The signature over it, base64.
    pub signature: String,
    /// Its log entries and timestamps.
    pub log: LogMaterial,
    /// The tag it was stored under; none without upload.
    pub stored: Option<Reference>,
    /// The manifest that the tag named when our signature stood in it.
    pub manifest: Option<Digest>,
    /// Whether an equal signature by the same key stood there before.
    pub existed: bool,
}

/// An image's signature on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageDraft {
    /// The image, with the digest that was signed.
    pub reference: Reference,
    /// Its manifest.
    pub subject: Descriptor,
    /// The bundle, if one is wanted.
    pub bundle: Option<Draft>,
    /// The legacy signature, if one is wanted.
    pub legacy: Option<LegacyDraft>,
}

/// A legacy signature on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyDraft {
    /// The SimpleSigning payload.
    pub payload: Vec<u8>,
    /// Signature, certificate and proofs, as a bundle over the payload.
    pub draft: Draft,
}

impl ImageDraft {
    /// Both forms, as far as they are wanted.
    pub(crate) fn made(&self) -> impl Iterator<Item = &Draft> {
        self.bundle.iter().chain(self.legacy.as_ref().map(|legacy| &legacy.draft))
    }

    pub(super) fn drafts(&mut self) -> Vec<&mut Draft> {
        let legacy = self.legacy.as_mut().map(|legacy| &mut legacy.draft);
        self.bundle.as_mut().into_iter().chain(legacy).collect()
    }
}

impl SignedBundle {
    pub(super) fn of(draft: &Draft) -> Result<Self, Failure> {
        let Content::Envelope(envelope) = &draft.bundle.content else {
            return Err(Reject::NotAnEnvelope.into());
        };
        Ok(Self {
            payload: envelope.payload.clone(),
            signature: annotation::base64(transparency::signature(&draft.bundle.content)?),
            json: draft.bundle.to_json().into_bytes(),
            log: draft.bundle.log.clone(),
            stored: None,
        })
    }
}

impl SignedLegacy {
    pub(super) fn of(legacy: &LegacyDraft) -> Result<Self, Failure> {
        let bundle = &legacy.draft.bundle;
        Ok(Self {
            payload: legacy.payload.clone(),
            signature: annotation::base64(transparency::signature(&bundle.content)?),
            log: bundle.log.clone(),
            stored: None,
            manifest: None,
            existed: false,
        })
    }
}
