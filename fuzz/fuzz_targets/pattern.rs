//! Regular expressions of identities. The first line is the expression, the rest the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate_core::identity::Pattern;

fuzz_target!(|input: &str| {
    let (source, text) = input.split_once('\n').unwrap_or((input, ""));
    let Ok(pattern) = Pattern::new(source) else { return };
    assert_eq!(pattern.as_str(), source);
    let found = pattern.is_found_in(text);
    assert_eq!(found, Pattern::new(source).expect("once more").is_found_in(text));
});
