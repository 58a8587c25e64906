//! Buildkite: the agent API issues tokens for the job it runs.

use http::HeaderValue;
use http::header::AUTHORIZATION;
use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;

use super::{AUDIENCE, checked, segments};
use crate::http::Request;
use crate::oidc::exchange::{RequestPolicy, ask_json, client, secret_url};
use crate::oidc::token_environment::TokenEnvironment;
use sealgate_http::Secret;

const TOKEN: &str = "BUILDKITE_AGENT_ACCESS_TOKEN";
const ENDPOINT: &str = "https://agent.buildkite.com/v3";

#[derive(Deserialize)]
struct Document {
    token: Option<Secret>,
}

pub(super) fn is_available(environment: &TokenEnvironment) -> bool {
    environment.variable(TOKEN).is_some()
}

pub(super) async fn token(environment: &TokenEnvironment) -> Result<Secret, Fault> {
    let variable = |name: &'static str| {
        let unset = || Fault::new(FaultKind::Config, name, "is not set: not a Buildkite job");
        environment.variable(name).ok_or_else(unset)
    };
    let secret = Secret::new(variable(TOKEN)?);
    let job = variable("BUILDKITE_JOB_ID")?;
    let endpoint = environment.variable("BUILDKITE_AGENT_ENDPOINT").unwrap_or(ENDPOINT);
    let url = segments(secret_url(endpoint)?, &["jobs", job, "oidc", "tokens"]);
    let body = serde_json::json!({ "audience": AUDIENCE }).to_string();
    // The agent's own scheme instead of `Bearer`.
    let value = HeaderValue::from_str(&format!("Token {}", secret.reveal()));
    let mut value = value.map_err(|_| {
        Fault::new(FaultKind::Config, TOKEN, "is not a valid token: does it contain line breaks?")
    })?;
    value.set_sensitive(true);
    let request = Request::post(url, "application/json", body).header(AUTHORIZATION, value);
    let client = client(environment, RequestPolicy::Retried)?;
    let document: Document = ask_json(&client, request, &[&secret]).await?;
    checked(document.token, endpoint)
}
