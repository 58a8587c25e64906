//! Generated key pairs of every algorithm, with the engine's [`Signer`] port.

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::PublicKey;
use sealgate_engine::ports::Signer;

/// Algorithms of test keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// RSA with 2048 bits.
    Rsa2048,
    /// Ed25519.
    Ed25519,
}

/// All algorithms.
pub const ALL: [Algorithm; 5] =
    [Algorithm::P256, Algorithm::P384, Algorithm::P521, Algorithm::Rsa2048, Algorithm::Ed25519];

enum Private {
    Ecdsa(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

/// Generated key pair.
pub struct TestKey {
    private: Private,
    public: PublicKey,
}

impl TestKey {
    /// P-256 key pair.
    pub fn p256() -> Self {
        Self::generate(Algorithm::P256)
    }

    /// Key pair of `algorithm`.
    pub fn generate(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::P256 => Self::ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            Algorithm::P384 => Self::ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            Algorithm::P521 => Self::ecdsa(&signature::ECDSA_P521_SHA512_ASN1_SIGNING),
            Algorithm::Rsa2048 => Self::rsa(),
            Algorithm::Ed25519 => Self::ed25519(),
        }
    }

    fn ecdsa(algorithm: &'static signature::EcdsaSigningAlgorithm) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let public = spki(&pair.public_key().as_der().unwrap());
        Self { private: Private::Ecdsa(pair), public }
    }

    fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = spki(&pair.public_key().as_der().unwrap());
        Self { private: Private::Rsa(Box::new(pair)), public }
    }

    fn ed25519() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = spki(&pair.public_key().as_der().unwrap());
        Self { private: Private::Ed25519(pair), public }
    }

    /// Signature over `message`, with the hash that matches the size of the curve or modulus.
    pub fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Private::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Private::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                let padding = &signature::RSA_PKCS1_SHA256;
                pair.sign(padding, &random, message, &mut out).unwrap();
                out
            }
        }
    }
}

fn spki(der: &PublicKeyX509Der<'_>) -> PublicKey {
    PublicKey::from_spki_der(der.as_ref()).unwrap()
}

#[async_trait]
impl Signer for TestKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(self.signature(message))
    }
}

/// Signer whose signatures do not match its public key.
pub struct MismatchedSigner {
    /// Key whose public half is reported.
    pub shown: TestKey,
    /// Key that signs.
    pub used: TestKey,
}

#[async_trait]
impl Signer for MismatchedSigner {
    fn public_key(&self) -> &PublicKey {
        self.shown.public_key()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(self.used.signature(message))
    }
}

/// Signer that always fails.
pub struct AbsentSigner(pub TestKey);

#[async_trait]
impl Signer for AbsentSigner {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    async fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, Fault> {
        Err(Fault::new(FaultKind::Unreachable, "kms", "not there"))
    }
}
