//! Pending signatures: made, and not yet uploaded to every transparency log or not yet stored.
//!
//! Timestamps come first, because they are published nowhere and because a log entry may need one.
//! Then the pending signature is verified; only then it is uploaded to the logs. The URL of a log
//! that failed stays in [`PendingBundle::missing_logs`], so that the upload can be resumed.

use std::collections::BTreeMap;

use futures::future;
use sealgate_core::bundle::{Bundle, Content, LogEntry, LogMaterial, Version};
use sealgate_core::certificate::pem;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::Reference;
use sealgate_core::reject::{Document, Reject};

use super::verification_key::VerificationKey;
use crate::annotation;
use crate::failure::Failure;
use crate::ports::{LogSubmission, SubmittedContent};
use crate::transparency::TransparencyServices;

/// The pending signatures of one signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingSignatures {
    /// The key that verifies them.
    pub verification_key: VerificationKey,
    /// The signed artifacts.
    pub artifacts: PendingArtifacts,
}

/// The artifacts of pending signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingArtifacts {
    /// Images.
    Images(Vec<PendingImage>),
    /// A blob.
    Blob(Box<PendingBundle>),
}

/// The pending signatures of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingImage {
    /// The image, with the digest that was signed.
    pub reference: Reference,
    /// Its manifest.
    pub subject: Descriptor,
    /// The bundle, if bundles are written.
    pub bundle: Option<PendingBundle>,
    /// The legacy signature, if legacy signatures are written.
    pub legacy: Option<PendingLegacy>,
}

/// A pending legacy signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingLegacy {
    /// The SimpleSigning payload.
    pub payload: Vec<u8>,
    /// The signature over it, with its certificate, timestamps and log entries, as a bundle.
    pub bundle: PendingBundle,
}

/// A bundle that lacks log entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingBundle {
    /// The bundle with the timestamps and log entries so far.
    pub bundle: Bundle,
    /// The URLs of the logs that have no entry of it yet.
    pub missing_logs: Vec<String>,
}

impl PendingSignatures {
    /// The URLs of the logs that lack an entry, each once.
    pub fn missing_logs(&self) -> Vec<String> {
        let mut missing: Vec<_> =
            self.bundles().flat_map(|pending| pending.missing_logs.clone()).collect();
        missing.sort();
        missing.dedup();
        missing
    }

    /// True if every signature has a timestamp of a timestamp authority.
    pub fn is_timestamped(&self) -> bool {
        self.bundles().all(|pending| !pending.bundle.log.timestamps.is_empty())
    }

    fn bundles(&self) -> Box<dyn Iterator<Item = &PendingBundle> + '_> {
        match &self.artifacts {
            PendingArtifacts::Images(images) => {
                Box::new(images.iter().flat_map(PendingImage::bundles))
            }
            PendingArtifacts::Blob(blob) => Box::new(std::iter::once(&**blob)),
        }
    }
}

impl PendingImage {
    /// The bundles of both formats.
    fn bundles(&self) -> impl Iterator<Item = &PendingBundle> {
        self.bundle.iter().chain(self.legacy.as_ref().map(|legacy| &legacy.bundle))
    }

    pub(super) fn bundles_mut(&mut self) -> impl Iterator<Item = &mut PendingBundle> {
        let legacy = self.legacy.as_mut().map(|legacy| &mut legacy.bundle);
        self.bundle.as_mut().into_iter().chain(legacy)
    }
}

