//! Client options: TLS roots, timeouts, retries.

use std::time::Duration;

use sealgate_http::retry::Pauses;
use sealgate_http::{ClientIdentity, Proxies};
use tokio::time::Instant;

/// Client options.
#[derive(Clone, Debug)]
pub struct Options {
    /// TLS roots for server certificates (`--timestamp-client-cacert`).
    pub tls_roots: TlsRoots,
    /// Client certificate (`--timestamp-client-cert`, `--timestamp-client-key`).
    pub identity: Option<ClientIdentity>,
    /// Name that a server certificate must carry instead of the host's (`--timestamp-server-name`).
    pub server_name: Option<String>,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Retry settings.
    pub retries: Retries,
    /// `User-Agent` header.
    pub user_agent: String,
    /// Use of the proxies named by the environment.
    pub proxies: Proxies,
}

/// TLS roots trusted for server certificates.
#[derive(Clone, Debug, Default)]
pub enum TlsRoots {
    /// The operating system's roots.
    #[default]
    System,
    /// These certificates (PEM) only.
    Only(Vec<u8>),
}

/// Time limits.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Connection establishment, TLS handshake included.
    pub connect: Duration,
    /// One attempt in total, redirects and body included. A log may take seconds to integrate an
    /// entry.
    pub attempt: Duration,
    /// One request in total, with all attempts and the pauses between them.
    pub total: Duration,
}

/// Retries after transient faults (no connection, 429, 5xx).
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Maximum number of retries.
    pub max: usize,
    /// First pause; each following pause doubles, with jitter.
    pub first_pause: Duration,
    /// Longest pause, also when the service asks for more with `Retry-After`.
    pub longest_pause: Duration,
    /// Retries in a row that the services of one client may use; each success returns a tenth of a
    /// retry.
    pub budget: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls_roots: TlsRoots::default(),
            identity: None,
            server_name: None,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            user_agent: concat!("sealgate/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxies: Proxies::default(),
        }
    }
}

impl TlsRoots {
    /// Conversion into the shared type, which has one more variant: no service may be used with an
    /// untrusted certificate.
    pub(super) fn shared(&self) -> sealgate_http::TlsRoots {
        match self {
            Self::System => sealgate_http::TlsRoots::System,
            Self::Only(pem) => sealgate_http::TlsRoots::Only(pem.clone()),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            attempt: Duration::from_secs(30),
            total: Duration::from_secs(90),
        }
    }
}

impl Retries {
    pub(super) fn pauses(&self, deadline: Instant) -> Pauses {
        Pauses::new(self.max, self.first_pause, self.longest_pause, deadline)
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            max: 4,
            first_pause: Duration::from_millis(300),
            longest_pause: Duration::from_secs(20),
            budget: 50,
        }
    }
}
