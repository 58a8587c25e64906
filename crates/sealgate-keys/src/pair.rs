//! Private keys for signing: ECDSA on P-256, P-384 and P-521, RSA (PKCS#1 v1.5), Ed25519.

use std::io::Read;

use async_trait::async_trait;
use aws_lc_rs::digest::{self, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use der::asn1::ObjectIdentifier;
use pkcs8::PrivateKeyInfoRef;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::{HashAlgorithm, PublicKey};
use sealgate_engine::ports::Signer;
use zeroize::Zeroizing;

use crate::{KeyError, Password, encrypted};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// Private key and its public key. `Debug` shows the public key only.
pub struct KeyPair {
    secret: Secret,
    public: PublicKey,
    hash: HashAlgorithm,
}

enum Secret {
    Ecdsa(Curve, Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// Algorithms of ephemeral keys (`--signing-algorithm`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

/// NIST curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl KeyPair {
    /// Generates an ECDSA P-256 key, the only kind that `generate-key-pair` creates.
    pub fn generate() -> Result<Self, KeyError> {
        Self::generate_ecdsa(Curve::P256)
    }

    /// Generates a key of `kind`. RSA keys may take seconds.
    pub fn generate_kind(kind: Kind) -> Result<Self, KeyError> {
        match kind {
            Kind::P256 => Self::generate_ecdsa(Curve::P256),
            Kind::P384 => Self::generate_ecdsa(Curve::P384),
            Kind::P521 => Self::generate_ecdsa(Curve::P521),
            Kind::Rsa2048 => Self::generate_rsa(KeySize::Rsa2048),
            Kind::Rsa3072 => Self::generate_rsa(KeySize::Rsa3072),
            Kind::Rsa4096 => Self::generate_rsa(KeySize::Rsa4096),
        }
    }

    fn generate_ecdsa(curve: Curve) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(curve.algorithm())
            .map_err(|_| KeyError::Crypto("key generation"))?;
        Self::from_ecdsa(curve, pair)
    }

    fn generate_rsa(size: KeySize) -> Result<Self, KeyError> {
        let pair = RsaKeyPair::generate(size).map_err(|_| KeyError::Crypto("key generation"))?;
        let public = public_key(pair.public_key())?;
        Ok(Self::new(Secret::Rsa(Box::new(pair)), public))
    }

    /// Parses the PEM text of a cosign key file. Expensive by design, see [`encrypted::decrypt`].
    pub fn from_encrypted_pem(text: &str, password: &Password) -> Result<Self, KeyError> {
        Self::from_pkcs8(&encrypted::decrypt(text, password)?)
    }

    /// Parses a PKCS#8 `PrivateKeyInfo` in DER (RFC 5208, RFC 5958).
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfoRef::try_from(der)
            .map_err(|error| KeyError::Parse(format!("PKCS#8: {error}")))?;
        match info.algorithm.oid {
            EC => {
                let curve = info
                    .algorithm
                    .parameters_oid()
                    .map_err(|_| KeyError::Parse("PKCS#8: no curve given".to_owned()))?;
                let curve = Curve::from_oid(curve)?;
                let pair = EcdsaKeyPair::from_pkcs8(curve.algorithm(), der).map_err(rejected)?;
                Self::from_ecdsa(curve, pair)
            }
            RSA => {
                let pair = RsaKeyPair::from_pkcs8(der).map_err(rejected)?;
                let public = public_key(pair.public_key())?;
                Ok(Self::new(Secret::Rsa(Box::new(pair)), public))
            }
            ED25519 => {
                let pair = Ed25519KeyPair::from_pkcs8(der).map_err(rejected)?;
                let public = public_key(pair.public_key())?;
                Ok(Self::new(Secret::Ed25519(Box::new(pair)), public))
            }
            other => Err(KeyError::Unsupported(format!("algorithm {other}"))),
        }
    }

    fn from_ecdsa(curve: Curve, pair: EcdsaKeyPair) -> Result<Self, KeyError> {
        let public = public_key(pair.public_key())?;
        Ok(Self::new(Secret::Ecdsa(curve, Box::new(pair)), public))
    }

    /// Uses SHA-256 for every key: the default hash of `cosign verify`, policy-controller and
    /// skopeo. (cosign 3 signs with SHA-384 for P-384, and its own `verify` then fails:
    /// sigstore/cosign#5092.)
    fn new(secret: Secret, public: PublicKey) -> Self {
        Self { secret, public, hash: HashAlgorithm::Sha256 }
    }

    /// Same key with another signature hash. Ed25519 has a fixed hash and does not change.
    pub fn with_hash(self, hash: HashAlgorithm) -> Self {
        Self { hash, ..self }
    }

    /// Hash of signatures (without meaning for Ed25519).
    pub fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    /// Public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// PEM text of a cosign key file. Expensive by design, see [`encrypted::encrypt`].
    pub fn to_encrypted_pem(&self, password: &Password) -> Result<Zeroizing<String>, KeyError> {
        encrypted::encrypt(&self.to_pkcs8()?, password)
    }

    /// PKCS#8 DER, version 1, as in Go.
    fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        use aws_lc_rs::encoding::Pkcs8V1Der;
        let failed = |_| KeyError::Crypto("PKCS#8");
        let bytes = match &self.secret {
            Secret::Ecdsa(_, pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            Secret::Rsa(pair) => {
                let document: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                document.as_ref().to_vec()
            }
            Secret::Ed25519(pair) => {
                let document: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                document.as_ref().to_vec()
            }
        };
        Ok(Zeroizing::new(bytes))
    }

    /// Signature over `message` in cosign's encoding: ASN.1 for ECDSA, PKCS#1 v1.5 for RSA, raw for
    /// Ed25519.
    pub fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.secret {
            Secret::Ecdsa(curve, pair) => sign_ecdsa(*curve, pair, self.hash, message),
            Secret::Rsa(pair) => sign_rsa(pair, self.hash, message),
            Secret::Ed25519(pair) => pair
                .try_sign(message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Crypto("Ed25519")),
        }
    }

    /// Signature over the content of `source`, and its digest: with the signature's hash, or
    /// SHA-256 if that is no digest algorithm. Only Ed25519 needs the whole content in memory.
    ///
    /// # Errors
    /// [`KeyError::Read`] when the source cannot be read.
    pub fn sign_reader(&self, mut source: impl Read) -> Result<(Vec<u8>, Digest), KeyError> {
        if let Secret::Ed25519(_) = &self.secret {
            let mut message = Vec::new();
            source.read_to_end(&mut message).map_err(read_error)?;
            let signature = self.sign_message(&message)?;
            let good = self.public.verify(&message, &signature, None);
            good.map_err(|_| KeyError::Crypto("Ed25519 produced an invalid signature"))?;
            return Ok((signature, Digest::of(&message)));
        }
        let mut context = digest::Context::new(digest_algorithm(self.hash));
        let mut named = Digest::hasher(self.hash.digest().unwrap_or(Algorithm::Sha256));
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = source.read(&mut buffer).map_err(read_error)?;
            let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else { break };
            context.update(piece);
            named.update(piece);
        }
        let hashed = context.finish();
        let signature = match &self.secret {
            Secret::Ecdsa(curve, pair) => sign_ecdsa_hash(*curve, pair, &hashed)?,
            Secret::Rsa(pair) => sign_rsa_hash(pair, self.hash, &hashed)?,
            Secret::Ed25519(_) => return Err(KeyError::Crypto("Ed25519")),
        };
        Ok((signature, named.finish()))
    }
}

