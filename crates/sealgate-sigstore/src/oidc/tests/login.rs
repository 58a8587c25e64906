//! Tests of logins at a correct and at a misbehaving issuer.

use std::time::Duration;

use sealgate_core::fault::FaultKind;
use serde_json::{Value, json};

use super::fixture::{NOW, TestEnvironment, Variables};
use super::issuer::{CLIENT_SECRET, CODE, DEVICE_CODE, Defect, Issuer, TestBrowser, User};
use crate::oidc::{Flow, Terminal, TokenError, TokenRequest, TokenSource};

/// Token request for a login at this issuer.
fn at(issuer: &Issuer, flow: Option<Flow>) -> TokenRequest {
    TokenRequest { issuer: issuer.url(), flow, ..TokenRequest::default() }
}

fn env_of(person: User) -> (TestEnvironment, std::sync::Arc<TestBrowser>) {
    let mut env = TestEnvironment::new(Variables::new());
    let visits = TestBrowser::of(person);
    env.environment.browser = visits.clone();
    (env, visits)
}

/// Message of a failing login, after checking that it holds no secret.
async fn refused(env: &TestEnvironment, request: &TokenRequest) -> (FaultKind, String) {
    let error = env.ask(request).await.unwrap_err();
    assert!(matches!(error, TokenError::Login(_)), "{error}");
    let shown = format!("{error} {error:?} {}", env.output());
    for secret in [CODE, DEVICE_CODE, CLIENT_SECRET, "cl1ent", "eyJ"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    assert!(!error.to_string().contains(char::is_control), "{error}");
    (error.fault().kind, error.to_string())
}

#[tokio::test]
async fn a_person_logs_in_by_the_browser() {
    let issuer = Issuer::start(Defect::Nothing).await;
    let (env, visits) = env_of(User::Willing);
    let obtained = env.ask(&at(&issuer, None)).await.unwrap();
    assert_eq!(obtained.source, TokenSource::Login(Flow::Normal));
    assert_eq!(obtained.claims.identity(), "ada@example.com");
    assert_eq!(obtained.warnings, []);
    let page = visits.page.lock().unwrap().clone().unwrap();
    assert_eq!(env.output(), format!("Your browser will now be opened to:\n{page}"));
    let redirect = page.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1;
    assert!(redirect.starts_with("http://localhost:"), "{redirect}");
    assert!(redirect.ends_with("/auth/callback"), "{redirect}");
    let asked = issuer.asked("/realm/token");
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].contains_key("client_secret"));
}

#[tokio::test]
async fn two_logins_share_nothing_that_can_be_guessed() {
    let issuer = Issuer::start(Defect::Nothing).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (env, visits) = env_of(User::Willing);
        env.ask(&at(&issuer, None)).await.unwrap();
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
        let defect = Defect::Discovery("token_endpoint_auth_methods_supported", methods.clone());
        let issuer = Issuer::start(defect).await;
        let env = TestEnvironment::new(Variables::new());
        let mut request = at(&issuer, Some(Flow::ClientCredentials));
        request.client_secret_file = Some(file.clone());
        let obtained = env.ask(&request).await.unwrap();
        assert_eq!(obtained.source, TokenSource::Login(Flow::ClientCredentials));
        let basic = methods == json!(["client_secret_basic"]);
        assert_eq!(issuer.asked("/realm/token")[0].contains_key("client_secret"), !basic);
    }
}

#[tokio::test]
async fn a_clients_secret_must_be_there() {
    let issuer = Issuer::start(Defect::Nothing).await;
    let env = TestEnvironment::new(Variables::new());
    let mut request = at(&issuer, Some(Flow::ClientCredentials));
    let (kind, message) = refused(&env, &request).await;
    assert_eq!(kind, FaultKind::Config);
    assert!(message.contains("--oidc-client-secret-file: is missing"), "{message}");
    let file = env.folder.path().join("secret");
    for (content, what) in [
        (None, "reading OIDC client secret"),
        (Some(b" \n".to_vec()), "contains no client secret"),
        (Some(vec![0xff]), "is not a text file"),
        (Some(vec![b'x'; 70 << 10]), "is not a text file of at most 64 KiB"),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        request.client_secret_file = Some(file.clone());
        let (kind, message) = refused(&env, &request).await;
        assert_eq!(kind, FaultKind::Config);
        assert!(message.contains(what), "{message}");
    }
    std::fs::write(&file, "wrong").unwrap();
    let (_, message) = refused(&env, &request).await;
    assert!(message.contains("error obtaining token: invalid_client"), "{message}");
}

