//! Pushes: uploads, mounts, tags, deletions.

use futures::TryStreamExt;
use sealgate_core::fault::FaultKind;
use sealgate_engine::ports::{RegistryRead, RegistryWrite};
use sealgate_registry::serve::{self, Failure, Locations, Referrers, Rule, TagUpdates};

use super::*;

#[tokio::test]
async fn what_is_pushed_comes_back_by_both_kinds_of_location() {
    for locations in [Locations::Relative, Locations::Absolute] {
        let served = served(serve::Options { locations, ..serve::Options::default() }).await;
        let (client, repository) = (client(), repository(&served, "deep/er/repo"));
        let image = push_image(&client, &repository, "v1").await;
        let found = client.manifest(&repository, &tag("v1")).await.unwrap().unwrap();
        assert_eq!(found.descriptor, image);
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        let large = push_blob(&client, &repository, &bytes).await;
        let stream = client.blob_stream(&repository, &large.digest).await.unwrap().unwrap();
        let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
        assert_eq!(pieces.concat(), bytes);
    }
}

#[tokio::test]
async fn a_blob_that_is_there_is_not_sent() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    push_blob(&client, &repository, b"x").await;
    served.clear_log();
    push_blob(&client, &repository, b"x").await;
    assert_eq!(served.log().len(), 1);
}

#[tokio::test]
async fn a_small_upload_that_breaks_is_made_again() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    served.inject(Rule::times("/blobs/uploads/upload", 2, Failure::Status(502)).only("PUT"));
    let blob = push_blob(&client, &repository, b"x").await;
    assert!(client.blob(&repository, &blob.digest, 9).await.unwrap().is_some());
    assert_eq!(served.count("PUT", "/blobs/uploads/"), 3);
}

#[tokio::test]
async fn wrong_content_is_not_pushed() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    for size in [5, 2_000_000] {
        let right = descriptor("x/y", &vec![b'a'; size]);
        for wrong in [vec![b'b'; size], vec![b'a'; size + 1], vec![b'a'; size - 1]] {
            let fault = client.push_blob(&repository, &right, content(wrong)).await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::DigestMismatch, "{fault}");
        }
        assert_eq!(client.blob(&repository, &right.digest, 9).await.unwrap(), None);
    }
    let other = Identifier::Digest(Digest::of(b"other"));
    let bytes = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
    let put = client.push_manifest(&repository, &other, media_type::OCI_INDEX, bytes).await;
    assert_eq!(put.unwrap_err().kind, FaultKind::Config);
}

#[tokio::test]
async fn blobs_are_mounted_where_the_registry_has_them() {
    let served = served(serve::Options::default()).await;
    let (client, from, to) = (client(), repository(&served, "a/b"), repository(&served, "c/d"));
    let blob = push_blob(&client, &from, b"x").await;
    assert!(client.mount_blob(&to, &blob.digest, &from).await.unwrap());
    assert!(client.blob(&to, &blob.digest, 9).await.unwrap().is_some());
    let nothing = Digest::of(b"nothing");
    assert!(!client.mount_blob(&to, &nothing, &from).await.unwrap());
    assert_eq!(served.count("DELETE", "/blobs/uploads/"), 1, "the upload is given back");
}

#[tokio::test]
async fn tags_are_listed_by_pages_and_deleted() {
    let served = served(serve::Options { page: 3, ..serve::Options::default() }).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    assert_eq!(client.tags(&repository).await.unwrap(), Vec::<String>::new());
    for n in 0..10 {
        push_image(&client, &repository, &format!("v{n}")).await;
    }
    assert_eq!(client.tags(&repository).await.unwrap().len(), 10);
    assert!(client.delete(&repository, &tag("v3")).await.unwrap());
    assert!(!client.delete(&repository, &tag("v3")).await.unwrap());
    assert_eq!(client.tags(&repository).await.unwrap().len(), 9);
}

fn index_of(entries: &[Descriptor]) -> Bytes {
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries,
    });
    Bytes::from(index.to_string())
}

#[tokio::test]
async fn a_tag_is_replaced_only_if_it_has_not_moved() {
    for tags in [TagUpdates::LastWins, TagUpdates::Conditional] {
        let served = served(serve::Options { tags, ..serve::Options::default() }).await;
        let (client, repository) = (client(), repository(&served, "a/b"));
        let (one, two) = (index_of(&[]), index_of(&[descriptor("a/b", b"{}")]));
        let (first, second) = (Digest::of(&one), Digest::of(&two));
        let replace = async |expected: Option<&Digest>, bytes: &Bytes| {
            let kind = media_type::OCI_INDEX;
            client.replace_manifest(&repository, "x.sig", expected, kind, bytes.clone()).await
        };
        assert!(!replace(Some(&first), &two).await.unwrap());
        assert!(replace(None, &one).await.unwrap());
        assert!(!replace(None, &two).await.unwrap());
        assert!(replace(Some(&first), &two).await.unwrap());
        let now = client.resolve(&repository, &tag("x.sig")).await.unwrap().unwrap();
        assert_eq!(now.digest, second);
    }
}

