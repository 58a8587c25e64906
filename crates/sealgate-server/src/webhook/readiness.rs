//! The text of `/readyz` about the policies in force.

use sealgate_policy::assemble::{PolicySource, PolicyState};

/// Returns whether `state` has policies to evaluate images by; the text is for `/readyz`.
pub(crate) fn readiness(state: &PolicyState) -> Result<String, String> {
    let problems = state.problems.join("; ");
    let from = match state.source {
        PolicySource::Cluster => "",
        PolicySource::Folder => " from a folder (objects in the cluster are not read)",
    };
    match &state.set {
        None if problems.is_empty() => Err("policies are not loaded yet".to_owned()),
        None => Err(format!("policies are not loaded: {problems}")),
        Some(set) if problems.is_empty() => Ok(format!("{}{from}", count(set.rules().len()))),
        Some(set) => Ok(format!("{}{from}; problems: {problems}", count(set.rules().len()))),
    }
}

fn count(policies: usize) -> String {
    match policies {
        1 => "1 policy".to_owned(),
        several => format!("{several} policies"),
    }
}
