//! The contents of the dependencies of policies: Secrets are fetched and kept here, TrustRoots by
//! [`Roots`]. Used by every source of policies: a cluster, a folder.
//!
//! A content that was fetched stays until the source reports that the Secret changed or was deleted:
//! a fault removes no key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use sealgate_core::fault::Fault;
use sealgate_policy::assemble::{Assembly, Objects, assemble};
use sealgate_policy::cip::SecretRef;
use sealgate_policy::cip::compile::{Lookups, SecretContent, content_of_secret};
use sealgate_policy::cip::patterns::Patterns;
use sealgate_policy::depends::{Dependency, dependencies};

use crate::ports::SecretSource;
use crate::roots::Roots;

/// The number of Secrets that are fetched at once.
const CONCURRENT_FETCHES: usize = 8;

/// Resolves the dependencies of policies and assembles them.
pub struct Resolver {
    secrets: Arc<dyn SecretSource>,
    roots: Arc<Roots>,
    fetched: BTreeMap<String, FetchedSecret>,
    patterns: Patterns,
}

/// The data of a secret, if it exists.
type SecretData = Option<BTreeMap<String, Vec<u8>>>;

/// The last content of a Secret.
struct FetchedSecret {
    content: Result<SecretContent, Fault>,
    outdated: bool,
}

impl Resolver {
    /// A resolver that has fetched nothing yet.
    pub fn new(secrets: Arc<dyn SecretSource>, roots: Arc<Roots>) -> Self {
        Self { secrets, roots, fetched: BTreeMap::new(), patterns: Patterns::default() }
    }

    /// Marks the Secret `name` as changed: it is fetched again if a policy names it.
    pub fn secret_changed(&mut self, name: &str) {
        if let Some(secret) = self.fetched.get_mut(name) {
            secret.outdated = true;
        }
    }

    /// Marks every Secret as changed.
    pub fn all_secrets_changed(&mut self) {
        self.fetched.values_mut().for_each(|secret| secret.outdated = true);
    }

    /// Resolves the dependencies of `objects`, and compiles them: [`Resolver::fetch`] and
    /// [`Resolver::compile`].
    pub async fn assemble(&mut self, objects: &Objects<'_>) -> Assembly {
        self.fetch(objects).await;
        self.compile(objects)
    }

    /// Fetches the Secrets that `objects` name and that are not known.
    pub async fn fetch(&mut self, objects: &Objects<'_>) {
        let missing = self.missing(objects);
        let (source, namespace) = (&self.secrets, objects.system_namespace);
        let answers: Vec<_> = futures::stream::iter(missing)
            .map(|name| async move {
                let data = source.secret(namespace, &name).await;
                (name, data)
            })
            .buffer_unordered(CONCURRENT_FETCHES)
            .collect()
            .await;
        for (name, data) in answers {
            self.keep(name, data);
        }
    }

    /// Compiles `objects`, whose Secrets were fetched. Blocks its thread for as long as that takes.
    /// Needs a tokio runtime, in which TUF repositories of TrustRoots are read.
    pub fn compile(&mut self, objects: &Objects<'_>) -> Assembly {
        self.roots.set(&objects.trust_root_specs());
        let Self { roots, fetched, patterns, .. } = self;
        let secrets = |secret: &SecretRef| secret_content(fetched, secret);
        let lookups = Lookups { secrets: &secrets, roots: &|which| roots.get(which) };
        assemble(objects, &lookups, &|name| roots.conditions(name), patterns)
    }

    /// The Secrets that must be fetched. Those that no policy names any more are forgotten.
    fn missing(&mut self, objects: &Objects<'_>) -> Vec<String> {
        let mut named = BTreeSet::new();
        for policy in objects.policies.iter().filter_map(|policy| policy.content.ok()) {
            for dependency in dependencies(policy, objects.system_namespace) {
                match dependency {
                    Dependency::Secret(name) => drop(named.insert(name)),
                    // Its specification is all that [`Roots`] needs.
                    Dependency::TrustRoot(_) => {}
                }
            }
        }
        self.fetched.retain(|name, _| named.contains(name.as_str()));
        let current = |name: &str| self.fetched.get(name).is_some_and(|it| !it.outdated);
        named.into_iter().filter(|name| !current(name)).map(str::to_owned).collect()
    }

    /// Keeps the answer to a fetch. A Secret that does not exist or holds no key has no content;
    /// one that could not be fetched keeps the content that it had.
    fn keep(&mut self, name: String, data: Result<SecretData, Fault>) {
        let content = match data {
            Ok(data) => content_of_secret(&name, data.as_ref()),
            Err(fault) => match self.fetched.remove(&name) {
                Some(FetchedSecret { content: Ok(content), .. }) => {
                    tracing::warn!(%fault, "keeping the key that was read before");
                    Ok(content)
                }
                _ => Err(fault),
            },
        };
        // A Secret that could not be fetched is tried again when all are marked as changed.
        self.fetched.insert(name, FetchedSecret { content, outdated: false });
    }
}

fn secret_content(
    fetched: &BTreeMap<String, FetchedSecret>,
    secret: &SecretRef,
) -> Result<SecretContent, Fault> {
    match fetched.get(&secret.name) {
        Some(secret) => secret.content.clone(),
        None => content_of_secret(&secret.name, None),
    }
}

#[cfg(test)]
mod tests;
