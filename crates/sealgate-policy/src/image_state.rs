//! Workload and policies to the state of each image: its digest, and the rules that apply to it.
//! The step before verification, and a pure function: the tags were resolved before.
//!
//! The states and the facts about their images are all that a decision depends on. A decision
//! record holds both.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealgate_core::digest::Digest;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::reference::{Reference, Repository};
use serde::{Deserialize, Serialize};

use crate::decide::{Effect, JudgedImage, Outcome, RuleVerdict};
use crate::facts::Facts;
use crate::judge::judge;
use crate::rule::{Criterion, Mode, Rule};
use crate::scope::Scope;
use crate::select::{NoMatch, PolicySet};
use crate::workload::{Holder, ImageUse, UnchangedImages, Workload};

/// Texts in pod templates that stand for an image which another component writes before a pod is
/// created: `auto` for Istio's gateway injection. So does a blank, for OpenShift's image triggers.
const PLACEHOLDERS: [&str; 1] = ["auto"];

/// One image of a workload, before any signature is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageState {
    /// `spec.containers[0].image`.
    pub path: String,
    /// The image as written.
    pub image: String,
    /// The change that the request makes to the image.
    pub change: ImageChange,
    /// The consequence for the object when the image does not pass.
    pub effect: Effect,
    /// The criteria of the rules that apply.
    pub criteria: Vec<Arc<Criterion>>,
    /// The result of resolving the image's text.
    pub resolution: Resolution,
}

/// The change that a request makes to an image. Tags are resolved for each of them apart: the digest
/// of a tag that is already in use must not admit the same tag in a new container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ImageChange {
    /// The image is new in its field.
    New,
    /// The image stays, and the labels of its object change.
    Relabelled,
    /// The image stays, and new pods run it.
    Restarted,
}

/// The result of resolving the text of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resolution {
    /// The text is no image reference.
    Unreadable {
        /// `could not parse reference: …`.
        error: String,
    },
    /// A placeholder that no enforcing rule applies to.
    Placeholder,
    /// A tag without a digest.
    Tag {
        /// The fault that kept it from being resolved, where that was tried.
        cause: Option<Fault>,
    },
    /// A digest.
    Pinned(PinnedImage),
}

/// The content of an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinnedImage {
    /// The repository, where its signatures are looked for.
    pub repository: Repository,
    /// The digest of the manifest or index.
    pub digest: Digest,
}

/// The tags of images with one [`ImageChange`] that were resolved, by the text of the image: the
/// reference with its tag and the digest that the tag resolves to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedTags(BTreeMap<String, Result<Reference, Fault>>);

/// The scopes of an object before and after an update of its labels.
struct Relabelled<'a> {
    before: Scope,
    now: &'a Scope,
}

/// The images of `workload` whose tags must be resolved before [`new_images`] can tell which
/// rules apply to them: those of a template that is not patched. Other tags must have been replaced
/// by the mutating webhook.
pub fn tags_of_new_images<'a>(workload: &'a Workload, policies: &PolicySet) -> Vec<&'a ImageUse> {
    match workload.holder {
        Holder::ControlledTemplate => {
            let applies = |image: &&ImageUse| {
                let reference = image.image.parse::<Reference>();
                reference.is_ok_and(|it| !rules_for(&it, &workload.scope, policies).is_empty())
            };
            only_tags(workload.images.iter().filter(applies).collect(), workload)
        }
        Holder::Pod | Holder::Template | Holder::NamedTemplate => Vec::new(),
    }
}

/// The images of `workload` whose tags must be resolved before [`relabelled_images`] can tell which
/// rules apply to them.
pub fn tags_of_relabelled_images<'a>(
    workload: &'a Workload,
    policies: &PolicySet,
) -> Vec<&'a ImageUse> {
    let (Some(unchanged), true) = (&workload.unchanged, workload.holder != Holder::Pod) else {
        return Vec::new();
    };
    let scopes = Relabelled::of(workload, unchanged);
    let is_affected = |image: &&ImageUse| {
        let reference = image.image.parse::<Reference>();
        reference.is_ok_and(|reference| scopes.affect(&reference, policies))
    };
    only_tags(unchanged.images.iter().filter(is_affected).collect(), workload)
}

