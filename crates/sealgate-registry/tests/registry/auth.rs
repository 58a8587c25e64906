//! Authentication: lazy, isolated per credential, and never sent to other hosts.

use std::sync::Arc;

use sealgate_core::fault::FaultKind;
use sealgate_engine::ports::{PullSecret, RegistryAccess, RegistryRead};
use sealgate_registry::credentials::{Credential, Keychain, Secret};
use sealgate_registry::serve::{self, Access, Account, Failure, Rule, Served};
use sealgate_registry::{Client, Options};

use super::*;

fn password(name: &str, secret: &str) -> Option<Credential> {
    let (username, password) = (name.to_owned(), Secret::new(secret));
    Some(Credential::Password { username, password })
}

fn with(credential: Option<Credential>) -> Client {
    Client::new(Options { credential, ..options() }).unwrap()
}

fn bearer(accounts: Vec<Account>, public: &[&str]) -> serve::Options {
    let public = public.iter().map(|p| p.to_string()).collect();
    let access = Access::Bearer { accounts, public, life: 300 };
    serve::Options { access, ..serve::Options::default() }
}

fn pull_secret(served: &Served, key: &str, user: &str, secret: &str) -> PullSecret {
    let registry = served.registry();
    let json = serde_json::json!({
        "auths": { format!("{registry}{key}"): { "username": user, "password": secret } },
    });
    PullSecret { docker_config_json: json.to_string().into_bytes() }
}

#[tokio::test]
async fn basic_is_asked_for_once() {
    let access = Access::Basic(vec![Account::new("ada", "pw")]);
    let served = served(serve::Options { access, ..serve::Options::default() }).await;
    let (client, repository) = (with(password("ada", "pw")), repository(&served, "a/b"));
    push_image(&client, &repository, "v1").await;
    let refused = served.log().iter().filter(|e| e.authorization.is_none()).count();
    assert_eq!(refused, 1, "only the very first request goes without credentials");

    let wrong = with(password("ada", "no")).resolve(&repository, &tag("v1")).await.unwrap_err();
    assert_eq!(wrong.kind, FaultKind::Unauthorized);
    let nobody = with(None).resolve(&repository, &tag("v1")).await.unwrap_err();
    assert_eq!((nobody.kind, nobody.target), (FaultKind::Unauthorized, served.registry()));
    assert!(nobody.detail.contains("without credentials"), "{}", nobody.detail);
}

#[tokio::test]
async fn tokens_are_bought_once_per_scope_and_again_when_refused() {
    let served = served(bearer(vec![Account::new("ada", "pw")], &[])).await;
    let (client, repository) = (with(password("ada", "pw")), repository(&served, "a/b"));
    let image = push_image(&client, &repository, "v1").await;
    let bought = served.count("GET", "/token");
    assert_eq!(bought, 1, "one token to push");
    served.clear_log();
    for _ in 0..5 {
        assert_eq!(client.resolve(&repository, &tag("v1")).await.unwrap().as_ref(), Some(&image));
    }
    assert_eq!((served.count("GET", "/token"), served.log().len()), (1, 6));
    served.revoke_tokens();
    served.clear_log();
    assert!(client.resolve(&repository, &tag("v1")).await.unwrap().is_some());
    assert_eq!(served.log().len(), 3, "refused, bought, answered");
}

