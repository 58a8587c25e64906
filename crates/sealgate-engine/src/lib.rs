//! Use cases and ports. The adapters (registry, sigstore, keys, kube) implement the ports; the
//! binary and the server wire them together.
//!
//! A file is named for its use case or step: `pin` (reference to digest), `gather` (digest to
//! evidence), `verify`, `sign`, `admit`. No adapter is named here, and no global state is kept.

#![warn(missing_docs)]

pub mod admit;
mod annotation;
pub mod attach;
pub mod attached;
pub mod budget;
pub mod cache;
pub mod clean;
mod concurrent;
mod content;
pub mod copy;
pub mod download;
mod evaluate;
pub mod failure;
pub mod gate;
pub mod gather;
pub mod index;
pub mod legacy;
pub mod limits;
pub mod load;
pub mod pin;
pub mod ports;
pub mod record;
pub mod referrer;
pub mod replay;
pub mod resolve;
pub mod roots;
pub mod save;
pub mod sign;
pub mod sign_blob;
pub mod transparency;
pub mod tree;
pub mod triangulate;
pub mod verify;
pub mod verify_blob;
mod write;
