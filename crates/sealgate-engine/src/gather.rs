//! Digest to evidence: legacy tag and referrers, one fetch of each, everything bounded.
//!
//! Nothing that is gathered here is believed; judging it is the core's work. A source that could
//! not be asked is kept as a fault beside the evidence of the others, so that "could not ask"
//! never becomes "no signatures". Entries of a referrers list are never filtered by what the
//! list says of them: writers put wrong artifact types there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, Stream, StreamExt};
use sealgate_core::digest::Digest;
use sealgate_core::evidence::{BundleBytes, Evidence, LegacySignature, Origin};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::json::InvalidJson;
use sealgate_core::manifest::{
    Descriptor, InvalidManifest, Manifest, is_index, media_type, parse_manifest,
};
use sealgate_core::reference::{Identifier, MAX_TAG, Repository};
use sealgate_core::reject::{Document, Foreign, Reject};
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::limits::Limits;
use crate::ports::{RawManifest, RegistryRead};
use crate::triangulate::{self, Attachment};

/// What was found, and which source did not tell.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// The candidates, without duplicates: bundles, then legacy signatures.
    pub evidence: Vec<Evidence>,
    /// One fault for each thing that could not be asked or read.
    pub faults: Vec<Fault>,
}

/// What makes two descriptors of one payload the same question: digest, media type and size.
type Described = (Digest, String, u64);

/// The bytes of a layer, or why they cannot be evidence; or that nobody knows.
type Payload = Result<Result<Vec<u8>, Reject>, Fault>;

/// Layers of one manifest that share a payload, with their places there.
type Layers = Vec<(usize, Descriptor)>;

/// The layers of a `.sig` manifest by their payloads, and the manifest's digest.
type ByPayload = (Digest, Vec<Layers>);

/// What was found at a place of a list or a manifest.
type Numbered = (usize, Gathered);

/// One digest whose signatures are looked for in one repository.
pub struct Gathering<'a> {
    registry: &'a dyn RegistryRead,
    repository: &'a Repository,
    subject: &'a Digest,
    tag_prefix: &'a str,
    limits: &'a Limits,
    permits: Semaphore,
    bytes_left: AtomicU64,
}

impl<'a> Gathering<'a> {
    /// Looks for what is about `subject` in `repository`; legacy tags begin with `tag_prefix`.
    pub fn new(
        registry: &'a dyn RegistryRead,
        repository: &'a Repository,
        subject: &'a Digest,
        tag_prefix: &'a str,
        limits: &'a Limits,
    ) -> Self {
        Self {
            registry,
            repository,
            subject,
            tag_prefix,
            limits,
            permits: Semaphore::new(limits.concurrent.max(1)),
            bytes_left: AtomicU64::new(limits.evidence),
        }
    }

    /// Everything from both sources, asked at the same time.
    pub async fn all(&self) -> Gathered {
        let (mut found, legacy) = self.span_in(self.both()).await;
        found.append(legacy);
        found.without_duplicates()
    }

    /// Only the referrers, for a repository that is searched beside another one.
    pub async fn bundles(&self) -> Gathered {
        self.span_in(self.all_referrers()).await.without_duplicates()
    }

    /// The referrers first, each given to `enough` as it arrives, whichever is first, and kept by
    /// nobody else; the legacy tag only if they were not enough; and last, where the referrers API
    /// lists nobody, the fallback tag. Stops at the first `true`. What could not be asked or read
    /// goes into `faults` at once: whoever gives up waiting keeps what was said.
    pub async fn bundles_first(
        &self,
        faults: &mut Vec<Fault>,
        mut enough: impl FnMut(Evidence) -> bool + Send,
    ) {
        let Self { registry, repository, subject, .. } = self;
        let work = async {
            let first = self.permitted(registry.referrers_first(repository, subject)).await;
            let tag_is_left = matches!(first, Ok(None));
            let listed = self.unordered(first.map(Option::unwrap_or_default));
            if self.drain(faults, listed, &mut enough).await
                || self.drain_legacy_tag(faults, &mut enough).await
            {
                return;
            }
            if tag_is_left {
                let second = self.permitted(registry.referrers_by_tag(repository, subject)).await;
                self.drain(faults, self.unordered(second), &mut enough).await;
            }
        };
        self.span_in(work).await;
    }