#[tokio::test]
async fn many_at_once_buy_one_token() {
    let served = served(bearer(vec![Account::new("ada", "pw")], &["a/"])).await;
    let (owner, repository) = (with(password("ada", "pw")), repository(&served, "a/b"));
    push_image(&owner, &repository, "v1").await;
    served.clear_log();
    let client = client();
    let (client, repository) = (&client, &repository);
    let asks = (0..30).map(|_| async move { client.resolve(repository, &tag("v1")).await });
    for found in futures::future::join_all(asks).await {
        assert!(found.unwrap().is_some());
    }
    assert_eq!(served.count("GET", "/token"), 1);
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_by_post() {
    let served = served(bearer(vec![Account::new("ada", "refresh-me")], &[])).await;
    let repository = repository(&served, "a/b");
    push_image(&with(password("ada", "refresh-me")), &repository, "v1").await;
    served.clear_log();
    let client = with(Some(Credential::Refresh(Secret::new("refresh-me"))));
    assert!(client.resolve(&repository, &tag("v1")).await.unwrap().is_some());
    assert_eq!((served.count("POST", "/token"), served.count("GET", "/token")), (1, 0));
    let wrong = with(Some(Credential::Refresh(Secret::new("other"))));
    let fault = wrong.resolve(&repository, &tag("v1")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unauthorized);
    assert!(!fault.to_string().contains("other"));
}

#[tokio::test]
async fn two_namespaces_never_share_a_token() {
    let accounts = vec![
        Account::new("red", "pw-red").only("team/"),
        Account::new("blue", "pw-blue").only("other/"),
    ];
    let served = served(bearer(accounts, &[])).await;
    let repository = repository(&served, "team/app");
    push_image(&with(password("red", "pw-red")), &repository, "v1").await;
    let process = client();
    let red = process.open(&[pull_secret(&served, "", "red", "pw-red")], &lease());
    let blue = process.open(&[pull_secret(&served, "", "blue", "pw-blue")], &lease());
    assert!(red.resolve(&repository, &tag("v1")).await.unwrap().is_some());
    served.clear_log();
    let fault = blue.resolve(&repository, &tag("v1")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unauthorized);
    assert!(process.resolve(&repository, &tag("v1")).await.is_err(), "nor the process itself");
    let leaked = |text: &str| text.contains("-red") || text.contains("cmVk");
    assert!(served.log().iter().filter_map(|e| e.authorization.as_deref()).all(|a| !leaked(a)));
}

#[tokio::test]
async fn the_next_secret_is_tried_and_the_good_one_remembered() {
    let served = served(bearer(vec![Account::new("ada", "pw")], &[])).await;
    let repository = repository(&served, "a/b");
    push_image(&with(password("ada", "pw")), &repository, "v1").await;
    let secrets = [
        pull_secret(&served, "/a/b", "ada", "old"),
        pull_secret(&served, "", "ada", "pw"),
        PullSecret { docker_config_json: b"not json".to_vec() },
    ];
    let handle = client().open(&secrets, &lease());
    assert!(handle.resolve(&repository, &tag("v1")).await.unwrap().is_some());
    served.clear_log();
    assert!(handle.resolve(&repository, &tag("v1")).await.unwrap().is_some());
    assert_eq!(served.log().len(), 1);
    let wrong = client().open(&[secrets[0].clone(), secrets[2].clone()], &lease());
    let fault = wrong.resolve(&repository, &tag("v1")).await.unwrap_err();
    assert!(fault.detail.contains("1 pull secret(s) could not be read"), "{}", fault.detail);
}

#[tokio::test]
async fn a_refusal_names_the_origin_of_the_credentials() {
    let access = Access::Basic(vec![Account::new("ada", "pw")]);
    let served = served(serve::Options { access, ..serve::Options::default() }).await;
    let repository = repository(&served, "a/b");
    let given = with(password("ada", "wrong"));
    let secrets = [pull_secret(&served, "", "ada", "wrong too")];
    for (registry, origin) in [
        (Arc::new(given) as Arc<dyn RegistryRead>, "the --registry flags"),
        (with(None).open(&secrets, &lease()), "an image pull secret"),
    ] {
        let fault = registry.resolve(&repository, &tag("v1")).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unauthorized);
        let told = format!("(requested with the credentials of {origin})");
        assert!(fault.detail.ends_with(&told) && !fault.detail.contains("wrong"), "{fault}");
    }
}

#[tokio::test]
async fn redirects_do_not_carry_credentials_to_other_hosts() {
    let storage = served(serve::Options::default()).await;
    let served = served(bearer(vec![Account::new("ada", "pw")], &[])).await;
    let client = with(password("ada", "pw"));
    let repository = repository(&served, "a/b");
    let elsewhere = super::repository(&storage, "a/b");
    let blob = push_blob(&client, &repository, b"content").await;
    push_blob(&super::client(), &elsewhere, b"content").await;
    storage.clear_log();
    let to = format!("http://{}/v2/a/b/blobs/{}", storage.registry(), blob.digest);
    served.inject(Rule::always("/blobs/", Failure::Redirect(to)));
    let found = client.blob(&repository, &blob.digest, 100).await.unwrap();
    assert_eq!(found.as_deref(), Some(&b"content"[..]));
    assert_eq!(storage.log().len(), 1);
    assert_eq!(storage.log()[0].authorization, None);
}

