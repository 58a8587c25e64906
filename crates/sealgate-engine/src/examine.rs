//! One image and the rules that apply to it: gather once for all of them, judge each.
//!
//! Stops asking as soon as every rule holds. Only rules that ask for signatures come here. A place
//! that could not be asked, in time or at all, is a fault for each authority that looks there and
//! has not found its signature.

use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{FuturesUnordered, StreamExt};
use sealgate_core::digest::Digest;
use sealgate_core::evidence::{Evidence, Origin};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::Repository;
use sealgate_core::reject::Reject;
use sealgate_core::verify::{Claims, Format, Question, verify_image_with};
use sealgate_policy::judge::{
    Finding, RejectedCandidate, SignerIdentity, Verdict, VerifiedBy, judge,
};
use sealgate_policy::rule::{Rule, SignedBy};
use tokio::time::Instant;

use crate::gather::Gathering;
use crate::limits::Limits;
use crate::ports::Registry;

/// What to do about a signature in another format than the policy names.
const SIGN_IN_FORMAT: &str = "sign in the format that the policy names with `signatureFormat`";

/// So many rejected candidates are named; the rest are counted.
const MOST_NAMED: usize = 20;

/// What must be known of one image.
pub(crate) struct Examination<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) digest: &'a Digest,
    pub(crate) rules: &'a [&'a Rule],
    pub(crate) limits: &'a Limits,
    pub(crate) deadline: Instant,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

/// Opens the registry that is read for an authority with these pull secrets, in addition to the
/// workload's own; with a fault if the secrets could not be read.
pub(crate) type Opened = (Arc<dyn Registry>, Option<Fault>);

/// Where an authority's signatures lie, and what opens that place.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    repository: Repository,
    tag_prefix: String,
    pull_secrets: Vec<String>,
}

/// An authority and what was found for it so far.
struct Search<'a> {
    signed: &'a SignedBy,
    place: usize,
    verified: Vec<VerifiedBy>,
    rejected: Vec<(Origin, Reject)>,
    other_format: Vec<(Origin, Format)>,
    faults: Vec<Fault>,
}

impl Examination<'_> {
    /// The verdict of each rule, in their order. `open` is asked once for each place.
    pub(crate) async fn verdicts<Open>(
        &self,
        open: impl Fn(Vec<String>) -> Open + Sync,
    ) -> Arc<[Verdict]>
    where
        Open: Future<Output = Opened> + Send,
    {
        let (places, searches) = self.plan();
        let state = Mutex::new(searches);
        let mut asked = places
            .iter()
            .enumerate()
            .map(|(number, place)| self.search(number, place, &open, &state))
            .collect::<FuturesUnordered<_>>();
        while let Some(enough) = asked.next().await {
            if enough {
                break;
            }
        }
        drop(asked);
        let searches = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.rules
            .iter()
            .map(|rule| judge(rule, &mut |signed| finding(&searches, signed)))
            .collect()
    }

    fn plan(&self) -> (Vec<Place>, Vec<Search<'_>>) {
        let mut places: Vec<Place> = Vec::new();
        let mut searches = Vec::new();
        for signed in self.rules.iter().flat_map(|rule| rule.need.signed()) {
            let source = signed.source.clone().unwrap_or_default();
            let place = Place {
                repository: source.repository.unwrap_or_else(|| self.repository.clone()),
                tag_prefix: source.tag_prefix.unwrap_or_default(),
                pull_secrets: source.pull_secrets,
            };
            let number = places.iter().position(|known| *known == place).unwrap_or(places.len());
            if number == places.len() {
                places.push(place);
            }
            searches.push(Search::new(signed, number));
        }
        (places, searches)
    }

    /// Looks in one place; true when every rule holds.
    async fn search<Open: Future<Output = Opened> + Send>(
        &self,
        number: usize,
        place: &Place,
        open: impl Fn(Vec<String>) -> Open + Sync,
        state: &Mutex<Vec<Search<'_>>>,
    ) -> bool {
        let question = Question {
            subject: self.digest.clone(),
            annotations: Default::default(),
            claims: Claims::Checked,
        };
        let (mut enough, mut faults, mut without_secrets) = (false, Vec::new(), None);
        let work = async {
            let (registry, secrets_fault) = open(place.pull_secrets.clone()).await;
            let Place { repository, tag_prefix, .. } = place;
            let gathering =
                Gathering::new(&*registry, repository, self.digest, tag_prefix, self.limits);
            let look = |piece: Evidence| {
                let mut searches = state.lock().unwrap_or_else(PoisonError::into_inner);
                let here = searches.iter_mut().filter(|search| search.place == number);
                here.for_each(|search| search.look_at(&piece, &question, self.now));
                enough = self.all_hold(&searches);
                enough
            };
            without_secrets = secrets_fault;
            gathering.bundles_first(&mut faults, look).await;
        };
        // What went wrong before the time was over says more than that it was over.
        let in_time = tokio::time::timeout_at(self.deadline, work).await.is_ok();
        faults.extend(without_secrets);
        if !in_time {
            faults.push(too_slow(place.repository.registry()));
        }
        let mut searches = state.lock().unwrap_or_else(PoisonError::into_inner);
        for search in searches.iter_mut().filter(|search| search.place == number) {
            search.faults.extend(faults.iter().cloned());
        }
        enough
    }

    fn all_hold(&self, searches: &[Search<'_>]) -> bool {
        let holds = |rule: &Rule| judge(rule, &mut |signed| verified_only(searches, signed));
        self.rules.iter().all(|rule| matches!(holds(rule), Verdict::Pass { .. }))
    }
}

