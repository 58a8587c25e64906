//! Evidence about an image, as found and unverified.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::reject::Reject;

/// Location of a piece of evidence, for display and for audit records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The repository, `registry/path`, or the path of a layout folder or file.
    pub repository: String,
    /// The manifest that holds it; none for a local file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// The layer that is it; none for a local file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
}

/// One candidate: a legacy signature or a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A layer of a `.sig` manifest.
    Legacy(LegacySignature),
    /// A Sigstore bundle, found as a referrer or given as a file.
    Bundle(BundleBytes),
    /// Evidence that is known to be unusable (too large, wrong media type).
    Unusable {
        /// Its location.
        origin: Origin,
        /// The reason.
        reason: Reject,
    },
}

/// A legacy cosign signature: payload blob and layer annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacySignature {
    /// The location.
    pub origin: Origin,
    /// The SimpleSigning payload, whose bytes have the layer's digest.
    pub payload: Bytes,
    /// The layer's annotations: signature, certificate, chain, log entry, timestamp.
    pub annotations: BTreeMap<String, String>,
}

/// The bytes of a Sigstore bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleBytes {
    /// The location.
    pub origin: Origin,
    /// The JSON text.
    pub json: Bytes,
}

impl Evidence {
    /// The location.
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Legacy(signature) => &signature.origin,
            Self::Bundle(bundle) => &bundle.origin,
            Self::Unusable { origin, .. } => origin,
        }
    }

    /// The size in bytes of what is to be verified.
    pub fn size(&self) -> usize {
        match self {
            Self::Legacy(signature) => {
                let texts =
                    signature.annotations.iter().map(|(name, text)| name.len() + text.len());
                signature.payload.len() + texts.sum::<usize>()
            }
            Self::Bundle(bundle) => bundle.json.len(),
            Self::Unusable { .. } => 0,
        }
    }
}