#[tokio::test]
async fn an_issuers_document_is_its_own_and_bounded() {
    let far = || json!("http://issuer.example/token");
    let cases = [
        (Defect::Discovery("issuer", json!("https://evil.example")), "issuer did not match"),
        (Defect::Discovery("issuer", Value::Null), "not the expected JSON"),
        (Defect::Discovery("token_endpoint", Value::Null), "has no token endpoint"),
        (
            Defect::Discovery("token_endpoint", far()),
            "names an endpoint that is not an https:// URL",
        ),
        (
            Defect::Discovery("authorization_endpoint", json!("file:///etc/passwd")),
            "not an https:// URL",
        ),
        (Defect::Discovery("authorization_endpoint", json!("-h")), "not an https:// URL"),
        (Defect::Discovery("authorization_endpoint", Value::Null), "no authorization endpoint"),
        (
            Defect::Discovery("code_challenge_methods_supported", json!(["plain"])),
            "PKCE is not supported by OIDC provider",
        ),
        (Defect::Document(404, String::new()), "answered 404"),
        (Defect::Document(200, "<html>".to_owned()), "not the expected JSON"),
        (Defect::Document(200, " ".repeat(300 << 10)), "larger than 262144 bytes"),
        (Defect::Document(200, "[".repeat(200 << 10)), "not the expected JSON"),
    ];
    for (defect, what) in cases {
        let issuer = Issuer::start(defect.clone()).await;
        let (_, message) =
            refused(&TestEnvironment::new(Variables::new()), &at(&issuer, None)).await;
        assert!(message.contains(what), "{defect:?}: {message}");
    }
}

#[tokio::test]
async fn an_issuer_is_reached_encrypted_or_on_this_machine() {
    let env = TestEnvironment::new(Variables::new());
    for address in
        ["http://issuer.example", "ftp://issuer.example", "issuer", "http://127.1.evil.example"]
    {
        let request = TokenRequest { issuer: address.to_owned(), ..TokenRequest::default() };
        let (kind, message) = refused(&env, &request).await;
        assert_eq!(kind, FaultKind::Config, "{message}");
    }
}

