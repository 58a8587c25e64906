//! Tests of claims, warnings, and `--identity-token`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sealgate_core::fault::FaultKind;
use serde_json::{Value, json};

use super::fixture::{NOW, TestEnvironment, Variables, pipeline_token, token_for};
use crate::oidc::{Checked, Secret, TokenRequest, TokenSource, Warning, claims};

fn given(value: &str) -> TokenRequest {
    TokenRequest { identity_token: Some(Secret::new(value)), ..TokenRequest::default() }
}

#[test]
fn claims_are_read() {
    let token = token_for(json!({
        "iss": "https://issuer.example", "sub": "CgVhZG1pbg", "aud": ["sigstore", "other"],
        "exp": NOW, "email": "ada@example.com", "email_verified": "True",
        "federated_claims": { "connector_id": "https://accounts.example" },
    }));
    let claims = claims(&token).unwrap();
    assert_eq!(claims.issuer, "https://issuer.example");
    assert_eq!(claims.identity(), "ada@example.com");
    assert_eq!(claims.email.as_ref().unwrap().checked, Checked::Yes);
    assert_eq!(claims.audience, ["sigstore", "other"]);
    assert_eq!(claims.expires, Some(Timestamp::from_second(NOW).unwrap()));
    assert_eq!(
        claims.to_string(),
        "ada@example.com (issuer https://issuer.example, logged in at https://accounts.example)"
    );
}

#[test]
fn claims_cannot_write_on_a_terminal() {
    let wide = "x".repeat(2000);
    let token = token_for(json!({ "sub": "a\u{1b}[2J\nb", "iss": wide, "aud": "\r" }));
    let claims = claims(&token).unwrap();
    assert_eq!(claims.subject, "a [2J b");
    assert_eq!(claims.issuer.chars().count(), 401);
    let shown = format!("{claims} {:?}", claims.warnings(Timestamp::UNIX_EPOCH, Some("sigstore")));
    assert!(!shown.contains(char::is_control), "{shown}");
}

#[test]
fn what_is_no_token_is_none() {
    let token = pipeline_token("s");
    let parts: Vec<&str> = token.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let cases = [
        String::new(),
        "..".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{payload}!.{payload}.{signature}"),
        format!("{header}.{header}+/.{signature}"),
        format!("WzFd.{payload}.{signature}"),
        token_for(json!([1])),
        token_for(json!({ "exp": "soon" })),
        token_for(json!({ "aud": 7 })),
    ];
    for case in cases {
        let fault = claims(&case).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Malformed, "{case}");
        assert!(case.len() < 3 || !fault.to_string().contains(&case));
    }
    let large = token_for(json!({ "sub": "x".repeat(16 << 10) }));
    assert_eq!(claims(&large).unwrap_err().kind, FaultKind::TooLarge);
    // Nesting depth costs no stack: unknown fields are skipped, known ones are bounded.
    let nest = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
    let deep = |name: &str| URL_SAFE_NO_PAD.encode(format!("{{\"{name}\":{nest}}}"));
    for name in ["aud", "email_verified", "exp", "federated_claims"] {
        let token = format!("{header}.{}.{signature}", deep(name));
        assert_eq!(claims(&token).unwrap_err().kind, FaultKind::Malformed, "{name}");
    }
    claims(&format!("{header}.{}.{signature}", deep("x"))).unwrap();
    let token = format!("{}.{payload}.{signature}", deep("x"));
    assert_eq!(claims(&token).unwrap_err().kind, FaultKind::Malformed);
}

