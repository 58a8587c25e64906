//! Referrers through the API and the fallback tag.

use std::time::{Duration, Instant};

use sealgate_core::digest::Algorithm;
use sealgate_core::fault::FaultKind;
use sealgate_core::manifest::Index;
use sealgate_engine::ports::{RegistryRead, RegistryWrite};
use sealgate_registry::Limits;
use sealgate_registry::serve::{self, Failure, Referrers, Rule, TagUpdates};

use super::*;

fn without_api() -> serve::Options {
    serve::Options { referrers: Referrers::Absent, ..serve::Options::default() }
}

#[tokio::test]
async fn verifying_an_anonymous_bundle_takes_four_requests() {
    let served = served(serve::Options::default()).await;
    let repository = repository(&served, "a/b");
    let image = push_image(&client(), &repository, "v1").await;
    let bundle = push_bundle(&client(), &repository, &image, "bundle").await;
    served.clear_log();
    let client = client();
    let found = client.resolve(&repository, &tag("v1")).await.unwrap().unwrap();
    let list = client.referrers(&repository, &found.digest).await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].artifact_type.as_deref(), Some(media_type::BUNDLE_V03));
    let what = Identifier::Digest(bundle);
    assert!(client.manifest(&repository, &what).await.unwrap().is_some());
    let blob = Digest::of(b"bundle");
    assert!(client.blob(&repository, &blob, 1 << 20).await.unwrap().is_some());
    assert_eq!(served.log().len(), 4, "{:?}", served.log());
}

#[tokio::test]
async fn what_the_registry_can_do_is_remembered() {
    let served = served(without_api()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    push_bundle(&client, &repository, &image, "bundle").await;
    served.clear_log();
    for _ in 0..3 {
        let list = client.referrers(&repository, &image.digest).await.unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].artifact_type.as_deref(), Some(media_type::BUNDLE_V03));
        let content = list[0].annotations.get("dev.sigstore.bundle.content");
        assert_eq!(content.map(String::as_str), Some("dsse-envelope"));
    }
    assert_eq!(served.count("GET", "/referrers/"), 1);
    assert_eq!(served.log().len(), 4);
}

fn kind_of(referrers: Referrers) -> serve::Options {
    serve::Options { referrers, ..serve::Options::default() }
}

fn fallback(subject: &Descriptor) -> Identifier {
    tag(&subject.digest.to_string().replace(':', "-"))
}

/// sigstore-js#1183, harbor#19690, sigstore-js#1187: a pushed referrer is found, whatever the
/// registry's header, media type and list contents.
#[tokio::test]
async fn pushed_referrers_are_found_on_nonconforming_registries() {
    for referrers in [Referrers::HeaderOnly, Referrers::Untyped, Referrers::Empty] {
        let served = served(kind_of(referrers)).await;
        let repository = repository(&served, "a/b");
        let image = push_image(&client(), &repository, "v1").await;
        for reader in [client(), client()] {
            assert_eq!(reader.referrers(&repository, &image.digest).await.unwrap(), []);
        }
        let writer = client();
        let bundles = [
            push_bundle(&writer, &repository, &image, "one").await,
            push_bundle(&writer, &repository, &image, "two").await,
        ];
        for reader in [client(), writer] {
            let list = reader.referrers(&repository, &image.digest).await.unwrap();
            assert_eq!(list.len(), 2, "{referrers:?}");
            assert!(list.iter().all(|entry| bundles.contains(&entry.digest)), "{referrers:?}");
        }
        // Strict readers find them under the tag, on each of the three.
        let index = client().manifest(&repository, &fallback(&image)).await.unwrap().unwrap();
        let index: Index = serde_json::from_slice(&index.bytes).unwrap();
        assert_eq!(index.manifests.len(), 2, "{referrers:?}");
        assert!(
            client().delete(&repository, &Identifier::Digest(bundles[0].clone())).await.unwrap()
        );
        let left = client().referrers(&repository, &image.digest).await.unwrap();
        assert_eq!(left.iter().map(|entry| &entry.digest).collect::<Vec<_>>(), [&bundles[1]]);
    }
}

