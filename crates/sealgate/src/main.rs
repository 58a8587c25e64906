//! `sealgate`: the command line and the wiring. Signatures are verified and judged in the library
//! crates; this one parses flags, prompts for passwords, connects the parts and prints.

mod cli;
mod clock;
mod command;
mod demo;
#[cfg(test)]
mod docs;
mod failure;
mod output;
mod serve;
mod session;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use cli::verb::Verb;
use cli::{Cli, Command};
use failure::{CliError, Outcome};
use session::{Errors, Session};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let program = program_name(arguments.first());
    let cli = match cli::parse(program, arguments.clone()) {
        Ok(cli) => cli,
        Err(error) => return command::usage::explain(&error, program, &arguments),
    };
    match run(cli, program) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::show(error.render());
            ExitCode::from(error.code)
        }
    }
}

/// Returns `cosign` if the program was called by that name, so that messages and completions match.
fn program_name(first: Option<&OsString>) -> &'static str {
    let name = first.and_then(|path| std::path::Path::new(path).file_stem());
    if name.is_some_and(|name| name == "cosign") { "cosign" } else { "sealgate" }
}

fn run(cli: Cli, program: &'static str) -> Outcome {
    let mut session = Session::new(cli.global.output_file.as_deref(), program, cli.global.timeout)?;
    let verbose = cli.global.verbose == Some(true);
    let command = match cli.command {
        // The gate and the demo run until they are stopped, on their own runtime; the gate has its
        // own log.
        Command::Serve(Verb(args)) => return serve::run(*args, verbose),
        Command::Demo(Verb(args)) => return demo::run(args),
        other => other,
    };
    start_logging(verbose);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome =
        runtime.block_on(with_timeout(cli.global.timeout, dispatch(command, &mut session)));
    // A blocking task (a password prompt, scrypt) must not delay the exit.
    runtime.shutdown_background();
    if let (Err(error), Errors::Document) = (&outcome, session.errors) {
        output::error_document(&mut session, error)?;
    }
    outcome
}

/// Applies `--timeout`, as in cosign: zero expires at once.
async fn with_timeout(limit: Duration, work: impl Future<Output = Outcome>) -> Outcome {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(CliError::new("context deadline exceeded").note(format!(
            "the command did not finish within {limit:?}; increase the limit with --timeout"
        ))),
    }
}

async fn dispatch(command: Command, session: &mut Session) -> Outcome {
    match command {
        Command::Attach(Verb(args)) => command::attach::run(args, session).await,
        Command::Bundle(Verb(args)) => command::bundle::run(args, session).await,
        Command::Clean(Verb(args)) => command::clean::run(args, session).await,
        Command::Completion(Verb(args)) => command::completion::run(args, session),
        Command::Copy(Verb(args)) => command::copy::run(args, session).await,
        Command::Download(Verb(args)) => command::download::run(args, session).await,
        Command::Env(Verb(args)) => command::env::run(args, session),
        Command::GenerateKeyPair(Verb(args)) => {
            command::generate_key_pair::run(args, session).await
        }
        Command::ImportKeyPair(Verb(args)) => command::import_key_pair::run(args, session).await,
        Command::Initialize(Verb(args)) => command::initialize::run(args, session).await,
        Command::Install(Verb(args)) => command::install::run(*args, session).await,
        Command::Load(Verb(args)) => command::load::run(args, session).await,
        Command::Login(Verb(args)) => command::login::run(args, session).await,
        Command::Man(Verb(args)) => command::man::run(args, session),
        Command::PublicKey(Verb(args)) => command::public_key::run(args, session).await,
        Command::Replay(Verb(args)) => command::replay::run(args, session).await,
        Command::Save(Verb(args)) => command::save::run(args, session).await,
        Command::Sign(Verb(args)) => command::sign::run(*args, session).await,
        Command::SignBlob(Verb(args)) => command::sign_blob::run(*args, session).await,
        Command::SignBundle(Verb(args)) => command::sign_bundle::run(*args).await,
        Command::SigningConfig(Verb(args)) => command::signing_config::run(args, session).await,
        Command::Tree(Verb(args)) => command::tree::run(args, session).await,
        Command::Triangulate(Verb(args)) => command::triangulate::run(args, session).await,
        Command::TrustedRoot(Verb(args)) => command::trusted_root::run(args, session).await,
        Command::Uninstall(Verb(args)) => command::uninstall::run(args, session).await,
        Command::Verify(Verb(args)) => command::verify::run(*args, session).await,
        Command::VerifyBlob(Verb(args)) => command::verify_blob::run(*args, session).await,
        Command::VerifyBundle(Verb(args)) => command::verify_bundle::run(*args).await,
        Command::Version(Verb(args)) => command::version::run(args, session),
        Command::Serve(_) | Command::Demo(_) => {
            Err(CliError::new("this command runs on its own runtime"))
        }
        Command::Other(words) => command::usage::unknown(&words, session),
    }
}

/// Starts logging with `--verbose` or `RUST_LOG`.
fn start_logging(verbose: bool) {
    use tracing_subscriber::EnvFilter;
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::new(filter),
        _ if verbose => EnvFilter::new(
            "sealgate=debug,sealgate_registry=debug,sealgate_engine=debug,sealgate_kube=debug",
        ),
        // Without logging, no subscriber is installed, to save its startup cost.
        _ => return,
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
