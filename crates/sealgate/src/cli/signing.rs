//! Flags of signing about certificates, logs and timestamps, and what they come to: who signs
//! ([`Signing`]). Each flag does what it says, has no meaning here (which is said), or is refused;
//! none is ignored in silence.
//!
//! With `--key` and nothing else no service is asked. Without `--key` the signer is whoever an
//! identity token names: `keyless` gets the token and the certificate, `services` says where,
//! `privacy` asks before anything is published, `resume` keeps what a log did not take.

mod certificate;
mod keyless;
pub(crate) mod made;
mod privacy;
pub(crate) mod resume;
mod services;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::{Override, RootSource};
use sealgate_engine::ports::{Clock as _, Signer};
use sealgate_engine::sign::{SigningParties, VerificationKey};
use sealgate_engine::transparency::TransparencyServices;
use sealgate_keys::KeyPair;
use sealgate_sigstore::http::{self, Client, ClientIdentity};
use sealgate_sigstore::oidc::Secret;
use sealgate_sigstore::root::{Environment, Refresh, RootOptions, STAGING, current_root};
use sealgate_sigstore::signing_config::{Ports, RekorVersion, Services, SignWith};

use super::files;
use super::keys;
use super::values::{BOOL, go_bool};
use crate::clock::SystemClock;
use crate::failure::{CliError, Outcome};
use crate::terminal;

/// The largest file of certificates or keys.
const MAX_PEM: u64 = 1 << 20;
/// How long a TUF mirror may be asked for news.
const REFRESH: Duration = Duration::from_secs(10);
/// By how much this clock may be behind an authority's: a certificate may then begin a little
/// later than now.
const SKEW: i64 = 300;

/// What `sign` and `sign-blob` share of them, as typed.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SigningServices {
    /// Signing configuration that names the services to use; one without logs is fine
    #[arg(long, value_name = "FILE")]
    signing_config: Option<PathBuf>,

    /// Take service addresses from the signing configuration of TUF, or the one built in
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    use_signing_config: Option<bool>,

    /// Trusted root that the signature must verify with before it is written
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,

    /// Upload to the transparency log: without a key unless it is false; with --key only where this
    /// or a signing configuration says so
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    tlog_upload: Option<bool>,

    /// Transparency log (Rekor v1) to upload to
    #[arg(long, value_name = "URL", hide = true)]
    rekor_url: Option<String>,

    /// Timestamp authority (RFC 3161) to ask
    #[arg(long, value_name = "URL", hide = true)]
    timestamp_server_url: Option<String>,

    /// Certificates (PEM) of CAs that the timestamp authority's server may have
    #[arg(long, value_name = "FILE")]
    timestamp_client_cacert: Option<PathBuf>,

    /// Client certificate (PEM) for the timestamp authority
    #[arg(long, value_name = "FILE")]
    timestamp_client_cert: Option<PathBuf>,

    /// Key (PEM) of that client certificate
    #[arg(long, value_name = "FILE")]
    timestamp_client_key: Option<PathBuf>,

    /// Name that the certificate of the timestamp authority's server must carry
    #[arg(long, value_name = "NAME")]
    timestamp_server_name: Option<String>,

    /// Certificate (PEM or DER) of the key, to put into the signature
    #[arg(long, alias = "cert", value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// Certificates above it (PEM), the root last
    #[arg(long, alias = "cert-chain", value_name = "FILE")]
    certificate_chain: Option<PathBuf>,

    /// Get a certificate for --key from the certificate authority
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    issue_certificate: Option<bool>,

    /// Certificate authority (Fulcio) to ask
    #[arg(long, value_name = "URL", hide = true)]
    fulcio_url: Option<String>,

    /// How to log in: normal (browser), device, token or client_credentials
    #[arg(long, value_name = "FLOW")]
    fulcio_auth_flow: Option<String>,

    /// Identity token, or the file that holds it (keyless)
    #[arg(long, value_name = "TOKEN|FILE", value_parser = secret)]
    identity_token: Option<Secret>,

    /// Do not ask for proof that the certificate was logged
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    insecure_skip_verify: Option<bool>,

    /// OIDC issuer to log in at
    #[arg(long, value_name = "URL", hide = true)]
    oidc_issuer: Option<String>,

    /// OIDC client (sigstore unless given)
    #[arg(long, value_name = "ID")]
    oidc_client_id: Option<String>,

    /// File with the OIDC client's secret
    #[arg(long, value_name = "FILE")]
    oidc_client_secret_file: Option<PathBuf>,

    /// Address of this machine that the OIDC issuer leads the browser back to
    #[arg(long, value_name = "URL")]
    oidc_redirect_url: Option<String>,

    /// Where this machine gets identity tokens by itself
    #[arg(long, value_name = "PROVIDER")]
    oidc_provider: Option<String>,

    /// Do not look for an identity token of this machine
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    oidc_disable_ambient_providers: Option<bool>,

    /// Go on with the signatures in FILE, which a log or the registry did not take
    #[arg(long, value_name = "FILE")]
    pub(crate) resume: Option<PathBuf>,

    /// Sigstore's staging services instead of the public ones
    #[arg(skip)]
    pub(crate) staging: bool,
}