/// Otherwise a registry could make the client send credentials of its choice to others.
#[tokio::test]
async fn credentials_in_a_url_are_refused() {
    let storage = served(serve::Options::default()).await;
    let served = served(serve::Options::default()).await;
    let (client, repository) = (super::client(), repository(&served, "a/b"));
    let blob = push_blob(&client, &repository, b"content").await;
    push_blob(&client, &super::repository(&storage, "a/b"), b"content").await;
    storage.clear_log();
    for user in ["eve:pw", "eve", ":pw"] {
        let host = storage.registry();
        let to = format!("http://{user}@{host}/v2/a/b/blobs/{}", blob.digest);
        served.recover();
        served.inject(Rule::always("/blobs/", Failure::Redirect(to)));
        let fault = client.blob(&repository, &blob.digest, 100).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Malformed, "{fault}");
        assert!(!fault.to_string().contains("eve"), "{fault}");
    }
    assert!(storage.log().is_empty(), "{:?}", storage.log());
}

#[tokio::test]
async fn storage_that_asks_for_credentials_gets_none() {
    let storage = served(bearer(vec![Account::new("ada", "pw")], &[])).await;
    let served = served(bearer(vec![Account::new("ada", "pw")], &[])).await;
    let (client, repository) = (with(password("ada", "pw")), repository(&served, "a/b"));
    let blob = push_blob(&client, &repository, b"content").await;
    let to = format!("http://{}/v2/a/b/blobs/{}", storage.registry(), blob.digest);
    served.inject(Rule::always("/blobs/", Failure::Redirect(to)));
    let fault = client.blob(&repository, &blob.digest, 100).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unauthorized);
    assert!(storage.log().iter().all(|e| e.authorization.is_none()));
    assert_eq!(storage.count("GET", "/token"), 0);
}

/// A registry, token endpoint or proxy may repeat a secret in an error text, which is shown and
/// logged.
#[tokio::test]
async fn a_secret_repeated_by_a_server_is_redacted() {
    let echo = |status: u16, challenge: &str, words: &str| Failure::Respond {
        status,
        media_type: "application/json",
        header: Some(("www-authenticate", challenge.to_owned())),
        body: serde_json::json!({"errors": [{"code": words, "message": format!("not {words}")}]})
            .to_string(),
    };
    let coded = "YWRhOmh1bnRlci8y";
    for (credential, words) in [
        (password("ada", "hunter/2"), "Basic YWRhOmh1bnRlci8y"),
        (password("ada", "hunter/2"), "ada:hunter/2"),
        (password("ada", "hunter/2"), "hunter%2F2"),
        (Some(Credential::Bearer(Secret::new("hunter/2"))), "Bearer hunter/2"),
        (Some(Credential::Refresh(Secret::new("hunter/2"))), "refresh_token=hunter%2F2"),
    ] {
        let served = served(serve::Options::default()).await;
        let (client, repository) = (with(credential.clone()), repository(&served, "a/b"));
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", served.registry());
        for challenge in ["Basic realm=\"x\"", realm.as_str()] {
            served.recover();
            served.inject(Rule::always("/token", echo(400, challenge, words)));
            served.inject(Rule::always("/v2/", echo(401, challenge, words)));
            let fault = client.resolve(&repository, &tag("v1")).await.unwrap_err();
            let text = format!("{fault} {fault:?}");
            assert!(!text.contains("hunter") && !text.contains(coded), "{text}");
        }
    }
}

