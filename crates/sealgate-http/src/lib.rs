//! HTTP building blocks shared by the clients of registries and Sigstore services: TLS roots and
//! client certificates (`tls`), client construction (`client`), connections (`connections`), proxies
//! (`proxy`), name resolution (`resolver`), allowed addresses (`destination`), loopback hosts
//! (`host`), retries (`retry`), classification of failures (`fault`) and secrets (`secret`).
//! Requests, response limits and redirect rules belong to each client.

#![warn(missing_docs)]

pub mod client;
mod connections;
mod destination;
pub mod fault;
mod host;
mod limits;
mod network;
mod proxy;
mod resolver;
pub mod retry;
mod secret;
pub mod tls;

pub use connections::Connections;
pub use destination::{Destinations, SpecialAddress};
pub use host::is_loopback;
pub use network::{Network, NotANetwork};
pub use proxy::Proxies;
pub use resolver::{LookupError, Resolver};
pub use secret::Secret;
pub use tls::{ClientIdentity, TlsRoots};
