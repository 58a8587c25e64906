//! in-toto statements: one without subjects is never read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate_core::statement::Statement;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(statement) = Statement::parse(bytes) {
        assert!(!statement.subjects.is_empty());
        assert!(!statement.predicate_type.is_empty());
    }
});
