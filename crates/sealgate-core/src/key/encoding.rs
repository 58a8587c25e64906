//! Parsing and writing of public keys: PEM (RFC 7468), SubjectPublicKeyInfo (RFC 5280), and the
//! rules for accepted keys.

use aws_lc_rs::signature::{self as lc, ParsedPublicKey, VerificationAlgorithm};
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::{Decode, Encode, Reader, SliceReader};
use spki::{AlgorithmIdentifier, SubjectPublicKeyInfoRef};

use super::{InvalidKey, KeyAlgorithm, PublicKey};
use crate::pem::{self, Block};
use crate::reject::Foreign;

/// The maximum size of a PEM text of a key, far above any accepted key with OpenSSL's text around
/// it.
const MAX_PEM: usize = 64 << 10;
const PUBLIC_KEY: &str = "PUBLIC KEY";
const RSA_PUBLIC_KEY: &str = "RSA PUBLIC KEY";

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// Names of curves and algorithms that are refused, by object identifier.
const NAMES: [(&str, &str); 14] = [
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.132.0.33", "P-224"),
    ("1.2.840.10045.3.1.1", "P-192"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.2.840.113549.1.1.10", "RSASSA-PSS"),
    ("1.3.101.110", "X25519"),
    ("1.3.101.111", "X448"),
    ("1.3.101.113", "Ed448"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
];

/// The key in the first block of `pem`, which Go takes, too. Of several keys Go would take the
/// first; which one is meant cannot be told, so they are refused.
pub(super) fn from_pem(pem: &str) -> Result<PublicKey, InvalidKey> {
    if pem.len() > MAX_PEM {
        return Err(pem_error(format!("longer than {MAX_PEM} bytes")));
    }
    let mut blocks = pem::blocks(pem).map(|block| block.map_err(pem_error));
    let Block { label, content } = blocks.next().unwrap_or(Err(pem_error("no BEGIN line")))?;
    let key = match label {
        PUBLIC_KEY => from_spki_der(&content)?,
        RSA_PUBLIC_KEY => from_pkcs1_der(&content)?,
        other => return Err(pem_error(other_kind(other))),
    };
    for block in blocks {
        if matches!(block?.label, PUBLIC_KEY | RSA_PUBLIC_KEY) {
            return Err(pem_error("several public keys, one after the other: want exactly one"));
        }
    }
    Ok(key)
}

pub(super) fn from_pkcs1_der(der: &[u8]) -> Result<PublicKey, InvalidKey> {
    from_spki_der(&wrapped_rsa(der)?)
}

pub(super) fn to_pem(der: &[u8]) -> String {
    pem::block(PUBLIC_KEY, der)
}

pub(super) fn from_spki_der(der: &[u8]) -> Result<PublicKey, InvalidKey> {
    let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(not_spki)?;
    if spki.to_der().map_err(not_spki)? != der {
        return Err(InvalidKey::Spki("not canonical DER".to_owned()));
    }
    let key = spki.subject_public_key.as_bytes();
    let key = key.ok_or_else(|| InvalidKey::Spki("unused bits in the key".to_owned()))?;
    let algorithm = match spki.algorithm.oid {
        EC_PUBLIC_KEY => ec_algorithm(&spki.algorithm, key)?,
        RSA_ENCRYPTION => rsa_algorithm(&spki.algorithm, key)?,
        ED25519 => ed25519_algorithm(&spki.algorithm, key)?,
        other => return Err(InvalidKey::Unsupported(named(other))),
    };
    check_that_it_loads(algorithm, der)?;
    Ok(PublicKey { spki_der: der.to_vec(), algorithm })
}

/// The reason to refuse a block of another kind. Of its content nothing is repeated.
fn other_kind(label: &str) -> String {
    match label {
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
            "it is a certificate, want PUBLIC KEY".to_owned()
        }
        private if private.ends_with("PRIVATE KEY") => {
            "it is a private key, want PUBLIC KEY".to_owned()
        }
        other if is_plain(other) => format!("it is a block {other:?}, want PUBLIC KEY"),
        _ => "it is a block of another kind, want PUBLIC KEY".to_owned(),
    }
}

/// True for a label that can be shown to anybody.
fn is_plain(label: &str) -> bool {
    label.len() <= 40 && label.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' '))
}

fn pem_error(text: impl Into<String>) -> InvalidKey {
    InvalidKey::Pem(text.into())
}

fn not_spki(error: der::Error) -> InvalidKey {
    InvalidKey::Spki(Foreign::new(error.to_string()).to_string())
}

/// The common name of an unsupported algorithm or curve.
fn named(oid: ObjectIdentifier) -> String {
    let text = oid.to_string();
    match NAMES.iter().find(|(known, _)| *known == text) {
        Some((_, name)) => format!("{name} ({text})"),
        None => text,
    }
}

/// A PKCS #1 public key as a SubjectPublicKeyInfo.
fn wrapped_rsa(pkcs1: &[u8]) -> Result<Vec<u8>, InvalidKey> {
    let spki = SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifier { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) },
        subject_public_key: BitStringRef::from_bytes(pkcs1).map_err(not_spki)?,
    };
    spki.to_der().map_err(not_spki)
}

