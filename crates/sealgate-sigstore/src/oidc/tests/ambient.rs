//! Tests of every provider with a correct and with a misbehaving server.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use sealgate_core::fault::FaultKind;
use serde_json::json;

use super::fixture::{TestEnvironment, Variables, pipeline_token};
use crate::http::fixture::{ReceivedRequest, Service, answer, with};
use crate::oidc::{Ambient, Flow, Provider, TokenError, TokenRequest, TokenSource};

const SECRET: &str = "s3cr3t-of-the-pipeline";

/// Request without a login, so that the absence of providers is an error.
fn request(ambient: Ambient) -> TokenRequest {
    TokenRequest { ambient, flow: Some(Flow::Token), ..TokenRequest::default() }
}

fn github(url: &str) -> TestEnvironment {
    TestEnvironment::new(Variables::from([
        ("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{url}/ask?api-version=2.0")),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", SECRET.to_owned()),
    ]))
}

fn buildkite(url: &str) -> TestEnvironment {
    TestEnvironment::new(Variables::from([
        ("BUILDKITE_AGENT_ACCESS_TOKEN", SECRET.to_owned()),
        ("BUILDKITE_AGENT_ENDPOINT", format!("{url}/v3")),
        ("BUILDKITE_JOB_ID", "job/1".to_owned()),
    ]))
}

fn google(url: &str) -> TestEnvironment {
    let host = url.strip_prefix("http://").unwrap().to_owned();
    TestEnvironment::new(Variables::from([("GCE_METADATA_HOST", host)]))
}

fn impersonating(url: &str) -> TestEnvironment {
    let host = url.strip_prefix("http://").unwrap().to_owned();
    let mut env = TestEnvironment::new(Variables::from([
        ("GCE_METADATA_HOST", host),
        ("GOOGLE_SERVICE_ACCOUNT_NAME", "ci@p.example".to_owned()),
    ]));
    env.environment.paths.google_credentials = url.to_owned();
    env
}

fn header<'a>(seen: &'a ReceivedRequest, name: &str) -> &'a str {
    seen.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

fn flavored(answer: Response) -> Response {
    with(answer, "metadata-flavor", "Google")
}

async fn gives(env: &TestEnvironment, provider: Provider, subject: &str) {
    for ambient in [Ambient::Any, Ambient::Only(provider)] {
        let obtained = env.ask(&request(ambient)).await.unwrap();
        assert_eq!(obtained.source, TokenSource::Ambient(provider));
        assert_eq!(obtained.claims.subject, subject);
        assert_eq!(obtained.warnings, []);
    }
}

