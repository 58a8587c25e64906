//! Keys that are accepted, keys that are refused, and signatures with each algorithm.

mod vectors;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self as lc, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier};
use der::{Decode as _, Encode as _};
use proptest::prelude::*;
use spki::{AlgorithmIdentifier, SubjectPublicKeyInfoRef};

use super::*;
use crate::pem;

const EC: &str = "1.2.840.10045.2.1";
const RSA: &str = "1.2.840.113549.1.1.1";
const ED: &str = "1.3.101.112";
const P256: &str = "1.2.840.10045.3.1.7";

/// A SubjectPublicKeyInfo around `key`.
pub(crate) fn spki(oid: &str, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Vec<u8> {
    let oid = ObjectIdentifier::new_unwrap(oid);
    SubjectPublicKeyInfoRef {
        algorithm: AlgorithmIdentifier { oid, parameters },
        subject_public_key: BitStringRef::from_bytes(key).unwrap(),
    }
    .to_der()
    .unwrap()
}

pub(crate) fn ec_spki(curve: &str, point: &[u8]) -> Vec<u8> {
    let curve = ObjectIdentifier::new_unwrap(curve).to_der().unwrap();
    spki(EC, Some(AnyRef::from_der(&curve).unwrap()), point)
}

type Sign = dyn Fn(&[u8]) -> Vec<u8>;

struct Signer {
    public: PublicKey,
    sign: Box<Sign>,
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> Signer {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let public = PublicKey::from_spki_der(&ec_spki(curve, pair.public_key().as_ref())).unwrap();
    let sign = move |m: &[u8]| pair.sign(&SystemRandom::new(), m).unwrap().as_ref().to_vec();
    Signer { public, sign: Box::new(sign) }
}

fn rsa(encoding: &'static dyn lc::RsaEncoding, size: KeySize) -> Signer {
    let pair = RsaKeyPair::generate(size).unwrap();
    let der = spki(RSA, Some(AnyRef::NULL), pair.public_key().as_ref());
    let public = PublicKey::from_spki_der(&der).unwrap();
    let sign = move |m: &[u8]| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), m, &mut signature).unwrap();
        signature
    };
    Signer { public, sign: Box::new(sign) }
}

fn ed25519() -> Signer {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = PublicKey::from_spki_der(&spki(ED, None, pair.public_key().as_ref())).unwrap();
    Signer { public, sign: Box::new(move |m: &[u8]| pair.sign(m).as_ref().to_vec()) }
}

#[test]
fn verifies_each_algorithm_and_hash() {
    use HashAlgorithm::{Sha224, Sha256, Sha384, Sha512};
    let p256 = ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, P256);
    let p384 = ecdsa(&lc::ECDSA_P384_SHA384_ASN1_SIGNING, "1.3.132.0.34");
    let p521 = ecdsa(&lc::ECDSA_P521_SHA512_ASN1_SIGNING, "1.3.132.0.35");
    let p521_256 = ecdsa(&lc::ECDSA_P521_SHA256_ASN1_SIGNING, "1.3.132.0.35");
    let p521_384 = ecdsa(&lc::ECDSA_P521_SHA384_ASN1_SIGNING, "1.3.132.0.35");
    let p521_224 = ecdsa(&lc::ECDSA_P521_SHA224_ASN1_SIGNING, "1.3.132.0.35");
    let rsa_256 = rsa(&lc::RSA_PKCS1_SHA256, KeySize::Rsa2048);
    let rsa_512 = rsa(&lc::RSA_PKCS1_SHA512, KeySize::Rsa3072);
    // signer, its hash, whether `None` finds it
    for (signer, hash, by_default) in [
        (p256, Sha256, true),
        (p384, Sha384, true),
        (p521, Sha512, true),
        (p521_256, Sha256, true),
        (p521_384, Sha384, false),
        (p521_224, Sha224, false),
        (rsa_256, Sha256, true),
        (rsa_512, Sha512, false),
    ] {
        let key = &signer.public;
        let signature = (signer.sign)(b"message");
        assert_eq!(key.verify(b"message", &signature, None).is_ok(), by_default, "{key:?}");
        for other in [Sha224, Sha256, Sha384, Sha512] {
            let insisted = key.verify(b"message", &signature, Some(other));
            assert_eq!(insisted.is_ok(), other == hash, "{key:?} {other:?}");
        }
        assert!(key.verify(b"massage", &signature, Some(hash)).is_err());
        assert!(key.verify(b"message", &[], Some(hash)).is_err());
        let Some(algorithm) = hash.digest() else { continue };
        let digest = Digest::with(algorithm, b"message");
        assert!(
            key.scheme_of_digests(std::slice::from_ref(&digest), &signature, Some(hash)).is_ok(),
            "{key:?}"
        );
        assert_eq!(key.scheme_of_digests(&[digest], &signature, None).is_ok(), by_default);
        assert!(key.scheme_of_digests(&[], &signature, Some(hash)).is_err());
        let other = Digest::with(algorithm, b"massage");
        assert!(key.scheme_of_digests(&[other], &signature, Some(hash)).is_err());
    }
}