fn ec_algorithm(
    identifier: &AlgorithmIdentifier<AnyRef<'_>>,
    point: &[u8],
) -> Result<KeyAlgorithm, InvalidKey> {
    let curve = identifier.parameters.and_then(|curve| curve.decode_as::<ObjectIdentifier>().ok());
    let (algorithm, coordinate) = match curve {
        Some(P256) => (KeyAlgorithm::EcdsaP256, 32),
        Some(P384) => (KeyAlgorithm::EcdsaP384, 48),
        Some(P521) => (KeyAlgorithm::EcdsaP521, 66),
        Some(other) => return Err(InvalidKey::Unsupported(format!("curve {}", named(other)))),
        None => return Err(InvalidKey::Unsupported("a curve without a name".to_owned())),
    };
    match point.first() {
        Some(4) if point.len() == 1 + 2 * coordinate => Ok(algorithm),
        Some(2 | 3) => Err(InvalidKey::Point("compressed")),
        Some(0) => Err(InvalidKey::Point("at infinity")),
        _ => Err(InvalidKey::Point("of the wrong length or form")),
    }
}

fn rsa_algorithm(
    identifier: &AlgorithmIdentifier<AnyRef<'_>>,
    key: &[u8],
) -> Result<KeyAlgorithm, InvalidKey> {
    if identifier.parameters != Some(AnyRef::NULL) {
        return Err(InvalidKey::Spki("RSA parameters: want NULL".to_owned()));
    }
    let (modulus, exponent) = rsa_numbers(key).map_err(not_spki)?;
    let bits = bit_length(modulus);
    let size = u16::try_from(bits).ok().filter(|bits| (2048..=8192).contains(bits));
    let bits = size.ok_or(InvalidKey::RsaSize(bits))?;
    if modulus.last().is_none_or(|byte| byte % 2 == 0) {
        return Err(InvalidKey::Spki("RSA modulus is even".to_owned()));
    }
    let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    match bit_length(exponent) {
        2..=31 if odd => Ok(KeyAlgorithm::Rsa { bits }),
        _ => Err(InvalidKey::RsaExponent),
    }
}

/// Modulus and public exponent of an RSAPublicKey (RFC 8017, A.1.1).
fn rsa_numbers(der: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(der)?;
    let numbers = reader.sequence(|inner| {
        let modulus = UintRef::decode(inner)?;
        Ok::<_, der::Error>((modulus.as_bytes(), UintRef::decode(inner)?.as_bytes()))
    })?;
    reader.finish()?;
    Ok(numbers)
}

/// The length in bits of a number without leading zero bytes.
fn bit_length(number: &[u8]) -> u32 {
    let Some(first) = number.first() else { return 0 };
    let bytes = u32::try_from(number.len()).unwrap_or(u32::MAX);
    bytes.saturating_mul(8).saturating_sub(first.leading_zeros())
}

fn ed25519_algorithm(
    identifier: &AlgorithmIdentifier<AnyRef<'_>>,
    point: &[u8],
) -> Result<KeyAlgorithm, InvalidKey> {
    if identifier.parameters.is_some() {
        return Err(InvalidKey::Spki("Ed25519 parameters: want none".to_owned()));
    }
    let point: [u8; 32] =
        point.try_into().map_err(|_| InvalidKey::Point("of the wrong length or form"))?;
    if is_small_order(point) {
        return Err(InvalidKey::Point("of small order"));
    }
    Ok(KeyAlgorithm::Ed25519)
}

/// The points of order 1, 2, 4 and 8 (RFC 7748, section 7, has the reason): with such a key
/// a signature that anybody can make fits every message, or one in eight. All encodings of
/// their y coordinate, the sign bit left out.
fn is_small_order(mut point: [u8; 32]) -> bool {
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    point[31] &= 0x7f;
    let [low, middle @ .., high] = point;
    let zero_or_one = low <= 1 && high == 0 && middle.iter().all(|byte| *byte == 0);
    let around_p = low >= 0xec && high == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    zero_or_one || around_p || ORDER_8.contains(&point)
}

/// The cryptographic library has the last word: it checks that a point is on its curve.
fn check_that_it_loads(algorithm: KeyAlgorithm, der: &[u8]) -> Result<(), InvalidKey> {
    let (verification, refusal): (&'static dyn VerificationAlgorithm, _) = match algorithm {
        KeyAlgorithm::EcdsaP256 => {
            (&lc::ECDSA_P256_SHA256_ASN1, InvalidKey::Point("off its curve"))
        }
        KeyAlgorithm::EcdsaP384 => {
            (&lc::ECDSA_P384_SHA384_ASN1, InvalidKey::Point("off its curve"))
        }
        KeyAlgorithm::EcdsaP521 => {
            (&lc::ECDSA_P521_SHA512_ASN1, InvalidKey::Point("off its curve"))
        }
        KeyAlgorithm::Rsa { .. } => {
            (&lc::RSA_PKCS1_2048_8192_SHA256, InvalidKey::Spki("not an RSA key".to_owned()))
        }
        KeyAlgorithm::Ed25519 => (&lc::ED25519, InvalidKey::Point("not on the curve")),
    };
    ParsedPublicKey::new(verification, der).map(|_| ()).map_err(|_| refusal)
}