/// Once the header was confirmed by a list, the list is not read again and no tag is written.
#[tokio::test]
async fn a_confirmed_oci_subject_costs_one_request() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    served.clear_log();
    for n in 0..3 {
        push_bundle(&client, &repository, &image, &format!("bundle {n}")).await;
    }
    assert_eq!(served.count("GET", "/referrers/"), 1, "{:?}", served.log());
    assert_eq!(client.referrers(&repository, &image.digest).await.unwrap().len(), 3);
    push_bundle(&client, &repository, &image, "one more").await;
    assert_eq!(served.count("GET", "/referrers/"), 2, "{:?}", served.log());
    assert_eq!(served.count("PUT", "/manifests/sha256-"), 0);
}

/// A client that may push but not read the list has pushed all the same; the header is no proof, so
/// the fallback tag is written as well.
#[tokio::test]
async fn oci_subject_is_accepted_when_the_list_cannot_be_read() {
    for failure in [403, 500, 501].map(Failure::Status) {
        let served = served(serve::Options::default()).await;
        let (client, repository) = (client(), repository(&served, "a/b"));
        let image = push_image(&client, &repository, "v1").await;
        served.inject(Rule::always("/referrers/", failure.clone()));
        let bundle = push_bundle(&client, &repository, &image, "bundle").await;
        assert_eq!(served.count("PUT", "/manifests/sha256-"), 1, "{failure:?}");
        let by_tag = client.referrers_by_tag(&repository, &image.digest).await.unwrap();
        assert_eq!(by_tag.iter().map(|entry| &entry.digest).collect::<Vec<_>>(), [&bundle]);
        served.recover();
        let list = super::client().referrers(&repository, &image.digest).await.unwrap();
        assert_eq!(list.iter().map(|entry| &entry.digest).collect::<Vec<_>>(), [&bundle]);
    }
}

/// Registry that sends `OCI-Subject` and whose API answers 501.
#[tokio::test]
async fn not_implemented_is_no_api() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    served.inject(Rule::always("/referrers/", Failure::Status(501)));
    let bundle = push_bundle(&client, &repository, &image, "bundle").await;
    for reader in [client, super::client()] {
        let list = reader.referrers(&repository, &image.digest).await.unwrap();
        assert_eq!(list.iter().map(|entry| &entry.digest).collect::<Vec<_>>(), [&bundle]);
    }
}

/// Readers read the fallback tag when the list is empty, but not when it holds other entries: a
/// push that readers cannot find is an error.
#[tokio::test]
async fn a_list_that_has_others_only_is_no_success() {
    for referrers in [Referrers::Api, Referrers::HeaderOnly] {
        let served = served(kind_of(referrers)).await;
        let (client, repository) = (client(), repository(&served, "a/b"));
        let image = push_image(&client, &repository, "v1").await;
        let other = push_image(&client, &repository, "v2").await;
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [other],
        });
        let others = || says(200, media_type::OCI_INDEX, &index.to_string());
        let layer = push_blob(&client, &repository, b"bundle").await;
        let bytes = bundle_manifest(&image, &layer);
        let at = Identifier::Digest(Digest::of(&bytes));
        push_blob(&client, &repository, b"{}").await;
        let push = async || {
            let bytes = bytes.clone().into();
            client.push_manifest(&repository, &at, media_type::OCI_MANIFEST, bytes).await
        };
        served.inject(Rule::always("/referrers/", others()));
        let fault = push().await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Malformed);
        assert!(fault.detail.contains("verifiers will not find it"), "{fault}");
        let list = client.referrers(&repository, &image.digest).await.unwrap();
        assert!(list.iter().all(|entry| Identifier::Digest(entry.digest.clone()) != at));
        // A registry that lists it late is waited for.
        served.recover();
        served.inject(Rule::times("/referrers/", 2, others()));
        if referrers == Referrers::Api {
            push().await.unwrap();
            let list = client.referrers(&repository, &image.digest).await.unwrap();
            assert!(list.iter().any(|entry| Identifier::Digest(entry.digest.clone()) == at));
        }
    }
}

