//! Public keys: one that is read has one encoding, and verifies nothing by accident.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate_core::key::PublicKey;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = PublicKey::from_spki_der(bytes) {
        assert_eq!(key.spki_der(), bytes);
        assert_eq!(PublicKey::from_pem(&key.to_pem()), Ok(key.clone()));
        assert!(key.verify(b"message", bytes, None).is_err());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = PublicKey::from_pem(text);
    }
});
