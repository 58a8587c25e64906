//! Tests of layouts, valid and malicious.

use std::collections::BTreeMap;

use futures::StreamExt;
use sealgate_core::manifest::media_type;

use super::*;

fn repository() -> Repository {
    Repository::parse("layout.invalid/x/y").unwrap()
}

fn tag(name: &str) -> Identifier {
    Identifier::Tag(name.to_owned())
}

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

async fn blob(layout: &Layout, bytes: &[u8]) -> Descriptor {
    let descriptor = descriptor("a/b", bytes);
    let content = stream::iter([Ok(Bytes::copy_from_slice(bytes))]);
    layout.push_blob(&repository(), &descriptor, Box::pin(content)).await.unwrap();
    descriptor
}

async fn image(layout: &Layout, at: &Identifier, subject: Option<&Descriptor>) -> Descriptor {
    let config = blob(layout, b"{}").await;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config,
        "layers": [], "subject": subject,
    });
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let found = descriptor(media_type::OCI_MANIFEST, &bytes);
    let at = match at {
        Identifier::Tag(tag) if tag.is_empty() => Identifier::Digest(found.digest.clone()),
        at => at.clone(),
    };
    let kind = media_type::OCI_MANIFEST;
    layout.push_manifest(&repository(), &at, kind, bytes.into()).await.unwrap();
    found
}

#[tokio::test]
async fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path().join("l")).unwrap();
    let found = image(&layout, &tag("v1"), None).await;
    let layout = Layout::open(folder.path().join("l")).unwrap();
    let read = layout.manifest(&repository(), &tag("v1")).await.unwrap().unwrap();
    assert_eq!(read.descriptor, found);
    assert_eq!(layout.tags(&repository()).await.unwrap(), ["v1"]);
    assert_eq!(layout.image().await.unwrap().digest, found.digest);
    let refers = image(&layout, &tag(""), Some(&found)).await;
    let list = layout.referrers(&repository(), &found.digest).await.unwrap();
    assert_eq!(list.iter().map(|d| &d.digest).collect::<Vec<_>>(), [&refers.digest]);
    let data = blob(&layout, b"hello").await;
    assert!(layout.blob(&repository(), &data.digest, 4).await.is_err());
    let stream = layout.blob_stream(&repository(), &data.digest).await.unwrap().unwrap();
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"hello");
    assert!(layout.delete(&repository(), &tag("v1")).await.unwrap());
    assert_eq!(layout.resolve(&repository(), &tag("v1")).await.unwrap(), None);
    assert!(layout.delete(&repository(), &Identifier::Digest(found.digest)).await.unwrap());
}

#[tokio::test]
async fn folders_of_cosign_save_are_read_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).unwrap();
    let mut saved = image(&layout, &tag(""), None).await;
    let mut signatures = image(&layout, &tag(""), Some(&descriptor("a/b", b"x"))).await;
    for (entry, kind) in [(&mut saved, kind::IMAGE), (&mut signatures, kind::SIGNATURES)] {
        entry.annotations.insert(kind::ANNOTATION.to_owned(), kind.to_owned());
        layout.add_entry(entry.clone()).await.unwrap();
        layout.add_entry(entry.clone()).await.unwrap();
    }
    assert_eq!(layout.index().await.unwrap().manifests.len(), 2);
    assert_eq!(layout.image().await.unwrap().digest, saved.digest);
    let name = saved.digest.to_string().replace(':', "-");
    let sig = layout.resolve(&repository(), &tag(&format!("{name}.sig"))).await.unwrap().unwrap();
    assert_eq!(sig.digest, signatures.digest);
    assert_eq!(layout.resolve(&repository(), &tag(&format!("{name}.att"))).await.unwrap(), None);
    let other = format!("sha256-{}.sig", "0".repeat(64));
    assert_eq!(layout.resolve(&repository(), &tag(&other)).await.unwrap(), None);
}

#[tokio::test]
async fn replacing_compares_and_parallel_writers_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).unwrap();
    let index = |n: usize| {
        let list: Vec<_> = (0..n).map(|i| descriptor("a/b", &[i as u8])).collect();
        let json = serde_json::json!({ "schemaVersion": 2, "manifests": list });
        Bytes::from(json.to_string())
    };
    let replace = async |expected: Option<Digest>, bytes: Bytes| {
        let kind = media_type::OCI_INDEX;
        layout.replace_manifest(&repository(), "x.sig", expected.as_ref(), kind, bytes).await
    };
    assert!(replace(None, index(1)).await.unwrap());
    assert!(!replace(None, index(2)).await.unwrap());
    assert!(replace(Some(Digest::of(&index(1))), index(2)).await.unwrap());
    let tags = (0..20).map(|n| {
        let layout = Layout::open(folder.path()).unwrap();
        async move { image(&layout, &tag(&format!("v{n}")), None).await }
    });
    stream::iter(tags).buffer_unordered(20).collect::<Vec<_>>().await;
    assert_eq!(layout.tags(&repository()).await.unwrap().len(), 21);
}

