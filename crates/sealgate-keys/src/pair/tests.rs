use super::*;

#[test]
fn generates_signs_and_stores() {
    let pair = KeyPair::generate().unwrap();
    let signature = pair.sign_message(b"message").unwrap();
    pair.public().verify(b"message", &signature, None).unwrap();

    let password = Password::new("pass");
    let text = pair.to_encrypted_pem(&password).unwrap();
    let again = KeyPair::from_encrypted_pem(&text, &password).unwrap();
    assert_eq!(again.public(), pair.public());
}

#[test]
fn debug_shows_the_public_half_only() {
    let pair = KeyPair::generate().unwrap();
    let shown = format!("{pair:?}");
    assert_eq!(shown, format!("KeyPair({:?})", pair.public()));
}

/// Every curve with every hash: only that hash verifies.
#[test]
fn signs_with_any_hash() {
    for text in [
        include_str!("../../tests/data/sec1-p256.pem"),
        include_str!("../../tests/data/sec1-p384.pem"),
        include_str!("../../tests/data/sec1-p521.pem"),
        include_str!("../../tests/data/pkcs1-rsa2048.pem"),
    ] {
        for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
            let pair = crate::import::read(text).unwrap().with_hash(hash);
            let signature = pair.sign_message(b"message").unwrap();
            let public = pair.public();
            assert!(public.verify(b"message", &signature, Some(hash)).is_ok(), "{pair:?} {hash:?}");
            let other = match hash {
                HashAlgorithm::Sha256 => HashAlgorithm::Sha512,
                _ => HashAlgorithm::Sha256,
            };
            assert!(public.verify(b"message", &signature, Some(other)).is_err(), "{pair:?}");
        }
    }
}

#[test]
fn signs_what_a_reader_gives() {
    for text in [
        include_str!("../../tests/data/sec1-p384.pem"),
        include_str!("../../tests/data/pkcs1-rsa2048.pem"),
        include_str!("../../tests/data/pkcs8-ed25519.pem"),
    ] {
        let pair = crate::import::read(text).unwrap();
        let message = vec![7; 200_000];
        let (signature, digest) = pair.sign_reader(message.as_slice()).unwrap();
        pair.public().verify(&message, &signature, None).unwrap();
        assert_eq!(digest, Digest::of(&message));
    }
}

#[test]
fn fits_hashes_to_curves() {
    assert_eq!(to_length(&[1, 2], 4), [0, 0, 1, 2]);
    assert_eq!(to_length(&[1, 2, 3, 4], 2), [1, 2]);
    assert_eq!(to_length(&[1, 2], 2), [1, 2]);
}

#[test]
fn foreign_bytes_never_panic() {
    for length in 0..200 {
        assert!(KeyPair::from_pkcs8(&vec![0x30; length]).is_err());
    }
}

#[test]
fn every_kind_of_key_for_one_run_signs_with_its_hash() {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    for (kind, hash, digest) in [
        (Kind::P256, Sha256, Algorithm::Sha256),
        (Kind::P384, Sha384, Algorithm::Sha384),
        (Kind::P521, Sha512, Algorithm::Sha512),
        (Kind::Rsa2048, Sha256, Algorithm::Sha256),
    ] {
        let pair = KeyPair::generate_kind(kind).unwrap().with_hash(hash);
        let (signature, named) = pair.sign_reader(&b"content"[..]).unwrap();
        assert_eq!(named, Digest::with(digest, b"content"), "{kind:?}");
        pair.public().verify(b"content", &signature, Some(hash)).unwrap();
    }
}