#[async_trait]
impl Signer for KeyPair {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        self.sign_message(message)
            .map_err(|error| Fault::new(FaultKind::Config, "signing key", error.to_string()))
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyPair({:?})", self.public)
    }
}

impl Curve {
    pub(crate) fn from_oid(oid: ObjectIdentifier) -> Result<Self, KeyError> {
        match oid {
            P256 => Ok(Self::P256),
            P384 => Ok(Self::P384),
            P521 => Ok(Self::P521),
            other => Err(KeyError::Unsupported(format!("elliptic curve {other}"))),
        }
    }

    pub(crate) fn algorithm(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
            Self::P521 => &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
        }
    }

    /// Hash to which [`Curve::algorithm`] is bound.
    fn bound_hash(self) -> &'static digest::Algorithm {
        match self {
            Self::P256 => &digest::SHA256,
            Self::P384 => &digest::SHA384,
            Self::P521 => &digest::SHA512,
        }
    }
}

/// Signs a digest of any length. aws-lc-rs binds each curve to one hash, but ECDSA interprets the
/// leftmost bits of the digest as a number (FIPS 186-5 section 6.4.1): a shorter digest padded with
/// leading zeros, or a longer one truncated to the curve's length, is the same number. For other
/// combinations, that number is signed.
fn sign_ecdsa(
    curve: Curve,
    pair: &EcdsaKeyPair,
    hash: HashAlgorithm,
    message: &[u8],
) -> Result<Vec<u8>, KeyError> {
    sign_ecdsa_hash(curve, pair, &digest(digest_algorithm(hash), message))
}