#[test]
fn ed25519_signs_whole_messages_and_ignores_the_hash() {
    let signer = ed25519();
    let signature = (signer.sign)(b"message");
    assert!(signer.public.verify(b"message", &signature, None).is_ok());
    assert!(signer.public.verify(b"message", &signature, Some(HashAlgorithm::Sha256)).is_ok());
    assert!(signer.public.verify(b"massage", &signature, None).is_err());
    assert!(signer.public.needs_message());
    assert!(signer.public.scheme_of_digests(&[Digest::of(b"message")], &signature, None).is_err());
}

/// An Ed25519 key that signs by both variants.
pub(crate) struct Ed25519 {
    pair: ed25519_dalek::SigningKey,
    pub(crate) public: PublicKey,
}

impl Ed25519 {
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        let pair = ed25519_dalek::SigningKey::from_bytes(&secret);
        let public = spki(ED, None, pair.verifying_key().as_bytes());
        Self { pair, public: PublicKey::from_spki_der(&public).unwrap() }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        ed25519_dalek::Signer::sign(&self.pair, message).to_bytes().to_vec()
    }

    pub(crate) fn sign_prehashed(&self, message: &[u8], context: Option<&[u8]>) -> Vec<u8> {
        let hashed = <ed25519_dalek::Sha512 as sha2::Digest>::new_with_prefix(message);
        self.pair.sign_prehashed(hashed, context).unwrap().to_bytes().to_vec()
    }
}

fn sha512(message: &[u8]) -> Digest {
    Digest::with(Algorithm::Sha512, message)
}

/// The vector of RFC 8032, section 7.3.
#[test]
fn ed25519ph_verifies_as_the_rfc_says() {
    let secret = "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42";
    let public = "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf";
    let signature = "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355\
                     a2003d062adf5aaa10b8c61e636062aaad11c2a26083406";
    let key = Ed25519::new(hex::decode(secret).unwrap().try_into().unwrap());
    assert!(hex::encode(key.public.spki_der()).contains(public));
    let signature = hex::decode(signature).unwrap();
    assert_eq!(key.sign_prehashed(b"abc", None), signature);
    let found = key.public.scheme_of(b"abc", &signature, None);
    assert_eq!(found, Ok(SignatureScheme::Ed25519ph));
    let by_digest = key.public.scheme_of_digests(&[sha512(b"abc")], &signature, None);
    assert_eq!(by_digest, Ok(SignatureScheme::Ed25519ph));
}

