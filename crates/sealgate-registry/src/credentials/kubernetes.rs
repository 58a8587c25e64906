//! Pull secrets (`kubernetes.io/dockerconfigjson`, `kubernetes.io/dockercfg`), matched as the
//! kubelet matches them, with one difference: a path ends at a slash, so that a secret for
//! `reg/acme` is not sent for `reg/acme-evil`.

use std::fmt;

use sealgate_core::fault::Fault;
use sealgate_engine::ports::PullSecret;

use super::docker::{Entries, RawEntries, Scope};
use super::{Credential, normal_host};

/// More than any pod names.
const MAX_SECRETS: usize = 64;
/// The API server stores no larger secret.
const MAX_SECRET: usize = 1 << 20;

/// The entries of all pull secrets of one workload, the longest path first.
pub struct PullSecrets {
    entries: Entries,
    complaint: Option<String>,
}

impl fmt::Debug for PullSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PullSecrets({} entries)", self.entries.usable.len())
    }
}

impl PullSecrets {
    /// Reads all secrets. One that cannot be read gives no credentials; the registry's refusal will
    /// then say so. An entry that cannot be read spoils no other.
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
        let complaint =
            (unreadable > 0).then(|| format!("{unreadable} pull secret(s) could not be read"));
        Self { entries: all, complaint }
    }

    /// Both kinds of secret: with `auths` around the entries, and without.
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

    pub(super) fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// All credentials that fit, the most specific first; the kubelet tries each. `Config` where the
    /// only entries that fit cannot be read.
    pub(super) fn lookup(&self, registry: &str, path: &str) -> Result<Vec<Credential>, Fault> {
        let host = normal_host(registry);
        let fits = |scope: &Scope| host_fits(&scope.host, &host) && scope.holds(path);
        let usable = self.entries.usable.iter().filter(|(s, _)| fits(s));
        let found: Vec<Credential> = usable.map(|(_, c)| c.clone()).collect();
        match self.entries.bad.iter().find(|scope| fits(scope)) {
            Some(scope) if found.is_empty() => Err(scope.unreadable("pull secret")),
            _ => Ok(found),
        }
    }
}

/// `*.example.com` fits `a.example.com`, not `a.b.example.com`; ports must be the same, and none is
/// the one of HTTPS.
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

/// `*` and `?` within one label. Linear: remembers the last star only.
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
