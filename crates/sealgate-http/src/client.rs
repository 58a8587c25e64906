//! HTTP client construction: TLS, proxies, user agent and connect timeout.

use std::time::Duration;

use reqwest::ClientBuilder;
use sealgate_core::fault::{Fault, FaultKind};

use crate::fault::error_chain;
use crate::proxy::{Proxies, ProxyRules};
use crate::tls;

/// Longest error text in a message, in characters.
const MAX_ERROR_CHARS: usize = 200;

/// Settings common to all HTTP clients.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Client name in faults: `registry client`.
    pub name: &'a str,
    /// TLS settings.
    pub tls: tls::Settings<'a>,
    /// Use of the proxies named by the environment.
    pub proxies: Proxies,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
    /// Time limit for a connection, TLS handshake included.
    pub connect: Duration,
}

/// Builds a client; opens no connection. The client does not retry by itself and sends no
/// `Referer`. `more` applies the settings of one caller, such as its redirect policy.
///
/// # Errors
/// [`FaultKind::Config`] when the settings cannot be used.
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
        // reqwest reads the proxy variables by other rules than Go does.
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
        Fault::new(
            FaultKind::Config,
            settings.name,
            error_chain(&error.without_url(), MAX_ERROR_CHARS),
        )
    })
}
