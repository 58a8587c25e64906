//! The limit of open file descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// Raises the soft limit to the hard limit. The soft limit is often 1024, for programs that use
/// `select`; the gate has as many connections of clients, and others to registries.
pub(super) fn raise_limit() {
    let before = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
    let after = getrlimit(Resource::Nofile).current;
    let (before, error) = (before.current, raised.err());
    debug!(?before, ?after, ?error, "limit of open file descriptors");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_hard_limit_afterwards() {
        raise_limit();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
