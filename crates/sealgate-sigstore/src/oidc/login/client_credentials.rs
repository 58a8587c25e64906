//! Client credentials flow: the client itself is the signing identity.

use sealgate_core::fault::{Fault, FaultKind};

use super::issuer::TokenResponse;
use super::{Login, SCOPE};
use sealgate_http::Secret;

pub(super) async fn token(login: &Login<'_>) -> Result<Secret, Fault> {
    if login.secret.is_none() {
        let detail = "is missing: --fulcio-auth-flow=client_credentials requires a client secret";
        return Err(Fault::new(FaultKind::Config, "--oidc-client-secret-file", detail));
    }
    let mut fields = vec![("grant_type", "client_credentials"), ("scope", SCOPE)];
    if let Some(redirect) = &login.request.redirect_url {
        fields.push(("redirect_uri", redirect));
    }
    match login.redeem(&fields, &[]).await? {
        TokenResponse::Token(token) => login.accept(token, None),
        TokenResponse::Refused(_, fault) => Err(fault),
    }
}
