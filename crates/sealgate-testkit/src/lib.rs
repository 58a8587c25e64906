//! Dev only: stand-ins for the engine's ports, and builders of keys and images. Nothing in here
//! is reachable from the shipped binary.

pub mod image;
pub mod key;
pub mod ports;
pub mod registry;
