//! The gate's house: HTTPS, routes, policies from a folder or a cluster, metrics.
//!
//! What an admission *means* is decided in `sealgate-engine`; how Kubernetes writes it down is
//! `sealgate-kube`. This crate keeps the door: it accepts, bounds, hands on, answers and counts.

pub mod audit;
pub mod certificate;
pub mod cluster;
pub mod door;
pub mod folder;
pub mod http;
pub mod limits;
pub mod metered;
pub mod metrics;
pub mod records;
pub mod roots;
pub mod server;
pub mod tls;

mod body;
mod connection;
mod crowd;
mod deadline;
mod policies;
mod pulse;
