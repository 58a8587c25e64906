//! Connection slots with eviction.
//!
//! Any process in the cluster can open connections and stay silent or busy. If slots were given in
//! the order of arrival alone, the API server would wait behind such connections, and with it every
//! admission. So when all slots are taken, an idle connection is closed: first one that never sent a
//! request, then the one whose last response is longest ago. If the requests of all of them are
//! being answered, the connection with the longest-running one is given up: its requests are
//! answered at once, and it is closed.
//!
//! New connections have some time for their first request. A quarter of the slots is theirs before
//! one has to wait for another one's time to pass.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::activity::Activity;
use super::client_certificates::Caller;
use super::request_limit::RequestLimit;

/// The time that a new connection gets for its handshake and its first request, before it can be
/// evicted. Otherwise many new connections at once, as of an API server that has restarted, would
/// evict each other.
const LEAST_TIME: Duration = Duration::from_millis(250);
/// The time that a connection gets to send a response, before it can be evicted.
const RESPONSE_TIME: Duration = Duration::from_millis(20);
/// The time that an evicted connection gets to end before another one is evicted.
const EVICTION_TIME: Duration = Duration::from_millis(20);
/// The time that a connection that was given up gets to send its responses.
const GIVE_UP_TIME: Duration = Duration::from_millis(100);

/// The connections of one kind of caller to a listener, of bounded number.
pub(super) struct ConnectionLimit {
    caller: Caller,
    /// The number of connections without a response that may take the slots of others.
    most_new: usize,
    free: Arc<Semaphore>,
    open: Mutex<OpenConnections>,
    requests: Arc<RequestLimit>,
}

#[derive(Default)]
struct OpenConnections {
    /// The number of connections so far; the number of the newest one.
    count: u64,
    /// Evicted connections are not among them.
    by_number: HashMap<u64, OpenConnection>,
}

struct OpenConnection {
    activity: Arc<Activity>,
    evict: Arc<Notify>,
}

/// The result of an attempt to evict an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eviction {
    Evicted,
    /// The connections that could be evicted need a little more time.
    Later,
    /// The requests of all connections but a few new ones are being answered.
    AllBusy,
}

/// The slot of a connection, which is free again when this is dropped.
pub(super) struct ConnectionSlot {
    limit: Arc<ConnectionLimit>,
    number: u64,
    pub(super) activity: Arc<Activity>,
    evict: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionLimit {
    /// A limit of so many connections of `caller`, with so many requests.
    pub(super) fn new(caller: Caller, connections: usize, requests: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(connections.max(1)));
        let requests = Arc::new(RequestLimit::new(requests.max(1)));
        let most_new = (connections / 4).max(1);
        Arc::new(Self { caller, most_new, free, open: Mutex::default(), requests })
    }

    /// Acquires a slot for a new connection; evicts another connection where none is free.
    pub(super) async fn acquire(self: &Arc<Self>) -> Option<ConnectionSlot> {
        let start = Instant::now();
        loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                return Some(self.slot(permit));
            }
            let all_busy = self.evict_idlest(start.elapsed()) == Eviction::AllBusy;
            let given_up = all_busy && self.requests.give_up_connection();
            let wait = if given_up { GIVE_UP_TIME } else { EVICTION_TIME };
            let next = Arc::clone(&self.free).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(wait, next).await {
                return permit.ok().map(|permit| self.slot(permit));
            }
        }
    }

    fn slot(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> ConnectionSlot {
        let activity = Arc::new(Activity::new(self.caller, Arc::clone(&self.requests)));
        let evict = Arc::new(Notify::new());
        let connection =
            OpenConnection { activity: Arc::clone(&activity), evict: Arc::clone(&evict) };
        let mut open = self.open();
        open.count += 1;
        let number = open.count;
        open.by_number.insert(number, connection);
        drop(open);
        ConnectionSlot { limit: Arc::clone(self), number, activity, evict, _permit: permit }
    }

    fn evict_idlest(&self, waited: Duration) -> Eviction {
        let mut open = self.open();
        let (mut new, mut oldest_new, mut idlest) = (0, None, None);
        for (number, connection) in &open.by_number {
            match connection.activity.idleness() {
                Some((true, idle_for)) => {
                    new += 1;
                    oldest_new = oldest_new.max(Some((idle_for, *number)));
                }
                Some((false, idle_for)) => idlest = idlest.max(Some((idle_for, *number))),
                None => {}
            }
        }
        let number = match (oldest_new, idlest) {
            (Some((idle_for, number)), _) if idle_for >= LEAST_TIME => number,
            _ if new >= self.most_new => return Eviction::Later,
            // Connections that are never idle for long must not hold all slots.
            (_, Some((idle_for, number)))
                if idle_for >= RESPONSE_TIME || waited >= RESPONSE_TIME * 2 =>
            {
                number
            }
            (_, Some(_)) => return Eviction::Later,
            (_, None) => return Eviction::AllBusy,
        };
        if let Some(connection) = open.by_number.remove(&number) {
            connection.evict.notify_one();
        }
        Eviction::Evicted
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot {
    /// The result of `work`; `None` if the slot is needed for another connection before.
    pub(super) async fn until_evicted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.evict.notified() => None,
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.limit.open().by_number.remove(&self.number);
    }
}
