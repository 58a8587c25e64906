//! Ed25519ph (RFC 8032, section 5.1): Ed25519 over the SHA-512 of the message, with an empty context.
//! cosign signs images with it, because a log entry has a digest only.
//!
//! The two variants cannot be confused. The input of Ed25519ph begins with dom2(1, ""), which names
//! the variant, and that of pure Ed25519 has no such prefix: a signature by one never verifies by
//! the other, neither over the same message nor over its digest. So both are tried, and the one
//! that verifies is the one that was used.
//!
//! aws-lc-rs does not offer this variant; ed25519-dalek checks it (S below the order, R neither of small
//! order nor another encoding). The key was checked when it was read.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::digest::consts::U64;
use sha2::digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Update};

use super::SignatureMismatch;

const KEY: usize = 32;

/// Checks `signature` over a message that has this SHA-512.
pub(super) fn verify(
    spki_der: &[u8],
    sha512: [u8; 64],
    signature: &[u8],
) -> Result<(), SignatureMismatch> {
    // The key is the end of a SubjectPublicKeyInfo, of one length for all of them (RFC 8410).
    let key = spki_der.last_chunk::<KEY>().ok_or(SignatureMismatch)?;
    let key = VerifyingKey::from_bytes(key).map_err(|_| SignatureMismatch)?;
    let signature = Signature::from_slice(signature).map_err(|_| SignatureMismatch)?;
    key.verify_prehashed_strict(Hashed(sha512), None, &signature).map_err(|_| SignatureMismatch)
}

/// A SHA-512 that was computed before, in the form that ed25519-dalek asks for: a hash function that
/// has taken its input.
struct Hashed([u8; 64]);

impl Default for Hashed {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl HashMarker for Hashed {}

impl Update for Hashed {
    /// Nothing is left to take. ed25519-dalek only asks for the output.
    fn update(&mut self, _data: &[u8]) {}
}

impl OutputSizeUser for Hashed {
    type OutputSize = U64;
}

impl FixedOutput for Hashed {
    fn finalize_into(self, out: &mut Output<Self>) {
        out.copy_from_slice(&self.0);
    }
}
