//! Import of unencrypted private keys: PKCS#1 (RSA), SEC1 (EC), PKCS#8 (RSA, EC, Ed25519).

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::EcdsaKeyPair;
use der::Decode;
use sec1::{EcParameters, EcPrivateKey};

use crate::pair::Curve;
use crate::{KeyError, KeyPair, pem};

/// Parses the PEM text of an unencrypted private key.
///
/// # Errors
/// Missing or malformed PEM, an encrypted key, an unsupported algorithm, an inconsistent key.
pub fn read(text: &str) -> Result<KeyPair, KeyError> {
    let block = pem::read(text, &["EC PARAMETERS"])?;
    match block.label.as_str() {
        "RSA PRIVATE KEY" => pkcs1(&block.content),
        "EC PRIVATE KEY" => sec1(&block.content),
        "PRIVATE KEY" => KeyPair::from_pkcs8(&block.content),
        "ENCRYPTED PRIVATE KEY" => Err(KeyError::Unsupported(
            "it is protected by a password (PKCS#8): decrypt it first with `openssl pkey -in FILE`"
                .to_owned(),
        )),
        crate::encrypted::LABEL | crate::encrypted::OLD_LABEL => Err(KeyError::Unsupported(
            "it is already a cosign key and can be used unchanged".to_owned(),
        )),
        other => Err(KeyError::Unsupported(format!("PEM type {other:?}"))),
    }
}

fn pkcs1(der: &[u8]) -> Result<KeyPair, KeyError> {
    let pair = RsaKeyPair::from_der(der)
        .map_err(|error| KeyError::Parse(format!("RSA private key: {error}")))?;
    let document: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::Crypto("PKCS#8"))?;
    KeyPair::from_pkcs8(document.as_ref())
}

fn sec1(der: &[u8]) -> Result<KeyPair, KeyError> {
    let key = EcPrivateKey::from_der(der)
        .map_err(|error| KeyError::Parse(format!("EC private key: {error}")))?;
    let Some(EcParameters::NamedCurve(oid)) = key.parameters else {
        return Err(KeyError::Parse("EC private key: no curve given".to_owned()));
    };
    let curve = Curve::from_oid(oid)?;
    let pair = EcdsaKeyPair::from_private_key_der(curve.algorithm(), der)
        .map_err(|error| KeyError::Parse(format!("EC private key: {error}")))?;
    let document = pair.to_pkcs8v1().map_err(|_| KeyError::Crypto("PKCS#8"))?;
    KeyPair::from_pkcs8(document.as_ref())
}

#[cfg(test)]
mod tests;
