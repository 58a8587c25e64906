//! Signing keys: cosign's encrypted key files, import of other private keys, and key references on
//! the command line (`FILE`, `env://`, `k8s://`, `https://`).
//!
//! An adapter: [`KeyPair`] implements the engine's [`Signer`](sealgate_engine::ports::Signer) port
//! on aws-lc-rs. Password prompts and fetching of URLs belong to the binary. Secrets are wiped when
//! dropped, and their `Debug` shows nothing.

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

/// Maximum size of a key file, variable or secret entry, in bytes.
pub const MAX_KEY_BYTES: u64 = 64 * 1024;
