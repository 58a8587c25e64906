//! Image references: what is printed is read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate_core::reference::Reference;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let printed = reference.to_string();
        let again: Reference = printed.parse().expect("what is printed can be read");
        assert_eq!(again.repository(), reference.repository());
        assert_eq!(again.digest(), reference.digest());
    }
});
