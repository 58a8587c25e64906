//! The serving certificate: our own CA kept in a Secret that all replicas share, or files that
//! somebody else keeps, or one made for this process.
//!
//! `issue` makes certificates and `state` decides what is due; both are pure and take the time as a
//! parameter. `keeper` reads and writes the cluster, `files` reads the disk.
//!
//! How the overlap works: a new CA is put into caBundle beside the old one before any replica shows a
//! certificate of it ([`PUBLISH_DELAY`]), and the old one stays there for [`OVERLAP`]. So at any
//! time an API server trusts what any replica shows.

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;

mod files;
mod issue;
mod keeper;
mod state;

pub use files::watch_files;
pub use issue::{SelfSigned, self_signed};
pub use keeper::{Keeper, WebhookConfiguration, own_webhooks};
pub(crate) use state::{bundle, own_keys};

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long a CA is valid.
pub const CA_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 365);
/// A CA with less than this left is replaced; more than a leaf's whole life, so that no leaf is cut short.
pub const CA_RENEWAL: SignedDuration = SignedDuration::from_hours(24 * 120);
/// How long a serving certificate is valid.
pub const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 90);
/// A serving certificate with less than this left is replaced.
pub const LEAF_RENEWAL: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Certificates are valid from a little before they were made: clocks differ.
const BACKDATE: SignedDuration = SignedDuration::from_hours(1);
/// How long an old CA stays in caBundle.
pub const OVERLAP: SignedDuration = DAY;
/// From writing a new CA into caBundle to showing a certificate of it.
pub const PUBLISH_DELAY: Duration = Duration::from_secs(5);

/// What a TLS server needs, as PEM. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct Serving {
    /// The chain, leaf first.
    pub chain: Vec<u8>,
    /// The private key (PKCS#8 where it is ours).
    pub key: Vec<u8>,
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serving(…)")
    }
}