async fn fails(env: &TestEnvironment, provider: Provider) -> TokenError {
    let error = env.ask(&request(Ambient::Only(provider))).await.unwrap_err();
    let shown = format!("{error}\n{error:?}\n{}", env.output());
    assert!(shown.starts_with("reading ID token: fetching ambient OIDC credentials: "), "{shown}");
    assert!(shown.contains(&format!("{provider}: ")), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
    error
}

#[tokio::test]
async fn github_issues_a_token_for_the_jobs_request_token() {
    let service = Service::start(|number, _| match number {
        0 => answer(503, ""),
        _ => answer(200, json!({ "count": 1, "value": pipeline_token("repo") }).to_string()),
    })
    .await;
    gives(&github(&service.url), Provider::GithubActions, "repo").await;
    let seen = service.seen();
    assert_eq!(seen[1].method, "GET");
    assert_eq!(seen[1].path, "/ask?api-version=2.0&audience=sigstore");
    assert_eq!(header(&seen[1], "authorization"), format!("Bearer {SECRET}"));
}

#[tokio::test]
async fn buildkites_agent_gives_a_token_for_its_job() {
    let service = Service::start(|_, _| {
        answer(200, json!({ "token": pipeline_token("organization:a") }).to_string())
    })
    .await;
    gives(&buildkite(&service.url), Provider::BuildkiteAgent, "organization:a").await;
    let seen = &service.seen()[0];
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.path, "/v3/jobs/job%2F1/oidc/tokens");
    assert_eq!(header(seen, "authorization"), format!("Token {SECRET}"));
    assert_eq!(seen.body, r#"{"audience":"sigstore"}"#);
}

#[tokio::test]
async fn googles_metadata_server_gives_a_token_of_the_machine() {
    let service = Service::start(|_, _| flavored(answer(200, pipeline_token("1234")))).await;
    gives(&google(&service.url), Provider::GoogleWorkloadIdentity, "1234").await;
    let seen = &service.seen()[0];
    assert_eq!(
        seen.path,
        "/computeMetadata/v1/instance/service-accounts/default/identity?audience=sigstore&format=full"
    );
    assert_eq!(header(seen, "metadata-flavor"), "Google");
}

#[tokio::test]
async fn no_other_server_is_googles() {
    let service = Service::start(|_, _| answer(200, pipeline_token("1234"))).await;
    let error = fails(&google(&service.url), Provider::GoogleWorkloadIdentity).await;
    assert!(error.to_string().contains("not Google's metadata server"), "{error}");
}

#[tokio::test]
async fn one_account_of_googles_acts_for_another() {
    let service = Service::start(|_, seen| match seen.path.starts_with("/computeMetadata") {
        true if seen.path.contains("/token?") => {
            flavored(answer(200, json!({ "access_token": SECRET }).to_string()))
        }
        true => answer(404, ""),
        false => answer(200, json!({ "token": pipeline_token("ci") }).to_string()),
    })
    .await;
    let env = impersonating(&service.url);
    gives(&env, Provider::GoogleImpersonate, "ci").await;
    assert!(env.output().contains("no identity token from google-workload-identity: "));
    let seen = service.seen().into_iter().find(|seen| seen.path.starts_with("/v1")).unwrap();
    assert_eq!(seen.path, "/v1/projects/-/serviceAccounts/ci@p.example:generateIdToken");
    assert_eq!(header(&seen, "authorization"), format!("Bearer {SECRET}"));
    assert_eq!(seen.body, r#"{"audience":"sigstore","includeEmail":true}"#);
}

/// Misbehaviour of a server, and the expected fault kind.
type FailureCase = (&'static str, fn(&ReceivedRequest) -> Response, FaultKind);

/// Provider, and an environment in which it is available at this URL.
type ProviderAt = (Provider, fn(&str) -> TestEnvironment);

fn failure_cases() -> Vec<FailureCase> {
    vec![
        ("refuses, and repeats what it was told", echo, FaultKind::Denied),
        ("has nothing", |_| flavored(answer(404, "")), FaultKind::Missing),
        ("fails", |_| flavored(answer(500, "")), FaultKind::ServerError),
        ("is slow", |_| stalled(), FaultKind::Timeout),
        ("says too much", |_| flavored(answer(200, "x".repeat(300 << 10))), FaultKind::TooLarge),
        ("says nothing", |_| flavored(answer(200, "")), FaultKind::Malformed),
        ("says other JSON", |_| flavored(answer(200, "{}")), FaultKind::Malformed),
        (
            "says other types",
            |_| {
                flavored(answer(
                    200,
                    json!({ "value": { SECRET: 1 }, "token": [SECRET] }).to_string(),
                ))
            },
            FaultKind::Malformed,
        ),
        ("says half", |_| flavored(answer(200, r#"{"value":"s3cr3t-of"#)), FaultKind::Malformed),
        (
            "gives no token",
            |_| flavored(answer(200, json!({ "value": SECRET, "token": SECRET }).to_string())),
            FaultKind::Malformed,
        ),
        (
            "sends elsewhere",
            |_| with(answer(302, ""), "location", "http://127.0.0.1:1/"),
            FaultKind::Malformed,
        ),
    ]
}

fn echo(seen: &ReceivedRequest) -> Response {
    let said = format!("no: {:?} {:?}", seen.headers, String::from_utf8_lossy(&seen.body));
    let said = format!("{said} {}", header(seen, "authorization"));
    flavored(answer(403, json!({ "message": said }).to_string()))
}

/// Response with headers but no body.
fn stalled() -> Response {
    flavored(Response::new(Body::from_stream(futures::stream::pending::<Result<String, String>>())))
}

#[tokio::test]
async fn a_server_that_gives_no_token_is_a_fault_without_secrets() {
    let paths: [ProviderAt; 3] = [
        (Provider::GithubActions, github),
        (Provider::BuildkiteAgent, buildkite),
        (Provider::GoogleWorkloadIdentity, google),
    ];
    for (provider, env) in paths {
        for (what, failure, kind) in failure_cases() {
            let service = Service::start(move |_, seen| failure(seen)).await;
            let start = Instant::now();
            let error = fails(&env(&service.url), provider).await;
            assert_eq!(error.fault().kind, kind, "{provider} {what}: {error}");
            assert!(start.elapsed() < Duration::from_secs(6), "{provider} {what}");
        }
    }
}

#[tokio::test]
async fn a_credentials_service_that_gives_no_token_is_a_fault_without_secrets() {
    for (what, failure, kind) in failure_cases() {
        let service = Service::start(move |_, seen| {
            if seen.path.starts_with("/computeMetadata") {
                return flavored(answer(200, json!({ "access_token": SECRET }).to_string()));
            }
            failure(seen)
        })
        .await;
        let error = fails(&impersonating(&service.url), Provider::GoogleImpersonate).await;
        assert_eq!(error.fault().kind, kind, "{what}: {error}");
    }
}

#[tokio::test]
async fn a_pipelines_secret_does_not_go_unencrypted_over_a_network() {
    let paths: [ProviderAt; 2] =
        [(Provider::GithubActions, github), (Provider::BuildkiteAgent, buildkite)];
    for (provider, env) in paths {
        let error = fails(&env("http://ci.example"), provider).await;
        assert!(error.to_string().contains("secrets go by https:// only"), "{error}");
    }
}

#[tokio::test]
async fn a_token_that_no_header_can_carry_is_no_secret_to_send() {
    let mut variables = Variables::from([
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://127.0.0.1:1/".to_owned()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", format!("{SECRET}\nX: y")),
        ("BUILDKITE_AGENT_ACCESS_TOKEN", format!("{SECRET}\nX: y")),
    ]);
    variables.insert("BUILDKITE_JOB_ID", "j".to_owned());
    let env = TestEnvironment::new(variables);
    for provider in [Provider::GithubActions, Provider::BuildkiteAgent] {
        assert_eq!(fails(&env, provider).await.fault().kind, FaultKind::Config);
    }
}

#[tokio::test]
async fn the_variable_comes_before_all_others() {
    let service = Service::start(|_, _| answer(500, "")).await;
    let token = format!("{}\n", pipeline_token("gitlab"));
    let env = TestEnvironment::new(Variables::from([
        ("SIGSTORE_ID_TOKEN", token),
        ("BUILDKITE_AGENT_ACCESS_TOKEN", SECRET.to_owned()),
        ("BUILDKITE_AGENT_ENDPOINT", service.url.clone()),
    ]));
    gives(&env, Provider::Envvar, "gitlab").await;
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn the_next_provider_is_tried_and_all_are_reported() {
    let service = Service::start(|_, _| answer(403, "no")).await;
    let env = github(&service.url);
    std::fs::write(&env.environment.paths.filesystem_token, pipeline_token("pod")).unwrap();
    let obtained = env.ask(&request(Ambient::Any)).await.unwrap();
    assert_eq!(obtained.source, TokenSource::Ambient(Provider::Filesystem));
    assert!(env.output().starts_with("no identity token from github-actions: http://127.0.0.1"));

    std::fs::write(&env.environment.paths.filesystem_token, SECRET).unwrap();
    match env.ask(&request(Ambient::Any)).await.unwrap_err() {
        TokenError::Ambient { last, before } => {
            assert_eq!(before.len(), 1);
            assert!(before[0].target.starts_with("github-actions: "));
            assert!(last.target.starts_with("filesystem: "), "{last}");
            assert_eq!(last.detail, "returned an identity token that is not a JSON web token");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn no_provider_is_used_when_disabled_or_empty() {
    let env = TestEnvironment::new(Variables::from([("SIGSTORE_ID_TOKEN", pipeline_token("s"))]));
    let error = env.ask(&request(Ambient::Off)).await.unwrap_err();
    assert!(matches!(error, TokenError::Login(_)), "{error}");
    let env = TestEnvironment::new(Variables::from([
        ("SIGSTORE_ID_TOKEN", String::new()),
        ("GITHUB_ACTIONS", "true".to_owned()),
        ("GITLAB_CI", "true".to_owned()),
    ]));
    let error = env.ask(&request(Ambient::Any)).await.unwrap_err();
    assert!(error.to_string().contains("no identity token given"), "{error}");
    let told = env.output();
    assert!(told.contains("id-token: write") && told.contains("aud: sigstore"), "{told}");
}

#[tokio::test]
async fn one_that_is_named_and_not_there_says_what_it_needs() {
    let env = TestEnvironment::new(Variables::new());
    for (provider, what) in [
        (Provider::Envvar, "SIGSTORE_ID_TOKEN: is not set"),
        (Provider::GithubActions, "`permissions: id-token: write`"),
        (Provider::BuildkiteAgent, "BUILDKITE_AGENT_ACCESS_TOKEN: is not set"),
        (Provider::Circleci, "CIRCLE_OIDC_TOKEN_V2: is not set"),
        (Provider::Filesystem, "cannot be read: No such file"),
        (Provider::GoogleImpersonate, "GOOGLE_SERVICE_ACCOUNT_NAME: is not set"),
        (Provider::Spiffe, "spire-agent api fetch jwt -audience sigstore"),
    ] {
        let error = fails(&env, provider).await.to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[tokio::test]
async fn a_machine_is_googles_by_its_name() {
    let env = TestEnvironment::new(Variables::new());
    let there =
        || crate::oidc::ambient::is_available(Provider::GoogleWorkloadIdentity, &env.environment);
    assert!(!there().await);
    for (name, expected) in
        [("Google\n", true), ("Google Compute Engine\n", true), ("Googlebook", false), ("", false)]
    {
        std::fs::write(&env.environment.paths.product_name, name).unwrap();
        assert_eq!(there().await, expected, "{name:?}");
    }
}

#[tokio::test]
async fn a_person_may_work_at_a_machine_of_googles_without_account() {
    let service = Service::start(|_, _| flavored(answer(404, "no account"))).await;
    let error = google(&service.url).ask(&request(Ambient::Any)).await.unwrap_err();
    assert!(matches!(error, TokenError::Login(_)), "{error}");
    let service = Service::start(|_, _| flavored(answer(403, "no"))).await;
    let error = google(&service.url).ask(&request(Ambient::Any)).await.unwrap_err();
    assert!(matches!(error, TokenError::Ambient { .. }), "{error}");
}

#[tokio::test]
async fn a_projected_token_is_read() {
    let env = TestEnvironment::new(Variables::new());
    let path = &env.environment.paths.filesystem_token;
    std::fs::write(path, format!("{}\n", pipeline_token("system:serviceaccount:a:b"))).unwrap();
    gives(&env, Provider::Filesystem, "system:serviceaccount:a:b").await;
    std::fs::write(path, SECRET.repeat(5000)).unwrap();
    assert_eq!(fails(&env, Provider::Filesystem).await.fault().kind, FaultKind::Malformed);
}

#[tokio::test]
async fn spiffe_is_a_file_or_not_spoken() {
    let mut env = TestEnvironment::new(Variables::new());
    let _socket = std::os::unix::net::UnixListener::bind(&env.environment.paths.spiffe_socket);
    let error = fails(&env, Provider::Spiffe).await;
    assert_eq!(error.fault().kind, FaultKind::Unsupported);
    let error = env.ask(&request(Ambient::Any)).await.unwrap_err();
    assert_eq!(error.fault().kind, FaultKind::Unsupported);

    // Its default path is below /tmp, where any user may place a token.
    let usual = &env.environment.paths.spiffe_socket;
    std::fs::remove_file(usual).unwrap();
    std::fs::write(usual, pipeline_token("another-user")).unwrap();
    assert_eq!(fails(&env, Provider::Spiffe).await.fault().kind, FaultKind::Unsupported);

    let file = env.folder.path().join("svid");
    std::fs::write(&file, pipeline_token("spiffe://example/ci")).unwrap();
    for address in [format!("unix://{}", file.display()), file.display().to_string()] {
        let next = TestEnvironment::new(Variables::from([("SPIFFE_ENDPOINT_SOCKET", address)]));
        gives(&next, Provider::Spiffe, "spiffe://example/ci").await;
        env.environment = next.environment;
    }
}

/// Environment with a `circleci` script in the search path.
fn circleci(script: &str, token: Option<String>) -> TestEnvironment {
    let folder = TestEnvironment::new(Variables::new()).folder;
    let program = folder.path().join("circleci");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("relative:{}", folder.path().display());
    let mut variables = Variables::from([("CIRCLECI", "true".to_owned()), ("PATH", path)]);
    if let Some(token) = token {
        variables.insert("CIRCLE_OIDC_TOKEN_V2", token);
    }
    let mut env = TestEnvironment::new(variables);
    env.folder = folder;
    env
}

#[tokio::test]
async fn circlecis_program_prints_a_token_for_the_audience() {
    let script = format!(
        "test \"$*\" = 'run oidc get --claims {{\"aud\":\"sigstore\"}}' && echo {}",
        pipeline_token("org/1")
    );
    gives(&circleci(&script, Some(pipeline_token("other"))), Provider::Circleci, "org/1").await;
}

#[tokio::test]
async fn circlecis_variable_counts_where_there_is_no_program() {
    let env = TestEnvironment::new(Variables::from([
        ("CIRCLECI", "true".to_owned()),
        ("PATH", Path::new("/nonexistent").display().to_string()),
        ("CIRCLE_OIDC_TOKEN_V2", pipeline_token("org/2")),
    ]));
    gives(&env, Provider::Circleci, "org/2").await;
}

#[tokio::test]
async fn a_program_that_prints_no_token_is_a_fault_without_secrets() {
    for (script, kind) in [
        (format!("echo {SECRET}; exit 3"), FaultKind::Config),
        (format!("echo {SECRET}"), FaultKind::Malformed),
        (format!("while echo {SECRET}; do :; done"), FaultKind::Config),
        ("printf '\\377'".to_owned(), FaultKind::Config),
        ("true".to_owned(), FaultKind::Malformed),
    ] {
        let error = fails(&circleci(&script, None), Provider::Circleci).await;
        assert_eq!(error.fault().kind, kind, "{script}: {error}");
    }
}
