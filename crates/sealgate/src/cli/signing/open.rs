//! The execution of a signing plan up to the signature: reads configurations, certificates and
//! keys, gets an identity token and a certificate, asks for confirmation, and connects to the
//! services.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::RootSource;
use sealgate_engine::ports::{Clock as _, Signer};
use sealgate_engine::sign::{SigningParties, VerificationKey};
use sealgate_engine::transparency::TransparencyServices;
use sealgate_keys::KeyPair;
use sealgate_sigstore::http::{self, Client, ClientIdentity};
use sealgate_sigstore::root::{Environment, Refresh, RootOptions, STAGING, current_root};
use sealgate_sigstore::signing_config::{Ports, Services};

use super::plan::{Progress, ServiceAccess, SignerPlan, SigningPlan};
use super::{certificate, confirm, keyless, report, services};
use crate::cli::{files, keys};
use crate::clock::SystemClock;
use crate::failure::CliError;
use crate::terminal;

/// The largest file of certificates or keys.
pub(super) const MAX_PEM: u64 = 1 << 20;
/// The time limit for refreshing metadata from a TUF mirror.
const REFRESH: Duration = Duration::from_secs(10);
/// The number of seconds that this clock may be behind an authority's: a certificate may begin
/// that much later than now.
const SKEW: i64 = 300;

/// An opened signer, and the services that timestamp and publish its signatures.
pub(crate) struct Signing {
    pub(crate) signer: KeyPair,
    pub(crate) key: VerificationKey,
    pub(crate) transparency: TransparencyServices,
    pub(super) services: Services,
    progress: Progress,
}

impl Signing {
    /// The form that the engine takes.
    pub(crate) fn parties(&self) -> SigningParties<'_> {
        let Self { signer, key, transparency, .. } = self;
        SigningParties { signer, key, transparency }
    }

    /// Reports what verifiers need to know of a plain key's signature that is in no log.
    pub(crate) fn report_unlogged(&self) {
        let is_plain = self.key.certificates().is_empty();
        if is_plain && self.services.logs.is_empty() && self.progress == Progress::Shown {
            report::unlogged();
        }
    }
}

/// Opens the signer and the services of `plan`, and asks for confirmation before anything is
/// published. `artifacts` names what will be signed.
pub(crate) async fn open(plan: &SigningPlan, artifacts: &[String]) -> Result<Signing, CliError> {
    let now = SystemClock.now();
    plan.warnings.iter().for_each(terminal::warn);
    let services = services::load(plan, now).await?;
    plan.check(&services)?.iter().for_each(terminal::warn);
    let root = match plan.is_plain_key(&services) {
        true => None,
        false => plan.access.trust_root(&services, now).await?,
    };
    let Ports { issuer, timestamps, logs } = plan.access.ports(&services)?;
    let (sct, seconds) = (plan.access.sct, now.as_second());
    let mut transparency = TransparencyServices { timestamps, logs, root, sct, now: seconds };
    let signer = key_pair(plan).await?;
    let confirmed = |identity| confirm::ask(plan.confirm, artifacts, &services, identity);
    let key = match &plan.signer {
        SignerPlan::Key { certificate, .. } => {
            let public = signer.public_key().clone();
            let key = match certificate {
                Some(files) => certificate::certified(public, files, plan.format)?,
                None => VerificationKey::plain(public),
            };
            confirmed(None).await?;
            key
        }
        SignerPlan::CertifiedKey { token, .. } | SignerPlan::EphemeralKey { token, .. } => {
            let token = keyless::token(token.clone(), &services).await?;
            confirmed(Some(&token.claims)).await?;
            let issuer = issuer.as_deref();
            keyless::certify(&signer, &token.token, issuer, &transparency, plan.progress).await?
        }
    };
    transparency.now = verification_time(now, &key);
    Ok(Signing { signer, key, transparency, services, progress: plan.progress })
}

async fn key_pair(plan: &SigningPlan) -> Result<KeyPair, CliError> {
    match &plan.signer {
        SignerPlan::EphemeralKey { algorithm, .. } => {
            keyless::ephemeral_key(algorithm, plan.progress).await
        }
        SignerPlan::Key { reference, .. } | SignerPlan::CertifiedKey { reference, .. } => {
            keys::signer(reference).await
        }
    }
}

/// Opens the services alone, to resume signing.
pub(crate) async fn reopen(
    access: &ServiceAccess,
    key: &VerificationKey,
    services: &Services,
) -> Result<TransparencyServices, CliError> {
    let now = SystemClock.now();
    let root = access.trust_root(services, now).await?;
    let Ports { timestamps, logs, .. } = access.ports(services)?;
    let (sct, now) = (access.sct, verification_time(now, key));
    Ok(TransparencyServices { timestamps, logs, root, sct, now })
}

/// The time at which a new signature is verified: now, or the start of its certificate where this
/// clock is a little behind.
fn verification_time(now: Timestamp, key: &VerificationKey) -> i64 {
    let now = now.as_second();
    let begins = key.certificate().map(|certificate| certificate.not_before());
    begins.filter(|begin| (now..=now + SKEW).contains(begin)).unwrap_or(now)
}

impl ServiceAccess {
    /// The trust root; none where no configured root can know these services, which is a warning.
    async fn trust_root(
        &self,
        services: &Services,
        now: Timestamp,
    ) -> Result<Option<Arc<TrustRoot>>, CliError> {
        let chosen = current_root(&self.root_options(), now).await;
        let chosen = chosen.map_err(|error| CliError::new(error.to_string()))?;
        if chosen.source == RootSource::Embedded && !services::any_public(services) {
            terminal::warn(
                "no trust root knows these services or this certificate: only the signature itself \
                 is checked before it is written (give --trusted-root FILE, or run `sealgate \
                 initialize`)",
            );
            return Ok(None);
        }
        chosen.warnings.iter().for_each(|warning| terminal::warn(warning.to_string()));
        Ok(Some(chosen.root.parsed().clone()))
    }

    /// The sources of trust roots and signing configurations.
    pub(super) fn root_options(&self) -> RootOptions {
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
        Ok(services.ports(&client, &self.timestamp_client()?)?)
    }

    fn timestamp_client(&self) -> Result<Client, CliError> {
        let settings = &self.timestamp_client;
        let mut options = http::Options::default();
        if let Some(path) = &settings.cacert {
            options.tls_roots = http::TlsRoots::Only(files::read(path, MAX_PEM)?);
        }
        if let Some((certificate, key)) = &settings.identity {
            options.identity = Some(ClientIdentity {
                certificates: files::read(certificate, MAX_PEM)?,
                key: files::read(key, MAX_PEM)?.into(),
            });
        }
        options.server_name.clone_from(&settings.server_name);
        Client::new(&options).map_err(|fault| {
            let (certificate, key) = settings.identity.clone().unzip();
            let files = [
                ("--timestamp-client-cacert", &settings.cacert),
                ("--timestamp-client-cert", &certificate),
                ("--timestamp-client-key", &key),
            ];
            files::given(fault.into(), &files)
        })
    }
}
