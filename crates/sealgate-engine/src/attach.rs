//! The use case behind `attach signature`: stores a signature of another tool as a legacy layer.

use bytes::Bytes;
use sealgate_core::base64;
use sealgate_core::digest::Digest;
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_core::reference::{Identifier, Reference, Repository};
use sealgate_core::reject::Reject;
use sealgate_core::simple_signing::SimpleSigning;

use crate::annotation;
use crate::failure::Failure;
use crate::legacy::{self, Appended, Layer, MediaTypes, Style};
use crate::pin;
use crate::ports::RegistryWrite;
use crate::triangulate::{self, Attachment};
use crate::write;

/// A signature to attach. Its format and its digest are checked, but it is not verified: no key is
/// given.
#[derive(Clone, Debug, Default)]
pub struct AttachRequest {
    /// The signature in base64; line breaks in it are removed.
    pub signature: String,
    /// The SimpleSigning payload that was signed; by default the one that `generate` prints.
    pub payload: Option<Vec<u8>>,
    /// The signer's certificate, PEM.
    pub certificate: Option<String>,
    /// The certificate chain above it, PEM.
    pub chain: Option<String>,
    /// The log entry in cosign's legacy form, JSON.
    pub log_entry: Option<String>,
    /// An RFC 3161 timestamp response, DER.
    pub timestamp: Option<Vec<u8>>,
    /// The repository to store it in, instead of the image's own (`COSIGN_REPOSITORY`).
    pub signature_repository: Option<Repository>,
    /// The prefix of legacy tags.
    pub tag_prefix: String,
    /// Media types of a new `.sig` image.
    pub media_types: MediaTypes,
}

/// The result of attaching a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The digest that was signed.
    pub digest: Digest,
    /// The tag that it is stored under.
    pub location: Reference,
    /// The manifest, and the number of layers that were added.
    pub appended: Appended,
}

/// The payload to sign for this digest, without annotations (`generate`).
pub fn payload(repository: &Repository, digest: &Digest) -> Vec<u8> {
    let named = repository.to_string();
    SimpleSigning::new(named, digest.clone(), &Default::default()).to_json().into_bytes()
}

/// Appends the signature to the image's `.sig` manifest.
pub async fn attach_signature(
    registry: &dyn RegistryWrite,
    reference: &Reference,
    request: &AttachRequest,
) -> Result<Attached, Failure> {
    let digest = pin::read(registry, reference).await?.descriptor.digest;
    let payload = match &request.payload {
        Some(payload) => payload.clone(),
        None => payload(reference.repository(), &digest),
    };
    check(&payload, &digest)?;
    let layer = layer(request, payload)?;
    let place = request.signature_repository.as_ref().unwrap_or(reference.repository());
    let tag = triangulate::tag(&request.tag_prefix, &digest, Attachment::Signatures);
    let style = Style { media_types: request.media_types, created: None };
    let same = |there: &Descriptor, ours: &Layer| *there == ours.descriptor;
    let appended = legacy::append(registry, place, &tag, &[layer], &style, same).await?;
    let location = place.at(Identifier::Tag(tag));
    Ok(Attached { digest, location, appended })
}

/// Refuses a payload with the digest of another image, which would never verify.
fn check(payload: &[u8], digest: &Digest) -> Result<(), Failure> {
    let claimed = SimpleSigning::parse(payload)?.digest;
    if claimed == *digest {
        return Ok(());
    }
    Err(Reject::OtherDigest { found: claimed, want: digest.clone() }.into())
}

fn layer(request: &AttachRequest, payload: Vec<u8>) -> Result<Layer, Failure> {
    let signature = base64::decode(request.signature.trim()).unwrap_or_default();
    if signature.is_empty() {
        return Err(Failure::Invalid("the signature is not standard base64".to_owned()));
    }
    let timestamp = request.timestamp.as_ref().map(|der| {
        let response = annotation::base64(der);
        serde_json::json!({ "SignedRFC3161Timestamp": response }).to_string()
    });
    let notes = [
        (annotation::SIGNATURE, Some(annotation::base64(&signature))),
        (annotation::CERTIFICATE, request.certificate.clone()),
        (annotation::CHAIN, request.chain.clone()),
        (annotation::BUNDLE, request.log_entry.clone()),
        (annotation::TIMESTAMP, timestamp),
    ];
    let mut descriptor = write::describe(media_type::SIMPLE_SIGNING, &payload);
    let notes = notes.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?)));
    descriptor.annotations = notes.collect();
    Ok(Layer { descriptor, content: Some(Bytes::from(payload)) })
}
