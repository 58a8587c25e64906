//! Signing configuration (protobuf-specs `SigningConfig` 0.2, JSON form): the services used for
//! signing, and their selection at a given time.

use std::sync::Arc;

use jiff::Timestamp;
use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};
use sealgate_core::fault::Fault;
use sealgate_engine::ports::{CertificateIssuer, SignatureLog, TimestampAuthority};

use crate::fulcio::Fulcio;
use crate::http::Client;
use crate::rekor::{RekorV1, RekorV2};
use crate::tsa::Tsa;

mod document;

/// Maximum size of a signing configuration, in bytes.
pub const MAX_SIGNING_CONFIG: usize = 1 << 20;
/// Maximum number of services of one kind.
pub(crate) const MAX_SERVICES: usize = 64;

/// Services used for signing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SigningConfig {
    /// Certificate authorities (Fulcio).
    pub certificate_authorities: Vec<Service>,
    /// OIDC providers.
    pub oidc_providers: Vec<Service>,
    /// Transparency logs (Rekor).
    pub logs: Vec<Service>,
    /// Number of logs to use.
    pub log_selection: Option<Selection>,
    /// Timestamp authorities.
    pub timestamp_authorities: Vec<Service>,
    /// Number of timestamp authorities to use.
    pub timestamp_selection: Option<Selection>,
}

/// Service and its validity period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// URL.
    pub url: String,
    /// Major version of its API.
    pub major_api_version: u32,
    /// Start of the validity period; `None` for unbounded.
    pub start: Option<Timestamp>,
    /// End of the validity period; `None` for unbounded.
    pub end: Option<Timestamp>,
    /// Operator: only the newest service of each operator is used.
    pub operator: String,
}

/// Number of usable services to select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// One, at random.
    Any,
    /// All.
    All,
    /// This many, at random.
    Exact(u32),
}

/// Kind of signing credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignWith {
    /// Key: no certificate authority and no OIDC provider are needed.
    Key,
    /// Identity in an OIDC token.
    Identity,
}

/// Services selected for one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// URL of the certificate authority.
    pub fulcio: Option<String>,
    /// URL of the OIDC provider.
    pub oidc: Option<String>,
    /// Transparency logs.
    pub logs: Vec<LogService>,
    /// URLs of the timestamp authorities.
    pub timestamps: Vec<String>,
}

/// Transparency log and its API version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogService {
    /// URL.
    pub url: String,
    /// API version.
    pub version: RekorVersion,
}

/// API versions of Rekor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RekorVersion {
    /// Trillian-based, with signed entry timestamps.
    V1,
    /// Tile-based, without times.
    V2,
}

/// Services of one run as ports of the engine.
#[derive(Clone, Default)]
pub struct Ports {
    /// Certificate authority.
    pub issuer: Option<Arc<dyn CertificateIssuer>>,
    /// Transparency logs.
    pub logs: Vec<Arc<dyn SignatureLog>>,
    /// Timestamp authorities.
    pub timestamps: Vec<Arc<dyn TimestampAuthority>>,
}

/// Error of [`SigningConfig::parse`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSigningConfig {
    /// Larger than [`MAX_SIGNING_CONFIG`].
    #[error("signing config larger than {MAX_SIGNING_CONFIG} bytes")]
    TooLarge,
    /// Another document type or version.
    #[error("unsupported SigningConfig media type: {0:?}; expected {MEDIA_TYPE}")]
    MediaType(String),
    /// More services of one kind than [`MAX_SERVICES`].
    #[error("signing config: more than {MAX_SERVICES} {0}")]
    TooMany(&'static str),
    /// Invalid text, time or number.
    #[error("signing config: {0}")]
    Malformed(String),
}

/// Error of [`SigningConfig::services`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoService {
    /// No service is valid now with a supported API version.
    #[error(
        "no {what} of the signing config is valid at {now} with an API version of {versions:?}"
    )]
    NoneFits {
        /// Kind of service.
        what: &'static str,
        /// Supported versions.
        versions: &'static [u32],
        /// Requested time.
        now: Timestamp,
    },
    /// The configuration does not say how many services to use.
    #[error("the signing config lists {0} without a selector (ANY, ALL or EXACT)")]
    NoSelection(&'static str),
    /// `EXACT` with zero, or with more services than are usable.
    #[error("the signing config requires exactly {wanted} {what}; {found} are usable now")]
    Exact {
        /// Kind of service.
        what: &'static str,
        /// Requested number.
        wanted: u32,
        /// Usable services, one per operator.
        found: usize,
    },
}

/// Media type of version 0.2.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";

const FULCIO: &str = "certificate authority";
const OIDC: &str = "OIDC provider";
const LOGS: &str = "transparency logs";
const TIMESTAMPS: &str = "timestamp authorities";

