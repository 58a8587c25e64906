//! End-to-end tests on real servers with real clients, which `cargo xtask install` installs.

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
