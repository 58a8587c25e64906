//! PKCE (RFC 7636): binds an authorization code to the client that requested it.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealgate_core::fault::Fault;

use super::random_text;
use sealgate_http::Secret;

/// Code verifier and its challenge.
pub(super) struct Pkce {
    pub(super) verifier: Secret,
    pub(super) challenge: String,
}

impl Pkce {
    pub(super) fn new() -> Result<Self, Fault> {
        let verifier = random_text::<48>()?;
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.reveal().as_bytes()));
        Ok(Self { verifier, challenge })
    }
}
