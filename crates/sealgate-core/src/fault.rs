//! Failures to find out ([`Fault`]). Never the same as a [`crate::reject::Reject`], and never an
//! admission by omission.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::reference::parse_registry;

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
    /// The address is one that the gate must not contact: loopback, link-local, cloud metadata.
    AddressNotAllowed = "address-not-allowed";
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
    /// A limit of the gate itself is reached: its budget, or the descriptors of its process.
    Busy = "busy";
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
    /// The registry that was asked, where it led to another host: the target of a redirect, or a
    /// token endpoint. `target` or `detail` then names the other host.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked: Option<String>,
    /// The status code of the response, if the fault is about a response.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
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
                | Self::Busy
                | Self::Cancelled
        )
    }
}

impl Fault {
    /// A fault of `kind` at `target`.
    pub fn new(kind: FaultKind, target: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            target: target.into(),
            detail: detail.into(),
            asked: None,
            status: None,
            retry_after: None,
        }
    }

    /// The fault as it is shown to the author of a request to the gate, who may name any host as a
    /// registry in order to learn about hosts that only the gate can reach.
    ///
    /// All failures to get an answer from a registry read the same, whether its port is closed,
    /// silent, not HTTP, or not trusted. A host that the registry led to is not named and not
    /// quoted. What the registry itself answered is kept, and so is a fault that is not about a
    /// registry.
    pub fn for_requester(&self) -> Self {
        let registry = self.asked.as_ref().unwrap_or(&self.target);
        if parse_registry(registry).is_err() {
            return self.clone();
        }
        let detail = match (self.kind, &self.asked, self.status) {
            (kind, led, status) if is_unanswered(kind, led.is_some(), status) => {
                return Self::new(FaultKind::Unreachable, registry, NOT_REACHED);
            }
            (_, None, _) => return self.clone(),
            (_, Some(_), Some(status)) => format!("{LED_TO} answered with {status}"),
            (_, Some(_), None) => format!("{LED_TO} gave an unusable answer"),
        };
        Self { status: self.status, ..Self::new(self.kind, registry, detail) }
    }
}

/// Returns whether a fault at a registry, or at a host that the registry led to, is shown as a
/// failure to get an answer. A redirect that is refused counts: it would tell where it leads.
fn is_unanswered(kind: FaultKind, led: bool, status: Option<u16>) -> bool {
    match kind {
        FaultKind::Unreachable
        | FaultKind::Tls
        | FaultKind::Timeout
        | FaultKind::AddressNotAllowed => true,
        FaultKind::Malformed => led && status.is_none(),
        _ => false,
    }
}

/// A host that a registry led to, for the author of a request.
const LED_TO: &str = "its token endpoint, or the target of its redirect,";
/// The detail of every failure to get an answer, for the author of a request.
const NOT_REACHED: &str = "could not be reached; the gate's log has the cause";

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
    use super::{Fault, FaultKind};

    #[test]
    fn a_kind_is_written_as_its_code() {
        for kind in FaultKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
        }
    }

    #[test]
    fn every_failure_to_get_an_answer_reads_the_same_to_a_requester() {
        let text = "reg.io: could not be reached; the gate's log has the cause (unreachable)";
        for (kind, detail) in [
            (FaultKind::Unreachable, "connection refused"),
            (FaultKind::Timeout, "no complete response before the deadline"),
            (FaultKind::Tls, "invalid peer certificate: UnknownIssuer"),
            (FaultKind::AddressNotAllowed, "169.254.169.254 is a link-local address"),
        ] {
            let named = Fault::new(kind, "reg.io", detail);
            assert_eq!(named.for_requester().to_string(), text);
            let target = "10.0.0.1 (redirected from reg.io)";
            let led = Fault { asked: Some("reg.io".into()), ..Fault::new(kind, target, detail) };
            assert_eq!(led.for_requester().to_string(), text);
        }
        let detail = "redirected to 10.0.0.1 over plain HTTP from HTTPS; refused";
        let redirect = Fault::new(FaultKind::Malformed, "reg.io", detail);
        let redirect = Fault { asked: Some("reg.io".into()), ..redirect };
        assert_eq!(redirect.for_requester().to_string(), text);
    }

    #[test]
    fn a_requester_reads_the_words_of_the_named_registry_only() {
        let (kind, detail) = (FaultKind::Denied, "403 Forbidden: DENIED: secret words");
        let status = Some(403);
        let named = Fault { status, ..Fault::new(kind, "reg.io", detail) };
        assert_eq!(named.for_requester(), named);
        let target = "10.0.0.1 (redirected from reg.io)";
        let asked = Some("reg.io".into());
        let led = Fault { asked, ..Fault { status, ..Fault::new(kind, target, detail) } };
        assert_eq!(
            led.for_requester().to_string(),
            "reg.io: its token endpoint, or the target of its redirect, answered with 403 (denied)"
        );
        let api = Fault::new(FaultKind::Timeout, "pull secrets in shop", "the API server is slow");
        assert_eq!(api.for_requester(), api);
        let unread = Fault { status: None, kind: FaultKind::TooLarge, ..led };
        assert_eq!(
            unread.for_requester().to_string(),
            "reg.io: its token endpoint, or the target of its redirect, gave an unusable answer \
             (too-large)"
        );
    }
}
