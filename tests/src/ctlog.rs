//! CT log (RFC 6962) that signs every SCT and stores nothing: Fulcio embeds its SCTs into
//! certificates, and verifiers know its key.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};

use crate::der::{Element, SEQUENCE, children, wrap};
use crate::service::{Answer, Request, Service};

/// Encoded start of the precertificate poison extension, 1.3.6.1.4.1.11129.2.4.3.
const POISON: &[u8] = &[6, 10, 0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 3];

/// Tag of a certificate's extensions, `[3]`.
const EXTENSIONS: u8 = 0xa3;
/// Index of the public key among the fields of a TBSCertificate with a version.
const PUBLIC_KEY: usize = 6;

/// Running CT log.
pub struct CtLog {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// Public key, PEM.
    pub public_key: String,
}

impl CtLog {
    /// Starts the log, which runs until the test process ends.
    pub fn start() -> anyhow::Result<Self> {
        let key = Arc::new(KeyPair::generate()?);
        let service = Service::bind()?;
        let log =
            Self { url: format!("http://{}", service.host), public_key: key.public_key_pem() };
        service.answer_with(move |request| match request.path.as_str() {
            "/ct/v1/add-pre-chain" => promise(&key, request).map_or_else(
                |error| {
                    let said = json!({ "error_message": format!("{error:#}") });
                    Answer::refusal("400 Bad Request", &said)
                },
                |sct| Answer::json(&sct),
            ),
            _ => Answer::not_found(),
        });
        Ok(log)
    }
}

/// SCT for a precertificate and its issuer.
fn promise(key: &KeyPair, request: &Request) -> anyhow::Result<Value> {
    let chain: Value = serde_json::from_slice(&request.body)?;
    let certificate = |number: usize| {
        let text = chain["chain"][number].as_str().context("a certificate is missing")?;
        anyhow::Ok(STANDARD.decode(text)?)
    };
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let entry = signed_entry(&certificate(0)?, &certificate(1)?, timestamp)?;
    let signature = key.sign(&entry)?;
    // SHA-256 with ECDSA, and the length.
    let mut signed = vec![4, 3];
    signed.extend((signature.len() as u16).to_be_bytes());
    signed.extend(signature);
    Ok(json!({
        "sct_version": 0,
        "id": STANDARD.encode(digest(&SHA256, &key.subject_public_key_info())),
        "timestamp": timestamp,
        "extensions": "",
        "signature": STANDARD.encode(signed),
    }))
}

/// Signed data of an SCT: version, signature type, time, precertificate entry, no extensions.
fn signed_entry(precertificate: &[u8], issuer: &[u8], timestamp: u64) -> anyhow::Result<Vec<u8>> {
    let tbs = without_poison(to_be_signed(precertificate)?)?;
    let issuer_key = children(to_be_signed(issuer)?)?;
    let issuer_key = issuer_key.get(PUBLIC_KEY).context("the issuer has no key")?;
    let mut entry = vec![0, 0];
    entry.extend(timestamp.to_be_bytes());
    entry.extend([0, 1]);
    entry.extend(digest(&SHA256, issuer_key.whole).as_ref());
    entry.extend(&(tbs.len() as u32).to_be_bytes()[1..]);
    entry.extend(tbs);
    entry.extend([0, 0]);
    Ok(entry)
}

/// TBSCertificate without its tag and length.
fn to_be_signed(certificate: &[u8]) -> anyhow::Result<&[u8]> {
    let certificate = Element::read(certificate)?.0;
    Ok(Element::read(certificate.content)?.0.content)
}

fn without_poison(tbs: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut kept = Vec::new();
    for part in children(tbs)? {
        if part.tag != EXTENSIONS {
            kept.extend(part.whole);
            continue;
        }
        let extensions = children(Element::read(part.content)?.0.content)?;
        let clean = extensions.iter().filter(|extension| !extension.content.starts_with(POISON));
        let clean: Vec<u8> = clean.flat_map(|extension| extension.whole).copied().collect();
        kept.extend(wrap(EXTENSIONS, &wrap(SEQUENCE, &clean)));
    }
    Ok(wrap(SEQUENCE, &kept))
}
