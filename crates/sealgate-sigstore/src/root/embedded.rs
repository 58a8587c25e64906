//! Embedded data: the public-good trusted root and signing configuration, and the initial TUF roots
//! of the public mirrors. `data/README.md` gives their source.

use std::sync::Arc;

use jiff::Timestamp;
use sealgate_core::trust::{EmbeddedRoot, SharedRoot, TrustRoot};

use super::{PUBLIC_GOOD, STAGING};

/// Time of the embedded data: 2026-08-21T19:25:56Z, the commit named in `data/README.md`.
const TAKEN: i64 = 1_787_340_356;

/// Fingerprint of the embedded trust root; a test computes it.
pub(super) const FINGERPRINT: &str =
    "sha256:2d8b59a51e899c91988e7a281cb38c22e0449e3c11fce5e0fe50f53e34a769e7";

static ROOT: EmbeddedRoot = EmbeddedRoot::new(FINGERPRINT, || {
    let root = TrustRoot::parse(include_bytes!("../../data/trusted_root.json"));
    // Embedded at build time and parsed by a test.
    Arc::new(root.expect("the embedded trusted root can be read"))
});

/// Embedded public-good trust root, parsed on first use, and the time at which it was copied.
pub fn embedded() -> (SharedRoot, Timestamp) {
    (SharedRoot::Embedded(&ROOT), taken())
}

/// Embedded public-good signing configuration, copied at the same time.
pub(crate) fn embedded_signing_config() -> &'static [u8] {
    include_bytes!("../../data/signing_config.v0.2.json")
}

pub(super) fn taken() -> Timestamp {
    Timestamp::from_second(TAKEN).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Embedded initial TUF root of a public mirror.
pub(super) fn anchor(mirror: &str) -> Option<&'static [u8]> {
    match mirror {
        PUBLIC_GOOD => Some(include_bytes!("../../data/root.json")),
        STAGING => Some(include_bytes!("../../data/staging_root.json")),
        _ => None,
    }
}