/// The images of `workload` whose tags must be resolved before [`restarted_images`] can tell
/// which rules apply to them. A tag that no signature is required for needs no digest.
pub fn tags_of_restarted_images<'a>(
    workload: &'a Workload,
    policies: &PolicySet,
) -> Vec<&'a ImageUse> {
    let needs_facts = |image: &&ImageUse| {
        let reference = image.image.parse::<Reference>();
        reference.is_ok_and(|reference| {
            rules_for(&reference, &workload.scope, policies)
                .iter()
                .any(|rule| rule.criterion.needs_facts())
        })
    };
    only_tags(workload.restarted.iter().filter(needs_facts).collect(), workload)
}

/// The tags among the images of `workload` that the mutating webhook replaces by digests. It
/// changes no object that a controller compares with a template of its own.
pub fn tags_to_pin(workload: &Workload) -> Vec<&ImageUse> {
    match workload.holder {
        Holder::ControlledTemplate | Holder::NamedTemplate => Vec::new(),
        Holder::Pod | Holder::Template => only_tags(workload.images.iter().collect(), workload),
    }
}

/// The states of the new images, which must pass.
pub fn new_images(
    workload: &Workload,
    policies: &PolicySet,
    resolved: &ResolvedTags,
) -> Vec<ImageState> {
    let state = |image| image_state(image, workload, policies, resolved);
    workload.images.iter().map(state).collect()
}

/// The states of the images of new pods that an update makes without changing the images. The
/// object is admitted whatever they are.
pub fn restarted_images(
    workload: &Workload,
    policies: &PolicySet,
    resolved: &ResolvedTags,
) -> Vec<ImageState> {
    let effect = match workload.holder {
        Holder::NamedTemplate => Effect::WarnsWithoutImages,
        Holder::Pod | Holder::Template | Holder::ControlledTemplate => Effect::Warns,
    };
    let state = |image| ImageState {
        change: ImageChange::Restarted,
        effect,
        ..image_state(image, workload, policies, resolved)
    };
    workload.restarted.iter().map(state).collect()
}

/// Judges an image from the facts about it. `None` where none were gathered: then no rule that
/// requires signatures holds.
pub fn judge_image(state: &ImageState, facts: Option<&Facts>) -> JudgedImage {
    let (subject, outcome) = match &state.resolution {
        Resolution::Unreadable { error } => {
            (String::new(), Outcome::Unreadable { error: error.clone() })
        }
        Resolution::Placeholder => (String::new(), Outcome::Placeholder),
        Resolution::Tag { cause } => {
            let fault = cause.clone().unwrap_or_else(|| {
                let detail = "the tag was not replaced by a digest before the object was validated";
                Fault::new(FaultKind::Missing, &state.image, detail)
            });
            let rules = ruled(&state.criteria, &Facts::unavailable(fault));
            (String::new(), Outcome::NotPinned { cause: cause.clone(), rules })
        }
        Resolution::Pinned(image) => {
            let none = Facts::default();
            let rules = ruled(&state.criteria, facts.unwrap_or(&none));
            (image.to_string(), Outcome::Judged(rules))
        }
    };
    let (path, image) = (state.path.clone(), state.image.clone());
    JudgedImage { path, image, subject, effect: state.effect, outcome }
}

fn ruled(criteria: &[Arc<Criterion>], facts: &Facts) -> Vec<RuleVerdict> {
    let ruled = |criterion: &Arc<Criterion>| RuleVerdict {
        criterion: criterion.clone(),
        verdict: judge(criterion, facts),
    };
    criteria.iter().map(ruled).collect()
}

/// A new image.
fn image_state(
    image: &ImageUse,
    workload: &Workload,
    policies: &PolicySet,
    resolved: &ResolvedTags,
) -> ImageState {
    let scope = &workload.scope;
    let reference = match image.image.parse::<Reference>() {
        Ok(reference) if is_placeholder(image, workload) => {
            return placeholder_state(image, &reference, scope, policies);
        }
        Ok(reference) => reference,
        Err(_) if is_placeholder(image, workload) => {
            return ImageState::of(image, Vec::new(), Resolution::Placeholder);
        }
        Err(error) => {
            // No rule applies to it, and no pod can run it.
            let effect = match workload.holder {
                Holder::Pod => Effect::Refuses,
                Holder::Template | Holder::ControlledTemplate | Holder::NamedTemplate => {
                    Effect::Warns
                }
            };
            let resolution = Resolution::Unreadable { error: error.to_string() };
            return ImageState { effect, ..ImageState::of(image, Vec::new(), resolution) };
        }
    };
    match resolved.get(&image.image) {
        Some(Ok(pinned)) => {
            let rules = rules_for(&pinned, scope, policies);
            match not_bound_to_pods(&rules, &pinned, workload, policies) {
                Some(fault) => reference_state(image, &reference, Some(fault), scope, policies),
                None => with_rules(image, &pinned, &rules, None),
            }
        }
        Some(Err(fault)) => reference_state(image, &reference, Some(fault), scope, policies),
        None => reference_state(image, &reference, None, scope, policies),
    }
}

