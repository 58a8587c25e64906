//! Public keys and raw signatures: every algorithm that cosign's keys have.

use crate::digest::Digest;

/// The algorithm of a public key, with what matters of its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// RSA, with the size of the modulus in bits (2048 to 8192).
    Rsa {
        /// Modulus size in bits.
        bits: u16,
    },
    /// Ed25519 (RFC 8032, pure).
    Ed25519,
}

/// The hash that a signature is made over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A public key, checked when it was read: a known algorithm, a point on its curve, an RSA
/// modulus of at least 2048 bits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    spki_der: Vec<u8>,
    algorithm: KeyAlgorithm,
}

/// Why bytes are not a public key that we accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// No PEM block with the label `PUBLIC KEY`, or several.
    #[error("not a PEM encoded public key: {0}")]
    Pem(String),
    /// The DER inside is not a SubjectPublicKeyInfo.
    #[error("not a PKIX public key: {0}")]
    Spki(String),
    /// An algorithm or a curve that is not on our list.
    #[error("unsupported public key algorithm: {0}")]
    Unsupported(String),
    /// An RSA modulus outside 2048 to 8192 bits, or a bad exponent.
    #[error("RSA key of {0} bits: want 2048 to 8192")]
    RsaSize(u32),
}

/// The signature does not fit the key and the message. Deliberately says no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid signature when validating ASN.1 encoded signature")]
pub struct SignatureMismatch;

impl PublicKey {
    /// Reads exactly one PEM block `PUBLIC KEY` (or `RSA PUBLIC KEY`).
    pub fn from_pem(_pem: &str) -> Result<Self, InvalidKey> {
        todo!()
    }

    /// Reads a DER SubjectPublicKeyInfo with no trailing bytes.
    pub fn from_spki_der(_der: &[u8]) -> Result<Self, InvalidKey> {
        todo!()
    }

    /// The DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// PEM, label `PUBLIC KEY`, 64 columns, with a final line break.
    pub fn to_pem(&self) -> String {
        todo!()
    }

    /// The algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// SHA-256 of the SubjectPublicKeyInfo: the key's name in bundles, logs and audit records.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.spki_der)
    }

    /// The hash that cosign signs with for this key unless told otherwise.
    pub fn default_hash(&self) -> HashAlgorithm {
        todo!()
    }

    /// Checks `signature` over `message`.
    ///
    /// `hash`: `None` tries each hash that cosign has used for this algorithm (P-384: SHA-256 and
    /// SHA-384; P-521: SHA-256 and SHA-512; others: SHA-256); `Some` insists. Ed25519 ignores it.
    pub fn verify(
        &self,
        _message: &[u8],
        _signature: &[u8],
        _hash: Option<HashAlgorithm>,
    ) -> Result<(), SignatureMismatch> {
        todo!()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.algorithm, self.fingerprint())
    }
}
