use sealgate_core::key::{KeyAlgorithm, PublicKey};

use super::*;
use crate::Password;

macro_rules! data {
    ($name:literal) => {
        include_str!(concat!("../../tests/data/", $name))
    };
}

#[test]
fn imports_every_kind_and_signs_with_it() {
    for (text, algorithm) in [
        (data!("sec1-p256.pem"), KeyAlgorithm::EcdsaP256),
        (data!("sec1-p384.pem"), KeyAlgorithm::EcdsaP384),
        (data!("sec1-p521.pem"), KeyAlgorithm::EcdsaP521),
        (data!("pkcs8-p384.pem"), KeyAlgorithm::EcdsaP384),
        (data!("pkcs1-rsa2048.pem"), KeyAlgorithm::Rsa { bits: 2048 }),
        (data!("pkcs8-rsa3072.pem"), KeyAlgorithm::Rsa { bits: 3072 }),
        (data!("pkcs8-ed25519.pem"), KeyAlgorithm::Ed25519),
    ] {
        let pair = read(text).unwrap();
        assert_eq!(pair.public().algorithm(), algorithm);
        let signature = pair.sign_message(b"message").unwrap();
        pair.public().verify(b"message", &signature, None).unwrap();
        assert!(pair.public().verify(b"massage", &signature, None).is_err());
    }
}

/// cosign's import of the same key has the same public key, and its file can be used for signing.
#[test]
fn agrees_with_cosigns_import() {
    for (plain, key, public) in [
        (data!("sec1-p521.pem"), data!("cosign-sec1-p521.key"), data!("cosign-sec1-p521.pub")),
        (data!("pkcs8-p384.pem"), data!("cosign-pkcs8-p384.key"), data!("cosign-pkcs8-p384.pub")),
        (
            data!("pkcs1-rsa2048.pem"),
            data!("cosign-pkcs1-rsa2048.key"),
            data!("cosign-pkcs1-rsa2048.pub"),
        ),
        (
            data!("pkcs8-rsa3072.pem"),
            data!("cosign-pkcs8-rsa3072.key"),
            data!("cosign-pkcs8-rsa3072.pub"),
        ),
        (
            data!("pkcs8-ed25519.pem"),
            data!("cosign-pkcs8-ed25519.key"),
            data!("cosign-pkcs8-ed25519.pub"),
        ),
    ] {
        let ours = read(plain).unwrap();
        assert_eq!(ours.public().to_pem(), public);
        let theirs = KeyPair::from_encrypted_pem(key, &Password::new("sealgate-test")).unwrap();
        let signature = theirs.sign_message(b"message").unwrap();
        PublicKey::from_pem(public).unwrap().verify(b"message", &signature, None).unwrap();
    }
}

#[test]
fn refuses_others_and_says_why() {
    for (text, words) in [
        (data!("sec1-k256.pem"), "elliptic curve 1.3.132.0.10"),
        (data!("sec1-p224.pem"), "elliptic curve 1.3.132.0.33"),
        (data!("pkcs8-encrypted.pem"), "openssl pkey"),
        (data!("cosign-p256.key"), "already a cosign key"),
        (data!("cosign-p256.pub"), "PUBLIC KEY"),
        (data!("pkcs8-rsa1024.pem"), "at least 2048 bits"),
        ("no key", "invalid pem block"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn broken_der_is_refused() {
    for label in ["RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY"] {
        for bytes in [&b""[..], b"\x30", b"\x30\x80", b"\x30\x03\x02\x01\x00", &[0xff; 100]] {
            assert!(read(&pem::write(label, bytes)).is_err());
        }
    }
}
