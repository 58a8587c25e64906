//! The trait between the routes and the code that answers reviews. The gate implements it in
//! [`handler`](super::handler); the tests of the listener have another implementation.

use async_trait::async_trait;
use http::StatusCode;
use sealgate_kube::answer::ReviewResponse;
use tokio::time::Instant;

use crate::hook::Hook;
use crate::listener::body::BufferedBody;

/// Answers reviews, and the requests about its own state.
///
/// A review is parsed first, and its body dropped, so that a review that is being evaluated holds
/// its parsed form only.
#[async_trait]
pub trait ReviewHandler: Send + Sync + 'static {
    /// A parsed review.
    type Review: Send + Sync + 'static;

    /// Parses `body` and drops it, unless the review consists of it. The error is the final response
    /// to a body that is not a review. Must not wait: large bodies are parsed on few threads.
    fn parse(&self, hook: Hook, body: BufferedBody) -> Result<Self::Review, ReviewResponse>;
    /// Answers a review. The API server stops waiting at `deadline`; a little before, the response is
    /// a denial, whatever this returns later.
    async fn answer(&self, hook: Hook, review: &Self::Review, deadline: Instant) -> ReviewResponse;
    /// Denies a review, after parsing it (`None`) or answering it failed.
    fn deny(
        &self,
        hook: Hook,
        review: Option<&Self::Review>,
        failure: HandlerFailure,
    ) -> ReviewResponse;
    /// Counts a request that was refused because its client has no accepted certificate.
    fn unauthenticated(&self, hook: Hook);
    /// Returns whether the gate can answer; the text is for `/readyz`.
    fn ready(&self) -> Result<String, String>;
    /// The metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
}

/// The reasons why parsing or answering a review failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerFailure {
    /// The handler panicked: a bug.
    Panicked,
    /// The deadline passed.
    TimedOut,
    /// The request was given up, because too many were under way.
    Busy,
}

impl HandlerFailure {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Panicked => "internal",
            Self::TimedOut => "timeout",
            Self::Busy => "busy",
        }
    }

    /// The status of a response that cannot be a denial, because the review was not parsed.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TimedOut | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
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
            Self::Busy => {
                "the gate is evaluating too many requests at once, so this request is denied; try again"
            }
        })
    }
}
