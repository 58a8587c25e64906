//! Failures that are due to a limit of this process or machine, not to the other side.

use std::io;

use rustix::io::Errno;

/// Returns whether an operation failed because no file descriptor, port or buffer is left.
pub(crate) fn is_own_limit(error: &io::Error) -> bool {
    const LIMITS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::ADDRNOTAVAIL];
    let raw = error.raw_os_error();
    raw.is_some_and(|raw| LIMITS.iter().any(|limit| limit.raw_os_error() == raw))
}
