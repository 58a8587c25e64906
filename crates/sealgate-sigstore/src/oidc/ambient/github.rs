//! GitHub Actions: a job with `permissions: id-token: write` finds an address and a token to ask.

use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;

use super::{AUDIENCE, bearer, checked};
use crate::http::Request;
use crate::oidc::exchange::{Manner, ask_json, client, guarded_url};
use crate::oidc::surroundings::Surroundings;
use sealgate_http::Secret;

const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

#[derive(Deserialize)]
struct Document {
    value: Option<Secret>,
}

pub(super) fn is_there(surroundings: &Surroundings) -> bool {
    surroundings.variable(URL).is_some() && surroundings.variable(TOKEN).is_some()
}

pub(super) async fn token(surroundings: &Surroundings) -> Result<Secret, Fault> {
    let unset = || {
        let detail = "is not set: does the job have `permissions: id-token: write`?";
        Fault::new(FaultKind::Config, format!("{URL} or {TOKEN}"), detail)
    };
    let address = surroundings.variable(URL).ok_or_else(unset)?;
    let secret = Secret::new(surroundings.variable(TOKEN).ok_or_else(unset)?);
    let mut url = guarded_url(address)?;
    url.query_pairs_mut().append_pair("audience", AUDIENCE);
    let client = client(surroundings, Manner::Patient)?;
    let document: Document =
        ask_json(&client, bearer(Request::get(url), &secret)?, &[&secret]).await?;
    checked(document.value, URL)
}
