//! What a connection does, and how much patience that leaves it.
//!
//! Border: counters and their reading; who ends a connection is [`crate::connection`] (too slow)
//! and [`crate::crowd`] (no place left).

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::Protocol;
use crate::limits::Limits;

/// What a connection did last, in milliseconds since it began.
pub(crate) struct Pulse {
    born: Instant,
    running: AtomicUsize,
    /// Requests that came whole and are being answered.
    judged: AtomicUsize,
    /// Whether any request was answered yet.
    answered: AtomicBool,
    /// When the last request ended (or the connection began).
    rested: AtomicU64,
    /// When the first byte of a request came whose headers are not complete; 0: none.
    reading: AtomicU64,
}

/// A request that runs.
pub(crate) struct Running<'a>(&'a Pulse);

/// A request that came whole.
pub(crate) struct Judged<'a>(&'a Pulse);

/// How much patience a connection has left.
pub(crate) enum Patience {
    Left,
    /// No request for too long.
    Idle,
    /// A request began and its headers do not end.
    Slow,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            born: Instant::now(),
            running: AtomicUsize::new(0),
            judged: AtomicUsize::new(0),
            answered: AtomicBool::new(false),
            rested: AtomicU64::new(0),
            reading: AtomicU64::new(0),
        }
    }

    /// Milliseconds since the connection began; never 0, which means "none" in [`Pulse::reading`].
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    pub(crate) fn start(&self) -> Running<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.reading.store(0, Ordering::Relaxed);
        Running(self)
    }

    /// A request is here as a whole: from now on it is we who take time.
    pub(crate) fn came_whole(&self) -> Judged<'_> {
        self.judged.fetch_add(1, Ordering::Relaxed);
        Judged(self)
    }

    pub(crate) fn bytes_came(&self) {
        if self.running.load(Ordering::Relaxed) == 0 && self.reading.load(Ordering::Relaxed) == 0 {
            self.reading.store(self.now(), Ordering::Relaxed);
        }
    }

    pub(crate) fn rested_for(&self) -> Duration {
        self.since(self.rested.load(Ordering::Relaxed))
    }

    fn since(&self, moment: u64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(moment))
    }

    /// How little would be lost with this connection, by what is compared: one that never asked
    /// anything before one that did, then the one whose last answer is longest ago. `None` while
    /// a request is being answered.
    pub(crate) fn idleness(&self) -> Option<(bool, Duration)> {
        let judged = self.judged.load(Ordering::Relaxed) > 0;
        (!judged).then(|| (!self.answered.load(Ordering::Relaxed), self.rested_for()))
    }

    pub(crate) fn judge(&self, protocol: Protocol, limits: &Limits) -> Patience {
        if self.running.load(Ordering::Relaxed) > 0 {
            return Patience::Left;
        }
        let reading = self.reading.load(Ordering::Relaxed);
        // On HTTP/2 bytes need not be a request (pings keep a connection healthy), and a half
        // header block is small and bounded: there the idle limit is enough.
        let slow = protocol == Protocol::Http1 && self.since(reading) > limits.headers;
        if reading > 0 && slow {
            Patience::Slow
        } else if self.rested_for() > limits.idle {
            Patience::Idle
        } else {
            Patience::Left
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.rested.store(self.0.now(), Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Judged<'_> {
    fn drop(&mut self) {
        self.0.answered.store(true, Ordering::Relaxed);
        self.0.judged.fetch_sub(1, Ordering::Relaxed);
    }
}