fn sign_ecdsa_hash(
    curve: Curve,
    pair: &EcdsaKeyPair,
    hashed: &digest::Digest,
) -> Result<Vec<u8>, KeyError> {
    let bound = curve.bound_hash();
    let number = to_length(hashed.as_ref(), bound.output_len);
    let failed = |_| KeyError::Crypto("ECDSA");
    let imported = digest::Digest::import_less_safe(&number, bound).map_err(failed)?;
    let signature = pair.sign_digest(&imported).map_err(failed)?;
    Ok(signature.as_ref().to_vec())
}

/// `bytes` as a number of exactly `length` bytes: padded with leading zeros, or truncated on the
/// right.
fn to_length(bytes: &[u8], length: usize) -> Vec<u8> {
    let kept = bytes.iter().take(length);
    let mut number = vec![0; length.saturating_sub(bytes.len())];
    number.extend(kept);
    number
}

fn sign_rsa(pair: &RsaKeyPair, hash: HashAlgorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
    sign_rsa_hash(pair, hash, &digest(digest_algorithm(hash), message))
}

fn sign_rsa_hash(
    pair: &RsaKeyPair,
    hash: HashAlgorithm,
    hashed: &digest::Digest,
) -> Result<Vec<u8>, KeyError> {
    let padding = match hash {
        HashAlgorithm::Sha256 => &signature::RSA_PKCS1_SHA256,
        HashAlgorithm::Sha384 => &signature::RSA_PKCS1_SHA384,
        HashAlgorithm::Sha512 => &signature::RSA_PKCS1_SHA512,
        HashAlgorithm::Sha224 => {
            return Err(KeyError::Unsupported("RSA with SHA-224".to_owned()));
        }
    };
    let mut bytes = vec![0; pair.public_modulus_len()];
    pair.sign_digest(padding, hashed, &mut bytes).map_err(|_| KeyError::Crypto("RSA"))?;
    Ok(bytes)
}

fn digest_algorithm(hash: HashAlgorithm) -> &'static digest::Algorithm {
    match hash {
        HashAlgorithm::Sha224 => &digest::SHA224,
        HashAlgorithm::Sha256 => &digest::SHA256,
        HashAlgorithm::Sha384 => &digest::SHA384,
        HashAlgorithm::Sha512 => &digest::SHA512,
    }
}

fn public_key(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Result<PublicKey, KeyError> {
    let spki = key.as_der().map_err(|_| KeyError::Crypto("public key"))?;
    Ok(PublicKey::from_spki_der(spki.as_ref())?)
}

fn read_error(error: std::io::Error) -> KeyError {
    KeyError::Read(error.to_string())
}

fn rejected(error: aws_lc_rs::error::KeyRejected) -> KeyError {
    match error.to_string().as_str() {
        "TooSmall" => KeyError::Unsupported("RSA keys need at least 2048 bits".to_owned()),
        why => KeyError::Parse(format!("PKCS#8: {why}")),
    }
}

#[cfg(test)]
mod tests;
