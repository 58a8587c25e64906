//! Signing without a key of one's own: an identity token, a key for this one run, and a certificate
//! that binds both.

use std::sync::Arc;

use sealgate_core::certificate::{Presented, SctRequirement, certify as verify_certificate};
use sealgate_core::key::HashAlgorithm;
use sealgate_core::verify::Override;
use sealgate_engine::ports::IdentityToken;
use sealgate_engine::sign::VerificationKey;
use sealgate_keys::{KeyPair, pair::Kind};
use sealgate_sigstore::http;
use sealgate_sigstore::oidc::{
    Ambient, Console, Obtained, Surroundings, Terminal, TokenRequest, identity_token,
};
use sealgate_sigstore::signing_config::{Ports, Services};

use super::{Judges, SigningServices, Steps};
use crate::clock::SystemClock;
use crate::failure::CliError;
use crate::output::basis;
use crate::terminal;

/// cosign's names of algorithms (`--signing-algorithm`), the first is the default.
const ALGORITHMS: [(&str, Kind, HashAlgorithm); 6] = [
    ("ecdsa-sha2-256-nistp256", Kind::P256, HashAlgorithm::Sha256),
    ("ecdsa-sha2-384-nistp384", Kind::P384, HashAlgorithm::Sha384),
    ("ecdsa-sha2-512-nistp521", Kind::P521, HashAlgorithm::Sha512),
    ("rsa-sign-pkcs1-2048-sha256", Kind::Rsa2048, HashAlgorithm::Sha256),
    ("rsa-sign-pkcs1-3072-sha256", Kind::Rsa3072, HashAlgorithm::Sha256),
    ("rsa-sign-pkcs1-4096-sha256", Kind::Rsa4096, HashAlgorithm::Sha256),
];

/// Standard error, for the login.
struct Terminals;

impl Console for Terminals {
    fn say(&self, text: &str) {
        terminal::say(text);
    }
}

/// A key for this run, kept nowhere.
pub(super) async fn ephemeral_key(
    algorithm: Option<&str>,
    steps: Steps,
) -> Result<KeyPair, CliError> {
    let name = algorithm.filter(|name| !name.is_empty());
    let found = ALGORITHMS.iter().find(|(known, ..)| name.is_none_or(|name| name == *known));
    let Some((_, kind, hash)) = found else {
        let known: Vec<_> = ALGORITHMS.iter().map(|(name, ..)| *name).collect();
        return Err(CliError::new(format!(
            "parsing signature algorithm: unknown algorithm {:?}",
            name.unwrap_or_default()
        ))
        .note(format!("there are: {}", known.join(", "))));
    };
    steps.say("Generating ephemeral keys...");
    let kind = *kind;
    // An RSA key takes a second of CPU: not on the thread that drives the network.
    let made = tokio::task::spawn_blocking(move || KeyPair::generate_kind(kind)).await;
    let pair = made.map_err(|_| CliError::new("making the key was interrupted"))??;
    Ok(pair.with_hash(*hash))
}

impl SigningServices {
    /// A token of whoever signs.
    pub(super) async fn token(&self, services: &Services) -> Result<Obtained, CliError> {
        let ambient = match (&self.oidc_provider, self.oidc_disable_ambient_providers) {
            (_, Some(true)) => Ambient::Off,
            (Some(name), _) if !name.is_empty() => Ambient::Only(
                name.parse()
                    .map_err(|error| CliError::new(format!("getting provider: {error}")))?,
            ),
            _ => Ambient::Any,
        };
        let flow = self.fulcio_auth_flow.as_deref().filter(|name| !name.is_empty());
        let flow = flow.map(str::parse).transpose();
        let request = TokenRequest {
            identity_token: self.identity_token.clone(),
            ambient,
            flow: flow.map_err(|error| CliError::new(format!("setting auth flow: {error}")))?,
            issuer: services.oidc.clone().unwrap_or_default(),
            client_secret_file: self.oidc_client_secret_file.clone(),
            redirect_url: self.oidc_redirect_url.clone(),
            client_id: self.oidc_client_id.clone().unwrap_or(TokenRequest::default().client_id),
        };
        let obtained = identity_token(&request, &surroundings()).await;
        let obtained = obtained.map_err(|error| explain(&error, &request))?;
        obtained.warnings.iter().for_each(|warning| terminal::warn(warning.to_string()));
        Ok(obtained)
    }
}

fn surroundings() -> Surroundings {
    use std::io::IsTerminal as _;
    let terminal = match std::io::stdin().is_terminal() {
        true => Terminal::Interactive,
        false => Terminal::Absent,
    };
    let (clock, console) = (Arc::new(SystemClock), Arc::new(Terminals));
    Surroundings::of_process(clock, console, terminal, http::Options::default())
}

fn explain(error: &sealgate_sigstore::oidc::TokenError, request: &TokenRequest) -> CliError {
    let told = CliError::new(format!("getting signer: retrieving ID token: {error}"));
    match request.issuer.is_empty() {
        true => {
            told.note("no OIDC issuer to log in at is known: give --oidc-issuer URL or a token")
        }
        false => told.note("give a token with --identity-token TOKEN|FILE, or sign with --key"),
    }
}

/// A certificate for the key, in the name of the token.
pub(super) async fn certify(
    signer: &KeyPair,
    token: &IdentityToken,
    ports: &Ports,
    judges: &Judges,
    steps: Steps,
) -> Result<VerificationKey, CliError> {
    let issuer = ports.issuer.as_deref();
    let issuer =
        issuer.ok_or_else(|| CliError::new("no fulcio URLs provided in signing config"))?;
    steps.say("Retrieving signed certificate...");
    let verification_key = VerificationKey::issued(signer, issuer, token).await;
    let verification_key = verification_key
        .map_err(|failure| CliError::from(failure).during("getting signer: getting certificate"))?;
    check(&verification_key, judges, steps)?;
    // What verifiers must ask for: the token's own words may differ, as those of CI jobs do.
    if let Some(certificate) = verification_key.certificate() {
        steps.say(basis::identity_lines(certificate.identity()).trim_end());
    }
    Ok(verification_key)
}

/// The certificate is one that our verifier would believe at the moment it begins, before
/// anything is signed with its key.
fn check(
    verification_key: &VerificationKey,
    judges: &Judges,
    steps: Steps,
) -> Result<(), CliError> {
    let Some(root) = &judges.root else { return Ok(()) };
    let certificate = verification_key.certificate();
    let certificate = certificate.ok_or_else(|| CliError::new("the certificate cannot be read"))?;
    let sct = match (judges.sct, root.ct_logs.is_empty()) {
        (Override::Ignored, _) | (Override::Unset, true) => SctRequirement::NotRequired,
        _ => SctRequirement::Required,
    };
    let presented = Presented { leaf: certificate.der(), untrusted: &[], detached_sct: None };
    let certified = verify_certificate(presented, root, &[certificate.not_before()], sct);
    let certified = certified.map_err(|reason| {
        CliError::new(format!("verifying certificate: {reason} [{}]", reason.code()))
            .note("the certificate authority gave a certificate that the trust root does not vouch for")
            .note(reason.remedy())
    })?;
    if certified.ct_logs() > 0 {
        steps.say("Successfully verified SCT...");
    }
    Ok(())
}