/// Registries and proxies write challenges loosely. The parser's own table covers the syntax; this
/// checks that the credentials are sent with the next request.
#[tokio::test]
async fn loosely_written_challenges_are_accepted() {
    let accounts = || vec![Account::new("ada", "pw")];
    let by_password = serve::Options { access: Access::Basic(accounts()), ..Default::default() };
    let (by_password, by_token) =
        (served(by_password).await, served(bearer(accounts(), &[])).await);
    for served in [&by_password, &by_token] {
        push_image(&with(password("ada", "pw")), &repository(served, "a/b"), "v1").await;
    }
    let basic = "Basic YWRhOnB3";
    let realm = format!("realm=\"http://{}/token\"", by_token.registry());
    let says = |status, header: Option<&str>| Failure::Respond {
        status,
        media_type: "application/json",
        header: header.map(|text| ("www-authenticate", text.to_owned())),
        body: String::new(),
    };
    for (challenge, first) in [
        (Some("Basic realm=/".to_owned()), basic),
        (Some("Basic realm=My Registry".to_owned()), basic),
        (Some(String::new()), basic),
        (None, basic),
        (Some(format!("Bearer {realm} service=\"sealgate\"")), "Bearer token-"),
        (Some(format!("Bearer {realm};service=sealgate")), "Bearer token-"),
        (Some(format!("Bearer {realm},service=\"a \"b\" c\"")), "Bearer token-"),
    ] {
        let client = with(password("ada", "pw"));
        let served = if first == basic { &by_password } else { &by_token };
        let repository = repository(served, "a/b");
        served.recover();
        served.clear_log();
        served.inject(Rule::times("/v2/", 1, says(401, challenge.as_deref())));
        assert!(client.resolve(&repository, &tag("v1")).await.unwrap().is_some(), "{challenge:?}");
        let sent = served.log().iter().filter(|e| e.path.starts_with("/v2/")).nth(1).cloned();
        let sent = sent.and_then(|entry| entry.authorization).unwrap_or_default();
        assert!(sent.starts_with(first), "{challenge:?}: {sent}");
    }
    // A proxy's 401 does not come from the registry behind it, which asks for a token later.
    let (served, repository) = (&by_token, repository(&by_token, "a/b"));
    for challenge in [None, Some("Basic realm=proxy")] {
        served.recover();
        served.inject(Rule::times("/v2/", 1, says(401, challenge)));
        let client = with(password("ada", "pw"));
        for _ in 0..2 {
            assert!(client.resolve(&repository, &tag("v1")).await.unwrap().is_some());
        }
    }
    for (challenge, kind, words) in [
        (Some("Negotiate"), FaultKind::Unsupported, "asks for Negotiate"),
        (Some("Bearer service=\"x\""), FaultKind::Malformed, "Bearer challenge has no realm"),
    ] {
        served.recover();
        served.clear_log();
        served.inject(Rule::always("/v2/", says(401, challenge)));
        for client in [with(password("ada", "pw")), with(None)] {
            let fault = client.resolve(&repository, &tag("v1")).await.unwrap_err();
            assert_eq!(fault.kind, kind, "{fault}");
            assert!(fault.detail.contains(words), "{fault}");
            assert!(!fault.detail.contains("none are configured"), "{fault}");
        }
        assert!(served.log().iter().all(|entry| entry.authorization.is_none()));
    }
    // No challenge, and no known credential to try.
    served.recover();
    served.inject(Rule::always("/v2/", says(401, None)));
    let fault = with(None).resolve(&repository, &tag("v1")).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unauthorized);
    assert!(fault.detail.contains("has no authentication challenge"), "{fault}");
}

/// An entry may have a token, which comes first, and a password.
#[tokio::test]
async fn a_401_that_names_no_scheme_gets_the_password_beside_a_token() {
    let access = Access::Basic(vec![Account::new("ada", "pw")]);
    let served = served(serve::Options { access, ..serve::Options::default() }).await;
    let repository = repository(&served, "a/b");
    push_image(&with(password("ada", "pw")), &repository, "v1").await;
    let unnamed = Failure::Respond {
        status: 401,
        media_type: "text/plain",
        header: None,
        body: String::new(),
    };
    served.inject(Rule::times("/v2/", 1, unnamed));
    let entry = serde_json::json!({ "username": "ada", "password": "pw", "identitytoken": "id" });
    let json = serde_json::json!({ "auths": { served.registry(): entry } }).to_string();
    let handle = client().open(&[PullSecret { docker_config_json: json.into_bytes() }], &lease());
    served.clear_log();
    assert!(handle.resolve(&repository, &tag("v1")).await.unwrap().is_some());
    assert_eq!(served.log().len(), 2);
}

