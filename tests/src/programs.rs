//! Clients as child processes: each in a sandbox (a directory that is its HOME, working directory
//! and Docker configuration), without the developer's own environment.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::Context as _;
use serde_json::Value;
use tempfile::TempDir;

/// Password of all test keys.
pub const PASSWORD: &str = "correct horse";

/// Time limit of a client.
const LIMIT_SECONDS: &str = "120";

/// Directory of one test, in which programs run.
pub struct Sandbox {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

/// Result of a program.
#[derive(Debug)]
pub struct Run {
    /// Command line, for messages.
    pub shown: String,
    /// Exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Sandbox {
    /// New, empty directory.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self { folder, environment: Vec::new() }
    }

    /// Adds an environment variable for every program.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let folder = path.parent().expect("a file has a folder");
        fs::create_dir_all(folder).expect("a folder for the file");
        fs::write(&path, content).unwrap_or_else(|error| panic!("writing {name}: {error}"));
        path
    }

    /// Reads a text file in the directory.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs `sealgate`, the binary under test.
    pub fn sealgate<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Run {
        self.run(&sealgate(), arguments, None)
    }

    /// Runs the real `cosign`.
    pub fn cosign<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Run {
        self.run(&built("cosign"), arguments, None)
    }

    /// Runs another program of this machine.
    pub fn program<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Run {
        self.run(Path::new(program), arguments, None)
    }

    /// Runs a program with standard input.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        arguments: &[S],
        input: Option<&[u8]>,
    ) -> Run {
        let mut command = self.command(program, arguments);
        let shown = show(program, arguments);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        let mut stdin = child.stdin.take().expect("standard input is piped");
        let input = input.unwrap_or_default().to_vec();
        // A program that does not read its input is no error, so write errors are ignored.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("{shown}: {error}"));
        writer.join().expect("writing to standard input");
        Run {
            shown,
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Command of a program in this sandbox, ready to be spawned.
    pub fn command<S: AsRef<OsStr>>(&self, program: &Path, arguments: &[S]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=1", LIMIT_SECONDS]).arg(program).args(arguments);
        command.env_clear().current_dir(self.folder.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.folder.path());
        command.env("DOCKER_CONFIG", self.path(".docker"));
        command.env("COSIGN_PASSWORD", PASSWORD);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// Panics with a full report unless the program exited with 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Variant for another exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of\n{}", self.report());
        self
    }

    /// Asserts that the program failed and standard error contains `text`.
    #[track_caller]
    pub fn fails_with(self, text: &str) -> Self {
        assert_ne!(self.code, 0, "should have failed:\n{}", self.report());
        self.says(text)
    }

    /// Asserts that standard error contains `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "stderr lacks {text:?}:\n{}", self.report());
        self
    }

    /// Asserts that standard error does not contain `text`.
    #[track_caller]
    pub fn says_no(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text), "stderr has {text:?}:\n{}", self.report());
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(self.stdout.trim()) {
            Ok(value) => value,
            Err(error) => panic!("stdout is not JSON ({error}):\n{}", self.report()),
        }
    }

    /// Full report as text.
    pub fn report(&self) -> String {
        let Self { shown, code, stdout, stderr } = self;
        format!("$ {shown}\n[{code}]\n-- stdout\n{stdout}\n-- stderr\n{stderr}")
    }
}

/// Binary under test: `SEALGATE_BIN`, or the one from the same build as this test, which must not
/// be older than its sources: the tests would otherwise check an outdated program.
pub fn sealgate() -> PathBuf {
    static OWN: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
        let path = profile_folder().map_err(|error| error.to_string())?.join("sealgate");
        match changed_since_built(&path) {
            None => Ok(path),
            Some(why) => Err(format!("{}: {why}: run `cargo build` first", path.display())),
        }
    });
    let Some(given) = std::env::var_os("SEALGATE_BIN").map(PathBuf::from) else {
        return OWN.clone().unwrap_or_else(|why| panic!("{why}"));
    };
    assert!(given.is_file(), "SEALGATE_BIN: {} is not there", given.display());
    given
}

/// Reason why a program is outdated; cargo lists its sources next to it.
fn changed_since_built(program: &Path) -> Option<String> {
    let changed = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
    let Some(built) = changed(program) else { return Some("it is not there".to_owned()) };
    let Ok(list) = fs::read_to_string(program.with_extension("d")) else {
        return Some("cargo's list of its sources is not there".to_owned());
    };
    // Makefile syntax: `program: source source`, with a backslash before a space in a name.
    let list = list.replace("\\ ", "\0");
    let mut sources = list.lines().next()?.split(' ').skip(1).map(|name| name.replace('\0', " "));
    let newer = |name: &String| changed(Path::new(name)).is_none_or(|time| time > built);
    sources.find(newer).map(|name| format!("it is older than {name}"))
}

/// Program built by `cargo xtask install`.
pub fn built(program: &str) -> PathBuf {
    let cache = match std::env::var_os("SEALGATE_TEST_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").expect("HOME is set"))
            .join(".cache/sealgate-tests"),
    };
    let path = cache.join("bin").join(program);
    assert!(path.is_file(), "{program} is missing: run `cargo xtask install` first");
    path
}

/// File or directory that `cargo xtask install` took from policy-controller's module.
pub fn of_policy_controller(name: &str) -> PathBuf {
    let bin = built("policy-controller");
    let cache = bin.parent().and_then(Path::parent).expect("the cache is two levels up");
    let path = cache.join("policy-controller").join(name);
    assert!(path.exists(), "{} is missing: run `cargo xtask install` first", path.display());
    path
}

/// `target/debug`, derived from the location of this program: a test in `target/debug/deps`, the
/// bench in `target/release` itself.
pub(crate) fn profile_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("where is this program?")?;
    let mut folder = program.parent().context("a program stands in a folder")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("deps stands in target/PROFILE")?;
    }
    Ok(folder.to_path_buf())
}

fn show<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(arguments.iter().map(AsRef::as_ref));
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
