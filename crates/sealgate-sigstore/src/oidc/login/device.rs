//! Device flow (RFC 8628): the user enters a code in any browser while the token endpoint is
//! polled.

use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;

use super::issuer::TokenResponse;
use super::pkce::Pkce;
use super::{Login, SCOPE};
use crate::http::{printable, service_url};
use crate::oidc::exchange::{ask_json, form};
use sealgate_http::Secret;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Default interval, in seconds.
const DEFAULT_INTERVAL: u64 = 5;
const DEFAULT_LIFETIME: u64 = 300;
const MAX_INTERVAL: u64 = 60;
const MAX_LIFETIME: u64 = 1800;
/// Increase of the interval after `slow_down`.
const SLOW_DOWN_INCREMENT: Duration = Duration::from_secs(5);
/// Maximum number of consecutive transient faults.
const MAX_FAULTS: u32 = 5;

#[derive(Deserialize)]
struct Document {
    device_code: Secret,
    user_code: String,
    verification_uri: Option<String>,
    verification_uri_complete: Option<String>,
    interval: Option<u64>,
    expires_in: Option<u64>,
}

/// Result of one poll.
enum Poll {
    Token(Secret),
    Pending,
    SlowDown,
    Passing(Fault),
}

pub(super) async fn token(login: &Login<'_>) -> Result<Secret, Fault> {
    let pkce = Pkce::new()?;
    let document = begin(login, &pkce).await?;
    let life =
        Duration::from_secs(document.expires_in.unwrap_or(DEFAULT_LIFETIME).clamp(1, MAX_LIFETIME));
    show_code(login, &document, life)?;
    let interval = document.interval.filter(|interval| *interval > 0).unwrap_or(DEFAULT_INTERVAL);
    let mut interval = Duration::from_secs(interval.min(MAX_INTERVAL));
    let (mut waited, mut faults) = (Duration::ZERO, 0);
    while waited < life {
        login.environment.sleep.sleep(interval).await;
        waited += interval;
        match poll(login, &document, &pkce).await? {
            Poll::Token(token) => {
                let token = login.accept(token, None)?;
                login.environment.console.say("Token received!");
                return Ok(token);
            }
            Poll::Pending => faults = 0,
            Poll::SlowDown => interval += SLOW_DOWN_INCREMENT,
            Poll::Passing(fault) if faults >= MAX_FAULTS => return Err(fault),
            Poll::Passing(_) => {
                faults += 1;
                interval += SLOW_DOWN_INCREMENT;
            }
        }
    }
    let detail = "the code was not entered in time";
    Err(Fault::new(FaultKind::Timeout, &login.issuer.name, detail))
}

/// Requests a device code.
async fn begin(login: &Login<'_>, pkce: &Pkce) -> Result<Document, Fault> {
    let url = login.issuer.device()?.clone();
    let mut fields = vec![
        ("client_id", login.request.client_id.as_str()),
        ("scope", SCOPE),
        ("code_challenge", &pkce.challenge),
        ("code_challenge_method", "S256"),
    ];
    if let Some(redirect) = &login.request.redirect_url {
        fields.push(("redirect_uri", redirect));
    }
    ask_json(&login.client, form(url, &fields), &[]).await
}

/// Shows the code and the verification URL. Only an HTTP(S) URL and printable characters are shown.
fn show_code(login: &Login<'_>, document: &Document, life: Duration) -> Result<(), Fault> {
    let bad = |why| Fault::new(FaultKind::Malformed, &login.issuer.name, why);
    let page = document.verification_uri_complete.as_ref().or(document.verification_uri.as_ref());
    let page = page.and_then(|page| service_url(page).ok());
    let page = page.ok_or_else(|| bad("returned no URL for entering the code"))?;
    let code = printable(&document.user_code, 64);
    if code.trim().is_empty() {
        return Err(bad("returned no user code"));
    }
    let console = &login.environment.console;
    console.say(&format!("Enter the verification code {code} in your browser at: {page}"));
    console.say(&format!("Code will be valid for {} seconds", life.as_secs()));
    Ok(())
}

async fn poll(login: &Login<'_>, document: &Document, pkce: &Pkce) -> Result<Poll, Fault> {
    let fields = [
        ("grant_type", GRANT),
        ("device_code", document.device_code.reveal()),
        ("scope", SCOPE),
        ("code_verifier", pkce.verifier.reveal()),
    ];
    match login.redeem(&fields, &[&document.device_code, &pkce.verifier]).await {
        Ok(TokenResponse::Token(token)) => Ok(Poll::Token(token)),
        Ok(TokenResponse::Refused(code, fault)) => match code.as_str() {
            "authorization_pending" => Ok(Poll::Pending),
            "slow_down" => Ok(Poll::SlowDown),
            _ => Err(fault),
        },
        Err(fault) if fault.kind.is_transient() => Ok(Poll::Passing(fault)),
        Err(fault) => Err(fault),
    }
}
