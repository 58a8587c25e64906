//! Bodies of log entries.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate_core::log::Body;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(body) = Body::parse(bytes) {
        assert!(!body.kind().is_empty() && body.version().starts_with("0.0."));
    }
});
