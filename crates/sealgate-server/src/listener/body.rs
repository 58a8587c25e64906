//! Request bodies, buffered within bounds: bytes, time, and the bytes of all bodies in total.
//!
//! Any client of the port can send most of several large bodies and then nothing. So when the budget
//! is used up, the body that has been arriving for the longest time is aborted: a body of the API
//! server arrives within milliseconds.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::poll;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::limits::Limits;
use super::request_limit::RequestSlot;

/// The most bytes by which the buffer of a body of several frames grows beyond its content.
const GROWTH: usize = 256 << 10;
/// The time that an aborted body gets to release its memory before another one is aborted.
const ABORT_TIME: Duration = Duration::from_millis(20);

/// The memory for all bodies, and the bodies that are being received, oldest first.
pub(crate) struct BodyBudget {
    bytes: Arc<Semaphore>,
    /// The number of bodies so far; the number of the newest one.
    count: AtomicU64,
    /// The requests whose bodies did not arrive with their headers, by the number of the body. A
    /// request is given up to abort its body.
    incoming: Mutex<BTreeMap<u64, Arc<Notify>>>,
}

/// A body that is being received.
#[derive(Clone, Copy)]
struct IncomingBody<'a> {
    budget: &'a BodyBudget,
    number: u64,
}

/// The entry of a body by which others can abort it.
struct IncomingEntry<'a>(IncomingBody<'a>);

/// A whole body, and its share of the budget, which is released when this is dropped.
#[derive(Debug)]
pub struct BufferedBody {
    /// The bytes.
    pub bytes: Bytes,
    share: Option<OwnedSemaphorePermit>,
}

/// The reasons why a body was not received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body was not received in time")]
    TooSlow,
    #[error("too many requests at once, try again later")]
    Busy,
    #[error("the body is incomplete")]
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

/// Reads `body`. The budget is charged as bytes arrive, not by the Content-Length, so that a header
/// alone takes nothing from it.
pub(crate) async fn read(
    mut body: Incoming,
    limits: &Limits,
    budget: &BodyBudget,
    request: &RequestSlot<'_>,
) -> Result<BufferedBody, BodyError> {
    if body.size_hint().lower() > limits.body_bytes as u64 {
        discard(body, limits, request).await;
        return Err(BodyError::TooLarge);
    }
    let incoming = budget.begin();
    let end = Instant::now() + limits.body;
    let read = {
        let mut whole = pin!(collect(&mut body, limits.body_bytes, incoming));
        match poll!(whole.as_mut()) {
            // Most bodies arrive with their headers.
            Poll::Ready(read) => read,
            Poll::Pending => {
                let _entry = incoming.enter(request);
                tokio::select! {
                    read = timeout_at(end, whole) => read.unwrap_or(Err(BodyError::TooSlow)),
                    () = request.given_up() => Err(BodyError::Busy),
                }
            }
        }
    };
    if matches!(read, Err(BodyError::TooLarge)) {
        discard_until(body, limits, end).await;
    }
    read
}

/// Reads `body` and discards it, within the time of a body and twice its bytes, unless the request
/// is given up.
///
/// For responses that do not need it: over HTTP/2, the stream of a response that is sent before the
/// body has ended is reset, and clients then report the reset instead of the response.
pub(crate) async fn discard(body: Incoming, limits: &Limits, request: &RequestSlot<'_>) {
    if body.is_end_stream() {
        return;
    }
    tokio::select! {
        () = discard_until(body, limits, Instant::now() + limits.body) => {}
        () = request.given_up() => {}
    }
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
    incoming: IncomingBody<'_>,
) -> Result<BufferedBody, BodyError> {
    let mut buffered = BufferedBody { bytes: Bytes::new(), share: None };
    let mut more: Vec<u8> = Vec::new();
    // The bytes that the share covers.
    let mut covered = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        let length = buffered.bytes.len() + more.len() + data.len();
        if length > limit {
            return Err(BodyError::TooLarge);
        }
        // Most bodies are one frame, which is not copied.
        if buffered.bytes.is_empty() && more.is_empty() {
            buffered.add(incoming.share(data.len()).await?);
            covered = data.len();
            buffered.bytes = data;
            continue;
        }
        if length > more.capacity() {
            // Exactly: a buffer that grows by itself takes up to twice as much.
            let step = more.capacity().min(GROWTH);
            let capacity = length.max(more.capacity() + step).min(limit);
            buffered.add(incoming.share(capacity.saturating_sub(covered)).await?);
            covered = covered.max(capacity);
            more.reserve_exact(capacity - more.len());
        }
        more.extend_from_slice(&std::mem::take(&mut buffered.bytes));
        more.extend_from_slice(&data);
    }
    if !more.is_empty() {
        buffered.bytes = more.into();
    }
    Ok(buffered)
}

impl BodyBudget {
    /// A budget of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = Arc::new(Semaphore::new(bytes));
        Self { bytes, count: AtomicU64::new(0), incoming: Mutex::default() }
    }

    fn begin(&self) -> IncomingBody<'_> {
        IncomingBody { budget: self, number: self.count.fetch_add(1, Ordering::Relaxed) }
    }

    /// Aborts the oldest body, if it is older than `number`; `false` if there is none.
    fn abort_older_than(&self, number: u64) -> bool {
        let mut incoming = self.incoming();
        match incoming.first_entry() {
            Some(first) if *first.key() < number => {
                first.remove().notify_one();
                true
            }
            _ => false,
        }
    }

    fn incoming(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Notify>>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> IncomingBody<'a> {
    /// Lets others abort the body by giving up its request.
    fn enter(self, request: &RequestSlot<'_>) -> IncomingEntry<'a> {
        self.budget.incoming().insert(self.number, Arc::clone(request.give_up()));
        IncomingEntry(self)
    }

    /// A share of `length` bytes; older bodies are aborted where the budget is used up.
    async fn share(&self, length: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let length = u32::try_from(length).map_err(|_| BodyError::TooLarge)?;
        let bytes = || Arc::clone(&self.budget.bytes);
        loop {
            if let Ok(share) = bytes().try_acquire_many_owned(length) {
                return Ok(share);
            }
            if !self.budget.abort_older_than(self.number) {
                return Err(BodyError::Busy);
            }
            let later = bytes().acquire_many_owned(length);
            if let Ok(share) = tokio::time::timeout(ABORT_TIME, later).await {
                return share.map_err(|_| BodyError::Busy);
            }
        }
    }
}

impl Drop for IncomingEntry<'_> {
    fn drop(&mut self) {
        let IncomingEntry(body) = self;
        body.budget.incoming().remove(&body.number);
    }
}

impl BufferedBody {
    fn add(&mut self, share: OwnedSemaphorePermit) {
        match &mut self.share {
            Some(all) => all.merge(share),
            none => *none = Some(share),
        }
    }
}
