//! `replay`: makes a recorded decision again, without a network.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::{RootRepositories, RootRepository};
use sealgate_engine::record::{DecisionRecord, ImageRecord, SCHEMA};
use sealgate_engine::replay::{Difference, Replay};
use sealgate_policy::cip::trust_root;
use sealgate_policy::select::PolicySet;
use sealgate_server::folder::{FolderOptions, follow};
use sealgate_server::metrics::Metrics;
use sealgate_server::roots::TufRoots;
use serde_json::{Value, json};

use crate::cli::files;
use crate::failure::{CliError, Outcome, exit};
use crate::output::{self, Format};
use crate::serve::roots;
use crate::session::Session;
use crate::terminal;

/// The largest record that is read, in bytes; the gate writes none above 16 MiB.
const MAX_RECORD: u64 = 16 << 20;
/// The time that the TrustRoots of a folder have to be read.
const ROOTS_TIMEOUT: Duration = Duration::from_secs(2);

/// Repeat recorded admission decisions, without a network
///
/// Judges the facts in a record of `sealgate serve --record-dir` again: by the rules in the record,
/// or with --policies by the policies of a folder. Prints the decision and its differences from the
/// recorded one. Nothing is verified again: if the policies require a signature that the record has
/// no facts about, the result is a fault, never a pass.
///
/// Exit codes: 0 if every decision is the same, 14 if one differs, 1 if a record or the policies
/// cannot be read.
#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// Judge by the policies of this folder instead of by the rules in the record
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,

    /// Namespace of secretRefs and of config-policy-controller in the folder
    #[arg(long, value_name = "NAMESPACE", default_value = "cosign-system", requires = "policies")]
    namespace: String,

    /// Trust root for policies without a trustRootRef [default: the one from `sealgate initialize`,
    /// else the embedded public-good root]
    #[arg(long, value_name = "FILE", requires = "policies")]
    trusted_root: Option<PathBuf>,

    /// Output format; json prints one line for each record
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,

    /// Records, or folders of records
    #[arg(value_name = "RECORD", required = true)]
    records: Vec<PathBuf>,
}

pub(crate) async fn run(args: ReplayArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    let policies = match &args.policies {
        Some(folder) => Some(load(folder, &args, session.cluster_timeout()).await?),
        None => None,
    };
    let (mut different, mut unusable) = (0_usize, 0_usize);
    let records = records(&args.records)?;
    for path in &records {
        let record = read(path)?;
        let replay = match &policies {
            Some(policies) => record.replay_with(policies),
            None => record.replay(),
        };
        let replay = match replay {
            Ok(replay) => replay,
            Err(why) => {
                terminal::warn(format!("{}: {why}", path.display()));
                unusable += 1;
                continue;
            }
        };
        different += usize::from(!replay.differences.is_empty());
        match args.output {
            Format::Text => session.print(text(path, &record, &replay))?,
            Format::Json => output::document(session, "replay", document(path, &record, &replay))?,
        }
    }
    match (unusable, different) {
        (0, 0) => Ok(()),
        (1.., _) => {
            let records = output::count(records.len(), "record");
            Err(CliError::new(format!("{unusable} of {records} cannot be replayed")))
        }
        (0, _) => Err(CliError::new(format!("{different} of {} differ", decisions(records.len())))
            .code(exit::DIFFERENT)),
    }
}

/// The policies of a folder, loaded as the admission webhook loads them.
async fn load(
    folder: &Path,
    args: &ReplayArgs,
    patience: Duration,
) -> Result<Arc<PolicySet>, CliError> {
    if !folder.is_dir() {
        return Err(CliError::new(format!("--policies: {} is not a directory", folder.display())));
    }
    let roots = roots::open_with(args.trusted_root.as_deref(), Arc::new(OfflineRoots)).await?;
    let options = FolderOptions {
        system_namespace: args.namespace.clone(),
        settle: Duration::ZERO,
        ..FolderOptions::new(folder)
    };
    let (mut policies, _secrets) = follow(options, roots, Arc::new(Metrics::new()));
    // The first state is sent when the folder was read once, further ones as TrustRoots are read.
    let mut limit = patience;
    while matches!(tokio::time::timeout(limit, policies.changed()).await, Ok(Ok(()))) {
        if policies.borrow().problems.is_empty() {
            break;
        }
        limit = ROOTS_TIMEOUT.min(patience);
    }
    let state = policies.borrow().clone();
    for problem in &state.problems {
        terminal::warn(format!("--policies: {problem}"));
    }
    state.set.ok_or_else(|| CliError::new("--policies: the policies cannot be used as written"))
}

/// TrustRoots without a network: one with a `remote` cannot be read.
struct OfflineRoots;