impl Service {
    /// Service without an end of validity.
    pub fn new(url: impl Into<String>, version: u32, operator: impl Into<String>) -> Self {
        let (url, operator) = (url.into(), operator.into());
        Self { url, major_api_version: version, start: None, end: None, operator }
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= now) && self.end.is_none_or(|end| now <= end)
    }
}

impl SigningConfig {
    /// Parses a version 0.2 configuration.
    ///
    /// # Errors
    /// An error if the document is invalid or too large.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidSigningConfig> {
        document::parse(json)
    }

    /// Serializes the configuration as JSON.
    pub fn to_json(&self) -> String {
        document::to_json(self)
    }

    /// Services for a signature at `now`: of each kind, the valid ones with the highest supported
    /// API version, the newest of each operator, as many as the configuration says. Kinds without
    /// services are left out.
    ///
    /// # Errors
    /// An error if a required kind has services, but none (or too few) are usable.
    pub fn services(&self, now: Timestamp, with: SignWith) -> Result<Services, NoService> {
        self.choose(now, with, &mut rand::rng())
    }

    fn choose(
        &self,
        now: Timestamp,
        with: SignWith,
        random: &mut impl Rng,
    ) -> Result<Services, NoService> {
        let one = |services: &[Service], what| match with {
            SignWith::Identity if !services.is_empty() => {
                let fit = usable(services, what, &[1], now)?;
                Ok(fit.first().map(|service| service.url.clone()))
            }
            _ => Ok(None),
        };
        let logs = select(&self.logs, LOGS, &[2, 1], self.log_selection, now, random)?;
        let selection = self.timestamp_selection;
        let timestamps =
            select(&self.timestamp_authorities, TIMESTAMPS, &[1], selection, now, random)?;
        Ok(Services {
            fulcio: one(&self.certificate_authorities, FULCIO)?,
            oidc: one(&self.oidc_providers, OIDC)?,
            logs: logs.into_iter().map(LogService::of).collect(),
            timestamps: timestamps.into_iter().map(|service| service.url.clone()).collect(),
        })
    }
}

impl LogService {
    fn of(service: &Service) -> Self {
        let version = match service.major_api_version {
            2 => RekorVersion::V2,
            _ => RekorVersion::V1,
        };
        Self { url: service.url.clone(), version }
    }
}

impl Services {
    /// Ports that reach these services through `client`, and timestamp authorities through
    /// `timestamp_client` (which may have its own client certificate).
    ///
    /// # Errors
    /// An error if a URL is invalid.
    pub fn ports(&self, client: &Client, timestamp_client: &Client) -> Result<Ports, Fault> {
        let mut ports = Ports::default();
        if let Some(url) = &self.fulcio {
            ports.issuer = Some(Arc::new(Fulcio::new(url, client.clone())?));
        }
        for LogService { url, version } in &self.logs {
            ports.logs.push(match version {
                RekorVersion::V1 => Arc::new(RekorV1::new(url, client.clone())?),
                RekorVersion::V2 => Arc::new(RekorV2::new(url, client.clone())?),
            });
        }
        for url in &self.timestamps {
            ports.timestamps.push(Arc::new(Tsa::new(url, timestamp_client.clone())?));
        }
        Ok(ports)
    }
}

/// Valid services with the highest of the supported `versions` (highest first), newest first, one
/// per operator.
fn usable<'s>(
    services: &'s [Service],
    what: &'static str,
    versions: &'static [u32],
    now: Timestamp,
) -> Result<Vec<&'s Service>, NoService> {
    for version in versions {
        let of_version = |service: &&Service| service.major_api_version == *version;
        let mut fit: Vec<_> = services.iter().filter(of_version).collect();
        fit.retain(|service| service.is_valid(now));
        fit.sort_by_key(|service| std::cmp::Reverse(service.start));
        let mut operators = std::collections::BTreeSet::new();
        fit.retain(|service| operators.insert(service.operator.as_str()));
        if !fit.is_empty() {
            return Ok(fit);
        }
    }
    Err(NoService::NoneFits { what, versions, now })
}

fn select<'s>(
    services: &'s [Service],
    what: &'static str,
    versions: &'static [u32],
    selection: Option<Selection>,
    now: Timestamp,
    random: &mut impl Rng,
) -> Result<Vec<&'s Service>, NoService> {
    if services.is_empty() {
        return Ok(Vec::new());
    }
    let fit = usable(services, what, versions, now)?;
    match selection.ok_or(NoService::NoSelection(what))? {
        Selection::All => Ok(fit),
        Selection::Any => Ok(fit.choose(random).copied().into_iter().collect()),
        Selection::Exact(wanted) => {
            let found = fit.len();
            let chosen = fit.into_iter().choose_multiple(random, wanted as usize);
            if chosen.is_empty() || chosen.len() != wanted as usize {
                return Err(NoService::Exact { what, wanted, found });
            }
            Ok(chosen)
        }
    }
}

#[cfg(test)]
mod tests;
