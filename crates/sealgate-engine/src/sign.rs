//! The use case behind `sign`: resolves the images, makes the payloads and signs them, requests
//! timestamps, uploads to the transparency logs, and stores the signatures, in either format or
//! both.
//!
//! The signatures are verified twice: before the upload to the logs, which cannot be undone, and
//! again with the log entries before they are stored.

mod failure;
mod pending;
mod request;
mod signed;
mod store;
mod unfinished;
mod verification_key;
mod verifier;

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use sealgate_core::bundle::{Content, MessageSignature};
use sealgate_core::digest::Digest;
use sealgate_core::fault::Fault;
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Reference};
use sealgate_core::simple_signing::SimpleSigning;
use sealgate_core::{dsse, statement};

use crate::failure::Failure;
use crate::index;
use crate::pin;
use crate::ports::{Clock, RegistryWrite, Signer};
use crate::transparency::TransparencyServices;
use store::SignatureStore;

pub use failure::{SignFailure, Step, Unfinished};
pub use pending::{
    PendingArtifacts, PendingBundle, PendingImage, PendingLegacy, PendingSignatures,
};
pub use request::{Formats, SignRequest, Upload};
pub use signed::{SignedBundle, SignedImage, SignedLegacy};
pub use verification_key::VerificationKey;

pub(crate) use pending::signature;
pub(crate) use verifier::{PendingVerifier, Stage};

/// The signer, and the services that timestamp and publish its signatures.
#[derive(Clone, Copy)]
pub struct SigningParties<'a> {
    /// The private key.
    pub signer: &'a dyn Signer,
    /// Its public key, with the certificates.
    pub key: &'a VerificationKey,
    /// The timestamp authorities and transparency logs.
    pub transparency: &'a TransparencyServices,
}

/// A signing run without its private key, which is not needed to resume it.
#[derive(Clone, Copy)]
struct Signing<'a> {
    registry: &'a dyn RegistryWrite,
    key: &'a VerificationKey,
    transparency: &'a TransparencyServices,
    request: &'a SignRequest,
    now: Timestamp,
}

/// Signs `reference` with a plain key and without services, see [`sign_image_with`].
pub async fn sign_image(
    registry: &dyn RegistryWrite,
    reference: &Reference,
    signer: &dyn Signer,
    clock: &dyn Clock,
    request: &SignRequest,
) -> Result<Vec<SignedImage>, SignFailure> {
    let key = VerificationKey::plain(signer.public_key().clone());
    let transparency = TransparencyServices::none();
    let parties = SigningParties { signer, key: &key, transparency: &transparency };
    sign_image_with(registry, reference, parties, clock, request).await
}

/// Signs `reference`, and every manifest below it where the request is recursive: the image itself
/// comes first in the result. Everything is signed and timestamped first, then uploaded to the
/// logs, then stored; nothing is published or stored unless it verifies, and nothing is stored
/// unless all logs have accepted everything.
///
/// # Errors
/// [`SignFailure::Unfinished`] holds the signatures when a log or, after the logs, the registry
/// failed: [`resume`] continues from there.
pub async fn sign_image_with(
    registry: &dyn RegistryWrite,
    reference: &Reference,
    parties: SigningParties<'_>,
    clock: &dyn Clock,
    request: &SignRequest,
) -> Result<Vec<SignedImage>, SignFailure> {
    let SigningParties { signer, key, transparency } = parties;
    check_legacy(request.formats, transparency)?;
    let images = images(registry, reference, request).await?;
    let signing = Signing { registry, key, transparency, request, now: clock.now() };
    let pending = stream::iter(images)
        .map(async |(reference, subject)| signing.sign(signer, reference, subject).await)
        .buffered(request.limits.concurrent.max(1))
        .try_collect()
        .await?;
    signing.publish(pending).await
}

/// Resumes signing with the signatures of [`SignFailure::Unfinished`]: uploads to the logs that
/// lack an entry, and stores. The request decides how to store; the signatures stay as they are.
pub async fn resume(
    registry: &dyn RegistryWrite,
    signatures: PendingSignatures,
    transparency: &TransparencyServices,
    clock: &dyn Clock,
    request: &SignRequest,
) -> Result<Vec<SignedImage>, SignFailure> {
    let PendingSignatures { verification_key, artifacts } = signatures;
    let PendingArtifacts::Images(images) = artifacts else {
        let text = "the unfinished signature was made for a file, not an image";
        return Err(Failure::Invalid(text.to_owned()).into());
    };
    let key = &verification_key;
    let signing = Signing { registry, key, transparency, request, now: clock.now() };
    for image in &images {
        signing.verify(image, Stage::BeforeUpload)?;
    }
    signing.publish(images).await
}

