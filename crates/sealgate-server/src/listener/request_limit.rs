//! Requests under way, of bounded number over all connections of one kind of caller.
//!
//! An HTTP/2 connection carries many requests, so the limit of connections does not bound them.
//! Beyond the limit, the request that has been running for the longest time is given up: it is the
//! one that is least like an admission, which takes milliseconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::activity::Activity;

/// The time that a request has at least, before its connection is given up for another one.
const LEAST_TIME: Duration = Duration::from_millis(500);

/// The requests under way.
pub(crate) struct RequestLimit {
    most: usize,
    running: Mutex<RunningRequests>,
}

#[derive(Default)]
struct RunningRequests {
    /// The number of requests so far; the number of the newest one.
    count: u64,
    /// Oldest first. Requests that were given up are not among them.
    by_number: BTreeMap<u64, RunningRequest>,
}

struct RunningRequest {
    start: Instant,
    connection: Arc<Activity>,
    give_up: Arc<Notify>,
}

/// The slot of a request, which is free again when this is dropped.
pub(crate) struct RequestSlot<'a> {
    limit: &'a RequestLimit,
    number: u64,
    give_up: Arc<Notify>,
}

impl RequestLimit {
    /// A limit of so many requests.
    pub(super) fn new(most: usize) -> Self {
        Self { most, running: Mutex::default() }
    }

    /// A slot for a request that begins now; gives up the longest-running one where none is free.
    pub(super) fn begin(&self, start: Instant, connection: &Arc<Activity>) -> RequestSlot<'_> {
        let give_up = Arc::new(Notify::new());
        if connection.is_given_up() {
            give_up.notify_one();
        }
        let request = RunningRequest {
            start,
            connection: Arc::clone(connection),
            give_up: Arc::clone(&give_up),
        };
        let mut running = self.running();
        running.count += 1;
        let number = running.count;
        running.by_number.insert(number, request);
        if running.by_number.len() > self.most
            && let Some((_, oldest)) = running.by_number.pop_first()
        {
            oldest.give_up.notify_one();
        }
        drop(running);
        RequestSlot { limit: self, number, give_up }
    }

    /// Gives up the connection of the longest-running request, with all of its requests; `false` if
    /// no request has run for long enough.
    pub(super) fn give_up_connection(&self) -> bool {
        let mut running = self.running();
        let Some(oldest) = running.by_number.values().next() else { return false };
        if oldest.start.elapsed() < LEAST_TIME {
            return false;
        }
        let connection = Arc::clone(&oldest.connection);
        connection.give_up();
        running.by_number.retain(|_, request| {
            let other = !Arc::ptr_eq(&request.connection, &connection);
            if !other {
                request.give_up.notify_one();
            }
            other
        });
        true
    }

    fn running(&self) -> MutexGuard<'_, RunningRequests> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestSlot<'_> {
    /// Waits until the request is given up.
    pub(crate) async fn given_up(&self) {
        self.give_up.notified().await;
    }

    /// The notification that the request is given up, for others to send.
    pub(super) fn give_up(&self) -> &Arc<Notify> {
        &self.give_up
    }
}

impl Drop for RequestSlot<'_> {
    fn drop(&mut self) {
        self.limit.running().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::listener::client_certificates::Caller;

    fn connection() -> Arc<Activity> {
        Arc::new(Activity::new(Caller::Unchecked, Arc::new(RequestLimit::new(0))))
    }

    fn is_given_up(slot: &RequestSlot<'_>) -> bool {
        slot.given_up().now_or_never().is_some()
    }

    #[test]
    fn the_longest_running_request_is_given_up_beyond_the_limit() {
        let limit = RequestLimit::new(2);
        let connection = connection();
        let begin = || limit.begin(Instant::now(), &connection);
        let (first, second) = (begin(), begin());
        assert!(!is_given_up(&first));
        let third = begin();
        assert!(is_given_up(&first) && !is_given_up(&second) && !is_given_up(&third));
        drop(second);
        let fourth = begin();
        assert!(!is_given_up(&third) && !is_given_up(&fourth));
    }

    #[test]
    fn a_connection_is_given_up_with_all_of_its_requests() {
        let limit = RequestLimit::new(10);
        let (one, other) = (connection(), connection());
        assert!(!limit.give_up_connection(), "there is none");
        let young = limit.begin(Instant::now(), &one);
        assert!(!limit.give_up_connection(), "it is young");
        drop(young);
        let begin = |connection| limit.begin(Instant::now() - LEAST_TIME, connection);
        let (first, second, third) = (begin(&one), begin(&other), begin(&one));
        assert!(limit.give_up_connection());
        assert!(is_given_up(&first) && !is_given_up(&second) && is_given_up(&third));
        assert!(is_given_up(&begin(&one)), "the connection is given up");
        assert!(!is_given_up(&begin(&other)));
    }
}
