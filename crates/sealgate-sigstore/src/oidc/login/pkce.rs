//! PKCE (RFC 7636): a code is of use only to who asked for it.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealgate_core::fault::Fault;

use super::unguessable;
use sealgate_http::Secret;

/// The secret, and what is shown of it beforehand.
pub(super) struct Pkce {
    pub(super) verifier: Secret,
    pub(super) challenge: String,
}

impl Pkce {
    pub(super) fn new() -> Result<Self, Fault> {
        let verifier = unguessable::<48>()?;
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.reveal().as_bytes()));
        Ok(Self { verifier, challenge })
    }
}
