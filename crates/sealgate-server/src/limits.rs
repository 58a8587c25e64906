//! Everything a stranger can use up, and how much of it we give.

use std::time::Duration;

/// Bytes of one body: the API server sends at most 3 MiB of object, twice for an update.
pub const BODY_BYTES: usize = 7 << 20;

/// Bounds of the listener. The defaults suit a gate with 64 MiB of memory.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. A further one takes the place of one that asks nothing; it waits in
    /// the system's queue while all of them have a request that is being answered.
    pub connections: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time from the first byte of a request to the end of its headers.
    pub headers: Duration,
    /// Time for a whole body.
    pub body: Duration,
    /// Bytes of one body.
    pub body_bytes: usize,
    /// Bytes of all bodies that are being read or judged at once. Beyond it, the body that has
    /// been coming for the longest time is given up.
    pub body_bytes_together: usize,
    /// How long a connection may stay without a request.
    pub idle: Duration,
    /// What the API server gives a webhook when it does not say.
    pub webhook_timeout: Duration,
    /// The longest time for one admission, whatever `?timeout=` says.
    pub admission: Duration,
    /// How long to serve on with `/readyz` already refusing, so that load balancers notice.
    pub lame_duck: Duration,
    /// How long requests may still run after the listener is closed.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            streams: 250,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(10),
            body: Duration::from_secs(10),
            body_bytes: BODY_BYTES,
            body_bytes_together: 64 << 20,
            idle: Duration::from_secs(120),
            webhook_timeout: Duration::from_secs(10),
            admission: Duration::from_secs(30),
            lame_duck: Duration::ZERO,
            grace: Duration::from_secs(25),
        }
    }
}
