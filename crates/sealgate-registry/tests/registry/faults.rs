//! Failing and hostile registries: each results in a named fault within the deadline.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use sealgate_core::fault::FaultKind;
use sealgate_engine::ports::RegistryRead;
use sealgate_registry::serve::{self, Failure, Rule};
use sealgate_registry::{Client, Limits, Options};

use super::*;

#[tokio::test]
async fn throttling_is_waited_out_or_reported_never_an_empty_answer() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    served.inject(Rule::times("/manifests/", 2, Failure::Throttled(0)));
    assert_eq!(client.resolve(&repository, &tag("v1")).await.unwrap(), Some(image.clone()));

    served.inject(Rule::times("/manifests/", 1, Failure::Throttled(1)));
    let start = Instant::now();
    assert!(client.resolve(&repository, &tag("v1")).await.unwrap().is_some());
    assert!(start.elapsed() >= Duration::from_secs(1), "Retry-After is kept");

    served.inject(Rule::always("", Failure::Throttled(3600)));
    let start = Instant::now();
    let fault = client.referrers(&repository, &image.digest).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Throttled);
    assert_eq!(fault.retry_after, Some(Duration::from_secs(3600)));
    assert_eq!(fault.target, served.registry());
    assert!(start.elapsed() < Duration::from_secs(1), "nobody waits an hour");
    served.recover();
    assert_eq!(client.referrers(&repository, &image.digest).await.unwrap(), []);
}

#[tokio::test]
async fn server_errors_are_retried_a_few_times() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    push_image(&client, &repository, "v1").await;
    for status in [500, 502, 503, 504] {
        served.inject(Rule::times("/manifests/", 2, Failure::Status(status)));
        assert!(client.resolve(&repository, &tag("v1")).await.unwrap().is_some(), "{status}");
    }
    served.clear_log();
    served.inject(Rule::always("/manifests/", Failure::Status(503)));
    let fault = client.resolve(&repository, &tag("v1")).await.unwrap_err();
    assert_eq!((fault.kind, served.log().len()), (FaultKind::ServerError, 5));
    for _ in 0..40 {
        assert!(client.resolve(&repository, &tag("v1")).await.is_err());
    }
    assert!(served.log().len() < 41 + 60, "the budget bounds the retries");
}

#[tokio::test]
async fn absent_is_not_the_same_as_refused() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    assert_eq!(client.resolve(&repository, &tag("v1")).await.unwrap(), None);
    push_image(&client, &repository, "v1").await;
    assert_eq!(client.resolve(&repository, &tag("v2")).await.unwrap(), None);
    assert!(client.manifest(&repository, &tag("v2")).await.unwrap().is_none());
    let nothing = Digest::of(b"nothing");
    assert_eq!(client.blob(&repository, &nothing, 10).await.unwrap(), None);
    assert!(client.blob_stream(&repository, &nothing).await.unwrap().is_none());
    for (failure, kind) in [
        (Failure::Status(401), FaultKind::Unauthorized),
        (Failure::Status(403), FaultKind::Denied),
        (Failure::WebPage(404), FaultKind::Malformed),
        (Failure::WebPage(200), FaultKind::Malformed),
        (Failure::Status(418), FaultKind::Malformed),
        (Failure::Redirect("/v2/a/b/manifests/again".into()), FaultKind::TooMany),
        (Failure::Redirect("file:///etc/passwd".into()), FaultKind::Malformed),
    ] {
        served.inject(Rule::always("/manifests/", failure.clone()));
        let fault = client.resolve(&repository, &tag("v1")).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{failure:?}: {fault}");
        let fault = client.manifest(&repository, &tag("v1")).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{failure:?}: {fault}");
        served.recover();
    }
}

#[tokio::test]
async fn wrong_bytes_are_found() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    let large = push_blob(&client, &repository, &vec![b'x'; 300_000]).await;
    served.inject(Rule::always("", Failure::CorruptBody).only("GET"));
    for what in [tag("v1"), Identifier::Digest(image.digest.clone())] {
        let fault = client.manifest(&repository, &what).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::DigestMismatch, "{what}");
    }
    let fault = client.blob(&repository, &large.digest, 1 << 20).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::DigestMismatch);
    let stream = client.blob_stream(&repository, &large.digest).await.unwrap().unwrap();
    let end = stream.try_for_each(|_| async { Ok(()) }).await.unwrap_err();
    assert_eq!(end.kind, FaultKind::DigestMismatch);
}

#[tokio::test]
async fn endless_and_huge_answers_are_cut() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    let blob = push_blob(&client, &repository, b"0123456789").await;
    let fault = client.blob(&repository, &blob.digest, 9).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooLarge);
    served.inject(Rule::always("", Failure::EndlessBody));
    let fault = client.manifest(&repository, &tag("v1")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooLarge);
    let fault = client.blob(&repository, &blob.digest, 1 << 20).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooLarge);
    let fault = client.referrers(&repository, &image.digest).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooLarge);
    assert!(client.tags(&repository).await.is_err());
}

