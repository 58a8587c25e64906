//! Options of [`crate::Client`]: credentials, TLS, timeouts, limits and retries.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sealgate_http::retry::Pauses;
use sealgate_http::{ClientIdentity, Destinations, Proxies, TlsRoots};
use tokio::time::Instant;

use crate::credentials::{Credential, Keychain};

/// Client options.
#[derive(Clone, Debug)]
pub struct Options {
    /// Registries that may be contacted over plain HTTP (`--allow-http-registry`).
    pub plain_http: PlainHttp,
    /// Further registries that may be contacted over plain HTTP; HTTPS is tried first.
    pub insecure: InsecureRegistries,
    /// TLS roots for server certificates (`--registry-cacert`, `--allow-insecure-registry`).
    pub tls_roots: TlsRoots,
    /// Client certificate (`--registry-client-cert`, `--registry-client-key`).
    pub identity: Option<ClientIdentity>,
    /// Servers that may receive the client certificate.
    pub identity_scope: ClientCertScope,
    /// Name that a server certificate must carry instead of the host's (`--registry-server-name`).
    pub server_name: Option<String>,
    /// Credential sent to every registry (`--registry-username`, `-password`, `-token`); the
    /// keychain is not used then. Only safe when the user who gives the credential also chooses the
    /// registries; otherwise see [`Keychain::with_credential`].
    pub credential: Option<Credential>,
    /// Credential sources.
    pub keychain: Keychain,
    /// Use of the proxies named by the environment. Loopback hosts never go through a proxy.
    pub proxies: Proxies,
    /// Addresses that requests may go to, redirects and token endpoints included.
    pub destinations: Destinations,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Size limits.
    pub limits: Limits,
    /// Retry settings.
    pub retries: Retries,
    /// The `User-Agent` header.
    pub user_agent: String,
}

/// Servers that may receive the client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ClientCertScope {
    /// Every server: the user who configures the certificate also names the servers.
    #[default]
    All,
    /// One registry, by host and port, but not servers that it redirects to.
    Registry(String),
}

/// Registries that may be contacted over plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PlainHttp {
    /// `localhost`, `127.0.0.0/8` and `::1` only, where plain HTTP is tried first.
    #[default]
    Loopback,
    /// Any registry without TLS. HTTPS is tried first.
    Anywhere,
}

/// Registries (`host[:port]`) that may be contacted over plain HTTP. Clones share the set, which
/// may change at any time and applies to the next connection.
#[derive(Clone, Debug, Default)]
pub struct InsecureRegistries(Arc<RwLock<BTreeSet<String>>>);

impl InsecureRegistries {
    /// Replaces the set.
    pub fn set(&self, hosts: impl IntoIterator<Item = String>) {
        let hosts = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    /// Returns whether `host[:port]` is in the set.
    pub(crate) fn contains(&self, host: &str) -> bool {
        let hosts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        hosts.contains(&host.to_ascii_lowercase())
    }
}

/// Time limits.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Connection establishment, TLS handshake included.
    pub connect: Duration,
    /// Wait for the next bytes of a response.
    pub idle: Duration,
    /// One registry operation in total: retries, token requests, redirects, pages and the body
    /// included.
    pub request: Duration,
    /// One streamed blob in total.
    pub transfer: Duration,
    /// One update of a tag without `If-Match`, including the watch period after the write.
    pub tag_update: Duration,
    /// Lifetime of remembered support for the referrers API.
    pub capability: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(15),
            request: Duration::from_secs(30),
            transfer: Duration::from_secs(3600),
            tag_update: Duration::from_secs(120),
            capability: Duration::from_secs(600),
        }
    }
}

/// Size limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a manifest or index, and of all pages of one referrers list together.
    pub manifest_bytes: u64,
    /// Bytes of all buffered responses together, while being read or still referenced (streams are
    /// not counted). Beyond it, an operation fails instead of exhausting memory.
    pub buffered_bytes: usize,
    /// Entries of one referrers list.
    pub referrers: usize,
    /// Tags of one repository.
    pub tags: usize,
    /// Pages of one list.
    pub pages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            buffered_bytes: 64 << 20,
            referrers: 1000,
            tags: 100_000,
            pages: 100,
        }
    }
}

/// Retries after transient faults (no connection, 429, 5xx).
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Maximum number of retries.
    pub max: usize,
    /// First pause; each following pause doubles, with jitter.
    pub first_pause: Duration,
    /// Longest pause, also when the registry asks for more with `Retry-After`.
    pub longest_pause: Duration,
    /// Retries in a row that a registry without any success may use; each success returns a tenth
    /// of a retry.
    pub budget: u32,
}

impl Retries {
    /// Pauses of one operation that ends at `deadline`.
    pub(crate) fn pauses(&self, deadline: Instant) -> Pauses {
        Pauses::new(self.max, self.first_pause, self.longest_pause, deadline)
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            max: 4,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
            budget: 50,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plain_http: PlainHttp::default(),
            insecure: InsecureRegistries::default(),
            tls_roots: TlsRoots::default(),
            identity: None,
            identity_scope: ClientCertScope::default(),
            server_name: None,
            credential: None,
            keychain: Keychain::default(),
            proxies: Proxies::default(),
            destinations: Destinations::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            retries: Retries::default(),
            user_agent: concat!("sealgate/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
