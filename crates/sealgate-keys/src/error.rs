//! Errors of private keys. No variant holds key material.

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::InvalidKey;

/// Error of a private key. Texts follow cosign's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Missing or malformed PEM block.
    #[error("invalid pem block: {0}")]
    Pem(&'static str),
    /// PEM block with an unexpected label instead of a cosign encrypted key.
    #[error("unsupported pem type: {0}")]
    PemType(String),
    /// Unencrypted private key instead of a cosign encrypted key.
    #[error(
        "unsupported pem type: {0} (this private key is not encrypted by cosign: convert it \
         with `sealgate import-key-pair --key FILE`)"
    )]
    NotImported(String),
    /// Malformed envelope.
    #[error("decrypt: malformed encrypted key: {0}")]
    Envelope(String),
    /// Key derivation function or cipher that cosign does not use.
    #[error("decrypt: encrypted: unknown {what}: {name:?}")]
    Algorithm {
        /// `KDF` or `cipher`.
        what: &'static str,
        /// Name in the file.
        name: String,
    },
    /// scrypt parameters that cosign has never written.
    #[error("decrypt: unsupported scrypt parameters")]
    ScryptParameters,
    /// Wrong password, or a modified file.
    #[error("decrypt: encrypted: decryption failed")]
    WrongPassword,
    /// Malformed private key.
    #[error("parsing private key: {0}")]
    Parse(String),
    /// Unsupported algorithm or curve.
    #[error("unsupported private key: {0}")]
    Unsupported(String),
    /// Unacceptable public key, such as an RSA modulus that is too small.
    #[error("error validating key: {0}")]
    Public(#[from] InvalidKey),
    /// The content to be signed cannot be read.
    #[error("reading the content to be signed: {0}")]
    Read(String),
    /// Unexpected failure of the cryptographic library.
    #[error("the cryptographic library failed: {0}")]
    Crypto(&'static str),
}

impl KeyError {
    /// Conversion into a [`Fault`] about `target` (the key's reference, never its content).
    pub fn into_fault(self, target: &str) -> Fault {
        let kind = match self {
            Self::Unsupported(_) => FaultKind::Unsupported,
            _ => FaultKind::Config,
        };
        Fault::new(kind, target, self.to_string())
    }
}
