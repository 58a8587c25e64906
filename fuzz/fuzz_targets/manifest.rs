//! Manifests and indexes: nothing can be read as both.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealgate_core::manifest::{parse_index, parse_manifest};

fuzz_target!(|bytes: &[u8]| {
    let manifest = parse_manifest(bytes, None);
    let index = parse_index(bytes, None);
    assert!(manifest.is_err() || index.is_err());
    if let Ok(manifest) = manifest {
        let written = serde_json::to_vec(&manifest).expect("a manifest can be written");
        assert_eq!(parse_manifest(&written, None), Ok(manifest));
    }
});
