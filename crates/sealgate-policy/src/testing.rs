//! Builders for this crate's tests.

use std::sync::Arc;

use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::PublicKey;
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::{Format, KeyAuthority, RootSource, TrustConfig};
use serde_json::{Value, json};

use crate::cip::validate::Context;
use crate::cip::{ClusterImagePolicy, SecretRef};
use crate::compile::{Compiled, Lookups, RootLookup, RootRef, SecretContent, compile};
use crate::glob::{Glob, TagTrust};
use crate::judge::{Finding, RejectedCandidate, VerifiedBy};
use crate::rule::{Formats, Mode, Need, Origin, Rule, SignedBy, When};
use crate::scope::Scope;

/// A P-256 key.
pub(crate) const KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEE11nBaJfy8CUmmyooPnb0LeM+CUT
kkRSORdNQi82nWQ8/gNRbtnMGlPtWbxCFl87oJnrOL7rAKjgQS/bg4uvQw==
-----END PUBLIC KEY-----
";

/// An Ed25519 key.
pub(crate) const OTHER_KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAA079MvN5qAMYFEEDUDrYVYs5DtprKFj08dXcBD2/2So=
-----END PUBLIC KEY-----
";

/// A policy with this spec.
pub(crate) fn policy(spec: Value) -> ClusterImagePolicy {
    ClusterImagePolicy::from_json(&json!({
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": {"name": "p", "generation": 7},
        "spec": spec,
    }))
    .unwrap_or_else(|e| panic!("{e}"))
}

/// A policy with this spec, compiled where there are neither secrets nor trust roots.
pub(crate) fn compiled(spec: Value) -> Compiled {
    compiled_with(spec, &no_root)
}

/// A policy with this spec, compiled with these trust roots.
pub(crate) fn compiled_with(spec: Value, roots: &RootLookup<'_>) -> Compiled {
    let lookups = Lookups { secrets: &no_secret, roots };
    compile(&policy(spec), "test.yaml", &Context::default(), &lookups)
}

/// Finds no trust root.
pub(crate) fn no_root(root: &RootRef) -> Result<(Arc<TrustRoot>, RootSource), Fault> {
    let detail = match root {
        RootRef::Named(name) => format!("trustRootRef {name} not found"),
        RootRef::Default => "the gate has no trust root of its own".to_owned(),
    };
    Err(Fault::new(FaultKind::Missing, "trust root", detail))
}

/// Finds no secret.
pub(crate) fn no_secret(secret: &SecretRef) -> Result<SecretContent, Fault> {
    let detail = format!("secret {:?} not found", secret.name);
    Err(Fault::new(FaultKind::Missing, "secret", detail))
}

/// A rule about every image.
pub(crate) fn rule(name: &str, need: Need, mode: Mode) -> Rule {
    let images = vec![Glob::any()];
    let when = When { images, tags: TagTrust::AsWritten, matches: Vec::new() };
    Rule::new(name.to_owned(), Origin::default(), when, need, mode)
}

/// A need of a signature by `authority`.
pub(crate) fn signed(authority: &str) -> Need {
    let keys = KeyAuthority { keys: vec![PublicKey::from_pem(KEY).unwrap()], hash: None };
    let (authority, by, trust_config) = (authority.to_owned(), keys.into(), TrustConfig::default());
    Need::Signed(SignedBy { authority, by, trust_config, source: None, formats: Formats::Both })
}

/// One verified signature.
pub(crate) fn verified() -> Finding {
    Finding::Verified(vec![VerifiedBy {
        key: Digest::of(b"key"),
        identity: None,
        format: Format::Legacy,
        origin: "ghcr.io/acme/app".to_owned(),
    }])
}

/// No signature, with these candidates' codes.
pub(crate) fn rejected(codes: &[&str]) -> Finding {
    let candidates = codes.iter().map(|code| RejectedCandidate {
        origin: "ghcr.io/acme/app@sha256:aa".to_owned(),
        code: (*code).to_owned(),
        text: format!("text of {code}"),
        remedy: format!("remedy of {code}"),
    });
    let summary = if codes.is_empty() { "no signatures found" } else { "no matching signatures" };
    Finding::Rejected { summary: summary.to_owned(), candidates: candidates.collect() }
}

/// A registry that did not answer.
pub(crate) fn timeout() -> Finding {
    Finding::Fault(Fault::new(FaultKind::Timeout, "ghcr.io", "no answer within 9s"))
}

/// A pod in `namespace`.
pub(crate) fn pod(namespace: &str) -> Scope {
    Scope {
        version: "v1".to_owned(),
        resource: "pods".to_owned(),
        kind: "Pod".to_owned(),
        namespace: namespace.to_owned(),
        ..Scope::default()
    }
}
