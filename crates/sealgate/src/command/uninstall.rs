//! `uninstall`: removes the admission webhook from a cluster, webhook configurations first, so that
//! no request fails because the server is gone.

use std::time::Duration;

use clap::Args;
use sealgate_core::fault::FaultKind;
use sealgate_kube::apply;
use sealgate_kube::install::{self, InstallOptions};
use sealgate_kube::migrate::{self, HandOver};
use serde_json::json;

use super::install::ClusterFlags;
use crate::cli::values::{BOOL, go_bool};
use crate::failure::{CliError, Outcome};
use crate::output::{self, Format, OutputFlag};
use crate::session::Session;
use crate::terminal;

/// Remove the gate from a cluster
///
/// Policies, their CustomResourceDefinitions and the namespace are kept unless --with-policies is
/// set.
#[derive(Args, Debug)]
pub(crate) struct UninstallArgs {
    /// Also remove all policies, their CustomResourceDefinitions and the namespace
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    with_policies: Option<bool>,

    /// Switch back to policy-controller; at least one webhook enforces policies at every moment.
    /// The first call frees its names; then install policy-controller and run the command again
    #[arg(long, value_name = BOOL, value_parser = go_bool, conflicts_with_all = ["with_policies", "dry_run"])]
    hand_over: Option<bool>,

    /// Do not ask for confirmation
    #[arg(short, long, value_name = BOOL, value_parser = go_bool)]
    yes: Option<bool>,

    /// Print what would be removed without changing anything
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    dry_run: Option<bool>,

    #[command(flatten)]
    output: OutputFlag,

    #[command(flatten)]
    cluster: ClusterFlags,
}

pub(crate) async fn run(args: UninstallArgs, session: &mut Session) -> Outcome {
    let format = args.output.begin(session);
    let with_policies = args.with_policies == Some(true);
    let options =
        InstallOptions { namespace: args.cluster.namespace.clone(), ..InstallOptions::default() };
    let deletions = install::deletions(&options, with_policies);
    if args.dry_run == Some(true) {
        let planned: Vec<String> = deletions.iter().map(apply::describe).collect();
        if format == Format::Text {
            planned.iter().for_each(|what| terminal::say(format!("would delete {what}")));
            return Ok(());
        }
        return output::document(
            session,
            "uninstall",
            json!({ "planned": planned, "deleted": [] }),
        );
    }
    if args.hand_over == Some(true) {
        return hand_over(&args, &options, session.cluster_timeout()).await;
    }
    if args.yes != Some(true) {
        terminal::warn(match with_policies {
            true => "this will remove the gate, all its policies and its namespace",
            false => "this will remove the gate; images are not judged any more",
        });
        terminal::confirm("in scripts: --yes").await?;
    }
    let client = args.cluster.client().await?;
    let is_unfinished = match migrate::find(&client, &options.namespace).await {
        Ok(found) => found.is_unfinished(),
        // It is in another namespace, and does not belong to this installation.
        Err(fault) if fault.kind == FaultKind::Config => false,
        Err(fault) => return Err(fault.into()),
    };
    if is_unfinished {
        return Err(CliError::new("a migration from or to policy-controller is not finished")
            .note("finish it with sealgate install --replace or sealgate uninstall --hand-over"));
    }
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    let mut is_released = !with_policies;
    for deletion in &deletions {
        let what = apply::describe(deletion);
        // The webhook configurations are gone by now, so the writes are not refused.
        if deletion.kind == "CustomResourceDefinition" && !is_released {
            is_released = true;
            release_policies(&client).await;
        }
        match apply::delete(&client, deletion).await {
            Ok(true) => {
                if format == Format::Text {
                    terminal::say(format!("deleted {what}"));
                }
                deleted.push(what);
            }
            Ok(false) => {}
            // The rest is deleted all the same: a partial installation is worse than none.
            Err(fault) => failed.push(fault),
        }
    }
    match failed.first() {
        None if format == Format::Text => Ok(()),
        None => {
            let planned: Vec<String> = deletions.iter().map(apply::describe).collect();
            let fields = json!({ "planned": planned, "deleted": deleted });
            output::document(session, "uninstall", fields)
        }
        Some(first) => {
            let error = CliError::new(format!(
                "not deleted: {}: {first}",
                output::count(failed.len(), "object")
            ));
            Err(failed.iter().skip(1).fold(error, |error, fault| error.note(fault.to_string())))
        }
    }
}

/// Removes the finalizers of a policy-controller that no longer runs, which would block the
/// deletion of policies and their definitions.
async fn release_policies(client: &sealgate_kube::Client) {
    let stays = |what: &dyn std::fmt::Display| {
        terminal::warn(format!("the finalizer of policy-controller stays: {what}"));
    };
    match migrate::remove_finalizers(client).await {
        Ok(kept) => kept.iter().for_each(|object| stays(object)),
        Err(fault) => stays(&fault),
    }
}

async fn hand_over(args: &UninstallArgs, options: &InstallOptions, patience: Duration) -> Outcome {
    if args.yes != Some(true) {
        terminal::warn("this hands the cluster over to policy-controller, in two calls");
        terminal::confirm("in scripts: --yes").await?;
    }
    let client = args.cluster.client().await?;
    match migrate::hand_over(&client, options, patience, &mut |step| terminal::say(step)).await? {
        HandOver::AwaitingPolicyController => terminal::say(
            "install policy-controller now, wait until its pods are ready, and run \
             sealgate uninstall --hand-over again",
        ),
        HandOver::Done => {}
    }
    Ok(())
}
