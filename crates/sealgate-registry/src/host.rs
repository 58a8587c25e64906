//! State remembered for each registry: scheme, authentication challenge, and retry budget.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use crate::challenge::Challenge;
use crate::options::{InsecureRegistries, Options, PlainHttp};
use sealgate_http::retry::Budget;

/// URL scheme used with a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// State of one registry (host and port).
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) budget: Budget,
    plain_http: PlainHttp,
    insecure: InsecureRegistries,
    https: HttpsRegistries,
    known: Mutex<Option<LastScheme>>,
    challenge: Mutex<Option<(Scheme, Challenge)>>,
}

/// Registries that were reached over HTTPS, and are therefore not contacted over plain HTTP until
/// the process ends. This outlives the other state of a registry, which is forgotten when many
/// registries are in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpsRegistries(Arc<Mutex<BTreeSet<String>>>);

/// Scheme of the last successful exchange.
#[derive(Clone, Copy, Debug)]
struct LastScheme {
    scheme: Scheme,
    /// Expiry of a plain HTTP result; an HTTPS result does not expire.
    until: Instant,
}

/// Time during which HTTPS is not tried again with a registry that does not support TLS.
const PLAIN_HTTP_MEMORY: Duration = Duration::from_secs(600);

/// Maximum number of remembered registries reached over HTTPS. Those on the list of registries that
/// may be contacted over plain HTTP are always remembered: the operator chose them.
const MAX_HTTPS: usize = 4096;

/// Maximum size of a remembered challenge, in bytes: a registry chooses the texts.
const MAX_CHALLENGE: usize = 1024;

impl HttpsRegistries {
    fn contains(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn insert(&self, name: &str, listed: bool) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if listed || names.len() < MAX_HTTPS {
            names.insert(name.to_owned());
        }
    }
}

impl Host {
    pub(crate) fn new(name: &str, options: &Options, https: &HttpsRegistries) -> Self {
        Self {
            name: name.to_owned(),
            budget: Budget::new(options.retries.budget),
            plain_http: options.plain_http,
            insecure: options.insecure.clone(),
            https: https.clone(),
            known: Mutex::new(None),
            challenge: Mutex::new(None),
        }
    }

    /// Candidate schemes in order of preference.
    pub(crate) fn schemes(&self) -> &'static [Scheme] {
        let possible = schemes(&self.name, self.plain_http, &self.insecure);
        let known = self.known.lock().ok().and_then(|known| *known);
        match known {
            // Plain HTTP may have been disallowed since it was last used.
            Some(LastScheme { scheme: Scheme::Http, until })
                if possible.contains(&Scheme::Http) && Instant::now() < until =>
            {
                &[Scheme::Http]
            }
            Some(LastScheme { scheme: Scheme::Https, .. }) => &[Scheme::Https],
            _ if possible.len() > 1 && self.https.contains(&self.name) => &[Scheme::Https],
            _ => possible,
        }
    }

    /// Returns whether `scheme` is tried first.
    pub(crate) fn prefers(&self, scheme: Scheme) -> bool {
        schemes(&self.name, self.plain_http, &self.insecure).first() == Some(&scheme)
    }

    /// Records a response over `scheme`. A plain HTTP response does not replace a recorded HTTPS
    /// one, and expires where plain HTTP is the second choice.
    pub(crate) fn record_scheme(&self, scheme: Scheme) {
        if scheme == Scheme::Https && !is_loopback(&self.name) {
            self.https.insert(&self.name, self.insecure.contains(&self.name));
        }
        let Ok(mut known) = self.known.lock() else { return };
        match (scheme, &*known) {
            (Scheme::Http, Some(LastScheme { scheme: Scheme::Https, .. })) => {}
            // Not extended, so that HTTPS is tried again.
            (Scheme::Http, Some(LastScheme { until, .. })) if Instant::now() < *until => {}
            _ => *known = Some(LastScheme { scheme, until: Instant::now() + PLAIN_HTTP_MEMORY }),
        }
    }

    /// Records that the registry was not reached over its remembered scheme, so that the scheme is
    /// determined anew. A registry once reached over HTTPS is not downgraded to plain HTTP in this
    /// way, except on loopback, where no attacker can intercept.
    pub(crate) fn record_unreachable(&self, scheme: Scheme) {
        let Ok(mut known) = self.known.lock() else { return };
        let again = scheme == Scheme::Http || is_loopback(&self.name);
        known.take_if(|known| again && known.scheme == scheme);
    }

    /// Last challenge of the registry. One received over plain HTTP may be forged, so it is valid
    /// only while plain HTTP is in use.
    pub(crate) fn challenge(&self) -> Option<Challenge> {
        let (scheme, challenge) = self.challenge.lock().ok()?.clone()?;
        let counts = scheme == Scheme::Https || self.schemes() == [Scheme::Http];
        counts.then_some(challenge)
    }

    /// Remembers a challenge, unless it is large: then it is asked for again.
    pub(crate) fn remember_challenge(&self, scheme: Scheme, challenge: &Challenge) {
        if challenge.size() > MAX_CHALLENGE {
            return;
        }
        if let Ok(mut slot) = self.challenge.lock() {
            *slot = Some((scheme, challenge.clone()));
        }
    }

    /// Forgets `challenge` if it is still the remembered one.
    pub(crate) fn forget_challenge(&self, challenge: &Challenge) {
        if let Ok(mut slot) = self.challenge.lock() {
            slot.take_if(|(_, known)| known == challenge);
        }
    }

    /// Maximum size of the state, in bytes.
    pub(crate) fn weight(&self) -> u32 {
        u32::try_from(self.name.len() + MAX_CHALLENGE + 512).unwrap_or(u32::MAX)
    }
}