/// The token specification says that not every token server supports POST.
#[tokio::test]
async fn a_token_endpoint_without_post_gets_the_password() {
    for status in [404, 405] {
        let served = served(bearer(vec![Account::new("ada", "pw")], &[])).await;
        let repository = repository(&served, "a/b");
        push_image(&with(password("ada", "pw")), &repository, "v1").await;
        served.inject(Rule::always("/token", Failure::Status(status)).only("POST"));
        let entry = |entry: serde_json::Value| {
            let json = serde_json::json!({ "auths": { served.registry(): entry } }).to_string();
            client().open(&[PullSecret { docker_config_json: json.into_bytes() }], &lease())
        };
        let both =
            serde_json::json!({ "username": "ada", "password": "pw", "identitytoken": "id" });
        let handle = entry(both);
        served.clear_log();
        for _ in 0..3 {
            assert!(handle.resolve(&repository, &tag("v1")).await.unwrap().is_some());
        }
        assert_eq!((served.count("POST", "/token"), served.count("GET", "/token")), (1, 1));
        let fault = entry(serde_json::json!({ "identitytoken": "id" }))
            .resolve(&repository, &tag("v1"))
            .await
            .unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unauthorized);
        assert!(fault.detail.contains("refresh tokens are not supported"), "{fault}");
    }
}

#[tokio::test]
async fn a_token_endpoints_error_message_is_shown() {
    let served = served(bearer(vec![Account::new("ada", "pw")], &[])).await;
    let repository = repository(&served, "a/b");
    push_image(&with(password("ada", "pw")), &repository, "v1").await;
    let long = format!("a\u{1b}[2J\n{}", "x".repeat(1000));
    for (status, body, words) in [
        (
            400,
            serde_json::json!({ "error": "invalid_grant", "error_description": "token expired" }),
            "400 Bad Request: invalid_grant: token expired",
        ),
        (411, serde_json::json!({ "error": "length_required" }), "411 Length Required: length_req"),
        (
            401,
            serde_json::json!({ "details": "wrong password" }),
            "401 Unauthorized: wrong password",
        ),
        (400, serde_json::json!({ "error": 5 }), "400 Bad Request"),
        (400, serde_json::json!({ "error_description": long }), "400 Bad Request: a [2J xxx"),
    ] {
        served.recover();
        let says = Failure::Respond {
            status,
            media_type: "application/json",
            header: None,
            body: body.to_string(),
        };
        served.inject(Rule::always("/token", says));
        let client = with(Some(Credential::Refresh(Secret::new("refresh-me"))));
        let fault = client.resolve(&repository, &tag("v1")).await.unwrap_err();
        assert!(fault.detail.starts_with(words), "{fault}");
        assert!(fault.detail.len() < 300, "{}", fault.detail.len());
        let server = format!("{} (token endpoint 127.0.0.1)", served.registry());
        assert_eq!(fault.target, server);
    }
}

/// A message that blames the first registry would send users to log in where it does not help.
#[tokio::test]
async fn a_refusal_after_a_redirect_names_the_refusing_host() {
    let behind = served(bearer(vec![Account::new("ada", "pw")], &[])).await;
    let front = served(serve::Options::default()).await;
    let repository = repository(&front, "a/b");
    let to = format!("http://{}/v2/a/b/manifests/v1", behind.registry());
    front.inject(Rule::always("/v2/", Failure::Redirect(to)));
    let named = format!("{} (redirected from {})", behind.registry(), front.registry());
    for client in [with(password("ada", "pw")), with(None)] {
        let fault = client.resolve(&repository, &tag("v1")).await.unwrap_err();
        assert_eq!((fault.kind, &fault.target), (FaultKind::Unauthorized, &named));
        assert!(
            fault.detail.contains("no credentials are sent to the target of a redirect"),
            "{fault}"
        );
        assert!(!fault.detail.contains("none are configured"), "{fault}");
    }
    behind.inject(Rule::always("/v2/", Failure::Status(403)));
    let fault = with(None).resolve(&repository, &tag("v1")).await.unwrap_err();
    assert_eq!((fault.kind, &fault.target), (FaultKind::Denied, &named));
    assert!(behind.log().iter().all(|entry| entry.authorization.is_none()));
    // For the registry's own redirects, the registry is named.
    front.recover();
    let own = format!("http://{}/elsewhere", front.registry());
    front.inject(Rule::always("/v2/", Failure::Redirect(own)));
    front.inject(Rule::always("/elsewhere", Failure::Status(403)));
    let fault = with(None).resolve(&repository, &tag("v1")).await.unwrap_err();
    assert_eq!((fault.kind, fault.target), (FaultKind::Denied, front.registry()));
}

