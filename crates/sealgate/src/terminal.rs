//! Interaction with the user: warnings and notes on standard error, prompts, passwords, progress.

mod quiet;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sealgate_keys::Password;

use crate::failure::CliError;

/// The maximum length of a password from standard input or a variable, in bytes.
const MAX_PASSWORD: u64 = 64 * 1024;

/// Writes text to standard error.
pub(crate) fn show(text: impl AsRef<str>) {
    // An error cannot be reported if standard error is closed.
    let mut stream = std::io::stderr().lock();
    let _ = stream.write_all(clean(text.as_ref()).as_bytes()).and_then(|()| stream.flush());
}

/// Replaces control characters: a registry must not be able to control the terminal.
pub(crate) fn clean(text: &str) -> std::borrow::Cow<'_, str> {
    let controls = |c: char| c.is_control() && c != '\n' && c != '\t';
    match text.contains(controls) {
        true => text.replace(controls, "\u{fffd}").into(),
        false => text.into(),
    }
}

/// Writes a line to standard error.
pub(crate) fn say(text: impl AsRef<str>) {
    show(format!("{}\n", text.as_ref()));
}

/// Writes a warning in cosign's format.
pub(crate) fn warn(text: impl AsRef<str>) {
    say(format!("WARNING: {}", text.as_ref()));
}

/// Prompts for confirmation as cosign does. Any answer but `y` declines. `otherwise` is the remedy
/// if nobody can answer.
pub(crate) async fn confirm(otherwise: &str) -> Result<(), CliError> {
    show("Are you sure you would like to continue? [y/N] ");
    let line = waiting(|| std::io::stdin().lines().next().transpose()).await?;
    let Some(line) = line else {
        // Without a typed line break, the following text would continue the prompt's line.
        show("\n");
        return Err(declined(otherwise));
    };
    match line.trim_end_matches('\r').to_ascii_lowercase().as_str() {
        "y" => Ok(()),
        "" | "n" => Err(declined(otherwise)),
        other => {
            let shown: String = other.chars().take(40).collect();
            Err(CliError::new(format!("invalid input {shown:?} (allowed values y, n)")))
        }
    }
}

fn declined(otherwise: &str) -> CliError {
    CliError::new("user declined the prompt").note(format!("answer y to continue ({otherwise})"))
}

/// The number of prompts for a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To open a key.
    Once,
    /// To protect a new key.
    Twice,
}

/// Reads the password of a private key: `COSIGN_PASSWORD`, else a prompt without echo, else all of
/// standard input.
pub(crate) async fn key_password(ask: Ask) -> Result<Password, CliError> {
    if let Some(text) = std::env::var_os("COSIGN_PASSWORD") {
        return Ok(Password::new(std::os::unix::ffi::OsStringExt::into_vec(text)));
    }
    if !std::io::stdin().is_terminal() {
        require_input()?;
        return waiting(|| {
            let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(4096));
            std::io::stdin().take(MAX_PASSWORD).read_to_end(&mut bytes)?;
            Ok(Password::new(bytes.as_slice()))
        })
        .await;
    }
    let first = prompt("Enter password for private key: ").await?;
    if ask == Ask::Twice {
        let second = prompt("Enter password for private key again: ").await?;
        if !first.same_as(&second) {
            return Err(CliError::new("passwords do not match"));
        }
    }
    Ok(first)
}

/// Fails if standard input is a character device such as `/dev/null`: it has no password, not even
/// an empty one, and a key would be unprotected.
fn require_input() -> Result<(), CliError> {
    let stdin = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    if !stdin.metadata()?.file_type().is_char_device() {
        return Ok(());
    }
    Err(CliError::new("inappropriate ioctl for device")
        .note("cannot prompt for the key's password: standard input is not a terminal")
        .note("what to do: set COSIGN_PASSWORD (empty for a key without a password), or pass it on standard input"))
}

/// Runs a blocking read on its own thread, so that `--timeout` can interrupt it.
async fn waiting<T: Send + 'static>(
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, CliError> {
    let read = tokio::task::spawn_blocking(read).await;
    Ok(read.map_err(|_| CliError::new("reading the answer was interrupted"))??)
}

/// Reads a password without echo. The prompt goes to standard error.
async fn prompt(question: &str) -> Result<Password, CliError> {
    show(question);
    Ok(Password::new(quiet::line().await?.as_slice()))
}

/// Shows a progress bar over `length` steps on a terminal, nothing in a pipe.
pub(crate) fn progress(length: usize, what: &'static str) -> ProgressBar {
    if length < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(length as u64).with_message(what);
    let template = "{msg} [{bar:30}] {pos}/{len} {per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Shows a spinner on a terminal, nothing in a pipe.
pub(crate) fn spinner(what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_control_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\r\u{9b}c\n"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\n");
        assert_eq!(clean("plain\ttext\n"), "plain\ttext\n");
    }
}
