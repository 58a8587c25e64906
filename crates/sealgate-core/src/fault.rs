//! Failures to find out ([`Fault`]). Never the same as a [`crate::reject::Reject`], and never an
//! admission by omission.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Declares each kind once: the enum, [`FaultKind::ALL`] and the codes follow from it.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $code:literal;)*) => {
        /// The kind of a failure. Each kind has a stable one-word code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum FaultKind {
            $($(#[$doc])* $kind,)*
        }

        impl FaultKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The stable one-word code.
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$kind => $code,)*
                }
            }
        }
    };
}

kinds! {
    /// No answer within the deadline.
    Timeout = "timeout";
    /// Rate limited (429) for longer than the deadline allows.
    Throttled = "throttled";
    /// Credentials are missing or wrong (401).
    Unauthorized = "unauthorized";
    /// Credentials are valid but insufficient (403), or a precondition failed (412).
    Denied = "denied";
    /// No connection: name resolution, routing, refused, reset.
    Unreachable = "unreachable";
    /// The TLS handshake failed.
    Tls = "tls";
    /// Server error (5xx).
    ServerError = "server-error";
    /// The response violates its specification.
    Malformed = "malformed";
    /// The response exceeds its size limit.
    TooLarge = "too-large";
    /// More items than the limit.
    TooMany = "too-many";
    /// The bytes do not have the requested digest.
    DigestMismatch = "digest-mismatch";
    /// Invalid configuration of Sealgate itself.
    Config = "config";
    /// The work was cancelled before it ended.
    Cancelled = "cancelled";
    /// A feature that this version parses but does not evaluate.
    Unsupported = "unsupported";
    /// A required object, such as a secret that a policy names, does not exist.
    Missing = "missing";
}

/// A failure to find out, with its kind, its source and a detail. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind, whose code is stable.
    pub kind: FaultKind,
    /// The source of the failure: a registry host, `secret ns/name`, a file.
    pub target: String,
    /// The detail, for display.
    pub detail: String,
    /// The retry delay that the other side stated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<Duration>,
}

impl FaultKind {
    /// True if a retry may succeed.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::Throttled
                | Self::Unreachable
                | Self::ServerError
                | Self::Cancelled
        )
    }
}

impl Fault {
    /// A fault of `kind` at `target`.
    pub fn new(kind: FaultKind, target: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, target: target.into(), detail: detail.into(), retry_after: None }
    }
}

/// The cause of an error. `source` of an I/O error returns the cause of its inner error; the inner
/// error itself, which may be an I/O error again, is available by `get_ref` only.
pub fn cause<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a (dyn std::error::Error + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.target, self.detail, self.kind.code())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::FaultKind;

    #[test]
    fn a_kind_is_written_as_its_code() {
        for kind in FaultKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
        }
    }
}
