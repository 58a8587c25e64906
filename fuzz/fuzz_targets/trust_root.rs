//! Trusted root documents: what is read is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate_core::trust::TrustRoot;

fuzz_target!(|bytes: &[u8]| {
    let Ok(root) = TrustRoot::parse(bytes) else { return };
    let known = TrustRoot { skipped: Vec::new(), ..root };
    let again = TrustRoot::parse(known.to_json().as_bytes()).expect("our own document");
    assert_eq!(known.to_json(), again.to_json());
});
