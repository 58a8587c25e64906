//! Gathering of evidence for a digest, from the legacy tag and the referrers. Each document is
//! fetched once; sizes, counts and times are bounded.
//!
//! Gathered evidence is unverified; sealgate-core verifies it. A source that could not be read is
//! kept as a fault beside the evidence of the others, so that a fault never becomes "no
//! signatures". Entries of a referrers list are never filtered by their artifact type: some writers
//! set a wrong one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
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

use crate::budget::{ByteShare, Lease};
use crate::concurrent;
use crate::limits::Limits;
use crate::ports::{RawManifest, RegistryRead};
use crate::triangulate::{self, Attachment};

/// Gathered evidence, and the faults of sources that could not be read.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// The candidates, without duplicates: bundles, then legacy signatures.
    pub evidence: Vec<Evidence>,
    /// One fault for each source or document that could not be read.
    pub faults: Vec<Fault>,
}

/// The fields that identify a fetch: digest, media type and size.
type DescriptorKey = (Digest, String, u64);

/// The bytes of a layer; the reason why they cannot be evidence; or a fault.
type Payload = Result<Result<Bytes, Reject>, Fault>;

/// Layers of one manifest that share a payload, with their indexes.
type Layers = Vec<(usize, Descriptor)>;

/// The layers of a `.sig` manifest by their payloads.
struct ByPayload {
    /// The digest of the manifest.
    manifest: Digest,
    groups: Vec<Layers>,
    /// Covers the layers: the registry chooses their number and their annotations.
    share: ByteShare,
}

/// A parsed manifest, and the share that covers it.
type ParsedManifest = (Result<Manifest, InvalidManifest>, ByteShare);

/// The evidence of one entry, with its index in the list or manifest.
type Numbered = (usize, Gathered);

/// Gathering of the signatures for one digest in one repository.
pub struct Gathering<'a> {
    registry: &'a dyn RegistryRead,
    repository: &'a Repository,
    subject: &'a Digest,
    tag_prefix: &'a str,
    limits: &'a Limits,
    permits: Semaphore,
    bytes_left: AtomicU64,
    lease: Option<&'a Lease>,
}

