//! Rekor v1: entries with a signed entry timestamp (inclusion promise) and a time.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::StatusCode;
use reqwest::header::LOCATION;
use sealgate_core::base64;
use sealgate_core::bundle::{InclusionProof, LogEntry};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::log::Body;
use sealgate_engine::ports::{LogSubmission, SignatureLog, SubmittedContent};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{about, b64, key_of, refuse_ed25519, unusable, verifier_pem};
use crate::http::{self, Client, Request, ServiceResponse};

/// Maximum length of an inclusion proof: a log cannot have more than 2^64 leaves.
const MAX_HASHES: usize = 64;

/// Rekor v1 instance: `hashedrekord` 0.0.1 entries for messages, `dsse` 0.0.1 for envelopes.
#[derive(Clone, Debug)]
pub struct RekorV1 {
    url: Url,
    client: Client,
}

/// Log entry in Rekor's JSON, under its identifier in a map.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryDocument {
    body: String,
    integrated_time: i64,
    #[serde(rename = "logID")]
    log_id: String,
    log_index: i64,
    verification: Verification,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    #[serde(default)]
    signed_entry_timestamp: Option<String>,
    #[serde(default)]
    inclusion_proof: Option<ProofDocument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProofDocument {
    log_index: i64,
    root_hash: String,
    tree_size: i64,
    #[serde(default)]
    hashes: Vec<String>,
    #[serde(default)]
    checkpoint: String,
}

impl RekorV1 {
    /// Client for the log at `url`, such as `https://rekor.sigstore.dev`.
    ///
    /// # Errors
    /// An error if the URL is not a valid service URL.
    pub fn new(url: &str, client: Client) -> Result<Self, Fault> {
        Ok(Self { url: http::service_url(url)?, client })
    }

    /// Entry at `index`, with the log's current proofs.
    ///
    /// # Errors
    /// An error if there is no such entry, or the log cannot be reached.
    pub async fn entry_at(&self, index: i64) -> Result<LogEntry, Fault> {
        let mut url = http::below(&self.url, "api/v1/log/entries");
        url.query_pairs_mut().append_pair("logIndex", &index.to_string());
        let answer = self.client.send(Request::get(url).accept("application/json")).await?;
        let answer = answer.success()?;
        let mut entry = entry(&answer)?;
        let body = Body::parse(&entry.body).map_err(|reject| answer.malformed(reject))?;
        entry.kind = body.kind().to_owned();
        entry.version = body.version().to_owned();
        Ok(entry)
    }

    fn request(&self, submission: &LogSubmission) -> Result<Request, Fault> {
        let proposed = proposed(self.url(), submission)?;
        let url = http::below(&self.url, "api/v1/log/entries");
        Ok(Request::post(url, "application/json", proposed.to_string()).accept("application/json"))
    }

    /// Existing entry, from the location given in the conflict response.
    async fn existing(&self, conflict: &ServiceResponse) -> Result<ServiceResponse, Fault> {
        let place = conflict.headers.get(LOCATION).and_then(|place| place.to_str().ok());
        let place = place.and_then(|place| self.url.join(place).ok());
        let Some(place) = place.filter(|place| place.origin() == self.url.origin()) else {
            let detail = "the log already has this entry, but did not return its location";
            return Err(Fault::new(FaultKind::Malformed, self.url(), detail));
        };
        self.client.send(Request::get(place).accept("application/json")).await?.success()
    }
}

#[async_trait]
impl SignatureLog for RekorV1 {
    fn url(&self) -> &str {
        self.url.as_str()
    }

    async fn upload(&self, submission: &LogSubmission) -> Result<LogEntry, Fault> {
        let mut answer = self.client.send(self.request(submission)?).await?;
        if answer.status == StatusCode::CONFLICT {
            answer = self.existing(&answer).await?;
        }
        let answer = answer.success()?;
        about(&answer, entry(&answer)?, submission)
    }
}

/// Proposed entry.
fn proposed(log: &str, submission: &LogSubmission) -> Result<Value, Fault> {
    let verifier = b64(verifier_pem(log, &submission.verifier)?.as_bytes());
    let (kind, spec) = match &submission.content {
        SubmittedContent::Message(digest) => {
            refuse_ed25519(log, &key_of(log, &submission.verifier)?)?;
            let hash = json!({ "algorithm": digest.algorithm().name(), "value": digest.hex() });
            let signature = json!({
                "content": b64(&submission.signature),
                "publicKey": { "content": verifier },
            });
            ("hashedrekord", json!({ "data": { "hash": hash }, "signature": signature }))
        }
        SubmittedContent::Envelope(envelope) => {
            if envelope.signatures.as_slice() != [submission.signature.as_slice()] {
                return Err(unusable(log, "the envelope has other signatures".to_owned()));
            }
            let content = json!({ "envelope": envelope.to_json(), "verifiers": [verifier] });
            ("dsse", json!({ "proposedContent": content }))
        }
    };
    Ok(json!({ "apiVersion": "0.0.1", "kind": kind, "spec": spec }))
}

/// The only entry of a response.
fn entry(answer: &ServiceResponse) -> Result<LogEntry, Fault> {
    let entries: BTreeMap<String, EntryDocument> =
        serde_json::from_slice(&answer.body).map_err(|error| answer.malformed(error))?;
    let mut entries = entries.into_values();
    let (Some(entry), None) = (entries.next(), entries.next()) else {
        return Err(answer.malformed("expected exactly one entry"));
    };
    let base64 = |text: &str| base64::decode(text).map_err(|e| answer.malformed(e));
    let set = entry.verification.signed_entry_timestamp.as_deref();
    let proof = entry.verification.inclusion_proof;
    Ok(LogEntry {
        log_index: entry.log_index,
        log_id: hex::decode(&entry.log_id).map_err(|error| answer.malformed(error))?,
        integrated_time: entry.integrated_time,
        signed_entry_timestamp: set.map(base64).transpose()?,
        proof: proof.map(|proof| inclusion_proof(answer, proof)).transpose()?,
        body: base64(&entry.body)?,
        ..LogEntry::default()
    })
}

fn inclusion_proof(
    answer: &ServiceResponse,
    proof: ProofDocument,
) -> Result<InclusionProof, Fault> {
    if proof.hashes.len() > MAX_HASHES {
        return Err(answer.malformed("an inclusion proof of more than 64 hashes"));
    }
    let hex = |text: &String| hex::decode(text).map_err(|error| answer.malformed(error));
    Ok(InclusionProof {
        log_index: proof.log_index,
        root_hash: hex(&proof.root_hash)?,
        tree_size: proof.tree_size,
        hashes: proof.hashes.iter().map(hex).collect::<Result<_, _>>()?,
        checkpoint: proof.checkpoint,
    })
}
