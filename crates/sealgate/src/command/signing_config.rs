//! `signing-config create`: writes a signing configuration, the document that names the services to
//! sign with.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sealgate_sigstore::signing_config::{MAX_SIGNING_CONFIG, Selection, Service, SigningConfig};

use crate::cli::files::{self, Mode};
use crate::cli::root::default_signing_config;
use crate::cli::spec::Spec;
use crate::cli::values::{BOOL, go_bool};
use crate::failure::{CliError, Outcome};
use crate::session::Session;

/// Manage signing configurations, which name the services to sign with
#[derive(Args, Debug)]
pub(crate) struct SigningConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Create(Box<CreateArgs>),
}

/// Create a signing configuration
///
/// Each service is a comma-separated list: url=…,api-version=…,start-time=…,operator=… and
/// optionally end-time=… (RFC 3339). A configuration without services is for signing with a key
/// only: no service is contacted.
#[derive(Args, Debug)]
struct CreateArgs {
    /// Certificate authority (Fulcio)
    #[arg(long, value_name = "SPEC")]
    fulcio: Vec<String>,

    /// Transparency log (Rekor)
    #[arg(long, value_name = "SPEC")]
    rekor: Vec<String>,

    /// Number of transparency logs to use: ANY, ALL or EXACT:<count>
    #[arg(long, value_name = "RULE")]
    rekor_config: Option<String>,

    /// OIDC provider
    #[arg(long, value_name = "SPEC")]
    oidc_provider: Vec<String>,

    /// Timestamp authority
    #[arg(long, value_name = "SPEC")]
    tsa: Vec<String>,

    /// Number of timestamp authorities to use: ANY, ALL or EXACT:<count>
    #[arg(long, value_name = "RULE")]
    tsa_config: Option<String>,

    /// Base configuration; services given as flags replace those in it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["with_default_services", "with_default_rekor_v2"])]
    base_config: Option<PathBuf>,

    /// Start from the configuration from TUF, or the embedded one; services given as flags are
    /// added
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    with_default_services: Option<bool>,

    /// The same, with Sigstore's Rekor v2 log
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    with_default_rekor_v2: Option<bool>,

    /// Do not include the certificate authorities of the base configuration
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    no_default_fulcio: Option<bool>,

    /// Do not include the transparency logs of the base configuration
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    no_default_rekor: Option<bool>,

    /// Do not include the OIDC providers of the base configuration
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    no_default_oidc: Option<bool>,

    /// Do not include the timestamp authorities of the base configuration
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    no_default_tsa: Option<bool>,

    /// Write to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(args: SigningConfigArgs, session: &mut Session) -> Outcome {
    let What::Create(args) = args.what;
    let text = args.config().await?.to_json();
    match &args.out {
        Some(path) => files::write(path, text.as_bytes(), Mode::Private),
        None => session.line(text),
    }
}

impl CreateArgs {
    async fn config(&self) -> Result<SigningConfig, CliError> {
        for (specs, rule, name) in
            [(&self.rekor, &self.rekor_config, "rekor"), (&self.tsa, &self.tsa_config, "tsa")]
        {
            if !specs.is_empty() && rule.as_deref().unwrap_or_default().is_empty() {
                return Err(CliError::new(format!(
                    "--{name}-config must be provided when --{name} is specified"
                )));
            }
        }
        let mut config = self.begin().await?;
        if let Some(rule) = &self.rekor_config {
            config.log_selection = selection(rule, "rekor-config")?;
        }
        if let Some(rule) = &self.tsa_config {
            config.timestamp_selection = selection(rule, "tsa-config")?;
        }
        config.certificate_authorities.extend(services(&self.fulcio, "fulcio")?);
        config.logs.extend(services(&self.rekor, "rekor")?);
        config.oidc_providers.extend(services(&self.oidc_provider, "oidc-provider")?);
        config.timestamp_authorities.extend(services(&self.tsa, "tsa")?);
        Ok(config)
    }

