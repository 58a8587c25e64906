//! Rekor v2 (tile-based): entries with an inclusion proof and no time.
//!
//! Envelopes are submitted as `hashedrekord` too, by the digest of the bytes that were signed:
//! today's servers accept no other kind.

use async_trait::async_trait;
use reqwest::StatusCode;
use sealgate_core::bundle::LogEntry;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::{HashAlgorithm, PublicKey, SignatureAlgorithm, SignatureScheme};
use sealgate_engine::ports::{LogSubmission, SignatureLog, SubmittedContent, SubmittedVerifier};
use serde_json::{Value, json};
use url::Url;

use super::{about, b64, key_of, refuse_ed25519, unusable};
use crate::http::{self, Client, Request, ServiceResponse};

/// Rekor v2 instance: `hashedrekord` 0.0.2 entries for messages and envelopes.
#[derive(Clone, Debug)]
pub struct RekorV2 {
    url: Url,
    client: Client,
}

/// Key algorithms known to Rekor, but not accepted by default.
const NOT_ACCEPTED_BY_DEFAULT: [&str; 2] = ["PKIX_ECDSA_P384_SHA_256", "PKIX_ECDSA_P521_SHA_256"];

/// Proposed entry.
struct Proposed {
    /// Key algorithm and hash, by their name in protobuf-specs.
    details: &'static str,
    body: Value,
}

impl RekorV2 {
    /// Client for the log at `url`, such as `https://log2025-1.rekor.sigstore.dev`.
    ///
    /// # Errors
    /// An error if the URL is not a valid service URL.
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
        let proposed = Proposed::new(self.url(), submission)?;
        let url = http::below(&self.url, "api/v2/log/entries");
        let body = proposed.body.to_string();
        let request = Request::post(url, "application/json", body).accept("application/json");
        let answer = self.client.send(request).await?;
        if !answer.status.is_success() {
            return Err(proposed.refusal(&answer));
        }
        let entry = LogEntry::from_json(&answer.body).map_err(|e| answer.malformed(e))?;
        about(&answer, entry, submission)
    }
}

impl Proposed {
    fn new(log: &str, submission: &LogSubmission) -> Result<Self, Fault> {
        let key = key_of(log, &submission.verifier)?;
        refuse_ed25519(log, &key)?;
        let digest = digest(log, submission, &key)?;
        let scheme = SignatureScheme::Hashed(digest.algorithm().into());
        let algorithm = SignatureAlgorithm { key: key.algorithm(), scheme };
        let details = algorithm.key_details().ok_or_else(|| {
            let (key, hash) = (key.algorithm(), digest.algorithm().name());
            let detail = format!("Rekor v2 does not support a {key:?} key with {hash}");
            Fault::new(FaultKind::Unsupported, log, detail)
        })?;
        let mut verifier = match &submission.verifier {
            SubmittedVerifier::Key(key) => {
                json!({ "publicKey": { "rawBytes": b64(key.spki_der()) } })
            }
            SubmittedVerifier::Certificate(der) => {
                json!({ "x509Certificate": { "rawBytes": b64(der) } })
            }
        };
        verifier["keyDetails"] = details.into();
        let digest = hex::decode(digest.hex()).map_err(|e| unusable(log, e.to_string()))?;
        let signature = json!({ "content": b64(&submission.signature), "verifier": verifier });
        let entry = json!({ "digest": b64(&digest), "signature": signature });
        Ok(Self { details, body: json!({ "hashedRekordRequestV002": entry }) })
    }

    /// Fault for a refusal, with advice where the log gives none.
    fn refusal(&self, answer: &ServiceResponse) -> Fault {
        let mut fault = answer.fault();
        match answer.status {
            // The proof is returned only to the first submission; the tiles do not name the log's
            // key.
            StatusCode::CONFLICT => {
                fault.detail.push_str("; its proof is returned only once: sign again");
            }
            StatusCode::BAD_REQUEST if NOT_ACCEPTED_BY_DEFAULT.contains(&self.details) => {
                fault.detail.push_str(
                    "; Rekor v2 usually refuses SHA-256 with a P-384 or P-521 key: sign with a \
                     P-256 key",
                );
            }
            _ => {}
        }
        fault
    }
}

/// Digest of the signed bytes.
fn digest(log: &str, submission: &LogSubmission, key: &PublicKey) -> Result<Digest, Fault> {
    match &submission.content {
        SubmittedContent::Message(digest) => Ok(digest.clone()),
        SubmittedContent::Envelope(envelope) => {
            if envelope.signatures.as_slice() != [submission.signature.as_slice()] {
                return Err(unusable(log, "the envelope has other signatures".to_owned()));
            }
            let pae = envelope.pae();
            let hash = key.hash_of(&pae, &submission.signature).and_then(HashAlgorithm::digest);
            let hash = hash
                .ok_or_else(|| unusable(log, "the signature does not match the key".to_owned()))?;
            Ok(Digest::with(hash, &pae))
        }
    }
}
