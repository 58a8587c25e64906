//! Limits of the resources that a client can use up.

use std::time::Duration;

/// The bytes of one body: the API server sends at most 3 MiB of object, twice for an update.
pub const BODY_BYTES: usize = 7 << 20;

/// The limits of the listener. The defaults suit a gate with 64 MiB of memory.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. A further one evicts the idlest one, or, if all of them have a request
    /// that is being answered, the one with the longest-running request.
    pub connections: usize,
    /// Requests at once on all connections. Beyond it, the longest-running one is given up.
    pub requests: usize,
    /// Requests at once on one HTTP/2 connection. The API server calls webhooks over HTTP/1.1; other
    /// clients expect at least 100 (RFC 9113, section 6.5.2).
    pub streams: u32,
    /// The time for a TLS handshake.
    pub handshake: Duration,
    /// The time from the first byte of a request to the end of its headers.
    pub headers: Duration,
    /// The time for a whole body.
    pub body: Duration,
    /// The bytes of one body.
    pub body_bytes: usize,
    /// The bytes of all bodies of workload reviews that are being received or parsed at once. Beyond
    /// it, the body that has been arriving for the longest time is aborted.
    pub body_bytes_total: usize,
    /// The same for reviews of policy objects, whose bodies are held until they are answered.
    pub policy_body_bytes_total: usize,
    /// The time that a connection may stay open without a request.
    pub idle: Duration,
    /// The timeout of a request without `?timeout=`, and the longest that a request can state.
    pub webhook_timeout: Duration,
    /// The time to serve on with `/readyz` refusing already, so that load balancers notice.
    pub lame_duck: Duration,
    /// The time that requests may still run after the sockets are closed.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            requests: 2048,
            streams: 100,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(10),
            body: Duration::from_secs(10),
            body_bytes: BODY_BYTES,
            body_bytes_total: 24 << 20,
            policy_body_bytes_total: 8 << 20,
            idle: Duration::from_secs(120),
            webhook_timeout: Duration::from_secs(10),
            lame_duck: Duration::ZERO,
            grace: Duration::from_secs(25),
        }
    }
}
