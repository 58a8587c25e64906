//! HTTP client construction: TLS, proxies, name resolution, user agent and connect timeout.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{ClientBuilder, Url};
use rustls::ClientConfig;
use sealgate_core::fault::{Fault, FaultKind};

use crate::destination::{CheckedNames, Destinations};
use crate::fault::error_chain;
use crate::proxy::{Proxies, ProxyRules};
use crate::tls;

/// Longest error text in a message, in characters.
const MAX_ERROR_CHARS: usize = 200;

/// Settings common to all HTTP clients.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Client name in faults: `registry client`.
    pub name: &'static str,
    /// TLS settings.
    pub tls: tls::Settings<'a>,
    /// Use of the proxies named by the environment.
    pub proxies: Proxies,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
    /// Time limit for a connection, TLS handshake included.
    pub connect: Duration,
}

/// Settings that the clients of one kind of server share; built once, so that a client for one more
/// host costs little.
pub(crate) struct Template {
    name: &'static str,
    tls: ClientConfig,
    proxies: Option<Arc<ProxyRules>>,
    user_agent: String,
    connect: Duration,
    destinations: Destinations,
}

/// Way to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    /// A connection to the host.
    Direct,
    /// A connection to the proxy, which resolves the host's name.
    Proxy,
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
    Template::new(settings, Destinations::Any)?.client(None, more)
}

impl Template {
    pub(crate) fn new(settings: Settings<'_>, destinations: Destinations) -> Result<Self, Fault> {
        let proxies = match settings.proxies {
            Proxies::Environment => ProxyRules::from_env()?,
            Proxies::Off => None,
        };
        Ok(Self {
            name: settings.name,
            tls: tls::config(settings.tls)?,
            proxies: proxies.map(Arc::new),
            user_agent: settings.user_agent.to_owned(),
            connect: settings.connect,
            destinations,
        })
    }

    pub(crate) fn destinations(&self) -> &Destinations {
        &self.destinations
    }

    pub(crate) fn route(&self, url: &Url) -> Route {
        match &self.proxies {
            Some(rules) if rules.proxy_for(url).is_some() => Route::Proxy,
            _ => Route::Direct,
        }
    }

    /// Client for requests of one route, or of both.
    pub(crate) fn client(
        &self,
        route: Option<Route>,
        more: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<reqwest::Client, Fault> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(&self.user_agent)
            .connect_timeout(self.connect)
            .tcp_nodelay(true)
            // reqwest reads the proxy variables by other rules than Go does.
            .no_proxy();
        if let Some(rules) = self.proxies.clone().filter(|_| route != Some(Route::Direct)) {
            let proxy = move |url: &Url| rules.proxy_for(url).cloned();
            builder = builder.proxy(reqwest::Proxy::custom(proxy));
        }
        if let Destinations::NotSpecial { resolver, .. } = &self.destinations {
            // The only name that is resolved for a request through a proxy is the proxy's.
            let destinations = match route {
                Some(Route::Proxy) => Destinations::Any,
                _ => self.destinations.clone(),
            };
            let names = CheckedNames { resolver: Arc::clone(resolver), destinations };
            builder = builder.dns_resolver(Arc::new(names));
        }
        more(builder).build().map_err(|error| {
            let detail = error_chain(&error.without_url(), MAX_ERROR_CHARS);
            Fault::new(FaultKind::Config, self.name, detail)
        })
    }
}
