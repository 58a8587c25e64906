//! Embedded data: the public-good trusted root and signing configuration, and the initial TUF roots
//! of the public mirrors. `data/README.md` gives their source.

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use sealgate_core::trust::TrustRoot;

use super::{PUBLIC_GOOD, STAGING};

/// Time of the embedded data: 2026-08-21T19:25:56Z, the commit named in `data/README.md`.
const TAKEN: i64 = 1_787_340_356;

static ROOT: LazyLock<Arc<TrustRoot>> = LazyLock::new(|| {
    let root = TrustRoot::parse(include_bytes!("../../data/trusted_root.json"));
    // Embedded at build time and parsed by a test.
    Arc::new(root.expect("the embedded trusted root can be read"))
});

/// Embedded public-good trust root, and the time at which it was copied.
pub fn embedded() -> (Arc<TrustRoot>, Timestamp) {
    (ROOT.clone(), taken())
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
