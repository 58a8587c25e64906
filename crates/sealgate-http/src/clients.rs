//! The connections of a client: those that may go through a proxy, and those that never do.

use std::time::Duration;

use reqwest::ClientBuilder;
use sealgate_core::fault::{Fault, FaultKind};

use crate::fault::chain;
use crate::tls;

/// Of an error in a message, in characters.
const MAX_WORDS: usize = 200;

/// Whether the proxies of the environment are used. Loopback hosts never go through a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxies {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    #[default]
    Environment,
    /// Never.
    Off,
}

/// What both clients of a pair have in common.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// What they are called in a fault: `registry client`.
    pub name: &'a str,
    /// TLS.
    pub tls: tls::Settings<'a>,
    /// Whether proxies are used.
    pub proxies: Proxies,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
    /// How long a connection may take, with its TLS handshake.
    pub connect: Duration,
}

/// Two clients, alike but for proxies. Neither asks again by itself or says where it comes from.
#[derive(Clone, Debug)]
pub struct Clients {
    outside: reqwest::Client,
    loopback: reqwest::Client,
}

impl Clients {
    /// Prepares connections; opens none. `more` sets what only this pair has, redirects above all.
    ///
    /// # Errors
    /// A [`FaultKind::Config`]: the settings cannot be used.
    pub fn new(
        settings: Settings<'_>,
        more: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, Fault> {
        let tls = tls::config(settings.tls)?;
        let builder = || {
            let common = reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .retry(reqwest::retry::never())
                .referer(false)
                .user_agent(settings.user_agent)
                .connect_timeout(settings.connect)
                .tcp_nodelay(true);
            more(common)
        };
        let bad = |e: reqwest::Error| {
            Fault::new(FaultKind::Config, settings.name, chain(&e.without_url(), MAX_WORDS))
        };
        let outside = match settings.proxies {
            Proxies::Environment => builder(),
            Proxies::Off => builder().no_proxy(),
        };
        let loopback = builder().no_proxy().build().map_err(bad)?;
        Ok(Self { outside: outside.build().map_err(bad)?, loopback })
    }

    /// The client for a host that is on this machine, or is not.
    pub fn client(&self, loopback: bool) -> &reqwest::Client {
        if loopback { &self.loopback } else { &self.outside }
    }
}
