//! State of a running command: its output and global flags.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use crate::cli::files;
use crate::failure::CliError;

/// The machine-readable output: standard output, or the file of `--output-file`.
pub(crate) struct Session {
    out: Box<dyn Write + Send>,
    /// The name that the program was called by: `sealgate` or `cosign`.
    pub(crate) program: &'static str,
    /// `--timeout`.
    pub(crate) timeout: Duration,
    /// The format of failures, in addition to the text on standard error.
    pub(crate) errors: Errors,
}

/// The format of failures, in addition to the text on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Errors {
    /// Text only.
    #[default]
    Text,
    /// Also `sealgate.dev/error/v1` on standard output.
    Document,
}

impl Session {
    pub(crate) fn new(
        output_file: Option<&Path>,
        program: &'static str,
        timeout: Duration,
    ) -> Result<Self, CliError> {
        let out: Box<dyn Write + Send> = match output_file {
            None => Box::new(std::io::stdout()),
            Some(path) => Box::new(std::fs::File::create(path).map_err(|error| {
                let step = format!("error creating output file {}", path.display());
                files::named(path, &error).during(&step)
            })?),
        };
        Ok(Self { out, program, timeout, errors: Errors::Text })
    }

    /// The time limit for waiting for a cluster: less than `--timeout`, so that there is time to
    /// report the reason.
    pub(crate) fn cluster_timeout(&self) -> Duration {
        self.timeout - self.timeout / 10
    }

    /// Writes text without a line break.
    pub(crate) fn print(&mut self, text: impl AsRef<[u8]>) -> Result<(), CliError> {
        match self.out.write_all(text.as_ref()).and_then(|()| self.out.flush()) {
            // The reader (such as `head`) has closed the pipe.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|error| CliError::from(error).during("writing the output")),
        }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.print(format!("{}\n", text.as_ref()))
    }
}
