//! Count of signature verifications, which are the cost of evidence: tests bound it for hostile
//! evidence. Outside of tests nothing is counted.

/// Counts one verification with a key of these bytes.
#[cfg(not(test))]
pub(crate) fn count(_key: &[u8]) {}

#[cfg(test)]
pub(crate) use counted::{Work, count, of};

#[cfg(test)]
mod counted {
    use std::cell::Cell;

    /// Verifications of this thread.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Work {
        /// Their number.
        pub(crate) signatures: usize,
        /// The size of the largest key, in bytes of its encoding.
        pub(crate) largest_key: usize,
    }

    thread_local! {
        static WORK: Cell<Work> = Cell::default();
    }

    pub(crate) fn count(key: &[u8]) {
        WORK.with(|work| {
            let Work { signatures, largest_key } = work.get();
            let largest_key = largest_key.max(key.len());
            work.set(Work { signatures: signatures + 1, largest_key });
        });
    }

    /// The outcome of `verifies`, and the work that it did.
    pub(crate) fn of<T>(verifies: impl FnOnce() -> T) -> (T, Work) {
        WORK.with(|work| work.set(Work::default()));
        let outcome = verifies();
        (outcome, WORK.with(Cell::get))
    }
}
