//! Bundles that the public Sigstore has made, at their own times: Fulcio's certificates, promises
//! of public certificate logs, entries of Rekor v1. Where they come from: `data/README.md`.

use sealgate_core::digest::Digest;
use sealgate_core::identity::{IdentityAuthority, IdentityMatcher, Wanted};
use sealgate_core::key::PublicKey;
use sealgate_core::reject::Reject;
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::{
    Artifact, Authority, BlobSignature, Check, KeyAuthority, Overrides, Requirement, RootSource,
    SubjectRequirement, TrustConfig, Verified, verify,
};

const ISSUER: &str = "https://token.actions.githubusercontent.com";
const WORKFLOW: &str =
    "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main";
const PROVENANCE: &[u8] = include_bytes!("data/public/npm-sigstore-2.0.0-provenance.json");
const WITH_ROOT: &[u8] = include_bytes!("data/public/npm-sigstore-1.3.0-provenance.json");
const PUBLISH: &[u8] = include_bytes!("data/public/npm-sigstore-1.3.0-publish.json");
const PACKAGE_2_0_0: &str = "sha512:46d4e2f74c4877316640000a6fdf8a8b59f1e0847667973e9859f774dd31b8f1\
                             e0937813b777fb66a2ac67d50540fe34640966eee9fc2ccca387082b4c85cd3c";
const PACKAGE_1_3_0: &str = "sha512:76176ffa33808b54602c7c35de5c6e9a4deb96066dba6533f50ac234f4f1f4c6\
                             b3527515dc17c06fbe2860030f410eee69ea20079bd3a2c6f3dcf3b329b10751";
/// Long after the certificates.
const TODAY: i64 = 1_795_000_000;

fn judge(bundle: &[u8], authority: &Authority, package: &str) -> Result<Verified, Reject> {
    let root = TrustRoot::parse(include_bytes!("data/trusted_root.json")).unwrap();
    let (root, source) = (Some(root.into()), RootSource::Configured);
    let trust_config = TrustConfig { root, source, overrides: Overrides::default() };
    let package: [Digest; 1] = [package.parse().unwrap()];
    let artifact = Artifact::Digests(&package);
    let requirement = Requirement { authority, subject: SubjectRequirement::Blob(artifact) };
    verify(BlobSignature::Bundle(bundle), &requirement, &trust_config.context(authority, TODAY))
}

fn workflow(subject: &str) -> Authority {
    let exactly = |text: &str| Some(Wanted::Exactly(text.to_owned()));
    let wanted = IdentityMatcher {
        issuer: exactly(ISSUER),
        subject: exactly(subject),
        ..IdentityMatcher::default()
    };
    Authority::Identities(IdentityAuthority { identities: vec![wanted] })
}

fn code(outcome: Result<Verified, Reject>) -> &'static str {
    outcome.map_or_else(|reject| reject.code(), |_| "verified")
}

#[test]
fn what_a_github_workflow_signed_in_2023_verifies() {
    let verified = judge(PROVENANCE, &workflow(WORKFLOW), PACKAGE_2_0_0).unwrap();
    for check in [Check::Certificate, Check::Sct, Check::Log] {
        assert!(verified.checks().contains(&check), "{check:?}");
    }
    let certificate = verified.certificate().unwrap();
    let logged = verified.logs()[0].integrated_time().unwrap();
    assert!((certificate.not_before()..=certificate.not_after()).contains(&logged));
    assert_eq!(verified.predicate_type(), Some("https://slsa.dev/provenance/v1"));
}

#[test]
fn what_npm_signed_with_a_key_verifies_with_its_log_entry() {
    let key = PublicKey::from_pem(include_str!("data/public/npm-publish.pub")).unwrap();
    let authority: Authority = KeyAuthority { keys: vec![key], hash: None }.into();
    let verified = judge(PUBLISH, &authority, PACKAGE_1_3_0).unwrap();
    assert!(verified.checks().contains(&Check::Log));
    assert_eq!(code(judge(PUBLISH, &authority, PACKAGE_2_0_0)), "other-subject");
}

#[test]
fn others_packages_signers_and_bits_are_refused() {
    let other = workflow("https://github.com/sigstore/sigstore-js/.github/workflows/ci.yml@main");
    assert_eq!(code(judge(PROVENANCE, &other, PACKAGE_2_0_0)), "wrong-identity");
    assert_eq!(code(judge(PROVENANCE, &workflow(WORKFLOW), PACKAGE_1_3_0)), "other-subject");
    // A root in a bundle is refused, as the conformance suite has it.
    assert_eq!(code(judge(WITH_ROOT, &workflow(WORKFLOW), PACKAGE_1_3_0)), "bad-certificate");
    let text = std::str::from_utf8(PROVENANCE).unwrap();
    let later = text.replace("\"integratedTime\":\"1692", "\"integratedTime\":\"1693");
    let later = later.replace("\"integratedTime\": \"1692", "\"integratedTime\": \"1693");
    assert_ne!(later, text);
    assert_eq!(code(judge(later.as_bytes(), &workflow(WORKFLOW), PACKAGE_2_0_0)), "log-promise");
}
