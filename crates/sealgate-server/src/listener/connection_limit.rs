//! Connection slots with eviction.
//!
//! Any process in the cluster can open connections and stay silent or busy. If slots were given in
//! the order of arrival alone, the API server would wait behind such connections, and with it every
//! admission. So when all slots are taken, an idle connection is closed: first one that never sent a
//! request, then the one whose last response is longest ago. If the requests of all of them are
//! being answered, the connection with the longest-running one is given up: its requests are
//! answered at once, and it is closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::activity::Activity;
use super::request_limit::RequestLimit;

/// The time that an evicted connection gets to end before another one is evicted.
const EVICTION_TIME: Duration = Duration::from_millis(20);
/// The time that a connection that was given up gets to send its responses.
const GIVE_UP_TIME: Duration = Duration::from_millis(100);

/// The connections of one listener, of bounded number.
pub(super) struct ConnectionLimit {
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

/// The slot of a connection, which is free again when this is dropped.
pub(super) struct ConnectionSlot {
    limit: Arc<ConnectionLimit>,
    number: u64,
    pub(super) activity: Arc<Activity>,
    evict: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionLimit {
    /// A limit of so many connections, whose requests are those of `requests`.
    pub(super) fn new(connections: usize, requests: Arc<RequestLimit>) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(connections));
        Arc::new(Self { free, open: Mutex::default(), requests })
    }

    /// Acquires a slot for a new connection; evicts another connection where none is free.
    pub(super) async fn acquire(self: &Arc<Self>) -> Option<ConnectionSlot> {
        loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                return Some(self.slot(permit));
            }
            let given_up = !self.evict_idlest() && self.requests.give_up_connection();
            let wait = if given_up { GIVE_UP_TIME } else { EVICTION_TIME };
            let next = Arc::clone(&self.free).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(wait, next).await {
                return permit.ok().map(|permit| self.slot(permit));
            }
        }
    }

    fn slot(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> ConnectionSlot {
        let (activity, evict) = (Arc::new(Activity::new()), Arc::new(Notify::new()));
        let connection =
            OpenConnection { activity: Arc::clone(&activity), evict: Arc::clone(&evict) };
        let mut open = self.open();
        open.count += 1;
        let number = open.count;
        open.by_number.insert(number, connection);
        drop(open);
        ConnectionSlot { limit: Arc::clone(self), number, activity, evict, _permit: permit }
    }

    /// Evicts the idlest connection; `false` if the requests of all are being answered.
    fn evict_idlest(&self) -> bool {
        let mut open = self.open();
        let connections = open.by_number.iter();
        let idle = connections.filter_map(|(number, it)| Some((it.activity.idleness()?, *number)));
        let Some((_, number)) = idle.max() else { return false };
        if let Some(idlest) = open.by_number.remove(&number) {
            idlest.evict.notify_one();
        }
        true
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot {
    /// Waits until the slot is needed for another connection.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.limit.open().by_number.remove(&self.number);
    }
}
