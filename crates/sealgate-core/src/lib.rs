//! Pure verification of container image signatures: evidence in, [`verify::Verified`] or
//! [`reject::Reject`] out.
//!
//! No I/O, no async, no clock, no environment: the same input gives the same answer, so that
//! a decision can be property-tested, fuzzed, and replayed from an audit record.

#![warn(missing_docs)]

pub mod base64;
pub mod bundle;
pub mod certificate;
pub mod digest;
pub mod dsse;
pub mod evidence;
pub mod fault;
mod foreign;
pub mod identity;
pub mod json;
pub mod key;
pub mod log;
pub mod manifest;
pub mod pem;
pub mod reference;
pub mod reject;
pub mod requirement;
pub mod simple_signing;
pub mod statement;
mod time;
pub mod timestamp;
pub mod trust;
pub mod verify;
mod x509;