impl<'a> Search<'a> {
    fn new(signed: &'a SignedBy, place: usize) -> Self {
        let (verified, rejected) = (Vec::new(), Vec::new());
        let (other_format, faults) = (Vec::new(), Vec::new());
        Self { signed, place, verified, rejected, other_format, faults }
    }

    fn look_at(&mut self, piece: &Evidence, question: &Question, now: i64) {
        let origin = piece.origin().clone();
        let SignedBy { by, trust_config, .. } = self.signed;
        match verify_image_with(piece, by, question, &trust_config.trust(by, now)) {
            Ok(verified) if self.signed.formats.allows(verified.format()) => {
                self.verified.push(VerifiedBy {
                    key: verified.key().clone(),
                    identity: verified.certificate().map(|c| SignerIdentity::of(c.identity())),
                    format: verified.format(),
                    origin: place_of(&origin),
                });
            }
            Ok(verified) => self.other_format.push((origin, verified.format())),
            Err(reason) => self.rejected.push((origin, reason)),
        }
    }

    fn finding(&self) -> Finding {
        match self.faults.first() {
            _ if !self.verified.is_empty() => Finding::Verified(self.verified.clone()),
            Some(fault) => Finding::Fault(fault.clone()),
            None => Finding::Rejected { summary: self.summary(), candidates: self.candidates() },
        }
    }

    /// cosign's line: what there is, in few words.
    fn summary(&self) -> String {
        let reasons = self.rejected.iter().map(|(_, reason)| reason);
        let mut counted = reasons
            .filter(|reason| !matches!(reason, Reject::NotASignature { .. }))
            .map(ToString::to_string)
            .chain(self.other_format.iter().map(|(_, format)| not_wanted(*format)))
            .collect::<Vec<_>>();
        counted.sort();
        counted.dedup();
        counted.truncate(3);
        match counted.is_empty() {
            true => "no signatures found".to_owned(),
            false => format!("no matching signatures: {}", counted.join("; ")),
        }
    }

    fn candidates(&self) -> Vec<RejectedCandidate> {
        let rejected = self.rejected.iter().map(|(origin, reason)| RejectedCandidate {
            origin: place_of(origin),
            code: reason.code().to_owned(),
            text: reason.to_string(),
            remedy: reason.remedy().to_owned(),
        });
        let other = self.other_format.iter().map(|(origin, format)| RejectedCandidate {
            origin: place_of(origin),
            code: "other-format".to_owned(),
            text: not_wanted(*format),
            remedy: SIGN_IN_FORMAT.to_owned(),
        });
        // They came in any order; the same image is told in the same words each time.
        let mut candidates: Vec<RejectedCandidate> = rejected.chain(other).collect();
        candidates.sort_by(|one, other| one.origin.cmp(&other.origin));
        candidates.truncate(MOST_NAMED);
        candidates
    }
}

fn find<'s>(searches: &'s [Search<'_>], signed: &SignedBy) -> Option<&'s Search<'s>> {
    searches.iter().find(|search| std::ptr::eq(search.signed, signed))
}

fn finding(searches: &[Search<'_>], signed: &SignedBy) -> Finding {
    let missing = || {
        let detail = "the authority was not looked for";
        Finding::Fault(Fault::new(FaultKind::Missing, &signed.authority, detail))
    };
    find(searches, signed).map_or_else(missing, Search::finding)
}

/// What is verified now, as if nothing more came.
fn verified_only(searches: &[Search<'_>], signed: &SignedBy) -> Finding {
    match find(searches, signed) {
        Some(search) if !search.verified.is_empty() => Finding::Verified(search.verified.clone()),
        _ => Finding::Rejected { summary: String::new(), candidates: Vec::new() },
    }
}

fn not_wanted(format: Format) -> String {
    let found = match format {
        Format::Legacy => "a legacy signature",
        Format::Bundle => "a bundle",
    };
    format!("{found} is good, but the policy asks for the other format")
}

fn place_of(origin: &Origin) -> String {
    match (&origin.manifest, &origin.layer) {
        (Some(digest), _) | (None, Some(digest)) => format!("{}@{digest}", origin.repository),
        (None, None) => origin.repository.clone(),
    }
}

/// Names the registry that was slow.
pub(crate) fn too_slow(registry: &str) -> Fault {
    Fault::new(FaultKind::Timeout, registry, "no answer before the webhook's deadline")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_remedy_weakens() {
        assert_eq!(sealgate_testkit::remedy::weakens(SIGN_IN_FORMAT), None);
    }
}