/// A rule that requires a signature of the template's images and does not apply to its pods. With a
/// digest the pods are bound to what it judged; the tag may resolve to something else by then.
fn not_bound_to_pods(
    rules: &[&Rule],
    pinned: &Reference,
    workload: &Workload,
    policies: &PolicySet,
) -> Option<Fault> {
    if workload.holder == Holder::Pod {
        return None;
    }
    let of_pods = policies.select(pinned, &workload.scope.of_pod(workload.pod_labels.clone()));
    let applies_to_pods = |rule: &Rule| of_pods.iter().any(|other| std::ptr::eq(*other, rule));
    let rule = rules.iter().find(|rule| {
        rule.criterion.needs_facts() && rule.mode() == Mode::Enforce && !applies_to_pods(rule)
    })?;
    let detail = format!(
        "this policy applies to {} and not to their pods, which only a digest binds to what it \
         judged",
        workload.scope.resource
    );
    Some(Fault::new(FaultKind::Config, format!("policy {}", rule.name()), detail))
}

/// The states of the images that have not changed, if the object's new labels bring them under rules
/// that did not apply to them before, or take away the last one where an image without a rule is refused:
/// otherwise a rule for `env: dev` would admit every other label. One that cannot be read was
/// admitted by no rule. In a template, the digest that a tag resolves to now is judged.
pub fn relabelled_images(
    workload: &Workload,
    policies: &PolicySet,
    resolved: &ResolvedTags,
) -> Vec<ImageState> {
    let Some(unchanged) = &workload.unchanged else { return Vec::new() };
    let scopes = Relabelled::of(workload, unchanged);
    let state = |image: &ImageUse| {
        let reference = image.image.parse::<Reference>().ok()?;
        if !scopes.affect(&reference, policies) {
            return None;
        }
        let tag = match workload.holder {
            Holder::Pod => None,
            Holder::Template | Holder::ControlledTemplate | Holder::NamedTemplate => {
                resolved.get(&image.image)
            }
        };
        let (reference, cause) = match tag {
            Some(Ok(pinned)) => {
                let rules = scopes.new_rules(&pinned, policies);
                match not_bound_to_pods(&rules, &pinned, workload, policies) {
                    Some(fault) => (reference, Some(fault)),
                    None => (pinned, None),
                }
            }
            Some(Err(fault)) => (reference, Some(fault)),
            None => (reference, None),
        };
        let rules = scopes.new_rules(&reference, policies);
        let is_affected = !rules.is_empty() || scopes.lose_last_rule(&reference, policies);
        is_affected.then(|| ImageState {
            change: ImageChange::Relabelled,
            ..with_rules(image, &reference, &rules, cause)
        })
    };
    unchanged.images.iter().filter_map(state).collect()
}

/// A placeholder. It is never resolved: nothing is there, or somebody else's image.
fn placeholder_state(
    image: &ImageUse,
    reference: &Reference,
    scope: &Scope,
    policies: &PolicySet,
) -> ImageState {
    let rules = policies.select_unresolved(reference, scope);
    if !rules.iter().any(|rule| rule.mode() == Mode::Enforce) {
        return ImageState::of(image, Vec::new(), Resolution::Placeholder);
    }
    let detail = "a placeholder, which another component replaces before a pod is created";
    let cause = Some(Fault::new(FaultKind::Missing, reference.original(), detail));
    ImageState::of(image, rules, Resolution::Tag { cause })
}

/// An image with the rules that apply to it. `cause` is the fault that kept its tag from being
/// resolved, where that is known.
fn reference_state(
    image: &ImageUse,
    reference: &Reference,
    cause: Option<Fault>,
    scope: &Scope,
    policies: &PolicySet,
) -> ImageState {
    let rules = rules_for(reference, scope, policies);
    with_rules(image, reference, &rules, cause)
}

