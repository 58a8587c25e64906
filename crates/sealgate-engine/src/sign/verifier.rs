//! The verification of pending signatures, by the same verifier that `verify` uses: a log entry
//! cannot be taken back, and a signature that is stored must be one that verifies.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealgate_core::bundle::Bundle;
use sealgate_core::evidence::{BundleBytes, Evidence, LegacySignature, Origin};
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::{
    Artifact, Authority, BlobSignature, Candidate, ClaimComparison, ImageSignatureRequirement,
    Override, Overrides, Requirement, RootSource, SubjectRequirement, TrustConfig, verify,
};

use super::pending::{PendingBundle, PendingImage};
use super::verification_key::VerificationKey;
use crate::failure::Failure;
use crate::transparency::TransparencyServices;

/// The stage at which pending signatures are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before the upload to the logs: log entries are not required.
    BeforeUpload,
    /// After it: log entries are required where there are logs.
    AfterUpload,
}

/// A verifier that accepts one signer, with the proofs that its services give.
pub(crate) struct PendingVerifier<'a> {
    authority: Authority,
    trust_config: TrustConfig,
    key: &'a VerificationKey,
    now: i64,
}

impl<'a> PendingVerifier<'a> {
    /// Without a trust root only the key is verified.
    pub(crate) fn new(
        key: &'a VerificationKey,
        services: &TransparencyServices,
        stage: Stage,
    ) -> Result<Self, Failure> {
        let root = root(key, services);
        let authority = match root {
            Some(_) => key.authority()?,
            None => key.key_authority(),
        };
        let trust_config =
            root.map_or_else(TrustConfig::default, |root| trust_config(root, services, stage));
        Ok(Self { authority, trust_config, key, now: services.now })
    }

    /// Verifies the signatures of an image, with the annotations that were signed.
    pub(super) fn verify_image(
        &self,
        image: &PendingImage,
        annotations: &BTreeMap<String, String>,
    ) -> Result<(), Failure> {
        let requirement = ImageSignatureRequirement {
            digest: image.subject.digest.clone(),
            annotations: annotations.clone(),
            claims: ClaimComparison::Checked,
        };
        let subject = SubjectRequirement::ImageSignature(&requirement);
        let repository = image.reference.repository().to_string();
        let origin = Origin { repository, manifest: None, layer: None };
        if let Some(pending) = &image.bundle {
            let json = self.readable(&pending.bundle).to_json().into_bytes();
            let evidence =
                Evidence::Bundle(BundleBytes { origin: origin.clone(), json: json.into() });
            self.verify(&evidence, subject)?;
        }
        if let Some(legacy) = &image.legacy {
            let (payload, annotations) = (legacy.payload.clone(), legacy.annotations(self.key)?);
            let evidence =
                Evidence::Legacy(LegacySignature { origin, payload: payload.into(), annotations });
            self.verify(&evidence, subject)?;
        }
        Ok(())
    }

    /// Verifies the signature of a blob.
    pub(crate) fn verify_blob(
        &self,
        pending: &PendingBundle,
        artifact: Artifact<'_>,
    ) -> Result<(), Failure> {
        let json = self.readable(&pending.bundle).to_json();
        let evidence = BlobSignature::Bundle(json.as_bytes());
        self.verify(evidence, SubjectRequirement::Blob(artifact))
    }

    fn verify<'e>(
        &self,
        evidence: impl Into<Candidate<'e>>,
        subject: SubjectRequirement<'_>,
    ) -> Result<(), Failure> {
        let requirement = Requirement { authority: &self.authority, subject };
        verify(evidence, &requirement, &self.trust_config.context(&self.authority, self.now))?;
        Ok(())
    }

    /// The bundle in the form that the authority reads: without a trust root the key is verified,
    /// and a bundle with a certificate names none.
    fn readable(&self, bundle: &Bundle) -> Bundle {
        let mut bundle = bundle.clone();
        if self.trust_config.root.is_none() {
            bundle.material = self.key.key_material();
        }
        bundle
    }
}

/// The trust root, where there is more to verify than the signature of a plain key.
fn root<'a>(
    key: &VerificationKey,
    services: &'a TransparencyServices,
) -> Option<&'a Arc<TrustRoot>> {
    let is_proven = !key.certificates().is_empty()
        || !services.logs.is_empty()
        || !services.timestamps.is_empty();
    services.root.as_ref().filter(|_| is_proven)
}

fn trust_config(
    root: &Arc<TrustRoot>,
    services: &TransparencyServices,
    stage: Stage,
) -> TrustConfig {
    let log = match stage {
        Stage::AfterUpload if !services.logs.is_empty() => Override::Required,
        _ => Override::Ignored,
    };
    let timestamp = match services.timestamps.is_empty() {
        true => Override::Unset,
        false => Override::Required,
    };
    let sct = match services.sct {
        Override::Unset if root.ct_logs.is_empty() => Override::Ignored,
        other => other,
    };
    let overrides = Overrides { log, timestamp, sct, ..Overrides::default() };
    TrustConfig { root: Some(root.clone().into()), source: RootSource::Configured, overrides }
}
