//! Google Cloud: the metadata server issues tokens for the service account of a machine or
//! workload, and the IAM credentials service for accounts that this one may impersonate.

use http::{HeaderName, HeaderValue};
use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;
use url::Url;

use super::{AUDIENCE, bearer, checked, segments};
use crate::http::{Request, ServiceResponse, service_url};
use crate::oidc::exchange::{RequestPolicy, ask, ask_json, client, json, secret_url};
use crate::oidc::given::read_file;
use crate::oidc::token_environment::TokenEnvironment;
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

/// Returns whether this is a Google Cloud machine. Decided without network access, which would only
/// cost time on other machines.
pub(super) async fn is_available(environment: &TokenEnvironment) -> bool {
    if environment.variable("GCE_METADATA_HOST").is_some() {
        return true;
    }
    let name = read_file(&environment.paths.product_name).await;
    name.is_ok_and(|name| ["Google", "Google Compute Engine"].contains(&name.trim()))
}

pub(super) fn impersonates(environment: &TokenEnvironment) -> bool {
    environment.variable(ACCOUNT).is_some()
}

pub(super) async fn token(environment: &TokenEnvironment) -> Result<Secret, Fault> {
    let query = [("audience", AUDIENCE), ("format", "full")];
    let answer = metadata(environment, "identity", &query).await?;
    let text = std::str::from_utf8(&answer.body).map_err(|_| answer.malformed("not text"))?;
    checked(Some(Secret::new(text.trim())), &answer.target)
}

/// Token for the account in `GOOGLE_SERVICE_ACCOUNT_NAME`.
pub(super) async fn impersonated(environment: &TokenEnvironment) -> Result<Secret, Fault> {
    let unset = || {
        Fault::new(
            FaultKind::Config,
            ACCOUNT,
            "is not set: it must name the account to impersonate",
        )
    };
    let account = environment.variable(ACCOUNT).ok_or_else(unset)?;
    let answer = metadata(environment, "token", &[("scopes", SCOPE)]).await?;
    let access: Access = json(&answer)?;
    let access = access.access_token.ok_or_else(|| answer.malformed("no access token"))?;
    let service = &environment.paths.google_credentials;
    let last = format!("{account}:generateIdToken");
    let url = segments(secret_url(service)?, &["v1", "projects", "-", "serviceAccounts", &last]);
    let body = serde_json::json!({ "audience": AUDIENCE, "includeEmail": true }).to_string();
    let request = bearer(Request::post(url, "application/json", body), &access)?;
    let client = client(environment, RequestPolicy::Retried)?;
    let issued: Issued = ask_json(&client, request, &[&access]).await?;
    checked(issued.token, service)
}

/// Value for the default account from the metadata server. The server identifies itself by a
/// header, so that no other server is mistaken for it.
async fn metadata(
    environment: &TokenEnvironment,
    what: &str,
    query: &[(&str, &str)],
) -> Result<ServiceResponse, Fault> {
    let host = environment.variable("GCE_METADATA_HOST").unwrap_or(METADATA);
    let mut url: Url = service_url(&format!("http://{host}/"))?;
    url.set_path("computeMetadata/v1/instance/service-accounts/default/");
    let mut url = segments(url, &[what]);
    url.query_pairs_mut().extend_pairs(query);
    let google = HeaderValue::from_static("Google");
    let request = Request::get(url).header(FLAVOR, google.clone());
    let client = client(environment, RequestPolicy::Local)?;
    let answer = ask(&client, request, &[]).await?.success()?;
    if answer.headers.get(FLAVOR) != Some(&google) {
        return Err(answer.malformed("not Google's metadata server"));
    }
    Ok(answer)
}
