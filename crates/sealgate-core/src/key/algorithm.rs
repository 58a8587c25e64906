//! Signature algorithms: the kind of key, the hash or the variant of Ed25519, and their names.

use std::fmt;

use super::{HashAlgorithm, KeyAlgorithm};

/// The preparation of a message before it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureScheme {
    /// ECDSA or RSA PKCS #1 v1.5 over this hash of the message.
    Hashed(HashAlgorithm),
    /// Ed25519 over the message itself.
    Ed25519,
    /// Ed25519ph over the SHA-512 of the message.
    Ed25519ph,
}

/// A signature algorithm: the kind of key and the preparation of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SignatureAlgorithm {
    /// The kind of key.
    pub key: KeyAlgorithm,
    /// The preparation of the message.
    pub scheme: SignatureScheme,
}

impl SignatureScheme {
    /// The hash that is signed; none for pure Ed25519.
    pub fn hash(self) -> Option<HashAlgorithm> {
        match self {
            Self::Hashed(hash) => Some(hash),
            Self::Ed25519 => None,
            Self::Ed25519ph => Some(HashAlgorithm::Sha512),
        }
    }
}

impl SignatureAlgorithm {
    /// The name that log entries and trust roots have for it (`PublicKeyDetails` of
    /// protobuf-specs); none where they have none.
    pub fn key_details(self) -> Option<&'static str> {
        use HashAlgorithm::{Sha256, Sha384, Sha512};
        use SignatureScheme::Hashed;
        Some(match (self.key, self.scheme) {
            (KeyAlgorithm::EcdsaP256, Hashed(Sha256)) => "PKIX_ECDSA_P256_SHA_256",
            (KeyAlgorithm::EcdsaP384, Hashed(Sha384)) => "PKIX_ECDSA_P384_SHA_384",
            (KeyAlgorithm::EcdsaP384, Hashed(Sha256)) => "PKIX_ECDSA_P384_SHA_256",
            (KeyAlgorithm::EcdsaP521, Hashed(Sha512)) => "PKIX_ECDSA_P521_SHA_512",
            (KeyAlgorithm::EcdsaP521, Hashed(Sha256)) => "PKIX_ECDSA_P521_SHA_256",
            (KeyAlgorithm::Rsa { bits: 2048 }, Hashed(Sha256)) => "PKIX_RSA_PKCS1V15_2048_SHA256",
            (KeyAlgorithm::Rsa { bits: 3072 }, Hashed(Sha256)) => "PKIX_RSA_PKCS1V15_3072_SHA256",
            (KeyAlgorithm::Rsa { bits: 4096 }, Hashed(Sha256)) => "PKIX_RSA_PKCS1V15_4096_SHA256",
            (KeyAlgorithm::Ed25519, SignatureScheme::Ed25519) => "PKIX_ED25519",
            (KeyAlgorithm::Ed25519, SignatureScheme::Ed25519ph) => "PKIX_ED25519_PH",
            _ => return None,
        })
    }
}

/// The name in Sigstore's flags: `ecdsa-sha2-256-nistp256`, `ed25519-ph`.
impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = match self.scheme.hash() {
            None => 0,
            Some(HashAlgorithm::Sha224) => 224,
            Some(HashAlgorithm::Sha256) => 256,
            Some(HashAlgorithm::Sha384) => 384,
            Some(HashAlgorithm::Sha512) => 512,
        };
        match (self.key, self.scheme) {
            (KeyAlgorithm::EcdsaP256, _) => write!(f, "ecdsa-sha2-{bits}-nistp256"),
            (KeyAlgorithm::EcdsaP384, _) => write!(f, "ecdsa-sha2-{bits}-nistp384"),
            (KeyAlgorithm::EcdsaP521, _) => write!(f, "ecdsa-sha2-{bits}-nistp521"),
            (KeyAlgorithm::Rsa { bits: size }, _) => write!(f, "rsa-sign-pkcs1-{size}-sha{bits}"),
            (KeyAlgorithm::Ed25519, SignatureScheme::Ed25519ph) => f.write_str("ed25519-ph"),
            (KeyAlgorithm::Ed25519, _) => f.write_str("ed25519"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_have_the_names_of_sigstore() {
        use HashAlgorithm::{Sha256, Sha384, Sha512};
        use SignatureScheme::{Ed25519, Ed25519ph, Hashed};
        for (key, scheme, name, details) in [
            (
                KeyAlgorithm::EcdsaP256,
                Hashed(Sha256),
                "ecdsa-sha2-256-nistp256",
                "PKIX_ECDSA_P256_SHA_256",
            ),
            (
                KeyAlgorithm::EcdsaP384,
                Hashed(Sha384),
                "ecdsa-sha2-384-nistp384",
                "PKIX_ECDSA_P384_SHA_384",
            ),
            (
                KeyAlgorithm::EcdsaP384,
                Hashed(Sha256),
                "ecdsa-sha2-256-nistp384",
                "PKIX_ECDSA_P384_SHA_256",
            ),
            (
                KeyAlgorithm::EcdsaP521,
                Hashed(Sha512),
                "ecdsa-sha2-512-nistp521",
                "PKIX_ECDSA_P521_SHA_512",
            ),
            (
                KeyAlgorithm::EcdsaP521,
                Hashed(Sha256),
                "ecdsa-sha2-256-nistp521",
                "PKIX_ECDSA_P521_SHA_256",
            ),
            (
                KeyAlgorithm::Rsa { bits: 2048 },
                Hashed(Sha256),
                "rsa-sign-pkcs1-2048-sha256",
                "PKIX_RSA_PKCS1V15_2048_SHA256",
            ),
            (KeyAlgorithm::Ed25519, Ed25519, "ed25519", "PKIX_ED25519"),
            (KeyAlgorithm::Ed25519, Ed25519ph, "ed25519-ph", "PKIX_ED25519_PH"),
        ] {
            let algorithm = SignatureAlgorithm { key, scheme };
            assert_eq!(algorithm.to_string(), name);
            assert_eq!(algorithm.key_details(), Some(details));
        }
        let unnamed = SignatureAlgorithm { key: KeyAlgorithm::EcdsaP256, scheme: Hashed(Sha512) };
        assert_eq!(unnamed.key_details(), None);
    }
}
