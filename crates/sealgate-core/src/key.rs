//! Public keys and raw signatures: every algorithm that cosign's keys have.
//!
//! A key is checked when it is parsed (`encoding` has the rules), so that a [`PublicKey`] is always
//! usable for verification. Private keys are not handled here.

mod algorithm;
mod ed25519ph;
mod encoding;
pub(crate) mod work;

use aws_lc_rs::signature::{self as lc, UnparsedPublicKey, VerificationAlgorithm};

pub use algorithm::{SignatureAlgorithm, SignatureScheme};

use crate::digest::{Algorithm, Digest};

/// The algorithm of a public key, with the relevant parameters.
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
    /// Ed25519 (RFC 8032), which signs messages (pure) or their SHA-512 (Ed25519ph).
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

/// Reason why bytes are not accepted as a public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// No PEM block with the label `PUBLIC KEY` or `RSA PUBLIC KEY`, one of another kind before
    /// it, or several.
    #[error("not a PEM encoded public key: {0}")]
    Pem(String),
    /// The DER inside is not a SubjectPublicKeyInfo.
    #[error("not a PKIX public key: {0}")]
    Spki(String),
    /// An unsupported algorithm or curve.
    #[error(
        "unsupported public key algorithm: {0}: want ECDSA on P-256, P-384 or P-521, Ed25519, or RSA"
    )]
    Unsupported(String),
    /// An RSA modulus outside 2048 to 8192 bits, or a bad exponent.
    #[error("RSA key of {0} bits: want 2048 to 8192")]
    RsaSize(u32),
    /// An RSA public exponent that is even, 1, or larger than 31 bits.
    #[error("RSA key with a bad public exponent")]
    RsaExponent,
    /// A point that is compressed, at infinity, off its curve, or of small order.
    #[error("public key point not accepted: {0}")]
    Point(&'static str),
}

/// Mismatch of signature, key and message. Deliberately without detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid signature when validating ASN.1 encoded signature")]
pub struct SignatureMismatch;

