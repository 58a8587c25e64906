//! Login at an OIDC issuer: in a browser on this machine, with a device code, or with a client
//! secret.

mod browser;
mod callback;
mod client_credentials;
mod device;
mod issuer;
mod pkce;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealgate_core::fault::{Fault, FaultKind};

use super::exchange::{RequestPolicy, client};
use super::given::read_file;
use super::token_environment::{Terminal, TokenEnvironment};
use super::{Flow, TokenRequest};
use crate::http::Client;
use issuer::Issuer;
use sealgate_http::Secret;

/// Requested scopes: the identity and the e-mail address.
const SCOPE: &str = "openid email";

/// State of one login.
struct Login<'a> {
    request: &'a TokenRequest,
    environment: &'a TokenEnvironment,
    issuer: Issuer,
    secret: Option<Secret>,
    client: Client,
}

/// Token, and the flow it was obtained by.
pub(super) async fn login(
    request: &TokenRequest,
    environment: &TokenEnvironment,
) -> Result<(Secret, Flow), Fault> {
    let flow = request.flow.unwrap_or_else(|| default_flow(environment));
    if flow == Flow::Token {
        let detail = "no identity token given: --fulcio-auth-flow=token does not log in";
        return Err(Fault::new(FaultKind::Missing, "--identity-token", detail));
    }
    let login = Login {
        request,
        environment,
        secret: client_secret(request).await?,
        issuer: Issuer::discover(&request.issuer, environment).await?,
        client: client(environment, RequestPolicy::Once)?,
    };
    match flow {
        Flow::Normal => browser::token(&login).await,
        Flow::Device => Ok((device::token(&login).await?, Flow::Device)),
        Flow::ClientCredentials | Flow::Token => {
            Ok((client_credentials::token(&login).await?, Flow::ClientCredentials))
        }
    }
}

fn default_flow(environment: &TokenEnvironment) -> Flow {
    match environment.terminal {
        Terminal::Interactive => Flow::Normal,
        Terminal::Absent => {
            environment.console.say("Non-interactive mode detected, using device flow.");
            Flow::Device
        }
    }
}

async fn client_secret(request: &TokenRequest) -> Result<Option<Secret>, Fault> {
    let Some(path) = &request.client_secret_file else { return Ok(None) };
    let target = path.display().to_string();
    let unusable = |error: std::io::Error| {
        let detail = match error.kind() {
            std::io::ErrorKind::InvalidData => "is not a text file of at most 64 KiB".to_owned(),
            _ => format!("reading OIDC client secret: {error}"),
        };
        Fault::new(FaultKind::Config, &target, detail)
    };
    let text = read_file(path).await.map_err(unusable)?;
    match text.trim() {
        "" => Err(Fault::new(FaultKind::Config, &target, "contains no client secret")),
        secret => Ok(Some(Secret::new(secret))),
    }
}

/// Unpredictable text from this many random bytes.
fn random_text<const BYTES: usize>() -> Result<Secret, Fault> {
    let mut bytes = zeroize::Zeroizing::new([0; BYTES]);
    aws_lc_rs::rand::fill(&mut *bytes)
        .map_err(|_| Fault::new(FaultKind::Config, "random numbers", "not available"))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(*bytes)))
}