/// dom2 keeps the variants apart: nothing that was signed by one is a signature by the other.
#[test]
fn the_two_variants_of_ed25519_never_mix() {
    let (key, other_key) = (Ed25519::new([7; 32]), Ed25519::new([8; 32]));
    let message = b"message";
    let digest = hex::decode(sha512(message).hex()).unwrap();
    let pure = key.sign(message);
    let prehashed = key.sign_prehashed(message, None);
    let scheme = |message: &[u8], signature: &[u8]| key.public.scheme_of(message, signature, None);
    assert_eq!(scheme(message, &pure), Ok(SignatureScheme::Ed25519));
    assert_eq!(scheme(message, &prehashed), Ok(SignatureScheme::Ed25519ph));
    for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha512] {
        let found = key.public.scheme_of(message, &prehashed, Some(hash));
        assert_eq!(found, Ok(SignatureScheme::Ed25519ph));
    }
    let refused: [(&str, &[u8], Vec<u8>); 7] = [
        ("the digest, signed by the pure variant", message, key.sign(&digest)),
        ("the message, given as its own digest", &digest, prehashed.clone()),
        ("the digest, signed by the prehash", message, key.sign_prehashed(&digest, None)),
        ("another context", message, key.sign_prehashed(message, Some(b"x"))),
        ("another key's", message, other_key.sign_prehashed(message, None)),
        ("another message", b"massage", prehashed.clone()),
        ("cut", message, prehashed[..63].to_vec()),
    ];
    for (what, message, signature) in refused {
        assert_eq!(scheme(message, &signature), Err(SignatureMismatch), "{what}");
    }
    // What logs, timestamps and certificates are checked with knows the pure variant only.
    assert!(key.public.verify(message, &pure, None).is_ok());
    assert!(key.public.verify(message, &prehashed, None).is_err());
    // A digest is enough for the prehash, and only the right one.
    let of_digests = |digests: &[Digest], signature: &[u8]| {
        key.public.scheme_of_digests(digests, signature, None)
    };
    assert_eq!(of_digests(&[sha512(message)], &pure), Err(SignatureMismatch));
    assert_eq!(of_digests(&[Digest::of(message)], &prehashed), Err(SignatureMismatch));
    assert_eq!(of_digests(&[sha512(b"x")], &prehashed), Err(SignatureMismatch));
    assert_eq!(of_digests(&[], &prehashed), Err(SignatureMismatch));
}

/// S + L is the same number to a verifier that does not look at its size.
#[test]
fn an_ed25519ph_signature_is_canonical() {
    const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let key = Ed25519::new([7; 32]);
    let signature = key.sign_prehashed(b"message", None);
    let mut malleable = signature.clone();
    let mut carry = 0;
    for (byte, order) in malleable[32..].iter_mut().zip(hex::decode(ORDER).unwrap()) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    assert_ne!(malleable, signature);
    assert!(key.public.scheme_of(b"message", &malleable, None).is_err());
}

#[test]
fn only_canonical_der_signatures_verify() {
    let signer = ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, P256);
    let signature = loop {
        let signature = (signer.sign)(b"m");
        // short form lengths and an r without a leading zero byte
        if signature[3] == 32 {
            break signature;
        }
    };
    let verifies = |bytes: &[u8]| signer.public.verify(b"m", bytes, None).is_ok();
    assert!(verifies(&signature));
    let mut trailing = signature.clone();
    trailing.push(0);
    assert!(!verifies(&trailing), "trailing byte");
    let mut long = vec![0x30, 0x81];
    long.extend(&signature[1..]);
    assert!(!verifies(&long), "long form length");
    let mut padded = signature.clone();
    padded[1] += 1;
    padded[3] += 1;
    padded.insert(4, 0);
    assert!(!verifies(&padded), "leading zero in r");
    assert!(!verifies(&signature[4..]), "no DER at all");
}

/// The text that `openssl pkey -pubin -text` prints beside a key.
const OPENSSL_TEXT: &str = "Public-Key: (256 bit)\npub:\n    04:5a:ad:1c\nASN1 OID: prime256v1\n\
                            NIST CURVE: P-256\n";

#[test]
fn reads_pem_in_the_spellings_that_occur() {
    let key = ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, P256).public;
    let pem = key.to_pem();
    assert!(pem.lines().all(|line| line.len() <= 64) && pem.ends_with("-----\n"));
    let certificate = pem::block("CERTIFICATE", b"a certificate");
    for text in [
        pem.clone(),
        pem.trim_end().to_owned(),
        pem.replace('\n', "\r\n"),
        pem.replace('\n', " \t\n"),
        pem.replacen('\n', "\n\n", 1),
        pem.replacen('\n', "\nProc-Type: 4\n", 1),
        format!("\u{feff}{pem}"),
        format!("\n\r\n{pem}\n\n"),
        format!("# a key:\n{pem}"),
        format!("{pem}and more"),
        format!("{OPENSSL_TEXT}{pem}"),
        format!("{pem}{OPENSSL_TEXT}"),
        format!("{pem}{certificate}"),
    ] {
        assert_eq!(PublicKey::from_pem(&text).as_ref(), Ok(&key), "{text:?}");
    }
}

