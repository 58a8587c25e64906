//! File descriptors kept for new connections.
//!
//! Outgoing connections can use up the descriptors of the process. Then a spare one is closed for
//! each connection that is accepted, so that the API server and probes are still answered.

use std::fs::File;
use std::io;

/// The number of spare descriptors of one listener.
const SPARE: usize = 16;
/// `ENFILE` and `EMFILE`, which have the same numbers on every Unix.
const NO_DESCRIPTOR: [i32; 2] = [23, 24];

/// Descriptors that are open and not used.
#[derive(Default)]
pub(super) struct SpareDescriptors(Vec<File>);

impl SpareDescriptors {
    /// Opens as many as are missing, if possible.
    pub(super) fn fill(&mut self) {
        while self.0.len() < SPARE {
            match File::open("/dev/null") {
                Ok(file) => self.0.push(file),
                Err(_) => return,
            }
        }
    }

    /// Closes one, if `error` says that no descriptor is left; `false` if that does not help.
    pub(super) fn make_room(&mut self, error: &io::Error) -> bool {
        let missing = error.raw_os_error().is_some_and(|code| NO_DESCRIPTOR.contains(&code));
        missing && self.0.pop().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_descriptor_is_closed_only_when_none_is_left() {
        let mut spare = SpareDescriptors::default();
        spare.fill();
        let [missing, reset] = [24, 104].map(io::Error::from_raw_os_error);
        assert!(!spare.make_room(&reset));
        for left in (0..SPARE).rev() {
            assert!(spare.make_room(&missing));
            assert_eq!(spare.0.len(), left);
        }
        assert!(!spare.make_room(&missing), "there is none left");
        spare.fill();
        assert!(spare.make_room(&missing));
    }
}