fn with_rules(
    image: &ImageUse,
    reference: &Reference,
    rules: &[&Rule],
    cause: Option<Fault>,
) -> ImageState {
    let resolution = match PinnedImage::of(reference) {
        Some(pinned) => Resolution::Pinned(pinned),
        None => Resolution::Tag { cause },
    };
    ImageState::of(image, rules.to_vec(), resolution)
}

fn rules_for<'p>(reference: &Reference, scope: &Scope, policies: &'p PolicySet) -> Vec<&'p Rule> {
    match reference.digest() {
        Some(_) => policies.select(reference, scope),
        None => policies.select_unresolved(reference, scope),
    }
}

/// The tags among `images`, each text once. A placeholder is no tag.
fn only_tags<'a>(images: Vec<&'a ImageUse>, workload: &Workload) -> Vec<&'a ImageUse> {
    let is_tag = |image: &ImageUse| {
        let reference = image.image.parse::<Reference>();
        reference.is_ok_and(|reference| reference.digest().is_none())
            && !is_placeholder(image, workload)
    };
    let mut tags: BTreeMap<&str, &ImageUse> = BTreeMap::new();
    for image in images.into_iter().filter(|image| is_tag(image)) {
        tags.entry(&image.image).or_insert(image);
    }
    tags.into_values().collect()
}

fn is_placeholder(image: &ImageUse, workload: &Workload) -> bool {
    let text = image.image.as_str();
    let is_open = PLACEHOLDERS.contains(&text) || text.trim().is_empty();
    is_open && workload.holder != Holder::Pod
}

impl ImageState {
    fn of(image: &ImageUse, rules: Vec<&Rule>, resolution: Resolution) -> Self {
        Self {
            path: image.path.clone(),
            image: image.image.clone(),
            change: ImageChange::New,
            effect: Effect::Refuses,
            criteria: rules.into_iter().map(|rule| rule.criterion.clone()).collect(),
            resolution,
        }
    }

    /// The criteria that require facts.
    pub fn criteria_with_facts(&self) -> impl Iterator<Item = &Arc<Criterion>> {
        self.criteria.iter().filter(|criterion| criterion.needs_facts())
    }

    /// The image, where it has a digest.
    pub fn pinned(&self) -> Option<&PinnedImage> {
        match &self.resolution {
            Resolution::Pinned(image) => Some(image),
            Resolution::Unreadable { .. } | Resolution::Placeholder | Resolution::Tag { .. } => {
                None
            }
        }
    }
}

impl<'a> Relabelled<'a> {
    fn of(workload: &'a Workload, unchanged: &UnchangedImages) -> Self {
        let now = &workload.scope;
        Self { before: Scope { labels: unchanged.labels.clone(), ..now.clone() }, now }
    }

    /// True if the new labels select other rules for an image.
    fn affect(&self, reference: &Reference, policies: &PolicySet) -> bool {
        !self.new_rules(reference, policies).is_empty() || self.lose_last_rule(reference, policies)
    }

    /// The rules that apply to an image now and did not before.
    fn new_rules<'p>(&self, reference: &Reference, policies: &'p PolicySet) -> Vec<&'p Rule> {
        let known = rules_for(reference, &self.before, policies);
        let mut rules = rules_for(reference, self.now, policies);
        rules.retain(|rule| !known.iter().any(|known| std::ptr::eq(*known, *rule)));
        rules
    }

    /// True if the last rule no longer applies to an image, and such an image is refused.
    fn lose_last_rule(&self, reference: &Reference, policies: &PolicySet) -> bool {
        policies.no_match() == NoMatch::Deny
            && rules_for(reference, self.now, policies).is_empty()
            && !rules_for(reference, &self.before, policies).is_empty()
    }
}

impl PinnedImage {
    /// The content that a reference names, if it has a digest.
    pub fn of(reference: &Reference) -> Option<Self> {
        let digest = reference.digest()?.clone();
        Some(Self { repository: reference.repository().clone(), digest })
    }
}

impl std::fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

impl Serialize for PinnedImage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PinnedImage {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let reference: Reference = text.parse().map_err(serde::de::Error::custom)?;
        Self::of(&reference).ok_or_else(|| serde::de::Error::custom("a reference without a digest"))
    }
}

impl ResolvedTags {
    /// Adds the result of resolving the tag in `text`.
    pub fn insert(&mut self, text: &str, result: Result<Reference, Fault>) {
        self.0.insert(text.to_owned(), result);
    }

    fn get(&self, text: &str) -> Option<Result<Reference, Fault>> {
        self.0.get(text).cloned()
    }
}
