//! The use case behind `download signature`: signatures as text, cosign's JSON lines for legacy
//! signatures and bundles unchanged.

use sealgate_core::certificate::pem;
use sealgate_core::evidence::{Evidence, LegacySignature};
use sealgate_core::fault::Fault;
use sealgate_core::reference::{Reference, Repository};
use serde_json::{Value, json};

use crate::annotation;
use crate::failure::Failure;
use crate::gather::{self, Gathered};
use crate::limits::Limits;
use crate::pin;
use crate::ports::RegistryRead;

/// The signatures of an image, unverified.
#[derive(Clone, Debug)]
pub struct Download {
    /// One JSON document per signature or bundle, without line breaks.
    pub lines: Vec<String>,
    /// The faults of sources that could not be read: there may be more signatures.
    pub faults: Vec<Fault>,
}

/// The signatures that [`gather::gather_all`] finds. A fault is a failure where nothing was found.
pub async fn signatures(
    registry: &dyn RegistryRead,
    reference: &Reference,
    signature_repository: Option<&Repository>,
    tag_prefix: &str,
    limits: &Limits,
) -> Result<Download, Failure> {
    let digest = pin::digest(registry, reference).await?;
    let (here, elsewhere) = (reference.repository(), signature_repository);
    let Gathered { evidence, faults } =
        gather::gather_all(registry, here, elsewhere, &digest, tag_prefix, limits).await;
    let lines = evidence.iter().filter_map(line).collect::<Vec<_>>();
    match faults.first() {
        Some(fault) if lines.is_empty() => Err(fault.clone().into()),
        _ => Ok(Download { lines, faults }),
    }
}

fn line(piece: &Evidence) -> Option<String> {
    match piece {
        Evidence::Legacy(signature) => Some(legacy_line(signature)),
        Evidence::Bundle(bundle) => one_line(&bundle.json),
        Evidence::Unusable { .. } => None,
    }
}

/// A JSON text without the line breaks between its tokens.
fn one_line(json: &[u8]) -> Option<String> {
    let value: Box<serde_json::value::RawValue> = serde_json::from_slice(json).ok()?;
    Some(value.get().chars().filter(|c| !matches!(c, '\n' | '\r')).collect())
}

fn legacy_line(signature: &LegacySignature) -> String {
    let note = |key| signature.annotations.get(key).filter(|text: &&String| !text.is_empty());
    let document = |key| note(key).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let certificates = |key| note(key).map(|text| certificates(text)).unwrap_or_default();
    let chain = certificates(annotation::CHAIN);
    json!({
        "Base64Signature": note(annotation::SIGNATURE),
        "Payload": annotation::base64(&signature.payload),
        "Cert": certificates(annotation::CERTIFICATE).into_iter().next(),
        "Chain": if chain.is_empty() { Value::Null } else { chain.into() },
        "Bundle": document(annotation::BUNDLE),
        "RFC3161Timestamp": document(annotation::TIMESTAMP),
    })
    .to_string()
}

/// The certificates as Go prints them, objects with the DER in `Raw`. Text that is not PEM gives
/// none.
fn certificates(text: &str) -> Vec<Value> {
    let certificates = pem::read(text, usize::MAX).unwrap_or_default();
    certificates.iter().map(|der| json!({ "Raw": annotation::base64(der) })).collect()
}
