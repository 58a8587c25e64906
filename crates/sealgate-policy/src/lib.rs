//! Pure policy evaluation: compilation of `ClusterImagePolicy` objects to rules; selection,
//! judgement and decision.
//!
//! No I/O, no async, no clock, no environment: the same input gives the same answer.

#![warn(missing_docs)]

pub mod assemble;
pub mod cip;
pub mod config;
pub mod decide;
pub mod depends;
pub mod facts;
pub mod glob;
pub mod image_state;
pub mod judge;
pub mod object_match;
pub mod rule;
pub mod scope;
pub mod select;
#[cfg(test)]
mod testing;
pub mod workload;
