//! Reading and writing public keys: PEM (RFC 7468), SubjectPublicKeyInfo (RFC 5280), and which
//! of them are keys that we accept.

use aws_lc_rs::signature::{self as lc, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::{Decode, Encode, Reader, SliceReader};
use spki::{AlgorithmIdentifier, SubjectPublicKeyInfoRef};

use super::{InvalidKey, KeyAlgorithm, PublicKey};
use crate::certificate::pem;
use crate::reject::Foreign;

/// No PEM text of a key that we accept comes near this.
const MAX_PEM: usize = 16 << 10;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

pub(super) fn from_pem(pem: &str) -> Result<PublicKey, InvalidKey> {
    let (label, der) = pem_block(pem)?;
    match label {
        "PUBLIC KEY" => from_spki_der(&der),
        "RSA PUBLIC KEY" => from_pkcs1_der(&der),
        other => Err(pem_error(format!("a block {:?}, want PUBLIC KEY", Foreign::new(other)))),
    }
}

pub(super) fn from_pkcs1_der(der: &[u8]) -> Result<PublicKey, InvalidKey> {
    from_spki_der(&wrapped_rsa(der)?)
}

pub(super) fn to_pem(der: &[u8]) -> String {
    pem::block("PUBLIC KEY", der)
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
        other => return Err(InvalidKey::Unsupported(other.to_string())),
    };
    check_that_it_loads(algorithm, der)?;
    Ok(PublicKey { spki_der: der.to_vec(), algorithm })
}

/// The label and content of the one block that `pem` is.
fn pem_block(pem: &str) -> Result<(&str, Vec<u8>), InvalidKey> {
    if pem.len() > MAX_PEM {
        return Err(pem_error(format!("longer than {MAX_PEM} bytes")));
    }
    let text = pem.strip_prefix('\u{feff}').unwrap_or(pem);
    let mut lines = text.trim_matches(['\r', '\n']).lines();
    let begin = lines.next().unwrap_or_default();
    let label = begin.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
    let label = label.ok_or_else(|| pem_error("it does not begin with a BEGIN line"))?;
    let end = format!("-----END {label}-----");
    let mut body = String::new();
    for line in lines.by_ref() {
        if line == end {
            break;
        }
        if line.is_empty() {
            return Err(pem_error("a blank line inside of the block"));
        }
        body.push_str(line);
    }
    if lines.next().is_some() {
        return Err(pem_error("something follows the block: want exactly one"));
    }
    if !text.trim_end_matches(['\r', '\n']).ends_with(&end) {
        return Err(pem_error("no END line"));
    }
    let der = STANDARD.decode(body).map_err(|_| pem_error("the content is not base64"))?;
    Ok((label, der))
}

fn pem_error(text: impl Into<String>) -> InvalidKey {
    InvalidKey::Pem(text.into())
}

fn not_spki(error: der::Error) -> InvalidKey {
    InvalidKey::Spki(Foreign::new(error.to_string()).to_string())
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
        Some(other) => return Err(InvalidKey::Unsupported(format!("curve {other}"))),
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
