//! A folder that is followed: scanned every second, its policies published at each change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sealgate_engine::resolve::Resolver;
use sealgate_engine::roots::Roots;
use sealgate_policy::assemble::{Assembly, PolicySource, PolicyState};
use sealgate_policy::cip::read::Document;
use sealgate_policy::select::NoMatch;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::documents;
use super::files::Folder;
use super::scan::Bounds;
use super::secrets::FolderSecrets;
use crate::metrics::Metrics;

/// The folder, and how its files are read.
#[derive(Clone, Debug)]
pub struct FolderOptions {
    /// The folder.
    pub path: PathBuf,
    /// The time between two scans.
    pub interval: Duration,
    /// The age from which a file is read: a younger one may still be being written.
    pub settle: Duration,
    /// The namespace of `secretRef`s and of `config-policy-controller`.
    pub system_namespace: String,
    /// `--no-match-policy`, which comes before the ConfigMap's entry.
    pub no_match: Option<NoMatch>,
}

impl FolderOptions {
    /// A folder with the default options.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            interval: Duration::from_secs(1),
            settle: Bounds::default().settle,
            system_namespace: "cosign-system".to_owned(),
            no_match: None,
        }
    }
}

/// A folder that is followed.
struct FolderSource {
    folder: Folder<Vec<Document>>,
    options: FolderOptions,
    secrets: Arc<FolderSecrets>,
    resolver: Resolver,
    /// Changes when the repository of a TrustRoot was read again.
    roots_read: watch::Receiver<u64>,
    metrics: Arc<Metrics>,
    /// Set once every file has a good version: from then on there are policies to enforce.
    complete: bool,
    /// The problems and warnings that are in the log already.
    logged: Vec<String>,
}

/// Follows a folder until the receiver is dropped. The first scan starts at once. `roots` receives
/// the folder's TrustRoots.
pub fn follow(
    options: FolderOptions,
    roots: Arc<Roots>,
    metrics: Arc<Metrics>,
) -> (watch::Receiver<PolicyState>, Arc<FolderSecrets>) {
    let waiting =
        PolicyState::waiting(PolicySource::Folder, "the policy folder has not been read yet");
    let (sender, receiver) = watch::channel(waiting);
    let secrets = Arc::<FolderSecrets>::default();
    let mut source = FolderSource::new(options, Arc::clone(&secrets), roots, metrics);
    tokio::spawn(async move {
        loop {
            // Reading and compiling block their thread.
            let scanned = tokio::task::spawn_blocking(move || {
                let state = source.scan();
                (source, state)
            });
            let Ok((returned, state)) = scanned.await else {
                error!("the policy folder is no longer watched: reading it panicked");
                sender.send_modify(|state| {
                    state.problems.push("the policy folder is no longer watched".to_owned());
                });
                return;
            };
            source = returned;
            if let Some(state) = state {
                sender.send_replace(state);
            }
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(source.pause()) => {}
            }
        }
    });
    (receiver, secrets)
}

impl FolderSource {
    fn new(
        options: FolderOptions,
        secrets: Arc<FolderSecrets>,
        roots: Arc<Roots>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let bounds = Bounds { settle: options.settle, ..Bounds::default() };
        let format = documents::format(&options.system_namespace);
        Self {
            folder: Folder::new(&options.path, format, bounds),
            roots_read: roots.changes(),
            resolver: Resolver::new(Arc::clone(&secrets) as _, roots),
            options,
            secrets,
            metrics,
            complete: false,
            logged: Vec::new(),
        }
    }

    /// The time until the next scan: short, where a file is being written.
    fn pause(&self) -> Duration {
        let FolderOptions { interval, settle, .. } = self.options;
        if self.folder.has_young() { settle.min(interval) } else { interval }
    }

    /// Scans the folder. Returns the new state, if it is another one.
    fn scan(&mut self) -> Option<PolicyState> {
        let roots_read = self.roots_read.has_changed().unwrap_or(false);
        self.roots_read.mark_unchanged();
        if !self.folder.refresh(SystemTime::now()) && !roots_read {
            return None;
        }
        let file_problems = self.folder.problems();
        self.complete |= file_problems.iter().all(|problem| problem.has_good);
        let Assembly { set, config, problems, config_warnings, mut warnings, .. } = self.assemble();
        let unread = documents::unread(self.folder.good(), &self.options.system_namespace);
        warnings.extend(config_warnings.into_iter().chain(unread));
        let transient = file_problems.iter().filter(|problem| problem.is_transient());
        let transient: Vec<String> = transient.map(ToString::to_string).collect();
        let file_problems = file_problems.iter().map(ToString::to_string);
        let problems: Vec<String> = file_problems.chain(problems).collect();
        self.log(&problems, &warnings, &transient);
        let set = self.complete.then(|| {
            info!(policies = set.rules().len(), fingerprint = %set.fingerprint(), "policies loaded");
            self.metrics.reloads.inc();
            set
        });
        Some(PolicyState { set, config, problems, source: PolicySource::Folder })
    }

    fn assemble(&mut self) -> Assembly {
        let FolderOptions { system_namespace, no_match, .. } = &self.options;
        self.secrets.set(documents::secrets(self.folder.good(), system_namespace));
        self.resolver.all_secrets_changed();
        let objects = documents::objects(self.folder.good(), system_namespace, *no_match);
        // The Secrets are in memory: nothing is waited for.
        Handle::current().block_on(self.resolver.assemble(&objects))
    }

    /// Logs each new problem once, as an error, unless it will be gone in a moment.
    fn log(&mut self, problems: &[String], warnings: &[String], transient: &[String]) {
        let new =
            |problem: &&String| !self.logged.contains(problem) && !transient.contains(problem);
        for problem in problems.iter().filter(new) {
            error!(folder = %self.options.path.display(), problem, "a policy cannot be used");
            self.metrics.reload_errors.inc();
        }
        for warning in warnings.iter().filter(|warning| !self.logged.contains(warning)) {
            warn!(folder = %self.options.path.display(), warning, "policy warning");
        }
        self.logged = problems.iter().chain(warnings).cloned().collect();
    }
}
