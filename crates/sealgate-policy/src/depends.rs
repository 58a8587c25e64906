//! The dependencies of a policy: objects that its authorities name. They must be fetched before the
//! policy compiles; a dependency without content makes its authority undecidable.

use std::collections::BTreeSet;

use crate::cip::{Authority, ClusterImagePolicy, KeyRef};

/// A cluster object that a policy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency<'a> {
    /// A Secret in the gate's namespace, by name: a public key or certificates.
    Secret(&'a str),
    /// A TrustRoot, by name.
    TrustRoot(&'a str),
}

/// Returns the dependencies of `policy`. A Secret of another namespace than `system_namespace` is
/// not one: the gate must not read it.
pub fn dependencies<'a>(
    policy: &'a ClusterImagePolicy,
    system_namespace: &str,
) -> BTreeSet<Dependency<'a>> {
    let mut found = BTreeSet::new();
    for authority in &policy.spec.authorities {
        found.extend(secrets(authority, system_namespace).map(Dependency::Secret));
        found.extend(trust_roots(authority).map(Dependency::TrustRoot));
    }
    found
}

fn secrets<'a>(
    authority: &'a Authority,
    system_namespace: &str,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let ca = authority.keyless.as_ref().and_then(|keyless| keyless.ca_cert.as_ref());
    let secret = |key: &'a KeyRef| {
        let secret = key.secret_ref.as_ref()?;
        let readable = secret.namespace.is_empty() || secret.namespace == system_namespace;
        (readable && !secret.name.is_empty()).then_some(secret.name.as_str())
    };
    let names = [authority.key.as_ref().and_then(secret), ca.and_then(secret)];
    names.into_iter().flatten()
}

fn trust_roots(authority: &Authority) -> impl Iterator<Item = &str> {
    let keyless = authority.keyless.as_ref().map(|it| it.trust_root_ref.as_str());
    let log = authority.ctlog.as_ref().map(|it| it.trust_root_ref.as_str());
    let timestamp = authority.rfc3161timestamp.as_ref().map(|it| it.trust_root_ref.as_str());
    [keyless, log, timestamp].into_iter().flatten().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_of_the_gates_namespace_and_named_trust_roots() {
        let secret = |name: &str, namespace: &str| json!({ "key": { "secretRef": { "name": name, "namespace": namespace } } });
        let keyless = json!({
            "keyless": {
                "trustRootRef": "r1",
                "ca-cert": { "secretRef": { "name": "ca" } },
                "identities": [{ "issuer": "i", "subject": "s" }],
            },
            "ctlog": { "trustRootRef": "r2" },
            "rfc3161timestamp": { "trustRootRef": "r3" },
        });
        let object = json!({
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": { "name": "p" },
            "spec": { "authorities": [
                secret("b", ""), secret("a", "cosign-system"), secret("foreign", "default"),
                secret("", ""), keyless, { "static": { "action": "pass" } },
                { "key": { "data": "PEM" }, "ctlog": { "url": "https://log" } },
            ] },
        });
        let policy = ClusterImagePolicy::from_json(&object).expect("a policy");
        let expected = [
            Dependency::Secret("a"),
            Dependency::Secret("b"),
            Dependency::Secret("ca"),
            Dependency::TrustRoot("r1"),
            Dependency::TrustRoot("r2"),
            Dependency::TrustRoot("r3"),
        ];
        assert_eq!(dependencies(&policy, "cosign-system"), expected.into());
    }
}
