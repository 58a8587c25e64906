//! Kubernetes adapter: the AdmissionReview codec, the walk over workloads, policy objects,
//! watchers, certificates, installation.
//!
//! The pure half (`review`, `images`, `answer`, `policies`, `crd`, `install`) converts between
//! bytes and domain types. The other half (`cluster`, `watch`, `certificates`) talks to one API
//! server; its decisions are made by pure functions in the same modules.

#![warn(missing_docs)]

pub use kube::Client;

pub mod answer;
mod api;
pub mod apply;
pub mod certificates;
pub mod cluster;
pub mod crd;
pub mod images;
pub mod install;
pub mod migrate;
pub mod policies;
pub mod review;
pub mod watch;