#[test]
fn reads_pkcs1_pem_as_the_same_key() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs1 = pair.public_key().as_ref();
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pkcs1);
    let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{body}\n-----END RSA PUBLIC KEY-----\n");
    let der = spki(RSA, Some(AnyRef::NULL), pkcs1);
    let key = PublicKey::from_pem(&pem).unwrap();
    assert_eq!(key.spki_der(), der);
    assert_eq!(key.algorithm(), KeyAlgorithm::Rsa { bits: 2048 });
}

#[test]
fn refuses_pem_that_is_not_one_key_and_says_why() {
    let pem = ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, P256).public.to_pem();
    let certificate = pem::block("CERTIFICATE", b"a certificate");
    let rsa = pem.replace("PUBLIC", "RSA PUBLIC");
    for (text, why) in [
        (String::new(), "no BEGIN line"),
        ("garbage".to_owned(), "no BEGIN line"),
        (format!(" {pem}"), "an END line without a BEGIN line"),
        (format!("{pem}{pem}"), "several public keys, one after the other: want exactly one"),
        (format!("{pem}text\n{rsa}"), "several public keys, one after the other: want exactly one"),
        (format!("{certificate}{pem}"), "it is a certificate, want PUBLIC KEY"),
        (certificate.clone(), "it is a certificate, want PUBLIC KEY"),
        (pem.replace("PUBLIC", "PRIVATE"), "it is a private key, want PUBLIC KEY"),
        (pem.replace("PUBLIC", "EC PRIVATE"), "it is a private key, want PUBLIC KEY"),
        (pem.replace("PUBLIC", "OPEN"), "it is a block \"OPEN KEY\", want PUBLIC KEY"),
        (pem.replace("PUBLIC", "open"), "it is a block of another kind, want PUBLIC KEY"),
        (
            pem.replace("END PUBLIC KEY", "END RSA PUBLIC KEY"),
            "an END line that does not fit its BEGIN line",
        ),
        (pem.replace("-----END", "----END"), "no END line"),
        (pem.replacen("MFkw", "MFk-", 1), "the content is not base64"),
        (pem.replacen("MFkw", "MFkw=", 1), "the content is not base64"),
        (pem.lines().take(2).collect::<Vec<_>>().join("\n"), "no END line"),
        (format!("{pem}-----BEGIN PUBLIC KEY-----\n"), "no END line"),
        ("-".repeat(70_000), "longer than 65536 bytes"),
    ] {
        assert_eq!(PublicKey::from_pem(&text), Err(InvalidKey::Pem(why.to_owned())), "{text:?}");
    }
}

/// Whoever reads the refusal sees which key it was.
#[test]
fn what_is_not_supported_is_called_by_its_name() {
    let why = |der: &[u8]| PublicKey::from_spki_der(der).unwrap_err().to_string();
    let supported = "want ECDSA on P-256, P-384 or P-521, Ed25519, or RSA";
    let begin = "unsupported public key algorithm:";
    for (oid, name) in NAMED_CURVES {
        let said = why(&ec_spki(oid, &[4; 57]));
        assert_eq!(said, format!("{begin} curve {name} ({oid}): {supported}"));
    }
    for (oid, name) in NAMED_ALGORITHMS {
        assert_eq!(why(&spki(oid, None, b"key")), format!("{begin} {name} ({oid}): {supported}"));
    }
    assert_eq!(why(&spki("1.2.3", None, b"key")), format!("{begin} 1.2.3: {supported}"));
}

