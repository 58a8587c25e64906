//! Logging in at an issuer that is good, and at one that is not.

use std::time::Duration;

use sealgate_core::fault::FaultKind;
use serde_json::{Value, json};

use super::fixture::{NOW, Variables, World};
use super::issuer::{CLIENT_SECRET, CODE, DEVICE_CODE, Issuer, Person, Twist, Visits};
use crate::oidc::{Flow, Origin, Terminal, TokenError, TokenRequest};

/// A login at this issuer.
fn at(issuer: &Issuer, flow: Option<Flow>) -> TokenRequest {
    TokenRequest { issuer: issuer.url(), flow, ..TokenRequest::default() }
}

fn world_of(person: Person) -> (World, std::sync::Arc<Visits>) {
    let mut world = World::new(Variables::new());
    let visits = Visits::of(person);
    world.surroundings.browser = visits.clone();
    (world, visits)
}

/// The message of a login that fails, which holds no secret.
async fn refused(world: &World, request: &TokenRequest) -> (FaultKind, String) {
    let error = world.ask(request).await.unwrap_err();
    assert!(matches!(error, TokenError::Login(_)), "{error}");
    let shown = format!("{error} {error:?} {}", world.told());
    for secret in [CODE, DEVICE_CODE, CLIENT_SECRET, "cl1ent", "eyJ"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    assert!(!error.to_string().contains(char::is_control), "{error}");
    (error.fault().kind, error.to_string())
}

#[tokio::test]
async fn a_person_logs_in_by_the_browser() {
    let issuer = Issuer::start(Twist::Nothing).await;
    let (world, visits) = world_of(Person::Willing);
    let obtained = world.ask(&at(&issuer, None)).await.unwrap();
    assert_eq!(obtained.origin, Origin::Login(Flow::Normal));
    assert_eq!(obtained.claims.identity(), "ada@example.com");
    assert_eq!(obtained.warnings, []);
    let page = visits.page.lock().unwrap().clone().unwrap();
    assert_eq!(world.told(), format!("Your browser will now be opened to:\n{page}"));
    let redirect = page.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1;
    assert!(redirect.starts_with("http://localhost:"), "{redirect}");
    assert!(redirect.ends_with("/auth/callback"), "{redirect}");
    let asked = issuer.asked("/realm/token");
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].contains_key("client_secret"));
}

#[tokio::test]
async fn two_logins_share_nothing_that_can_be_guessed() {
    let issuer = Issuer::start(Twist::Nothing).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (world, visits) = world_of(Person::Willing);
        world.ask(&at(&issuer, None)).await.unwrap();
        let page = visits.page.lock().unwrap().clone().unwrap();
        for name in ["state", "nonce", "code_challenge"] {
            let value = page.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
            assert_eq!(value.len(), 43, "{name}");
            assert!(!seen.contains(&value), "{name}");
            seen.push(value);
        }
    }
}

#[tokio::test]
async fn the_clients_secret_goes_as_the_issuer_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{CLIENT_SECRET}\n")).unwrap();
    for methods in [json!(["client_secret_basic"]), json!(["client_secret_post"]), Value::Null] {
        let methods = if methods.is_null() { json!([]) } else { methods };
        let twist = Twist::Discovery("token_endpoint_auth_methods_supported", methods.clone());
        let issuer = Issuer::start(twist).await;
        let world = World::new(Variables::new());
        let mut request = at(&issuer, Some(Flow::ClientCredentials));
        request.client_secret_file = Some(file.clone());
        let obtained = world.ask(&request).await.unwrap();
        assert_eq!(obtained.origin, Origin::Login(Flow::ClientCredentials));
        let basic = methods == json!(["client_secret_basic"]);
        assert_eq!(issuer.asked("/realm/token")[0].contains_key("client_secret"), !basic);
    }
}

#[tokio::test]
async fn a_clients_secret_must_be_there() {
    let issuer = Issuer::start(Twist::Nothing).await;
    let world = World::new(Variables::new());
    let mut request = at(&issuer, Some(Flow::ClientCredentials));
    let (kind, message) = refused(&world, &request).await;
    assert_eq!(kind, FaultKind::Config);
    assert!(message.contains("--oidc-client-secret-file: is not given"), "{message}");
    let file = world.folder.path().join("secret");
    for (content, what) in [
        (None, "reading OIDC client secret"),
        (Some(b" \n".to_vec()), "holds no client secret"),
        (Some(vec![0xff]), "is no text"),
        (Some(vec![b'x'; 70 << 10]), "is no text of at most 64 KiB"),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        request.client_secret_file = Some(file.clone());
        let (kind, message) = refused(&world, &request).await;
        assert_eq!(kind, FaultKind::Config);
        assert!(message.contains(what), "{message}");
    }
    std::fs::write(&file, "wrong").unwrap();
    let (_, message) = refused(&world, &request).await;
    assert!(message.contains("error obtaining token: invalid_client"), "{message}");
}

