//! The admission webhooks over HTTP: a request's body is an AdmissionReview, its response another.
//!
//! - `routes`: paths, methods, content types, deadlines and panics; also `/healthz`, `/readyz` and
//!   `/metrics`.
//! - [`review_handler`]: the trait between the routes and the code that answers reviews.
//! - [`handler`]: the implementation of that trait, in three files with the following two.
//! - `workloads`: reviews of Pods, Deployments and other workloads, for the engine to decide.
//! - `policy_objects`: reviews of ClusterImagePolicies and TrustRoots.
//! - `readiness`: the text of `/readyz` about the policies in force.

pub mod handler;
pub mod policy_objects;
pub mod review_handler;

mod readiness;
pub(crate) mod routes;
mod workloads;
