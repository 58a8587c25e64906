//! Proofs that accompany a signature: certificates say whose key it was, timestamp authorities
//! when, transparency logs that everybody may know.
//!
//! A [`Draft`] is a bundle on its way. Timestamps come first, because they are published nowhere
//! and because a log entry may need one; then our own verifier looks at the draft; only then the
//! logs are told. What a log did not take stays in the draft, to be finished later.

use std::sync::Arc;

use futures::future;
use sealgate_core::bundle::{
    Bundle, Content, LogEntry, LogMaterial, VerificationMaterial, Version, key_hint,
};
use sealgate_core::certificate::Unverified;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::identity::{IdentityAuthority, IdentityMatcher, Wanted};
use sealgate_core::key::{HashAlgorithm, PublicKey};
use sealgate_core::reject::{Document, Reject};
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::{
    Authority, KeyAuthority, Override, Overrides, RootSource, TrustConfig, VerificationContext,
};

use crate::failure::Failure;
use crate::ports::{
    CertificateIssuer, IdentityToken, LogSubmission, SignatureLog, Signer, SubmittedContent,
    SubmittedVerifier, TimestampAuthority,
};

/// Who has signed: a key, and the certificates that say whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatory {
    key: PublicKey,
    certificates: Vec<Vec<u8>>,
}

/// The services that timestamp and publish a signature, and the trust root that our verifier checks the result with.
#[derive(Clone, Default)]
pub struct TransparencyServices {
    /// All of them sign the time.
    pub timestamps: Vec<Arc<dyn TimestampAuthority>>,
    /// All of them take the signature.
    pub logs: Vec<Arc<dyn SignatureLog>>,
    /// Whom to believe. Without one only the signature itself is checked before it is written.
    pub root: Option<Arc<TrustRoot>>,
    /// What to ask of certificate logs; unsaid: a promise, if the trust root knows such a log.
    pub sct: Override,
    /// The time, in seconds since 1970.
    pub now: i64,
}

/// A bundle on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// As far as it is made.
    pub bundle: Bundle,
    /// The addresses of the logs that have not taken it yet.
    pub missing: Vec<String>,
}

impl Signatory {
    /// Somebody who is known by a key.
    pub fn of_key(key: PublicKey) -> Self {
        Self { key, certificates: Vec::new() }
    }

    /// Somebody whose key is certified; DER, leaf first.
    ///
    /// # Errors
    /// The first certificate cannot be read, or is of another key.
    pub fn certified(key: PublicKey, certificates: Vec<Vec<u8>>) -> Result<Self, Failure> {
        let leaf = certificates.first().ok_or(Reject::NoCertificate)?;
        if Unverified::read(leaf)?.key() != &key {
            let text = "public key in certificate does not match the provided public key";
            return Err(Failure::Invalid(text.to_owned()));
        }
        Ok(Self { key, certificates })
    }

    /// Asks `issuer` for a certificate of the signer's key in the name that `token` gives.
    ///
    /// # Errors
    /// It gives none, or one of another key.
    pub async fn issued(
        signer: &dyn Signer,
        issuer: &dyn CertificateIssuer,
        token: &IdentityToken,
    ) -> Result<Self, Failure> {
        let certificates = issuer.certify(signer, token).await?;
        Self::certified(signer.public_key().clone(), certificates)
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its certificates, DER, leaf first; empty where only the key is known.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// What its certificate says, not believed.
    pub fn certificate(&self) -> Option<Unverified> {
        self.certificates.first().and_then(|der| Unverified::read(der).ok())
    }

    fn material(&self) -> VerificationMaterial {
        match self.certificates.first() {
            Some(leaf) => VerificationMaterial::Certificate(leaf.clone()),
            None => VerificationMaterial::PublicKey { hint: key_hint(&self.key) },
        }
    }

    fn verifier(&self) -> SubmittedVerifier {
        match self.certificates.first() {
            Some(leaf) => SubmittedVerifier::Certificate(leaf.clone()),
            None => SubmittedVerifier::Key(self.key.clone()),
        }
    }

    /// Just this signer: the names in its certificate, or its key.
    fn authority(&self) -> Result<Authority, Failure> {
        let Some(leaf) = self.certificates.first() else { return Ok(self.by_key()) };
        let identity = Unverified::read(leaf)?.identity().clone();
        let subject = identity.subjects.first().ok_or(Reject::NoSubjectName)?;
        let matcher = IdentityMatcher {
            issuer: identity.issuer.map(Wanted::Exactly),
            subject: Some(Wanted::Exactly(subject.to_string())),
            claims: identity.claims,
        };
        Ok(IdentityAuthority { identities: vec![matcher] }.into())
    }

    fn by_key(&self) -> Authority {
        KeyAuthority { keys: vec![self.key.clone()], hash: None }.into()
    }

    /// The digest of `content` by the hash that `signature` was made over.
    pub(crate) fn signed_digest(&self, content: &[u8], signature: &[u8]) -> Digest {
        let fits = |hash: &HashAlgorithm| self.key.verify(content, signature, Some(*hash)).is_ok();
        let hash = self.key.hashes(None).into_iter().find(fits);
        let algorithm = hash.and_then(HashAlgorithm::digest).unwrap_or(Algorithm::Sha256);
        Digest::with(algorithm, content)
    }
}

impl TransparencyServices {
    /// Nobody: the signature stands alone.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether our verifier can judge more than the signature itself.
    fn root_for(&self, signatory: &Signatory) -> Option<&Arc<TrustRoot>> {
        let vouched = !signatory.certificates.is_empty()
            || !self.logs.is_empty()
            || !self.timestamps.is_empty();
        self.root.as_ref().filter(|_| vouched)
    }

