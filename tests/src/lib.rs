//! Harness of the end-to-end tests: real servers on loopback, real clients in their own
//! directories, images, keys, and a counting proxy. The tests themselves are in `tests/`.
//!
//! The harness uses none of our crates: `sealgate` is a program like `cosign` and `kubectl`, and is
//! tested by what it writes, prints and returns.

pub mod certificates;
pub mod cluster;
pub mod ctlog;
mod der;
pub mod gate;
pub mod hostile;
pub mod http;
pub mod image;
pub mod mutate;
pub mod nodes;
pub mod oidc;
pub mod oracle;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod records;
pub mod registries;
pub mod service;
pub mod sigstore;