#[tokio::test]
async fn a_token_of_another_login_is_refused() {
    let cases = [
        (Defect::Claim("nonce", json!("other")), "nonce does not match value sent"),
        (Defect::Claim("nonce", Value::Null), "nonce does not match value sent"),
        (Defect::Claim("iss", json!("https://other.example")), "a token of another issuer"),
        (Defect::Claim("aud", json!(["other"])), "a token for another client"),
        (Defect::Claim("exp", json!(NOW)), "an expired token"),
        (Defect::Claim("exp", Value::Null), "an expired token"),
        (Defect::Claim("exp", json!([])), "claims that cannot be read"),
    ];
    for (defect, what) in cases {
        let issuer = Issuer::start(defect.clone()).await;
        let (env, _) = env_of(User::Willing);
        let (kind, message) = refused(&env, &at(&issuer, None)).await;
        assert_eq!(kind, FaultKind::Malformed, "{defect:?}");
        assert!(message.contains(what), "{defect:?}: {message}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_gives_no_token_is_a_fault_without_secrets() {
    let cases = [
        (Defect::Echo, FaultKind::Denied, "error obtaining token: invalid_grant: "),
        (Defect::Slow, FaultKind::Timeout, "no complete response in time"),
        (Defect::Token(500, "x".into()), FaultKind::ServerError, "answered 500"),
        (Defect::Token(200, "{}".into()), FaultKind::Malformed, "id_token not present"),
        (Defect::Token(403, "{}".into()), FaultKind::Denied, "answered 403"),
        (Defect::Token(200, r#"{"id_token":""}"#.into()), FaultKind::Malformed, "not present"),
        (
            Defect::Token(200, r#"{"id_token":"eyJ"}"#.into()),
            FaultKind::Malformed,
            "not a JSON web",
        ),
        (
            Defect::Token(200, r#"{"id_token":["eyJ"]}"#.into()),
            FaultKind::Malformed,
            "not the expected JSON",
        ),
        (Defect::Token(200, r#"{"error":"no\nno"}"#.into()), FaultKind::Denied, "no no"),
        (Defect::Token(401, r#"{"error":"x"}"#.into()), FaultKind::Unauthorized, "token: x"),
        (Defect::Token(200, " ".repeat(300 << 10)), FaultKind::TooLarge, "larger than"),
    ];
    for (defect, kind, what) in cases {
        let issuer = Issuer::start(defect.clone()).await;
        let (mut env, _) = env_of(User::Willing);
        env.environment.http.timeouts.attempt = Duration::from_millis(400);
        let file = env.folder.path().join("secret");
        std::fs::write(&file, CLIENT_SECRET).unwrap();
        let mut request = at(&issuer, Some(Flow::Normal));
        request.client_secret_file = Some(file);
        let (found, message) = refused(&env, &request).await;
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
        let issuer = Issuer::start(Defect::OtherChallenge).await;
        let (env, _) = env_of(User::Willing);
        let (_, message) = refused(&env, &at(&issuer, Some(flow))).await;
        assert!(message.contains("error obtaining token: invalid_grant"), "{flow}: {message}");
    }
}

#[tokio::test]
async fn a_refusal_in_the_browser_is_reported() {
    let issuer = Issuer::start(Defect::Refuse).await;
    let (env, visits) = env_of(User::Willing);
    let (kind, message) = refused(&env, &at(&issuer, None)).await;
    assert_eq!(kind, FaultKind::Denied);
    assert!(message.contains("the login was refused: access_denied: not you"), "{message}");
    assert!(issuer.asked("/realm/token").is_empty());
    let answer = visits.first_answer().await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn another_issuers_answer_is_refused() {
    let issuer = Issuer::start(Defect::Name("https://evil.example")).await;
    let (env, _) = env_of(User::Willing);
    let (_, message) = refused(&env, &at(&issuer, None)).await;
    assert!(message.contains("came from another issuer"), "{message}");
    assert!(issuer.asked("/realm/token").is_empty(), "the code goes to nobody");

    let issuer = Issuer::start(Defect::Name("")).await;
    let (env, _) = env_of(User::Willing);
    env.ask(&at(&issuer, None)).await.unwrap();

    let silent = Defect::Discovery("authorization_response_iss_parameter_supported", json!(true));
    let issuer = Issuer::start(silent).await;
    let (env, _) = env_of(User::Willing);
    let (_, message) = refused(&env, &at(&issuer, None)).await;
    assert!(message.contains("came from another issuer"), "{message}");
}

#[tokio::test]
async fn a_login_times_out() {
    let issuer = Issuer::start(Defect::Nothing).await;
    let (mut env, _) = env_of(User::Absent);
    env.environment.login_deadline = Duration::from_millis(50);
    let (kind, message) = refused(&env, &at(&issuer, None)).await;
    assert_eq!(kind, FaultKind::Timeout);
    assert!(message.contains("no login within"), "{message}");
}

#[tokio::test]
async fn without_browser_a_code_is_typed() {
    let issuer = Issuer::with_polls(Defect::Nothing, &["authorization_pending"]).await;
    let (env, _) = env_of(User::Without);
    let obtained = env.ask(&at(&issuer, None)).await.unwrap();
    assert_eq!(obtained.source, TokenSource::Login(Flow::Device));
    assert_eq!(
        env.output(),
        format!(
            "error opening browser: no display available; using device flow.\n\
             Enter the verification code ABCD-EFGH in your browser at: {}/type\n\
             Code will be valid for 60 seconds\nToken received!",
            issuer.url()
        )
    );
}

#[tokio::test]
async fn without_browser_and_device_flow_the_url_is_printed() {
    let lacking = Defect::Discovery("device_authorization_endpoint", Value::Null);
    for (defect, flow) in [(lacking, None), (Defect::Nothing, Some(Flow::Normal))] {
        let issuer = Issuer::start(defect).await;
        let (mut env, visits) = env_of(User::Without);
        env.environment.login_deadline = Duration::from_millis(50);
        refused(&env, &at(&issuer, flow)).await;
        let page = visits.page.lock().unwrap().clone().unwrap();
        assert!(env.output().contains(page.as_str()), "{}", env.output());
    }
}

#[tokio::test]
async fn without_terminal_a_code_is_typed() {
    let issuer = Issuer::start(Defect::Nothing).await;
    let mut env = TestEnvironment::new(Variables::new());
    env.environment.terminal = Terminal::Absent;
    let obtained = env.ask(&at(&issuer, None)).await.unwrap();
    assert_eq!(obtained.source, TokenSource::Login(Flow::Device));
    assert!(env.output().starts_with("Non-interactive mode detected, using device flow.\n"));
}

#[tokio::test]
async fn the_device_flow_waits_as_it_is_told() {
    let polls = ["authorization_pending", "slow_down", "500", "authorization_pending"];
    let issuer = Issuer::with_polls(Defect::Nothing, &polls).await;
    let env = TestEnvironment::new(Variables::new());
    env.ask(&at(&issuer, Some(Flow::Device))).await.unwrap();
    assert_eq!(*env.notes.pauses.lock().unwrap(), [7, 7, 12, 17, 17]);
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
        (&["authorization_pending"; 50], FaultKind::Timeout, "was not entered in time"),
        (&["what\u{7}"], FaultKind::Denied, "error obtaining token: what "),
    ];
    for (polls, kind, what) in cases {
        let issuer = Issuer::with_polls(Defect::Nothing, polls).await;
        let env = TestEnvironment::new(Variables::new());
        let (found, message) = refused(&env, &at(&issuer, Some(Flow::Device))).await;
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(what), "{message}");
        assert!(env.notes.pauses.lock().unwrap().iter().sum::<u64>() <= 67);
    }
    let long = json!({ "device_code": DEVICE_CODE, "user_code": "A", "interval": 1,
                       "verification_uri": "https://i.example", "expires_in": 100_000_000 });
    let issuer = Issuer::start(Defect::Device(200, long.to_string())).await;
    let env = TestEnvironment::new(Variables::new());
    refused(&env, &at(&issuer, Some(Flow::Device))).await;
    assert!(env.output().contains("Code will be valid for 1800 seconds"), "{}", env.output());
}

#[tokio::test]
async fn a_failing_issuer_is_not_polled_forever() {
    let issuer = Issuer::start(Defect::Token(500, String::new())).await;
    let mut env = TestEnvironment::new(Variables::new());
    env.environment.http.retries.max = 0;
    let (kind, _) = refused(&env, &at(&issuer, Some(Flow::Device))).await;
    assert!([FaultKind::ServerError, FaultKind::Timeout].contains(&kind), "{kind:?}");
    assert!(issuer.asked("/realm/token").len() <= 6);
}

#[tokio::test]
async fn a_device_endpoint_that_gives_no_code_is_a_fault() {
    let document = |name: &str, value: Value| {
        let mut document = json!({ "device_code": DEVICE_CODE, "user_code": "A",
                                   "verification_uri": "https://i.example" });
        document[name] = value;
        Defect::Device(200, document.to_string())
    };
    let cases = [
        (
            document("verification_uri", json!("javascript:alert(1)")),
            "no URL for entering the code",
        ),
        (document("verification_uri", Value::Null), "no URL for entering the code"),
        (document("user_code", json!("\u{1b}\u{1b}")), "no user code"),
        (document("device_code", json!({ DEVICE_CODE: 1 })), "not the expected JSON"),
        (Defect::Device(400, r#"{"error":"unauthorized_client"}"#.into()), "unauthorized_client"),
        (Defect::Device(200, " ".repeat(300 << 10)), "larger than"),
        (
            Defect::Discovery("device_authorization_endpoint", Value::Null),
            "no device authorization",
        ),
        (Defect::Discovery("code_challenge_methods_supported", json!([])), "PKCE is not supported"),
    ];
    for (defect, what) in cases {
        let issuer = Issuer::start(defect.clone()).await;
        let env = TestEnvironment::new(Variables::new());
        let (_, message) = refused(&env, &at(&issuer, Some(Flow::Device))).await;
        assert!(message.contains(what), "{defect:?}: {message}");
        assert!(issuer.asked("/realm/token").is_empty());
    }
}

#[tokio::test]
async fn a_code_cannot_write_on_a_terminal() {
    let document = json!({ "device_code": DEVICE_CODE, "user_code": "A\u{1b}[2J\nB", "interval": 0,
                           "verification_uri": "https://i.example/\u{1b}[2J", "expires_in": 0 });
    let issuer = Issuer::start(Defect::Device(200, document.to_string())).await;
    let env = TestEnvironment::new(Variables::new());
    refused(&env, &at(&issuer, Some(Flow::Device))).await;
    assert!(env.output().contains("Enter the verification code A [2J B in"), "{}", env.output());
    assert!(!env.output().contains('\u{1b}'));
    assert_eq!(*env.notes.pauses.lock().unwrap(), [5], "the usual interval, at least one second");
}
