//! Adapter for OCI registries, OCI layouts, and registry credentials.
//!
//! [`Client`] and [`layout::Layout`] implement the ports [`sealgate_engine::ports::RegistryRead`] and
//! [`sealgate_engine::ports::RegistryWrite`].
//! Responses are checked here for format, size and digest only; signatures are verified in
//! `sealgate-core`. A response that is neither the requested content nor a definitive "not found"
//! is a [`sealgate_core::fault::Fault`] that names the registry.
//!
//! [`serve`] is an in-memory registry for the demo and for tests.

#![warn(missing_docs)]

mod auth;
mod capability;
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
pub use options::{
    ClientCertScope, InsecureRegistries, Limits, Options, PlainHttp, Retries, Timeouts,
};
pub use sealgate_http::{
    ClientIdentity, Destinations, Network, NotANetwork, Proxies, Resolver, TlsRoots,
};
