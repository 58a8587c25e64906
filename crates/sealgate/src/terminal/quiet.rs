//! Input of a line without echo. Echo is restored when the prompt ends, by an answer or by
//! `--timeout`.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{MAX_PASSWORD, waiting};
use crate::failure::CliError;

/// A terminal without echo, until dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

/// Reads the next line of standard input, which is a terminal, without its line break.
pub(super) async fn line() -> Result<Zeroizing<Vec<u8>>, CliError> {
    let quiet = Quiet::begin()?;
    let terminal = quiet.terminal.try_clone()?;
    waiting(move || read_line(terminal)).await
}

impl Quiet {
    fn begin() -> io::Result<Self> {
        let terminal = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        // The line break is echoed, so that the following text begins on its own line.
        quiet.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(&terminal, OptionalActions::Now, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // An error means that the terminal is closed.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Reads byte by byte: the bytes after the line belong to the next prompt.
fn read_line(mut source: impl io::Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(4096));
    let mut byte = [0];
    while line.len() as u64 <= MAX_PASSWORD {
        if source.by_ref().take(1).read(&mut byte)? == 0 || byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_taken_and_no_more() {
        let mut source = &b"one\r\ntwo\n"[..];
        assert_eq!(*read_line(&mut source).unwrap(), b"one");
        assert_eq!(source, b"two\n");
        assert_eq!(*read_line(&b"no break"[..]).unwrap(), b"no break");
        assert_eq!(*read_line(io::repeat(b'x')).unwrap(), vec![b'x'; MAX_PASSWORD as usize + 1]);
    }
}
