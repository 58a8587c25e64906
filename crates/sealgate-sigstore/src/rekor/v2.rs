//! The Rekor of tiles: entries with their inclusion proof and no time.
//!
//! Envelopes go in as `hashedrekord` too, by the digest of what their signature is over: the
//! servers of today take no other kind.

use async_trait::async_trait;
use sealgate_core::bundle::LogEntry;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::{KeyAlgorithm, PublicKey};
use sealgate_engine::ports::{LogSubmission, SignatureLog, SubmittedContent, SubmittedVerifier};
use serde_json::{Value, json};
use url::Url;

use super::{about, b64, key_of, refuse_ed25519, unusable};
use crate::http::{self, Client, Request};

/// A Rekor of tiles: entries `hashedrekord` 0.0.2 for messages and envelopes alike.
#[derive(Clone, Debug)]
pub struct RekorV2 {
    url: Url,
    client: Client,
}

impl RekorV2 {
    /// The log at `url`, `https://log2025-1.rekor.sigstore.dev` for instance.
    ///
    /// # Errors
    /// The URL is none of a service.
    pub fn new(url: &str, client: Client) -> Result<Self, Fault> {
        Ok(Self { url: http::service_url(url)?, client })
    }
}

#[async_trait]
impl SignatureLog for RekorV2 {
    fn url(&self) -> &str {
        self.url.as_str()
    }

    async fn upload(&self, submission: &LogSubmission) -> Result<LogEntry, Fault> {
        let body = request(self.url(), submission)?.to_string();
        let url = http::below(&self.url, "api/v2/log/entries");
        let request = Request::post(url, "application/json", body).accept("application/json");
        let answer = self.client.send(request).await?.success()?;
        let entry = LogEntry::from_json(&answer.body).map_err(|e| answer.malformed(e))?;
        about(&answer, entry, submission)
    }
}

fn request(log: &str, submission: &LogSubmission) -> Result<Value, Fault> {
    let key = key_of(log, &submission.verifier)?;
    refuse_ed25519(log, &key)?;
    let digest = digest(log, submission, &key)?;
    let details = key_details(key.algorithm(), digest.algorithm()).ok_or_else(|| {
        let (key, hash) = (key.algorithm(), digest.algorithm().name());
        let detail = format!("this kind of log has no name for a {key:?} key with {hash}");
        Fault::new(FaultKind::Unsupported, log, detail)
    })?;
    let mut verifier = match &submission.verifier {
        SubmittedVerifier::Key(key) => json!({ "publicKey": { "rawBytes": b64(key.spki_der()) } }),
        SubmittedVerifier::Certificate(der) => {
            json!({ "x509Certificate": { "rawBytes": b64(der) } })
        }
    };
    verifier["keyDetails"] = details.into();
    let digest = hex::decode(digest.hex()).map_err(|e| unusable(log, e.to_string()))?;
    let signature = json!({ "content": b64(&submission.signature), "verifier": verifier });
    let entry = json!({ "digest": b64(&digest), "signature": signature });
    Ok(json!({ "hashedRekordRequestV002": entry }))
}

/// The digest that was signed.
fn digest(log: &str, submission: &LogSubmission, key: &PublicKey) -> Result<Digest, Fault> {
    match &submission.content {
        SubmittedContent::Message(digest) => Ok(digest.clone()),
        SubmittedContent::Envelope(envelope) => {
            if envelope.signatures.as_slice() != [submission.signature.as_slice()] {
                return Err(unusable(log, "an envelope with other signatures".to_owned()));
            }
            let hash = key.default_hash().digest().unwrap_or(Algorithm::Sha256);
            Ok(Digest::with(hash, &envelope.pae()))
        }
    }
}

/// The name that protobuf-specs (`PublicKeyDetails`) gives a key with a hash.
fn key_details(key: KeyAlgorithm, hash: Algorithm) -> Option<&'static str> {
    use Algorithm::{Sha256, Sha384, Sha512};
    Some(match (key, hash) {
        (KeyAlgorithm::EcdsaP256, Sha256) => "PKIX_ECDSA_P256_SHA_256",
        (KeyAlgorithm::EcdsaP384, Sha384) => "PKIX_ECDSA_P384_SHA_384",
        (KeyAlgorithm::EcdsaP384, Sha256) => "PKIX_ECDSA_P384_SHA_256",
        (KeyAlgorithm::EcdsaP521, Sha512) => "PKIX_ECDSA_P521_SHA_512",
        (KeyAlgorithm::EcdsaP521, Sha256) => "PKIX_ECDSA_P521_SHA_256",
        (KeyAlgorithm::Rsa { bits: 2048 }, Sha256) => "PKIX_RSA_PKCS1V15_2048_SHA256",
        (KeyAlgorithm::Rsa { bits: 3072 }, Sha256) => "PKIX_RSA_PKCS1V15_3072_SHA256",
        (KeyAlgorithm::Rsa { bits: 4096 }, Sha256) => "PKIX_RSA_PKCS1V15_4096_SHA256",
        _ => return None,
    })
}