    /// The referrers alone, each given to `enough` as it arrives, as in [`Self::bundles_first`].
    pub async fn referrers_only(
        &self,
        faults: &mut Vec<Fault>,
        enough: impl FnMut(Evidence) -> bool + Send,
    ) {
        let Self { registry, repository, subject, .. } = self;
        let work = async {
            let listed = self.permitted(registry.referrers(repository, subject)).await;
            self.drain(faults, self.unordered(listed), enough).await;
        };
        self.span_in(work).await;
    }

    async fn both(&self) -> (Gathered, Gathered) {
        futures::join!(self.all_referrers(), self.legacy_tag())
    }

    /// What all referrers are, in the order of the list whichever came first.
    async fn all_referrers(&self) -> Gathered {
        let Self { registry, repository, subject, .. } = self;
        let listed = self.permitted(registry.referrers(repository, subject)).await;
        let questions = stream::iter(self.each(listed)).buffer_unordered(self.at_once());
        Gathered::in_order(questions.collect().await)
    }

    async fn span_in<T>(&self, work: impl Future<Output = T>) -> T {
        let registry = self.repository.registry();
        work.instrument(tracing::debug_span!("gather", registry, subject = %self.subject)).await
    }

    /// Empties a source; true as soon as `enough` says so.
    async fn drain(
        &self,
        faults: &mut Vec<Fault>,
        source: impl Stream<Item = Gathered> + Send,
        mut enough: impl FnMut(Evidence) -> bool + Send,
    ) -> bool {
        let mut source = std::pin::pin!(source);
        while let Some(found) = source.next().await {
            faults.extend(found.faults);
            for piece in found.evidence {
                if enough(piece) {
                    return true;
                }
                // Judging takes time of the processor: let others have theirs.
                tokio::task::coop::consume_budget().await;
            }
        }
        false
    }

    /// The legacy signatures under the tag, in their order there.
    async fn legacy_tag(&self) -> Gathered {
        self.in_order(self.tagged_layers().await).await
    }

    /// Gives them to `enough`, each as its payload arrives; true as soon as `enough` says so.
    async fn drain_legacy_tag(
        &self,
        faults: &mut Vec<Fault>,
        enough: impl FnMut(Evidence) -> bool + Send,
    ) -> bool {
        let found = self.each_payload(self.tagged_layers().await);
        self.drain(faults, found.map(Gathered::in_order), enough).await
    }

    /// The layers of the manifest under the tag.
    ///
    /// # Errors
    /// What there is instead: nothing, where there is no tag; else as [`Self::by_payload`].
    async fn tagged_layers(&self) -> Result<ByPayload, Gathered> {
        let raw = self.tagged().await?.ok_or_else(Gathered::default)?;
        self.by_payload(&raw)
    }

    async fn tagged(&self) -> Result<Option<RawManifest>, Fault> {
        // Nobody can have written a tag that is too long: sha512 has bundles only.
        let plain = triangulate::tag("", self.subject, Attachment::Signatures);
        if plain.len() > MAX_TAG {
            return Ok(None);
        }
        let tag = triangulate::tag(self.tag_prefix, self.subject, Attachment::Signatures);
        self.manifest(&Identifier::Tag(tag)).await
    }

    /// What the listed referrers are, as they come: one that is slow keeps none of the others back.
    fn unordered(
        &self,
        listed: Result<Vec<Descriptor>, Fault>,
    ) -> impl Stream<Item = Gathered> + Send {
        let questions = stream::iter(self.each(listed)).buffer_unordered(self.at_once());
        questions.map(|(_, found)| found)
    }

    /// One question for each entry of a list with its number, or the fault instead of them.
    fn each(
        &self,
        listed: Result<Vec<Descriptor>, Fault>,
    ) -> Vec<impl Future<Output = Numbered> + Send> {
        let entries = match listed.and_then(|listed| self.distinct(listed)) {
            Ok(entries) => entries.into_iter().map(Ok).collect(),
            Err(fault) => vec![Err(fault)],
        };
        let question = |(number, entry): (usize, Result<Descriptor, Fault>)| async move {
            let found = async { self.referrer(entry?).await };
            (number, found.await.unwrap_or_else(Gathered::from))
        };
        entries.into_iter().enumerate().map(question).collect()
    }

    fn distinct(&self, listed: Vec<Descriptor>) -> Result<Vec<Descriptor>, Fault> {
        let host = self.repository.registry();
        Limits::check_count(listed.len(), self.limits.referrers, host, "referrers")?;
        let mut seen = HashSet::new();
        Ok(listed.into_iter().filter(|entry| seen.insert(entry.digest.clone())).collect())
    }