impl<'a> Gathering<'a> {
    /// Prepares gathering for `subject` in `repository`; legacy tags begin with `tag_prefix`.
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
            lease: None,
        }
    }

    /// Parses large manifests at their turn by `lease`.
    pub fn with_lease(self, lease: &'a Lease) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// Gathers from both sources concurrently.
    pub async fn all(&self) -> Gathered {
        let (mut found, legacy) = self.span_in(self.both()).await;
        found.append(legacy);
        found.without_duplicates()
    }

    /// Gathers from the referrers only, for a repository that is searched beside another one.
    pub async fn bundles(&self) -> Gathered {
        self.span_in(self.all_referrers()).await.without_duplicates()
    }

    /// Gathers from the referrers first, and passes each piece to `enough` as it arrives, without
    /// keeping it; then from the legacy tag, and last, if the list of the referrers API is empty,
    /// from the fallback tag. Stops as soon as `enough` returns `true`. Faults are added to
    /// `faults` as they happen, so that they are known if the caller stops waiting.
    pub async fn bundles_first<Enough: Future<Output = bool> + Send>(
        &self,
        faults: &mut Vec<Fault>,
        mut enough: impl FnMut(Evidence) -> Enough + Send,
    ) {
        let Self { registry, repository, subject, .. } = self;
        let work = async {
            let first = self.permitted(registry.referrers_by_api(repository, subject)).await;
            let check_fallback_tag = matches!(first, Ok(None));
            let (first, _share) = self.cover_list(first.map(Option::unwrap_or_default)).await;
            let listed = self.unordered(first);
            if self.drain(faults, listed, &mut enough).await
                || self.drain_legacy_tag(faults, &mut enough).await
            {
                return;
            }
            if check_fallback_tag {
                let second = self.permitted(registry.referrers_by_tag(repository, subject)).await;
                let (second, _share) = self.cover_list(second).await;
                self.drain(faults, self.unordered(second), &mut enough).await;
            }
        };
        self.span_in(work).await;
    }

    /// The referrers alone, each given to `enough` as it arrives, as in [`Self::bundles_first`].
    pub async fn referrers_only<Enough: Future<Output = bool> + Send>(
        &self,
        faults: &mut Vec<Fault>,
        enough: impl FnMut(Evidence) -> Enough + Send,
    ) {
        let Self { registry, repository, subject, .. } = self;
        let work = async {
            let listed = self.permitted(registry.referrers(repository, subject)).await;
            let (listed, _share) = self.cover_list(listed).await;
            self.drain(faults, self.unordered(listed), enough).await;
        };
        self.span_in(work).await;
    }

    async fn both(&self) -> (Gathered, Gathered) {
        futures::join!(self.all_referrers(), self.legacy_tag())
    }

    /// Gathers from all referrers, in the order of the list.
    async fn all_referrers(&self) -> Gathered {
        let Self { registry, repository, subject, .. } = self;
        let listed = self.permitted(registry.referrers(repository, subject)).await;
        Gathered::in_order(self.fetched_referrers(listed).collect().await)
    }

    async fn span_in<T>(&self, work: impl Future<Output = T>) -> T {
        let registry = self.repository.registry();
        work.instrument(tracing::debug_span!("gather", registry, subject = %self.subject)).await
    }

    /// Passes a source's evidence to `enough`; returns true as soon as `enough` does.
    async fn drain<Enough: Future<Output = bool> + Send>(
        &self,
        faults: &mut Vec<Fault>,
        source: impl Stream<Item = Gathered> + Send,
        mut enough: impl FnMut(Evidence) -> Enough + Send,
    ) -> bool {
        let mut source = std::pin::pin!(source);
        while let Some(found) = source.next().await {
            faults.extend(found.faults);
            for piece in found.evidence {
                if enough(piece).await {
                    return true;
                }
            }
        }
        false
    }

    /// Gathers the legacy signatures under the tag, in the order of the layers.
    async fn legacy_tag(&self) -> Gathered {
        self.in_order(self.tagged_layers().await).await
    }

    /// Passes the legacy signatures to `enough` as their payloads arrive; returns true as soon as
    /// `enough` does.
    async fn drain_legacy_tag<Enough: Future<Output = bool> + Send>(
        &self,
        faults: &mut Vec<Fault>,
        enough: impl FnMut(Evidence) -> Enough + Send,
    ) -> bool {
        let found = self.each_payload(self.tagged_layers().await);
        self.drain(faults, found.map(Gathered::in_order), enough).await
    }

    /// Returns the layers of the manifest under the tag.
    ///
    /// # Errors Returns empty evidence if there is no tag; otherwise fails as [`Self::by_payload`].
    async fn tagged_layers(&self) -> Result<ByPayload, Gathered> {
        let raw = self.tagged().await?.ok_or_else(Gathered::default)?;
        let (manifest, share) = self.read(&raw).await?;
        self.by_payload(&raw, manifest, share)
    }

    async fn tagged(&self) -> Result<Option<RawManifest>, Fault> {
        // The tag of a sha512 digest is too long to exist: sha512 has bundles only.
        let plain = triangulate::tag("", self.subject, Attachment::Signatures);
        if plain.len() > MAX_TAG {
            return Ok(None);
        }
        let tag = triangulate::tag(self.tag_prefix, self.subject, Attachment::Signatures);
        self.manifest(&Identifier::Tag(tag)).await
    }

    /// Fetches the listed referrers concurrently, in order of arrival: a slow one does not delay
    /// the others.
    fn unordered(
        &self,
        listed: Result<Vec<Descriptor>, Fault>,
    ) -> impl Stream<Item = Gathered> + Send {
        self.fetched_referrers(listed).map(|(_, found)| found)
    }

    /// Fetches each entry of a list: the evidence with the index of the entry, or the fault instead.
    fn fetched_referrers(
        &self,
        listed: Result<Vec<Descriptor>, Fault>,
    ) -> impl Stream<Item = Numbered> + Send {
        let entries = match listed.and_then(|listed| self.distinct(listed)) {
            Ok(entries) => entries.into_iter().map(Ok).collect(),
            Err(fault) => vec![Err(fault)],
        };
        let fetch = move |(number, entry): (usize, Result<Descriptor, Fault>)| async move {
            let found = async { self.referrer(entry?).await };
            (number, found.await.unwrap_or_else(Gathered::from))
        };
        let entries: Vec<_> = entries.into_iter().enumerate().collect();
        concurrent::unordered(entries, self.concurrency(), fetch)
    }

    fn distinct(&self, listed: Vec<Descriptor>) -> Result<Vec<Descriptor>, Fault> {
        let host = self.repository.registry();
        Limits::check_count(listed.len(), self.limits.referrers, host, "referrers")?;
        let mut seen = HashSet::new();
        Ok(listed.into_iter().filter(|entry| seen.insert(entry.digest.clone())).collect())
    }

    fn concurrency(&self) -> usize {
        self.limits.concurrent.max(1)
    }

    async fn referrer(&self, entry: Descriptor) -> Result<Gathered, Fault> {
        let origin = self.origin(&entry.digest, None);
        let may_be_bundle = may_be_bundle(&entry);
        let raw = match self.manifest(&Identifier::Digest(entry.digest.clone())).await {
            Ok(Some(raw)) => raw,
            // A listed signature that cannot be found may still be replicating within the registry,
            // so the image is not known to be unsigned. For other artifacts, a list may contain
            // entries that were deleted.
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
        let (manifest, share) = self.read(&raw).await?;
        let manifest = match manifest {
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
            layers if layers.iter().any(is_simple_signing) => {
                Ok(self.in_order(self.by_payload(&raw, Ok(manifest), share)).await)
            }
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

    /// Gathers the signatures of a `.sig` manifest, one for each layer, with the faults.
    async fn in_order(&self, layers: Result<ByPayload, Gathered>) -> Gathered {
        let found: Vec<Vec<Numbered>> = self.each_payload(layers).collect().await;
        Gathered::in_order(found.into_iter().flatten().collect())
    }

    /// Fetches the layers by payload, in order of arrival, each layer with its index; or yields the
    /// result that replaces the layers.
    fn each_payload(
        &self,
        layers: Result<ByPayload, Gathered>,
    ) -> impl Stream<Item = Vec<Numbered>> + Send {
        match layers {
            Ok(ByPayload { manifest, groups, share }) => {
                self.fetched_payloads(manifest, groups).inspect(move |_| _ = &share).left_stream()
            }
            Err(instead) => stream::iter([vec![(0, instead)]]).right_stream(),
        }
    }

    /// Groups the layers of a `.sig` manifest by payload, since many signatures share one: it is
    /// fetched once. Layers with different descriptors are not grouped, so that a wrong descriptor
    /// does not affect the others.
    ///
    /// # Errors Returns a fault, or the manifest as unusable evidence.
    fn by_payload(
        &self,
        raw: &RawManifest,
        manifest: Result<Manifest, InvalidManifest>,
        share: ByteShare,
    ) -> Result<ByPayload, Gathered> {
        let host = self.repository.registry();
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(InvalidManifest::Json(InvalidJson::TooManyEntries { limit, .. })) => {
                let detail = format!("more than {limit} signature layers");
                return Err(Fault::new(FaultKind::TooMany, host, detail).into());
            }
            Err(_) => {
                let reason = malformed("the signature tag does not contain an image manifest");
                return Err(unusable(self.origin(&raw.descriptor.digest, None), reason).into());
            }
        };
        let layers = manifest.layers;
        Limits::check_count(layers.len(), self.limits.signatures, host, "signature layers")?;
        let mut known = HashMap::new();
        let mut groups: Vec<Layers> = Vec::new();
        for (number, layer) in layers.into_iter().enumerate() {
            let place = *known.entry(descriptor_key(&layer)).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push((number, layer)),
                None => groups.push(vec![(number, layer)]),
            }
        }
        Ok(ByPayload { manifest: raw.descriptor.digest.clone(), groups, share })
    }

    /// Fetches each payload: its layers, each with its index.
    fn fetched_payloads(
        &self,
        manifest: Digest,
        groups: Vec<Layers>,
    ) -> impl Stream<Item = Vec<Numbered>> + Send {
        let fetch = move |layers: Layers| {
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
        concurrent::unordered(groups, self.concurrency(), fetch)
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
            Ok(Some(bytes)) if bytes.len() as u64 == layer.size => Ok(bytes),
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

    /// Parses strictly: other parsers must not find other layers in the same bytes. The share covers
    /// the parsed manifest, which takes about twice the bytes of its text.
    async fn read(&self, raw: &RawManifest) -> Result<ParsedManifest, Fault> {
        let (bytes, media_type) = (raw.bytes.clone(), raw.descriptor.media_type.clone());
        let parse = move || parse_manifest(&bytes, Some(&media_type));
        let share = self.cover(2 * raw.bytes.len()).await?;
        let manifest = match self.lease {
            Some(lease) => lease.parse(raw.bytes.len(), parse).await?,
            None => parse(),
        };
        Ok((manifest, share))
    }

    /// Covers the entries of a list of referrers.
    async fn cover_list(
        &self,
        listed: Result<Vec<Descriptor>, Fault>,
    ) -> (Result<Vec<Descriptor>, Fault>, ByteShare) {
        let size = |entry: &Descriptor| {
            let texts = entry.annotations.iter().map(|(name, text)| name.len() + text.len());
            size_of::<Descriptor>() + entry.media_type.len() + texts.sum::<usize>()
        };
        match listed {
            Ok(list) => match self.cover(list.iter().map(size).sum()).await {
                Ok(share) => (Ok(list), share),
                Err(busy) => (Err(busy), ByteShare::default()),
            },
            Err(fault) => (Err(fault), ByteShare::default()),
        }
    }

    async fn cover(&self, size: usize) -> Result<ByteShare, Fault> {
        let mut share = ByteShare::default();
        if let Some(lease) = self.lease {
            lease.grow(&mut share, size, self.repository.registry()).await?;
        }
        Ok(share)
    }

    async fn permitted<T>(
        &self,
        request: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let _permit = self.permits.acquire().await.map_err(|_| self.cancelled())?;
        request.await
    }

    fn missing(&self, what: &str, digest: &Digest) -> Fault {
        let detail = format!("the {what} {digest} is listed but cannot be found");
        Fault::new(FaultKind::Missing, self.repository.registry(), detail)
    }

    fn cancelled(&self) -> Fault {
        Fault::new(FaultKind::Cancelled, self.repository.registry(), "gathering was cancelled")
    }

    fn reserve(&self, bytes: u64) -> Result<(), Fault> {
        let take = |left: u64| left.checked_sub(bytes);
        self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(
            |_| {
                let bound = self.limits.evidence;
                let detail = format!("the signatures of one image exceed {bound} bytes in total");
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

/// Gathers the candidates for `subject`, an image of `repository`. If signatures are stored
/// `elsewhere` (`COSIGN_REPOSITORY`), the referrers in the image's repository are read too, because
/// cosign writes bundles there regardless of the variable.
pub async fn gather_all(
    registry: &dyn RegistryRead,
    repository: &Repository,
    elsewhere: Option<&Repository>,
    subject: &Digest,
    tag_prefix: &str,
    limits: &Limits,
) -> Gathered {
    let image_repository = Gathering::new(registry, repository, subject, tag_prefix, limits);
    let Some(elsewhere) = elsewhere.filter(|place| *place != repository) else {
        return image_repository.all().await;
    };
    let elsewhere = Gathering::new(registry, elsewhere, subject, tag_prefix, limits);
    let (mut found, bundles) = futures::join!(elsewhere.all(), image_repository.bundles());
    found.append(bundles);
    found.without_duplicates()
}

/// The distinct candidates of several repositories.
pub(crate) struct Distinct<'a> {
    pub(crate) evidence: Vec<&'a Evidence>,
    pub(crate) faults: Vec<&'a Fault>,
}

impl Gathered {
    /// Returns the distinct candidates of several repositories, in order.
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

    /// Restores the order of entries that arrived in any order. Equal faults are reported once.
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

    /// Removes duplicates: a bundle is identified by its layer, a legacy signature by its layer and
    /// annotations.
    fn without_duplicates(mut self) -> Self {
        let mut known = HashSet::new();
        self.evidence.retain(|piece| match content(piece) {
            Some((layer, annotations)) => known.insert((layer.cloned(), annotations.cloned())),
            None => true,
        });
        self
    }
}

/// The identity of a candidate's content; none for unusable evidence.
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

fn is_bundle(layer: &Descriptor) -> bool {
    layer.media_type.starts_with(media_type::BUNDLE_PREFIX)
}

fn descriptor_key(layer: &Descriptor) -> DescriptorKey {
    (layer.digest.clone(), layer.media_type.clone(), layer.size)
}

/// Returns whether a listed referrer may be a bundle: some writers set the type of the empty config
/// as artifact type.
fn may_be_bundle(entry: &Descriptor) -> bool {
    match entry.artifact_type.as_deref() {
        None | Some("" | media_type::OCI_EMPTY) => true,
        Some(artifact_type) => artifact_type.starts_with(media_type::BUNDLE_PREFIX),
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
