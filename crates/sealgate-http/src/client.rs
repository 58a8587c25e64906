//! The connections of a client.

use std::time::Duration;

use reqwest::ClientBuilder;
use sealgate_core::fault::{Fault, FaultKind};

use crate::fault::chain;
use crate::proxy::{Proxies, ProxyRules};
use crate::tls;

/// Of an error in a message, in characters.
const MAX_WORDS: usize = 200;

/// What every client decides.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// What it is called in a fault: `registry client`.
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

/// Prepares connections; opens none. The client neither asks again by itself nor says where it
/// comes from. `more` sets what only this client has, redirects above all.
///
/// # Errors
/// A [`FaultKind::Config`]: the settings cannot be used.
pub fn client(
    settings: Settings<'_>,
    more: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<reqwest::Client, Fault> {
    let common = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config(settings.tls)?)
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(settings.user_agent)
        .connect_timeout(settings.connect)
        .tcp_nodelay(true)
        // The library's own reading of the environment follows other rules than Go's.
        .no_proxy();
    let rules = match settings.proxies {
        Proxies::Environment => ProxyRules::from_env()?,
        Proxies::Off => None,
    };
    let common = match rules {
        Some(rules) => {
            let proxy = move |url: &reqwest::Url| rules.proxy_for(url).cloned();
            common.proxy(reqwest::Proxy::custom(proxy))
        }
        None => common,
    };
    more(common).build().map_err(|error| {
        Fault::new(FaultKind::Config, settings.name, chain(&error.without_url(), MAX_WORDS))
    })
}