/// The image, and every manifest below it where the request is recursive.
async fn images(
    registry: &dyn RegistryWrite,
    reference: &Reference,
    request: &SignRequest,
) -> Result<Vec<(Reference, Descriptor)>, Failure> {
    let pinned = pin::read(registry, reference).await?;
    let repository = reference.repository();
    let mut images = vec![(pinned.reference, pinned.descriptor)];
    if request.recursive {
        let root = &images[0].1.digest.clone();
        let below = index::descendants(registry, repository, root, &request.limits).await?;
        images.extend(below.into_iter().map(|child| {
            let at = repository.at(Identifier::Digest(child.descriptor.digest.clone()));
            (at, child.descriptor)
        }));
    }
    Ok(images)
}

/// Refuses several logs or timestamp authorities with the legacy format, whose annotations hold
/// one of each.
fn check_legacy(formats: Formats, transparency: &TransparencyServices) -> Result<(), Failure> {
    if formats.legacy() && (transparency.logs.len() > 1 || transparency.timestamps.len() > 1) {
        let text = "the legacy format holds one log entry and one timestamp: name one log and \
                    one timestamp authority, or write bundles";
        return Err(Failure::Invalid(text.to_owned()));
    }
    Ok(())
}

impl Signing<'_> {
    /// Signs an image, requests the timestamps, and verifies the result.
    async fn sign(
        self,
        signer: &dyn Signer,
        reference: Reference,
        subject: Descriptor,
    ) -> Result<PendingImage, Failure> {
        let formats = self.request.formats;
        let bundle = match formats.bundle() {
            true => Some(self.bundle(signer, &subject.digest).await?),
            false => None,
        };
        let legacy = match formats.legacy() {
            true => Some(self.legacy(signer, &reference, &subject.digest).await?),
            false => None,
        };
        let mut image = PendingImage { reference, subject, bundle, legacy };
        for pending in image.bundles_mut() {
            pending.timestamp(self.transparency).await?;
        }
        self.verify(&image, Stage::BeforeUpload)?;
        Ok(image)
    }

    async fn bundle(self, signer: &dyn Signer, digest: &Digest) -> Result<PendingBundle, Failure> {
        let payload = statement::image_signature(digest, &self.request.annotations);
        let signature = signer.sign(&dsse::pae(dsse::IN_TOTO, &payload)).await?;
        let payload_type = dsse::IN_TOTO.to_owned();
        let signatures = vec![signature];
        let content = Content::Envelope(dsse::Envelope { payload_type, payload, signatures });
        Ok(PendingBundle::new(content, self.key, self.transparency))
    }

    async fn legacy(
        self,
        signer: &dyn Signer,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<PendingLegacy, Failure> {
        let SignRequest { annotations, container_identity, .. } = self.request;
        let name = match container_identity {
            Some(identity) => identity.clone(),
            None => reference.repository().to_string(),
        };
        let payload = SimpleSigning::new(name, digest.clone(), annotations).to_json().into_bytes();
        let signature = signer.sign(&payload).await?;
        let digest = Some(self.key.signed_digest(&payload, &signature));
        let content = Content::Message(MessageSignature { digest, signature });
        let bundle = PendingBundle::new(content, self.key, self.transparency);
        Ok(PendingLegacy { payload, bundle })
    }

    fn verify(self, image: &PendingImage, stage: Stage) -> Result<(), Failure> {
        let verifier = PendingVerifier::new(self.key, self.transparency, stage)?;
        verifier.verify_image(image, &self.request.annotations)
    }

    /// Uploads the signatures to the logs, verifies them with the log entries, and stores them.
    async fn publish(self, mut images: Vec<PendingImage>) -> Result<Vec<SignedImage>, SignFailure> {
        self.transparency.check()?;
        if let Err(fault) = self.upload(&mut images).await {
            return Err(self.unfinished(Step::Log, fault.into(), images));
        }
        for image in &images {
            self.verify(image, Stage::AfterUpload)?;
        }
        let Self { registry, request, key, now, .. } = self;
        let store = SignatureStore { registry, request, key, now };
        let stored: Vec<_> = images.iter().map(|image| store.store(image)).collect();
        let stored = stream::iter(stored).buffered(self.concurrent()).try_collect().await;
        match stored {
            Err(cause) if !self.transparency.logs.is_empty() => {
                Err(self.unfinished(Step::Store, cause, images))
            }
            other => Ok(other?),
        }
    }

    /// Uploads everything, whatever fails first: an accepted entry need not be uploaded again.
    async fn upload(self, images: &mut [PendingImage]) -> Result<(), Fault> {
        // Collected, so that the stream holds futures of one type whatever they borrow.
        let mut uploads = Vec::new();
        for pending in images.iter_mut().flat_map(PendingImage::bundles_mut) {
            uploads.push(pending.upload(self.key, self.transparency));
        }
        let outcomes: Vec<_> = stream::iter(uploads).buffered(self.concurrent()).collect().await;
        outcomes.into_iter().collect()
    }

    fn concurrent(self) -> usize {
        self.request.limits.concurrent.max(1)
    }

    fn unfinished(self, step: Step, cause: Failure, images: Vec<PendingImage>) -> SignFailure {
        let verification_key = self.key.clone();
        let artifacts = PendingArtifacts::Images(images);
        SignFailure::unfinished(step, cause, PendingSignatures { verification_key, artifacts })
    }
}
