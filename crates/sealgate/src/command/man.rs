//! `man`: manual pages, generated from the definition of the command line.

use std::path::{Path, PathBuf};

use clap::Args;
use clap_mangen::Man;

use crate::cli;
use crate::cli::files::{self, Mode};
use crate::failure::{CliError, Outcome};
use crate::session::Session;
use crate::terminal;

/// Print the manual page, or write the manual pages of all commands to a folder
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Folder to write the pages to, one for each command
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: ManArgs, session: &mut Session) -> Outcome {
    let command = cli::command(session.program);
    match args.dir {
        None => session.print(page(command)?),
        Some(dir) => {
            std::fs::create_dir_all(&dir)?;
            let count = write_all(&command, session.program, &dir)?;
            terminal::say(format!("{count} manual pages written to {}", dir.display()));
            Ok(())
        }
    }
}

fn write_all(command: &clap::Command, name: &str, dir: &Path) -> Result<usize, CliError> {
    let named = command.clone().name(name.to_owned());
    files::write(&dir.join(format!("{name}.1")), &page(named)?, Mode::Public)?;
    let mut count = 1;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        count += write_all(sub, &format!("{name}-{}", sub.get_name()), dir)?;
    }
    Ok(count)
}

fn page(command: clap::Command) -> Result<Vec<u8>, CliError> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}
