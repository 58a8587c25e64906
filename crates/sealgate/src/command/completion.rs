//! `completion`: scripts with which a shell completes command lines.

use clap::Args;
use clap_complete::Shell;

use crate::cli;
use crate::failure::Outcome;
use crate::session::Session;

/// Print a completion script for a shell
#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: CompletionArgs, session: &mut Session) -> Outcome {
    let mut script = Vec::new();
    let program = session.program;
    clap_complete::generate(args.shell, &mut cli::command(program), program, &mut script);
    session.print(script)
}
