//! A recorded decision, made again without a network: from its record alone, or under other
//! policies.

use std::collections::BTreeMap;

use sealgate_core::digest::Digest;
use sealgate_core::reference::Reference;
use sealgate_policy::decide::{Decision, ImageRecord, JudgedImage, decide};
use sealgate_policy::facts::Facts;
use sealgate_policy::image_state::{
    ImageChange, ImageState, PinnedImage, Resolution, ResolvedTags, judge_image, new_images,
    relabelled_images, restarted_images,
};
use sealgate_policy::select::PolicySet;

use crate::record::{DecisionRecord, EvaluatedImage};

/// The difference between a recorded decision and its replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The object is admitted now and was not before, or the other way round.
    Allowed {
        /// In the replay.
        now: bool,
    },
    /// The text of the denial.
    Message,
    /// The warnings.
    Warnings,
    /// The outcome of an image by a rule: only recorded, only replayed, or another one.
    Image {
        /// The outcome in the record.
        recorded: Option<Box<ImageRecord>>,
        /// The outcome in the replay.
        replayed: Option<Box<ImageRecord>>,
    },
    /// A rule that applied to an image and is not in force with the same content now.
    RuleGone {
        /// Its name.
        name: String,
        /// Its fingerprint.
        fingerprint: Digest,
    },
    /// A rule that applies to an image now and was not recorded.
    RuleNew {
        /// Its name.
        name: String,
        /// Its fingerprint.
        fingerprint: Digest,
    },
}

/// The reason why a record cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotReplay {
    /// The record was too large, and was reduced to the decision.
    Reduced,
    /// An image names criteria or facts that the record does not hold.
    Malformed,
}

/// A replayed decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The decision.
    pub decision: Decision,
    /// Its differences from the recorded one; empty if it is the same.
    pub differences: Vec<Difference>,
}

/// The images of a record, as both replays need them.
struct Recorded {
    images: Vec<EvaluatedImage>,
}

impl DecisionRecord {
    /// The decision from the recorded rules and facts.
    ///
    /// # Errors
    /// The record has not what a replay needs.
    pub fn replay(&self) -> Result<Replay, CannotReplay> {
        let recorded = Recorded::of(self)?;
        let judged: Vec<JudgedImage> = recorded.images.iter().map(EvaluatedImage::judge).collect();
        let decision = decide(&judged, self.no_match);
        let differences = self.differences(&decision);
        Ok(Replay { decision, differences })
    }

    /// The decision by `policies` from the recorded facts. A requirement that the record has no facts
    /// about is a fault: nothing is verified now.
    ///
    /// # Errors
    /// The record has not what a replay needs.
    pub fn replay_with(&self, policies: &PolicySet) -> Result<Replay, CannotReplay> {
        let recorded = Recorded::of(self)?;
        let workload = &self.admission.workload;
        let tags = |change| recorded.resolved_tags(change);
        let mut states = new_images(workload, policies, &tags(ImageChange::New));
        states.extend(relabelled_images(workload, policies, &tags(ImageChange::Relabelled)));
        states.extend(restarted_images(workload, policies, &tags(ImageChange::Restarted)));
        recorded.recall_causes(&mut states);
        let facts = recorded.facts_by_image();
        let judge = |state: &ImageState| {
            let facts = state.pinned().and_then(|image| {
                let of_change = facts.get(&(Some(state.change), image.clone()));
                of_change.or_else(|| facts.get(&(None, image.clone())))
            });
            judge_image(state, facts)
        };
        let judged: Vec<JudgedImage> = states.iter().map(judge).collect();
        let decision = decide(&judged, policies.no_match());
        let mut differences = recorded.rule_differences(&states);
        differences.extend(self.differences(&decision));
        Ok(Replay { decision, differences })
    }

    fn differences(&self, decision: &Decision) -> Vec<Difference> {
        let mut differences = Vec::new();
        if decision.allowed != self.allowed {
            differences.push(Difference::Allowed { now: decision.allowed });
        }
        if decision.message != self.message {
            differences.push(Difference::Message);
        }
        if decision.warnings != self.warnings {
            differences.push(Difference::Warnings);
        }
        differences.extend(image_differences(&self.images, &decision.images));
        differences
    }
}