#[test]
fn warnings_say_what_an_authority_may_not_like() {
    let now = Timestamp::from_second(NOW).unwrap();
    let at = |second| Timestamp::from_second(second).unwrap();
    let good = json!({ "sub": "s", "aud": "sigstore", "exp": NOW + 1 });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let other = |found: &[&str]| Warning::Audience {
        wanted: "sigstore".to_owned(),
        found: found.iter().map(|&text| text.to_owned()).collect(),
    };
    let cases = [
        (good.clone(), vec![]),
        (with("exp", json!(NOW)), vec![Warning::Expired(at(NOW))]),
        (with("exp", json!(NOW as f64 + 0.5)), vec![Warning::Expired(at(NOW))]),
        (with("exp", json!(-1)), vec![Warning::Expired(at(-1))]),
        (with("exp", json!(1e300)), vec![Warning::NoExpiry]),
        (with("exp", Value::Null), vec![Warning::NoExpiry]),
        (with("aud", json!([])), vec![other(&[])]),
        (with("aud", json!(["Sigstore", "sts"])), vec![other(&["Sigstore", "sts"])]),
        (with("email", json!("a@b.c")), vec![Warning::EmailNotVerified("a@b.c".to_owned())]),
        (with("sub", json!("")), vec![Warning::NoSubject]),
    ];
    for (document, expected) in cases {
        let claims = claims(&token_for(document.clone())).unwrap();
        let found = claims.warnings(now, Some("sigstore"));
        assert_eq!(found, expected, "{document}");
        assert!(found.iter().all(|warning| !warning.to_string().is_empty()));
    }
}

#[tokio::test]
async fn a_value_is_a_token_or_a_file_with_one() {
    let env =
        TestEnvironment::new(Variables::from([("SIGSTORE_ID_TOKEN", pipeline_token("other"))]));
    let token = pipeline_token("given");
    let file = env.folder.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    for value in [token.clone(), format!(" {token}\n"), file.display().to_string()] {
        let obtained = env.ask(&given(&value)).await.unwrap();
        assert_eq!(obtained.token.secret(), token);
        assert_eq!(obtained.source, TokenSource::Given);
        assert_eq!(obtained.claims.identity(), "given");
        assert_eq!(obtained.warnings, []);
    }
}

/// The certificate of a CI job names the workflow, not the token's subject.
#[test]
fn a_job_is_identified_by_its_workflow() {
    let github = "acme/app/.github/workflows/release.yml@refs/heads/main";
    let gitlab = "gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main";
    for (name, value) in [("job_workflow_ref", github), ("ci_config_ref_uri", gitlab)] {
        let token = token_for(json!({ "sub": "repo:acme/app:ref:refs/heads/main", name: value }));
        let identity = claims(&token).unwrap().identity().to_owned();
        assert!(identity.starts_with("https://git") && identity.ends_with(value), "{identity}");
    }
}

#[tokio::test]
async fn an_empty_value_gives_none() {
    let env =
        TestEnvironment::new(Variables::from([("SIGSTORE_ID_TOKEN", pipeline_token("other"))]));
    let obtained = env.ask(&given(" ")).await.unwrap();
    assert_eq!(obtained.claims.identity(), "other");
}

#[tokio::test]
async fn an_expired_token_is_reported_and_not_refused() {
    let env = TestEnvironment::new(Variables::new());
    let token = token_for(json!({ "sub": "s", "exp": NOW - 60, "aud": "mine" }));
    let obtained = env.ask(&given(&token)).await.unwrap();
    let told: Vec<String> = obtained.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "the identity token expired at 2030-03-17T17:45:40Z",
            "the identity token has the audience mine, not sigstore",
        ]
    );
}

#[tokio::test]
async fn a_message_never_shows_the_value() {
    let env = TestEnvironment::new(Variables::new());
    let folder = env.folder.path();
    let (large, binary, text) = (folder.join("large"), folder.join("binary"), folder.join("text"));
    std::fs::write(&large, "x".repeat(70 << 10)).unwrap();
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    std::fs::write(&text, "hunter2.hunter2.hunter2").unwrap();
    let broken = format!("{}x", pipeline_token("s").replace('.', "_"));
    let cases = [
        (broken.clone(), FaultKind::Missing),
        ("secret\0".to_owned(), FaultKind::Missing),
        (folder.display().to_string(), FaultKind::Missing),
        (large.display().to_string(), FaultKind::Malformed),
        (binary.display().to_string(), FaultKind::Malformed),
        (text.display().to_string(), FaultKind::Malformed),
    ];
    for (value, kind) in cases {
        let error = env.ask(&given(&value)).await.unwrap_err();
        assert_eq!(error.fault().kind, kind, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(shown.starts_with("reading ID token: getting id token: "), "{shown}");
        let hidden = [value.as_str(), "hunter2", &broken[..20]];
        assert!(hidden.iter().all(|text| !shown.contains(text)), "{shown}");
    }
}
