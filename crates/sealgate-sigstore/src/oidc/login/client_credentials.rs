//! The client is who signs: its own secret is enough.

use sealgate_core::fault::{Fault, FaultKind};

use super::issuer::Redeemed;
use super::{Login, SCOPE};
use sealgate_http::Secret;

pub(super) async fn token(login: &Login<'_>) -> Result<Secret, Fault> {
    if login.secret.is_none() {
        let detail =
            "is not given: --fulcio-auth-flow=client_credentials needs the client's secret";
        return Err(Fault::new(FaultKind::Config, "--oidc-client-secret-file", detail));
    }
    let mut fields = vec![("grant_type", "client_credentials"), ("scope", SCOPE)];
    if let Some(redirect) = &login.request.redirect_url {
        fields.push(("redirect_uri", redirect));
    }
    match login.redeem(&fields, &[]).await? {
        Redeemed::Token(token) => login.accept(token, None),
        Redeemed::Refused(_, fault) => Err(fault),
    }
}