    /// The configuration to which the services of the flags are added.
    async fn begin(&self) -> Result<SigningConfig, CliError> {
        if self.with_default_rekor_v2 == Some(true) {
            return Err(CliError::unsupported(
                "--with-default-rekor-v2",
                "name the log with --no-default-rekor --rekor url=…,api-version=2,… and \
                 --with-default-services",
            ));
        }
        let replaces = self.base_config.is_some();
        let begun = match &self.base_config {
            Some(path) => {
                let json = files::read(path, MAX_SIGNING_CONFIG as u64)?;
                let failed = |error| {
                    let path = path.display();
                    CliError::new(format!("loading base config from {path}: {error}"))
                };
                SigningConfig::parse(&json).map_err(failed)?
            }
            None if self.with_default_services == Some(true) => {
                let found = default_signing_config().await?;
                SigningConfig::parse(&found.json)
                    .map_err(|error| CliError::new(error.to_string()))?
            }
            None => return Ok(SigningConfig::default()),
        };
        let keeps = |no: Option<bool>, given: &[String]| {
            no != Some(true) && (given.is_empty() || !replaces)
        };
        let kept = |keep: bool, services: Vec<Service>| if keep { services } else { Vec::new() };
        let rekor = keeps(self.no_default_rekor, &self.rekor);
        let tsa = keeps(self.no_default_tsa, &self.tsa);
        let fulcio = keeps(self.no_default_fulcio, &self.fulcio);
        let oidc = keeps(self.no_default_oidc, &self.oidc_provider);
        Ok(SigningConfig {
            certificate_authorities: kept(fulcio, begun.certificate_authorities),
            oidc_providers: kept(oidc, begun.oidc_providers),
            logs: kept(rekor, begun.logs),
            log_selection: begun.log_selection.filter(|_| rekor),
            timestamp_authorities: kept(tsa, begun.timestamp_authorities),
            timestamp_selection: begun.timestamp_selection.filter(|_| tsa),
        })
    }
}

fn services(specs: &[String], what: &'static str) -> Result<Vec<Service>, CliError> {
    specs.iter().map(|spec| service(spec, what)).collect()
}

fn service(spec: &str, what: &'static str) -> Result<Service, CliError> {
    let required = ["url", "api-version", "start-time", "operator"];
    let spec = Spec::read(spec, what, &required, &["end-time"])?;
    Ok(Service {
        url: spec.text("url"),
        major_api_version: spec.number("api-version")?,
        start: spec.time("start-time")?,
        end: spec.time("end-time")?,
        operator: spec.text("operator"),
    })
}

fn selection(rule: &str, what: &str) -> Result<Option<Selection>, CliError> {
    let bad = |why: String| CliError::new(format!("parsing {what}: {why}"));
    if rule.is_empty() {
        return Ok(None);
    }
    let (mode, count) = match rule.split_once(':') {
        Some((mode, count)) => (mode.to_ascii_uppercase(), Some(count)),
        None => (rule.to_ascii_uppercase(), None),
    };
    match (mode.as_str(), count) {
        ("ANY", None) => Ok(Some(Selection::Any)),
        ("ALL", None) => Ok(Some(Selection::All)),
        ("ANY" | "ALL", Some(_)) => Err(bad(format!("mode {mode} does not accept a count"))),
        ("EXACT", None) => Err(bad("mode EXACT requires a count, e.g. EXACT:2".to_owned())),
        ("EXACT", Some(count)) => match count.parse() {
            Ok(count) if count > 0 => Ok(Some(Selection::Exact(count))),
            _ => Err(bad(format!("invalid count for EXACT mode: {count:?}"))),
        },
        _ => Err(bad(format!("invalid service config mode: {mode}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_cosign_reads_them() {
        let read = |rule: &str| selection(rule, "tsa-config").map_err(|error| error.message);
        assert_eq!(read("any"), Ok(Some(Selection::Any)));
        assert_eq!(read("ALL"), Ok(Some(Selection::All)));
        assert_eq!(read("EXACT:2"), Ok(Some(Selection::Exact(2))));
        for rule in ["ANY:1", "EXACT", "EXACT:x", "EXACT:0", "SOME"] {
            assert!(read(rule).is_err(), "{rule}");
        }
    }
}