    fn at_once(&self) -> usize {
        self.limits.concurrent.max(1)
    }

    async fn referrer(&self, entry: Descriptor) -> Result<Gathered, Fault> {
        let origin = self.origin(&entry.digest, None);
        let may_be_bundle = may_be_bundle(&entry);
        let raw = match self.manifest(&Identifier::Digest(entry.digest.clone())).await {
            Ok(Some(raw)) => raw,
            // A signature that is listed and is not there may still be on its way from another
            // place of the registry: that is not "unsigned". Of other things a list may name what
            // was deleted.
            Ok(None) if may_be_bundle => return Err(self.missing("referrer", &entry.digest)),
            Ok(None) => return Ok(Gathered::default()),
            Err(fault) if fault.kind == FaultKind::TooLarge => {
                return Ok(unusable(origin, malformed(&fault.detail)).into());
            }
            Err(fault) => return Err(fault),
        };
        if is_index(&raw.descriptor.media_type) {
            return Ok(Gathered::default());
        }
        let manifest = match read(&raw) {
            Ok(manifest) => manifest,
            Err(error) if may_be_bundle => {
                return Ok(unusable(origin, malformed(&error.to_string())).into());
            }
            Err(_) => return Ok(Gathered::default()),
        };
        match manifest.layers.as_slice() {
            [layer] if is_bundle(layer) => {
                Ok(self.bundle(&raw.descriptor.digest, layer).await?.into())
            }
            layers if layers.iter().any(is_bundle) => {
                let reason = malformed("a bundle manifest has exactly one layer");
                Ok(unusable(origin, reason).into())
            }
            layers if layers.iter().any(is_simple_signing) => Ok(self.legacy_manifest(&raw).await),
            _ => Ok(Gathered::default()),
        }
    }

    async fn bundle(&self, manifest: &Digest, layer: &Descriptor) -> Result<Evidence, Fault> {
        let origin = self.origin(manifest, Some(&layer.digest));
        Ok(match self.layer(layer).await? {
            Ok(json) => Evidence::Bundle(BundleBytes { origin, json }),
            Err(reason) => unusable(origin, reason),
        })
    }

    /// The signatures of a `.sig` manifest, one for each layer, and what could not be had of them.
    async fn legacy_manifest(&self, raw: &RawManifest) -> Gathered {
        self.in_order(self.by_payload(raw)).await
    }

    async fn in_order(&self, layers: Result<ByPayload, Gathered>) -> Gathered {
        let found: Vec<Vec<Numbered>> = self.each_payload(layers).collect().await;
        Gathered::in_order(found.into_iter().flatten().collect())
    }

    /// What the layers are that share a payload, each with its number, as the payloads come; or what
    /// there is instead of layers.
    fn each_payload(
        &self,
        layers: Result<ByPayload, Gathered>,
    ) -> impl Stream<Item = Vec<Numbered>> + Send {
        match layers {
            Ok((manifest, groups)) => stream::iter(self.questions(manifest, groups))
                .buffer_unordered(self.at_once())
                .left_stream(),
            Err(instead) => stream::iter([vec![(0, instead)]]).right_stream(),
        }
    }