/// What is about to be signed, for the question before it is published.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// `--key`.
    pub(crate) key: Option<&'a str>,
    /// Whether not to ask (`--yes`).
    pub(crate) yes: bool,
    /// What is signed, for people.
    pub(crate) what: &'a [String],
    /// The kind of an ephemeral key (`--signing-algorithm`).
    pub(crate) algorithm: Option<&'a str>,
    /// Whether certificates and proofs go into a legacy signature.
    pub(crate) legacy: bool,
    /// Whether the steps are told (not beside a document).
    pub(crate) steps: Steps,
}

/// Whether the steps of signing are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Steps {
    /// Each, in cosign's words.
    #[default]
    Told,
    /// None: there is a document instead.
    Silent,
}

impl Steps {
    fn say(self, text: &str) {
        if self == Self::Told {
            terminal::say(text);
        }
    }
}

/// The signer, and the services that timestamp and publish its signatures.
pub(crate) struct Signing {
    pub(crate) signer: KeyPair,
    pub(crate) key: VerificationKey,
    pub(crate) transparency: TransparencyServices,
    services: Services,
}

/// A trust root for what is made, and what is judged with it.
struct Judges {
    root: Option<Arc<TrustRoot>>,
    sct: Override,
    now: Timestamp,
}

impl Signing {
    /// For the engine.
    pub(crate) fn parties(&self) -> SigningParties<'_> {
        let Self { signer, key, transparency, .. } = self;
        SigningParties { signer, key, transparency }
    }

    /// Says what verifiers need to know, if no log was told of a key's signatures.
    pub(crate) fn tell_unlogged(&self, steps: Steps) {
        let by_key = self.key.certificates().is_empty();
        if by_key && self.services.logs.is_empty() && steps == Steps::Told {
            made::tell_unlogged();
        }
    }
}

impl SigningServices {
    /// Refuses what does not go together, before anybody is asked anything.
    pub(crate) fn judge(&self, key: Option<&str>) -> Outcome {
        self.check(key)?;
        self.source(self.sign_with(key)).map(drop)
    }

    /// Opens the key or gets one certified, finds the services, and asks before anything is
    /// published. The flags were judged before.
    pub(crate) async fn open(&self, asked: Asked<'_>) -> Result<Signing, CliError> {
        let now = SystemClock.now();
        let services = self.services(asked.key, now).await?;
        self.check_services(&services, &asked)?;
        let judges = self.judges(&services, asked.key, now).await?;
        let ports = self.ports(&services)?;
        let (signer, signatory) = match asked.key {
            Some(key) => self.with_key(key, &asked, &services, &ports, &judges).await?,
            None => self.with_identity(&asked, &services, &ports, &judges).await?,
        };
        let transparency = judges.transparency(&signatory, ports);
        Ok(Signing { signer, key: signatory, transparency, services })
    }

    /// Goes on where [`Signing`] had stopped: no key, only the services.
    pub(crate) async fn reopen(
        &self,
        key: &VerificationKey,
        services: &Services,
    ) -> Result<TransparencyServices, CliError> {
        let now = SystemClock.now();
        let judges = self.judges(services, None, now).await?;
        Ok(judges.transparency(key, self.ports(services)?))
    }

    /// Whether a certificate is asked for.
    fn certifies(&self, key: Option<&str>) -> bool {
        key.is_none() || self.issue_certificate == Some(true)
    }

    fn sign_with(&self, key: Option<&str>) -> SignWith {
        if self.certifies(key) { SignWith::Identity } else { SignWith::Key }
    }

