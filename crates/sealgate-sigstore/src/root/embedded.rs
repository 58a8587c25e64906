//! What came with the program: the public-good trusted root and signing configuration, and the
//! TUF roots with which trust in the public mirrors begins. `data/README.md` says where from.

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use sealgate_core::trust::TrustRoot;

use super::{PUBLIC_GOOD, STAGING};

/// When the data were taken: 2026-08-21T19:25:56Z, the commit that `data/README.md` names.
const TAKEN: i64 = 1_787_340_356;

static ROOT: LazyLock<Arc<TrustRoot>> = LazyLock::new(|| {
    let root = TrustRoot::parse(include_bytes!("../../data/trusted_root.json"));
    // Our own data, read by a test: nobody else can change them.
    Arc::new(root.expect("the embedded trusted root can be read"))
});

/// The public-good trust root that came with the program, and when it was taken.
pub fn embedded() -> (Arc<TrustRoot>, Timestamp) {
    (ROOT.clone(), taken())
}

/// The public-good signing configuration that came with the program, taken at the same time.
pub(crate) fn embedded_signing_config() -> &'static [u8] {
    include_bytes!("../../data/signing_config.v0.2.json")
}

pub(super) fn taken() -> Timestamp {
    Timestamp::from_second(TAKEN).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The TUF root with which trust in a public mirror begins.
pub(super) fn anchor(mirror: &str) -> Option<&'static [u8]> {
    match mirror {
        PUBLIC_GOOD => Some(include_bytes!("../../data/root.json")),
        STAGING => Some(include_bytes!("../../data/staging_root.json")),
        _ => None,
    }
}
