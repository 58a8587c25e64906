//! Blobs, and signatures over them: a bundle, or a signature in a file of its own.

use super::{Authority, KeyAuthority, all_digests};
use crate::bundle::LogMaterial;
use crate::digest::{Algorithm, Digest};
use crate::key::{HashAlgorithm, PublicKey};

/// A signature over a blob, unverified.
#[derive(Clone, Copy, Debug)]
pub enum BlobSignature<'a> {
    /// The JSON text of a Sigstore bundle, or of the older form that cosign writes with
    /// `--new-bundle-format=false`.
    Bundle(&'a [u8]),
    /// A signature alone: its bytes, or the base64 text of them (line breaks allowed).
    Detached(&'a [u8]),
    /// A signature, with certificate, log entries and SCT from separate files.
    Parts(Parts<'a>),
}

/// The parts of a signature, each from a place of its own, as cosign's older flags name them;
/// unverified.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The signature: its bytes, or the base64 text of them.
    pub signature: &'a [u8],
    /// The signer's certificate, PEM; empty if there is none.
    pub certificate: &'a str,
    /// Certificates that may fill gaps up to a root, PEM; empty if there are none.
    pub chain: &'a str,
    /// Log entries and timestamps.
    pub log: &'a LogMaterial,
    /// A detached SCT: the JSON of Fulcio's former response.
    pub sct: Option<&'a [u8]>,
}

/// The blob itself, or digests of it where it is too large to hold.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// The whole content.
    Content(&'a [u8]),
    /// Digests of the same content, at least those of [`KeyAuthority::blob_digests`].
    Digests(&'a [Digest]),
}

impl KeyAuthority {
    /// The digests to compute for a blob that is read once and not kept; none if whole content
    /// is needed (Ed25519, SHA-224).
    pub fn blob_digests(&self) -> Option<Vec<Algorithm>> {
        if self.keys.iter().any(PublicKey::needs_message) {
            return None;
        }
        let hashes = self.keys.iter().flat_map(|key| key.hashes(self.hash));
        let mut wanted: Vec<_> = hashes.map(HashAlgorithm::digest).collect::<Option<_>>()?;
        wanted.push(Algorithm::Sha256);
        wanted.sort_unstable();
        wanted.dedup();
        Some(wanted)
    }
}

impl Authority {
    /// The digests to compute for a blob that is read once and not kept; none if whole content
    /// is needed. (A certificate's key may need it too: [`Reject::NeedsContent`] says so then.)
    pub fn blob_digests(&self) -> Option<Vec<Algorithm>> {
        match self {
            Self::Keys(keys) => keys.blob_digests(),
            Self::Identities(_) => {
                Some(vec![Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512])
            }
        }
    }
}

impl Artifact<'_> {
    pub(super) fn digests(&self) -> Vec<Digest> {
        match self {
            Self::Digests(digests) => digests.to_vec(),
            Self::Content(bytes) => all_digests(bytes).to_vec(),
        }
    }

    /// True if every key can be tried.
    pub(super) fn suffices(&self, authority: &KeyAuthority) -> bool {
        let Self::Digests(have) = self else { return true };
        authority.blob_digests().is_some_and(|wanted| {
            wanted.iter().all(|want| have.iter().any(|digest| digest.algorithm() == *want))
        })
    }
}
