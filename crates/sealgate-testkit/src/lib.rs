//! Dev only: stand-ins for the engine's ports, builders of keys and images, and a whole Sigstore in
//! memory with what people sign by it ([`keyless`]). Nothing in here is reachable from the shipped
//! binary.

pub mod image;
pub mod key;
pub mod keyless;
pub mod ports;
pub mod registry;
pub mod remedy;
pub mod tuf;
