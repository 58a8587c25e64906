//! Why bytes are not a private key that we can sign with. No variant holds key material.

use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::InvalidKey;

/// Why a private key cannot be used. The texts follow cosign's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block at all, or a broken one.
    #[error("invalid pem block: {0}")]
    Pem(&'static str),
    /// A PEM block of another kind where cosign's encrypted key is wanted.
    #[error("unsupported pem type: {0}")]
    PemType(String),
    /// A private key that is not encrypted, where cosign's encrypted key is wanted.
    #[error(
        "unsupported pem type: {0} (this private key is not encrypted by cosign: convert it \
         with `sealgate import-key-pair --key FILE`)"
    )]
    NotImported(String),
    /// The encrypted form is not what cosign writes.
    #[error("decrypt: malformed encrypted key: {0}")]
    Envelope(String),
    /// A key derivation or cipher that cosign does not use.
    #[error("decrypt: encrypted: unknown {what}: {name:?}")]
    Algorithm {
        /// `KDF` or `cipher`.
        what: &'static str,
        /// Its name in the file.
        name: String,
    },
    /// scrypt parameters other than the three that cosign has written.
    #[error("decrypt: unsupported scrypt parameters")]
    ScryptParameters,
    /// The password is wrong, or the file was changed.
    #[error("decrypt: encrypted: decryption failed")]
    WrongPassword,
    /// The private key inside cannot be read.
    #[error("parsing private key: {0}")]
    Parse(String),
    /// An algorithm or curve that is not on our list.
    #[error("unsupported private key: {0}")]
    Unsupported(String),
    /// The public half is not acceptable: an RSA modulus too small, for example.
    #[error("error validating key: {0}")]
    Public(#[from] InvalidKey),
    /// What was to be signed cannot be read.
    #[error("reading what is to be signed: {0}")]
    Read(String),
    /// The cryptographic library failed for no reason of ours.
    #[error("the cryptographic library failed: {0}")]
    Crypto(&'static str),
}

impl KeyError {
    /// The same as a [`Fault`] about `target` (the key's reference, never its content).
    pub fn into_fault(self, target: &str) -> Fault {
        let kind = match self {
            Self::Unsupported(_) => FaultKind::Unsupported,
            _ => FaultKind::Config,
        };
        Fault::new(kind, target, self.to_string())
    }
}
