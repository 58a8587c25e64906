//! The harness of the end-to-end tests: real servers on loopback, real clients in a folder of
//! their own, images, keys, and a proxy that counts. The tests themselves are in `tests/`.
//!
//! Nothing here knows a crate of ours: `sealgate` is a program like `cosign` and `kubectl`, and is
//! judged by what it writes, prints and answers.

pub mod certificates;
pub mod cluster;
pub mod ctlog;
mod der;
pub mod gate;
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
