//! One record for each decision: the same fields whether the object was admitted or refused, so
//! that a log can be searched without knowing the answer first; and everything that the decision
//! depends on, so that it can be replayed without a network ([`crate::replay`]).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
pub use sealgate_policy::decide::ImageRecord;
use sealgate_policy::decide::{Decision, JudgedImage};
use sealgate_policy::facts::Facts;
use sealgate_policy::image_state::{ImageState, judge_image};
use sealgate_policy::select::{NoMatch, PolicySet};
use sealgate_policy::workload::Admission;
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvaluatedImage {
    /// The image and the criteria that it is judged by.
    #[serde(flatten)]
    pub state: ImageState,
    /// The facts; none where no criterion requires signatures of a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Arc<Facts>>,
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
    /// Whether the object is admitted.
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
    pub evaluated: Vec<EvaluatedImage>,
    /// The time that the decision took, in microseconds.
    pub micros: u64,
}

impl EvaluatedImage {
    /// The verdict of each criterion, from the facts.
    pub fn judge(&self) -> JudgedImage {
        judge_image(&self.state, self.facts.as_deref())
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
            evaluated: images.to_vec(),
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }
    }
}