/// Buffered bytes count for as long as they are referenced.
#[tokio::test]
async fn all_answers_together_are_bounded() {
    let served = served(serve::Options::default()).await;
    let repository = repository(&served, "a/b");
    let limits = Limits { buffered_bytes: 5000, ..Limits::default() };
    let client = Client::new(Options { limits, ..options() }).unwrap();
    let one = push_blob(&client, &repository, &[b'1'; 2000]).await;
    let two = push_blob(&client, &repository, &[b'2'; 2000]).await;
    let ask = async |blob: &Descriptor| client.blob(&repository, &blob.digest, 1 << 20).await;
    let held = [ask(&one).await.unwrap(), ask(&two).await.unwrap()];
    let fault = ask(&one).await.unwrap_err();
    assert_eq!((fault.kind, fault.target), (FaultKind::TooMany, served.registry()));
    let part = held[0].clone().map(|bytes| bytes.slice(0..1));
    drop(held);
    assert!(ask(&two).await.is_ok(), "one of them was given back");
    let again = ask(&two).await.unwrap();
    assert_eq!(ask(&one).await.unwrap_err().kind, FaultKind::TooMany, "a part holds the whole");
    drop((part, again));
    for _ in 0..20 {
        assert_eq!(ask(&one).await.unwrap().unwrap(), vec![b'1'; 2000]);
    }
}

#[tokio::test]
async fn slow_bytes_end_within_the_deadline() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    push_image(&client, &repository, "v1").await;
    for (failure, most) in [
        (Failure::Slow(Duration::from_millis(100)), 4),
        (Failure::Delayed(Duration::from_secs(60)), 4),
        (Failure::Slow(Duration::from_secs(60)), 4),
    ] {
        served.inject(Rule::always("/manifests/", failure.clone()));
        let start = Instant::now();
        let fault = client.manifest(&repository, &tag("v1")).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Timeout, "{failure:?}: {fault}");
        assert!(start.elapsed() < Duration::from_secs(most), "{failure:?}");
        served.recover();
    }
}

#[tokio::test]
async fn a_manifest_may_be_as_large_as_configured() {
    let served = served(serve::Options::default()).await;
    let repository = repository(&served, "a/b");
    push_image(&client(), &repository, "v1").await;
    let limits = Limits { manifest_bytes: 100, ..Limits::default() };
    let strict = Client::new(Options { limits, ..options() }).unwrap();
    for fault in [
        strict.manifest(&repository, &tag("v1")).await.unwrap_err(),
        strict.resolve(&repository, &tag("v1")).await.unwrap_err(),
    ] {
        assert_eq!(fault.kind, FaultKind::TooLarge);
    }
}

/// The document is read when HEAD's media type is not one of an image. Docker's digest of a schema
/// 1 manifest is not that of its bytes, which must not be the reported reason.
#[tokio::test]
async fn schema_1_is_named_by_every_question() {
    let types = [
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/json",
    ];
    for media_type in types {
        let served = served(serve::Options::default()).await;
        let (client, repository) = (client(), repository(&served, "a/b"));
        let body = r#"{"schemaVersion":1,"name":"a/b","tag":"v1","fsLayers":[],"history":[]}"#;
        let digest = match media_type.starts_with("application/vnd") {
            true => Digest::of(b"the payload without its signatures"),
            false => Digest::of(body.as_bytes()),
        };
        served.inject(Rule::always(
            "/manifests/",
            Failure::Respond {
                status: 200,
                media_type,
                header: Some(("docker-content-digest", digest.to_string())),
                body: body.to_owned(),
            },
        ));
        for fault in [
            client.resolve(&repository, &tag("v1")).await.unwrap_err(),
            client.manifest(&repository, &tag("v1")).await.unwrap_err(),
            client.manifest(&repository, &Identifier::Digest(digest)).await.unwrap_err(),
        ] {
            assert_eq!(fault.kind, FaultKind::Unsupported, "{media_type}: {fault}");
            assert!(fault.detail.contains("schema 1"), "{fault}");
        }
    }
}

#[tokio::test]
async fn head_without_digest_becomes_get() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    served.inject(Rule::always("/manifests/", Failure::WithoutHeaders));
    assert_eq!(client.resolve(&repository, &tag("v1")).await.unwrap(), Some(image.clone()));
    served.recover();
    served.inject(Rule::always("/manifests/", Failure::Status(405)).only("HEAD"));
    assert_eq!(client.resolve(&repository, &tag("v1")).await.unwrap(), Some(image));
}

#[tokio::test]
async fn an_unreachable_registry_is_a_fault_that_names_it() {
    let served = served(serve::Options::default()).await;
    let repository = repository(&served, "a/b");
    let registry = served.registry();
    served.stop();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let fault = client().resolve(&repository, &tag("v1")).await.unwrap_err();
    assert_eq!((fault.kind, fault.target), (FaultKind::Unreachable, registry));
}

#[tokio::test]
async fn tags_that_are_no_tags_are_not_asked_for() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    for bad in ["../../x", "", "a/b", "-x", "a?b"] {
        let fault = client.resolve(&repository, &tag(bad)).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Config, "{bad}");
    }
    assert_eq!(served.requests(), 0);
}
