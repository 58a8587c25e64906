//! Trust roots as configurations hold and share them. One that is embedded in the program is
//! parsed on first use: a signature by key that has neither log entries nor timestamps needs none.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use super::TrustRoot;
use crate::digest::Digest;

/// Shared trust root. Dereferencing parses an embedded one; equality is that of the content.
#[derive(Clone, Debug)]
pub enum SharedRoot {
    /// Parsed when it was chosen.
    Parsed(Arc<TrustRoot>),
    /// Embedded in the program.
    Embedded(&'static EmbeddedRoot),
}

/// Trust root embedded in the program, parsed on first use.
#[derive(Debug)]
pub struct EmbeddedRoot {
    fingerprint: &'static str,
    parsed: LazyLock<Arc<TrustRoot>>,
}

impl SharedRoot {
    /// The parsed trust root.
    pub fn parsed(&self) -> &Arc<TrustRoot> {
        match self {
            Self::Parsed(root) => root,
            Self::Embedded(root) => &root.parsed,
        }
    }

    /// [`TrustRoot::fingerprint`]; that of an embedded root is known without parsing it.
    pub fn fingerprint(&self) -> Digest {
        match self {
            Self::Embedded(EmbeddedRoot { fingerprint, .. }) => fingerprint.parse().ok(),
            Self::Parsed(_) => None,
        }
        .unwrap_or_else(|| self.parsed().fingerprint())
    }
}

impl EmbeddedRoot {
    /// A root with this fingerprint, the one that [`TrustRoot::fingerprint`] gives for what
    /// `parse` returns.
    pub const fn new(fingerprint: &'static str, parse: fn() -> Arc<TrustRoot>) -> Self {
        Self { fingerprint, parsed: LazyLock::new(parse) }
    }
}

impl Deref for SharedRoot {
    type Target = TrustRoot;

    fn deref(&self) -> &TrustRoot {
        self.parsed()
    }
}

impl From<Arc<TrustRoot>> for SharedRoot {
    fn from(root: Arc<TrustRoot>) -> Self {
        Self::Parsed(root)
    }
}

impl From<TrustRoot> for SharedRoot {
    fn from(root: TrustRoot) -> Self {
        Self::Parsed(Arc::new(root))
    }
}

impl PartialEq for SharedRoot {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Embedded(one), Self::Embedded(other)) if std::ptr::eq(*one, *other) => true,
            _ => self.parsed() == other.parsed(),
        }
    }
}

impl Eq for SharedRoot {}
