//! Small images: a config and one layer, pushed over plain HTTP; and raw access to a registry's
//! content, to inspect it and to tamper with it.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use aws_lc_rs::digest::{SHA256, digest};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::http::{self, Response};

/// Media type of an OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Image in a registry.
#[derive(Clone, Debug)]
pub struct Image {
    /// `127.0.0.1:PORT`.
    pub host: String,
    /// `team/app`.
    pub repository: String,
    /// `v1`.
    pub tag: String,
    /// `sha256:…` of its manifest.
    pub digest: String,
}

impl Image {
    /// `HOST/REPOSITORY:TAG`.
    pub fn by_tag(&self) -> String {
        format!("{}/{}:{}", self.host, self.repository, self.tag)
    }

    /// `HOST/REPOSITORY@DIGEST`.
    pub fn by_digest(&self) -> String {
        format!("{}@{}", self.name(), self.digest)
    }

    /// `HOST/REPOSITORY`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// `sha256-HEX`: fallback tag of the referrers API, and prefix of cosign's legacy tags.
    pub fn digest_tag(&self) -> String {
        self.digest.replace(':', "-")
    }

    /// Same image under another host (a proxy).
    pub fn at(&self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self.clone() }
    }
}

/// Pushes an image whose only file contains `text`: another text gives another digest.
pub fn push(host: &str, repository: &str, tag: &str, text: &str) -> anyhow::Result<Image> {
    let descriptor = push_untagged(host, repository, tag, text, "amd64")?;
    Ok(Image {
        host: host.to_owned(),
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest: descriptor["digest"].as_str().context("a digest")?.to_owned(),
    })
}

/// Pushes an index of two images for two platforms; returns the images as well.
pub fn push_index(host: &str, repository: &str, tag: &str) -> anyhow::Result<(Image, Vec<Image>)> {
    let mut manifests = Vec::new();
    let mut children = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let child_tag = format!("{tag}-{architecture}");
        let text = format!("{repository} {child_tag}");
        let mut child = push_untagged(host, repository, &child_tag, &text, architecture)?;
        children.push(Image {
            host: host.to_owned(),
            repository: repository.to_owned(),
            tag: child_tag,
            digest: child["digest"].as_str().context("a digest")?.to_owned(),
        });
        child["platform"] = json!({ "architecture": architecture, "os": "linux" });
        manifests.push(child);
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let digest = put_manifest(host, repository, tag, INDEX, index.to_string().as_bytes())?;
    let index = Image {
        host: host.to_owned(),
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        digest,
    };
    Ok((index, children))
}

/// Pushes an image under `tag`, and returns its descriptor.
fn push_untagged(
    host: &str,
    repository: &str,
    tag: &str,
    text: &str,
    architecture: &str,
) -> anyhow::Result<Value> {
    let archive = archive(text)?;
    let layer = gzip(&archive)?;
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Cmd": ["/greeting"], "User": "65532" },
        "rootfs": { "type": "layers", "diff_ids": [sha256(&archive)] },
    });
    let config = config.to_string().into_bytes();
    push_blob(host, repository, &config)?;
    push_blob(host, repository, &layer)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [descriptor(LAYER, &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    put_manifest(host, repository, tag, MANIFEST, &manifest)?;
    Ok(descriptor(MANIFEST, &manifest))
}

/// Stores a manifest under a tag or digest; returns its digest.
pub fn put_manifest(
    host: &str,
    repository: &str,
    at: &str,
    media_type: &str,
    bytes: &[u8],
) -> anyhow::Result<String> {
    let path = format!("/v2/{repository}/manifests/{at}");
    expect(http::request("PUT", host, &path, &[("Content-Type", media_type)], bytes)?, &[201])?;
    Ok(sha256(bytes))
}

/// Manifest under a tag or digest, if it exists.
pub fn get_manifest(host: &str, repository: &str, at: &str) -> anyhow::Result<Option<Value>> {
    let path = format!("/v2/{repository}/manifests/{at}");
    let answer = http::get(host, &path, &format!("{MANIFEST}, {INDEX}"))?;
    if answer.status == 404 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&expect(answer, &[200])?.body)?))
}

/// Content of a blob.
pub fn get_blob(host: &str, repository: &str, digest: &str) -> anyhow::Result<Vec<u8>> {
    let answer = http::get(host, &format!("/v2/{repository}/blobs/{digest}"), "*/*")?;
    Ok(expect(answer, &[200])?.body)
}

/// Stores a blob; returns its digest.
pub fn push_blob(host: &str, repository: &str, bytes: &[u8]) -> anyhow::Result<String> {
    let digest = sha256(bytes);
    let uploads = format!("/v2/{repository}/blobs/uploads/");
    let begun = expect(http::request("POST", host, &uploads, &[], &[])?, &[202])?;
    let location = begun.header("location").context("an upload has a Location")?;
    let location = location.strip_prefix(&format!("http://{host}")).unwrap_or(location);
    let sign = if location.contains('?') { '&' } else { '?' };
    let path = format!("{location}{sign}digest={digest}");
    let octets = [("Content-Type", "application/octet-stream")];
    expect(http::request("PUT", host, &path, &octets, bytes)?, &[201])?;
    Ok(digest)
}

/// Descriptor of some bytes.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "size": bytes.len(), "digest": sha256(bytes) })
}

/// `sha256:…`.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, bytes)))
}

fn expect(answer: Response, statuses: &[u16]) -> anyhow::Result<Response> {
    if !statuses.contains(&answer.status) {
        bail!("the registry answered {}: {}", answer.status, answer.text());
    }
    Ok(answer)
}

fn archive(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o755);
    header.set_cksum();
    archive.append_data(&mut header, "greeting", text.as_bytes())?;
    Ok(archive.into_inner()?)
}

fn gzip(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
