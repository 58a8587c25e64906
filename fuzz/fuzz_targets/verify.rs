//! Whole bundles against the trust root of the seeds: a bundle that verifies says exactly what
//! was signed, whatever else was changed in it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sealgate_core::evidence::{BundleBytes, Evidence, Origin};
use sealgate_core::identity::{IdentityAuthority, IdentityMatcher};
use sealgate_core::reject::Reject;
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::{
    Authority, Check, ClaimComparison, ImageSignatureRequirement, Overrides, Requirement,
    RootSource, SubjectRequirement, TrustConfig, Verified, verify,
};

static TRUST_CONFIG: LazyLock<TrustConfig> = LazyLock::new(|| TrustConfig {
    root: TrustRoot::parse(include_bytes!("../seeds/keys/trusted_root.json")).ok().map(Into::into),
    source: RootSource::Configured,
    overrides: Overrides::default(),
});
static SIGNED: LazyLock<Vec<u8>> =
    LazyLock::new(|| judge(include_bytes!("../seeds/verify/rekor-v1")).unwrap().payload().to_vec());

fn judge(json: &[u8]) -> Result<Verified, Reject> {
    let origin = Origin { repository: "x".to_owned(), manifest: None, layer: None };
    let evidence = Evidence::Bundle(BundleBytes { origin, json: json.to_vec() });
    // Whoever it was: the certificate and the log decide.
    let identities = vec![IdentityMatcher::default()];
    let authority = Authority::Identities(IdentityAuthority { identities });
    let wanted = ImageSignatureRequirement {
        digest: sealgate_core::digest::Digest::of(b"image"),
        annotations: Default::default(),
        claims: ClaimComparison::Ignored,
    };
    let subject = SubjectRequirement::ImageSignature(&wanted);
    let requirement = Requirement { authority: &authority, subject };
    verify(&evidence, &requirement, &TRUST_CONFIG.context(&authority, 1_700_000_020))
}

fuzz_target!(|json: &[u8]| {
    if let Ok(verified) = judge(json) {
        assert_eq!(verified.payload(), SIGNED.as_slice());
        assert!(verified.checks().contains(&Check::Log));
        assert!(verified.certificate().is_some());
    }
});
