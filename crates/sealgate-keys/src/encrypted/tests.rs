use super::*;

const COSIGN_P256: &str = include_str!("../../tests/data/cosign-p256.key");
const COSIGN_EMPTY: &str = include_str!("../../tests/data/cosign-empty-password.key");

fn password() -> Password {
    Password::new("sealgate-test")
}

/// cosign's key file with its JSON edited.
fn tampered(edit: impl FnOnce(&mut serde_json::Value)) -> String {
    let block = pem::read(COSIGN_P256, &[]).unwrap();
    let mut json = serde_json::from_slice(&block.content).unwrap();
    edit(&mut json);
    pem::write(LABEL, &serde_json::to_vec(&json).unwrap()).to_string()
}

#[test]
fn decrypts_what_cosign_wrote() {
    assert_eq!(decrypt(COSIGN_P256, &password()).unwrap().len(), 138);
    assert_eq!(decrypt(COSIGN_EMPTY, &Password::new("")).unwrap().len(), 138);
}

#[test]
fn reads_the_old_label() {
    let old = COSIGN_P256.replace(LABEL, OLD_LABEL);
    assert!(decrypt(&old, &password()).is_ok());
}

#[test]
fn decrypts_what_it_encrypts() {
    let text = encrypt(b"some PKCS#8", &password()).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n"));
    assert_eq!(*decrypt(&text, &password()).unwrap(), b"some PKCS#8");
    assert_ne!(*text, *encrypt(b"some PKCS#8", &password()).unwrap());
}

#[test]
fn wrong_password_has_cosigns_text() {
    for wrong in ["", "sealgate-tesT", "sealgate-test\n"] {
        let error = decrypt(COSIGN_P256, &Password::new(wrong)).unwrap_err();
        assert_eq!(error.to_string(), "decrypt: encrypted: decryption failed");
    }
}

#[test]
fn only_cosigns_scrypt_parameters() {
    for (n, r, p) in
        [(1 << 30, 8, 1), (65_536, 1024, 1), (65_536, 8, 64), (0, 8, 1), (65_535, 8, 1)]
    {
        let text = tampered(|json| {
            json["kdf"]["params"] = serde_json::json!({ "N": n, "r": r, "p": p });
        });
        assert_eq!(decrypt(&text, &password()), Err(KeyError::ScryptParameters), "{n} {r} {p}");
    }
}

#[test]
fn reads_the_other_parameter_sets() {
    for log_n in [15u8, 17] {
        let salt = [1; 32];
        let nonce = [2; 24];
        let boxed = secret_box(&password(), &salt, log_n).unwrap();
        let ciphertext = boxed.encrypt(&Nonce::from(nonce), b"key".as_slice()).unwrap();
        let text = tampered(|json| {
            json["kdf"]["params"]["N"] = (1u64 << log_n).into();
            json["kdf"]["salt"] = STANDARD.encode(salt).into();
            json["cipher"]["nonce"] = STANDARD.encode(nonce).into();
            json["ciphertext"] = STANDARD.encode(ciphertext).into();
        });
        assert_eq!(*decrypt(&text, &password()).unwrap(), b"key");
    }
}

#[test]
fn malformed_envelopes_are_refused() {
    type Edit = fn(&mut serde_json::Value);
    let edits: [(&str, Edit); 6] = [
        ("kdf", |json| json["kdf"]["name"] = "argon2".into()),
        ("cipher", |json| json["cipher"]["name"] = "rot13".into()),
        ("nonce", |json| json["cipher"]["nonce"] = "AAAA".into()),
        ("salt", |json| json["kdf"]["salt"] = "?".into()),
        ("ciphertext", |json| json["ciphertext"] = "AAAA".into()),
        ("no kdf", |json| json["kdf"] = serde_json::Value::Null),
    ];
    for (name, edit) in edits {
        assert!(decrypt(&tampered(edit), &password()).is_err(), "{name}");
    }
}

#[test]
fn a_plain_key_is_refused_with_the_way_out() {
    let plain = include_str!("../../tests/data/pkcs8-p384.pem");
    let error = decrypt(plain, &password()).unwrap_err();
    assert!(error.to_string().starts_with("unsupported pem type: PRIVATE KEY"), "{error}");
    assert!(error.to_string().contains("import-key-pair"), "{error}");
}
