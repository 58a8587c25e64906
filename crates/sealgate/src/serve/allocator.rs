//! Settings of glibc's allocator.
//!
//! By default it has up to eight arenas for each core and keeps what is free in the middle of one.
//! A gate that was under load would keep most of the memory that it needed then. The settings are
//! read only when a process starts.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Few arenas; large buffers are mapped, and so given back when they are freed; what is free at the
/// end of an arena is given back, too, but not after each admission: that took a third of the speed.
const SETTINGS: [(&str, &str); 4] = [
    // A process with privileges does not keep the variables of glibc.
    ("SEALGATE_ALLOCATOR", "configured"),
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("MALLOC_TRIM_THRESHOLD_", "8388608"),
];

/// Executes this program again with the settings, in the same process, unless it has them or the
/// user has chosen others.
pub(super) fn configure() {
    let chosen = SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_some());
    if cfg!(not(all(target_os = "linux", target_env = "gnu"))) || chosen {
        return;
    }
    let mut arguments = std::env::args_os();
    let Some(name) = arguments.next() else { return };
    // Returns only if it fails: the gate then gives less memory back.
    let _ = Command::new("/proc/self/exe").arg0(name).args(arguments).envs(SETTINGS).exec();
}