/// `serve`'s own credential: a pod that names another registry does not get it sent there.
#[tokio::test]
async fn a_credential_for_one_registry_is_not_sent_to_another() {
    let access = Access::Basic(vec![Account::new("ada", "pw")]);
    let options = || serve::Options { access: access.clone(), ..serve::Options::default() };
    let (own, other) = (served(options()).await, served(options()).await);
    push_image(&with(password("ada", "pw")), &repository(&own, "a/b"), "v1").await;
    let credential = password("ada", "pw").unwrap();
    let keychain = Keychain::default().with_credential(&own.registry(), credential);
    let process = Client::new(Options { keychain, ..super::options() }).unwrap();
    for handle in [
        process.open(&[], &lease()),
        process.open(&[pull_secret(&own, "", "ada", "old")], &lease()),
    ] {
        let found = handle.resolve(&repository(&own, "a/b"), &tag("v1")).await.unwrap();
        assert!(found.is_some());
        let fault = handle.resolve(&repository(&other, "a/b"), &tag("v1")).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unauthorized);
    }
    assert!(other.log().iter().all(|entry| entry.authorization.is_none()), "{:?}", other.log());
}

/// A token endpoint may have moved or be down, so a remembered challenge is not final.
#[tokio::test]
async fn a_remembered_token_endpoint_is_not_final() {
    let says = |challenge: String| Failure::Respond {
        status: 401,
        media_type: "application/json",
        header: Some(("www-authenticate", challenge)),
        body: String::new(),
    };
    let gone = served(serve::Options::default()).await;
    let registry = served(bearer(vec![Account::new("ada", "pw")], &[])).await;
    let repository = repository(&registry, "a/b");
    push_image(&with(password("ada", "pw")), &repository, "v1").await;
    let public = served(serve::Options::default()).await;
    let open = super::repository(&public, "a/b");
    push_image(&client(), &open, "v1").await;
    for failure in [
        Failure::Status(404),
        Failure::Status(401),
        Failure::Status(503),
        Failure::WebPage(200),
        Failure::Delayed(Duration::from_secs(60)),
    ] {
        gone.recover();
        gone.inject(Rule::always("/token", failure.clone()));
        let old = || says(format!("Bearer realm=\"http://{}/token\"", gone.registry()));
        // One registry that now names another token endpoint, and one that no longer asks.
        for (served, repository) in [(&registry, &repository), (&public, &open)] {
            let client = with(password("ada", "pw"));
            served.recover();
            served.inject(Rule::always("/v2/", old()));
            assert!(client.resolve(repository, &tag("v1")).await.is_err(), "{failure:?}");
            served.recover();
            for _ in 0..2 {
                let found = client.resolve(repository, &tag("v1")).await;
                assert!(found.unwrap().is_some(), "{failure:?}");
            }
        }
    }
    // The same challenge is not answered twice.
    gone.recover();
    gone.inject(Rule::always("/token", Failure::Status(401)));
    let realm = format!("Bearer realm=\"http://{}/token\"", gone.registry());
    registry.inject(Rule::always("/v2/", says(realm)));
    let client = with(password("ada", "pw"));
    for _ in 0..2 {
        gone.clear_log();
        registry.clear_log();
        let fault = client.resolve(&repository, &tag("v1")).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unauthorized);
        assert_eq!((registry.log().len(), gone.log().len()), (1, 1));
    }
}
