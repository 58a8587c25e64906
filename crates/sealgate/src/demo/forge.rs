//! Attacks by a registry writer without a key: moves a signature to another image, and modifies its
//! statement.

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealgate_core::digest::Digest;
use sealgate_core::manifest::{Manifest, media_type};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::ports::RegistryWrite;
use serde_json::Value;

use super::image::push_blob;

const LIMIT: u64 = 1 << 20;

/// Attaches the signature of `signed` to `victim` unchanged.
pub(super) async fn move_signature(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    signed: &Digest,
    victim: &Digest,
) -> anyhow::Result<()> {
    let (manifest, bundle) = signature(registry, repository, signed).await?;
    attach(registry, repository, victim, manifest, bundle).await
}

/// Attaches the signature of `signed` to `victim`, with the statement changed to name `victim`.
pub(super) async fn change_signature(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    signed: &Digest,
    victim: &Digest,
) -> anyhow::Result<()> {
    let (manifest, bundle) = signature(registry, repository, signed).await?;
    let mut bundle: Value = serde_json::from_slice(&bundle)?;
    let payload = &mut bundle["dsseEnvelope"]["payload"];
    let text = STANDARD.decode(payload.as_str().context("the bundle has no envelope")?)?;
    let text = String::from_utf8(text)?;
    if !text.contains(signed.hex()) {
        bail!("the statement does not name {signed}");
    }
    *payload = STANDARD.encode(text.replace(signed.hex(), victim.hex())).into();
    attach(registry, repository, victim, manifest, bundle.to_string().into_bytes()).await
}

/// Returns the first bundle attached to `signed`, and its manifest.
async fn signature(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    signed: &Digest,
) -> anyhow::Result<(Manifest, Vec<u8>)> {
    let referrers = registry.referrers(repository, signed).await?;
    let referrer = referrers.first().context("the signed image has no referrer")?;
    let at = Identifier::Digest(referrer.digest.clone());
    let raw = registry.manifest(repository, &at).await?.context("the referrer does not exist")?;
    let manifest: Manifest = serde_json::from_slice(&raw.bytes)?;
    let layer = manifest.layers.first().context("the referrer has no layer")?;
    let bundle = registry.blob(repository, &layer.digest, LIMIT).await?;
    let bundle = bundle.context("the bundle does not exist")?.to_vec();
    Ok((manifest, bundle))
}

async fn attach(
    registry: &dyn RegistryWrite,
    repository: &Repository,
    victim: &Digest,
    mut manifest: Manifest,
    bundle: Vec<u8>,
) -> anyhow::Result<()> {
    let at = Identifier::Digest(victim.clone());
    let subject =
        registry.resolve(repository, &at).await?.context("the target image does not exist")?;
    let old = manifest.layers.first().context("the manifest has no layer")?.clone();
    let layer = push_blob(registry, repository, &old.media_type, bundle.into()).await?;
    manifest.layers =
        vec![sealgate_core::manifest::Descriptor { annotations: old.annotations, ..layer }];
    manifest.subject = Some(subject);
    let bytes = serde_json::to_vec(&manifest)?;
    let at = Identifier::Digest(Digest::of(&bytes));
    registry.push_manifest(repository, &at, media_type::OCI_MANIFEST, bytes.into()).await?;
    Ok(())
}
