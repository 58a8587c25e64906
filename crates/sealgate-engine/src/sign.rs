//! The use case behind `sign`: resolve, make the payload, sign it, verify what was made with the
//! public key, and only then write it, in either format or both.

use std::collections::BTreeMap;

use base64::Engine as _;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use sealgate_core::bundle::Bundle;
use sealgate_core::digest::Digest;
use sealgate_core::evidence::{BundleBytes, Evidence, LegacySignature, Origin};
use sealgate_core::key::PublicKey;
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_core::reference::{Identifier, Reference, Repository};
use sealgate_core::simple_signing::SimpleSigning;
use sealgate_core::verify::{
    Claims, IMAGE_SIGNATURE_PREDICATE, KeyAuthority, Question, verify_image,
};
use sealgate_core::{dsse, statement};

use crate::annotation;
use crate::failure::Failure;
use crate::index;
use crate::legacy::{self, Layer, MediaTypes, Style};
use crate::limits::Limits;
use crate::pin;
use crate::ports::{Clock, Registry, Signer};
use crate::referrer;
use crate::triangulate::{self, Attachment};
use crate::write;

/// Which form signatures are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Formats {
    /// A Sigstore bundle as a referrer, what cosign 3 writes.
    #[default]
    Bundle,
    /// A layer of the `.sig` image (`--new-bundle-format=false`).
    Legacy,
    /// Both.
    Both,
}

impl Formats {
    fn bundle(self) -> bool {
        self != Self::Legacy
    }

    fn legacy(self) -> bool {
        self != Self::Bundle
    }
}

/// Whether signatures are stored (`--upload`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upload {
    /// Beside the image.
    #[default]
    Registry,
    /// Not at all: the caller gets the bytes.
    Nowhere,
}

/// How to sign.
#[derive(Clone, Debug, Default)]
pub struct SignRequest {
    /// Annotations that the signature carries (`-a`).
    pub annotations: BTreeMap<String, String>,
    /// Which form to write.
    pub formats: Formats,
    /// Whether to store it.
    pub upload: Upload,
    /// Whether to sign everything below an index, too (`--recursive`).
    pub recursive: bool,
    /// Media types of a new `.sig` image (`COSIGN_DOCKER_MEDIA_TYPES`).
    pub media_types: MediaTypes,
    /// Whether the `.sig` image says when it was made (`--record-creation-timestamp`).
    pub record_creation_timestamp: bool,
    /// What a legacy payload names instead of the repository (`--sign-container-identity`).
    pub container_identity: Option<String>,
    /// Where to store, if not beside the image (`COSIGN_REPOSITORY`).
    pub signature_repository: Option<Repository>,
    /// What legacy tags begin with.
    pub tag_prefix: String,
    /// Bounds.
    pub limits: Limits,
}

/// One image that was signed.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The image, with the digest that was signed.
    pub reference: Reference,
    /// The digest that was signed.
    pub digest: Digest,
    /// The bundle, if one was made.
    pub bundle: Option<SignedBundle>,
    /// The legacy signature, if one was made.
    pub legacy: Option<SignedLegacy>,
}

/// A bundle that was made.
#[derive(Clone, Debug)]
pub struct SignedBundle {
    /// The in-toto statement.
    pub payload: Vec<u8>,
    /// The signature over the envelope's encoding of it, base64.
    pub signature: String,
    /// The bundle, JSON.
    pub json: Vec<u8>,
    /// The manifest it was stored with: `repository@digest`; none without upload.
    pub stored: Option<Reference>,
}

/// A legacy signature that was made.
#[derive(Clone, Debug)]
pub struct SignedLegacy {
    /// The SimpleSigning payload.
    pub payload: Vec<u8>,
    /// The signature over it, base64.
    pub signature: String,
    /// The tag it was stored under; none without upload.
    pub stored: Option<Reference>,
    /// The manifest that the tag named when our signature stood in it.
    pub manifest: Option<Digest>,
    /// Whether an equal signature by the same key stood there before.
    pub existed: bool,
}

/// Who signs, where, and how.
struct Signing<'a> {
    registry: &'a dyn Registry,
    signer: &'a dyn Signer,
    request: &'a SignRequest,
    now: Timestamp,
}

/// Signs `reference`, and everything below it where the request says so: the image itself comes
/// first in the result. Nothing is written unless our own verifier accepts it.
pub async fn sign_image(
    registry: &dyn Registry,
    reference: &Reference,
    signer: &dyn Signer,
    clock: &dyn Clock,
    request: &SignRequest,
) -> Result<Vec<Signed>, Failure> {
    let pinned = pin::resolve(registry, reference).await?;
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
    let signing = Signing { registry, signer, request, now: clock.now() };
    stream::iter(images)
        .map(async |(reference, descriptor): (Reference, Descriptor)| {
            signing.sign(reference, descriptor).await
        })
        .buffered(request.limits.concurrent.max(1))
        .try_collect()
        .await
}

