//! Buildkite: the agent's API issues tokens for the job that it runs.

use http::HeaderValue;
use http::header::AUTHORIZATION;
use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;

use super::{AUDIENCE, checked, segments};
use crate::http::Request;
use crate::oidc::exchange::{Manner, ask_json, client, guarded_url};
use crate::oidc::surroundings::Surroundings;
use sealgate_http::Secret;

const TOKEN: &str = "BUILDKITE_AGENT_ACCESS_TOKEN";
const ENDPOINT: &str = "https://agent.buildkite.com/v3";

#[derive(Deserialize)]
struct Document {
    token: Option<Secret>,
}

pub(super) fn is_there(surroundings: &Surroundings) -> bool {
    surroundings.variable(TOKEN).is_some()
}

pub(super) async fn token(surroundings: &Surroundings) -> Result<Secret, Fault> {
    let variable = |name: &'static str| {
        let unset = || Fault::new(FaultKind::Config, name, "is not set: no job of Buildkite's");
        surroundings.variable(name).ok_or_else(unset)
    };
    let secret = Secret::new(variable(TOKEN)?);
    let job = variable("BUILDKITE_JOB_ID")?;
    let endpoint = surroundings.variable("BUILDKITE_AGENT_ENDPOINT").unwrap_or(ENDPOINT);
    let url = segments(guarded_url(endpoint)?, &["jobs", job, "oidc", "tokens"]);
    let body = serde_json::json!({ "audience": AUDIENCE }).to_string();
    // Not a bearer token: the agent's own scheme.
    let value = HeaderValue::from_str(&format!("Token {}", secret.reveal()));
    let mut value =
        value.map_err(|_| Fault::new(FaultKind::Config, TOKEN, "is no token: line breaks?"))?;
    value.set_sensitive(true);
    let request = Request::post(url, "application/json", body).header(AUTHORIZATION, value);
    let client = client(surroundings, Manner::Patient)?;
    let document: Document = ask_json(&client, request, &[&secret]).await?;
    checked(document.token, endpoint)
}
