//! Use cases and ports. The adapters (registry, keys, kube) implement the ports; the binary and
//! the server wire them together.

pub mod admit;
pub mod gather;
pub mod ports;
