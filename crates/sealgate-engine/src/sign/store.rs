//! Writing what was signed, in either format or both.

use bytes::Bytes;
use sealgate_core::base64;
use sealgate_core::digest::Digest;
use sealgate_core::key::PublicKey;
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_core::verify::IMAGE_SIGNATURE_PREDICATE;

use super::made::{ImageDraft, Signed, SignedBundle, SignedLegacy};
use super::{Signing, Upload};
use crate::annotation;
use crate::failure::Failure;
use crate::legacy::{self, Layer, Style};
use crate::referrer;
use crate::transparency::Draft;
use crate::triangulate::{self, Attachment};
use crate::write;

impl Signing<'_> {
    pub(super) async fn store(&self, image: &ImageDraft) -> Result<Signed, Failure> {
        let ImageDraft { reference, subject, bundle, legacy } = image;
        let mut bundle = bundle.as_ref().map(SignedBundle::of).transpose()?;
        let mut legacy = legacy.as_ref().map(SignedLegacy::of).transpose()?;
        if self.request.upload == Upload::Registry {
            let place = self.request.signature_repository.as_ref();
            let place = place.unwrap_or(reference.repository());
            if let Some(bundle) = &mut bundle {
                self.store_bundle(place, bundle, subject).await?;
            }
            if let (Some(legacy), Some(draft)) = (&mut legacy, &image.legacy) {
                self.store_legacy(place, legacy, &draft.draft, &subject.digest).await?;
            }
        }
        let (reference, digest) = (reference.clone(), subject.digest.clone());
        Ok(Signed { reference, digest, bundle, legacy })
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
        draft: &Draft,
        digest: &Digest,
    ) -> Result<(), Failure> {
        let mut descriptor = write::describe(media_type::SIMPLE_SIGNING, &legacy.payload);
        descriptor.annotations = self.annotations(draft)?;
        let content = Some(Bytes::from(legacy.payload.clone()));
        let layers = [Layer { descriptor, content }];
        let tag = triangulate::tag(&self.request.tag_prefix, digest, Attachment::Signatures);
        let style = Style {
            media_types: self.request.media_types,
            created: self.request.record_creation_timestamp.then_some(self.now),
        };
        let key = self.signatory.key();
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
        Some(text) if there.annotations.len() == 1 && ours.descriptor.annotations.len() == 1 => {
            text
        }
        _ => return false,
    };
    let decoded = base64::decode(signature);
    there.digest == ours.descriptor.digest
        && there.media_type == ours.descriptor.media_type
        && decoded.is_ok_and(|signature| key.verify(payload, &signature, None).is_ok())
}
