//! One record for each evaluated admission: the same fields whether the object was admitted or refused, so
//! that a log can be searched without knowing the answer first; and everything that the decision
//! depends on, so that it can be replayed without a network ([`crate::replay`]).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
pub use sealgate_policy::decide::ImageRecord;
use sealgate_policy::decide::{Decision, Effect, JudgedImage};
use sealgate_policy::facts::Facts;
use sealgate_policy::image_state::{ImageChange, ImageState, Resolution, judge_image};
use sealgate_policy::rule::Criterion;
use sealgate_policy::select::{NoMatch, PolicySet};
use sealgate_policy::workload::Admission;
use serde::{Deserialize, Serialize};

/// The largest number of images in a record: those of an object, of each change.
const MAX_IMAGES: usize = 4000;

/// The schema of [`DecisionRecord`]; the last part grows when a field changes its meaning.
pub const SCHEMA: &str = "sealgate.dev/decision/v1";

/// A decision, with everything that it was made of.
#[derive(Clone, Copy)]
pub struct Decided<'a> {
    /// The request.
    pub admission: &'a Admission,
    /// Its images, with the rules that apply and the facts.
    pub images: &'a [EvaluatedImage],
    /// The decision.
    pub decision: &'a Decision,
    /// The policies in force.
    pub policies: &'a PolicySet,
    /// The time of the decision.
    pub time: Timestamp,
    /// The time that it took.
    pub took: Duration,
}

/// An image with the rules that apply to it and the facts about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluatedImage {
    /// The image and the criteria that it is judged by.
    pub state: ImageState,
    /// The facts; none where no criterion requires signatures of a digest.
    pub facts: Option<Arc<Facts>>,
}

/// Images with what they were judged by. Criteria and facts that images share are there once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedImages {
    /// The criteria of the rules that apply to an image.
    criteria: Vec<Arc<Criterion>>,
    /// The facts.
    facts: Vec<Arc<Facts>>,
    /// The images.
    images: Vec<RecordedImage>,
}

/// An [`EvaluatedImage`] whose criteria and facts are positions in [`RecordedImages`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedImage {
    path: String,
    image: String,
    change: ImageChange,
    effect: Effect,
    resolution: Resolution,
    criteria: Vec<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    facts: Option<usize>,
}

/// The record of a decision: request, outcome, reason, and everything that a replay needs. Holds
/// no key and no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// [`SCHEMA`].
    pub schema: String,
    /// The time of the decision, RFC 3339 in UTC.
    pub time: Timestamp,
    /// The request.
    pub admission: Admission,
    /// True if the object is admitted.
    pub allowed: bool,
    /// The denial; empty when admitted.
    pub message: String,
    /// Warnings.
    pub warnings: Vec<String>,
    /// The outcome of each image by each rule that applies to it.
    pub images: Vec<ImageRecord>,
    /// The fingerprint of the policies in force.
    pub policies: String,
    /// The outcome of an image that no policy applies to.
    pub no_match: NoMatch,
    /// Each image with the rules and the facts that it was judged by.
    pub evaluated: RecordedImages,
    /// True if `images` and `evaluated` are left out, because the record would be too large.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reduced: bool,
    /// The time that the decision took, in microseconds.
    pub micros: u64,
}

impl EvaluatedImage {
    /// The verdict of each criterion, from the facts.
    pub fn judge(&self) -> JudgedImage {
        judge_image(&self.state, self.facts.as_deref())
    }
}

impl From<&[EvaluatedImage]> for RecordedImages {
    fn from(images: &[EvaluatedImage]) -> Self {
        let (mut recorded, mut criteria, mut facts) =
            (Self::default(), HashMap::new(), HashMap::new());
        for EvaluatedImage { state, facts: found } in images {
            let ImageState { path, image, change, effect, resolution, .. } = state.clone();
            let of_image = state.criteria.iter();
            let of_image = of_image.map(|it| position(it, &mut criteria, &mut recorded.criteria));
            let of_image = of_image.collect();
            let found = found.as_ref().map(|it| position(it, &mut facts, &mut recorded.facts));
            recorded.images.push(RecordedImage {
                path,
                image,
                change,
                effect,
                resolution,
                criteria: of_image,
                facts: found,
            });
        }
        recorded
    }
}

/// The position of `item` in `list`, where it is added if it is new.
fn position<T>(
    item: &Arc<T>,
    known: &mut HashMap<*const T, usize>,
    list: &mut Vec<Arc<T>>,
) -> usize {
    *known.entry(Arc::as_ptr(item)).or_insert_with(|| {
        list.push(Arc::clone(item));
        list.len() - 1
    })
}

impl RecordedImages {
    /// The images as they were evaluated; `None` if one names criteria or facts that do not exist, or
    /// a criterion twice, or if there are more than an admission can have.
    pub fn evaluated(&self) -> Option<Vec<EvaluatedImage>> {
        if self.images.len() > MAX_IMAGES {
            return None;
        }
        let evaluated = |recorded: &RecordedImage| {
            let RecordedImage { path, image, change, effect, resolution, criteria, facts } =
                recorded.clone();
            let mut known = BTreeSet::new();
            if !criteria.iter().all(|at| known.insert(at)) {
                return None;
            }
            let criteria = criteria.iter().map(|at| self.criteria.get(*at).cloned());
            let criteria = criteria.collect::<Option<_>>()?;
            let facts = match facts {
                Some(at) => Some(self.facts.get(at)?.clone()),
                None => None,
            };
            let state = ImageState { path, image, change, effect, criteria, resolution };
            Some(EvaluatedImage { state, facts })
        };
        self.images.iter().map(evaluated).collect()
    }
}

impl DecisionRecord {
    /// The record without `images` and `evaluated`: it cannot be replayed.
    pub fn reduce(&mut self) {
        (self.images, self.evaluated, self.reduced) = (Vec::new(), RecordedImages::default(), true);
    }
}

impl From<&Decided<'_>> for DecisionRecord {
    fn from(decided: &Decided<'_>) -> Self {
        let Decided { admission, images, decision, policies, time, took } = *decided;
        Self {
            schema: SCHEMA.to_owned(),
            time,
            admission: admission.clone(),
            allowed: decision.allowed,
            message: decision.message.clone(),
            warnings: decision.warnings.clone(),
            images: decision.images.clone(),
            policies: policies.fingerprint().to_string(),
            no_match: policies.no_match(),
            evaluated: RecordedImages::from(images),
            reduced: false,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }
    }
}
