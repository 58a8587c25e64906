//! The policies that are in force, as the door sees them, wherever they come from.

use std::sync::Arc;

use sealgate_kube::policies::PolicySource;
use sealgate_policy::cip::validate::EmptyAuthorities;
use sealgate_policy::select::PolicySet;

/// What a source of policies says at a moment. Sent through a watch channel at each change.
#[derive(Clone, Debug, Default)]
pub struct PolicyState {
    /// The policies in force; `None` until all were loaded once: then nothing is admitted.
    pub set: Option<Arc<PolicySet>>,
    /// What cannot be used as it is written, for people. While there is a `set`, it holds the last
    /// good version of what is listed here, or refuses in its place.
    pub problems: Vec<String>,
    /// Whether a new policy may have no authorities.
    pub empty_authorities: EmptyAuthorities,
    /// Where they come from.
    pub source: PolicySource,
    /// Registries that may be asked over plain HTTP.
    pub insecure_registries: Vec<String>,
}

impl PolicyState {
    /// Nothing was loaded from `source` yet, for this reason.
    pub fn waiting(source: PolicySource, why: impl Into<String>) -> Self {
        Self { problems: vec![why.into()], source, ..Self::default() }
    }

    /// Whether the gate can judge; the text is for `/readyz`.
    pub(crate) fn readiness(&self) -> Result<String, String> {
        let problems = self.problems.join("; ");
        let from = match self.source {
            PolicySource::Cluster => "",
            PolicySource::Folder => " of a folder (the objects of a cluster are not read)",
        };
        match &self.set {
            None if problems.is_empty() => Err("policies are not loaded yet".to_owned()),
            None => Err(format!("policies are not loaded: {problems}")),
            Some(set) if problems.is_empty() => Ok(format!("{}{from}", count(set.rules().len()))),
            Some(set) => Ok(format!("{}{from}; problems: {problems}", count(set.rules().len()))),
        }
    }
}

fn count(policies: usize) -> String {
    match policies {
        1 => "1 policy".to_owned(),
        several => format!("{several} policies"),
    }
}
