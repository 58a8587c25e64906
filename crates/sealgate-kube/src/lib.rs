//! Kubernetes: the AdmissionReview codec, the walk over workloads, the policy objects, watchers,
//! certificates, installation.
//!
//! The pure half (`review`, `images`, `answer`, `policies`, `crd`, `install`) turns bytes into
//! domain types and back. The other half (`cluster`, `watch`, `certificates`) talks to one API
//! server; what it decides is decided by pure functions beside it.

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