const NAMED_CURVES: [(&str, &str); 6] = [
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.132.0.33", "P-224"),
    ("1.2.840.10045.3.1.1", "P-192"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
];

const NAMED_ALGORITHMS: [(&str, &str); 5] = [
    ("1.2.840.10040.4.1", "DSA"),
    ("1.2.840.113549.1.1.10", "RSASSA-PSS"),
    ("1.3.101.110", "X25519"),
    ("1.3.101.113", "Ed448"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
];

#[test]
fn refuses_points_and_curves_off_the_list() {
    let pair = EcdsaKeyPair::generate(&lc::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let read = |der: &[u8]| PublicKey::from_spki_der(der).unwrap_err();
    let mut compressed = vec![2 + (point[64] & 1)];
    compressed.extend(&point[1..33]);
    let mut off = point.to_vec();
    off[64] ^= 1;
    for bad in [&compressed[..], &[0], &off, &point[..64], &[], &[&[6], &point[1..]].concat()] {
        assert!(matches!(read(&ec_spki(P256, bad)), InvalidKey::Point(_)), "{bad:?}");
    }
    let k1 = EcdsaKeyPair::generate(&lc::ECDSA_P256K1_SHA256_ASN1_SIGNING).unwrap();
    let k1 = ec_spki("1.3.132.0.10", k1.public_key().as_ref());
    assert!(matches!(read(&k1), InvalidKey::Unsupported(_)));
    assert!(matches!(read(&spki(EC, None, point)), InvalidKey::Unsupported(_)));
    assert!(matches!(read(&spki(EC, Some(AnyRef::NULL), point)), InvalidKey::Unsupported(_)));
    assert!(matches!(read(&spki("1.2.840.10040.4.1", None, point)), InvalidKey::Unsupported(_)));
}

#[test]
fn refuses_der_that_is_not_canonical() {
    let pair = EcdsaKeyPair::generate(&lc::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let good = ec_spki(P256, pair.public_key().as_ref());
    assert!(PublicKey::from_spki_der(&good).is_ok());
    let trailing = [&good[..], &[0]].concat();
    let long_form = [&[0x30, 0x81], &good[1..]].concat();
    let indefinite = [&[0x30, 0x80], &good[2..], &[0, 0]].concat();
    let mut unused_bits = good.clone();
    let header = good.len() - 66;
    assert_eq!(unused_bits[header], 0);
    unused_bits[header] = 1;
    for der in [&trailing[..], &long_form, &indefinite, &unused_bits, &good[..90], &[]] {
        assert!(matches!(PublicKey::from_spki_der(der), Err(InvalidKey::Spki(_))), "{der:x?}");
    }
}

/// An RSA key with this modulus and exponent, big endian.
fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    use der::asn1::UintRef;
    let modulus = UintRef::new(modulus).unwrap().to_der().unwrap();
    let exponent = UintRef::new(exponent).unwrap().to_der().unwrap();
    let body = [modulus, exponent].concat();
    let sequence = AnyRef::new(der::Tag::Sequence, &body).unwrap().to_der().unwrap();
    spki(RSA, Some(AnyRef::NULL), &sequence)
}

#[test]
fn refuses_weak_rsa() {
    let modulus = |bits: usize| {
        let mut modulus = vec![0xff; bits / 8];
        modulus[1] = 0x5a;
        modulus
    };
    let read = |modulus: &[u8], exponent: &[u8]| {
        PublicKey::from_spki_der(&rsa_spki(modulus, exponent)).map(|key| key.algorithm())
    };
    assert_eq!(read(&modulus(2048), &[1, 0, 1]), Ok(KeyAlgorithm::Rsa { bits: 2048 }));
    assert_eq!(read(&modulus(8192), &[3]), Ok(KeyAlgorithm::Rsa { bits: 8192 }));
    assert_eq!(read(&modulus(1024), &[1, 0, 1]), Err(InvalidKey::RsaSize(1024)));
    assert_eq!(read(&modulus(2040), &[1, 0, 1]), Err(InvalidKey::RsaSize(2040)));
    assert_eq!(read(&modulus(8200), &[1, 0, 1]), Err(InvalidKey::RsaSize(8200)));
    assert_eq!(read(&modulus(16384), &[1, 0, 1]), Err(InvalidKey::RsaSize(16384)));
    for exponent in [&[0][..], &[1], &[2], &[1, 0, 0], &[0x80, 0, 0, 1], &[1, 0, 0, 0, 1]] {
        assert_eq!(read(&modulus(2048), exponent), Err(InvalidKey::RsaExponent), "{exponent:?}");
    }
    let mut even = modulus(2048);
    even[255] = 0xfe;
    assert!(matches!(read(&even, &[1, 0, 1]), Err(InvalidKey::Spki(_))));
    let pkcs1 = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let no_null = spki(RSA, None, pkcs1.public_key().as_ref());
    assert!(matches!(PublicKey::from_spki_der(&no_null), Err(InvalidKey::Spki(_))));
    let trailing = [pkcs1.public_key().as_ref(), &[0]].concat();
    let trailing = spki(RSA, Some(AnyRef::NULL), &trailing);
    assert!(matches!(PublicKey::from_spki_der(&trailing), Err(InvalidKey::Spki(_))));
}

#[test]
fn refuses_ed25519_points_of_small_order() {
    let mut points = vec![[0; 32], [0xff; 32]];
    for (index, low) in [(0, 0), (0, 1)] {
        let mut point = [0; 32];
        point[index] = low;
        points.push(point);
        point[31] = 0x80;
        points.push(point);
    }
    for low in [0xec, 0xed, 0xee] {
        let mut point = [0xff; 32];
        (point[0], point[31]) = (low, 0x7f);
        points.push(point);
    }
    let order_8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    points.push(hex::decode(order_8).unwrap().try_into().unwrap());
    for point in points {
        let read = PublicKey::from_spki_der(&spki(ED, None, &point));
        assert_eq!(read, Err(InvalidKey::Point("of small order")), "{point:x?}");
    }
    let short = PublicKey::from_spki_der(&spki(ED, None, &[9; 31]));
    assert!(matches!(short, Err(InvalidKey::Point(_))));
    let with_null = PublicKey::from_spki_der(&spki(ED, Some(AnyRef::NULL), &[9; 32]));
    assert!(matches!(with_null, Err(InvalidKey::Spki(_))));
}

/// (r, n - s) is as good a signature as (r, s): both are accepted, and both are the same key's.
#[test]
fn a_malleable_signature_still_counts_for_its_key_only() {
    let signer = ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, P256);
    let signature = (signer.sign)(b"m");
    let (r, s) = signature[4..].split_at(usize::from(signature[3]));
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let other = subtract(hex::decode(order).unwrap(), &s[2..]);
    let integer = |bytes: &[u8]| {
        let first = bytes.iter().position(|byte| *byte != 0).unwrap();
        der::asn1::UintRef::new(&bytes[first..]).unwrap().to_der().unwrap()
    };
    let body = [integer(r), integer(&other)].concat();
    let mirrored = AnyRef::new(der::Tag::Sequence, &body).unwrap().to_der().unwrap();
    assert_ne!(mirrored, signature);
    assert!(signer.public.verify(b"m", &mirrored, None).is_ok());
    let other_key = ecdsa(&lc::ECDSA_P256_SHA256_ASN1_SIGNING, P256);
    assert!(other_key.public.verify(b"m", &mirrored, None).is_err());
}

/// `a - b`, big endian, where a is larger.
fn subtract(mut a: Vec<u8>, b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    for (index, digit) in a.iter_mut().rev().enumerate() {
        let subtrahend = b.iter().rev().nth(index).copied().map_or(0, i16::from) + borrow;
        let difference = i16::from(*digit) - subtrahend;
        borrow = i16::from(difference < 0);
        *digit = difference.rem_euclid(256) as u8;
    }
    a
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, text: String) {
        let _ = PublicKey::from_spki_der(&bytes);
        let _ = PublicKey::from_pem(&text);
        let _ = PublicKey::from_pem(&format!("-----BEGIN {text}-----\n{text}\n-----END {text}-----"));
    }

    #[test]
    fn a_flipped_bit_is_never_the_same_key(bit in 0usize..91 * 8) {
        let pair = EcdsaKeyPair::generate(&lc::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let mut der = ec_spki(P256, pair.public_key().as_ref());
        der[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(PublicKey::from_spki_der(&der).is_err());
    }
}
