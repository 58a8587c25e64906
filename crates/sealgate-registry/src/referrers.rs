//! Who refers to a manifest: the referrers API, and the fallback tag where there is none or where
//! the API lists nobody (some registries answer every question with an empty list).
//!
//! "None" is said only by a registry that answered the question. The list is never filtered:
//! writers have put wrong `artifactType`s into fallback tags, and the entries are hints anyway.

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

use crate::client::Client;
use crate::host::Capability;
use crate::links;
use crate::read::Tagged;
use crate::reply::{Reply, printable};
use crate::session::{Ask, Place};

/// The tag that stands in for the referrers API: `sha256-<hex>`; longer hashes are cut to 64
/// digits (distribution-spec, "Referrers Tag Schema").
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    let hex = subject.hex();
    format!("{}-{}", subject.algorithm().name(), hex.get(..64).unwrap_or(hex))
}

/// What the API says.
pub(crate) enum Answer {
    /// The whole list, and what its first page was called.
    List(Vec<Descriptor>, Labelled),
    /// The registry does not know the question.
    NoApi,
    /// It knows the question, but not this repository.
    NotHere,
}

/// The media type that a list of referrers comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Labelled {
    /// The specification's.
    Index,
    /// Another one (`application/json`): readers that go by it take this for no API, and read the
    /// fallback tag.
    Otherwise,
}

impl Client {
    /// The list, or `None` where the API lists nobody and the fallback tag was not asked for.
    pub(crate) async fn list_first(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        let (host, path) = (self.host(repository).await, repository.path());
        let known = host.capability(path);
        if known == Some(Capability::FallbackTag) {
            return self.fallback_list(repository, subject).await.map(Some);
        }
        let keep = self.shared.options.timeouts.capability;
        let answer = self.api_list(repository, subject).await?;
        if let Answer::List(list, _) = answer {
            if known.is_none() {
                host.remember_capability(path, Capability::Api, keep);
            }
            return Ok((!list.is_empty()).then_some(list));
        }
        let list = self.fallback_list(repository, subject).await?;
        // Remembered only now that a registry has answered: a captive portal's page must not
        // hide the API for minutes. And one odd answer does not unmake what was shown before.
        // A digest that the registry does not know, or a name that it does not take, says nothing
        // about others: only what a writer has left under the fallback tag does.
        let plain = subject.algorithm() == Algorithm::Sha256;
        if matches!(answer, Answer::NoApi) && known.is_none() && plain {
            match list.is_empty() {
                true => host.remember_here(path, Capability::FallbackTag, keep),
                false => host.remember_capability(path, Capability::FallbackTag, keep),
            }
        }
        Ok(Some(list))
    }

    /// The list by the API, all pages of it.
    pub(crate) async fn api_list(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Answer, Fault> {
        let limits = &self.shared.options.limits;
        let deadline = Instant::now() + self.shared.options.timeouts.request;
        let mut place = Place::Below(format!("referrers/{subject}"));
        let (mut list, mut left) = (Vec::new(), limits.manifest_bytes);
        let mut labelled = Labelled::Index;
        for page in 0..limits.pages {
            let mut ask = Ask::new(self, Method::GET, repository);
            ask.headers.insert(ACCEPT, HeaderValue::from_static(media_type::OCI_INDEX));
            (ask.place, ask.deadline, ask.limit) = (place, deadline, left);
            let reply = self.ask(ask).await?;
            if page == 0 {
                match first_page(&reply)? {
                    First::List(label) => labelled = label,
                    First::None(answer) => return Ok(answer),
                }
            }
            if reply.status != StatusCode::OK {
                return Err(reply.refusal());
            }
            // All pages together are one list, and one list is bounded like one page.
            left = left.saturating_sub(reply.body.len() as u64);
            list.extend(parse(&reply.target, &reply.body)?.manifests);
            if list.len() > limits.referrers {
                break;
            }
            match links::next(&reply)? {
                Some(url) => place = Place::At(url),
                None => return Ok(Answer::List(list, labelled)),
            }
        }
        let (items, pages) = (limits.referrers, limits.pages);
        let detail = format!("{subject} has more than {items} referrers or {pages} pages of them");
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

    /// The index under the fallback tag.
    pub(crate) async fn fallback_index(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<(Index, Tagged)>, Fault> {
        let tag = Identifier::Tag(fallback_tag(subject));
        let Some(tagged) = self.read_manifest(repository, &tag).await? else { return Ok(None) };
        if tagged.manifest.descriptor.digest == *subject {
            // `cosign copy` puts the image itself under this tag: nobody is listed there yet.
            return Ok(Some((empty_index(), tagged)));
        }
        let found = &tagged.manifest.descriptor.media_type;
        if found != media_type::OCI_INDEX {
            let found = printable(found);
            let detail = format!("the tag {tag} holds {found}, not a list of referrers");
            return Err(Fault::new(FaultKind::Malformed, repository.registry(), detail));
        }
        let index = parse(repository.registry(), &tagged.manifest.bytes)?;
        let limit = self.shared.options.limits.referrers;
        if index.manifests.len() > limit {
            let detail = format!("{subject} has more than {limit} referrers");
            return Err(Fault::new(FaultKind::TooMany, repository.registry(), detail));
        }
        Ok(Some((index, tagged)))
    }
}

/// A list with nobody in it.
pub(crate) fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

/// What the first page is.
enum First {
    List(Labelled),
    None(Answer),
}

/// Judges the first page: 404, 400, 405, 406, 501, or a page that is no index: no such API. Anything
/// else that is not an index is a fault. A 200 whose body is an OCI index is a list, whatever the
/// answer calls it.
fn first_page(reply: &Reply) -> Result<First, Fault> {
    // To the letter: that is how go-containerregistry, and with it cosign, reads it.
    let exact = reply.header(&CONTENT_TYPE) == Some(media_type::OCI_INDEX);
    let called = reply.media_type().is_some_and(|t| t == media_type::OCI_INDEX);
    match reply.status.as_u16() {
        200 if exact => Ok(First::List(Labelled::Index)),
        200 if called || is_index(&reply.body) => Ok(First::List(Labelled::Otherwise)),
        _ if reply.refuses() => Err(reply.refusal()),
        404 => {
            let codes = reply.codes();
            let says = |code: &str| codes.iter().any(|c| c == code);
            let not_here = says("NAME_UNKNOWN") || says("MANIFEST_UNKNOWN");
            Ok(First::None(if not_here { Answer::NotHere } else { Answer::NoApi }))
        }
        200 | 400 | 405 | 406 | 501 => Ok(First::None(Answer::NoApi)),
        _ => Err(reply.refusal()),
    }
}

/// Whether a document says of itself that it is an OCI index.
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

/// A document without a list says nothing about who refers; an empty list, or Go's `null`, does.
fn parse(target: &str, bytes: &[u8]) -> Result<Index, Fault> {
    #[derive(Deserialize)]
    struct Listing {
        #[serde(rename = "manifests")]
        _there: IgnoredAny,
    }
    let index =
        serde_json::from_slice::<Listing>(bytes).and_then(|_| serde_json::from_slice(bytes));
    index.map_err(|e| {
        let place = format!("line {}, column {}", e.line(), e.column());
        let detail = format!("its list of referrers is not an OCI index ({place})");
        Fault::new(FaultKind::Malformed, target, detail)
    })
}
