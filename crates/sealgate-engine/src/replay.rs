//! A recorded decision, made again without a network: from its record alone, or under other
//! policies.

use std::collections::BTreeMap;

use sealgate_core::digest::Digest;
use sealgate_core::fault::Fault;
use sealgate_core::reference::Reference;
use sealgate_policy::decide::{Decision, ImageRecord, JudgedImage, decide};
use sealgate_policy::facts::Facts;
use sealgate_policy::image_state::{
    ImageState, PinnedImage, Resolution, ResolvedTags, judge_image, new_images, restarted_images,
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

/// A replayed decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The decision.
    pub decision: Decision,
    /// Its differences from the recorded one; empty if it is the same.
    pub differences: Vec<Difference>,
}

impl DecisionRecord {
    /// The decision from the recorded rules and facts.
    pub fn replay(&self) -> Replay {
        let judged: Vec<JudgedImage> = self.evaluated.iter().map(EvaluatedImage::judge).collect();
        let decision = decide(&judged, self.no_match);
        let differences = self.differences(&decision);
        Replay { decision, differences }
    }

    /// The decision by `policies` from the recorded facts. A requirement that the record has no
    /// facts about is a fault: nothing is verified now.
    pub fn replay_with(&self, policies: &PolicySet) -> Replay {
        let workload = &self.admission.workload;
        let resolved = self.resolved_tags();
        let mut states = new_images(workload, policies, &resolved);
        states.extend(restarted_images(workload, policies, &resolved));
        states.iter_mut().for_each(|state| self.recall_cause(state));
        let facts = self.facts_by_image();
        let judge = |state: &ImageState| {
            judge_image(state, state.pinned().and_then(|image| facts.get(image)))
        };
        let judged: Vec<JudgedImage> = states.iter().map(judge).collect();
        let decision = decide(&judged, policies.no_match());
        let mut differences = self.rule_differences(&states);
        differences.extend(self.differences(&decision));
        Replay { decision, differences }
    }

    /// The digests and faults that the recorded tags were resolved to.
    fn resolved_tags(&self) -> ResolvedTags {
        let mut resolved = ResolvedTags::default();
        for EvaluatedImage { state, .. } in &self.evaluated {
            let Ok(reference) = state.image.parse::<Reference>() else { continue };
            if reference.digest().is_some() {
                continue;
            }
            match &state.resolution {
                Resolution::Pinned(image) => {
                    let pinned = reference.pinned(image.digest.clone());
                    resolved.insert(&state.image, Ok(&pinned));
                }
                Resolution::Tag { cause: Some(fault) } => {
                    resolved.insert(&state.image, Err(fault));
                }
                _ => {}
            }
        }
        resolved
    }

    /// The recorded fault that kept a tag from being resolved.
    fn recall_cause(&self, state: &mut ImageState) {
        let ImageState { image, path, .. } = &*state;
        let known = self.evaluated.iter().map(|evaluated| &evaluated.state);
        let known = known.filter(|known| known.image == *image && known.path == *path);
        let recorded: Option<Option<Fault>> = known
            .filter_map(|known| match &known.resolution {
                Resolution::Tag { cause } => Some(cause.clone()),
                _ => None,
            })
            .next();
        if let (Resolution::Tag { cause }, Some(recorded)) = (&mut state.resolution, recorded) {
            *cause = recorded;
        }
    }

    fn facts_by_image(&self) -> BTreeMap<PinnedImage, Facts> {
        let mut facts: BTreeMap<PinnedImage, Facts> = BTreeMap::new();
        for EvaluatedImage { state, facts: found } in &self.evaluated {
            if let (Some(image), Some(found)) = (state.pinned(), found) {
                facts.entry(image.clone()).or_default().extend(found);
            }
        }
        facts
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
        let only = |these: &[ImageRecord], others: &[ImageRecord]| {
            let missing = these.iter().filter(|it| !others.contains(it));
            missing.cloned().collect::<Vec<_>>()
        };
        let mut replayed = only(&decision.images, &self.images);
        for recorded in only(&self.images, &decision.images) {
            let same = |other: &ImageRecord| {
                (&other.path, &other.image, &other.rule)
                    == (&recorded.path, &recorded.image, &recorded.rule)
            };
            let counterpart = replayed.iter().position(same).map(|at| replayed.remove(at));
            differences.push(Difference::Image {
                recorded: Some(Box::new(recorded)),
                replayed: counterpart.map(Box::new),
            });
        }
        differences.extend(replayed.into_iter().map(|replayed| Difference::Image {
            recorded: None,
            replayed: Some(Box::new(replayed)),
        }));
        differences
    }

    fn rule_differences(&self, states: &[ImageState]) -> Vec<Difference> {
        let rules = |states: &mut dyn Iterator<Item = &ImageState>| {
            let criteria = states.flat_map(|state| &state.criteria);
            criteria
                .map(|criterion| (criterion.fingerprint.clone(), criterion.name.clone()))
                .collect::<BTreeMap<Digest, String>>()
        };
        let recorded = rules(&mut self.evaluated.iter().map(|evaluated| &evaluated.state));
        let replayed = rules(&mut states.iter());
        let gone = recorded.iter().filter(|(print, _)| !replayed.contains_key(print));
        let new = replayed.iter().filter(|(print, _)| !recorded.contains_key(print));
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
