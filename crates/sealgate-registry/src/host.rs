//! What is remembered about one registry: how it is spoken to, how it asks for credentials,
//! whether it has the referrers API, and how many retries it may still cost.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::challenge::Challenge;
use crate::options::{InsecureRegistries, Options, PlainHttp};
use sealgate_http::retry::Budget;

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Whether a registry has the referrers API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    /// It has.
    Api,
    /// It has, and what was pushed there was seen in its list, called as the specification says.
    ApiLists,
    /// It has not.
    FallbackTag,
}

/// One registry, by host and port.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) budget: Budget,
    plain_http: PlainHttp,
    insecure: InsecureRegistries,
    known: AtomicU8,
    challenge: Mutex<Option<Challenge>>,
    referrers: Mutex<HashMap<String, (Capability, Instant)>>,
}

/// Paths whose capability is remembered per registry; then all are forgotten.
const MAX_PREFIXES: usize = 4096;

impl Host {
    pub(crate) fn new(name: &str, options: &Options) -> Self {
        Self {
            name: name.to_owned(),
            budget: Budget::new(options.retries.budget),
            plain_http: options.plain_http,
            insecure: options.insecure.clone(),
            known: AtomicU8::new(0),
            challenge: Mutex::new(None),
            referrers: Mutex::new(HashMap::new()),
        }
    }

    /// The schemes that may still be the right one, best first.
    pub(crate) fn schemes(&self) -> &'static [Scheme] {
        let possible = schemes(&self.name, self.plain_http, &self.insecure);
        match self.known.load(Ordering::Relaxed) {
            // What was spoken before may not be allowed any more.
            1 if possible.contains(&Scheme::Http) => &[Scheme::Http],
            2 => &[Scheme::Https],
            _ => possible,
        }
    }

    /// The registry answered over `scheme`.
    pub(crate) fn speaks(&self, scheme: Scheme) {
        let code = match scheme {
            Scheme::Http => 1,
            Scheme::Https => 2,
        };
        self.known.store(code, Ordering::Relaxed);
    }

    /// How the registry asked last.
    pub(crate) fn challenge(&self) -> Option<Challenge> {
        self.challenge.lock().ok()?.clone()
    }

    pub(crate) fn remember_challenge(&self, challenge: &Challenge) {
        if let Ok(mut slot) = self.challenge.lock() {
            *slot = Some(challenge.clone());
        }
    }

    /// What is known about the referrers API at `path`. Hosts that route by path put different
    /// registries behind one name, so what holds for neighbours is kept by the first segment.
    pub(crate) fn capability(&self, path: &str) -> Option<Capability> {
        let map = self.referrers.lock().ok()?;
        let known = |key: &str| {
            let (capability, until) = map.get(key)?;
            (Instant::now() < *until).then_some(*capability)
        };
        known(&neighbours(path)).or_else(|| known(path))
    }

    /// `path` and its neighbours have, or do not have, the API.
    pub(crate) fn remember_capability(&self, path: &str, what: Capability, keep: Duration) {
        self.remember(neighbours(path), what, keep);
    }

    /// So it is at `path`, and nothing was seen that would say so of another repository: whoever
    /// makes up names must not take the API away from those that are there.
    pub(crate) fn remember_here(&self, path: &str, what: Capability, keep: Duration) {
        self.remember(path.to_owned(), what, keep);
    }

    fn remember(&self, key: String, what: Capability, keep: Duration) {
        if let Ok(mut map) = self.referrers.lock() {
            if map.len() >= MAX_PREFIXES {
                map.clear();
            }
            map.insert(key, (what, Instant::now() + keep));
        }
    }
}

impl Scheme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The first segment of a path, with a slash, so that it is no repository's name.
fn neighbours(path: &str) -> String {
    format!("{}/", path.split('/').next().unwrap_or(path))
}

fn schemes(name: &str, plain_http: PlainHttp, insecure: &InsecureRegistries) -> &'static [Scheme] {
    match plain_http {
        _ if is_loopback(name) => &[Scheme::Http, Scheme::Https],
        PlainHttp::Anywhere => &[Scheme::Https, Scheme::Http],
        PlainHttp::Loopback if insecure.contains(name) => &[Scheme::Https, Scheme::Http],
        PlainHttp::Loopback => &[Scheme::Https],
    }
}

/// Whether `host[:port]` is this machine by its spelling; nothing is resolved.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => registry,
    };
    sealgate_http::is_loopback(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_a_matter_of_spelling() {
        for host in ["localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:5"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.evil.com", "127.0.0.1.evil.com", "10.0.0.1", "[::2]:5", "127.1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn plain_http_needs_a_flag_or_loopback() {
        let schemes = |name: &str, plain_http| {
            Host::new(name, &Options { plain_http, ..Options::default() }).schemes()
        };
        assert_eq!(schemes("ghcr.io", PlainHttp::Loopback), [Scheme::Https]);
        assert_eq!(schemes("ghcr.io", PlainHttp::Anywhere), [Scheme::Https, Scheme::Http]);
        assert_eq!(schemes("localhost:5000", PlainHttp::Loopback)[0], Scheme::Http);
    }

    #[test]
    fn a_list_of_insecure_registries_counts_as_long_as_it_says_so() {
        let options = Options::default();
        let host = Host::new("registry.corp:5000", &options);
        assert_eq!(host.schemes(), [Scheme::Https]);
        options.insecure.set(["Registry.corp:5000".to_owned()]);
        assert_eq!(host.schemes(), [Scheme::Https, Scheme::Http]);
        assert_eq!(Host::new("registry.corp", &options).schemes(), [Scheme::Https]);
        host.speaks(Scheme::Http);
        assert_eq!(host.schemes(), [Scheme::Http]);
        options.insecure.set([]);
        assert_eq!(host.schemes(), [Scheme::Https], "what it spoke before is not allowed any more");
    }
}
