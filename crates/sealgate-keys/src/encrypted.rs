//! cosign's encrypted private keys: PEM of a JSON envelope with scrypt parameters and a NaCl
//! secretbox over PKCS#8 (go-securesystemslib's `encrypted`, as read and written by cosign 3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, Nonce, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{KeyError, Password, pem};

/// PEM label of written keys.
pub const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// PEM label used by cosign before version 2; read only.
pub const OLD_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";

const SCRYPT: &str = "scrypt";
const SECRETBOX: &str = "nacl/secretbox";
const SALT_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;
/// log2(N) of written keys: N = 65536.
const WRITTEN_LOG_N: u8 = 16;

#[derive(Serialize, Deserialize)]
struct Envelope {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: ScryptParams,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct ScryptParams {
    #[serde(rename = "N")]
    n: u64,
    r: u64,
    p: u64,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Decrypts the PEM text of a cosign key to its PKCS#8 DER.
///
/// Takes a quarter of a second of CPU time and 64 MiB of memory (scrypt): must not run on an async
/// thread.
pub(crate) fn decrypt(text: &str, password: &Password) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    // OpenSSL writes the curve parameters before an unencrypted EC key; the label after them
    // identifies the key.
    let block = pem::read(text, &["EC PARAMETERS"])?;
    check_label(&block.label)?;
    let envelope: Envelope = serde_json::from_slice(&block.content)
        .map_err(|error| KeyError::Envelope(error.to_string()))?;
    let log_n = envelope.kdf.log_n()?;
    if envelope.cipher.name != SECRETBOX {
        return Err(unknown("cipher", &envelope.cipher.name));
    }
    let salt = bytes("salt", &envelope.kdf.salt)?;
    let nonce: [u8; NONCE_BYTES] = bytes("nonce", &envelope.cipher.nonce)?
        .try_into()
        .map_err(|_| KeyError::Envelope("the nonce is not 24 bytes long".to_owned()))?;
    let ciphertext = bytes("ciphertext", &envelope.ciphertext)?;
    secret_box(password, &salt, log_n)?
        .decrypt(&Nonce::from(nonce), ciphertext.as_slice())
        .map(Zeroizing::new)
        .map_err(|_| KeyError::WrongPassword)
}

/// Encrypts PKCS#8 DER to the PEM text of a cosign key.
///
/// As expensive as [`decrypt`].
pub(crate) fn encrypt(pkcs8: &[u8], password: &Password) -> Result<Zeroizing<String>, KeyError> {
    let mut salt = [0; SALT_BYTES];
    let mut nonce = [0; NONCE_BYTES];
    fill_random(&mut salt)?;
    fill_random(&mut nonce)?;
    let ciphertext = secret_box(password, &salt, WRITTEN_LOG_N)?
        .encrypt(&Nonce::from(nonce), pkcs8)
        .map_err(|_| KeyError::Crypto("secretbox"))?;
    let envelope = Envelope {
        kdf: Kdf {
            name: SCRYPT.to_owned(),
            params: ScryptParams { n: 1 << WRITTEN_LOG_N, r: 8, p: 1 },
            salt: STANDARD.encode(salt),
        },
        cipher: Cipher { name: SECRETBOX.to_owned(), nonce: STANDARD.encode(nonce) },
        ciphertext: STANDARD.encode(ciphertext),
    };
    let json =
        serde_json::to_vec(&envelope).map_err(|error| KeyError::Envelope(error.to_string()))?;
    Ok(pem::write(LABEL, &json))
}

impl Kdf {
    /// Accepts only the three parameter sets that cosign has written: with others, a file could
    /// choose the memory and time that are spent.
    fn log_n(&self) -> Result<u8, KeyError> {
        if self.name != SCRYPT {
            return Err(unknown("KDF", &self.name));
        }
        match (self.params.n, self.params.r, self.params.p) {
            (32_768, 8, 1) => Ok(15),
            (65_536, 8, 1) => Ok(16),
            (131_072, 8, 1) => Ok(17),
            _ => Err(KeyError::ScryptParameters),
        }
    }
}

fn check_label(label: &str) -> Result<(), KeyError> {
    match label {
        LABEL | OLD_LABEL => Ok(()),
        "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => {
            Err(KeyError::NotImported(label.to_owned()))
        }
        other => Err(KeyError::PemType(other.to_owned())),
    }
}

fn secret_box(password: &Password, salt: &[u8], log_n: u8) -> Result<XSalsa20Poly1305, KeyError> {
    let params = scrypt::Params::new(log_n, 8, 1).map_err(|_| KeyError::ScryptParameters)?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    scrypt::scrypt(password.as_bytes(), salt, &params, key.as_mut_slice())
        .map_err(|_| KeyError::Crypto("scrypt"))?;
    XSalsa20Poly1305::new_from_slice(key.as_slice()).map_err(|_| KeyError::Crypto("secretbox"))
}

fn bytes(what: &str, text: &str) -> Result<Vec<u8>, KeyError> {
    sealgate_core::base64::decode(text)
        .map_err(|_| KeyError::Envelope(format!("the {what} is not base64")))
}

fn unknown(what: &'static str, name: &str) -> KeyError {
    KeyError::Algorithm { what, name: name.chars().take(40).collect() }
}

fn fill_random(bytes: &mut [u8]) -> Result<(), KeyError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| KeyError::Crypto("random numbers"))
}

#[cfg(test)]
mod tests;
