//! The activity of a connection: its requests and the time since the last one.
//!
//! Border: counters and their reading. [`super::connection`] ends a connection that is too slow or
//! idle for too long, [`super::connection_limit`] the idlest one when no slot is free.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::client_certificates::Caller;
use super::limits::Limits;
use super::request_limit::{RequestLimit, RequestSlot};
use super::tls::Protocol;

/// The activity of a connection, and the request to end it. Moments are in milliseconds since it began.
pub(crate) struct Activity {
    caller: Caller,
    requests: Arc<RequestLimit>,
    start: Instant,
    /// Requests whose headers were received and that are not answered.
    running: AtomicUsize,
    /// Requests that were received as a whole and are not answered.
    received: AtomicUsize,
    /// The end of the last request that was received as a whole and answered; 0: none.
    answered_at: AtomicU64,
    /// The end of the last request (or the start of the connection).
    idle_since: AtomicU64,
    /// The first byte of a request whose headers are not complete; 0: none.
    headers_since: AtomicU64,
    /// Set once the connection is given up.
    given_up: AtomicBool,
    give_up: Notify,
}

/// A request that is not answered yet.
pub(super) struct RunningRequest<'a>(&'a Activity);

/// A request that was received as a whole and is not answered yet.
pub(crate) struct ReceivedRequest<'a>(&'a Activity);

/// The state of a connection with regard to its time limits.
pub(super) enum IdleState {
    WithinLimits,
    /// No request for too long.
    Idle,
    /// A request began, and its headers take too long.
    Slow,
}

impl Activity {
    /// The activity of a new connection of `caller`, whose requests are some of `requests`.
    pub(super) fn new(caller: Caller, requests: Arc<RequestLimit>) -> Self {
        Self {
            caller,
            requests,
            start: Instant::now(),
            running: AtomicUsize::new(0),
            received: AtomicUsize::new(0),
            answered_at: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            headers_since: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
            give_up: Notify::new(),
        }
    }

    /// The caller of the connection.
    pub(crate) fn caller(&self) -> Caller {
        self.caller
    }

    /// A slot for a request of the connection that begins now.
    pub(crate) fn begin(self: &Arc<Self>, start: Instant) -> RequestSlot<'_> {
        self.requests.begin(start, self)
    }

    /// The present moment; never 0, which means "none" in `headers_since`.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Records that the headers of a request were received.
    pub(super) fn request_started(&self) -> RunningRequest<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.headers_since.store(0, Ordering::Relaxed);
        RunningRequest(self)
    }

    /// Records that a request was received as a whole: from now on the time is the gate's.
    pub(crate) fn request_received(&self) -> ReceivedRequest<'_> {
        self.received.fetch_add(1, Ordering::Relaxed);
        ReceivedRequest(self)
    }

    /// Gives up the connection: it ends as soon as its requests, which are given up as well, are
    /// answered.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        self.give_up.notify_one();
    }

    /// Returns whether the connection is given up.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Waits until the connection is given up. For one task.
    pub(super) async fn given_up(&self) {
        self.give_up.notified().await;
    }

    /// Records that bytes were received.
    pub(super) fn bytes_received(&self) {
        let idle = self.running.load(Ordering::Relaxed) == 0;
        if idle && self.headers_since.load(Ordering::Relaxed) == 0 {
            self.headers_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The time since the last request.
    pub(super) fn idle_for(&self) -> Duration {
        self.since(self.idle_since.load(Ordering::Relaxed))
    }

    fn since(&self, moment: u64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(moment))
    }

    /// The order of eviction, the greatest first: a connection that never sent a request before one
    /// that did, then by the time since the last response. `None` while a request is being
    /// answered.
    pub(super) fn idleness(&self) -> Option<(bool, Duration)> {
        let answering = self.received.load(Ordering::Relaxed) > 0;
        // Other requests, such as probes, keep no slot: anyone can send many of them.
        let since = self.answered_at.load(Ordering::Relaxed);
        (!answering).then(|| (since == 0, self.since(since)))
    }

    /// Compares the activity with the limits.
    pub(super) fn idle_state(&self, protocol: Protocol, limits: &Limits) -> IdleState {
        if self.running.load(Ordering::Relaxed) > 0 {
            return IdleState::WithinLimits;
        }
        let headers_since = self.headers_since.load(Ordering::Relaxed);
        // On HTTP/2 bytes need not be a request (pings keep a connection healthy), and a half
        // header block is small and bounded: there the idle limit is enough.
        let slow = protocol == Protocol::Http1 && self.since(headers_since) > limits.headers;
        if headers_since > 0 && slow {
            IdleState::Slow
        } else if self.idle_for() > limits.idle {
            IdleState::Idle
        } else {
            IdleState::WithinLimits
        }
    }
}

impl Drop for RunningRequest<'_> {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for ReceivedRequest<'_> {
    fn drop(&mut self) {
        self.0.answered_at.store(self.0.now(), Ordering::Relaxed);
        self.0.received.fetch_sub(1, Ordering::Relaxed);
    }
}