impl PendingLegacy {
    /// The annotations of the legacy layer. They can hold an entry of a Rekor v1 log only, whose
    /// signed entry timestamp is their proof of inclusion.
    pub(super) fn annotations(
        &self,
        key: &VerificationKey,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let Bundle { log, content, .. } = &self.bundle.bundle;
        let (entry, timestamp) = log.to_annotations();
        if entry.is_empty() && !log.entries.is_empty() {
            let text = "the legacy format cannot hold an entry of a Rekor v2 log: write a bundle, \
                        or sign with a Rekor v1 log";
            return Err(Failure::Invalid(text.to_owned()));
        }
        let signature = annotation::base64(signature(content)?);
        let mut annotations = BTreeMap::from([(annotation::SIGNATURE.to_owned(), signature)]);
        if let Some((leaf, chain)) = key.certificates().split_first() {
            annotations.insert(annotation::CERTIFICATE.to_owned(), pem::write(leaf));
            let chain = chain.iter().map(|der| pem::write(der)).collect();
            annotations.insert(annotation::CHAIN.to_owned(), chain);
        }
        let proofs = [(annotation::BUNDLE, entry), (annotation::TIMESTAMP, timestamp)];
        let proofs = proofs.into_iter().filter(|(_, text)| !text.is_empty());
        annotations.extend(proofs.map(|(name, text)| (name.to_owned(), text)));
        Ok(annotations)
    }
}

impl PendingBundle {
    /// A bundle of version 0.3 without timestamps and log entries.
    pub fn new(content: Content, key: &VerificationKey, services: &TransparencyServices) -> Self {
        let (version, log) = (Version::V03, LogMaterial::default());
        let bundle = Bundle { version, material: key.material(), log, content };
        let missing_logs = services.logs.iter().map(|log| log.url().to_owned()).collect();
        Self { bundle, missing_logs }
    }

    /// Requests a timestamp from every authority, unless there are timestamps already.
    pub(crate) async fn timestamp(
        &mut self,
        services: &TransparencyServices,
    ) -> Result<(), Failure> {
        if !self.bundle.log.timestamps.is_empty() {
            return Ok(());
        }
        let signature = signature(&self.bundle.content)?.to_vec();
        let timestamps = services.timestamps.iter().map(|tsa| tsa.timestamp(&signature));
        self.bundle.log.timestamps = future::try_join_all(timestamps).await?;
        Ok(())
    }

    /// Uploads the signature to every log that has no entry of it. Logs that fail stay in
    /// `missing_logs`; the first fault is returned.
    pub(crate) async fn upload(
        &mut self,
        key: &VerificationKey,
        services: &TransparencyServices,
    ) -> Result<(), Fault> {
        let submission = &submission(&self.bundle.content, key)
            .map_err(|reject| Fault::new(FaultKind::Config, "bundle", reject.to_string()))?;
        let uploads = self.missing_logs.iter().map(async |url| -> Result<LogEntry, Fault> {
            let log = services.logs.iter().find(|log| log.url() == url);
            log.ok_or_else(|| unknown(url))?.upload(submission).await
        });
        let answers = future::join_all(uploads).await;
        let mut first = None;
        let mut missing = Vec::new();
        for (url, answer) in self.missing_logs.drain(..).zip(answers) {
            match answer {
                Ok(entry) => self.bundle.log.entries.push(entry),
                Err(fault) => {
                    missing.push(url);
                    first = first.or(Some(fault));
                }
            }
        }
        self.missing_logs = missing;
        first.map_or(Ok(()), Err)
    }
}

fn unknown(url: &str) -> Fault {
    let detail = "the signature must be uploaded to this log, which is not among those given";
    Fault::new(FaultKind::Config, url, detail)
}

/// The bytes of a bundle's one signature.
pub(crate) fn signature(content: &Content) -> Result<&[u8], Reject> {
    match content {
        Content::Message(message) => Ok(&message.signature),
        Content::Envelope(envelope) => envelope
            .signatures
            .first()
            .map(Vec::as_slice)
            .ok_or(Reject::MissingSignature(Document::Bundle)),
    }
}

fn submission(content: &Content, key: &VerificationKey) -> Result<LogSubmission, Reject> {
    let submitted = match content {
        Content::Envelope(envelope) => SubmittedContent::Envelope(envelope.clone()),
        Content::Message(message) => {
            let digest = message.digest.clone().ok_or(Reject::MessageDigest)?;
            SubmittedContent::Message(digest)
        }
    };
    let signature = signature(content)?.to_vec();
    Ok(LogSubmission { signature, content: submitted, verifier: key.submitted() })
}
