//! Google: the metadata server issues tokens for the account of a machine or workload, and the
//! credentials service issues them for other accounts that this one may act for.

use http::{HeaderName, HeaderValue};
use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;
use url::Url;

use super::{AUDIENCE, bearer, checked, segments};
use crate::http::{Answer, Request, service_url};
use crate::oidc::exchange::{Manner, ask, ask_json, client, guarded_url, json};
use crate::oidc::given::read_file;
use crate::oidc::surroundings::Surroundings;
use sealgate_http::Secret;

const METADATA: &str = "metadata.google.internal";
const ACCOUNT: &str = "GOOGLE_SERVICE_ACCOUNT_NAME";
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

#[derive(Deserialize)]
struct Access {
    access_token: Option<Secret>,
}

#[derive(Deserialize)]
struct Issued {
    token: Option<Secret>,
}

/// Whether this is a machine of Google's. The network is not asked: on any other machine that
/// would only cost time.
pub(super) async fn is_there(surroundings: &Surroundings) -> bool {
    if surroundings.variable("GCE_METADATA_HOST").is_some() {
        return true;
    }
    let name = read_file(&surroundings.places.product_name).await;
    name.is_ok_and(|name| ["Google", "Google Compute Engine"].contains(&name.trim()))
}

pub(super) fn impersonates(surroundings: &Surroundings) -> bool {
    surroundings.variable(ACCOUNT).is_some()
}

pub(super) async fn token(surroundings: &Surroundings) -> Result<Secret, Fault> {
    let query = [("audience", AUDIENCE), ("format", "full")];
    let answer = metadata(surroundings, "identity", &query).await?;
    let text = std::str::from_utf8(&answer.body).map_err(|_| answer.malformed("no text"))?;
    checked(Some(Secret::new(text.trim())), &answer.target)
}

/// A token for the account that `GOOGLE_SERVICE_ACCOUNT_NAME` names.
pub(super) async fn impersonated(surroundings: &Surroundings) -> Result<Secret, Fault> {
    let unset = || Fault::new(FaultKind::Config, ACCOUNT, "is not set: which account?");
    let account = surroundings.variable(ACCOUNT).ok_or_else(unset)?;
    let answer = metadata(surroundings, "token", &[("scopes", SCOPE)]).await?;
    let access: Access = json(&answer)?;
    let access = access.access_token.ok_or_else(|| answer.malformed("no access token"))?;
    let service = &surroundings.places.google_credentials;
    let last = format!("{account}:generateIdToken");
    let url = segments(guarded_url(service)?, &["v1", "projects", "-", "serviceAccounts", &last]);
    let body = serde_json::json!({ "audience": AUDIENCE, "includeEmail": true }).to_string();
    let request = bearer(Request::post(url, "application/json", body), &access)?;
    let client = client(surroundings, Manner::Patient)?;
    let issued: Issued = ask_json(&client, request, &[&access]).await?;
    checked(issued.token, service)
}

/// What the metadata server says of the default account. It names itself in a header, so that no
/// other server is taken for it.
async fn metadata(
    surroundings: &Surroundings,
    what: &str,
    query: &[(&str, &str)],
) -> Result<Answer, Fault> {
    let host = surroundings.variable("GCE_METADATA_HOST").unwrap_or(METADATA);
    let mut url: Url = service_url(&format!("http://{host}/"))?;
    url.set_path("computeMetadata/v1/instance/service-accounts/default/");
    let mut url = segments(url, &[what]);
    url.query_pairs_mut().extend_pairs(query);
    let google = HeaderValue::from_static("Google");
    let request = Request::get(url).header(FLAVOR, google.clone());
    let client = client(surroundings, Manner::Near)?;
    let answer = ask(&client, request, &[]).await?.success()?;
    if answer.headers.get(FLAVOR) != Some(&google) {
        return Err(answer.malformed("not Google's metadata server"));
    }
    Ok(answer)
}