    /// The layers of a `.sig` manifest by their payloads, for many signatures share one: it is
    /// fetched once. Layers that describe it differently are no group: what one says wrong of it is
    /// not the others' fault.
    ///
    /// # Errors
    /// What there is instead: a fault, or a manifest that is no evidence.
    fn by_payload(&self, raw: &RawManifest) -> Result<ByPayload, Gathered> {
        let host = self.repository.registry();
        let manifest = match read(raw) {
            Ok(manifest) => manifest,
            Err(InvalidManifest::Json(InvalidJson::TooManyEntries { limit, .. })) => {
                let detail = format!("more than {limit} signature layers");
                return Err(Fault::new(FaultKind::TooMany, host, detail).into());
            }
            Err(_) => {
                let reason = malformed("the signature tag holds no image manifest");
                return Err(unusable(self.origin(&raw.descriptor.digest, None), reason).into());
            }
        };
        let layers = manifest.layers;
        Limits::check_count(layers.len(), self.limits.signatures, host, "signature layers")?;
        let mut known = HashMap::new();
        let mut groups: Vec<Layers> = Vec::new();
        for (number, layer) in layers.into_iter().enumerate() {
            let place = *known.entry(described(&layer)).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push((number, layer)),
                None => groups.push(vec![(number, layer)]),
            }
        }
        Ok((raw.descriptor.digest.clone(), groups))
    }

    /// One question for each payload: what the layers are that share it, each with its number.
    fn questions(
        &self,
        manifest: Digest,
        groups: Vec<Layers>,
    ) -> Vec<impl Future<Output = Vec<Numbered>> + Send> {
        let question = |layers: Layers| {
            let manifest = manifest.clone();
            async move {
                let payload = match layers.first() {
                    Some((_, first)) => self.payload(first).await,
                    None => return Vec::new(),
                };
                let piece = |(number, layer): (usize, Descriptor)| {
                    let origin = self.origin(&manifest, Some(&layer.digest));
                    let found = self.legacy_layer(origin, layer, payload.clone());
                    (number, found.map_or_else(Gathered::from, Gathered::from))
                };
                layers.into_iter().map(piece).collect()
            }
        };
        groups.into_iter().map(question).collect()
    }

    fn legacy_layer(
        &self,
        origin: Origin,
        layer: Descriptor,
        payload: Payload,
    ) -> Result<Evidence, Fault> {
        let payload = payload?;
        if let Ok(payload) = &payload {
            self.reserve(payload.len() as u64)?;
        }
        Ok(match payload {
            Ok(payload) => {
                let annotations = layer.annotations;
                Evidence::Legacy(LegacySignature { origin, payload, annotations })
            }
            Err(reason) => unusable(origin, reason),
        })
    }

    async fn payload(&self, layer: &Descriptor) -> Payload {
        if is_simple_signing(layer) {
            return self.layer(layer).await;
        }
        Ok(Err(Reject::MediaType(Foreign::new(&layer.media_type))))
    }

    async fn layer(&self, layer: &Descriptor) -> Payload {
        if layer.size > self.limits.blob {
            return Ok(Err(too_large(document(layer), self.limits.blob)));
        }
        self.reserve(layer.size)?;
        let fetch = self.registry.blob(self.repository, &layer.digest, layer.size);
        Ok(match self.permitted(fetch).await {
            Ok(Some(bytes)) if bytes.len() as u64 == layer.size => Ok(Vec::from(bytes)),
            Ok(Some(_)) => Err(malformed("the layer is shorter than its descriptor says")),
            Ok(None) => return Err(self.missing("layer", &layer.digest)),
            Err(fault) if fault.kind == FaultKind::TooLarge => {
                Err(too_large(document(layer), layer.size))
            }
            Err(fault) => return Err(fault),
        })
    }

    async fn manifest(&self, what: &Identifier) -> Result<Option<RawManifest>, Fault> {
        self.permitted(self.registry.manifest(self.repository, what)).await
    }

    async fn permitted<T>(
        &self,
        request: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let _permit = self.permits.acquire().await.map_err(|_| self.cancelled())?;
        request.await
    }

    fn missing(&self, what: &str, digest: &Digest) -> Fault {
        let detail = format!("the {what} {digest} is listed and cannot be found there");
        Fault::new(FaultKind::Missing, self.repository.registry(), detail)
    }

    fn cancelled(&self) -> Fault {
        Fault::new(FaultKind::Cancelled, self.repository.registry(), "the search was given up")
    }

    fn reserve(&self, bytes: u64) -> Result<(), Fault> {
        let take = |left: u64| left.checked_sub(bytes);
        self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(
            |_| {
                let bound = self.limits.evidence;
                let detail = format!("the signatures of one image exceed {bound} bytes together");
                Fault::new(FaultKind::TooLarge, self.repository.registry(), detail)
            },
        )
    }

    fn origin(&self, manifest: &Digest, layer: Option<&Digest>) -> Origin {
        Origin {
            repository: self.repository.to_string(),
            manifest: Some(manifest.clone()),
            layer: layer.cloned(),
        }
    }
}

/// The candidates for `subject`, an image of `repository`. Where signatures lie `elsewhere`
/// (`COSIGN_REPOSITORY`), referrers beside the image are read too, for cosign writes bundles there
/// whatever the variable says.
pub async fn everything(
    registry: &dyn RegistryRead,
    repository: &Repository,
    elsewhere: Option<&Repository>,
    subject: &Digest,
    tag_prefix: &str,
    limits: &Limits,
) -> Gathered {
    let beside = Gathering::new(registry, repository, subject, tag_prefix, limits);
    let Some(elsewhere) = elsewhere.filter(|place| *place != repository) else {
        return beside.all().await;
    };
    let elsewhere = Gathering::new(registry, elsewhere, subject, tag_prefix, limits);
    let (mut found, beside) = futures::join!(elsewhere.all(), beside.bundles());
    found.append(beside);
    found.without_duplicates()
}

