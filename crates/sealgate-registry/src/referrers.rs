//! Referrers of a manifest: the referrers API, and the fallback tag when there is no API or its
//! list is empty (some registries answer every request with an empty list).
//!
//! "No referrers" is returned only after a valid response. The list is never filtered: some writers
//! have put wrong `artifactType`s into fallback tags, and the entries are only hints.

use std::collections::BTreeMap;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, Index, media_type};
use sealgate_core::reference::{Identifier, Repository};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use crate::capability::Capability;
use crate::client::Client;
use crate::links;
use crate::read::Tagged;
use crate::reply::{Reply, printable};
use crate::session::{ApiRequest, Endpoint};
use crate::transport::Target;

/// Fallback tag of the referrers API: `sha256-<hex>`; longer hashes are truncated to 64 digits
/// (distribution-spec, "Referrers Tag Schema").
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    let hex = subject.hex();
    format!("{}-{}", subject.algorithm().name(), hex.get(..64).unwrap_or(hex))
}

/// Result of a referrers API request.
pub(crate) enum ReferrersResponse {
    /// The whole list, and the media type of its first page.
    List(Vec<Descriptor>, ListType),
    /// The registry does not support the API.
    NoApi,
    /// The API exists, but not for this repository.
    NotHere,
}

/// Media type of a referrers list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListType {
    /// The specification's.
    Index,
    /// Another one (`application/json`): readers that require the specification's media type treat
    /// it as a missing API and read the fallback tag.
    Other,
}

impl Client {
    /// The list, or `None` when the API's list is empty and the fallback tag has not been read.
    pub(crate) async fn list_first(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        let (host, path) = (self.host(repository).await, repository.path());
        let capabilities = &self.shared.capabilities;
        let known = capabilities.of(&host.name, path).await;
        if known == Some(Capability::FallbackTag) {
            return self.fallback_list(repository, subject).await.map(Some);
        }
        let answer = self.api_list(repository, subject).await?;
        if let ReferrersResponse::List(list, _) = answer {
            if known.is_none() {
                capabilities.remember(&host.name, path, Capability::Api).await;
            }
            return Ok((!list.is_empty()).then_some(list));
        }
        let list = self.fallback_list(repository, subject).await?;
        // Recorded only after a valid response: a captive portal's page must not hide the API for
        // minutes, and one odd response does not undo an observed capability. An unsupported digest
        // algorithm or invalid repository name says nothing about other repositories; only an
        // existing fallback tag does.
        let plain = subject.algorithm() == Algorithm::Sha256;
        if matches!(answer, ReferrersResponse::NoApi) && known.is_none() && plain {
            match list.is_empty() {
                true => capabilities.remember_here(&host.name, path, Capability::FallbackTag).await,
                false => capabilities.remember(&host.name, path, Capability::FallbackTag).await,
            }
        }
        Ok(Some(list))
    }

