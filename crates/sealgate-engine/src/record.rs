//! One record for each admission: the same fields whether it was let in or refused, so that a
//! log can be searched without knowing the answer first.

use jiff::Timestamp;
use sealgate_policy::decide::{Decision, Fact};
use serde::{Deserialize, Serialize};

use crate::admit::Admission;

/// The schema of [`DecisionRecord`]; the last part grows when a field changes its meaning.
pub const SCHEMA: &str = "sealgate.dev/decision/v1";

/// What was decided, about what, for whom, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// [`SCHEMA`].
    pub schema: String,
    /// When it was decided, RFC 3339 in UTC.
    pub time: Timestamp,
    /// The review's uid.
    pub uid: String,
    /// Who asked.
    pub user: String,
    /// `CREATE` or `UPDATE`.
    pub operation: String,
    /// API group and version, `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// Whether the API server only pretended.
    pub dry_run: bool,
    /// Let in or not.
    pub allowed: bool,
    /// The denial; empty when let in.
    pub message: String,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Each image with each rule that was about it.
    pub images: Vec<ImageRecord>,
    /// The fingerprint of the policies that were in force.
    pub policies: String,
    /// How long it took, in microseconds.
    pub micros: u64,
}

/// One image and one rule (or none).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageRecord {
    /// `spec.containers[0].image`
    pub path: String,
    /// The image as written.
    pub image: String,
    /// `repository@digest` as judged; empty if it never got that far.
    pub subject: String,
    /// The rule; empty where none applied.
    pub rule: String,
    /// `enforce` or `warn`; empty where no rule applied.
    pub mode: String,
    /// `pass`, `fail`, `fault`, `no-match`, `not-pinned`, `placeholder` or `unreadable`.
    pub outcome: String,
    /// Whether this alone refuses the object.
    pub denies: bool,
    /// The authorities that held.
    pub authorities: Vec<String>,
    /// Who has signed for them: `subject (issuer)` of a certificate, or `key` and its fingerprint.
    #[serde(default)]
    pub signers: Vec<String>,
    /// The stable codes of the reasons.
    pub codes: Vec<String>,
}

impl DecisionRecord {
    /// The record of a decision.
    pub fn new(
        admission: &Admission,
        decision: &Decision,
        policies: String,
        time: Timestamp,
        took: std::time::Duration,
    ) -> Self {
        let scope = &admission.scope;
        Self {
            schema: SCHEMA.to_owned(),
            time,
            uid: admission.uid.clone(),
            user: admission.user.clone(),
            operation: scope.operation.clone(),
            api_version: scope.api_version(),
            kind: scope.kind.clone(),
            namespace: scope.namespace.clone(),
            name: scope.name.clone(),
            dry_run: admission.dry_run,
            allowed: decision.allowed,
            message: decision.message.clone(),
            warnings: decision.warnings.clone(),
            images: decision.facts.iter().map(ImageRecord::from).collect(),
            policies,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

impl From<&Fact> for ImageRecord {
    fn from(fact: &Fact) -> Self {
        Self {
            path: fact.path.clone(),
            image: fact.image.clone(),
            subject: fact.subject.clone(),
            rule: fact.rule.clone(),
            mode: fact.mode.map_or("", |mode| mode.name()).to_owned(),
            outcome: fact.outcome.to_owned(),
            denies: fact.denies,
            authorities: fact.authorities.clone(),
            signers: fact.signers.clone(),
            codes: fact.codes.clone(),
        }
    }
}
