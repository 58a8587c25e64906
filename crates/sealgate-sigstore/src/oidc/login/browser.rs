//! Authorization code flow: the user logs in with a browser on this machine, which delivers the
//! code to a local callback.

use sealgate_core::fault::Fault;
use url::Url;

use super::callback::{Callback, Expected};
use super::issuer::TokenResponse;
use super::pkce::Pkce;
use super::{Login, SCOPE, device, random_text};
use crate::oidc::Flow;
use sealgate_http::Secret;

/// Values that bind a code and a token to this login.
struct LoginBinding {
    state: Secret,
    nonce: Secret,
    pkce: Pkce,
}

/// Obtains a token. Without a browser the device flow is used, unless this flow was requested
/// explicitly.
pub(super) async fn token(login: &Login<'_>) -> Result<(Secret, Flow), Fault> {
    let authorization = login.issuer.authorization()?;
    let callback = Callback::bind(login.request.redirect_url.as_deref()).await?;
    let binding = LoginBinding {
        state: random_text::<32>()?,
        nonce: random_text::<32>()?,
        pkce: Pkce::new()?,
    };
    let page = page(login, authorization, &binding, callback.redirect());
    let (console, browser) = (&login.environment.console, &login.environment.browser);
    match browser.open(&page).await {
        Ok(()) => console.say(&format!("Your browser will now be opened to:\n{page}")),
        Err(why) if login.request.flow.is_none() && login.issuer.has_device() => {
            console.say(&format!("error opening browser: {why}; using device flow."));
            return Ok((device::token(login).await?, Flow::Device));
        }
        Err(why) => console.say(&format!(
            "error opening browser: {why}\nGo to the following link in a browser on this \
             machine:\n{page}"
        )),
    }
    let expected = Expected { state: &binding.state, issuer: &login.issuer };
    let code = callback.code(&expected, login.environment.login_deadline).await?;
    let token = redeem(login, &code, &binding, callback.redirect()).await?;
    Ok((login.accept(token, Some(&binding.nonce))?, Flow::Normal))
}

/// Authorization request URL.
fn page(login: &Login<'_>, authorization: &Url, binding: &LoginBinding, redirect: &Url) -> Url {
    let mut page = authorization.clone();
    page.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", &login.request.client_id),
        ("redirect_uri", redirect.as_str()),
        ("scope", SCOPE),
        ("access_type", "online"),
        ("state", binding.state.reveal()),
        ("nonce", binding.nonce.reveal()),
        ("code_challenge", &binding.pkce.challenge),
        ("code_challenge_method", "S256"),
    ]);
    page
}

async fn redeem(
    login: &Login<'_>,
    code: &Secret,
    binding: &LoginBinding,
    redirect: &Url,
) -> Result<Secret, Fault> {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.reveal()),
        ("redirect_uri", redirect.as_str()),
        ("code_verifier", binding.pkce.verifier.reveal()),
    ];
    match login.redeem(&fields, &[code, &binding.pkce.verifier]).await? {
        TokenResponse::Token(token) => Ok(token),
        TokenResponse::Refused(_, fault) => Err(fault),
    }
}
