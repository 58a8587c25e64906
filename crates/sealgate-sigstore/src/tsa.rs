//! Timestamp authorities (RFC 3161, over HTTP by its section 3.4).

use async_trait::async_trait;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::TimestampAuthority;
use url::Url;

use crate::http::{self, Client};

/// A timestamp authority.
#[derive(Clone, Debug)]
pub struct Tsa {
    url: Url,
    client: Client,
}

impl Tsa {
    /// The authority whose requests go to `url` itself,
    /// `https://timestamp.sigstore.dev/api/v1/timestamp` for instance.
    ///
    /// # Errors
    /// The URL is none of a service.
    pub fn new(url: &str, client: Client) -> Result<Self, Fault> {
        Ok(Self { url: http::service_url(url)?, client })
    }
}

#[async_trait]
impl TimestampAuthority for Tsa {
    fn url(&self) -> &str {
        self.url.as_str()
    }

    async fn timestamp(&self, _signature: &[u8]) -> Result<Vec<u8>, Fault> {
        let _ = &self.client;
        Err(Fault::new(FaultKind::Unsupported, self.url.as_str(), "not in this build"))
    }
}
