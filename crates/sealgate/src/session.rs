//! What a running command has: where its output goes.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use crate::cli::files;
use crate::failure::CliError;

/// The output for machines: standard output, or the file of `--output-file`.
pub(crate) struct Session {
    out: Box<dyn Write + Send>,
    /// The name we were called by: `sealgate` or `cosign`.
    pub(crate) program: &'static str,
    /// `--timeout`.
    pub(crate) timeout: Duration,
    /// Whether a failure is to be told as a document, too.
    pub(crate) errors: Errors,
}

/// How failures are told, beside the text on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Errors {
    /// Not at all.
    #[default]
    Text,
    /// As `sealgate.dev/error/v1` on standard output.
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

    /// How long a command may wait for a cluster: less than `--timeout`, so that there is time to say
    /// for what it waited in vain.
    pub(crate) fn patience(&self) -> Duration {
        self.timeout - self.timeout / 10
    }

    /// Writes text as it is.
    pub(crate) fn print(&mut self, text: impl AsRef<[u8]>) -> Result<(), CliError> {
        match self.out.write_all(text.as_ref()).and_then(|()| self.out.flush()) {
            // Whoever read us (`head`) has enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|error| CliError::from(error).during("writing the output")),
        }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.print(format!("{}\n", text.as_ref()))
    }
}
