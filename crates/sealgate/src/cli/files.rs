//! The files that a command line names: read with a bound, and written atomically, with the mode of
//! a secret where they hold one.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use sealgate_core::fault::cause;

use crate::failure::CliError;

/// The path that stands for standard input.
const STDIN: &str = "-";

/// The content of `path`, at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, CliError> {
    let failed = |error: std::io::Error| named(path, &error);
    let file = std::fs::File::open(path).map_err(failed)?;
    bounded(file, limit, path)
}

/// The system's error on reading a file, if there is one.
pub(crate) fn unreadable(path: &Path) -> Option<CliError> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) => return Some(named(path, &error)),
    };
    file.read(&mut [0]).err().map(|error| unread(path, &error))
}

/// The content of standard input, at most `limit` bytes.
pub(crate) fn read_stdin(limit: u64) -> Result<Vec<u8>, CliError> {
    bounded(std::io::stdin().lock(), limit, Path::new(STDIN))
}

/// The content of a file, or of standard input for `-`, at most `limit` bytes.
pub(crate) fn read_or_stdin(path: &Path, limit: u64) -> Result<Vec<u8>, CliError> {
    if path == Path::new(STDIN) { read_stdin(limit) } else { read(path, limit) }
}

/// A reader of a file, or of standard input for `-`.
pub(crate) fn open_or_stdin(path: &Path) -> Result<Box<dyn std::io::Read>, CliError> {
    if path == Path::new(STDIN) {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = std::fs::File::open(path).map_err(|error| named(path, &error))?;
    Ok(Box::new(file))
}

fn bounded(source: impl std::io::Read, limit: u64, path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = source.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| unread(path, &error))?;
    match bytes.len() as u64 > limit {
        true => Err(too_large(path, limit)),
        false => Ok(bytes),
    }
}

/// The mode of a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Readable by the owner only (0600).
    Private,
    /// Readable by all users (0644).
    Public,
}

/// Replaces `path` by `content` in one step. A device or pipe (`/dev/stdout`) is written to.
pub(crate) fn write(path: &Path, content: &[u8], mode: Mode) -> Result<(), CliError> {
    let special = std::fs::metadata(path).is_ok_and(|found| !found.is_file());
    let written =
        if special { std::fs::write(path, content) } else { replace(path, content, mode) };
    written.map_err(|error| named(path, &error))
}

fn replace(path: &Path, content: &[u8], mode: Mode) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Made with mode 0600, so that a secret is never readable, not even for a moment.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    if mode == Mode::Public {
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(&path)?;
    Ok(())
}

/// The failure to open a file, in Go's words, which scripts match.
pub(crate) fn named(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(format!("open {}: {}", path.display(), reason(error)))
}

/// The failure of reading a file that was opened.
pub(crate) fn unread(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(format!("read {}: {}", name(path), reason(error)))
}

/// The refusal of a file larger than `limit` bytes.
pub(crate) fn too_large(path: &Path, limit: u64) -> CliError {
    CliError::new(format!("{}: larger than {limit} bytes", name(path)))
}

/// The path for messages.
fn name(path: &Path) -> std::path::Display<'_> {
    if path == Path::new(STDIN) { Path::new("standard input").display() } else { path.display() }
}

/// The system's text, without the error number and without the names of temporary files:
/// `no such file or directory`.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let mut deepest: &(dyn std::error::Error + 'static) = error;
    while let Some(next) = cause(deepest) {
        deepest = next;
    }
    let text = deepest.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Adds the flags that were given, with their files, one of which causes `error`.
pub(crate) fn given(error: CliError, files: &[(&str, &Option<PathBuf>)]) -> CliError {
    let named = files.iter().filter_map(|(flag, path)| path.as_ref().map(|path| (flag, path)));
    let named: Vec<_> = named.map(|(flag, path)| format!("{flag} {}", path.display())).collect();
    match named.is_empty() {
        true => error,
        false => error.note(format!("given: {}", named.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn writes_with_the_right_mode_and_replaces_whole_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "something much longer").unwrap();
        write(&path, b"short", Mode::Private).unwrap();
        assert_eq!(read(&path, 100).unwrap(), b"short");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        write(&path, b"x", Mode::Public).unwrap();
        assert_eq!(mode(&path), 0o644);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn failures_are_told_in_gos_words() {
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none");
        let told = format!("open {}: no such file or directory", none.display());
        assert_eq!(read(&none, 1).unwrap_err().message, told);
        assert_eq!(unreadable(&none).unwrap().message, told);
        let within = none.join("new.key");
        let told = write(&within, b"x", Mode::Private).unwrap_err().message;
        assert_eq!(told, format!("open {}: no such file or directory", within.display()));
        let told = read(folder.path(), 1).unwrap_err().message;
        assert_eq!(told, format!("read {}: is a directory", folder.path().display()));
        assert_eq!(unreadable(folder.path()).unwrap().message, told);
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(unreadable(&file), None);
    }

    #[test]
    fn reading_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        std::fs::write(&path, "12345").unwrap();
        assert!(read(&path, 5).is_ok());
        assert!(read(&path, 4).is_err());
        assert!(read(&folder.path().join("none"), 4).is_err());
    }
}
