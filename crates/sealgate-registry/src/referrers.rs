//! Who refers to a manifest: the referrers API, or the fallback tag where there is none.
//!
//! "None" is said only by a registry that answered the question. The list is never filtered:
//! writers have put wrong `artifactType`s into fallback tags, and the entries are hints anyway.

use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Method, StatusCode};
use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::manifest::{Descriptor, Index, media_type};
use sealgate_core::reference::{Identifier, Repository};
use tokio::time::Instant;

use crate::client::Client;
use crate::host::Capability;
use crate::links;
use crate::read::Tagged;
use crate::reply::Reply;
use crate::session::{Ask, Place};

/// The tag that stands in for the referrers API: `sha256-<hex>`; longer hashes are cut to 64
/// digits (distribution-spec, "Referrers Tag Schema").
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    let hex = subject.hex();
    format!("{}-{}", subject.algorithm().name(), hex.get(..64).unwrap_or(hex))
}

/// What the first page says about the API itself.
enum Support {
    Yes,
    /// The registry does not know the question.
    No,
    /// It knows the question, but not this repository: nothing to remember.
    NotHere,
}

impl Client {
    pub(crate) async fn list_referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Fault> {
        let host = self.host(repository).await;
        if host.capability(repository.path()) == Some(Capability::FallbackTag) {
            return self.fallback_list(repository, subject).await;
        }
        if let Some(list) = self.api_list(repository, subject).await? {
            return Ok(list);
        }
        self.fallback_list(repository, subject).await
    }

    /// The list by the API; `None` where there is no such API.
    async fn api_list(
        &self,
        repository: &Repository,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, Fault> {
        let limits = &self.shared.options.limits;
        let deadline = Instant::now() + self.shared.options.timeouts.request;
        let mut place = Place::Below(format!("referrers/{subject}"));
        let mut list = Vec::new();
        for page in 0..limits.pages {
            let mut ask = Ask::new(self, Method::GET, repository);
            ask.headers.insert(ACCEPT, HeaderValue::from_static(media_type::OCI_INDEX));
            (ask.place, ask.deadline) = (place, deadline);
            let reply = self.ask(ask).await?;
            if page == 0 && !self.has_api(repository, &reply).await? {
                return Ok(None);
            }
            if reply.status != StatusCode::OK {
                return Err(reply.refusal());
            }
            list.extend(parse(&reply.target, &reply.body)?.manifests);
            if list.len() > limits.referrers {
                break;
            }
            match links::next(&reply)? {
                Some(url) => place = Place::At(url),
                None => return Ok(Some(list)),
            }
        }
        let (items, pages) = (limits.referrers, limits.pages);
        let detail = format!("{subject} has more than {items} referrers or {pages} pages of them");
        Err(Fault::new(FaultKind::TooMany, repository.registry(), detail))
    }

    /// Judges the first page, and remembers what it shows.
    async fn has_api(&self, repository: &Repository, reply: &Reply) -> Result<bool, Fault> {
        let host = self.host(repository).await;
        let keep = self.shared.options.timeouts.capability;
        let remember = |what| host.remember_capability(repository.path(), what, keep);
        match support(reply)? {
            Support::Yes => remember(Capability::Api),
            // One odd answer does not unmake what the registry has shown before.
            Support::No if host.capability(repository.path()).is_none() => {
                remember(Capability::FallbackTag);
                return Ok(false);
            }
            Support::No | Support::NotHere => return Ok(false),
        }
        Ok(true)
    }

    async fn fallback_list(
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
        let found = &tagged.manifest.descriptor.media_type;
        if found != media_type::OCI_INDEX {
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

/// 404, 400, 405, 406, or a page that is no index: no such API. Anything else that is not an
/// index is a fault.
fn support(reply: &Reply) -> Result<Support, Fault> {
    let index = reply.media_type().is_some_and(|t| t == media_type::OCI_INDEX);
    match reply.status.as_u16() {
        200 if index => Ok(Support::Yes),
        404 => {
            let codes = reply.codes();
            let known = |code: &str| codes.iter().any(|c| c == code);
            if known("UNAUTHORIZED") || known("DENIED") || known("TOOMANYREQUESTS") {
                return Err(reply.refusal());
            }
            let here = !known("NAME_UNKNOWN") && !known("MANIFEST_UNKNOWN");
            Ok(if here { Support::No } else { Support::NotHere })
        }
        200 | 400 | 405 | 406 => Ok(Support::No),
        _ => Err(reply.refusal()),
    }
}

fn parse(target: &str, bytes: &[u8]) -> Result<Index, Fault> {
    serde_json::from_slice(bytes).map_err(|e| {
        let place = format!("line {}, column {}", e.line(), e.column());
        let detail = format!("its list of referrers is not an OCI index ({place})");
        Fault::new(FaultKind::Malformed, target, detail)
    })
}