/// The candidates of several places, each once.
pub(crate) struct Distinct<'a> {
    pub(crate) evidence: Vec<&'a Evidence>,
    pub(crate) faults: Vec<&'a Fault>,
}

impl Gathered {
    /// The candidates of several places, in their order. One that was found in several places is
    /// there once.
    pub(crate) fn distinct<'a>(places: impl Iterator<Item = &'a Self>) -> Distinct<'a> {
        let (mut evidence, mut faults) = (Vec::new(), Vec::new());
        let mut known = HashSet::new();
        for gathered in places {
            for piece in &gathered.evidence {
                if content(piece).is_none_or(|content| known.insert(content)) {
                    evidence.push(piece);
                }
            }
            faults.extend(&gathered.faults);
        }
        Distinct { evidence, faults }
    }

    fn append(&mut self, other: Self) {
        self.evidence.extend(other.evidence);
        self.faults.extend(other.faults);
    }

    /// Pieces that came in any order, put in that of their places. What went wrong for several of
    /// them alike is told once.
    fn in_order(mut pieces: Vec<Numbered>) -> Self {
        pieces.sort_unstable_by_key(|(number, _)| *number);
        let mut all = Self::default();
        for (_, Self { evidence, faults }) in pieces {
            all.evidence.extend(evidence);
            for fault in faults {
                if !all.faults.contains(&fault) {
                    all.faults.push(fault);
                }
            }
        }
        all
    }

    /// Each candidate once: a bundle by its layer, a legacy signature by its layer and annotations.
    fn without_duplicates(mut self) -> Self {
        let mut known = HashSet::new();
        self.evidence.retain(|piece| match content(piece) {
            Some((layer, annotations)) => known.insert((layer.cloned(), annotations.cloned())),
            None => true,
        });
        self
    }
}

/// The identity of a candidate's content; none for what cannot be used.
type Content<'a> = (Option<&'a Digest>, Option<&'a BTreeMap<String, String>>);

fn content(piece: &Evidence) -> Option<Content<'_>> {
    let layer = piece.origin().layer.as_ref();
    match piece {
        Evidence::Bundle(_) => Some((layer, None)),
        Evidence::Legacy(signature) => Some((layer, Some(&signature.annotations))),
        Evidence::Unusable { .. } => None,
    }
}

impl From<Evidence> for Gathered {
    fn from(piece: Evidence) -> Self {
        Self { evidence: vec![piece], faults: Vec::new() }
    }
}

impl From<Fault> for Gathered {
    fn from(fault: Fault) -> Self {
        Self { evidence: Vec::new(), faults: vec![fault] }
    }
}

/// Strictly: other readers must not find other layers in the same bytes.
fn read(raw: &RawManifest) -> Result<Manifest, InvalidManifest> {
    parse_manifest(&raw.bytes, Some(&raw.descriptor.media_type))
}

fn is_bundle(layer: &Descriptor) -> bool {
    layer.media_type.starts_with(media_type::BUNDLE_PREFIX)
}

fn described(layer: &Descriptor) -> Described {
    (layer.digest.clone(), layer.media_type.clone(), layer.size)
}

/// As far as a list of referrers tells: some writers put the type of the empty config there.
fn may_be_bundle(entry: &Descriptor) -> bool {
    match entry.artifact_type.as_deref() {
        None | Some("" | media_type::OCI_EMPTY) => true,
        Some(said) => said.starts_with(media_type::BUNDLE_PREFIX),
    }
}

fn is_simple_signing(layer: &Descriptor) -> bool {
    layer.media_type == media_type::SIMPLE_SIGNING
}

fn document(layer: &Descriptor) -> Document {
    if is_bundle(layer) { Document::Bundle } else { Document::Payload }
}

fn unusable(origin: Origin, reason: Reject) -> Evidence {
    Evidence::Unusable { origin, reason }
}

fn too_large(what: Document, limit: u64) -> Reject {
    Reject::TooLarge { what, limit: usize::try_from(limit).unwrap_or(usize::MAX) }
}

fn malformed(detail: &str) -> Reject {
    Reject::Manifest(Foreign::new(detail))
}
