//! An OCI registry in memory (distribution-spec 1.1), on loopback: for the demo and for tests.
//!
//! It pulls, pushes, mounts, deletes, lists tags and referrers as the specification says, asks for
//! credentials if told to, writes down every request, and on demand behaves as badly as real
//! registries do ([`Trouble`]). Everything is lost when it stops. It is no registry for production.

mod access;
mod blobs;
mod manifests;
mod route;
mod store;
mod trouble;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;

pub use access::{Access, Account};
pub use trouble::{Rule, Trouble};

/// How the registry behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether it has the referrers API.
    pub referrers: Referrers,
    /// Who may do what.
    pub access: Access,
    /// How it names the address of an upload.
    pub locations: Locations,
    /// What happens when two writers change one tag.
    pub tags: TagUpdates,
    /// Entries of one page of a list.
    pub page: usize,
    /// Each answer waits up to so long, differently each time.
    pub latency: Duration,
    /// The largest blob that is taken.
    pub blob_bytes: usize,
}

/// Whether a registry has the referrers API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrers {
    /// It has, and answers pushes with `OCI-Subject`.
    Api,
    /// It has not: clients keep the fallback tag.
    Absent,
    /// It has not, and answers pushes with `OCI-Subject` all the same.
    Promised,
    /// It has, answers pushes with `OCI-Subject`, and calls its lists `application/json`.
    Untyped,
    /// Each of its lists is empty.
    Empty,
}

/// How a registry names the address of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locations {
    /// `/v2/…`.
    Relative,
    /// `http://host/v2/…`.
    Absolute,
}

/// What happens when two writers change one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagUpdates {
    /// The last one wins (docker-registry).
    LastWins,
    /// `If-Match` and `If-None-Match` are honoured.
    Conditional,
    /// A tag stays what it is: 412 to who would move or remove it.
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

/// One request that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Authorization` header, for tests that look for leaks.
    pub authorization: Option<String>,
}

/// A running registry. It stops when this is dropped.
#[derive(Debug)]
pub struct Served {
    addr: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

/// Requests that are remembered; older ones are forgotten, but counted.
const MAX_LOG: usize = 100_000;

/// What all requests share.
#[derive(Debug)]
struct State {
    addr: SocketAddr,
    options: Options,
    store: Mutex<store::Store>,
    tokens: Mutex<access::Tokens>,
    rules: Mutex<Vec<Rule>>,
    log: Mutex<Vec<Logged>>,
    requests: AtomicU64,
}

impl Served {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// Where no port can be bound.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options).await
    }

    /// Starts on `addr`, which must be of this machine only.
    ///
    /// # Errors
    /// Where the address is not loopback or cannot be bound.
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

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `127.0.0.1:PORT`, as references name it.
    pub fn registry(&self) -> String {
        self.addr.to_string()
    }

    /// From now on, requests that fit `rule` get its trouble.
    pub fn trouble(&self, rule: Rule) {
        locked(&self.state.rules).push(rule);
    }

    /// No more trouble.
    pub fn recover(&self) {
        locked(&self.state.rules).clear();
    }

    /// Tokens given out so far are not accepted any more.
    pub fn revoke_tokens(&self) {
        locked(&self.state.tokens).revoke();
    }

    /// How many requests arrived since the start.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// The requests since the start, or the last [`Self::clear_log`].
    pub fn log(&self) -> Vec<Logged> {
        locked(&self.state.log).clone()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        locked(&self.state.log).clear();
    }

    /// How many requests of the log have this method and hold `part` in path or query.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let fits = |entry: &&Logged| entry.method == method && entry.path.contains(part);
        locked(&self.state.log).iter().filter(fits).count()
    }

    /// Stops serving; open connections are cut.
    pub fn stop(self) {}
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    fn write_down(&self, entry: Logged) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut log = locked(&self.log);
        if log.len() >= MAX_LOG {
            log.drain(..MAX_LOG / 2);
        }
        log.push(entry);
    }
}

/// A lock whose holder cannot leave half a change behind: poisoning is of no meaning.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
