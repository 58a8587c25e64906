//! The use case behind `sign`: resolve, make the payload, sign it, timestamp and publish it, verify what
//! was made, and only then write it, in either format or both.

mod made;
mod request;
mod store;

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use sealgate_core::bundle::{Content, MessageSignature};
use sealgate_core::certificate::pem;
use sealgate_core::digest::Digest;
use sealgate_core::evidence::{BundleBytes, Evidence, LegacySignature, Origin};
use sealgate_core::fault::Fault;
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::{Identifier, Reference};
use sealgate_core::simple_signing::SimpleSigning;
use sealgate_core::verify::{Claims, Override, Question, verify_image_with};
use sealgate_core::{dsse, statement};

use crate::annotation;
use crate::failure::Failure;
use crate::index;
use crate::pin;
use crate::ports::{Clock, Registry, Signer};
use crate::transparency::{self, Draft, DraftVerifier, Signatory, TransparencyServices};
use crate::unfinished::{Drafts, Step, Unfinished, Work};

pub use made::{ImageDraft, LegacyDraft, Signed, SignedBundle, SignedLegacy};
pub use request::{Formats, SignRequest, Upload};

/// Where, how, and by whom.
struct Signing<'a> {
    registry: &'a dyn Registry,
    signatory: &'a Signatory,
    transparency: &'a TransparencyServices,
    request: &'a SignRequest,
    now: Timestamp,
}

/// Signs `reference` with a key and nothing else, see [`sign_image_with`].
pub async fn sign_image(
    registry: &dyn Registry,
    reference: &Reference,
    signer: &dyn Signer,
    clock: &dyn Clock,
    request: &SignRequest,
) -> Result<Vec<Signed>, Failure> {
    let signatory = Signatory::of_key(signer.public_key().clone());
    let transparency = TransparencyServices::none();
    let by = SigningParties { signer, signatory: &signatory, transparency: &transparency };
    sign_image_with(registry, reference, by, clock, request).await
}

/// The signer and the transparency services that it uses.
#[derive(Clone, Copy)]
pub struct SigningParties<'a> {
    /// Makes the signatures.
    pub signer: &'a dyn Signer,
    /// Whose they are.
    pub signatory: &'a Signatory,
    /// The services that timestamp and publish the signatures.
    pub transparency: &'a TransparencyServices,
}

/// Signs `reference`, and everything below it where the request says so: the image itself comes
/// first in the result. Everything is signed and timestamped first, then told to the logs, then
/// stored; nothing is published or stored unless our own verifier accepts it, and nothing is
/// stored unless all logs have taken everything.
///
/// # Errors
/// [`Failure::Unfinished`] holds what was signed when a log or, after the logs, the registry
/// failed: [`finish`] goes on from there.
pub async fn sign_image_with(
    registry: &dyn Registry,
    reference: &Reference,
    by: SigningParties<'_>,
    clock: &dyn Clock,
    request: &SignRequest,
) -> Result<Vec<Signed>, Failure> {
    let SigningParties { signer, signatory, transparency } = by;
    check_legacy(request.formats, transparency)?;
    let images = images(registry, reference, request).await?;
    let signing = Signing { registry, signatory, transparency, request, now: clock.now() };
    let drafts = stream::iter(images)
        .map(async |(reference, subject)| signing.draft(signer, reference, subject).await)
        .buffered(request.limits.concurrent.max(1))
        .try_collect()
        .await?;
    signing.finish(drafts).await
}

/// Goes on with what [`Failure::Unfinished`] holds: tells the logs that are missing, and stores.
/// The request says how to store; what was signed stands.
pub async fn finish(
    registry: &dyn Registry,
    work: Work,
    transparency: &TransparencyServices,
    clock: &dyn Clock,
    request: &SignRequest,
) -> Result<Vec<Signed>, Failure> {
    let Work { signatory, drafts } = work;
    let Drafts::Images(images) = drafts else {
        return Err(Failure::Invalid("what is to be finished was made for a file".to_owned()));
    };
    let now = clock.now();
    let signing = Signing { registry, signatory: &signatory, transparency, request, now };
    for image in &images {
        signing.approve(image, Override::Ignored)?;
    }
    signing.finish(images).await
}