/// Such lists were written by go-containerregistry.
#[tokio::test]
async fn a_fallback_list_with_an_entry_twice_takes_another_one() {
    let served = served(without_api()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    let other = push_image(&client, &repository, "v2").await;
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [other, other],
    });
    let bytes = serde_json::to_vec(&index).unwrap().into();
    let at = fallback(&image);
    client.push_manifest(&repository, &at, media_type::OCI_INDEX, bytes).await.unwrap();
    let bundle = push_bundle(&client, &repository, &image, "bundle").await;
    let list = client.referrers(&repository, &image.digest).await.unwrap();
    let found: std::collections::BTreeSet<_> = list.into_iter().map(|entry| entry.digest).collect();
    assert_eq!(found, [other.digest, bundle].into());
}

/// The fallback tag is read when the API's list is empty, and only then.
#[tokio::test]
async fn an_empty_list_is_half_an_answer() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    served.clear_log();
    assert_eq!(client.referrers_by_api(&repository, &image.digest).await.unwrap(), None);
    assert_eq!(served.log().len(), 1);
    assert_eq!(client.referrers(&repository, &image.digest).await.unwrap(), []);
    assert_eq!(served.log().len(), 1 + 2);
    for body in [r#"{"schemaVersion":2,"manifests":null}"#, r#"{"schemaVersion":2,"manifests":[]}"#]
    {
        served.recover();
        served.inject(Rule::always("/referrers/", says(200, media_type::OCI_INDEX, body)));
        let bundle = push_bundle(&client, &repository, &image, body).await;
        let list = super::client().referrers(&repository, &image.digest).await.unwrap();
        assert!(list.iter().any(|entry| entry.digest == bundle), "{body}");
    }
    served.recover();
    served.clear_log();
    let first = client.referrers_by_api(&repository, &image.digest).await.unwrap();
    assert_eq!(first.map(|list| list.len()), Some(2));
    assert_eq!(client.referrers(&repository, &image.digest).await.unwrap().len(), 2);
    assert_eq!(served.log().len(), 2, "{:?}", served.log());
}