#[tokio::test]
async fn an_issuers_document_is_its_own_and_bounded() {
    let far = || json!("http://issuer.example/token");
    let cases = [
        (Twist::Discovery("issuer", json!("https://evil.example")), "issuer did not match"),
        (Twist::Discovery("issuer", Value::Null), "not the JSON that was asked for"),
        (Twist::Discovery("token_endpoint", Value::Null), "has no token endpoint"),
        (Twist::Discovery("token_endpoint", far()), "names an endpoint that is no https:// URL"),
        (
            Twist::Discovery("authorization_endpoint", json!("file:///etc/passwd")),
            "no https:// URL",
        ),
        (Twist::Discovery("authorization_endpoint", json!("-h")), "no https:// URL"),
        (Twist::Discovery("authorization_endpoint", Value::Null), "no authorization endpoint"),
        (
            Twist::Discovery("code_challenge_methods_supported", json!(["plain"])),
            "PKCE is not supported by OIDC provider",
        ),
        (Twist::Document(404, String::new()), "answered 404"),
        (Twist::Document(200, "<html>".to_owned()), "not the JSON"),
        (Twist::Document(200, " ".repeat(300 << 10)), "larger than 262144 bytes"),
        (Twist::Document(200, "[".repeat(200 << 10)), "not the JSON"),
    ];
    for (twist, what) in cases {
        let issuer = Issuer::start(twist.clone()).await;
        let (_, message) = refused(&World::new(Variables::new()), &at(&issuer, None)).await;
        assert!(message.contains(what), "{twist:?}: {message}");
    }
}

#[tokio::test]
async fn an_issuer_is_reached_encrypted_or_on_this_machine() {
    let world = World::new(Variables::new());
    for address in
        ["http://issuer.example", "ftp://issuer.example", "issuer", "http://127.1.evil.example"]
    {
        let request = TokenRequest { issuer: address.to_owned(), ..TokenRequest::default() };
        let (kind, message) = refused(&world, &request).await;
        assert_eq!(kind, FaultKind::Config, "{message}");
    }
}

