//! What is decided before the first request: whom to trust, how long to wait, how often to ask
//! again.

use std::time::Duration;

use sealgate_http::retry::Pauses;
use sealgate_http::{ClientIdentity, Proxies};
use tokio::time::Instant;

/// Everything that is decided before the first request.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose server certificates are good (`--timestamp-client-cacert`).
    pub trust: Trust,
    /// A client certificate (`--timestamp-client-cert`, `--timestamp-client-key`).
    pub identity: Option<ClientIdentity>,
    /// The name that a server certificate must carry instead of the host's
    /// (`--timestamp-server-name`).
    pub server_name: Option<String>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How often to ask again.
    pub retries: Retries,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Whether proxies are used.
    pub proxies: Proxies,
}

/// Whose server certificates are good.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Those that the operating system trusts.
    #[default]
    System,
    /// Those that chain to these certificates (PEM), and no others.
    Only(Vec<u8>),
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, with its TLS handshake.
    pub connect: Duration,
    /// For one attempt from beginning to end, redirects and the body included. A log may take
    /// seconds to bring an entry into its tree.
    pub attempt: Duration,
    /// For one question, all attempts and the pauses between them included.
    pub question: Duration,
}

/// How often to ask again after a fault that may pass (no connection, 429, 5xx).
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Times to ask again after the first.
    pub max: usize,
    /// The first pause; it doubles, with jitter.
    pub first_pause: Duration,
    /// The longest pause, also where the service asks for more by `Retry-After`.
    pub longest_pause: Duration,
    /// How many retries the services of one client may cost in a row; each success gives a tenth
    /// of one back.
    pub budget: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            trust: Trust::default(),
            identity: None,
            server_name: None,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            user_agent: concat!("sealgate/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxies: Proxies::default(),
        }
    }
}

impl Trust {
    /// The shared type knows more: no service is asked without a certificate that is good.
    pub(super) fn shared(&self) -> sealgate_http::Trust {
        match self {
            Self::System => sealgate_http::Trust::System,
            Self::Only(pem) => sealgate_http::Trust::Only(pem.clone()),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            attempt: Duration::from_secs(30),
            question: Duration::from_secs(90),
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