impl Signing<'_> {
    async fn sign(&self, reference: Reference, image: Descriptor) -> Result<Signed, Failure> {
        let formats = self.request.formats;
        let mut bundle = match formats.bundle() {
            true => Some(self.make_bundle(&reference, &image.digest).await?),
            false => None,
        };
        let mut legacy = match formats.legacy() {
            true => Some(self.make_legacy(&reference, &image.digest).await?),
            false => None,
        };
        if self.request.upload == Upload::Registry {
            let place = self.request.signature_repository.as_ref();
            let place = place.unwrap_or(reference.repository());
            if let Some(bundle) = &mut bundle {
                self.store_bundle(place, bundle, &image).await?;
            }
            if let Some(legacy) = &mut legacy {
                self.store_legacy(place, legacy, &image.digest).await?;
            }
        }
        Ok(Signed { reference, digest: image.digest, bundle, legacy })
    }

    async fn make_bundle(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<SignedBundle, Failure> {
        let payload = statement::image_signature(digest, &self.request.annotations);
        let signature = self.signer.sign(&dsse::pae(dsse::IN_TOTO, &payload)).await?;
        let key = self.signer.public_key();
        let json = Bundle::of_statement(payload.clone(), signature.clone(), key).to_json();
        let json = json.into_bytes();
        let origin = origin(reference);
        self.check(digest, Evidence::Bundle(BundleBytes { origin, json: json.clone() }))?;
        let signature = annotation::base64(&signature);
        Ok(SignedBundle { payload, signature, json, stored: None })
    }

    async fn make_legacy(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<SignedLegacy, Failure> {
        let SignRequest { annotations, container_identity, .. } = self.request;
        let named = match container_identity {
            Some(identity) => identity.clone(),
            None => reference.repository().to_string(),
        };
        let payload = SimpleSigning::new(named, digest.clone(), annotations).to_json().into_bytes();
        let signature = annotation::base64(&self.signer.sign(&payload).await?);
        let evidence = Evidence::Legacy(LegacySignature {
            origin: origin(reference),
            payload: payload.clone(),
            annotations: signature_annotation(&signature),
        });
        self.check(digest, evidence)?;
        let (stored, manifest, existed) = (None, None, false);
        Ok(SignedLegacy { payload, signature, stored, manifest, existed })
    }

    /// What we write must be what we would accept.
    fn check(&self, digest: &Digest, evidence: Evidence) -> Result<(), Failure> {
        let keys = vec![self.signer.public_key().clone()];
        let question = Question {
            subject: digest.clone(),
            annotations: self.request.annotations.clone(),
            claims: Claims::Checked,
        };
        verify_image(&evidence, &KeyAuthority { keys, hash: None }, &question)?;
        Ok(())
    }

    async fn store_bundle(
        &self,
        place: &Repository,
        bundle: &mut SignedBundle,
        image: &Descriptor,
    ) -> Result<(), Failure> {
        let predicate = IMAGE_SIGNATURE_PREDICATE;
        let manifest = referrer::manifest(&bundle.json, predicate, image, self.now);
        let json = Bytes::from(bundle.json.clone());
        let digest = referrer::push(self.registry, place, json, &manifest).await?;
        bundle.stored = Some(place.at(Identifier::Digest(digest)));
        Ok(())
    }

    async fn store_legacy(
        &self,
        place: &Repository,
        legacy: &mut SignedLegacy,
        digest: &Digest,
    ) -> Result<(), Failure> {
        let mut descriptor = write::describe(media_type::SIMPLE_SIGNING, &legacy.payload);
        descriptor.annotations = signature_annotation(&legacy.signature);
        let content = Some(Bytes::from(legacy.payload.clone()));
        let layers = [Layer { descriptor, content }];
        let tag = triangulate::tag(&self.request.tag_prefix, digest, Attachment::Signatures);
        let style = Style {
            media_types: self.request.media_types,
            created: self.request.record_creation_timestamp.then_some(self.now),
        };
        let key = self.signer.public_key();
        let covered = |there: &Descriptor, ours: &Layer| {
            there == &ours.descriptor || signs_the_same(key, there, ours, &legacy.payload)
        };
        let now = legacy::append(self.registry, place, &tag, &layers, &style, covered).await?;
        legacy.existed = now.added == 0;
        legacy.manifest = Some(now.manifest);
        legacy.stored = Some(place.at(Identifier::Tag(tag)));
        Ok(())
    }
}

/// Whether a layer that stands there is the same payload, signed by the same key, with nothing
/// else beside it: another one of it would say nothing new.
fn signs_the_same(key: &PublicKey, there: &Descriptor, ours: &Layer, payload: &[u8]) -> bool {
    let signature = match there.annotations.get(annotation::SIGNATURE) {
        Some(text) if there.annotations.len() == 1 => text,
        _ => return false,
    };
    let decoded = base64::engine::general_purpose::STANDARD.decode(signature);
    there.digest == ours.descriptor.digest
        && there.media_type == ours.descriptor.media_type
        && decoded.is_ok_and(|signature| key.verify(payload, &signature, None).is_ok())
}

fn signature_annotation(signature: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(annotation::SIGNATURE.to_owned(), signature.to_owned())])
}

fn origin(reference: &Reference) -> Origin {
    Origin { repository: reference.repository().to_string(), manifest: None, layer: None }
}
