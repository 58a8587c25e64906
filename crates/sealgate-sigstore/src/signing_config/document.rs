//! JSON form of a signing configuration: parsing and serialization.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    InvalidSigningConfig, MAX_SERVICES, MAX_SIGNING_CONFIG, MEDIA_TYPE, Selection, Service,
    SigningConfig,
};

/// Maximum length of a URL or an operator's name, in bytes.
const MAX_TEXT: usize = 2048;
/// 0001-01-01T00:00:00Z.
const GO_ZERO: i64 = -62_135_596_800;

type Parsed<T> = Result<T, InvalidSigningConfig>;

/// Both protobuf JSON spellings are accepted; the first is written. `null` counts as missing.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(alias = "media_type", default)]
    media_type: String,
    #[serde(alias = "ca_urls", default, skip_serializing_if = "Option::is_none")]
    ca_urls: Option<Vec<ServiceDocument>>,
    #[serde(alias = "oidc_urls", default, skip_serializing_if = "Option::is_none")]
    oidc_urls: Option<Vec<ServiceDocument>>,
    #[serde(alias = "rekor_tlog_urls", default, skip_serializing_if = "Option::is_none")]
    rekor_tlog_urls: Option<Vec<ServiceDocument>>,
    #[serde(alias = "rekor_tlog_config", default)]
    rekor_tlog_config: Option<SelectionDocument>,
    #[serde(alias = "tsa_urls", default, skip_serializing_if = "Option::is_none")]
    tsa_urls: Option<Vec<ServiceDocument>>,
    #[serde(alias = "tsa_config", default)]
    tsa_config: Option<SelectionDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceDocument {
    #[serde(default)]
    url: String,
    #[serde(alias = "major_api_version", default)]
    major_api_version: u32,
    #[serde(alias = "valid_for", default)]
    valid_for: Option<Window>,
    #[serde(default)]
    operator: String,
}

#[derive(Serialize, Deserialize, Default)]
struct Window {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<Timestamp>,
}

/// `{}` is protobuf's form of an unset rule.
#[derive(Serialize, Deserialize, Default)]
struct SelectionDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    selector: Option<Selector>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum Selector {
    #[serde(alias = "SERVICE_SELECTOR_UNDEFINED")]
    Undefined,
    All,
    Any,
    Exact,
}

pub(super) fn parse(json: &[u8]) -> Parsed<SigningConfig> {
    if json.len() > MAX_SIGNING_CONFIG {
        return Err(InvalidSigningConfig::TooLarge);
    }
    let document: Document = serde_json::from_slice(json)
        .map_err(|error| InvalidSigningConfig::Malformed(error.to_string()))?;
    if document.media_type != MEDIA_TYPE {
        let found = document.media_type.chars().take(200).collect();
        return Err(InvalidSigningConfig::MediaType(found));
    }
    Ok(SigningConfig {
        certificate_authorities: services(document.ca_urls, "caUrls")?,
        oidc_providers: services(document.oidc_urls, "oidcUrls")?,
        logs: services(document.rekor_tlog_urls, "rekorTlogUrls")?,
        log_selection: selection(document.rekor_tlog_config, "rekorTlogConfig")?,
        timestamp_authorities: services(document.tsa_urls, "tsaUrls")?,
        timestamp_selection: selection(document.tsa_config, "tsaConfig")?,
    })
}

fn services(list: Option<Vec<ServiceDocument>>, what: &'static str) -> Parsed<Vec<Service>> {
    let list = list.unwrap_or_default();
    if list.len() > MAX_SERVICES {
        return Err(InvalidSigningConfig::TooMany(what));
    }
    list.into_iter().map(|service| read(service, what)).collect()
}

fn read(document: ServiceDocument, what: &str) -> Parsed<Service> {
    let bad = |why: &str| Err(InvalidSigningConfig::Malformed(format!("{what}: {why}")));
    if document.url.is_empty() {
        return bad("service without url");
    }
    if document.url.len().max(document.operator.len()) > MAX_TEXT {
        return bad("text of more than 2048 bytes");
    }
    let window = document.valid_for.unwrap_or_default();
    // sigstore-go writes Go's zero time for a missing one.
    let given = |time: &Timestamp| time.as_second() != GO_ZERO;
    Ok(Service {
        url: document.url,
        major_api_version: document.major_api_version,
        start: window.start.filter(given),
        end: window.end.filter(given),
        operator: document.operator,
    })
}

fn selection(document: Option<SelectionDocument>, what: &str) -> Parsed<Option<Selection>> {
    let document = document.unwrap_or_default();
    let count = document.count.unwrap_or(0);
    match document.selector {
        None | Some(Selector::Undefined) => Ok(None),
        Some(Selector::All) => Ok(Some(Selection::All)),
        Some(Selector::Any) => Ok(Some(Selection::Any)),
        Some(Selector::Exact) if count == 0 => {
            Err(InvalidSigningConfig::Malformed(format!("{what}: EXACT without a count")))
        }
        Some(Selector::Exact) => Ok(Some(Selection::Exact(count))),
    }
}

pub(super) fn to_json(config: &SigningConfig) -> String {
    let document = Document {
        media_type: MEDIA_TYPE.to_owned(),
        ca_urls: written(&config.certificate_authorities),
        oidc_urls: written(&config.oidc_providers),
        rekor_tlog_urls: written(&config.logs),
        rekor_tlog_config: Some(selection_written(config.log_selection)),
        tsa_urls: written(&config.timestamp_authorities),
        tsa_config: Some(selection_written(config.timestamp_selection)),
    };
    // Strings, numbers and times always serialize.
    serde_json::to_string(&document).unwrap_or_default()
}

fn written(services: &[Service]) -> Option<Vec<ServiceDocument>> {
    let write = |service: &Service| ServiceDocument {
        url: service.url.clone(),
        major_api_version: service.major_api_version,
        valid_for: Some(Window { start: service.start, end: service.end }),
        operator: service.operator.clone(),
    };
    (!services.is_empty()).then(|| services.iter().map(write).collect())
}

fn selection_written(selection: Option<Selection>) -> SelectionDocument {
    let (selector, count) = match selection {
        None => (None, None),
        Some(Selection::All) => (Some(Selector::All), None),
        Some(Selection::Any) => (Some(Selector::Any), None),
        Some(Selection::Exact(count)) => (Some(Selector::Exact), Some(count)),
    };
    SelectionDocument { selector, count }
}
