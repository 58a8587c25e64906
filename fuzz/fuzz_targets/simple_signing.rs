//! SimpleSigning payloads: what is written is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate_core::simple_signing::SimpleSigning;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(payload) = SimpleSigning::parse(bytes) {
        assert_eq!(SimpleSigning::parse(payload.to_json().as_bytes()), Ok(payload));
    }
});
