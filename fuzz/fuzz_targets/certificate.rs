//! Signers' certificates against the trust root of the seeds: whatever is changed, a certificate
//! that is believed has the key and the names that its authority has signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sealgate_core::certificate::{CertifiedKey, Presented, SctRequirement, certify};
use sealgate_core::trust::TrustRoot;

/// The middle of the seeds' validity.
const NOW: i64 = 1_700_000_000;

static ROOT: LazyLock<TrustRoot> =
    LazyLock::new(|| TrustRoot::parse(include_bytes!("../seeds/keys/trusted_root.json")).unwrap());
static GENUINE: LazyLock<CertifiedKey> =
    LazyLock::new(|| judge(include_bytes!("../seeds/certificate/leaf")).unwrap());

fn judge(leaf: &[u8]) -> Option<CertifiedKey> {
    let presented = Presented { leaf, untrusted: &[], detached_sct: None };
    certify(presented, &ROOT, &[NOW], SctRequirement::Required).ok()
}

fuzz_target!(|leaf: &[u8]| {
    let presented = Presented { leaf, untrusted: &[leaf.to_vec()], detached_sct: Some(leaf) };
    let _ = certify(presented, &ROOT, &[NOW], SctRequirement::NotRequired);
    if let Some(certified) = judge(leaf) {
        assert_eq!(certified.key(), GENUINE.key());
        assert_eq!(certified.identity(), GENUINE.identity());
    }
});
