//! Keyless signing: an identity token, an ephemeral key, and a certificate that binds the key to
//! the identity.

use std::sync::Arc;

use sealgate_core::certificate::{Presented, SctRequirement, certify as verify_certificate};
use sealgate_core::key::HashAlgorithm;
use sealgate_core::verify::Override;
use sealgate_engine::ports::{CertificateIssuer, IdentityToken};
use sealgate_engine::sign::VerificationKey;
use sealgate_engine::transparency::TransparencyServices;
use sealgate_keys::{KeyPair, pair::Kind};
use sealgate_sigstore::http;
use sealgate_sigstore::oidc::{
    Console, ObtainedToken, Terminal, TokenEnvironment, TokenRequest, identity_token,
};
use sealgate_sigstore::signing_config::Services;

use super::Refusal;
use super::plan::Progress;
use crate::clock::SystemClock;
use crate::failure::CliError;
use crate::output::settings;
use crate::terminal;

/// An algorithm of ephemeral keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Algorithm {
    name: &'static str,
    kind: Kind,
    hash: HashAlgorithm,
}

/// The values of `--signing-algorithm`, in cosign's words; the first one is the default.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::new("ecdsa-sha2-256-nistp256", Kind::P256, HashAlgorithm::Sha256),
    Algorithm::new("ecdsa-sha2-384-nistp384", Kind::P384, HashAlgorithm::Sha384),
    Algorithm::new("ecdsa-sha2-512-nistp521", Kind::P521, HashAlgorithm::Sha512),
    Algorithm::new("rsa-sign-pkcs1-2048-sha256", Kind::Rsa2048, HashAlgorithm::Sha256),
    Algorithm::new("rsa-sign-pkcs1-3072-sha256", Kind::Rsa3072, HashAlgorithm::Sha256),
    Algorithm::new("rsa-sign-pkcs1-4096-sha256", Kind::Rsa4096, HashAlgorithm::Sha256),
];

impl Algorithm {
    const fn new(name: &'static str, kind: Kind, hash: HashAlgorithm) -> Self {
        Self { name, kind, hash }
    }
}

/// The algorithm of that name; an empty name is the default.
pub(super) fn algorithm(name: Option<&str>) -> Result<&'static Algorithm, Refusal> {
    static KNOWN: [Algorithm; 6] = ALGORITHMS;
    let name = name.filter(|name| !name.is_empty());
    let found = KNOWN.iter().find(|known| name.is_none_or(|name| name == known.name));
    found.ok_or_else(|| Refusal::Algorithm { name: name.unwrap_or_default().to_owned() })
}

/// The names of all algorithms, for messages.
pub(super) fn algorithms() -> String {
    ALGORITHMS.map(|known| known.name).join(", ")
}

/// The login's output on standard error.
struct LoginConsole;

impl Console for LoginConsole {
    fn say(&self, text: &str) {
        terminal::say(text);
    }
}

/// Generates a key for this run, which is never written to a file.
pub(super) async fn ephemeral_key(
    algorithm: &'static Algorithm,
    progress: Progress,
) -> Result<KeyPair, CliError> {
    progress.show("Generating ephemeral keys...");
    // An RSA key takes a second of CPU: not on the thread that drives the network.
    let pair = tokio::task::spawn_blocking(|| KeyPair::generate_kind(algorithm.kind)).await;
    let pair = pair.map_err(|_| CliError::new("making the key was interrupted"))??;
    Ok(pair.with_hash(algorithm.hash))
}

/// Gets an identity token, by a login at the issuer of `services` where no other source has one.
pub(super) async fn token(
    request: TokenRequest,
    services: &Services,
) -> Result<ObtainedToken, CliError> {
    let request = TokenRequest { issuer: services.oidc.clone().unwrap_or_default(), ..request };
    let obtained = identity_token(&request, &token_environment()).await;
    let obtained = obtained.map_err(|error| explain(&error, &request))?;
    obtained.warnings.iter().for_each(|warning| terminal::warn(warning.to_string()));
    Ok(obtained)
}

fn token_environment() -> TokenEnvironment {
    use std::io::IsTerminal as _;
    let terminal = match std::io::stdin().is_terminal() {
        true => Terminal::Interactive,
        false => Terminal::Absent,
    };
    let (clock, console) = (Arc::new(SystemClock), Arc::new(LoginConsole));
    TokenEnvironment::of_process(clock, console, terminal, http::Options::default())
}

fn explain(error: &sealgate_sigstore::oidc::TokenError, request: &TokenRequest) -> CliError {
    let error = CliError::new(format!("getting signer: retrieving ID token: {error}"));
    match request.issuer.is_empty() {
        true => {
            error.note("no OIDC issuer to log in at is known: give --oidc-issuer URL or a token")
        }
        false => error.note("give a token with --identity-token TOKEN|FILE, or sign with --key"),
    }
}

/// Requests a certificate that binds the key to the identity in the token, and verifies it before
/// anything is signed.
pub(super) async fn certify(
    signer: &KeyPair,
    token: &IdentityToken,
    issuer: Option<&dyn CertificateIssuer>,
    transparency: &TransparencyServices,
    progress: Progress,
) -> Result<VerificationKey, CliError> {
    let issuer = issuer.ok_or(Refusal::NoCertificateAuthority)?;
    progress.show("Retrieving signed certificate...");
    let key = VerificationKey::issued(signer, issuer, token).await;
    let key = key
        .map_err(|failure| CliError::from(failure).during("getting signer: getting certificate"))?;
    verify(&key, transparency, progress)?;
    // The identity that verifiers must require: the token's own claims may differ, as in CI jobs.
    if let Some(certificate) = key.certificate() {
        progress.show(settings::identity_lines(certificate.identity()).trim_end());
    }
    Ok(key)
}

/// Verifies the certificate at the start of its validity.
fn verify(
    key: &VerificationKey,
    transparency: &TransparencyServices,
    progress: Progress,
) -> Result<(), CliError> {
    let Some(root) = &transparency.root else { return Ok(()) };
    let certificate = key.certificate();
    let certificate = certificate.ok_or_else(|| CliError::new("the certificate cannot be read"))?;
    let sct = match (transparency.sct, root.ct_logs.is_empty()) {
        (Override::Ignored, _) | (Override::Unset, true) => SctRequirement::NotRequired,
        _ => SctRequirement::Required,
    };
    let presented = Presented { leaf: certificate.der(), untrusted: &[], detached_sct: None };
    let certified = verify_certificate(presented, root, &[certificate.not_before()], sct);
    let certified = certified.map_err(|reason| {
        CliError::new(format!("verifying certificate: {reason} [{}]", reason.code()))
            .note("the certificate authority issued a certificate that does not verify with the trust root")
            .note(reason.remedy())
    })?;
    if certified.ct_logs() > 0 {
        progress.show("Successfully verified SCT...");
    }
    Ok(())
}
