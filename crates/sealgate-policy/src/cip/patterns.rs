//! The regular expressions of policies: their cost is bounded before any of them is compiled, and
//! each is compiled once, however many policies contain it.

use std::collections::{BTreeMap, BTreeSet};

use sealgate_core::identity::{Expression, InvalidPattern, MAX_PATTERN, Pattern};

use super::field_error::FieldErrors;
use super::{ClusterImagePolicy, Identity};

/// The maximum cost of the different expressions of one policy, see [`Expression::cost`]: about a
/// thousand that name a workflow.
pub const MAX_POLICY_COST: u64 = 4 * 1024 * 1024;
/// The maximum cost of the different expressions of all policies.
pub const MAX_TOTAL_COST: u64 = 32 * 1024 * 1024;
/// The cost of an expression that is not valid: at most so much for each byte.
const INVALID_COST_PER_BYTE: u64 = 64;

/// The expressions of policies, by their text. Kept between compilations of the same policies.
#[derive(Debug)]
pub struct Patterns {
    entries: BTreeMap<String, Entry>,
    /// The limit of `compiled_cost`.
    most: u64,
    /// The sum of the costs of the compiled expressions.
    compiled_cost: u64,
    /// The number of expressions that have been compiled.
    compilations: u64,
}

/// An expression.
#[derive(Debug)]
struct Entry {
    state: State,
    cost: u64,
    /// Set when a policy asks for the expression, reset by [`Patterns::forget_unused`].
    used: bool,
}

#[derive(Debug)]
enum State {
    Parsed(Expression),
    Compiled(Pattern),
    Invalid(InvalidPattern),
}

/// The reason why a policy cannot use an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// It is not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidPattern),
    /// The sum of [`MAX_TOTAL_COST`] is used up.
    #[error("the regular expressions of all policies together are too large")]
    Total,
}

impl Default for Patterns {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), most: MAX_TOTAL_COST, compiled_cost: 0, compilations: 0 }
    }
}

impl Patterns {
    /// The number of expressions that have been compiled so far.
    pub fn compilations(&self) -> u64 {
        self.compilations
    }

    /// Removes the expressions that nothing has asked for since the last call.
    pub fn forget_unused(&mut self) {
        self.entries.retain(|_, entry| std::mem::take(&mut entry.used));
        let compiled =
            self.entries.values().filter(|entry| matches!(entry.state, State::Compiled(_)));
        self.compiled_cost = compiled.map(|entry| entry.cost).sum();
    }

    /// Checks the cost of the expressions of `policy`, without compiling any.
    ///
    /// # Errors
    /// The field at which the sum exceeds [`MAX_POLICY_COST`], below `spec`. Expressions that are
    /// not valid are no error here.
    pub(crate) fn afford(&mut self, policy: &ClusterImagePolicy) -> Result<(), FieldErrors> {
        let mut counted = BTreeSet::new();
        let mut left = MAX_POLICY_COST;
        for (index, authority) in policy.spec.authorities.iter().enumerate() {
            let identities = authority.keyless.iter().flat_map(|keyless| &keyless.identities);
            for (number, identity) in identities.enumerate() {
                for (field, source) in expressions(identity) {
                    if !counted.insert(source) {
                        continue;
                    }
                    match left.checked_sub(self.parsed(source).cost) {
                        Some(rest) => left = rest,
                        None => {
                            let error = FieldErrors::generic(excess(), [field]);
                            let error = error.via_field_index("identities", number);
                            let error = error.via_field("keyless");
                            let error = error.via_field_index("authorities", index);
                            return Err(error.via_field("spec"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the compiled expression.
    pub(crate) fn get(&mut self, source: &str) -> Result<Pattern, Unusable> {
        let left = self.most.saturating_sub(self.compiled_cost);
        let entry = self.parsed(source);
        let expression = match &entry.state {
            State::Compiled(pattern) => return Ok(pattern.clone()),
            State::Invalid(error) => return Err(error.clone().into()),
            State::Parsed(_) if entry.cost > left => {
                return Err(Unusable::Total);
            }
            State::Parsed(expression) => expression.clone(),
        };
        let cost = entry.cost;
        let compiled = expression.compile();
        entry.state = match &compiled {
            Ok(pattern) => State::Compiled(pattern.clone()),
            Err(error) => State::Invalid(error.clone()),
        };
        self.compilations += 1;
        self.compiled_cost += if compiled.is_ok() { cost } else { 0 };
        Ok(compiled?)
    }

    fn parsed(&mut self, source: &str) -> &mut Entry {
        let entry = self.entries.entry(source.to_owned()).or_insert_with(|| Entry::parse(source));
        entry.used = true;
        entry
    }
}

impl Entry {
    fn parse(source: &str) -> Self {
        match Expression::parse(source) {
            Ok(expression) => {
                let cost = expression.cost();
                Self { state: State::Parsed(expression), cost, used: true }
            }
            Err(error) => {
                let read = source.len().min(MAX_PATTERN) as u64;
                let cost = INVALID_COST_PER_BYTE * (read + 1);
                Self { state: State::Invalid(error), cost, used: true }
            }
        }
    }
}

/// The expressions of an identity, with their fields.
fn expressions(identity: &Identity) -> impl Iterator<Item = (&'static str, &str)> {
    let all = [
        ("issuerRegExp", identity.issuer_reg_exp.as_str()),
        ("subjectRegExp", identity.subject_reg_exp.as_str()),
    ];
    all.into_iter().filter(|(_, source)| !source.is_empty())
}

fn excess() -> String {
    let most = MAX_POLICY_COST / 1024 / 1024;
    format!(
        "the regular expressions of the policy are too large: compiled, they take more than {most} MiB"
    )
}

#[cfg(test)]
mod tests;
