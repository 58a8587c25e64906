//! The trait between the routes and the code that answers reviews. The gate implements it in
//! [`handler`](super::handler); the tests of the listener have another implementation.

use async_trait::async_trait;
use bytes::Bytes;
use sealgate_kube::answer::ReviewResponse;
use tokio::time::Instant;

use crate::hook::Hook;

/// Answers reviews, and the requests about its own state.
#[async_trait]
pub trait ReviewHandler: Send + Sync {
    /// Answers a review. The API server stops waiting at `deadline`; a little before, the response is
    /// a denial, whatever this returns later.
    async fn answer(&self, hook: Hook, body: &Bytes, deadline: Instant) -> ReviewResponse;
    /// Denies the review in `body`, after answering it failed.
    fn deny(&self, hook: Hook, body: &Bytes, failure: HandlerFailure) -> ReviewResponse;
    /// Returns whether the gate can answer; the text is for `/readyz`.
    fn ready(&self) -> Result<String, String>;
    /// The metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
}

/// The reasons why answering a review failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerFailure {
    /// The handler panicked: a bug.
    Panicked,
    /// The deadline passed.
    TimedOut,
}

impl HandlerFailure {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Panicked => "internal",
            Self::TimedOut => "timeout",
        }
    }
}

impl std::fmt::Display for HandlerFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Panicked => {
                "sealgate failed to evaluate this request, so it is denied; see the log of the gate"
            }
            Self::TimedOut => {
                "no decision before the API server's timeout, so the request is denied"
            }
        })
    }
}
