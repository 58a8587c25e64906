//! Adapter: OCI registries, OCI layout folders, and the credentials for them.
//!
//! [`Client`] and [`layout::Layout`] implement the port [`sealgate_engine::ports::Registry`]. What
//! a registry says is checked here for shape, size and digest, and for nothing else: whether a
//! signature is any good is decided in `sealgate-core`. Every answer that is neither the thing
//! itself nor a definitive "there is none" is a [`sealgate_core::fault::Fault`] that names the host.
//!
//! [`serve`] is a registry in memory, for the demo and for tests.

#![warn(missing_docs)]

mod auth;
mod challenge;
mod client;
pub mod credentials;
mod fallback;
mod host;
pub mod layout;
mod links;
mod options;
mod read;
mod referrers;
mod reply;
pub mod serve;
mod session;
mod shape;
mod transport;
mod write;

pub use client::Client;
pub use options::{InsecureRegistries, Limits, Options, PlainHttp, Recipients, Retries, Timeouts};
pub use sealgate_http::{ClientIdentity, Proxies, Trust};
