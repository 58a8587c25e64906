//! Signing configurations (protobuf-specs `SigningConfig` 0.2, JSON form): which services a
//! signature is made with, and which of them at this moment.

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

/// The largest signing configuration that is read, in bytes.
pub const MAX_SIGNING_CONFIG: usize = 1 << 20;
/// The most services of one kind.
pub(crate) const MAX_SERVICES: usize = 64;

/// Which services to sign with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SigningConfig {
    /// Certificate authorities (Fulcio).
    pub certificate_authorities: Vec<Service>,
    /// Providers of identity tokens.
    pub oidc_providers: Vec<Service>,
    /// Transparency logs (Rekor).
    pub logs: Vec<Service>,
    /// How many of the logs.
    pub log_selection: Option<Selection>,
    /// Timestamp authorities.
    pub timestamp_authorities: Vec<Service>,
    /// How many of the timestamp authorities.
    pub timestamp_selection: Option<Selection>,
}

/// A service and when it is to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its address.
    pub url: String,
    /// The version of its API.
    pub major_api_version: u32,
    /// The first moment; always where there is none.
    pub start: Option<Timestamp>,
    /// The last moment; for ever where there is none.
    pub end: Option<Timestamp>,
    /// Who runs it: of one operator's services only the newest is used.
    pub operator: String,
}

/// How many of the services that are fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// One, by chance.
    Any,
    /// All.
    All,
    /// So many, by chance.
    Exact(u32),
}

/// Whose signature it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignWith {
    /// The holder of a key: no certificate authority, no identity provider.
    Key,
    /// Whoever an identity token names.
    Identity,
}

/// The services for one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// The certificate authority's address.
    pub fulcio: Option<String>,
    /// The identity provider's address.
    pub oidc: Option<String>,
    /// The logs.
    pub logs: Vec<LogService>,
    /// The timestamp authorities' addresses.
    pub timestamps: Vec<String>,
}

/// A log and how to speak with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogService {
    /// Its address.
    pub url: String,
    /// Its generation.
    pub version: RekorVersion,
}

/// The generations of Rekor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RekorVersion {
    /// Trillian, signed entry timestamps.
    V1,
    /// Tiles, no times.
    V2,
}

/// The services of one run as ports of the engine.
#[derive(Clone, Default)]
pub struct Ports {
    /// The certificate authority.
    pub issuer: Option<Arc<dyn CertificateIssuer>>,
    /// The logs.
    pub logs: Vec<Arc<dyn SignatureLog>>,
    /// The timestamp authorities.
    pub timestamps: Vec<Arc<dyn TimestampAuthority>>,
}

/// Why a text is not a signing configuration that we read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSigningConfig {
    /// More bytes than [`MAX_SIGNING_CONFIG`].
    #[error("signing config larger than {MAX_SIGNING_CONFIG} bytes")]
    TooLarge,
    /// Another kind of document, or another version.
    #[error("unsupported SigningConfig media type: {0:?}; want {MEDIA_TYPE}")]
    MediaType(String),
    /// More services of one kind than [`MAX_SERVICES`].
    #[error("signing config: more than {MAX_SERVICES} {0}")]
    TooMany(&'static str),
    /// A text, a time or a number that is none.
    #[error("signing config: {0}")]
    Malformed(String),
}

/// Why a configuration has no services for us now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoService {
    /// None is valid now and speaks a version that we speak.
    #[error(
        "no {what} of the signing config is valid at {now} with an API version of {versions:?}"
    )]
    NoneFits {
        /// The kind of service.
        what: &'static str,
        /// The versions that we speak.
        versions: &'static [u32],
        /// The time that was asked for.
        now: Timestamp,
    },
    /// A configuration without a rule how many to use.
    #[error("the signing config names {0}, but not how many of them to use (ANY, ALL or EXACT)")]
    NoSelection(&'static str),
    /// `EXACT` with more services than there are, or with none.
    #[error("the signing config wants exactly {wanted} {what}; {found} can be used now")]
    Exact {
        /// The kind of service.
        what: &'static str,
        /// How many it wants.
        wanted: u32,
        /// How many there are, one for each operator.
        found: usize,
    },
}

/// The media type of version 0.2.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";

const FULCIO: &str = "certificate authority";
const OIDC: &str = "OIDC provider";
const LOGS: &str = "transparency logs";
const TIMESTAMPS: &str = "timestamp authorities";

impl Service {
    /// A service that is used at all times.
    pub fn new(url: impl Into<String>, version: u32, operator: impl Into<String>) -> Self {
        let (url, operator) = (url.into(), operator.into());
        Self { url, major_api_version: version, start: None, end: None, operator }
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= now) && self.end.is_none_or(|end| now <= end)
    }
}

impl SigningConfig {
    /// Reads a configuration of version 0.2.
    ///
    /// # Errors
    /// The text is none, or too much.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidSigningConfig> {
        document::parse(json)
    }

    /// The configuration as JSON.
    pub fn to_json(&self) -> String {
        document::to_json(self)
    }

    /// The services for a signature made now: of each kind those that are valid and of the
    /// highest version that we speak, the newest of each operator, as many as the configuration
    /// says. Kinds that it does not name are left out.
    ///
    /// # Errors
    /// It names services of a kind that is needed, but none (or not enough) that can be used.
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
                let fit = fit(services, what, &[1], now)?;
                Ok(fit.first().map(|service| service.url.clone()))
            }
            _ => Ok(None),
        };
        let logs = some(&self.logs, LOGS, &[2, 1], self.log_selection, now, random)?;
        let selection = self.timestamp_selection;
        let timestamps =
            some(&self.timestamp_authorities, TIMESTAMPS, &[1], selection, now, random)?;
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
    /// Ports that ask these services through `client`, timestamp authorities through
    /// `timestamp_client` (which may have a client certificate of its own).
    ///
    /// # Errors
    /// An address is none.
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

/// The valid services of the highest of our `versions` (highest first) that there are, newest
/// first, one for each operator.
fn fit<'s>(
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

fn some<'s>(
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
    let fit = fit(services, what, versions, now)?;
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
