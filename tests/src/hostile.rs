//! Hostile tenants of a gate, and honest ones beside them, for the tests of its limits and for
//! `cargo xtask bench abuse`.
//!
//! Everything here is event-driven and prepared in advance: bodies and blobs are built once and
//! served as they are, silent peers only wait. So the gate is the one that works, not the
//! generator.

pub mod client;
pub mod connections;
pub mod honest;
pub mod latency;
pub mod names;
pub mod policies;
pub mod process;
pub mod registry;
pub mod reviews;
pub mod tenants;
