//! GitHub Actions: a job with `permissions: id-token: write` gets a URL and a request token.

use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;

use super::{AUDIENCE, bearer, checked};
use crate::http::Request;
use crate::oidc::exchange::{RequestPolicy, ask_json, client, secret_url};
use crate::oidc::token_environment::TokenEnvironment;
use sealgate_http::Secret;

const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

#[derive(Deserialize)]
struct Document {
    value: Option<Secret>,
}

pub(super) fn is_available(environment: &TokenEnvironment) -> bool {
    environment.variable(URL).is_some() && environment.variable(TOKEN).is_some()
}

pub(super) async fn token(environment: &TokenEnvironment) -> Result<Secret, Fault> {
    let unset = || {
        let detail = "is not set: does the job have `permissions: id-token: write`?";
        Fault::new(FaultKind::Config, format!("{URL} or {TOKEN}"), detail)
    };
    let address = environment.variable(URL).ok_or_else(unset)?;
    let secret = Secret::new(environment.variable(TOKEN).ok_or_else(unset)?);
    let mut url = secret_url(address)?;
    url.query_pairs_mut().append_pair("audience", AUDIENCE);
    let client = client(environment, RequestPolicy::Retried)?;
    let document: Document =
        ask_json(&client, bearer(Request::get(url), &secret)?, &[&secret]).await?;
    checked(document.value, URL)
}
