//! The memory that a hostile registry can make the gate use: the peak of this process, which
//! holds the client, the gate and the registry. One test, since they would share the peak.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use sealgate_core::digest::Digest;
use sealgate_core::key::PublicKey;
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_core::verify::{KeyAuthority, TrustConfig};
use sealgate_engine::admit::{Admission, Answer, ImageUse, Workload};
use sealgate_engine::gate::{Gate, GatePorts, GateSettings};
use sealgate_engine::ports::RegistryWrite;
use sealgate_policy::glob::{Glob, TagMatching};
use sealgate_policy::rule::{
    Formats, Mode, Need, Rule, RuleSource, SignatureRequirement, SignedBy, When,
};
use sealgate_policy::select::{NoMatch, PolicySet};
use sealgate_registry::serve::{self, Failure, Rule as Misbehave, Served};
use sealgate_registry::{Client, Options};
use sealgate_testkit::ports::{FrozenClock, MemorySecrets, Recorder};

const KEY: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAA079MvN5qAMYFEEDUDrYVYs5DtprKFj08dXcBD2/2So=
-----END PUBLIC KEY-----
";
/// Images of one object, each with so many referrers of this size: half a gigabyte in all.
const IMAGES: usize = 16;
const REFERRERS: usize = 32;
const REFERRER_SIZE: usize = 1 << 20;
/// The limit of the peak; it was 385 MiB before there was a bound.
const MOST: usize = 160 << 20;

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        size: bytes.len() as u64,
        digest: Digest::of(bytes),
        artifact_type: None,
        annotations: BTreeMap::new(),
        platform: None,
    }
}

async fn push_blob(client: &Client, at: &Repository, bytes: Vec<u8>) -> Descriptor {
    let descriptor = descriptor(media_type::BUNDLE_V03, &bytes);
    let content = Box::pin(stream::iter([Ok(Bytes::from(bytes))]));
    client.push_blob(at, &descriptor, content).await.unwrap();
    descriptor
}

async fn push_manifest(client: &Client, at: &Repository, manifest: serde_json::Value) -> Digest {
    let bytes = Bytes::from(manifest.to_string());
    let digest = Identifier::Digest(Digest::of(&bytes));
    client.push_manifest(at, &digest, media_type::OCI_MANIFEST, bytes).await.unwrap()
}

/// Images with useless bundles as referrers.
async fn images(client: &Client, at: &Repository) -> Vec<String> {
    let config = push_blob(client, at, b"{}".to_vec()).await;
    let bundle = push_blob(client, at, vec![b'['; REFERRER_SIZE]).await;
    let mut images = Vec::new();
    for number in 0..IMAGES {
        let mut manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": config,
            "layers": [],
            "annotations": {"number": number.to_string()},
        });
        let image = push_manifest(client, at, manifest.clone()).await;
        images.push(format!("{at}@{image}"));
        let size = manifest.to_string().len();
        manifest["subject"] = serde_json::json!({"mediaType": media_type::OCI_MANIFEST, "size": size, "digest": image});
        manifest["layers"] = serde_json::json!([bundle]);
        for number in 0..REFERRERS {
            manifest["annotations"]["referrer"] = number.to_string().into();
            push_manifest(client, at, manifest.clone()).await;
        }
    }
    images
}

fn gate(client: Client) -> Gate {
    let ports = GatePorts {
        registries: Arc::new(client),
        secrets: Arc::new(MemorySecrets::default()),
        clock: Arc::new(FrozenClock::default()),
        audit: Arc::new(Recorder::default()),
    };
    Gate::new(ports, GateSettings::default())
}

fn policies() -> PolicySet {
    let keys = KeyAuthority { keys: vec![PublicKey::from_pem(KEY).unwrap()], hash: None };
    let requirement = SignatureRequirement::new(keys.into(), TrustConfig::default());
    let signed = SignedBy::new("a".to_owned(), requirement, Formats::Both);
    let when =
        When { images: vec![Glob::any()], tags: TagMatching::AsWritten, matches: Vec::new() };
    let rule =
        Rule::new("p".to_owned(), RuleSource::default(), when, Need::Signed(signed), Mode::Enforce);
    PolicySet::new(vec![rule], NoMatch::Deny)
}

async fn ask(gate: &Gate, images: &[String]) -> Answer {
    let images = images.iter().enumerate().map(|(n, image)| ImageUse {
        path: format!("spec.containers[{n}].image"),
        pointer: format!("/spec/containers/{n}/image"),
        image: image.clone(),
    });
    let admission = Admission {
        uid: "1".to_owned(),
        user: String::new(),
        dry_run: false,
        workload: Workload { images: images.collect(), ..Workload::default() },
    };
    gate.validate(&admission, &policies(), Some(Duration::from_secs(20))).await
}

/// The peak of resident memory since the last call.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    kilobytes << 10
}

async fn measured(served: &Served, images: &[String], what: &str) {
    let before = {
        peak();
        peak()
    };
    let gate = gate(Client::new(Options::default()).unwrap());
    let answer = ask(&gate, images).await;
    let cost = peak().saturating_sub(before);
    assert!(!answer.allowed, "{what}");
    assert!(!answer.message.contains("no signatures found"), "{what}: {}", answer.message);
    assert!(cost < MOST, "{what}: {} MiB", cost >> 20);
    assert!(!served.log().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_registry_cannot_fill_the_memory() {
    let served = Served::start(serve::Options::default()).await.unwrap();
    let client = Client::new(Options::default()).unwrap();
    let at = Repository::parse(&format!("{}/acme/app", served.registry())).unwrap();
    let images = images(&client, &at).await;
    measured(&served, &images, "half a gigabyte of referrers").await;
    served.inject(Misbehave::always("/referrers/", Failure::EndlessPages));
    measured(&served, &images, "lists of referrers without end").await;
    served.inject(Misbehave::always("/manifests/", Failure::EndlessBody));
    measured(&served, &images, "manifests without end").await;
    served.recover();
    served.inject(Misbehave::always("/blobs/", Failure::EndlessBody));
    measured(&served, &images, "blobs without end").await;
    served.recover();
    served.inject(Misbehave::always("", Failure::EndlessBody));
    measured(&served, &images, "everything without end").await;
}
