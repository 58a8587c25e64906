//! Sigstore bundles: what is written is read as the same; older bundles do not panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate_core::bundle::{Bundle, OlderBundle};

fuzz_target!(|bytes: &[u8]| {
    let _ = OlderBundle::recognise(bytes);
    if let Ok(bundle) = Bundle::parse(bytes) {
        assert_eq!(Bundle::parse(bundle.to_json().as_bytes()), Ok(bundle));
    }
});
