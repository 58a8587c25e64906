//! Connection slots with LRU eviction.
//!
//! Any process in the cluster can open connections and stay silent. If slots were given in the
//! order of arrival alone, the API server would wait behind such connections, and with it every
//! admission. So when all slots are taken, an idle connection is closed: first one that never sent a
//! request, then the one whose last response is longest ago. A connection whose request is being
//! answered is never closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::activity::Activity;

/// The time that an evicted connection gets to end before another one is evicted.
const EVICTION_TIME: Duration = Duration::from_millis(20);

/// The connections of one listener, of bounded number.
pub(super) struct ConnectionLimit {
    free: Arc<Semaphore>,
    open: Mutex<OpenConnections>,
}

#[derive(Default)]
struct OpenConnections {
    /// The number of connections so far; the number of the newest one.
    count: u64,
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
    /// A limit of so many connections.
    pub(super) fn new(connections: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(connections));
        Arc::new(Self { free, open: Mutex::default() })
    }

    /// Acquires a slot for a new connection; evicts the idlest one where none is free.
    pub(super) async fn acquire(self: &Arc<Self>) -> Option<ConnectionSlot> {
        loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                return Some(self.slot(permit));
            }
            self.evict_idlest();
            let next = Arc::clone(&self.free).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(EVICTION_TIME, next).await {
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

    fn evict_idlest(&self) {
        let open = self.open();
        let connections = open.by_number.values();
        let idle = connections.filter_map(|it| Some((it.activity.idleness()?, it)));
        if let Some((_, idlest)) = idle.max_by_key(|(idleness, _)| *idleness) {
            idlest.evict.notify_one();
        }
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