impl PublicKey {
    /// Parses the first PEM block `PUBLIC KEY` (or `RSA PUBLIC KEY`) of a text, as Go's
    /// `encoding/pem` does: text around it, blanks at the ends of lines and blank lines are
    /// ignored. Stricter: several keys in one text are refused, and so is anything malformed.
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        encoding::from_pem(pem)
    }

    /// Reads a DER SubjectPublicKeyInfo with no trailing bytes.
    ///
    /// Refused are DER that is not canonical, compressed points, points off their curve, curves
    /// and algorithms off the list, RSA outside 2048 to 8192 bits or with a bad exponent, and
    /// Ed25519 points of small order (with which anybody can sign).
    pub fn from_spki_der(der: &[u8]) -> Result<Self, InvalidKey> {
        encoding::from_spki_der(der)
    }

    /// Reads the DER of an RSAPublicKey (RFC 8017), by the rules of [`PublicKey::from_spki_der`].
    pub(crate) fn from_pkcs1_der(der: &[u8]) -> Result<Self, InvalidKey> {
        encoding::from_pkcs1_der(der)
    }

    /// The DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// PEM, label `PUBLIC KEY`, 64 columns, with a final line break.
    pub fn to_pem(&self) -> String {
        encoding::to_pem(&self.spki_der)
    }

    /// The algorithm.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// SHA-256 of the SubjectPublicKeyInfo, which identifies the key in bundles, logs and audit
    /// records.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.spki_der)
    }

    /// True if a signature over `hash` can be verified with this key. Ed25519 ignores the hash.
    pub(crate) fn supports(&self, hash: HashAlgorithm) -> bool {
        self.algorithm == KeyAlgorithm::Ed25519 || verification(self.algorithm, hash).is_some()
    }

    /// Checks `signature` over `message`. ECDSA signatures are DER (canonical), RSA signatures
    /// PKCS #1 v1.5.
    ///
    /// `hash`: `None` tries each hash that cosign has used for this algorithm (P-384: SHA-256 and
    /// SHA-384; P-521: SHA-256 and SHA-512; others: SHA-256); `Some` insists. Ed25519 ignores it,
    /// and is pure here: logs, timestamps and certificates have no other.
    pub fn verify(
        &self,
        message: &[u8],
        signature: &[u8],
        hash: Option<HashAlgorithm>,
    ) -> Result<(), SignatureMismatch> {
        if self.algorithm == KeyAlgorithm::Ed25519 {
            return self.check(&lc::ED25519, |key| key.verify(message, signature));
        }
        let fits = |algorithm, _| self.check(algorithm, |key| key.verify(message, signature));
        self.any_hash(hash, fits).map(|_| ())
    }

    /// Verifies `signature` over `message` as [`PublicKey::verify`] does, and returns the scheme by
    /// which it verified. With Ed25519 both variants are accepted, because cosign has used both for
    /// artifacts.
    pub fn scheme_of(
        &self,
        message: &[u8],
        signature: &[u8],
        hash: Option<HashAlgorithm>,
    ) -> Result<SignatureScheme, SignatureMismatch> {
        if self.algorithm != KeyAlgorithm::Ed25519 {
            let fits = |algorithm, _| self.check(algorithm, |key| key.verify(message, signature));
            return self.any_hash(hash, fits).map(SignatureScheme::Hashed);
        }
        match self.verify(message, signature, None) {
            Ok(()) => Ok(SignatureScheme::Ed25519),
            Err(SignatureMismatch) => {
                self.scheme_of_digests(&[Digest::with(Algorithm::Sha512, message)], signature, None)
            }
        }
    }

    /// The same for a message of which only digests are available. Those of the hashes to try are
    /// used; without any of them it is a mismatch. Pure Ed25519 signs whole messages: always a
    /// mismatch, see [`PublicKey::needs_message`].
    pub fn scheme_of_digests(
        &self,
        digests: &[Digest],
        signature: &[u8],
        hash: Option<HashAlgorithm>,
    ) -> Result<SignatureScheme, SignatureMismatch> {
        let by = |algorithm| digests.iter().find(|digest| digest.algorithm() == algorithm);
        if self.algorithm == KeyAlgorithm::Ed25519 {
            let sha512 = by(Algorithm::Sha512).and_then(|digest| hex::decode(digest.hex()).ok());
            let sha512 = sha512.and_then(|bytes| bytes.try_into().ok()).ok_or(SignatureMismatch)?;
            work::count(&self.spki_der);
            ed25519ph::verify(&self.spki_der, sha512, signature)?;
            return Ok(SignatureScheme::Ed25519ph);
        }
        let fits = |algorithm, hash: HashAlgorithm| {
            let digest = hash.digest().and_then(by).and_then(imported).ok_or(SignatureMismatch)?;
            self.check(algorithm, |key| key.verify_digest(&digest, signature))
        };
        self.any_hash(hash, fits).map(SignatureScheme::Hashed)
    }

    /// True if a digest is not enough to verify with this key, as for pure Ed25519.
    pub fn needs_message(&self) -> bool {
        self.algorithm == KeyAlgorithm::Ed25519
    }

    /// The hashes to try: the required one, or each that cosign has used for the algorithm.
    pub fn hashes(&self, insisted: Option<HashAlgorithm>) -> Vec<HashAlgorithm> {
        use HashAlgorithm::{Sha256, Sha384, Sha512};
        match (insisted, self.algorithm) {
            (_, KeyAlgorithm::Ed25519) => Vec::new(),
            (Some(hash), _) => vec![hash],
            (None, KeyAlgorithm::EcdsaP384) => vec![Sha256, Sha384],
            (None, KeyAlgorithm::EcdsaP521) => vec![Sha256, Sha512],
            (None, KeyAlgorithm::EcdsaP256 | KeyAlgorithm::Rsa { .. }) => vec![Sha256],
        }
    }

    /// The hash that `signature` over `message` was made with, of those that cosign has used for
    /// the algorithm; none if it does not fit, and for Ed25519, which has no choice.
    pub fn hash_of(&self, message: &[u8], signature: &[u8]) -> Option<HashAlgorithm> {
        let mut hashes = self.hashes(None).into_iter();
        hashes.find(|hash| self.verify(message, signature, Some(*hash)).is_ok())
    }

    /// The first hash that verifies.
    fn any_hash(
        &self,
        insisted: Option<HashAlgorithm>,
        verifies: impl Fn(
            &'static dyn VerificationAlgorithm,
            HashAlgorithm,
        ) -> Result<(), SignatureMismatch>,
    ) -> Result<HashAlgorithm, SignatureMismatch> {
        let fits = |hash: &HashAlgorithm| {
            verification(self.algorithm, *hash)
                .is_some_and(|algorithm| verifies(algorithm, *hash).is_ok())
        };
        self.hashes(insisted).into_iter().find(fits).ok_or(SignatureMismatch)
    }

    fn check(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
        verifies: impl FnOnce(&UnparsedPublicKey<&[u8]>) -> Result<(), aws_lc_rs::error::Unspecified>,
    ) -> Result<(), SignatureMismatch> {
        work::count(&self.spki_der);
        let key = UnparsedPublicKey::new(algorithm, self.spki_der.as_slice());
        verifies(&key).map_err(|_| SignatureMismatch)
    }
}

