//! A folder as a source of policies: looked at every second, told through a watch channel.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sealgate_engine::roots::Roots;
use sealgate_kube::policies::PolicySource;
use sealgate_policy::cip::read::Document;
use sealgate_policy::select::NoMatch;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::assemble::{self, Assembled, assemble};
use super::scan::Bounds;
use super::{Folder, FolderSecrets, Reading};
use crate::metrics::Metrics;
use crate::policies::PolicyState;

/// Which folder, and what its files mean.
#[derive(Clone, Debug)]
pub struct FolderOptions {
    /// The folder.
    pub path: PathBuf,
    /// How often it is looked at.
    pub every: Duration,
    /// A file younger than this may still be in the writing.
    pub settle: Duration,
    /// The namespace of `secretRef`s and of `config-policy-controller`.
    pub system_namespace: String,
    /// What happens to an image that no policy is about, whatever the ConfigMap says.
    pub no_match: Option<NoMatch>,
}

impl FolderOptions {
    /// A folder with the usual habits.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            every: Duration::from_secs(1),
            settle: Bounds::default().settle,
            system_namespace: "cosign-system".to_owned(),
            no_match: None,
        }
    }
}

/// One folder that is followed.
struct Follower {
    folder: Folder<Vec<Document>>,
    options: FolderOptions,
    secrets: Arc<FolderSecrets>,
    roots: Arc<Roots>,
    /// Tells when a trust root was read anew.
    reread: watch::Receiver<u64>,
    metrics: Arc<Metrics>,
    /// Whether every file was good once: from then on there are policies to enforce.
    complete: bool,
    told: Vec<String>,
}

/// Follows a folder until the receiver is dropped. The first look is taken at once. `roots` is
/// told of the folder's TrustRoots.
pub fn follow(
    options: FolderOptions,
    roots: Arc<Roots>,
    metrics: Arc<Metrics>,
) -> (watch::Receiver<PolicyState>, Arc<FolderSecrets>) {
    let waiting = PolicyState::waiting(PolicySource::Folder, "the folder is not read yet");
    let (sender, receiver) = watch::channel(waiting);
    let secrets = Arc::<FolderSecrets>::default();
    let mut follower = Follower::new(options, Arc::clone(&secrets), roots, metrics);
    tokio::spawn(async move {
        loop {
            // Reading and compiling are work for a thread that may wait.
            let looked = tokio::task::spawn_blocking(move || {
                let state = follower.look();
                (follower, state)
            });
            let Ok((returned, state)) = looked.await else {
                error!("the policy folder is no longer followed: looking at it panicked");
                sender.send_modify(|state| {
                    state.problems.push("the folder is no longer followed".to_owned());
                });
                return;
            };
            follower = returned;
            if let Some(state) = state {
                sender.send_replace(state);
            }
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(follower.pause()) => {}
            }
        }
    });
    (receiver, secrets)
}

/// How files of policies are read.
pub(super) fn reading(system_namespace: &str) -> Reading<Vec<Document>> {
    let (of_parse, of_define) = (system_namespace.to_owned(), system_namespace.to_owned());
    Reading {
        parse: Box::new(move |text| assemble::read(text, &of_parse)),
        defined: Box::new(move |documents: &Vec<Document>| {
            assemble::defined(documents, &of_define)
        }),
    }
}

impl Follower {
    fn new(
        options: FolderOptions,
        secrets: Arc<FolderSecrets>,
        roots: Arc<Roots>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let reading = reading(&options.system_namespace);
        let bounds = Bounds { settle: options.settle, ..Bounds::default() };
        let folder = Folder::new(&options.path, reading, bounds);
        let (reread, told) = (roots.changes(), Vec::new());
        Self { folder, options, secrets, roots, reread, metrics, complete: false, told }
    }

    /// How long until the next look: soon, where a file is in the writing.
    fn pause(&self) -> Duration {
        let FolderOptions { every, settle, .. } = self.options;
        if self.folder.has_young() { settle.min(every) } else { every }
    }

    /// The new state, if it is another one.
    fn look(&mut self) -> Option<PolicyState> {
        let reread = self.reread.has_changed().unwrap_or(false);
        self.reread.mark_unchanged();
        if !self.folder.refresh(SystemTime::now()) && !reread {
            return None;
        }
        let broken = self.folder.problems();
        let mut problems: Vec<String> = broken.iter().map(ToString::to_string).collect();
        self.complete |= broken.iter().all(|problem| problem.has_good);
        let assembled = self.assemble();
        let Assembled { set, empty_authorities, insecure_registries, .. } = assembled;
        let Assembled { problems: lacking, warnings, secrets, .. } = assembled;
        problems.extend(lacking);
        let passing = broken.iter().filter(|problem| problem.is_passing()).map(ToString::to_string);
        self.tell(&problems, &warnings, &passing.collect::<Vec<_>>());
        self.secrets.set(secrets);
        let set = self.complete.then(|| {
            info!(policies = set.rules().len(), fingerprint = %set.fingerprint(), "policies loaded");
            self.metrics.reloads.inc();
            Arc::new(set)
        });
        let source = PolicySource::Folder;
        Some(PolicyState { set, problems, empty_authorities, source, insecure_registries })
    }

    fn assemble(&self) -> Assembled {
        let FolderOptions { system_namespace, no_match, .. } = &self.options;
        assemble(self.folder.good(), system_namespace, *no_match, &self.roots)
    }

    /// Says each new problem once, loudly, unless it passes by itself.
    fn tell(&mut self, problems: &[String], warnings: &[String], passing: &[String]) {
        let new = |problem: &&String| !self.told.contains(problem) && !passing.contains(problem);
        for problem in problems.iter().filter(new) {
            error!(folder = %self.options.path.display(), problem, "a policy cannot be used");
            self.metrics.reload_errors.inc();
        }
        for warning in warnings.iter().filter(|warning| !self.told.contains(warning)) {
            warn!(folder = %self.options.path.display(), warning, "policy warning");
        }
        self.told = problems.iter().chain(warnings).cloned().collect();
    }
}