/// harbor#17332: moving an immutable tag fails at once, with the reason.
#[tokio::test]
async fn an_immutable_tag_is_no_lost_race() {
    let tags = TagUpdates::Immutable;
    let served =
        served(serve::Options { tags, referrers: Referrers::Absent, ..Default::default() });
    let served = served.await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let (one, two) = (index_of(&[]), index_of(&[descriptor("a/b", b"{}")]));
    let first = Digest::of(&one);
    let kind = media_type::OCI_INDEX;
    let replace = async |expected: Option<&Digest>, bytes: &Bytes| {
        client.replace_manifest(&repository, "x.sig", expected, kind, bytes.clone()).await
    };
    assert!(replace(None, &one).await.unwrap());
    assert!(replace(Some(&first), &one).await.unwrap(), "it already is what it should be");
    let image = push_image(&client, &repository, "v1").await;
    let bundle = push_bundle(&client, &repository, &image, "one").await;

    let start = std::time::Instant::now();
    served.clear_log();
    let moved = client.push_manifest(&repository, &tag("x.sig"), kind, two.clone()).await;
    let removed = client.delete(&repository, &tag("x.sig")).await;
    let at = Identifier::Digest(bundle);
    let faults = [
        replace(Some(&first), &two).await.unwrap_err(),
        moved.unwrap_err(),
        removed.unwrap_err(),
        second_bundle(&client, &repository, &image).await.unwrap_err(),
        client.delete(&repository, &at).await.unwrap_err(),
    ];
    for fault in faults {
        assert_eq!(fault.kind, FaultKind::Denied, "{fault}");
        assert!(fault.detail.contains("412 Precondition Failed: PRECONDITION"), "{fault}");
        assert!(fault.detail.contains("is immutable"), "{fault}");
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(served.count("PUT", "/manifests/x.sig"), 2, "{:?}", served.log());
    // A concurrent writer is a different case: the tag has changed.
    let other = index_of(&[descriptor("a/c", b"{}")]);
    assert!(!replace(None, &other).await.unwrap());
}

async fn second_bundle(
    client: &Client,
    repository: &Repository,
    image: &Descriptor,
) -> Result<Digest, sealgate_core::fault::Fault> {
    let mut layer = push_blob(client, repository, b"two").await;
    layer.media_type = media_type::BUNDLE_V03.to_owned();
    let bytes = bundle_manifest(image, &layer);
    let at = Identifier::Digest(Digest::of(&bytes));
    client.push_manifest(repository, &at, media_type::OCI_MANIFEST, bytes.into()).await
}

/// A 412 for an unconditional write is never a conflict.
#[tokio::test]
async fn a_412_without_a_condition_is_a_refusal() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let one = index_of(&[]);
    let kind = media_type::OCI_INDEX;
    served.inject(Rule::always("/manifests/", Failure::Status(412)).only("PUT"));
    served.inject(Rule::always("/manifests/", Failure::Status(404)).only("HEAD"));
    let start = std::time::Instant::now();
    let put = client.replace_manifest(&repository, "x.sig", None, kind, one.clone()).await;
    assert_eq!(put.unwrap_err().kind, FaultKind::Denied);
    let put = client.push_manifest(&repository, &tag("x"), kind, one).await;
    assert_eq!(put.unwrap_err().kind, FaultKind::Denied);
    assert!(start.elapsed() < std::time::Duration::from_secs(2));
}

/// Update of `.sig` by the signing use case: read, append, replace, and retry on conflict.
async fn append(client: &Client, repository: &Repository, layer: Descriptor) {
    loop {
        let now = client.manifest(repository, &tag("x.sig")).await.unwrap();
        let expected = now.as_ref().map(|m| m.descriptor.digest.clone());
        let mut layers: Vec<Descriptor> = now
            .map(|m| serde_json::from_slice::<serde_json::Value>(&m.bytes).unwrap())
            .map(|m| serde_json::from_value(m["manifests"].clone()).unwrap())
            .unwrap_or_default();
        if layers.contains(&layer) {
            return;
        }
        layers.push(layer.clone());
        let kind = media_type::OCI_INDEX;
        let bytes = index_of(&layers);
        let expected = expected.as_ref();
        if client.replace_manifest(repository, "x.sig", expected, kind, bytes).await.unwrap() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_writers_of_one_tag_lose_nothing() {
    let latency = Duration::from_millis(10);
    let served = served(serve::Options {
        referrers: Referrers::Absent,
        latency,
        ..serve::Options::default()
    })
    .await;
    let repository = repository(&served, "a/b");
    let tasks: Vec<_> = (0..20_u8)
        .map(|n| {
            let repository = repository.clone();
            let entry = descriptor("a/b", &[n]);
            tokio::spawn(async move { append(&client(), &repository, entry).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let now = client().manifest(&repository, &tag("x.sig")).await.unwrap().unwrap();
    let now: serde_json::Value = serde_json::from_slice(&now.bytes).unwrap();
    assert_eq!(now["manifests"].as_array().unwrap().len(), 20);
}
