//! Builders for this crate's tests.

use std::sync::Arc;

use sealgate_core::digest::Digest;
use sealgate_core::evidence::Origin;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::PublicKey;
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::{EvidenceFormat, KeyAuthority, RootSource, TrustConfig};
use serde_json::{Value, json};

use crate::cip::compile::{Compiled, Lookups, RootLookup, RootRef, SecretContent, compile};
use crate::cip::patterns::Patterns;
use crate::cip::validate::Context;
use crate::cip::{ClusterImagePolicy, SecretRef};
use crate::facts::{Candidates, Facts, RejectedFact, VerifiedFact};
use crate::glob::{Glob, TagMatching};
use crate::rule::{Formats, Mode, Need, Rule, RuleSource, SignatureRequirement, SignedBy, When};
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

/// A policy with this spec, compiled without Secrets and trust roots.
pub(crate) fn compiled(spec: Value) -> Compiled {
    compiled_with(spec, &no_root)
}

/// A policy with this spec, compiled with these trust roots.
pub(crate) fn compiled_with(spec: Value, roots: &RootLookup<'_>) -> Compiled {
    let lookups = Lookups { secrets: &no_secret, roots };
    compile(&policy(spec), "test.yaml", &Context::default(), &lookups, &mut Patterns::default())
}

/// A policy with this spec, compiled without Secrets and trust roots, with these expressions.
pub(crate) fn compile_with(spec: Value, patterns: &mut Patterns) -> Compiled {
    let lookups = Lookups { secrets: &no_secret, roots: &no_root };
    compile(&policy(spec), "test.yaml", &Context::default(), &lookups, patterns)
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

/// A rule that applies to every image.
pub(crate) fn rule(name: &str, need: Need, mode: Mode) -> Rule {
    let images = vec![Glob::any()];
    let when = When { images, tags: TagMatching::AsWritten, matches: Vec::new() };
    Rule::new(name.to_owned(), RuleSource::default(), when, need, mode)
}

/// A need for a signature by `authority`, with a requirement of its own.
pub(crate) fn signed(authority: &str) -> Need {
    let keys = KeyAuthority { keys: vec![PublicKey::from_pem(KEY).unwrap()], hash: None };
    let annotations = [("authority".to_owned(), authority.to_owned())].into();
    let requirement = SignatureRequirement::new(keys.into(), TrustConfig::default());
    let requirement = SignatureRequirement { annotations, ..requirement };
    Need::Signed(SignedBy::new(authority.to_owned(), requirement, Formats::Both))
}

/// The requirement of a compiled need.
pub(crate) fn requirement(signed: &SignedBy) -> &SignatureRequirement {
    signed.requirement.requirement().expect("compiled")
}

/// The facts about an image: `candidates` for each signature that `need` requires.
pub(crate) fn facts(need: &Need, candidates: impl Fn(&SignedBy) -> Candidates) -> Facts {
    let mut facts = Facts::default();
    for signed in need.signed() {
        facts.insert(signed.requirement.id().clone(), Arc::new(candidates(signed)));
    }
    facts
}

/// One verified signature.
pub(crate) fn verified() -> Candidates {
    let mut candidates = Candidates::default();
    candidates.push_verified(verified_fact(origin("ghcr.io/acme/app"), EvidenceFormat::Legacy));
    candidates
}

/// A signature that was verified by a key, without a log or a timestamp.
pub(crate) fn verified_fact(origin: Origin, format: EvidenceFormat) -> VerifiedFact {
    VerifiedFact {
        origin,
        format,
        key: Digest::of(b"key"),
        identity: None,
        digest: None,
        payload: Digest::of(b"payload"),
        logs: Vec::new(),
        timestamps: Vec::new(),
    }
}

/// No signature, with these candidates' codes.
pub(crate) fn rejected(codes: &[&str]) -> Candidates {
    let mut candidates = Candidates::default();
    for code in codes {
        candidates.push_rejected_fact(RejectedFact {
            origin: origin("ghcr.io/acme/app@sha256:aa"),
            code: (*code).to_owned(),
            text: format!("text of {code}"),
            remedy: format!("remedy of {code}"),
        });
        candidates.push_reason("wrong".to_owned());
    }
    candidates
}

/// The fault of a registry that did not respond.
pub(crate) fn timeout() -> Candidates {
    let mut candidates = Candidates::default();
    candidates.push_fault(Fault::new(FaultKind::Timeout, "ghcr.io", "no answer within 9s"));
    candidates
}

fn origin(repository: &str) -> Origin {
    Origin { repository: repository.to_owned(), manifest: None, layer: None }
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
