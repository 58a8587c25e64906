//! The storage of signatures in the registry, in either format or both.

use bytes::Bytes;
use jiff::Timestamp;
use sealgate_core::base64;
use sealgate_core::digest::Digest;
use sealgate_core::key::PublicKey;
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_core::verify::IMAGE_SIGNATURE_PREDICATE;

use super::pending::{PendingImage, PendingLegacy};
use super::request::{SignRequest, Upload};
use super::signed::{SignedBundle, SignedImage, SignedLegacy};
use super::verification_key::VerificationKey;
use crate::annotation;
use crate::failure::Failure;
use crate::legacy::{self, Layer, Style};
use crate::ports::RegistryWrite;
use crate::referrer;
use crate::triangulate::{self, Attachment};
use crate::write;

/// A registry and the settings that signatures are stored with.
#[derive(Clone, Copy)]
pub(super) struct SignatureStore<'a> {
    pub(super) registry: &'a dyn RegistryWrite,
    pub(super) request: &'a SignRequest,
    pub(super) key: &'a VerificationKey,
    pub(super) now: Timestamp,
}

impl SignatureStore<'_> {
    /// Stores the signatures of an image, unless they go to the caller only.
    pub(super) async fn store(self, image: &PendingImage) -> Result<SignedImage, Failure> {
        let PendingImage { reference, subject, bundle, legacy } = image;
        let mut signed_bundle = bundle.as_ref().map(SignedBundle::of).transpose()?;
        let mut signed_legacy = legacy.as_ref().map(SignedLegacy::of).transpose()?;
        if self.request.upload == Upload::Registry {
            let repository = self.request.signature_repository.as_ref();
            let repository = repository.unwrap_or(reference.repository());
            if let Some(signed) = &mut signed_bundle {
                self.store_bundle(repository, signed, subject).await?;
            }
            if let (Some(signed), Some(pending)) = (&mut signed_legacy, legacy) {
                self.store_legacy(repository, signed, pending, &subject.digest).await?;
            }
        }
        let (reference, digest) = (reference.clone(), subject.digest.clone());
        Ok(SignedImage { reference, digest, bundle: signed_bundle, legacy: signed_legacy })
    }

    async fn store_bundle(
        self,
        repository: &Repository,
        signed: &mut SignedBundle,
        image: &Descriptor,
    ) -> Result<(), Failure> {
        let predicate = IMAGE_SIGNATURE_PREDICATE;
        let manifest = referrer::manifest(&signed.json, predicate, image, self.now);
        let json = Bytes::from(signed.json.clone());
        let digest = referrer::push(self.registry, repository, json, &manifest).await?;
        signed.stored = Some(repository.at(Identifier::Digest(digest)));
        Ok(())
    }

    async fn store_legacy(
        self,
        repository: &Repository,
        signed: &mut SignedLegacy,
        pending: &PendingLegacy,
        digest: &Digest,
    ) -> Result<(), Failure> {
        let mut descriptor = write::describe(media_type::SIMPLE_SIGNING, &pending.payload);
        descriptor.annotations = pending.annotations(self.key)?;
        let content = Some(Bytes::from(pending.payload.clone()));
        let layers = [Layer { descriptor, content }];
        let tag = triangulate::tag(&self.request.tag_prefix, digest, Attachment::Signatures);
        let style = Style {
            media_types: self.request.media_types,
            created: self.request.record_creation_timestamp.then_some(self.now),
        };
        let key = self.key.key();
        let covered = |stored: &Descriptor, new: &Layer| {
            stored == &new.descriptor || signs_the_same(key, stored, new, &pending.payload)
        };
        let appended =
            legacy::append(self.registry, repository, &tag, &layers, &style, covered).await?;
        signed.existed = appended.added == 0;
        signed.manifest = Some(appended.manifest);
        signed.stored = Some(repository.at(Identifier::Tag(tag)));
        Ok(())
    }
}

/// True if a stored layer has the same payload, signed by the same key, and neither it nor the new
/// layer has further annotations: the new one would add nothing.
fn signs_the_same(key: &PublicKey, stored: &Descriptor, new: &Layer, payload: &[u8]) -> bool {
    let signature = match stored.annotations.get(annotation::SIGNATURE) {
        Some(text) if stored.annotations.len() == 1 && new.descriptor.annotations.len() == 1 => {
            text
        }
        _ => return false,
    };
    let decoded = base64::decode(signature);
    stored.digest == new.descriptor.digest
        && stored.media_type == new.descriptor.media_type
        && decoded.is_ok_and(|signature| key.verify(payload, &signature, None).is_ok())
}
