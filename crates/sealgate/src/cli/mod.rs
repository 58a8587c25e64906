//! The command line: flags as typed. What they mean is worked out in each command's own file; the
//! differences between Go's flags and clap's are levelled in [`normal`].

pub(crate) mod cluster;
pub(crate) mod fetch;
pub(crate) mod files;
pub(crate) mod identity;
pub(crate) mod keys;
pub(crate) mod normal;
pub(crate) mod registry;
pub(crate) mod root;
pub(crate) mod signing;
pub(crate) mod spec;
pub(crate) mod trust;
pub(crate) mod values;
pub(crate) mod verb;
pub(crate) mod verifying;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::command;
use crate::terminal;
use values::{BOOL, go_bool, go_duration};
use verb::Verb;

/// Everything that can be typed.
#[derive(Parser, Debug)]
#[command(
    name = "sealgate",
    version,
    about = "Signs and verifies container images, and enforces ClusterImagePolicies in a Kubernetes cluster",
    long_about = "Signs and verifies container images, and enforces ClusterImagePolicies in a \
                  Kubernetes cluster as an admission webhook.\n\nReads and writes the same \
                  formats as cosign; behaves the same if called by the name cosign.",
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalFlags,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct GlobalFlags {
    /// Write standard output to FILE
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) output_file: Option<PathBuf>,

    /// Time limit for the command
    #[arg(
        short,
        long,
        global = true,
        value_name = "DURATION",
        default_value = "3m0s",
        value_parser = go_duration,
        help_heading = "Global options"
    )]
    pub(crate) timeout: Duration,

    /// Log what the command does, and its network requests, to standard error
    #[arg(
        short = 'd',
        long,
        global = true,
        value_name = BOOL,
        value_parser = go_bool,
        help_heading = "Global options"
    )]
    pub(crate) verbose: Option<bool>,
}

/// The verbs. One file each under `command/`.
#[derive(Subcommand, Debug)]
#[command(defer = true)]
pub(crate) enum Command {
    Attach(Verb<command::attach::AttachArgs>),
    Bundle(Verb<command::bundle::BundleArgs>),
    Clean(Verb<command::clean::CleanArgs>),
    Completion(Verb<command::completion::CompletionArgs>),
    Copy(Verb<command::copy::CopyArgs>),
    Demo(Verb<crate::demo::DemoArgs>),
    Download(Verb<command::download::DownloadArgs>),
    Env(Verb<command::env::EnvArgs>),
    GenerateKeyPair(Verb<command::generate_key_pair::GenerateKeyPairArgs>),
    ImportKeyPair(Verb<command::import_key_pair::ImportKeyPairArgs>),
    Initialize(Verb<command::initialize::InitializeArgs>),
    Install(Verb<Box<command::install::InstallArgs>>),
    Load(Verb<command::load::LoadArgs>),
    Login(Verb<command::login::LoginArgs>),
    Man(Verb<command::man::ManArgs>),
    PublicKey(Verb<command::public_key::PublicKeyArgs>),
    Replay(Verb<command::replay::ReplayArgs>),
    Save(Verb<command::save::SaveArgs>),
    Serve(Verb<Box<crate::serve::ServeArgs>>),
    Sign(Verb<Box<command::sign::SignArgs>>),
    SignBlob(Verb<Box<command::sign_blob::SignBlobArgs>>),
    #[command(hide = true)]
    SignBundle(Verb<Box<command::sign_bundle::SignBundleArgs>>),
    SigningConfig(Verb<command::signing_config::SigningConfigArgs>),
    Tree(Verb<command::tree::TreeArgs>),
    Triangulate(Verb<command::triangulate::TriangulateArgs>),
    TrustedRoot(Verb<command::trusted_root::TrustedRootArgs>),
    Uninstall(Verb<command::uninstall::UninstallArgs>),
    Verify(Verb<Box<command::verify::VerifyArgs>>),
    VerifyBlob(Verb<Box<command::verify_blob::VerifyBlobArgs>>),
    #[command(hide = true)]
    VerifyBundle(Verb<Box<command::verify_bundle::VerifyBundleArgs>>),
    Version(Verb<command::version::VersionArgs>),
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// The whole command line as clap sees it, for completion, manuals and help.
pub(crate) fn command(name: &str) -> clap::Command {
    let mut command = outline(name);
    command.build();
    command
}

/// The command line with the names of the verbs: clap puts a verb's flags together when it is
/// called.
fn outline(name: &str) -> clap::Command {
    let command = normal::adapt(Cli::command());
    if name == "sealgate" { command } else { command.name("cosign").bin_name("cosign") }
}

/// Reads the process's arguments. Warnings about old spellings go to standard error.
pub(crate) fn parse(name: &str, arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let (arguments, warnings) = normal::arguments(|| command(name), arguments.into_iter());
    for warning in warnings {
        terminal::warn(warning);
    }
    let matches = match outline(name).try_get_matches_from(&arguments) {
        // Help names all verbs and says what they do.
        Err(error) if is_help(&error) => command(name).try_get_matches_from(&arguments),
        other => other,
    };
    Cli::from_arg_matches(&matches?)
}

fn is_help(error: &clap::Error) -> bool {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand};
    matches!(error.kind(), DisplayHelp | DisplayHelpOnMissingArgumentOrSubcommand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        command("sealgate").debug_assert();
        command("cosign").debug_assert();
    }
}