impl HashAlgorithm {
    /// The content digest algorithm of the same hash; none for SHA-224.
    pub fn digest(self) -> Option<Algorithm> {
        match self {
            Self::Sha224 => None,
            Self::Sha256 => Some(Algorithm::Sha256),
            Self::Sha384 => Some(Algorithm::Sha384),
            Self::Sha512 => Some(Algorithm::Sha512),
        }
    }
}

impl From<Algorithm> for HashAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256,
            Algorithm::Sha384 => Self::Sha384,
            Algorithm::Sha512 => Self::Sha512,
        }
    }
}

/// The verification algorithm for a key of `algorithm` and a signature over `hash`; none where
/// there is no such pair (SHA-224 has one with P-521 only).
fn verification(
    algorithm: KeyAlgorithm,
    hash: HashAlgorithm,
) -> Option<&'static dyn VerificationAlgorithm> {
    use HashAlgorithm::{Sha224, Sha256, Sha384, Sha512};
    Some(match (algorithm, hash) {
        (KeyAlgorithm::EcdsaP256, Sha256) => &lc::ECDSA_P256_SHA256_ASN1,
        (KeyAlgorithm::EcdsaP256, Sha384) => &lc::ECDSA_P256_SHA384_ASN1,
        (KeyAlgorithm::EcdsaP256, Sha512) => &lc::ECDSA_P256_SHA512_ASN1,
        (KeyAlgorithm::EcdsaP384, Sha256) => &lc::ECDSA_P384_SHA256_ASN1,
        (KeyAlgorithm::EcdsaP384, Sha384) => &lc::ECDSA_P384_SHA384_ASN1,
        (KeyAlgorithm::EcdsaP384, Sha512) => &lc::ECDSA_P384_SHA512_ASN1,
        (KeyAlgorithm::EcdsaP521, Sha224) => &lc::ECDSA_P521_SHA224_ASN1,
        (KeyAlgorithm::EcdsaP521, Sha256) => &lc::ECDSA_P521_SHA256_ASN1,
        (KeyAlgorithm::EcdsaP521, Sha384) => &lc::ECDSA_P521_SHA384_ASN1,
        (KeyAlgorithm::EcdsaP521, Sha512) => &lc::ECDSA_P521_SHA512_ASN1,
        (KeyAlgorithm::Rsa { .. }, Sha256) => &lc::RSA_PKCS1_2048_8192_SHA256,
        (KeyAlgorithm::Rsa { .. }, Sha384) => &lc::RSA_PKCS1_2048_8192_SHA384,
        (KeyAlgorithm::Rsa { .. }, Sha512) => &lc::RSA_PKCS1_2048_8192_SHA512,
        (KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 | KeyAlgorithm::Rsa { .. }, Sha224)
        | (KeyAlgorithm::Ed25519, _) => return None,
    })
}

fn imported(digest: &Digest) -> Option<aws_lc_rs::digest::Digest> {
    use aws_lc_rs::digest::{Digest, SHA256, SHA384, SHA512};
    let algorithm = match digest.algorithm() {
        Algorithm::Sha256 => &SHA256,
        Algorithm::Sha384 => &SHA384,
        Algorithm::Sha512 => &SHA512,
    };
    let bytes = hex::decode(digest.hex()).ok()?;
    Digest::import_less_safe(&bytes, algorithm).ok()
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.algorithm, self.fingerprint())
    }
}

#[cfg(test)]
pub(crate) mod tests;