impl Scheme {
    /// Scheme of a URL.
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

fn schemes(name: &str, plain_http: PlainHttp, insecure: &InsecureRegistries) -> &'static [Scheme] {
    match plain_http {
        _ if is_loopback(name) => &[Scheme::Http, Scheme::Https],
        PlainHttp::Anywhere => &[Scheme::Https, Scheme::Http],
        PlainHttp::Loopback if insecure.contains(name) => &[Scheme::Https, Scheme::Http],
        PlainHttp::Loopback => &[Scheme::Https],
    }
}

/// Returns whether `host[:port]` is a loopback host by its spelling; no name is resolved.
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

    fn new_host(name: &str, options: &Options) -> Host {
        Host::new(name, options, &HttpsRegistries::default())
    }

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
            new_host(name, &Options { plain_http, ..Options::default() }).schemes()
        };
        assert_eq!(schemes("ghcr.io", PlainHttp::Loopback), [Scheme::Https]);
        assert_eq!(schemes("ghcr.io", PlainHttp::Anywhere), [Scheme::Https, Scheme::Http]);
        assert_eq!(schemes("localhost:5000", PlainHttp::Loopback)[0], Scheme::Http);
    }

    #[test]
    fn a_list_of_insecure_registries_counts_as_long_as_it_says_so() {
        let options = Options::default();
        let host = new_host("registry.corp:5000", &options);
        assert_eq!(host.schemes(), [Scheme::Https]);
        options.insecure.set(["Registry.corp:5000".to_owned()]);
        assert_eq!(host.schemes(), [Scheme::Https, Scheme::Http]);
        assert_eq!(new_host("registry.corp", &options).schemes(), [Scheme::Https]);
        host.record_scheme(Scheme::Http);
        assert_eq!(host.schemes(), [Scheme::Http]);
        options.insecure.set([]);
        assert_eq!(host.schemes(), [Scheme::Https], "what it spoke before is not allowed any more");
    }

    #[test]
    fn plain_http_is_remembered_for_a_while_and_never_instead_of_https() {
        let options = Options { plain_http: PlainHttp::Anywhere, ..Options::default() };
        let host = new_host("registry.corp", &options);
        host.record_scheme(Scheme::Http);
        assert_eq!(host.schemes(), [Scheme::Http]);
        let until = Instant::now() + Duration::from_millis(50);
        *host.known.lock().unwrap() = Some(LastScheme { scheme: Scheme::Http, until });
        host.record_scheme(Scheme::Http);
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(host.schemes(), [Scheme::Https, Scheme::Http]);
        host.record_scheme(Scheme::Http);
        host.record_unreachable(Scheme::Http);
        assert_eq!(host.schemes(), [Scheme::Https, Scheme::Http]);
        host.record_scheme(Scheme::Https);
        host.record_scheme(Scheme::Http);
        host.record_unreachable(Scheme::Https);
        assert_eq!(host.schemes(), [Scheme::Https]);
        let local = new_host("localhost:5000", &options);
        local.record_scheme(Scheme::Https);
        local.record_unreachable(Scheme::Https);
        assert_eq!(local.schemes(), [Scheme::Http, Scheme::Https]);
    }

    /// Registries in use push each other out of memory; that must not bring plain HTTP back.
    #[test]
    fn https_is_remembered_longer_than_the_other_state() {
        let (options, https) = (Options::default(), HttpsRegistries::default());
        let host = |name: &str| Host::new(name, &options, &https);
        for number in 0..2 * MAX_HTTPS {
            host(&format!("n{number}.example")).record_scheme(Scheme::Https);
        }
        options.insecure.set(["registry.corp".to_owned(), "n1.example".to_owned()]);
        host("registry.corp").record_scheme(Scheme::Https);
        assert_eq!(host("registry.corp").schemes(), [Scheme::Https]);
        assert_eq!(host("n1.example").schemes(), [Scheme::Https]);
        host("localhost:5000").record_scheme(Scheme::Https);
        assert_eq!(host("localhost:5000").schemes(), [Scheme::Http, Scheme::Https]);
        assert_eq!(https.0.lock().unwrap().len(), MAX_HTTPS + 1);
    }

    #[test]
    fn a_large_challenge_is_not_remembered() {
        let host = new_host("registry.corp", &Options::default());
        let challenge = |size| Challenge::Bearer {
            realm: "r".repeat(size),
            service: String::new(),
            scope: None,
        };
        host.remember_challenge(Scheme::Https, &challenge(MAX_CHALLENGE + 1));
        assert_eq!(host.challenge(), None);
        host.remember_challenge(Scheme::Https, &challenge(MAX_CHALLENGE));
        assert!(host.challenge().is_some());
    }

    #[test]
    fn a_plain_http_challenge_is_valid_while_plain_http_is_used() {
        let options = Options::default();
        let host = new_host("registry.corp", &options);
        options.insecure.set(["registry.corp".to_owned()]);
        host.record_scheme(Scheme::Http);
        host.remember_challenge(Scheme::Http, &Challenge::Basic);
        assert_eq!(host.challenge(), Some(Challenge::Basic));
        options.insecure.set([]);
        assert_eq!(host.challenge(), None);
        options.insecure.set(["registry.corp".to_owned()]);
        host.record_scheme(Scheme::Https);
        assert_eq!(host.challenge(), None);
        host.remember_challenge(Scheme::Https, &Challenge::Basic);
        assert_eq!(host.challenge(), Some(Challenge::Basic));
        host.forget_challenge(&Challenge::Basic);
        assert_eq!(host.challenge(), None);
    }
}