    fn trust_config(&self, root: &Arc<TrustRoot>, log: Override) -> TrustConfig {
        let wished = |is: bool| if is { Override::Required } else { Override::Unset };
        let sct = match self.sct {
            Override::Unset if root.ct_logs.is_empty() => Override::Ignored,
            other => other,
        };
        let timestamp = wished(!self.timestamps.is_empty());
        let overrides = Overrides { log, timestamp, sct, ..Overrides::default() };
        TrustConfig { root: Some(root.clone()), source: RootSource::Configured, overrides }
    }
}

/// What our verifier judges a draft with, before it is written.
pub(crate) struct DraftVerifier<'a> {
    authority: Authority,
    trust_config: Option<TrustConfig>,
    signatory: &'a Signatory,
    now: i64,
}

impl<'a> DraftVerifier<'a> {
    /// `log`: whether the logs were told yet.
    pub(crate) fn new(
        signatory: &'a Signatory,
        transparency: &TransparencyServices,
        log: Override,
    ) -> Result<Self, Failure> {
        let root = transparency.root_for(signatory);
        let authority = match root {
            Some(_) => signatory.authority()?,
            None => signatory.by_key(),
        };
        let trust_config = root.map(|root| transparency.trust_config(root, log));
        Ok(Self { authority, trust_config, signatory, now: transparency.now })
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn trust(&self) -> VerificationContext<'_> {
        match &self.trust_config {
            Some(trust_config) => trust_config.trust(&self.authority, self.now),
            None => VerificationContext::none(),
        }
    }

    /// The bundle as this authority reads it: without a trust root only the key can be checked,
    /// in a bundle that names it.
    pub(crate) fn readable(&self, bundle: &Bundle) -> Bundle {
        let mut bundle = bundle.clone();
        if self.trust_config.is_none() {
            bundle.material = Signatory::of_key(self.signatory.key.clone()).material();
        }
        bundle
    }
}

impl Draft {
    /// A bundle of version 0.3 without log entries and timestamps.
    pub fn new(
        content: Content,
        signatory: &Signatory,
        transparency: &TransparencyServices,
    ) -> Self {
        let (version, log) = (Version::V03, LogMaterial::default());
        let material = signatory.material();
        let bundle = Bundle { version, material, log, content };
        let missing = transparency.logs.iter().map(|log| log.url().to_owned()).collect();
        Self { bundle, missing }
    }

    /// Lets all authorities sign the time, unless that was done before.
    pub(crate) async fn stamp(
        &mut self,
        transparency: &TransparencyServices,
    ) -> Result<(), Failure> {
        if !self.bundle.log.timestamps.is_empty() {
            return Ok(());
        }
        let signature = signature(&self.bundle.content)?.to_vec();
        let stamps = transparency.timestamps.iter().map(|tsa| tsa.timestamp(&signature));
        self.bundle.log.timestamps = future::try_join_all(stamps).await?;
        Ok(())
    }

    /// Tells all logs that have not taken it. What they did not take stays in `missing`; the
    /// first fault is returned.
    pub(crate) async fn log(
        &mut self,
        signatory: &Signatory,
        transparency: &TransparencyServices,
    ) -> Result<(), Fault> {
        let submission = &submission(&self.bundle.content, signatory)
            .map_err(|reject| Fault::new(FaultKind::Config, "bundle", reject.to_string()))?;
        let asked = self.missing.iter().map(async |url| -> Result<LogEntry, Fault> {
            let log = transparency.logs.iter().find(|log| log.url() == url);
            log.ok_or_else(|| unknown(url))?.upload(submission).await
        });
        let answers = future::join_all(asked).await;
        let mut first = None;
        let mut missing = Vec::new();
        for (url, answer) in self.missing.drain(..).zip(answers) {
            match answer {
                Ok(entry) => self.bundle.log.entries.push(entry),
                Err(fault) => {
                    missing.push(url);
                    first = first.or(Some(fault));
                }
            }
        }
        self.missing = missing;
        first.map_or(Ok(()), Err)
    }
}

impl TransparencyServices {
    /// What would be published must have a chance to be accepted afterwards.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let knows_none = |root: &Arc<TrustRoot>| root.transparency_logs.is_empty();
        if !self.logs.is_empty() && self.root.as_ref().is_some_and(knows_none) {
            let text = "the trust root names no transparency log that could be believed, so the \
                        log's proof could not be verified: give a trust root that does, or sign \
                        without a log";
            return Err(Failure::Invalid(text.to_owned()));
        }
        Ok(())
    }

    /// Whether a log's proof is to be in what is written.
    pub(crate) fn log_override(&self) -> Override {
        if self.logs.is_empty() { Override::Ignored } else { Override::Required }
    }
}

fn unknown(url: &str) -> Fault {
    let detail = "this log is to be told, and no such log was given";
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

fn submission(content: &Content, signatory: &Signatory) -> Result<LogSubmission, Reject> {
    let told = match content {
        Content::Envelope(envelope) => SubmittedContent::Envelope(envelope.clone()),
        Content::Message(message) => {
            let digest = message.digest.clone().ok_or(Reject::MessageDigest)?;
            SubmittedContent::Message(digest)
        }
    };
    let signature = signature(content)?.to_vec();
    Ok(LogSubmission { signature, content: told, verifier: signatory.verifier() })
}