/// The outcomes that are in one list and not in the other, those of the same image and rule together.
fn image_differences(recorded: &[ImageRecord], replayed: &[ImageRecord]) -> Vec<Difference> {
    type Key<'a> = (&'a str, &'a str, &'a str);
    let mut lists: BTreeMap<Key<'_>, [Vec<&ImageRecord>; 2]> = BTreeMap::new();
    for (side, records) in [recorded, replayed].into_iter().enumerate() {
        for record in records {
            let key = (record.path.as_str(), record.image.as_str(), record.rule.as_str());
            if let Some(list) = lists.entry(key).or_default().get_mut(side) {
                list.push(record);
            }
        }
    }
    let mut differences = Vec::new();
    for [recorded, replayed] in lists.into_values().filter(|[one, other]| one != other) {
        for at in 0..recorded.len().max(replayed.len()) {
            let one = |list: &[&ImageRecord]| list.get(at).map(|it| Box::new((*it).clone()));
            let (recorded, replayed) = (one(&recorded), one(&replayed));
            if recorded != replayed {
                differences.push(Difference::Image { recorded, replayed });
            }
        }
    }
    differences
}

impl Recorded {
    fn of(record: &DecisionRecord) -> Result<Self, CannotReplay> {
        if record.reduced {
            return Err(CannotReplay::Reduced);
        }
        let images = record.evaluated.evaluated().ok_or(CannotReplay::Malformed)?;
        Ok(Self { images })
    }

    /// The digests and faults that the tags of images with this change were resolved to.
    fn resolved_tags(&self, change: ImageChange) -> ResolvedTags {
        let mut resolved = ResolvedTags::default();
        let states = self.images.iter().map(|image| &image.state);
        for state in states.filter(|state| state.change == change) {
            let Ok(reference) = state.image.parse::<Reference>() else { continue };
            if reference.digest().is_some() {
                continue;
            }
            match &state.resolution {
                Resolution::Pinned(image) => {
                    resolved.insert(&state.image, Ok(reference.pinned(image.digest.clone())));
                }
                Resolution::Tag { cause: Some(fault) } => {
                    resolved.insert(&state.image, Err(fault.clone()));
                }
                _ => {}
            }
        }
        resolved
    }

    /// Sets the recorded faults that kept tags from being resolved.
    fn recall_causes(&self, states: &mut [ImageState]) {
        let key = |state: &ImageState| (state.change, state.path.clone(), state.image.clone());
        let recorded: BTreeMap<_, _> = self
            .images
            .iter()
            .filter_map(|image| match &image.state.resolution {
                Resolution::Tag { cause } => Some((key(&image.state), cause.clone())),
                _ => None,
            })
            .collect();
        for state in states {
            let known = recorded.get(&key(state));
            if let (Resolution::Tag { cause }, Some(known)) = (&mut state.resolution, known) {
                cause.clone_from(known);
            }
        }
    }

    /// The facts by change and image, since restarted images have less time to be read; and all of
    /// an image together, where the change is another under other policies.
    fn facts_by_image(&self) -> BTreeMap<(Option<ImageChange>, PinnedImage), Facts> {
        let mut facts: BTreeMap<_, Facts> = BTreeMap::new();
        for EvaluatedImage { state, facts: found } in &self.images {
            if let (Some(image), Some(found)) = (state.pinned(), found) {
                for change in [Some(state.change), None] {
                    facts.entry((change, image.clone())).or_default().extend(found);
                }
            }
        }
        facts
    }

    fn rule_differences(&self, states: &[ImageState]) -> Vec<Difference> {
        let rules = |states: &mut dyn Iterator<Item = &ImageState>| {
            let criteria = states.flat_map(|state| &state.criteria);
            criteria
                .map(|criterion| (criterion.fingerprint.clone(), criterion.name.clone()))
                .collect::<BTreeMap<Digest, String>>()
        };
        let recorded = rules(&mut self.images.iter().map(|image| &image.state));
        let replayed = rules(&mut states.iter());
        let gone = recorded.iter().filter(|(print, _)| !replayed.contains_key(*print));
        let new = replayed.iter().filter(|(print, _)| !recorded.contains_key(*print));
        let gone = gone.map(|(fingerprint, name)| Difference::RuleGone {
            name: name.clone(),
            fingerprint: fingerprint.clone(),
        });
        let new = new.map(|(fingerprint, name)| Difference::RuleNew {
            name: name.clone(),
            fingerprint: fingerprint.clone(),
        });
        gone.chain(new).collect()
    }
}

impl std::fmt::Display for CannotReplay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reduced => "the record was too large and holds the decision only",
            Self::Malformed => "the record is malformed: it lacks criteria or facts of an image",
        })
    }
}
