//! Fulcio: a short-lived certificate for a fresh key, in the name that an identity token gives.
//!
//! The proof that we hold the key is a certificate signing request (PKCS #10): it needs nothing
//! of the token, which is sent to Fulcio unread.

use async_trait::async_trait;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::{CertificateIssuer, IdentityToken, Signer};
use url::Url;

use crate::http::{self, Client};

/// A Fulcio, version 2 of its API.
#[derive(Clone, Debug)]
pub struct Fulcio {
    url: Url,
    client: Client,
}

impl Fulcio {
    /// The Fulcio at `url`, `https://fulcio.sigstore.dev` for instance.
    ///
    /// # Errors
    /// The URL is none of a service.
    pub fn new(url: &str, client: Client) -> Result<Self, Fault> {
        Ok(Self { url: http::service_url(url)?, client })
    }
}

#[async_trait]
impl CertificateIssuer for Fulcio {
    async fn certify(
        &self,
        _signer: &dyn Signer,
        _token: &IdentityToken,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let _ = &self.client;
        Err(Fault::new(FaultKind::Unsupported, self.url.as_str(), "not in this build"))
    }
}
