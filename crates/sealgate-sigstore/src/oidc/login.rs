//! A login at an OIDC issuer: by a person's browser here, by a code that a person types anywhere,
//! or by a client's own secret.

mod browser;
mod callback;
mod client_credentials;
mod device;
mod issuer;
mod pkce;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealgate_core::fault::{Fault, FaultKind};

use super::exchange::{Manner, client};
use super::given::read_file;
use super::surroundings::{Surroundings, Terminal};
use super::{Flow, TokenRequest};
use crate::http::Client;
use issuer::Issuer;
use sealgate_http::Secret;

/// What is asked for: who somebody is, and the address.
const SCOPE: &str = "openid email";

/// One login.
struct Login<'a> {
    request: &'a TokenRequest,
    surroundings: &'a Surroundings,
    issuer: Issuer,
    secret: Option<Secret>,
    client: Client,
}

/// The token, and the flow that it was had by.
pub(super) async fn login(
    request: &TokenRequest,
    surroundings: &Surroundings,
) -> Result<(Secret, Flow), Fault> {
    let flow = request.flow.unwrap_or_else(|| usual_flow(surroundings));
    if flow == Flow::Token {
        let detail = "there is no identity token: --fulcio-auth-flow=token asks nobody for one";
        return Err(Fault::new(FaultKind::Missing, "--identity-token", detail));
    }
    let login = Login {
        request,
        surroundings,
        secret: client_secret(request).await?,
        issuer: Issuer::discover(&request.issuer, surroundings).await?,
        client: client(surroundings, Manner::Once)?,
    };
    match flow {
        Flow::Normal => browser::token(&login).await,
        Flow::Device => Ok((device::token(&login).await?, Flow::Device)),
        Flow::ClientCredentials | Flow::Token => {
            Ok((client_credentials::token(&login).await?, Flow::ClientCredentials))
        }
    }
}

fn usual_flow(surroundings: &Surroundings) -> Flow {
    match surroundings.terminal {
        Terminal::Interactive => Flow::Normal,
        Terminal::Absent => {
            surroundings.console.say("Non-interactive mode detected, using device flow.");
            Flow::Device
        }
    }
}

async fn client_secret(request: &TokenRequest) -> Result<Option<Secret>, Fault> {
    let Some(path) = &request.client_secret_file else { return Ok(None) };
    let target = path.display().to_string();
    let unusable = |error: std::io::Error| {
        let detail = match error.kind() {
            std::io::ErrorKind::InvalidData => "is no text of at most 64 KiB".to_owned(),
            _ => format!("reading OIDC client secret: {error}"),
        };
        Fault::new(FaultKind::Config, &target, detail)
    };
    let text = read_file(path).await.map_err(unusable)?;
    match text.trim() {
        "" => Err(Fault::new(FaultKind::Config, &target, "holds no client secret")),
        secret => Ok(Some(Secret::new(secret))),
    }
}

/// A text that nobody can guess, of so many random bytes.
fn unguessable<const BYTES: usize>() -> Result<Secret, Fault> {
    let mut bytes = zeroize::Zeroizing::new([0; BYTES]);
    aws_lc_rs::rand::fill(&mut *bytes)
        .map_err(|_| Fault::new(FaultKind::Config, "random numbers", "there are none"))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(*bytes)))
}
