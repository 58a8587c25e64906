//! The results of signing images.

use sealgate_core::bundle::{Content, LogMaterial};
use sealgate_core::digest::Digest;
use sealgate_core::reference::Reference;
use sealgate_core::reject::Reject;

use super::pending::{self, PendingBundle, PendingLegacy};
use crate::annotation;
use crate::failure::Failure;

/// A signed image.
#[derive(Clone, Debug)]
pub struct SignedImage {
    /// The image, with the digest that was signed.
    pub reference: Reference,
    /// The digest that was signed.
    pub digest: Digest,
    /// The bundle, if bundles are written.
    pub bundle: Option<SignedBundle>,
    /// The legacy signature, if legacy signatures are written.
    pub legacy: Option<SignedLegacy>,
}

/// The bundle of a signed image.
#[derive(Clone, Debug)]
pub struct SignedBundle {
    /// The in-toto statement.
    pub payload: Vec<u8>,
    /// The signature over the envelope's pre-authentication encoding, base64.
    pub signature: String,
    /// The bundle, JSON.
    pub json: Vec<u8>,
    /// Its log entries and timestamps.
    pub log: LogMaterial,
    /// The manifest that the bundle was stored with: `repository@digest`; none without upload.
    pub stored: Option<Reference>,
}

/// The legacy signature of a signed image.
#[derive(Clone, Debug)]
pub struct SignedLegacy {
    /// The SimpleSigning payload.
    pub payload: Vec<u8>,
    /// The signature over it, base64.
    pub signature: String,
    /// Its log entries and timestamps.
    pub log: LogMaterial,
    /// The tag that the signature was stored under; none without upload.
    pub stored: Option<Reference>,
    /// The manifest under that tag once it contained the signature.
    pub manifest: Option<Digest>,
    /// True if the tag held an equal signature by the same key before.
    pub existed: bool,
}

impl SignedBundle {
    pub(super) fn of(pending: &PendingBundle) -> Result<Self, Failure> {
        let bundle = &pending.bundle;
        let Content::Envelope(envelope) = &bundle.content else {
            return Err(Reject::NotAnEnvelope.into());
        };
        Ok(Self {
            payload: envelope.payload.clone(),
            signature: annotation::base64(pending::signature(&bundle.content)?),
            json: bundle.to_json().into_bytes(),
            log: bundle.log.clone(),
            stored: None,
        })
    }
}

impl SignedLegacy {
    pub(super) fn of(legacy: &PendingLegacy) -> Result<Self, Failure> {
        let bundle = &legacy.bundle.bundle;
        Ok(Self {
            payload: legacy.payload.clone(),
            signature: annotation::base64(pending::signature(&bundle.content)?),
            log: bundle.log.clone(),
            stored: None,
            manifest: None,
            existed: false,
        })
    }
}
