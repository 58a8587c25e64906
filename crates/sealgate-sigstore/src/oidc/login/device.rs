//! The device flow (RFC 8628): a person types a code into a browser anywhere, and we ask until the
//! issuer has a token.

use std::time::Duration;

use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;

use super::issuer::Redeemed;
use super::pkce::Pkce;
use super::{Login, SCOPE};
use crate::http::{printable, service_url};
use crate::oidc::exchange::{ask_json, form};
use sealgate_http::Secret;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Where the issuer does not say.
const USUAL_INTERVAL: u64 = 5;
const USUAL_LIFE: u64 = 300;
const MAX_INTERVAL: u64 = 60;
const MAX_LIFE: u64 = 1800;
/// "Slow down" means so many seconds more, from then on.
const SLOWER: Duration = Duration::from_secs(5);
/// Faults in a row that may pass.
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

/// What one question came to.
enum Poll {
    Token(Secret),
    Pending,
    SlowDown,
    Passing(Fault),
}

pub(super) async fn token(login: &Login<'_>) -> Result<Secret, Fault> {
    let pkce = Pkce::new()?;
    let document = begin(login, &pkce).await?;
    let life = Duration::from_secs(document.expires_in.unwrap_or(USUAL_LIFE).clamp(1, MAX_LIFE));
    tell(login, &document, life)?;
    let interval = document.interval.filter(|interval| *interval > 0).unwrap_or(USUAL_INTERVAL);
    let mut interval = Duration::from_secs(interval.min(MAX_INTERVAL));
    let (mut waited, mut faults) = (Duration::ZERO, 0);
    while waited < life {
        login.surroundings.pace.pause(interval).await;
        waited += interval;
        match poll(login, &document, &pkce).await? {
            Poll::Token(token) => {
                let token = login.accept(token, None)?;
                login.surroundings.console.say("Token received!");
                return Ok(token);
            }
            Poll::Pending => faults = 0,
            Poll::SlowDown => interval += SLOWER,
            Poll::Passing(fault) if faults >= MAX_FAULTS => return Err(fault),
            Poll::Passing(_) => {
                faults += 1;
                interval += SLOWER;
            }
        }
    }
    let detail = "nobody has entered the code in time";
    Err(Fault::new(FaultKind::Timeout, &login.issuer.name, detail))
}

/// Asks for a code to type.
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

/// Tells the person. What the issuer wants shown is a web page, and nothing that moves the cursor.
fn tell(login: &Login<'_>, document: &Document, life: Duration) -> Result<(), Fault> {
    let bad = |why| Fault::new(FaultKind::Malformed, &login.issuer.name, why);
    let page = document.verification_uri_complete.as_ref().or(document.verification_uri.as_ref());
    let page = page.and_then(|page| service_url(page).ok());
    let page = page.ok_or_else(|| bad("gave no page to enter the code at"))?;
    let code = printable(&document.user_code, 64);
    if code.trim().is_empty() {
        return Err(bad("gave no code to enter"));
    }
    let console = &login.surroundings.console;
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
        Ok(Redeemed::Token(token)) => Ok(Poll::Token(token)),
        Ok(Redeemed::Refused(code, fault)) => match code.as_str() {
            "authorization_pending" => Ok(Poll::Pending),
            "slow_down" => Ok(Poll::SlowDown),
            _ => Err(fault),
        },
        Err(fault) if fault.kind.is_transient() => Ok(Poll::Passing(fault)),
        Err(fault) => Err(fault),
    }
}
