//! Who is connected, and who goes when there is no place left.
//!
//! Anybody in the cluster can open connections and be silent. If places were given by the order of
//! coming alone, the API server would wait behind them, and with it every admission. So a full
//! house makes room: who never asked anything goes first, then whose last answer is longest ago.
//! Nobody is sent away while a request of theirs is being answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::pulse::Pulse;

/// How long those who are sent away may take to be gone before one more is.
const LEAVING: Duration = Duration::from_millis(20);

/// The connections of one listener, of bounded number.
pub(crate) struct Crowd {
    places: Arc<Semaphore>,
    guests: Mutex<Guests>,
}

#[derive(Default)]
struct Guests {
    came: u64,
    here: HashMap<u64, Place>,
}

/// What the crowd knows of a connection.
struct Place {
    pulse: Arc<Pulse>,
    leave: Arc<Notify>,
}

/// A connection's place, which is free again when this is dropped.
pub(crate) struct Guest {
    crowd: Arc<Crowd>,
    number: u64,
    pub(crate) pulse: Arc<Pulse>,
    leave: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Crowd {
    /// For so many connections.
    pub(crate) fn new(places: usize) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(places));
        Arc::new(Self { places, guests: Mutex::default() })
    }

    /// A free place; one is made where there is none.
    pub(crate) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
                return Some(permit);
            }
            self.send_away();
            let next = Arc::clone(&self.places).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(LEAVING, next).await {
                return permit.ok();
            }
        }
    }

    /// A new connection takes its place.
    pub(crate) fn enter(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Guest {
        let (pulse, leave) = (Arc::new(Pulse::new()), Arc::new(Notify::new()));
        let place = Place { pulse: Arc::clone(&pulse), leave: Arc::clone(&leave) };
        let mut guests = self.guests();
        guests.came += 1;
        let number = guests.came;
        guests.here.insert(number, place);
        drop(guests);
        Guest { crowd: Arc::clone(self), number, pulse, leave, _permit: permit }
    }

    fn send_away(&self) {
        let guests = self.guests();
        let idle = |place: &Place| place.pulse.idleness();
        let idlest = guests.here.values().filter_map(|place| Some((idle(place)?, place)));
        if let Some((_, place)) = idlest.max_by_key(|(idleness, _)| *idleness) {
            place.leave.notify_one();
        }
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Waits until the place is wanted for another.
    pub(crate) async fn wanted_elsewhere(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.crowd.guests().here.remove(&self.number);
    }
}
