//! Signing keys: cosign's encrypted key files, import of other private keys, and the references
//! (`FILE`, `env://`, `k8s://`, `https://`) that name a key on a command line.
//!
//! An adapter: [`KeyPair`] implements the engine's [`Signer`](sealgate_engine::ports::Signer)
//! port over aws-lc-rs. Asking a person for a password, and fetching a URL, stay with the binary.
//! A secret is wiped when it is dropped and has no `Debug` that shows it.

#![warn(missing_docs)]

pub mod encrypted;
pub mod error;
pub mod import;
pub mod pair;
mod pem;
pub mod reference;
pub mod secret;

pub use error::KeyError;
pub use pair::KeyPair;
pub use reference::KeyReference;
pub use secret::Password;

/// The largest key file, variable or secret entry that is read, in bytes.
pub const MAX_KEY_BYTES: u64 = 64 * 1024;
