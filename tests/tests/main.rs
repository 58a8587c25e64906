//! End to end, on real servers with real clients. `cargo xtask install` brings them here.

mod interop;
mod smoke;
mod support;
