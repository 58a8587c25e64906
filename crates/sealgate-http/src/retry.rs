//! Retry policy: jittered exponential back-off, `Retry-After`, and a retry budget that keeps
//! retries from overloading a failing server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use sealgate_core::fault::{Fault, FaultKind};
use tokio::time::Instant;

/// Budget units taken by one retry; one success returns one unit.
const COST: u32 = 10;

/// Retry budget of one server.
#[derive(Debug)]
pub struct Budget {
    left: AtomicU32,
    full: u32,
}

impl Budget {
    /// Budget for `retries` retries without a success in between.
    pub fn new(retries: u32) -> Self {
        let full = retries.saturating_mul(COST);
        Self { left: AtomicU32::new(full), full }
    }

    /// Takes the cost of one retry; returns `false` when the budget is exhausted.
    fn take(&self) -> bool {
        let less = |left: u32| left.checked_sub(COST);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Returns one unit to the budget after a successful request.
    pub fn refund(&self) {
        let more = |left: u32| (left < self.full).then_some(left + 1);
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

/// Pauses between the attempts of one request.
pub struct Pauses {
    backoff: ExponentialBackoff,
    longest: Duration,
    deadline: Instant,
}

impl Pauses {
    /// At most `times` pauses: the first lasts `first`, each following one twice as long with
    /// jitter, none longer than `longest` or past `deadline`.
    pub fn new(times: usize, first: Duration, longest: Duration, deadline: Instant) -> Self {
        let backoff = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(first)
            .with_max_delay(longest)
            .with_max_times(times)
            .build();
        Self { backoff, longest, deadline }
    }

    /// Sleeps before the next attempt. Returns `fault` when there is to be none: it is not
    /// transient, the attempts or the budget are exhausted, or the pause would pass the deadline.
    pub async fn before_next(&mut self, fault: Fault, budget: &Budget) -> Result<(), Fault> {
        if !is_retryable(fault.kind) {
            return Err(fault);
        }
        let Some(own) = self.backoff.next() else { return Err(fault) };
        let asked = fault.retry_after.unwrap_or_default();
        if asked > self.longest || Instant::now() + own.max(asked) >= self.deadline {
            return Err(fault);
        }
        if !budget.take() {
            return Err(budget_exhausted(fault));
        }
        tracing::debug!(target = %fault.target, detail = %fault.detail, "retrying");
        tokio::time::sleep(own.max(asked)).await;
        Ok(())
    }
}

fn budget_exhausted(mut fault: Fault) -> Fault {
    fault.detail.push_str(" (not retried: too many recent failures)");
    fault
}

fn is_retryable(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Throttled | FaultKind::Unreachable | FaultKind::ServerError | FaultKind::Timeout
    )
}

/// `Retry-After` in seconds or as a date, capped at one day. A date is compared with the response's
/// own `Date`, so the local clock does not matter.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let asked = text(RETRY_AFTER)?;
    let day = Duration::from_secs(86_400);
    if let Ok(seconds) = asked.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(day));
    }
    let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let wait = date(asked)?.duration_since(date(text(DATE)?)?);
    Some(Duration::try_from(wait).unwrap_or_default().min(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        headers.insert(DATE, "Sat, 21 Nov 2026 01:00:00 GMT".parse().unwrap());
        headers
    }

    #[test]
    fn reads_retry_after() {
        assert_eq!(retry_after(&header("7")), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&header("999999999999")), Some(Duration::from_secs(86_400)));
        assert_eq!(retry_after(&header("Thu, 01 Jan 1970 00:00:00 GMT")), Some(Duration::ZERO));
        let minute = retry_after(&header("Sat, 21 Nov 2026 01:01:00 GMT"));
        assert_eq!(minute, Some(Duration::from_secs(60)));
        let day = Some(Duration::from_secs(86_400));
        assert_eq!(retry_after(&header("Fri, 01 Jan 2100 00:00:00 GMT")), day);
        assert_eq!(retry_after(&header("soon")), None);
        assert_eq!(retry_after(&header("-1")), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn a_budget_is_exhausted_and_refills_slowly() {
        let budget = Budget::new(2);
        assert!(budget.take() && budget.take());
        assert!(!budget.take());
        (0..9).for_each(|_| budget.refund());
        assert!(!budget.take());
        budget.refund();
        assert!(budget.take());
        (0..1000).for_each(|_| budget.refund());
        assert!(budget.take() && budget.take() && !budget.take());
    }
}