    /// All pages of the API's list.
    pub(crate) async fn api_list(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<ReferrersResponse, Fault> {
        let limits = &self.shared.options.limits;
        let deadline = Instant::now() + self.shared.options.timeouts.request;
        let mut endpoint = Endpoint::Path(format!("referrers/{subject}"));
        let (mut list, mut left) = (Vec::new(), limits.manifest_bytes);
        let mut labelled = ListType::Index;
        for page in 0..limits.pages {
            let mut req = ApiRequest::new(self, Method::GET, repository);
            req.headers.insert(ACCEPT, HeaderValue::from_static(media_type::OCI_INDEX));
            (req.endpoint, req.deadline, req.limit) = (endpoint, deadline, left);
            let reply = self.send(req).await?;
            if page == 0 {
                match first_page(&reply)? {
                    FirstPage::List(label) => labelled = label,
                    FirstPage::None(answer) => return Ok(answer),
                }
            }
            if reply.status != StatusCode::OK {
                return Err(reply.refusal());
            }
            // All pages together have the limit of one page.
            left = left.saturating_sub(reply.body.len() as u64);
            let (target, body) = (reply.target.clone(), reply.body.clone());
            let page = move || parse(&target, &body);
            list.extend(self.lease.parse(reply.body.len(), page).await??.manifests);
            if list.len() > limits.referrers {
                break;
            }
            match links::next(&reply)? {
                Some(url) => endpoint = Endpoint::Url(url),
                None => return Ok(ReferrersResponse::List(list, labelled)),
            }
        }
        let (items, pages) = (limits.referrers, limits.pages);
        let detail =
            format!("{subject} has more than {items} referrers or {pages} pages of referrers");
        Err(Fault::new(FaultKind::TooMany, repository.registry(), detail))
    }

    pub(crate) async fn fallback_list(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Fault> {
        let found = self.fallback_index(repository, subject).await?;
        Ok(found.map(|(index, _)| index.manifests).unwrap_or_default())
    }

    /// Index under the fallback tag.
    pub(crate) async fn fallback_index(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<(Index, Tagged)>, Fault> {
        let tag = Identifier::Tag(fallback_tag(subject));
        let Some(tagged) = self.read_manifest(repository, &tag).await? else { return Ok(None) };
        if tagged.manifest.descriptor.digest == *subject {
            // `cosign copy` may put the image itself under this tag: the list is empty then.
            return Ok(Some((empty_index(), tagged)));
        }
        let found = &tagged.manifest.descriptor.media_type;
        if found != media_type::OCI_INDEX {
            let found = printable(found);
            let detail = format!("the tag {tag} holds {found}, not a list of referrers");
            return Err(tagged.target.fault(FaultKind::Malformed, detail));
        }
        let (target, bytes) = (tagged.target.clone(), tagged.manifest.bytes.clone());
        let index = self.lease.parse(bytes.len(), move || parse(&target, &bytes)).await??;
        let limit = self.shared.options.limits.referrers;
        if index.manifests.len() > limit {
            let detail = format!("{subject} has more than {limit} referrers");
            return Err(Fault::new(FaultKind::TooMany, repository.registry(), detail));
        }
        Ok(Some((index, tagged)))
    }
}

/// Empty referrers list.
pub(crate) fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

/// Classification of the first page.
enum FirstPage {
    List(ListType),
    None(ReferrersResponse),
}

/// Classifies the first page. 404, 400, 405, 406, 501, or a 2xx page that is not an index means
/// that there is no API; any other non-index response is a fault. A 200 whose body is an OCI index
/// is a list, whatever its `Content-Type`.
fn first_page(reply: &Reply) -> Result<FirstPage, Fault> {
    // Exact match, as in go-containerregistry and therefore cosign.
    let exact = reply.header(&CONTENT_TYPE) == Some(media_type::OCI_INDEX);
    let called = reply.media_type().is_some_and(|t| t == media_type::OCI_INDEX);
    match reply.status.as_u16() {
        200 if exact => Ok(FirstPage::List(ListType::Index)),
        200 if called || is_index(&reply.body) => Ok(FirstPage::List(ListType::Other)),
        _ if reply.refuses() => Err(reply.refusal()),
        404 => {
            let codes = reply.codes();
            let says = |code: &str| codes.iter().any(|c| c == code);
            let not_here = says("NAME_UNKNOWN") || says("MANIFEST_UNKNOWN");
            Ok(FirstPage::None(if not_here {
                ReferrersResponse::NotHere
            } else {
                ReferrersResponse::NoApi
            }))
        }
        200 | 400 | 405 | 406 | 501 => Ok(FirstPage::None(ReferrersResponse::NoApi)),
        _ => Err(reply.refusal()),
    }
}

/// Returns whether a document declares itself an OCI index.
fn is_index(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outline {
        schema_version: u64,
        #[serde(default)]
        media_type: Option<String>,
        #[serde(rename = "manifests")]
        _there: IgnoredAny,
    }
    serde_json::from_slice::<Outline>(bytes).is_ok_and(|outline| {
        let own = outline.media_type.as_deref().unwrap_or_default();
        outline.schema_version == 2 && matches!(own, "" | media_type::OCI_INDEX)
    })
}

/// Parses an index. A document without a `manifests` field is an error; an empty list, or Go's
/// `null`, is valid.
fn parse(target: &Target, bytes: &[u8]) -> Result<Index, Fault> {
    #[derive(Deserialize)]
    struct IndexDocument {
        #[serde(rename = "manifests")]
        _there: IgnoredAny,
    }
    let index =
        serde_json::from_slice::<IndexDocument>(bytes).and_then(|_| serde_json::from_slice(bytes));
    index.map_err(|e| {
        let place = format!("line {}, column {}", e.line(), e.column());
        let detail = format!("its list of referrers is not an OCI index ({place})");
        target.fault(FaultKind::Malformed, detail)
    })
}
