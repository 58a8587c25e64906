//! Pull secrets (`kubernetes.io/dockerconfigjson`, `kubernetes.io/dockercfg`), matched as the
//! kubelet matches them, with one difference: a path matches whole segments only, so that a secret
//! for `reg/acme` is not sent to `reg/acme-evil`.

use std::fmt;

use sealgate_core::fault::Fault;
use sealgate_engine::ports::PullSecret;

use super::docker::{AuthKey, Entries, RawEntries};
use super::{Credential, normal_host};

/// Maximum number of pull secrets of one workload.
const MAX_SECRETS: usize = 64;
/// Maximum size of a secret, in bytes, as in the Kubernetes API server.
const MAX_SECRET: usize = 1 << 20;

/// Entries of all pull secrets of one workload, longest path first.
pub struct PullSecrets {
    entries: Entries,
    unreadable: Option<String>,
}

impl fmt::Debug for PullSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PullSecrets({} entries)", self.entries.usable.len())
    }
}

impl PullSecrets {
    /// Parses all secrets. An unreadable secret gives no credentials, and the registry's refusal
    /// will mention it. An unreadable entry does not affect the others.
    pub fn parse(secrets: &[PullSecret]) -> Self {
        let mut all = Entries::default();
        let mut unreadable = secrets.len().saturating_sub(MAX_SECRETS);
        for secret in secrets.iter().take(MAX_SECRETS) {
            match Self::document(&secret.docker_config_json) {
                Some(entries) => {
                    all.usable.extend(entries.usable);
                    all.bad.extend(entries.bad);
                }
                None => unreadable += 1,
            }
        }
        all.usable.sort_by_key(|(scope, _)| std::cmp::Reverse(scope.path.len()));
        for scope in &all.bad {
            tracing::warn!(entry = %scope, "an entry of a pull secret cannot be read");
        }
        let unreadable =
            (unreadable > 0).then(|| format!("{unreadable} pull secret(s) could not be read"));
        Self { entries: all, unreadable }
    }

    /// Parses either type of secret: entries under `auths`, or at the top level.
    fn document(text: &[u8]) -> Option<Entries> {
        if text.len() > MAX_SECRET {
            return None;
        }
        let outer: RawEntries<'_> = serde_json::from_slice(text).ok()?;
        let entries = match outer.get("auths") {
            None => outer,
            Some(inner) => serde_json::from_str::<Option<_>>(inner.get()).ok()?.unwrap_or_default(),
        };
        Some(Entries::read(&entries))
    }

    pub(super) fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// All matching credentials, most specific first; the kubelet tries each. `Config` when the
    /// only matching entries are unreadable.
    pub(super) fn lookup(&self, registry: &str, path: &str) -> Result<Vec<Credential>, Fault> {
        let host = normal_host(registry);
        let fits = |scope: &AuthKey| host_fits(&scope.host, &host) && scope.holds(path);
        let usable = self.entries.usable.iter().filter(|(s, _)| fits(s));
        let found: Vec<Credential> = usable.map(|(_, c)| c.clone()).collect();
        match self.entries.bad.iter().find(|scope| fits(scope)) {
            Some(scope) if found.is_empty() => Err(scope.unreadable("pull secret")),
            _ => Ok(found),
        }
    }
}

/// Returns whether `host` matches `pattern`. `*.example.com` matches `a.example.com` but not
/// `a.b.example.com`; ports must be equal, and a missing port is 443.
fn host_fits(pattern: &str, host: &str) -> bool {
    let (pattern, port) = split_port(pattern);
    let (host, host_port) = split_port(host);
    if port != host_port || pattern.split('.').count() != host.split('.').count() {
        return false;
    }
    pattern.split('.').zip(host.split('.')).all(|(p, h)| label_fits(p.as_bytes(), h.as_bytes()))
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, "443")) => (name, ""),
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    }
}

/// Matches `*` and `?` within one label, in linear time: only the last star is remembered.
fn label_fits(pattern: &[u8], label: &[u8]) -> bool {
    let (mut p, mut l) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = label.get(l) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, l));
                p += 1;
            }
            Some(&want) if want == byte || want == b'?' => {
                p += 1;
                l += 1;
            }
            _ => match star.as_mut() {
                Some((at, from)) => {
                    *from += 1;
                    p = *at + 1;
                    l = *from;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
}
