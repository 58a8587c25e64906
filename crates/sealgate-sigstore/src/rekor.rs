//! Rekor: a signature goes into a public log, and the log's answer proves it.
//!
//! Nothing in the answer is believed but that it is about what was sent; `sealgate-core`
//! verifies its proofs afterwards.

use async_trait::async_trait;
use sealgate_core::bundle::LogEntry;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::{LogSubmission, SignatureLog};
use url::Url;

use crate::http::{self, Client};

/// A Rekor of the first generation: entries `hashedrekord` 0.0.1 for messages, `dsse` 0.0.1 for
/// envelopes.
#[derive(Clone, Debug)]
pub struct RekorV1 {
    url: Url,
    client: Client,
}

/// A Rekor of tiles: entries `hashedrekord` 0.0.2 for messages and envelopes alike.
#[derive(Clone, Debug)]
pub struct RekorV2 {
    url: Url,
    client: Client,
}

impl RekorV1 {
    /// The log at `url`, `https://rekor.sigstore.dev` for instance.
    ///
    /// # Errors
    /// The URL is none of a service.
    pub fn new(url: &str, client: Client) -> Result<Self, Fault> {
        Ok(Self { url: http::service_url(url)?, client })
    }
}

impl RekorV2 {
    /// The log at `url`, `https://log2025-1.rekor.sigstore.dev` for instance.
    ///
    /// # Errors
    /// The URL is none of a service.
    pub fn new(url: &str, client: Client) -> Result<Self, Fault> {
        Ok(Self { url: http::service_url(url)?, client })
    }
}

#[async_trait]
impl SignatureLog for RekorV1 {
    fn url(&self) -> &str {
        self.url.as_str()
    }

    async fn upload(&self, _submission: &LogSubmission) -> Result<LogEntry, Fault> {
        let _ = &self.client;
        Err(Fault::new(FaultKind::Unsupported, self.url.as_str(), "not in this build"))
    }
}

#[async_trait]
impl SignatureLog for RekorV2 {
    fn url(&self) -> &str {
        self.url.as_str()
    }

    async fn upload(&self, _submission: &LogSubmission) -> Result<LogEntry, Fault> {
        let _ = &self.client;
        Err(Fault::new(FaultKind::Unsupported, self.url.as_str(), "not in this build"))
    }
}
