//! End to end, on real servers with real clients. `cargo xtask install` brings them here.

mod cli;
mod gate;
mod guide;
mod guide_keyless;
mod interop;
mod keyless;
mod network;
mod requests;
mod smoke;
mod sources;
mod support;