/// The image, and everything below it where the request says so.
async fn images(
    registry: &dyn Registry,
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

/// The annotations of a legacy signature hold one of each.
fn check_legacy(formats: Formats, transparency: &TransparencyServices) -> Result<(), Failure> {
    if formats.legacy() && (transparency.logs.len() > 1 || transparency.timestamps.len() > 1) {
        let text = "the legacy format holds one log entry and one timestamp: name one log and \
                    one timestamp authority, or write bundles";
        return Err(Failure::Invalid(text.to_owned()));
    }
    Ok(())
}

impl Signing<'_> {
    /// Signed, timestamped, and accepted as far as it can be without the logs.
    async fn draft(
        &self,
        signer: &dyn Signer,
        reference: Reference,
        subject: Descriptor,
    ) -> Result<ImageDraft, Failure> {
        let formats = self.request.formats;
        let bundle = match formats.bundle() {
            true => Some(self.bundle(signer, &subject.digest).await?),
            false => None,
        };
        let legacy = match formats.legacy() {
            true => Some(self.legacy(signer, &reference, &subject.digest).await?),
            false => None,
        };
        let mut image = ImageDraft { reference, subject, bundle, legacy };
        for draft in image.drafts() {
            draft.stamp(self.transparency).await?;
        }
        self.approve(&image, Override::Ignored)?;
        Ok(image)
    }

    async fn bundle(&self, signer: &dyn Signer, digest: &Digest) -> Result<Draft, Failure> {
        let payload = statement::image_signature(digest, &self.request.annotations);
        let signature = signer.sign(&dsse::pae(dsse::IN_TOTO, &payload)).await?;
        let payload_type = dsse::IN_TOTO.to_owned();
        let signatures = vec![signature];
        let content = Content::Envelope(dsse::Envelope { payload_type, payload, signatures });
        Ok(Draft::new(content, self.signatory, self.transparency))
    }

    async fn legacy(
        &self,
        signer: &dyn Signer,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<LegacyDraft, Failure> {
        let SignRequest { annotations, container_identity, .. } = self.request;
        let named = match container_identity {
            Some(identity) => identity.clone(),
            None => reference.repository().to_string(),
        };
        let payload = SimpleSigning::new(named, digest.clone(), annotations).to_json().into_bytes();
        let signature = signer.sign(&payload).await?;
        let digest = Some(self.signatory.signed_digest(&payload, &signature));
        let content = Content::Message(MessageSignature { digest, signature });
        Ok(LegacyDraft { draft: Draft::new(content, self.signatory, self.transparency), payload })
    }

    /// What we publish and write must be what we would accept.
    fn approve(&self, image: &ImageDraft, log: Override) -> Result<(), Failure> {
        let approval = DraftVerifier::new(self.signatory, self.transparency, log)?;
        let (authority, trust) = (approval.authority(), approval.trust());
        let question = Question {
            subject: image.subject.digest.clone(),
            annotations: self.request.annotations.clone(),
            claims: Claims::Checked,
        };
        let origin = origin(&image.reference);
        if let Some(draft) = &image.bundle {
            let json = approval.readable(&draft.bundle).to_json().into_bytes();
            let evidence = Evidence::Bundle(BundleBytes { origin: origin.clone(), json });
            verify_image_with(&evidence, authority, &question, &trust)?;
        }
        if let Some(LegacyDraft { payload, draft }) = &image.legacy {
            let (payload, annotations) = (payload.clone(), self.annotations(draft)?);
            let evidence = Evidence::Legacy(LegacySignature { origin, payload, annotations });
            verify_image_with(&evidence, authority, &question, &trust)?;
        }
        Ok(())
    }

    async fn finish(&self, mut images: Vec<ImageDraft>) -> Result<Vec<Signed>, Failure> {
        self.transparency.check()?;
        if let Err(fault) = self.log(&mut images).await {
            return Err(self.unfinished(Step::Log, fault.into(), images));
        }
        for image in &images {
            self.approve(image, self.transparency.log_override())?;
        }
        let storing: Vec<_> = images.iter().map(|image| self.store(image)).collect();
        let at_once = self.request.limits.concurrent.max(1);
        let stored = stream::iter(storing).buffered(at_once).try_collect().await;
        match stored {
            Err(cause) if !self.transparency.logs.is_empty() => {
                Err(self.unfinished(Step::Store, cause, images))
            }
            other => other,
        }
    }

    /// Everything is tried, whatever fails before it: what a log has taken need not be told again.
    async fn log(&self, images: &mut [ImageDraft]) -> Result<(), Fault> {
        // Collected, so that the stream holds futures of one type whatever they borrow.
        let mut asked = Vec::new();
        for draft in images.iter_mut().flat_map(ImageDraft::drafts) {
            asked.push(draft.log(self.signatory, self.transparency));
        }
        let at_once = self.request.limits.concurrent.max(1);
        let outcomes: Vec<_> = stream::iter(asked).buffered(at_once).collect().await;
        outcomes.into_iter().collect()
    }

    fn unfinished(&self, step: Step, cause: Failure, images: Vec<ImageDraft>) -> Failure {
        let work = Work { signatory: self.signatory.clone(), drafts: Drafts::Images(images) };
        Unfinished::failure(step, cause, work)
    }

    /// What lies beside a legacy payload. Only a log that promises inclusion (Rekor v1) can be
    /// written down there.
    fn annotations(&self, draft: &Draft) -> Result<BTreeMap<String, String>, Failure> {
        let log = &draft.bundle.log;
        let (entry, timestamp) = log.to_annotations();
        if entry.is_empty() && !log.entries.is_empty() {
            let text = "the legacy format cannot hold an entry of a Rekor v2 log: write a bundle, \
                        or sign with a Rekor v1 log";
            return Err(Failure::Invalid(text.to_owned()));
        }
        let signature = annotation::base64(transparency::signature(&draft.bundle.content)?);
        let mut notes = BTreeMap::from([(annotation::SIGNATURE.to_owned(), signature)]);
        let certificates = self.signatory.certificates();
        if let Some((leaf, chain)) = certificates.split_first() {
            notes.insert(annotation::CERTIFICATE.to_owned(), pem::write(leaf));
            let chain = chain.iter().map(|der| pem::write(der)).collect();
            notes.insert(annotation::CHAIN.to_owned(), chain);
        }
        let proofs = [(annotation::BUNDLE, entry), (annotation::TIMESTAMP, timestamp)];
        let there = proofs.into_iter().filter(|(_, text)| !text.is_empty());
        notes.extend(there.map(|(name, text)| (name.to_owned(), text)));
        Ok(notes)
    }
}

fn origin(reference: &Reference) -> Origin {
    Origin { repository: reference.repository().to_string(), manifest: None, layer: None }
}
