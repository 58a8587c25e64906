//! Rekor clients: submit a signature to the transparency log and return its entry.
//!
//! The response is checked only for being about the submission; `sealgate-core` verifies its
//! proofs.

mod v1;
mod v2;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::pem::LineEnding;
use der::{Decode, Encode};
use sealgate_core::bundle::LogEntry;
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::{KeyAlgorithm, PublicKey};
use sealgate_core::log::{Body, Logged, LoggedContent, Signer};
use sealgate_engine::ports::{LogSubmission, SubmittedContent, SubmittedVerifier};
use x509_cert::Certificate;

use crate::http::ServiceResponse;

pub use v1::RekorV1;
pub use v2::RekorV2;

fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// PEM of the verifier: a key or a certificate.
fn verifier_pem(log: &str, verifier: &SubmittedVerifier) -> Result<String, Fault> {
    match verifier {
        SubmittedVerifier::Key(key) => Ok(key.to_pem()),
        SubmittedVerifier::Certificate(der) => {
            der::pem::encode_string("CERTIFICATE", LineEnding::LF, der)
                .map_err(|error| unusable(log, format!("certificate: {error}")))
        }
    }
}

/// Public key of the verifier.
fn key_of(log: &str, verifier: &SubmittedVerifier) -> Result<PublicKey, Fault> {
    let der = match verifier {
        SubmittedVerifier::Key(key) => return Ok(key.clone()),
        SubmittedVerifier::Certificate(der) => der,
    };
    let bad = |error: der::Error| unusable(log, format!("certificate: {error}"));
    let certificate = Certificate::from_der(der).map_err(bad)?;
    let spki = certificate.tbs_certificate().subject_public_key_info().to_der().map_err(bad)?;
    PublicKey::from_spki_der(&spki).map_err(|error| unusable(log, error.to_string()))
}

/// Refuses Ed25519 for `hashedrekord`: the log verifies the signature, but gets only the digest.
fn refuse_ed25519(log: &str, key: &PublicKey) -> Result<(), Fault> {
    if key.algorithm() != KeyAlgorithm::Ed25519 {
        return Ok(());
    }
    let detail = "an Ed25519 signature covers the whole content, but this kind of log entry \
                  holds the digest only: sign with an ECDSA key, or without a transparency log";
    Err(Fault::new(FaultKind::Unsupported, log, detail))
}

fn unusable(log: &str, detail: String) -> Fault {
    Fault::new(FaultKind::Config, log, format!("cannot submit: {detail}"))
}

/// Checks that the returned entry is about the submission, and of the stated kind if one is stated.
/// Fills in the kind if it is missing.
fn about(
    answer: &ServiceResponse,
    mut entry: LogEntry,
    submission: &LogSubmission,
) -> Result<LogEntry, Fault> {
    let body = Body::parse(&entry.body).map_err(|reject| answer.malformed(reject))?;
    if entry.kind.is_empty() {
        entry.kind = body.kind().to_owned();
        entry.version = body.version().to_owned();
    }
    let signer = match &submission.verifier {
        SubmittedVerifier::Key(key) => Signer::Key(key),
        SubmittedVerifier::Certificate(der) => Signer::Certificate(der),
    };
    let digests: &[Digest];
    let content = match &submission.content {
        SubmittedContent::Message(digest) => {
            digests = std::slice::from_ref(digest);
            LoggedContent::Message(digests)
        }
        SubmittedContent::Envelope(envelope) => LoggedContent::Envelope { envelope, text: None },
    };
    let sent = Logged { signature: &submission.signature, signer, content };
    body.names(&sent).map_err(|reject| {
        answer.malformed(format!("the entry does not match the submission: {reject}"))
    })?;
    Ok(entry)
}

#[cfg(test)]
mod tests;
