//! Checkpoints of logs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate_core::log::Checkpoint;

fuzz_target!(|note: &str| {
    if let Ok(checkpoint) = Checkpoint::parse(note) {
        assert!(note.starts_with(&format!("{}\n{}\n", checkpoint.origin, checkpoint.size)));
    }
});