    async fn with_key(
        &self,
        key: &str,
        asked: &Asked<'_>,
        services: &Services,
        ports: &Ports,
        judges: &Judges,
    ) -> Result<(KeyPair, VerificationKey), CliError> {
        let signer = keys::signer(key).await?;
        if self.issue_certificate == Some(true) {
            let token = self.token(services).await?;
            privacy::ask(asked, services, self.asking(), Some(&token.claims)).await?;
            let signatory =
                keyless::certify(&signer, &token.token, ports, judges, asked.steps).await?;
            return Ok((signer, signatory));
        }
        let public = signer.public_key().clone();
        let signatory = match &self.certificate {
            Some(path) => {
                let chain = self.certificate_chain.as_deref();
                certificate::certified(public, path, chain, asked.legacy)?
            }
            None => VerificationKey::plain(public),
        };
        privacy::ask(asked, services, self.asking(), None).await?;
        Ok((signer, signatory))
    }

    async fn with_identity(
        &self,
        asked: &Asked<'_>,
        services: &Services,
        ports: &Ports,
        judges: &Judges,
    ) -> Result<(KeyPair, VerificationKey), CliError> {
        let signer = keyless::ephemeral_key(asked.algorithm, asked.steps).await?;
        let token = self.token(services).await?;
        privacy::ask(asked, services, self.asking(), Some(&token.claims)).await?;
        let signatory = keyless::certify(&signer, &token.token, ports, judges, asked.steps).await?;
        Ok((signer, signatory))
    }

    /// A signing configuration that the user has named is consent for logs that are not public,
    /// as in cosign.
    fn asking(&self) -> privacy::Asking {
        match self.signing_config {
            Some(_) => privacy::Asking::PublicLogs,
            None => privacy::Asking::AllLogs,
        }
    }

    /// What does not go together, and what has no meaning here.
    fn check(&self, key: Option<&str>) -> Outcome {
        if key.is_none() {
            for (flag, given) in [
                ("--certificate", self.certificate.is_some()),
                ("--certificate-chain", self.certificate_chain.is_some()),
            ] {
                if given {
                    return Err(CliError::new(format!("{flag} needs --key"))
                        .note("without --key the certificate authority gives the certificate"));
                }
            }
        }
        if self.issue_certificate == Some(true) && self.certificate.is_some() {
            return Err(CliError::new(
                "--issue-certificate and --certificate contradict each other",
            ));
        }
        if self.certificate_chain.is_some() && self.certificate.is_none() {
            return Err(CliError::new(
                "no leaf certificate found or provided while specifying chain",
            )
            .note("give the certificate of the key with --certificate"));
        }
        if self.timestamp_client_cert.is_some() != self.timestamp_client_key.is_some() {
            return Err(CliError::new(
                "--timestamp-client-cert and --timestamp-client-key belong together",
            ));
        }
        self.tell_meaningless(key);
        Ok(())
    }

    fn tell_meaningless(&self, key: Option<&str>) {
        if self.certifies(key) {
            return;
        }
        for (flag, given) in self.of_identities() {
            if given {
                terminal::warn(format!("{flag} has no meaning when signing with --key"));
            }
        }
    }

