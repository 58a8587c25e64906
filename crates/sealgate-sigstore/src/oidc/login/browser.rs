//! The authorization-code flow: a person logs in by a browser on this machine, and the browser
//! brings the code to our door.

use sealgate_core::fault::Fault;
use url::Url;

use super::callback::{Callback, Expected};
use super::issuer::Redeemed;
use super::pkce::Pkce;
use super::{Login, SCOPE, device, unguessable};
use crate::oidc::Flow;
use sealgate_http::Secret;

/// What ties a code and a token to this login.
struct Ties {
    state: Secret,
    nonce: Secret,
    pkce: Pkce,
}

/// The token. Without a browser the device flow helps, unless this one was asked for by name.
pub(super) async fn token(login: &Login<'_>) -> Result<(Secret, Flow), Fault> {
    let authorization = login.issuer.authorization()?;
    let callback = Callback::bind(login.request.redirect_url.as_deref()).await?;
    let ties =
        Ties { state: unguessable::<32>()?, nonce: unguessable::<32>()?, pkce: Pkce::new()? };
    let page = page(login, authorization, &ties, callback.redirect());
    let (console, browser) = (&login.surroundings.console, &login.surroundings.browser);
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
    let expected = Expected { state: &ties.state, issuer: &login.issuer };
    let code = callback.code(&expected, login.surroundings.login_deadline).await?;
    let token = redeem(login, &code, &ties, callback.redirect()).await?;
    Ok((login.accept(token, Some(&ties.nonce))?, Flow::Normal))
}

/// The page to log in at.
fn page(login: &Login<'_>, authorization: &Url, ties: &Ties, redirect: &Url) -> Url {
    let mut page = authorization.clone();
    page.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", &login.request.client_id),
        ("redirect_uri", redirect.as_str()),
        ("scope", SCOPE),
        ("access_type", "online"),
        ("state", ties.state.reveal()),
        ("nonce", ties.nonce.reveal()),
        ("code_challenge", &ties.pkce.challenge),
        ("code_challenge_method", "S256"),
    ]);
    page
}

async fn redeem(
    login: &Login<'_>,
    code: &Secret,
    ties: &Ties,
    redirect: &Url,
) -> Result<Secret, Fault> {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.reveal()),
        ("redirect_uri", redirect.as_str()),
        ("code_verifier", ties.pkce.verifier.reveal()),
    ];
    match login.redeem(&fields, &[code, &ties.pkce.verifier]).await? {
        Redeemed::Token(token) => Ok(token),
        Redeemed::Refused(_, fault) => Err(fault),
    }
}
