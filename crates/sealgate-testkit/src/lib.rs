//! Test support: in-memory implementations of the engine's ports, builders of keys and images, and
//! a Sigstore instance in memory ([`keyless`]). Not reachable from the shipped binary.

pub mod image;
pub mod key;
pub mod keyless;
pub mod ports;
pub mod registry;
pub mod remedy;
pub mod tuf;