impl RootRepositories for OfflineRoots {
    fn open(&self, spec: &trust_root::Spec) -> Result<Box<dyn RootRepository>, Fault> {
        if spec.remote.is_some() {
            let detail = "replay uses no network, so a TrustRoot with `remote` cannot be read";
            return Err(Fault::new(FaultKind::Unsupported, "remote", detail));
        }
        TufRoots.open(spec)
    }
}

/// The files that the arguments name; of a folder, those that `serve --record-dir` wrote.
fn records(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut records = Vec::new();
    for path in arguments {
        if !path.is_dir() {
            records.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|error| files::named(path, &error))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| files::named(path, &error))?;
            if entry.file_name().to_string_lossy().ends_with(".decision.json") {
                found.push(entry.path());
            }
        }
        if found.is_empty() {
            return Err(CliError::new(format!("{}: no records in this folder", path.display())));
        }
        found.sort();
        records.extend(found);
    }
    Ok(records)
}

fn read(path: &Path) -> Result<DecisionRecord, CliError> {
    let bytes = files::read(path, MAX_RECORD)?;
    let invalid = |why: &str| CliError::new(format!("{}: {why}", path.display()));
    let record: DecisionRecord = serde_json::from_slice(&bytes)
        .map_err(|error| invalid(&format!("no decision record: {error}")))?;
    if record.schema != SCHEMA {
        return Err(invalid(&format!("schema {:?}, expected {SCHEMA:?}", record.schema)));
    }
    Ok(record)
}

fn text(path: &Path, record: &DecisionRecord, replay: &Replay) -> String {
    let scope = &record.admission.workload.scope;
    let mut text = format!(
        "{}: {} {} {}/{} by {}: {}\n",
        record.time,
        line(&scope.operation),
        line(&scope.kind),
        line(&scope.namespace),
        line(&scope.name),
        line(&record.admission.user),
        word(replay.decision.allowed),
    );
    for line in replay.decision.message.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    for warning in &replay.decision.warnings {
        text.push_str(&format!("  warning: {}\n", line(warning)));
    }
    if replay.differences.is_empty() {
        text.push_str("  same decision as recorded\n");
    }
    for difference in &replay.differences {
        text.push_str(&format!(
            "  differs from {}: {}\n",
            line(&path.display().to_string()),
            line(&told(difference, record))
        ));
    }
    terminal::clean(&text).into_owned()
}

fn document(path: &Path, record: &DecisionRecord, replay: &Replay) -> Value {
    json!({
        "record": path.display().to_string(),
        "time": record.time,
        "uid": record.admission.uid,
        "same": replay.differences.is_empty(),
        "recorded": { "allowed": record.allowed, "message": record.message,
                      "warnings": record.warnings, "policies": record.policies },
        "replayed": { "allowed": replay.decision.allowed, "message": replay.decision.message,
                      "warnings": replay.decision.warnings, "images": replay.decision.images },
        "differences": replay.differences.iter().map(|it| difference(it, record)).collect::<Vec<_>>(),
    })
}

fn difference(difference: &Difference, record: &DecisionRecord) -> Value {
    let what = match difference {
        Difference::Allowed { .. } => "allowed",
        Difference::Message => "message",
        Difference::Warnings => "warnings",
        Difference::Image { .. } => "image",
        Difference::RuleGone { .. } => "rule-gone",
        Difference::RuleNew { .. } => "rule-new",
    };
    json!({ "what": what, "text": told(difference, record) })
}

fn told(difference: &Difference, record: &DecisionRecord) -> String {
    match difference {
        Difference::Allowed { now } => {
            format!("recorded {}, now {}", word(record.allowed), word(*now))
        }
        Difference::Message => "the text of the denial".to_owned(),
        Difference::Warnings => "the warnings".to_owned(),
        Difference::Image { recorded, replayed } => {
            let image = recorded.as_ref().or(replayed.as_ref());
            let path = image.map_or("", |image| &image.path);
            format!("{path}: recorded {}, now {}", outcome(recorded), outcome(replayed))
        }
        Difference::RuleGone { name, fingerprint } => {
            format!("policy {name} ({fingerprint}) has changed, is gone, or no longer applies")
        }
        Difference::RuleNew { name, fingerprint } => {
            format!("policy {name} ({fingerprint}) is new, has changed, or did not apply before")
        }
    }
}

fn outcome(image: &Option<Box<ImageRecord>>) -> String {
    let Some(image) = image else { return "nothing".to_owned() };
    let rule = if image.rule.is_empty() { String::new() } else { format!(" by {}", image.rule) };
    let codes = match image.codes.is_empty() {
        true => String::new(),
        false => format!(" [{}]", image.codes.join(", ")),
    };
    format!("{}{rule}{codes}", image.outcome)
}

/// Foreign text as one line.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn word(allowed: bool) -> &'static str {
    if allowed { "admitted" } else { "denied" }
}

fn decisions(count: usize) -> String {
    output::count(count, "decision")
}