/// An index is recognised by its body; any other document is not one.
#[tokio::test]
async fn a_list_is_known_by_its_body() {
    let digest = Digest::of(b"{}");
    let kind = media_type::OCI_MANIFEST;
    let entries = format!(r#"[{{"mediaType":"{kind}","size":2,"digest":"{digest}"}}]"#);
    let own = format!(r#""mediaType":"{}","#, media_type::OCI_INDEX);
    let other = format!(r#""mediaType":"{}","#, media_type::DOCKER_LIST);
    for (media_type, body, found) in [
        ("application/json", format!(r#"{{"schemaVersion":2,{own}"manifests":{entries}}}"#), 1),
        ("application/json", format!(r#"{{"schemaVersion":2,"manifests":{entries}}}"#), 1),
        ("text/plain", format!(r#"{{"schemaVersion":2,"manifests":{entries}}}"#), 1),
        (
            "application/vnd.oci.image.index.v1+json; charset=utf-8",
            format!(r#"{{"schemaVersion":2,"manifests":{entries}}}"#),
            1,
        ),
        ("application/json", format!(r#"{{"schemaVersion":1,"manifests":{entries}}}"#), 0),
        ("application/json", format!(r#"{{"schemaVersion":2,{other}"manifests":{entries}}}"#), 0),
        ("application/json", r#"{"schemaVersion":2}"#.to_owned(), 0),
        ("application/json", entries.clone(), 0),
    ] {
        let served = served(serve::Options::default()).await;
        let (client, repository) = (client(), repository(&served, "a/b"));
        let image = push_image(&client, &repository, "v1").await;
        served.inject(Rule::always("/referrers/", says(200, media_type, &body)));
        let list = client.referrers(&repository, &image.digest).await.unwrap();
        assert_eq!(list.len(), found, "{media_type} {body}");
    }
}

#[tokio::test]
async fn an_unknown_repository_does_not_hide_the_api() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&super::client(), &repository, "v1").await;
    push_bundle(&super::client(), &repository, &image, "bundle").await;
    let other = super::repository(&served, "a/nothing");
    assert_eq!(client.referrers(&other, &image.digest).await.unwrap(), []);
    assert_eq!(client.referrers(&repository, &image.digest).await.unwrap().len(), 1);
}

/// The author of a pod chooses the image reference: an unsupported digest algorithm or invalid
/// repository name must not hide bundles of other repositories.
#[tokio::test]
async fn invented_names_do_not_hide_the_api_from_others() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&super::client(), &repository, "v1").await;
    push_bundle(&super::client(), &repository, &image, "bundle").await;
    served.inject(Rule::always("/referrers/sha512:", Failure::Status(400)));
    served.inject(Rule::always("/v2/a/-b/referrers/", Failure::WebPage(404)));
    served.inject(Rule::always("/v2/a/referrers/", Failure::WebPage(404)));
    let long = Digest::with(Algorithm::Sha512, b"made up");
    let names = ["a/-b", "a"].map(|name| super::repository(&served, name));
    assert_eq!(client.referrers(&repository, &long).await.unwrap(), []);
    for made_up in &names {
        assert_eq!(client.referrers(made_up, &image.digest).await.unwrap(), []);
    }
    assert_eq!(client.referrers(&repository, &image.digest).await.unwrap().len(), 1);
}

#[tokio::test]
async fn odd_answers_mean_no_api_and_refusals_are_faults() {
    for failure in
        [400, 405, 406, 501].map(Failure::Status).into_iter().chain([Failure::WebPage(200)])
    {
        let served = served(serve::Options::default()).await;
        let (client, repository) = (client(), repository(&served, "a/b"));
        let image = push_image(&client, &repository, "v1").await;
        served.inject(Rule::always("/referrers/", failure));
        assert_eq!(client.referrers(&repository, &image.digest).await.unwrap(), []);
    }
    for (failure, kind) in [
        (Failure::Status(401), FaultKind::Unauthorized),
        (Failure::Status(403), FaultKind::Denied),
        (Failure::Throttled(3600), FaultKind::Throttled),
        (Failure::Status(500), FaultKind::ServerError),
    ] {
        for part in ["/referrers/", "/manifests/sha256-"] {
            let options = if part == "/referrers/" { Default::default() } else { without_api() };
            let served = served(options).await;
            let (client, repository) = (client(), repository(&served, "a/b"));
            let image = push_image(&client, &repository, "v1").await;
            served.inject(Rule::always(part, failure.clone()));
            let fault = client.referrers(&repository, &image.digest).await.unwrap_err();
            assert_eq!(fault.kind, kind, "{part}");
        }
    }
}

fn says(status: u16, media_type: &'static str, body: &str) -> Failure {
    Failure::Respond { status, media_type, header: None, body: body.to_owned() }
}

/// cosign treats each of these responses as "no signatures found".
#[tokio::test]
async fn only_a_list_says_that_there_are_no_referrers() {
    let (json, index) = ("application/json", media_type::OCI_INDEX);
    let throttled = r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#;
    let denied = r#"{"errors":[{"code":"UNKNOWN"},{"code":"DENIED"}]}"#;
    for (failure, kind) in [
        (says(400, json, throttled), FaultKind::Throttled),
        (says(405, json, denied), FaultKind::Denied),
        (says(406, json, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#), FaultKind::Unauthorized),
        (says(200, json, throttled), FaultKind::Throttled),
        (says(200, index, r#"{"schemaVersion":2}"#), FaultKind::Malformed),
        (
            says(200, index, &format!(r#"{{"schemaVersion":2,{}"#, &throttled[1..])),
            FaultKind::Malformed,
        ),
        (says(200, index, ""), FaultKind::Malformed),
    ] {
        let served = served(serve::Options::default()).await;
        let (client, repository) = (client(), repository(&served, "a/b"));
        let image = push_image(&client, &repository, "v1").await;
        served.inject(Rule::always("/referrers/", failure.clone()));
        let fault = client.referrers(&repository, &image.digest).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{failure:?}");
    }
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    let empty = r#"{"schemaVersion":2,"manifests":null}"#;
    served.inject(Rule::always("/referrers/", says(200, index, empty)));
    assert_eq!(client.referrers(&repository, &image.digest).await.unwrap(), []);
    served.inject(Rule::always("/tags/", says(200, json, throttled)));
    assert_eq!(client.tags(&repository).await.unwrap_err().kind, FaultKind::Malformed);
}

/// Media types go into messages and must not inject lines into them.
#[tokio::test]
async fn media_types_write_no_lines_of_ours() {
    let served = served(without_api()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    for rest in [r#""manifests":[]"#, r#""manifests":[],"config":{},"layers":[]"#] {
        let body = format!(
            r#"{{"schemaVersion":2,"mediaType":"x\u001b[2J\nVerification for x --\u202ey",{rest}}}"#
        );
        served.recover();
        served.inject(Rule::always("/manifests/sha256-", says(200, "application/json", &body)));
        let fault = client.referrers(&repository, &image.digest).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Malformed);
        let text = fault.to_string();
        assert!(text.contains("Verification for x --"), "{text}");
        assert!(!text.contains(['\n', '\u{1b}', '\u{202e}']), "{text:?}");
    }
}

#[tokio::test]
async fn the_next_page_is_another_one_of_the_same_registry() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    let host = served.registry();
    let own = format!("/v2/a/b/referrers/{}", image.digest);
    for (link, detail) in [
        (own.clone(), "is the page itself"),
        ("http://127.0.0.1:1/x".to_owned(), "not at the same registry"),
        ("https://evil.example/x".to_owned(), "not at the same registry"),
        (format!("http://eve:pw@{host}{own}?n=2"), "not at the same registry"),
    ] {
        served.clear_log();
        served.recover();
        served.inject(Rule::always(
            "/referrers/",
            Failure::Respond {
                status: 200,
                media_type: media_type::OCI_INDEX,
                header: Some(("link", format!(r#"<{link}>; rel="next""#))),
                body: r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(),
            },
        ));
        let fault = client.referrers(&repository, &image.digest).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Malformed);
        assert!(fault.detail.contains(detail), "{fault}");
        assert_eq!(served.log().len(), 1, "{:?}", served.log());
    }
}

#[tokio::test]
async fn all_pages_are_read_and_endless_ones_are_not() {
    let served = served(serve::Options { page: 2, ..serve::Options::default() }).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    for n in 0..7 {
        push_bundle(&client, &repository, &image, &format!("bundle {n}")).await;
    }
    served.clear_log();
    assert_eq!(client.referrers(&repository, &image.digest).await.unwrap().len(), 7);
    assert_eq!(served.count("GET", "/referrers/"), 4);
    served.inject(Rule::always("/referrers/", Failure::EndlessPages));
    let start = Instant::now();
    let fault = client.referrers(&repository, &image.digest).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooMany);
    assert!(start.elapsed() < Duration::from_secs(3));
}

/// Few entries and pages, each of the maximum size, would take 400 MiB.
#[tokio::test]
async fn all_pages_together_are_no_larger_than_one() {
    let served = served(serve::Options { page: 1, ..serve::Options::default() }).await;
    let repository = repository(&served, "a/b");
    let image = push_image(&client(), &repository, "v1").await;
    for n in 0..7 {
        push_bundle(&client(), &repository, &image, &format!("bundle {n}")).await;
    }
    let ask = async |manifest_bytes| {
        let limits = Limits { manifest_bytes, ..Limits::default() };
        let client = Client::new(Options { limits, ..options() }).unwrap();
        client.referrers(&repository, &image.digest).await
    };
    assert_eq!(ask(7 * 1024).await.unwrap().len(), 7);
    served.clear_log();
    assert_eq!(ask(2 * 1024).await.unwrap_err().kind, FaultKind::TooLarge);
    assert!(served.count("GET", "/referrers/") > 1, "the first page is small enough");
}

async fn write_in_parallel(served: &serve::Served, count: usize) -> Vec<Descriptor> {
    let repository = repository(served, "a/b");
    let image = push_image(&client(), &repository, "v1").await;
    let tasks: Vec<_> = (0..count)
        .map(|n| {
            let (repository, image) = (repository.clone(), image.clone());
            // One client each: they share nothing, like separate processes.
            tokio::spawn(async move {
                let text = format!("bundle {n}");
                push_bundle(&client(), &repository, &image, &text).await
            })
        })
        .collect();
    let mut pushed = Vec::new();
    for task in tasks {
        pushed.push(task.await.unwrap());
    }
    let list = client().referrers(&repository, &image.digest).await.unwrap();
    for digest in &pushed {
        assert!(list.iter().any(|d| d.digest == *digest), "{digest} is lost");
    }
    list
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_writers_leave_twenty_entries() {
    for (tags, latency) in
        [(TagUpdates::LastWins, 0), (TagUpdates::LastWins, 20), (TagUpdates::Conditional, 5)]
    {
        let latency = Duration::from_millis(latency);
        let served = served(serve::Options { tags, latency, ..without_api() }).await;
        let list = write_in_parallel(&served, 20).await;
        assert_eq!(list.len(), 20);
        assert!(list.is_sorted_by_key(|d| d.digest.to_string()));
    }
}

#[tokio::test]
async fn entries_of_others_stay_as_they_are() {
    let served = served(without_api()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    // As written by go-containerregistry before 0.21.6: a wrong artifact type, no annotations.
    let mut foreign = descriptor(media_type::OCI_MANIFEST, b"foreign");
    foreign.artifact_type = Some(media_type::OCI_EMPTY.to_owned());
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: vec![foreign.clone()],
        annotations: [("k".to_owned(), "v".to_owned())].into(),
    };
    let at = tag(&image.digest.to_string().replace(':', "-"));
    let bytes = Bytes::from(serde_json::to_vec(&index).unwrap());
    client.push_manifest(&repository, &at, media_type::OCI_INDEX, bytes).await.unwrap();
    push_bundle(&client, &repository, &image, "bundle").await;
    let now = client.manifest(&repository, &at).await.unwrap().unwrap();
    let now: Index = serde_json::from_slice(&now.bytes).unwrap();
    assert_eq!((now.manifests.len(), now.annotations), (2, index.annotations));
    assert!(now.manifests.contains(&foreign));
}

#[tokio::test]
async fn a_fallback_tag_that_holds_something_else_is_a_fault() {
    let served = served(without_api()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    push_image(&client, &repository, &image.digest.to_string().replace(':', "-")).await;
    let fault = client.referrers(&repository, &image.digest).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Malformed);
}

#[tokio::test]
async fn a_captive_portal_does_not_hide_the_api() {
    let served = served(serve::Options::default()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&super::client(), &repository, "v1").await;
    push_bundle(&super::client(), &repository, &image, "bundle").await;
    served.inject(Rule::always("", Failure::WebPage(200)));
    assert!(client.referrers(&repository, &image.digest).await.is_err());
    served.inject(Rule::always("", Failure::WebPage(404)));
    assert!(client.referrers(&repository, &image.digest).await.is_err());
    served.recover();
    assert_eq!(client.referrers(&repository, &image.digest).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_deleted_leaves_the_fallback_list() {
    let served = served(without_api()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    let gone = push_bundle(&client, &repository, &image, "one").await;
    let stays = push_bundle(&client, &repository, &image, "two").await;
    assert!(client.delete(&repository, &Identifier::Digest(gone)).await.unwrap());
    let list = client.referrers(&repository, &image.digest).await.unwrap();
    assert_eq!(list.iter().map(|d| &d.digest).collect::<Vec<_>>(), [&stays]);
}

/// `cosign copy` may put the image itself under its own fallback tag.
#[tokio::test]
async fn an_image_under_its_own_fallback_tag_has_no_referrers_yet() {
    let served = served(without_api()).await;
    let (client, repository) = (client(), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    let own = tag(&image.digest.to_string().replace(':', "-"));
    let raw = client.manifest(&repository, &tag("v1")).await.unwrap().unwrap();
    client.push_manifest(&repository, &own, &image.media_type, raw.bytes).await.unwrap();
    assert_eq!(client.referrers(&repository, &image.digest).await.unwrap(), []);
    let bundle = push_bundle(&client, &repository, &image, "bundle").await;
    let list = client.referrers(&repository, &image.digest).await.unwrap();
    assert_eq!(list.iter().map(|d| &d.digest).collect::<Vec<_>>(), [&bundle]);
    assert!(
        client.manifest(&repository, &Identifier::Digest(image.digest)).await.unwrap().is_some()
    );
}
