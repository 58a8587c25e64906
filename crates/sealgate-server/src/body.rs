//! A request's body, whole, within its bounds: bytes, time, and the bytes of all bodies together.
//!
//! Whoever can reach the gate can send almost all of a large body, ten times, and then nothing.
//! So where there is no memory left, the body that has been coming for the longest time is given
//! up: one of the API server's is here within milliseconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::limits::Limits;

/// How long a body that is given up may take to give its memory back before another one is.
const LETTING_GO: Duration = Duration::from_millis(20);

/// The memory for all bodies, and those that are coming, by their order.
pub(crate) struct Together {
    bytes: Arc<Semaphore>,
    coming: Mutex<Coming>,
}

#[derive(Default)]
struct Coming {
    begun: u64,
    bodies: BTreeMap<u64, Arc<Notify>>,
}

/// A body that is coming.
struct Arrival<'a> {
    together: &'a Together,
    number: u64,
    given_up: Arc<Notify>,
}

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
    mut body: Incoming,
    limits: &Limits,
    together: &Together,
) -> Result<Held, BodyError> {
    if body.size_hint().lower() > limits.body_bytes as u64 {
        discard(body, limits).await;
        return Err(BodyError::TooLarge);
    }
    let arrival = together.begin();
    let whole = collect(&mut body, limits.body_bytes, &arrival);
    let end = Instant::now() + limits.body;
    let read = tokio::select! {
        read = timeout_at(end, whole) => read.unwrap_or(Err(BodyError::TooSlow)),
        () = arrival.given_up.notified() => Err(BodyError::Busy),
    };
    drop(arrival);
    if matches!(read, Err(BodyError::TooLarge)) {
        discard_until(body, limits, end).await;
    }
    read
}

/// Reads `body` and keeps nothing of it, within the time of a body and twice its bytes.
///
/// For answers that do not need it: over HTTP/2, the stream of an answer that is given before the
/// body has ended is reset, and clients then report the reset instead of the answer.
pub(crate) async fn discard(body: Incoming, limits: &Limits) {
    discard_until(body, limits, Instant::now() + limits.body).await;
}

async fn discard_until(mut body: Incoming, limits: &Limits, end: Instant) {
    let mut left = limits.body_bytes.saturating_mul(2);
    while let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

async fn collect(
    body: &mut Incoming,
    limit: usize,
    arrival: &Arrival<'_>,
) -> Result<Held, BodyError> {
    let mut held = Held { bytes: Bytes::new(), share: None };
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if held.bytes.len() + more.len() + data.len() > limit {
            return Err(BodyError::TooLarge);
        }
        held.take(arrival.share(data.len()).await?);
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

impl Together {
    /// Memory for so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes)), coming: Mutex::default() }
    }

    fn begin(&self) -> Arrival<'_> {
        let given_up = Arc::new(Notify::new());
        let mut coming = self.coming();
        coming.begun += 1;
        let number = coming.begun;
        coming.bodies.insert(number, Arc::clone(&given_up));
        drop(coming);
        Arrival { together: self, number, given_up }
    }

    /// Gives up the body that came first of those before `number`; `false` if there is none.
    fn give_up_before(&self, number: u64) -> bool {
        let mut coming = self.coming();
        match coming.bodies.first_entry() {
            Some(first) if *first.key() < number => {
                first.remove().notify_one();
                true
            }
            _ => false,
        }
    }

    fn coming(&self) -> MutexGuard<'_, Coming> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival<'_> {
    /// Memory for `length` bytes, taken from older arrivals where there is none.
    async fn share(&self, length: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let length = u32::try_from(length).map_err(|_| BodyError::TooLarge)?;
        let bytes = || Arc::clone(&self.together.bytes);
        loop {
            if let Ok(share) = bytes().try_acquire_many_owned(length) {
                return Ok(share);
            }
            if !self.together.give_up_before(self.number) {
                return Err(BodyError::Busy);
            }
            let later = bytes().acquire_many_owned(length);
            if let Ok(share) = tokio::time::timeout(LETTING_GO, later).await {
                return share.map_err(|_| BodyError::Busy);
            }
        }
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.together.coming().bodies.remove(&self.number);
    }
}

impl Held {
    fn take(&mut self, share: OwnedSemaphorePermit) {
        match &mut self.share {
            Some(held) => held.merge(share),
            none => *none = Some(share),
        }
    }
}