#[tokio::test]
async fn a_token_of_another_login_is_refused() {
    let cases = [
        (Twist::Claim("nonce", json!("other")), "nonce does not match value sent"),
        (Twist::Claim("nonce", Value::Null), "nonce does not match value sent"),
        (Twist::Claim("iss", json!("https://other.example")), "a token of another issuer"),
        (Twist::Claim("aud", json!(["other"])), "a token for another client"),
        (Twist::Claim("exp", json!(NOW)), "a token that has expired"),
        (Twist::Claim("exp", Value::Null), "a token that has expired"),
        (Twist::Claim("exp", json!([])), "claims that cannot be read"),
    ];
    for (twist, what) in cases {
        let issuer = Issuer::start(twist.clone()).await;
        let (world, _) = world_of(Person::Willing);
        let (kind, message) = refused(&world, &at(&issuer, None)).await;
        assert_eq!(kind, FaultKind::Malformed, "{twist:?}");
        assert!(message.contains(what), "{twist:?}: {message}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_gives_no_token_is_a_fault_without_secrets() {
    let cases = [
        (Twist::Echo, FaultKind::Denied, "error obtaining token: invalid_grant: "),
        (Twist::Slow, FaultKind::Timeout, "no complete answer in time"),
        (Twist::Token(500, "x".into()), FaultKind::ServerError, "answered 500"),
        (Twist::Token(200, "{}".into()), FaultKind::Malformed, "id_token not present"),
        (Twist::Token(403, "{}".into()), FaultKind::Denied, "answered 403"),
        (Twist::Token(200, r#"{"id_token":""}"#.into()), FaultKind::Malformed, "not present"),
        (Twist::Token(200, r#"{"id_token":"eyJ"}"#.into()), FaultKind::Malformed, "not a JSON web"),
        (Twist::Token(200, r#"{"id_token":["eyJ"]}"#.into()), FaultKind::Malformed, "not the JSON"),
        (Twist::Token(200, r#"{"error":"no\nno"}"#.into()), FaultKind::Denied, "no no"),
        (Twist::Token(401, r#"{"error":"x"}"#.into()), FaultKind::Unauthorized, "token: x"),
        (Twist::Token(200, " ".repeat(300 << 10)), FaultKind::TooLarge, "larger than"),
    ];
    for (twist, kind, what) in cases {
        let issuer = Issuer::start(twist.clone()).await;
        let (mut world, _) = world_of(Person::Willing);
        world.surroundings.http.timeouts.attempt = Duration::from_millis(400);
        let file = world.folder.path().join("secret");
        std::fs::write(&file, CLIENT_SECRET).unwrap();
        let mut request = at(&issuer, Some(Flow::Normal));
        request.client_secret_file = Some(file);
        let (found, message) = refused(&world, &request).await;
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(what), "{message}");
        assert_eq!(issuer.asked("/realm/token").len(), 1, "a code is sent once");
        let verifier = &issuer.asked("/realm/token")[0]["code_verifier"];
        assert!(!message.contains(verifier), "{message}");
    }
}

#[tokio::test]
async fn a_code_is_of_no_use_without_the_verifier() {
    for flow in [Flow::Normal, Flow::Device] {
        let issuer = Issuer::start(Twist::OtherChallenge).await;
        let (world, _) = world_of(Person::Willing);
        let (_, message) = refused(&world, &at(&issuer, Some(flow))).await;
        assert!(message.contains("error obtaining token: invalid_grant"), "{flow}: {message}");
    }
}

#[tokio::test]
async fn a_refusal_in_the_browser_is_told() {
    let issuer = Issuer::start(Twist::Refuse).await;
    let (world, visits) = world_of(Person::Willing);
    let (kind, message) = refused(&world, &at(&issuer, None)).await;
    assert_eq!(kind, FaultKind::Denied);
    assert!(message.contains("the login was refused: access_denied: not you"), "{message}");
    assert!(issuer.asked("/realm/token").is_empty());
    let answer = visits.first_answer().await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn another_issuers_answer_is_refused() {
    let issuer = Issuer::start(Twist::Name("https://evil.example")).await;
    let (world, _) = world_of(Person::Willing);
    let (_, message) = refused(&world, &at(&issuer, None)).await;
    assert!(message.contains("another issuer than ours"), "{message}");
    assert!(issuer.asked("/realm/token").is_empty(), "the code goes to nobody");

    let issuer = Issuer::start(Twist::Name("")).await;
    let (world, _) = world_of(Person::Willing);
    world.ask(&at(&issuer, None)).await.unwrap();

    let silent = Twist::Discovery("authorization_response_iss_parameter_supported", json!(true));
    let issuer = Issuer::start(silent).await;
    let (world, _) = world_of(Person::Willing);
    let (_, message) = refused(&world, &at(&issuer, None)).await;
    assert!(message.contains("another issuer than ours"), "{message}");
}

#[tokio::test]
async fn nobody_is_waited_for_without_end() {
    let issuer = Issuer::start(Twist::Nothing).await;
    let (mut world, _) = world_of(Person::Absent);
    world.surroundings.login_deadline = Duration::from_millis(50);
    let (kind, message) = refused(&world, &at(&issuer, None)).await;
    assert_eq!(kind, FaultKind::Timeout);
    assert!(message.contains("nobody has logged in"), "{message}");
}

#[tokio::test]
async fn without_browser_a_code_is_typed() {
    let issuer = Issuer::with_polls(Twist::Nothing, &["authorization_pending"]).await;
    let (world, _) = world_of(Person::Without);
    let obtained = world.ask(&at(&issuer, None)).await.unwrap();
    assert_eq!(obtained.origin, Origin::Login(Flow::Device));
    assert_eq!(
        world.told(),
        format!(
            "error opening browser: there is no screen; using device flow.\n\
             Enter the verification code ABCD-EFGH in your browser at: {}/type\n\
             Code will be valid for 60 seconds\nToken received!",
            issuer.url()
        )
    );
}

#[tokio::test]
async fn without_browser_the_page_is_told_where_there_is_no_other_way() {
    let lacking = Twist::Discovery("device_authorization_endpoint", Value::Null);
    for (twist, flow) in [(lacking, None), (Twist::Nothing, Some(Flow::Normal))] {
        let issuer = Issuer::start(twist).await;
        let (mut world, visits) = world_of(Person::Without);
        world.surroundings.login_deadline = Duration::from_millis(50);
        refused(&world, &at(&issuer, flow)).await;
        let page = visits.page.lock().unwrap().clone().unwrap();
        assert!(world.told().contains(page.as_str()), "{}", world.told());
    }
}

#[tokio::test]
async fn without_terminal_a_code_is_typed() {
    let issuer = Issuer::start(Twist::Nothing).await;
    let mut world = World::new(Variables::new());
    world.surroundings.terminal = Terminal::Absent;
    let obtained = world.ask(&at(&issuer, None)).await.unwrap();
    assert_eq!(obtained.origin, Origin::Login(Flow::Device));
    assert!(world.told().starts_with("Non-interactive mode detected, using device flow.\n"));
}

#[tokio::test]
async fn the_device_flow_waits_as_it_is_told() {
    let polls = ["authorization_pending", "slow_down", "500", "authorization_pending"];
    let issuer = Issuer::with_polls(Twist::Nothing, &polls).await;
    let world = World::new(Variables::new());
    world.ask(&at(&issuer, Some(Flow::Device))).await.unwrap();
    assert_eq!(*world.notes.pauses.lock().unwrap(), [7, 7, 12, 17, 17]);
    let asked = issuer.asked("/realm/device");
    assert_eq!(asked[0]["scope"], "openid email");
    assert_eq!(asked[0]["code_challenge_method"], "S256");
    let asked = issuer.asked("/realm/token");
    assert_eq!(asked[4]["device_code"], DEVICE_CODE);
}

#[tokio::test]
async fn the_device_flow_ends() {
    let cases: [(&[&'static str], FaultKind, &str); 4] = [
        (&["access_denied"], FaultKind::Denied, "access_denied"),
        (&["expired_token"], FaultKind::Denied, "expired_token"),
        (&["authorization_pending"; 50], FaultKind::Timeout, "nobody has entered the code"),
        (&["what\u{7}"], FaultKind::Denied, "error obtaining token: what "),
    ];
    for (polls, kind, what) in cases {
        let issuer = Issuer::with_polls(Twist::Nothing, polls).await;
        let world = World::new(Variables::new());
        let (found, message) = refused(&world, &at(&issuer, Some(Flow::Device))).await;
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(what), "{message}");
        assert!(world.notes.pauses.lock().unwrap().iter().sum::<u64>() <= 67);
    }
    let long = json!({ "device_code": DEVICE_CODE, "user_code": "A", "interval": 1,
                       "verification_uri": "https://i.example", "expires_in": 100_000_000 });
    let issuer = Issuer::start(Twist::Device(200, long.to_string())).await;
    let world = World::new(Variables::new());
    refused(&world, &at(&issuer, Some(Flow::Device))).await;
    assert!(world.told().contains("Code will be valid for 1800 seconds"), "{}", world.told());
}

#[tokio::test]
async fn an_issuer_that_stays_ill_is_not_asked_for_ever() {
    let issuer = Issuer::start(Twist::Token(500, String::new())).await;
    let mut world = World::new(Variables::new());
    world.surroundings.http.retries.max = 0;
    let (kind, _) = refused(&world, &at(&issuer, Some(Flow::Device))).await;
    assert!([FaultKind::ServerError, FaultKind::Timeout].contains(&kind), "{kind:?}");
    assert!(issuer.asked("/realm/token").len() <= 6);
}

#[tokio::test]
async fn a_device_endpoint_that_gives_no_code_is_a_fault() {
    let document = |name: &str, value: Value| {
        let mut document = json!({ "device_code": DEVICE_CODE, "user_code": "A",
                                   "verification_uri": "https://i.example" });
        document[name] = value;
        Twist::Device(200, document.to_string())
    };
    let cases = [
        (
            document("verification_uri", json!("javascript:alert(1)")),
            "no page to enter the code at",
        ),
        (document("verification_uri", Value::Null), "no page to enter the code at"),
        (document("user_code", json!("\u{1b}\u{1b}")), "no code to enter"),
        (document("device_code", json!({ DEVICE_CODE: 1 })), "not the JSON"),
        (Twist::Device(400, r#"{"error":"unauthorized_client"}"#.into()), "unauthorized_client"),
        (Twist::Device(200, " ".repeat(300 << 10)), "larger than"),
        (Twist::Discovery("device_authorization_endpoint", Value::Null), "no device authorization"),
        (Twist::Discovery("code_challenge_methods_supported", json!([])), "PKCE is not supported"),
    ];
    for (twist, what) in cases {
        let issuer = Issuer::start(twist.clone()).await;
        let world = World::new(Variables::new());
        let (_, message) = refused(&world, &at(&issuer, Some(Flow::Device))).await;
        assert!(message.contains(what), "{twist:?}: {message}");
        assert!(issuer.asked("/realm/token").is_empty());
    }
}

#[tokio::test]
async fn a_code_cannot_write_on_a_terminal() {
    let document = json!({ "device_code": DEVICE_CODE, "user_code": "A\u{1b}[2J\nB", "interval": 0,
                           "verification_uri": "https://i.example/\u{1b}[2J", "expires_in": 0 });
    let issuer = Issuer::start(Twist::Device(200, document.to_string())).await;
    let world = World::new(Variables::new());
    refused(&world, &at(&issuer, Some(Flow::Device))).await;
    assert!(world.told().contains("Enter the verification code A [2J B in"), "{}", world.told());
    assert!(!world.told().contains('\u{1b}'));
    assert_eq!(*world.notes.pauses.lock().unwrap(), [5], "the usual interval, at least one second");
}