    fn of_identities(&self) -> [(&'static str, bool); 10] {
        [
            ("--fulcio-url", self.fulcio_url.is_some()),
            ("--fulcio-auth-flow", self.fulcio_auth_flow.is_some()),
            ("--identity-token", self.identity_token.is_some()),
            ("--insecure-skip-verify", self.insecure_skip_verify == Some(true)),
            ("--oidc-issuer", self.oidc_issuer.is_some()),
            ("--oidc-client-id", self.oidc_client_id.is_some()),
            ("--oidc-client-secret-file", self.oidc_client_secret_file.is_some()),
            ("--oidc-redirect-url", self.oidc_redirect_url.is_some()),
            ("--oidc-provider", self.oidc_provider.is_some()),
            ("--oidc-disable-ambient-providers", self.oidc_disable_ambient_providers == Some(true)),
        ]
    }

    fn of_timestamps(&self) -> [(&'static str, bool); 4] {
        [
            ("--timestamp-client-cacert", self.timestamp_client_cacert.is_some()),
            ("--timestamp-client-cert", self.timestamp_client_cert.is_some()),
            ("--timestamp-client-key", self.timestamp_client_key.is_some()),
            ("--timestamp-server-name", self.timestamp_server_name.is_some()),
        ]
    }

    /// Whether what would be made with these services can be used at all.
    fn check_services(&self, services: &Services, asked: &Asked<'_>) -> Outcome {
        let v2 = services.logs.iter().any(|log| log.version == RekorVersion::V2);
        let stamped = !services.timestamps.is_empty();
        for (flag, given) in self.of_timestamps() {
            if given && !stamped {
                terminal::warn(format!("{flag} has no meaning: no timestamp authority is asked"));
            }
        }
        if v2 && asked.legacy {
            return Err(CliError::new("the legacy format cannot hold an entry of a Rekor v2 log")
                .note("write bundles (--format bundle), or use a log of version 1"));
        }
        if !self.certifies(asked.key) {
            return Ok(());
        }
        if services.fulcio.is_none() {
            return Err(CliError::new("no fulcio URLs provided in signing config")
                .note("signing without --key needs a certificate authority, or give --key"));
        }
        if let Some(url) = services.fulcio.as_deref().filter(|url| services::is_unguarded(url)) {
            terminal::warn(format!(
                "the identity token goes to {url} without encryption: whoever reads it on its way \
                 can sign in that name"
            ));
        }
        if v2 && !stamped {
            return Err(CliError::new(
                "a timestamp authority must be provided to request a short-lived certificate \
                 that will be logged to Rekor",
            )
            .note("a log of version 2 signs no time: name a timestamp authority, too"));
        }
        if services.logs.is_empty() && !stamped {
            terminal::warn(
                "neither a log nor a timestamp authority is asked: when the certificate has \
                 expired, nobody can tell that it was good when the signature was made",
            );
        }
        Ok(())
    }

    /// What our own verifier judges the signature with. None where there is nothing to judge but
    /// the signature, or nobody to believe.
    async fn judges(
        &self,
        services: &Services,
        key: Option<&str>,
        now: Timestamp,
    ) -> Result<Judges, CliError> {
        let sct = match self.insecure_skip_verify {
            Some(true) => Override::Ignored,
            _ => Override::Unset,
        };
        let asked = [services.logs.is_empty(), services.timestamps.is_empty()];
        let alone = !self.certifies(key) && self.certificate.is_none() && asked == [true, true];
        if alone {
            if self.trusted_root.is_some() {
                let why = "the signature stands alone, the key is all there is to check";
                terminal::warn(format!("--trusted-root has no meaning here: {why}"));
            }
            return Ok(Judges { root: None, sct, now });
        }
        let chosen = current_root(&self.root_options(), now).await;
        let chosen = chosen.map_err(|error| CliError::new(error.to_string()))?;
        if chosen.source == RootSource::Embedded && !services::any_public(services) {
            terminal::warn(
                "no trust root knows these services or this certificate: only the signature itself \
                 is checked before it is written (give --trusted-root FILE, or run `sealgate \
                 initialize`)",
            );
            return Ok(Judges { root: None, sct, now });
        }
        chosen.warnings.iter().for_each(|warning| terminal::warn(warning.to_string()));
        Ok(Judges { root: Some(chosen.root), sct, now })
    }

    fn root_options(&self) -> RootOptions {
        let mut environment = Environment::read(|name| std::env::var_os(name));
        if self.staging {
            environment.mirror = Some(STAGING.to_owned());
        }
        RootOptions {
            file: self.trusted_root.clone(),
            environment,
            refresh: Refresh::WhenDue(REFRESH),
        }
    }

    fn ports(&self, services: &Services) -> Result<Ports, CliError> {
        let client = Client::new(&http::Options::default())?;
        let mut options = http::Options::default();
        if let Some(path) = &self.timestamp_client_cacert {
            options.trust = http::Trust::Only(files::read(path, MAX_PEM)?);
        }
        if let (Some(certificate), Some(key)) =
            (&self.timestamp_client_cert, &self.timestamp_client_key)
        {
            options.identity = Some(ClientIdentity {
                certificates: files::read(certificate, MAX_PEM)?,
                key: files::read(key, MAX_PEM)?.into(),
            });
        }
        options.server_name.clone_from(&self.timestamp_server_name);
        let authority = Client::new(&options).map_err(|fault| {
            let files = [
                ("--timestamp-client-cacert", &self.timestamp_client_cacert),
                ("--timestamp-client-cert", &self.timestamp_client_cert),
                ("--timestamp-client-key", &self.timestamp_client_key),
            ];
            files::given(fault.into(), &files)
        })?;
        Ok(services.ports(&client, &authority)?)
    }
}

impl Judges {
    fn transparency(self, key: &VerificationKey, ports: Ports) -> TransparencyServices {
        let now = self.now.as_second();
        let begins = key.certificate().map(|certificate| certificate.not_before());
        let now = begins.filter(|begin| (now..=now + SKEW).contains(begin)).unwrap_or(now);
        let Ports { timestamps, logs, .. } = ports;
        TransparencyServices { timestamps, logs, root: self.root, sct: self.sct, now }
    }
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests;
