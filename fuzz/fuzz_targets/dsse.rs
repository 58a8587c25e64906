//! DSSE envelopes: what is written is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate_core::dsse::Envelope;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::parse(bytes) {
        assert_eq!(Envelope::parse(envelope.to_json().as_bytes()), Ok(envelope));
    }
});
