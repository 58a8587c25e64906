//! What a [`crate::Client`] may do, where it stops, and whom it trusts.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sealgate_http::retry::Pauses;
use sealgate_http::{ClientIdentity, Proxies, Trust};
use tokio::time::Instant;

use crate::credentials::{Credential, Keychain};

/// Everything that is decided before the first request.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where unencrypted HTTP may be spoken (`--allow-http-registry`).
    pub plain_http: PlainHttp,
    /// With which registries it may be spoken besides; HTTPS is tried first.
    pub insecure: InsecureRegistries,
    /// Whose server certificates are good (`--registry-cacert`, `--allow-insecure-registry`).
    pub trust: Trust,
    /// A client certificate (`--registry-client-cert`, `--registry-client-key`).
    pub identity: Option<ClientIdentity>,
    /// The servers that the client certificate is shown to, if they ask for one.
    pub identity_for: Recipients,
    /// The name that a server certificate must carry instead of the host's
    /// (`--registry-server-name`).
    pub server_name: Option<String>,
    /// Credentials for every registry that is asked (`--registry-username`, `-password`,
    /// `-token`); nothing is looked up in the keychain then. Only where whoever gives them names
    /// the registries, too; else see [`Keychain::with_credential`].
    pub credential: Option<Credential>,
    /// Where credentials are looked up.
    pub keychain: Keychain,
    /// Whether the proxies of the environment are used. Loopback hosts never go through a proxy.
    pub proxies: Proxies,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How much to take.
    pub limits: Limits,
    /// How often to ask again.
    pub retries: Retries,
    /// The `User-Agent` header.
    pub user_agent: String,
}

/// The servers that a credential is for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Recipients {
    /// Every server that is asked: whoever gives the credential names them, too.
    #[default]
    Every,
    /// One registry, by host and port, and none that it sends us to.
    Registry(String),
}

/// Where unencrypted HTTP may be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PlainHttp {
    /// With `localhost`, `127.0.0.0/8` and `::1` only. There it is tried first.
    #[default]
    Loopback,
    /// With any registry that does not speak TLS. HTTPS is tried first.
    Anywhere,
}

/// Registries (`host[:port]`) that may be asked over plain HTTP. Clones share the list, which may
/// change at any time: the next connection goes by it.
#[derive(Clone, Debug, Default)]
pub struct InsecureRegistries(Arc<RwLock<BTreeSet<String>>>);

impl InsecureRegistries {
    /// Only these from now on.
    pub fn set(&self, hosts: impl IntoIterator<Item = String>) {
        let hosts = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    /// Whether `host[:port]` is one of them.
    pub(crate) fn contains(&self, host: &str) -> bool {
        let hosts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        hosts.contains(&host.to_ascii_lowercase())
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, with its TLS handshake.
    pub connect: Duration,
    /// For the next bytes of an answer.
    pub idle: Duration,
    /// For one question to the registry from beginning to end: retries, tokens, redirects, pages
    /// and the body included.
    pub request: Duration,
    /// For one blob that is streamed, from beginning to end.
    pub transfer: Duration,
    /// How long a slow tag update may take (fallback tags without If-Match), watching included.
    pub tag_update: Duration,
    /// How long a registry is remembered to have, or not to have, the referrers API.
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

/// How much to take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one manifest or index, and of all pages of one list of referrers.
    pub manifest_bytes: u64,
    /// Bytes of all answers together that are being read or are still held by whoever asked
    /// (streams are not held). Beyond it a question is a fault: better than no memory left.
    pub bytes_together: usize,
    /// Entries of one list of referrers.
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
            bytes_together: 64 << 20,
            referrers: 1000,
            tags: 100_000,
            pages: 100,
        }
    }
}

/// How often to ask again after a fault that may pass (no connection, 429, 5xx).
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Times to ask again after the first.
    pub max: usize,
    /// The first pause; it doubles, with jitter.
    pub first_pause: Duration,
    /// The longest pause, also where the registry asks for more by `Retry-After`.
    pub longest_pause: Duration,
    /// How many retries a registry that never succeeds may cost in a row; each success gives a
    /// tenth of one back.
    pub budget: u32,
}

impl Retries {
    /// The pauses of one question that ends at `deadline`.
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
            trust: Trust::default(),
            identity: None,
            identity_for: Recipients::default(),
            server_name: None,
            credential: None,
            keychain: Keychain::default(),
            proxies: Proxies::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            retries: Retries::default(),
            user_agent: concat!("sealgate/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
