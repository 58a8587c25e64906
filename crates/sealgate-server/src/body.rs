//! A request's body, whole, within its bounds: bytes, time, and the bytes of all bodies together.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::Limits;

/// A body, and its share of the memory for bodies, which it gives back when dropped.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    share: Option<OwnedSemaphorePermit>,
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body took too long")]
    TooSlow,
    #[error("too many requests at once, come back")]
    Busy,
    #[error("the body broke off")]
    Broken,
}

impl BodyError {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads `body`. Memory is taken from `together` as bytes come, not as a client announces them, so
/// that announcing costs nobody anything.
pub(crate) async fn read(
    body: Incoming,
    limits: &Limits,
    together: &Arc<Semaphore>,
) -> Result<Held, BodyError> {
    if body.size_hint().lower() > limits.body_bytes as u64 {
        return Err(BodyError::TooLarge);
    }
    tokio::time::timeout(limits.body, collect(body, limits.body_bytes, together))
        .await
        .unwrap_or(Err(BodyError::TooSlow))
}

async fn collect(
    mut body: Incoming,
    limit: usize,
    together: &Arc<Semaphore>,
) -> Result<Held, BodyError> {
    let mut held = Held { bytes: Bytes::new(), share: None };
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if held.bytes.len() + more.len() + data.len() > limit {
            return Err(BodyError::TooLarge);
        }
        held.takeshare(data.len(), together)?;
        // One frame is the rule: it is kept as it came, not copied.
        if held.bytes.is_empty() && more.is_empty() {
            held.bytes = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&std::mem::take(&mut held.bytes));
            }
            more.extend_from_slice(&data);
        }
    }
    if !more.is_empty() {
        held.bytes = more.freeze();
    }
    Ok(held)
}

impl Held {
    fn takeshare(&mut self, length: usize, together: &Arc<Semaphore>) -> Result<(), BodyError> {
        let length = u32::try_from(length).map_err(|_| BodyError::TooLarge)?;
        let share =
            Arc::clone(together).try_acquire_many_owned(length).map_err(|_| BodyError::Busy)?;
        match &mut self.share {
            Some(held) => held.merge(share),
            none => *none = Some(share),
        }
        Ok(())
    }
}