#[tokio::test]
async fn inconsistent_layouts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Layout::open(folder.path()).unwrap_err().kind, FaultKind::Missing);
    let layout = Layout::create(folder.path()).unwrap();
    let found = image(&layout, &tag("v1"), None).await;
    let path = folder.path().join("blobs/sha256").join(found.digest.hex());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.push(b' ');
    std::fs::write(&path, &bytes).unwrap();
    let fault = layout.manifest(&repository(), &tag("v1")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::DigestMismatch);
    let stream = layout.blob_stream(&repository(), &found.digest).await.unwrap().unwrap();
    let end: Result<Vec<Bytes>, Fault> = stream.try_collect().await;
    assert_eq!(end.unwrap_err().kind, FaultKind::DigestMismatch);

    let index = folder.path().join("index.json");
    let traversal = r#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":1,
        "digest":"sha256:../../../../etc/passwd"}]}"#;
    for text in [traversal, "[]", "{", &"[".repeat(100_000)] {
        std::fs::write(&index, text).unwrap();
        assert_eq!(layout.index().await.unwrap_err().kind, FaultKind::Malformed);
    }
    std::fs::write(&index, vec![b' '; 5 << 20]).unwrap();
    assert_eq!(layout.index().await.unwrap_err().kind, FaultKind::TooLarge);

    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir(other.path().join("real")).unwrap();
    std::fs::write(other.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::os::unix::fs::symlink(other.path().join("real"), other.path().join("blobs")).unwrap();
    assert_eq!(Layout::open(other.path()).unwrap_err().kind, FaultKind::Malformed);
}

/// A malicious layout must not redirect writes through its symbolic links.
#[tokio::test]
async fn a_lock_that_is_a_link_is_not_followed() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Layout::create(folder.path()).unwrap();
    let (lock, target) = (folder.path().join(".sealgate.lock"), other.path().join("made"));
    let _ = std::fs::remove_file(&lock);
    std::os::unix::fs::symlink(&target, &lock).unwrap();
    for opened in [Layout::open(folder.path()), Layout::create(folder.path())] {
        assert_eq!(opened.unwrap_err().kind, FaultKind::Malformed);
    }
    assert!(!target.exists());
}

#[tokio::test]
async fn wrong_content_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).unwrap();
    let right = descriptor("a/b", b"right");
    for wrong in [&b"wrong"[..], b"right!", b"righ"] {
        let content = stream::iter([Ok(Bytes::copy_from_slice(wrong))]);
        let push = layout.push_blob(&repository(), &right, Box::pin(content)).await;
        assert_eq!(push.unwrap_err().kind, FaultKind::DigestMismatch);
    }
    assert_eq!(std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(folder.path().join("blobs")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_folder_with_two_saved_images_is_not_guessed_at() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).unwrap();
    let mark = |entry: Descriptor| {
        let annotations = [(kind::ANNOTATION.to_owned(), kind::IMAGE.to_owned())].into();
        Descriptor { annotations, ..entry }
    };
    let first = image(&layout, &tag("v1"), None).await;
    layout.add_entry(mark(first.clone())).await.unwrap();
    assert_eq!(layout.image().await.unwrap().digest, first.digest);
    let other = image(&layout, &tag("v2"), Some(&first)).await;
    layout.add_entry(mark(other)).await.unwrap();
    assert_eq!(layout.image().await.unwrap_err().kind, FaultKind::TooMany);
}

/// The verified image must be the one that users of the layout get.
#[tokio::test]
async fn the_image_is_what_index_json_says() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path()).unwrap();
    let found = image(&layout, &tag("v1"), None).await;
    let path = folder.path().join("blobs/sha256").join(found.digest.hex());
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&good[..], b" "].concat()).unwrap();
    assert_eq!(layout.image().await.unwrap_err().kind, FaultKind::DigestMismatch);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(layout.image().await.unwrap_err().kind, FaultKind::Malformed);
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert_eq!(layout.image().await.unwrap_err().kind, FaultKind::Malformed);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &good).unwrap();
    assert_eq!(layout.image().await.unwrap().digest, found.digest);
    let index = folder.path().join("index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    let text = text.replace(&format!("\"size\":{}", found.size), "\"size\":1");
    std::fs::write(&index, text).unwrap();
    assert_eq!(layout.image().await.unwrap_err().kind, FaultKind::Malformed);
}

#[tokio::test]
async fn nothing_is_created_through_a_link() {
    for link in ["blobs", "blobs/sha256"] {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let link = folder.path().join(link);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(other.path(), link).unwrap();
        assert_eq!(Layout::create(folder.path()).unwrap_err().kind, FaultKind::Malformed);
        assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
    }
}
