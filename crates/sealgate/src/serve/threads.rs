//! The threads of the gate: those that answer go before those that verify, parse and compile what
//! outsiders sent.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};

/// The niceness of the threads that compute.
const NICENESS: i32 = 10;

/// A runtime with one thread per core that answers; its other threads have a lower priority.
pub(super) fn runtime() -> io::Result<Runtime> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let started = AtomicUsize::new(0);
    // The runtime starts the threads that answer first, and the others when they are needed.
    let prioritize = move || {
        if started.fetch_add(1, Ordering::Relaxed) >= workers {
            // Refused: the thread competes with the others.
            let _ = rustix::process::nice(NICENESS);
        }
    };
    Builder::new_multi_thread()
        .worker_threads(workers)
        .on_thread_start(prioritize)
        .enable_all()
        .build()
}
