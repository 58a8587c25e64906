//! In-memory OCI registry (distribution-spec 1.1) on loopback, for the demo and for tests.
//!
//! It pulls, pushes, mounts, deletes, lists tags and referrers as specified, optionally requires
//! credentials, logs every request, and injects failures seen at real registries on request
//! ([`Failure`]). Its content is lost when it stops. Not for production use.

mod access;
mod blobs;
mod failure;
mod manifests;
mod route;
mod store;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;

pub use access::{Access, Account};
pub use failure::{Failure, Rule};

/// Behaviour of the registry.
#[derive(Clone, Debug)]
pub struct Options {
    /// Support for the referrers API.
    pub referrers: Referrers,
    /// Access control.
    pub access: Access,
    /// Form of upload locations.
    pub locations: Locations,
    /// Behaviour when two clients update one tag.
    pub tags: TagUpdates,
    /// Entries per page of a list.
    pub page: usize,
    /// Maximum delay of a response; the delay varies per request.
    pub latency: Duration,
    /// Maximum size of a blob, in bytes.
    pub blob_bytes: usize,
}

/// Support for the referrers API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrers {
    /// Supported; pushes are answered with `OCI-Subject`.
    Api,
    /// Not supported: clients maintain the fallback tag.
    Absent,
    /// Not supported, although pushes are answered with `OCI-Subject`.
    HeaderOnly,
    /// Supported; pushes are answered with `OCI-Subject`, and lists have the type
    /// `application/json`.
    Untyped,
    /// Supported, but every list is empty.
    Empty,
}

/// Form of upload locations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locations {
    /// `/v2/…`.
    Relative,
    /// `http://host/v2/…`.
    Absolute,
}

/// Behaviour when two clients update one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagUpdates {
    /// The last write wins (docker-registry).
    LastWins,
    /// `If-Match` and `If-None-Match` are honoured.
    Conditional,
    /// Tags are immutable: moving or deleting one is answered with 412.
    Immutable,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            referrers: Referrers::Api,
            access: Access::Open,
            locations: Locations::Relative,
            tags: TagUpdates::LastWins,
            page: 100,
            latency: Duration::ZERO,
            blob_bytes: 512 << 20,
        }
    }
}

/// Received request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRequest {
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `Authorization` header, for tests that look for leaked credentials.
    pub authorization: Option<String>,
}

/// Running registry; stops when dropped.
#[derive(Debug)]
pub struct Served {
    addr: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

/// Maximum number of logged requests; older ones are dropped, but counted.
const MAX_LOG: usize = 100_000;

/// State shared by all requests.
#[derive(Debug)]
struct State {
    addr: SocketAddr,
    options: Options,
    store: Mutex<store::Store>,
    tokens: Mutex<access::Tokens>,
    rules: Mutex<Vec<Rule>>,
    log: Mutex<Vec<LoggedRequest>>,
    requests: AtomicU64,
}

impl Served {
    /// Starts the registry on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// An error if no port can be bound.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).await
    }

    /// Starts the registry on `addr`, which must be a loopback address.
    ///
    /// # Errors
    /// An error if the address is not loopback or cannot be bound.
    pub(crate) async fn start_at(addr: SocketAddr, options: Options) -> std::io::Result<Self> {
        if !addr.ip().is_loopback() {
            let text = "the in-memory registry listens on loopback only";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
        }
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State {
            addr,
            options,
            store: Mutex::default(),
            tokens: Mutex::default(),
            rules: Mutex::default(),
            log: Mutex::default(),
            requests: AtomicU64::new(0),
        });
        let router = Router::new().fallback(route::handle).with_state(state.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the in-memory registry stopped");
            }
        });
        Ok(Self { addr, state, task })
    }

    /// Listening address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `127.0.0.1:PORT`, as references name it.
    pub fn registry(&self) -> String {
        self.addr.to_string()
    }

    /// Injects the failure of `rule` into matching requests from now on.
    pub fn inject(&self, rule: Rule) {
        locked(&self.state.rules).push(rule);
    }

    /// Removes all failure rules.
    pub fn recover(&self) {
        locked(&self.state.rules).clear();
    }

    /// Revokes all issued tokens.
    pub fn revoke_tokens(&self) {
        locked(&self.state.tokens).revoke();
    }

    /// Number of requests since the start.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Requests since the start or the last [`Self::clear_log`].
    pub fn log(&self) -> Vec<LoggedRequest> {
        locked(&self.state.log).clone()
    }

    /// Clears the request log.
    pub fn clear_log(&self) {
        locked(&self.state.log).clear();
    }

    /// Number of logged requests with this method and with `part` in path or query.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let fits = |entry: &&LoggedRequest| entry.method == method && entry.path.contains(part);
        locked(&self.state.log).iter().filter(fits).count()
    }

    /// Stops serving and closes open connections.
    pub fn stop(self) {}
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn log_request(&self, entry: LoggedRequest) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut log = locked(&self.log);
        if log.len() >= MAX_LOG {
            log.drain(..MAX_LOG / 2);
        }
        log.push(entry);
    }
}

/// Locks a mutex whose holders never leave a partial change, so poisoning is ignored.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
