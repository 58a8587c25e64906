//! HTTP building blocks shared by the clients of registries and Sigstore services: TLS roots and
//! client certificates (`tls`), client construction (`client`), proxies (`proxy`), loopback hosts
//! (`host`), retries (`retry`), classification of failures (`fault`) and secrets (`secret`).
//! Requests, response limits and redirect rules belong to each client.

#![warn(missing_docs)]

pub mod client;
pub mod fault;
mod host;
mod proxy;
pub mod retry;
mod secret;
pub mod tls;

pub use host::is_loopback;
pub use proxy::Proxies;
pub use secret::Secret;
pub use tls::{ClientIdentity, TlsRoots};
