//! The phases of the server's life.

/// A phase. They follow each other in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The server serves.
    Serving,
    /// The server still serves, but `/readyz` refuses, so that load balancers send no new requests.
    Draining,
    /// The sockets are closed; running requests may finish.
    Stopping,
}
