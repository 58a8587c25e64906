//! What is remembered about one registry: how it is spoken to, how it asks for credentials,
//! whether it has the referrers API, and how many retries it may still cost.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

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
    known: Mutex<Option<Known>>,
    challenge: Mutex<Option<(Scheme, Challenge)>>,
    referrers: Mutex<HashMap<String, (Capability, Instant)>>,
}

/// How a registry was spoken to last.
#[derive(Clone, Copy, Debug)]
struct Known {
    scheme: Scheme,
    /// How long plain HTTP counts; HTTPS always does.
    until: Instant,
}

/// How long a registry that does not speak TLS is not asked again whether it does.
const PLAIN_HTTP_MEMORY: Duration = Duration::from_secs(600);

/// Paths whose capability is remembered per registry; then all are forgotten.
const MAX_PREFIXES: usize = 4096;

impl Host {
    pub(crate) fn new(name: &str, options: &Options) -> Self {
        Self {
            name: name.to_owned(),
            budget: Budget::new(options.retries.budget),
            plain_http: options.plain_http,
            insecure: options.insecure.clone(),
            known: Mutex::new(None),
            challenge: Mutex::new(None),
            referrers: Mutex::new(HashMap::new()),
        }
    }

    /// The schemes that may still be the right one, best first.
    pub(crate) fn schemes(&self) -> &'static [Scheme] {
        let possible = schemes(&self.name, self.plain_http, &self.insecure);
        let known = self.known.lock().ok().and_then(|known| *known);
        match known {
            // What was spoken before may not be allowed any more.
            Some(Known { scheme: Scheme::Http, until })
                if possible.contains(&Scheme::Http) && Instant::now() < until =>
            {
                &[Scheme::Http]
            }
            Some(Known { scheme: Scheme::Https, .. }) => &[Scheme::Https],
            _ => possible,
        }
    }

    /// Whether `scheme` is the one that is tried first.
    pub(crate) fn prefers(&self, scheme: Scheme) -> bool {
        schemes(&self.name, self.plain_http, &self.insecure).first() == Some(&scheme)
    }

    /// The registry answered over `scheme`. Plain HTTP is no news about one that speaks TLS, and
    /// where it is the second choice, it is for a while only.
    pub(crate) fn speaks(&self, scheme: Scheme) {
        let Ok(mut known) = self.known.lock() else { return };
        match (scheme, &*known) {
            (Scheme::Http, Some(Known { scheme: Scheme::Https, .. })) => {}
            // Not for longer: HTTPS is to be tried again.
            (Scheme::Http, Some(Known { until, .. })) if Instant::now() < *until => {}
            _ => *known = Some(Known { scheme, until: Instant::now() + PLAIN_HTTP_MEMORY }),
        }
    }

    /// The registry was not reached over the scheme that it speaks as far as we know. It is found
    /// out anew, but nobody brings a registry from TLS to plain HTTP so; on loopback nobody is
    /// there to do it.
    pub(crate) fn missed(&self, scheme: Scheme) {
        let Ok(mut known) = self.known.lock() else { return };
        let again = scheme == Scheme::Http || is_loopback(&self.name);
        known.take_if(|known| again && known.scheme == scheme);
    }

    /// How the registry asked last. What was said over plain HTTP can be anybody's word: it counts
    /// as long as that is how the registry is spoken to.
    pub(crate) fn challenge(&self) -> Option<Challenge> {
        let (scheme, challenge) = self.challenge.lock().ok()?.clone()?;
        let counts = scheme == Scheme::Https || self.schemes() == [Scheme::Http];
        counts.then_some(challenge)
    }

    pub(crate) fn remember_challenge(&self, scheme: Scheme, challenge: &Challenge) {
        if let Ok(mut slot) = self.challenge.lock() {
            *slot = Some((scheme, challenge.clone()));
        }
    }

    /// Forgets how the registry asked, if that is it still.
    pub(crate) fn forget_challenge(&self, challenge: &Challenge) {
        if let Ok(mut slot) = self.challenge.lock() {
            slot.take_if(|(_, known)| known == challenge);
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
    /// The scheme of an address.
    pub(crate) fn of(url: &Url) -> Self {
        match url.scheme() {
            "https" => Self::Https,
            _ => Self::Http,
        }
    }

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

    #[test]
    fn plain_http_is_remembered_for_a_while_and_never_instead_of_https() {
        let options = Options { plain_http: PlainHttp::Anywhere, ..Options::default() };
        let host = Host::new("registry.corp", &options);
        host.speaks(Scheme::Http);
        assert_eq!(host.schemes(), [Scheme::Http]);
        let until = Instant::now() + Duration::from_millis(50);
        *host.known.lock().unwrap() = Some(Known { scheme: Scheme::Http, until });
        host.speaks(Scheme::Http);
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(host.schemes(), [Scheme::Https, Scheme::Http]);
        host.speaks(Scheme::Http);
        host.missed(Scheme::Http);
        assert_eq!(host.schemes(), [Scheme::Https, Scheme::Http]);
        host.speaks(Scheme::Https);
        host.speaks(Scheme::Http);
        host.missed(Scheme::Https);
        assert_eq!(host.schemes(), [Scheme::Https]);
        let local = Host::new("localhost:5000", &options);
        local.speaks(Scheme::Https);
        local.missed(Scheme::Https);
        assert_eq!(local.schemes(), [Scheme::Http, Scheme::Https]);
    }

    #[test]
    fn what_was_asked_over_plain_http_counts_as_long_as_that_is_spoken() {
        let options = Options::default();
        let host = Host::new("registry.corp", &options);
        options.insecure.set(["registry.corp".to_owned()]);
        host.speaks(Scheme::Http);
        host.remember_challenge(Scheme::Http, &Challenge::Basic);
        assert_eq!(host.challenge(), Some(Challenge::Basic));
        options.insecure.set([]);
        assert_eq!(host.challenge(), None);
        options.insecure.set(["registry.corp".to_owned()]);
        host.speaks(Scheme::Https);
        assert_eq!(host.challenge(), None);
        host.remember_challenge(Scheme::Https, &Challenge::Basic);
        assert_eq!(host.challenge(), Some(Challenge::Basic));
        host.forget_challenge(&Challenge::Basic);
        assert_eq!(host.challenge(), None);
    }
}
