//! Pull secrets (`kubernetes.io/dockerconfigjson`, `kubernetes.io/dockercfg`), matched as the
//! kubelet matches them, with one difference: a path ends at a slash, so that a secret for
//! `reg/acme` is not sent for `reg/acme-evil`.

use std::collections::BTreeMap;
use std::fmt;

use sealgate_engine::ports::PullSecret;
use serde::Deserialize;

use super::docker::{Entry, Scope, entries};
use super::{Credential, normal_host};

/// More than any pod names.
const MAX_SECRETS: usize = 64;
/// The API server stores no larger secret.
const MAX_SECRET: usize = 1 << 20;

/// The entries of all pull secrets of one workload, the longest path first.
pub struct PullSecrets {
    entries: Vec<(Scope, Credential)>,
    complaint: Option<String>,
}

impl fmt::Debug for PullSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PullSecrets({} entries)", self.entries.len())
    }
}

/// Both kinds of secret: with `auths` around the entries, and without.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Config { auths: BTreeMap<String, Option<Entry>> },
    Legacy(BTreeMap<String, Option<Entry>>),
}

impl PullSecrets {
    /// Reads all secrets. One that cannot be read gives no credentials, as with the kubelet; the
    /// registry's refusal will then say so.
    pub fn parse(secrets: &[PullSecret]) -> Self {
        let mut all = Vec::new();
        let mut unreadable = secrets.len().saturating_sub(MAX_SECRETS);
        for secret in secrets.iter().take(MAX_SECRETS) {
            match Self::document(&secret.docker_config_json) {
                Some(auths) => all.extend(entries(auths)),
                None => unreadable += 1,
            }
        }
        all.sort_by_key(|(scope, _)| std::cmp::Reverse(scope.path.len()));
        let complaint =
            (unreadable > 0).then(|| format!("{unreadable} pull secret(s) could not be read"));
        Self { entries: all, complaint }
    }

    fn document(text: &[u8]) -> Option<BTreeMap<String, Option<Entry>>> {
        if text.len() > MAX_SECRET {
            return None;
        }
        match serde_json::from_slice(text).ok()? {
            Document::Config { auths } | Document::Legacy(auths) => Some(auths),
        }
    }

    pub(super) fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }

    /// All credentials that fit, the most specific first; the kubelet tries each.
    pub(super) fn lookup(&self, registry: &str, path: &str) -> Vec<Credential> {
        let host = normal_host(registry);
        let fits = |scope: &Scope| host_fits(&scope.host, &host) && scope.holds(path);
        self.entries.iter().filter(|(s, _)| fits(s)).map(|(_, c)| c.clone()).collect()
    }
}

/// `*.example.com` fits `a.example.com`, not `a.b.example.com`; ports must be the same.
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
