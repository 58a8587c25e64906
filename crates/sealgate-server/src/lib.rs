//! The gate's server: HTTPS listener, admission webhooks, policy sources, metrics.
//!
//! Decisions are made in `sealgate-engine`, and the AdmissionReview codec is in `sealgate-kube`.
//! This crate accepts requests within bounds, hands the reviews in them to the engine, answers,
//! counts and logs.
//!
//! `server` starts and stops the `listener` with the routes of `webhook`. `folder` and `cluster`
//! follow the source of the policies. Dependencies between modules have one direction:
//! `server -> webhook -> {listener, decisions}`, and `decisions -> metrics`.

pub mod cluster;
pub mod decisions;
pub mod folder;
pub mod hook;
pub mod listener;
pub mod metered;
pub mod metrics;
pub mod records;
pub mod roots;
pub mod server;
pub mod webhook;
