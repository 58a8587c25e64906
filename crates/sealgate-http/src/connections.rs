//! Connections to many hosts that others choose, bounded in all.
//!
//! A client of the HTTP library bounds the idle connections of each host, but not of all hosts
//! together. Each host therefore has a client of its own, and the number of clients is bounded:
//! those of the hosts used least are dropped, with their idle connections.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{ClientBuilder, Url};
use sealgate_core::fault::{Fault, FaultKind};

use crate::client::{Route, Settings, Template};
use crate::destination::Destinations;

/// Maximum number of hosts with idle connections.
const MAX_HOSTS: u64 = 64;
/// Maximum number of idle connections of one host.
const MAX_IDLE: usize = 8;
/// Time after which an idle connection is closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);
/// Time after which the client of a host that is not used is dropped.
const IDLE_HOST: Duration = Duration::from_secs(60);

/// Connections to all hosts, and the addresses that are allowed.
pub struct Connections {
    template: Template,
    more: fn(ClientBuilder) -> ClientBuilder,
    /// Created for the first request.
    clients: OnceLock<moka::future::Cache<Key, reqwest::Client>>,
}

/// Scheme, host and port of a URL, and the way there.
type Key = (String, Route);

impl Connections {
    /// Connections with these settings; opens none. `more` applies the settings of one caller.
    ///
    /// # Errors
    /// [`FaultKind::Config`] when the settings cannot be used.
    pub fn new(
        settings: Settings<'_>,
        destinations: Destinations,
        more: fn(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, Fault> {
        let template = Template::new(settings, destinations)?;
        Ok(Self { template, more, clients: OnceLock::new() })
    }

    /// Client for one request to `url`; another host needs another one. `target` names the host in
    /// faults.
    ///
    /// # Errors
    /// [`FaultKind::AddressNotAllowed`] when the URL holds an address that may not be contacted. A
    /// name that resolves to such an address is refused when it is resolved.
    pub async fn client(&self, target: &str, url: &Url) -> Result<reqwest::Client, Fault> {
        self.template.destinations().check(url).map_err(|special| {
            Fault::new(FaultKind::AddressNotAllowed, target, special.to_string())
        })?;
        let route = self.template.route(url);
        let key = (url.origin().ascii_serialization(), route);
        let clients = self.clients.get_or_init(clients);
        if let Some(client) = clients.get(&key).await {
            return Ok(client);
        }
        let more = |builder: ClientBuilder| {
            let builder = (self.more)(builder);
            builder.pool_max_idle_per_host(MAX_IDLE).pool_idle_timeout(IDLE_CONNECTION)
        };
        let client = clients
            .try_get_with(key, async { self.template.client(Some(route), more) })
            .await
            .map_err(|fault: Arc<Fault>| Fault::clone(&fault))?;
        // Evicts at once; otherwise this is done some time later.
        clients.run_pending_tasks().await;
        Ok(client)
    }
}

fn clients() -> moka::future::Cache<Key, reqwest::Client> {
    moka::future::Cache::builder().max_capacity(MAX_HOSTS).time_to_idle(IDLE_HOST).build()
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connections(…)")
    }
}
