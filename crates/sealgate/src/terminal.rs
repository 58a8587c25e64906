//! Talking to a person: warnings and notes on standard error, questions, passwords, progress.

mod quiet;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sealgate_keys::Password;

use crate::failure::CliError;

/// Passwords from standard input or a variable are cut off here: nobody types more.
const MAX_PASSWORD: u64 = 64 * 1024;

/// Text for a person, as it is.
pub(crate) fn show(text: impl AsRef<str>) {
    // Nobody can be told that standard error is closed.
    let mut stream = std::io::stderr().lock();
    let _ = stream.write_all(clean(text.as_ref()).as_bytes()).and_then(|()| stream.flush());
}

/// Text without control characters: a registry must not be able to steer the terminal.
pub(crate) fn clean(text: &str) -> std::borrow::Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    match text.contains(steers) {
        true => text.replace(steers, "\u{fffd}").into(),
        false => text.into(),
    }
}

/// A line for a person.
pub(crate) fn say(text: impl AsRef<str>) {
    show(format!("{}\n", text.as_ref()));
}

/// A warning, in cosign's form.
pub(crate) fn warn(text: impl AsRef<str>) {
    say(format!("WARNING: {}", text.as_ref()));
}

/// Asks for consent as cosign does. Anything but `y` is a no. `otherwise` is what
/// to do where nobody can answer.
pub(crate) async fn confirm(otherwise: &str) -> Result<(), CliError> {
    show("Are you sure you would like to continue? [y/N] ");
    let line = waiting(|| std::io::stdin().lines().next().transpose()).await?;
    let Some(line) = line else {
        // Nobody typed a line break either: what follows begins on a line of its own.
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
    CliError::new("user declined the prompt").note(format!("answer y to go on ({otherwise})"))
}

/// How often a password is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To open a key.
    Once,
    /// To protect a new key.
    Twice,
}

/// The password of a private key: `COSIGN_PASSWORD`, else a prompt without echo, else all of
/// standard input.
pub(crate) async fn key_password(ask: Ask) -> Result<Password, CliError> {
    if let Some(text) = std::env::var_os("COSIGN_PASSWORD") {
        return Ok(Password::new(std::os::unix::ffi::OsStringExt::into_vec(text)));
    }
    if !std::io::stdin().is_terminal() {
        someone_may_answer()?;
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

/// `/dev/null` holds no password, not even an empty one: a key would be protected by nothing.
fn someone_may_answer() -> Result<(), CliError> {
    let stdin = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    if !stdin.metadata()?.file_type().is_char_device() {
        return Ok(());
    }
    Err(CliError::new("inappropriate ioctl for device")
        .note("there is nobody to ask for the key's password: standard input is no terminal")
        .note("what to do: set COSIGN_PASSWORD (empty for a key without one), or pipe it in"))
}

/// What blocks until a person has typed: on a thread of its own, so that `--timeout` can end it.
async fn waiting<T: Send + 'static>(
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, CliError> {
    let read = tokio::task::spawn_blocking(read).await;
    Ok(read.map_err(|_| CliError::new("reading the answer was interrupted"))??)
}

/// A secret typed without echo. The question goes to standard error.
async fn prompt(question: &str) -> Result<Password, CliError> {
    show(question);
    Ok(Password::new(quiet::line().await?.as_slice()))
}

/// A bar over `length` steps on a terminal, nothing in a pipe.
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

/// A spinner on a terminal, nothing in a pipe.
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
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\r\u{9b}c\n"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\n");
        assert_eq!(clean("plain\ttext\n"), "plain\ttext\n");
    }
}
