//! The listener: TCP connections, TLS and HTTP, within bounds for any client.
//!
//! `accept` takes connections up to the `connection_limit`, keeps `descriptors` for them and does
//! the TLS handshake (`tls`), which tells the caller by its `client_certificates`;
//! `connection` serves HTTP/1.1 or HTTP/2 on one, and ends it when its `activity` shows that the
//! client is idle or too slow. The requests go to a `service`, which counts them in the
//! `request_limit`, reads bodies with `body` and knows the time that is left by `deadline`.

pub mod body;
pub mod certificate;
pub mod client_certificates;
pub mod limits;

pub(crate) mod accept;
pub(crate) mod activity;
mod connection;
mod connection_limit;
pub(crate) mod deadline;
mod descriptors;
pub(crate) mod phase;
pub(crate) mod request_limit;
pub(crate) mod service;
pub(crate) mod tls;
