//! What getting a token needs of the world: the environment, the time, the person at the terminal,
//! the browser, places on the disk and in the network.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sealgate_engine::ports::Clock;
use url::Url;

use crate::http;

/// The variables that are read; no other is looked at.
pub const VARIABLES: [&str; 18] = [
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "BROWSER",
    "BUILDKITE_AGENT_ACCESS_TOKEN",
    "BUILDKITE_AGENT_ENDPOINT",
    "BUILDKITE_JOB_ID",
    "CIRCLECI",
    "CIRCLE_OIDC_TOKEN_V2",
    "DISPLAY",
    "GCE_METADATA_HOST",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "GOOGLE_SERVICE_ACCOUNT_NAME",
    "PATH",
    "SIGSTORE_ID_TOKEN",
    "SPIFFE_ENDPOINT_SOCKET",
    "WAYLAND_DISPLAY",
    "WSL_DISTRO_NAME",
];

/// How long a program that opens a browser may take to say that it cannot.
const BROWSER_PATIENCE: Duration = Duration::from_secs(3);

/// The world around a request for a token. `Debug` shows no value of a variable.
#[derive(Clone)]
pub struct Surroundings {
    variables: BTreeMap<String, String>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How time is waited for.
    pub pace: Arc<dyn Pace>,
    /// Where a person is told what to do and what is tried.
    pub console: Arc<dyn Console>,
    /// Opens pages.
    pub browser: Arc<dyn Browser>,
    /// Whether a person is there.
    pub terminal: Terminal,
    /// How services are reached.
    pub http: http::Options,
    /// Where things lie.
    pub places: Places,
    /// How long a person may take to log in by the browser.
    pub login_deadline: Duration,
}

/// Where things lie that have one place everywhere but in tests.
#[derive(Clone, Debug)]
pub struct Places {
    /// The token that Kubernetes projects.
    pub filesystem_token: PathBuf,
    /// The name of the machine's make.
    pub product_name: PathBuf,
    /// SPIFFE's socket, unless `SPIFFE_ENDPOINT_SOCKET` names another.
    pub spiffe_socket: PathBuf,
    /// Google's service that issues tokens for other accounts.
    pub google_credentials: String,
}

/// Whether a person is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Standard input is a terminal.
    Interactive,
    /// A script or a pipeline.
    Absent,
}

/// Where a person is told what to do. Never told a secret.
pub trait Console: Send + Sync {
    /// Shows one line or more.
    fn say(&self, text: &str);
}

/// Opens a page for a person.
#[async_trait]
pub trait Browser: Send + Sync {
    /// Opens `page`, or says why it cannot.
    async fn open(&self, page: &Url) -> Result<(), String>;
}

/// How time is waited for.
#[async_trait]
pub trait Pace: Send + Sync {
    /// Returns when so much time has passed.
    async fn pause(&self, time: Duration);
}

/// The runtime's own timer.
struct Timer;

/// The browser that the operating system opens pages with.
#[derive(Clone, Debug)]
pub struct SystemBrowser {
    programs: Vec<(PathBuf, &'static [&'static str])>,
    /// Why there is none, as far as the environment tells.
    missing: Option<&'static str>,
}

impl Surroundings {
    /// The process's environment, the operating system's browser, and the usual places.
    pub fn of_process(
        clock: Arc<dyn Clock>,
        console: Arc<dyn Console>,
        terminal: Terminal,
        http: http::Options,
    ) -> Self {
        let variables = VARIABLES
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect();
        Self::with_variables(variables, clock, console, terminal, http)
    }

    /// As [`Self::of_process`], with these variables instead of the process's.
    pub(crate) fn with_variables(
        variables: BTreeMap<String, String>,
        clock: Arc<dyn Clock>,
        console: Arc<dyn Console>,
        terminal: Terminal,
        http: http::Options,
    ) -> Self {
        let browser = Arc::new(SystemBrowser::find(&variables));
        Self {
            variables,
            clock,
            pace: Arc::new(Timer),
            console,
            browser,
            terminal,
            http,
            places: Places::default(),
            login_deadline: Duration::from_secs(120),
        }
    }

    /// A variable's value; an empty one counts as not set.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A program in the search path.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        find(self.variable("PATH").unwrap_or_default(), name)
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .field("terminal", &self.terminal)
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl Default for Places {
    fn default() -> Self {
        Self {
            filesystem_token: "/var/run/sigstore/cosign/oidc-token".into(),
            product_name: "/sys/class/dmi/id/product_name".into(),
            spiffe_socket: "/tmp/spire-agent/public/api.sock".into(),
            google_credentials: "https://iamcredentials.googleapis.com".to_owned(),
        }
    }
}

#[async_trait]
impl Pace for Timer {
    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

impl SystemBrowser {
    /// Looks for a program that opens pages.
    fn find(variables: &BTreeMap<String, String>) -> Self {
        let value = |name| variables.get(name).filter(|value| !value.is_empty());
        let candidates: &[(&str, &'static [&'static str])] = match std::env::consts::OS {
            "macos" => &[("open", &[])],
            "windows" => &[("rundll32.exe", &["url.dll,FileProtocolHandler"])],
            _ => &[("xdg-open", &[]), ("wslview", &[]), ("x-www-browser", &[])],
        };
        let screens = ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER"];
        let needs_screen = !["macos", "windows"].contains(&std::env::consts::OS);
        // A browser for terminals would take this terminal, and hide what is written there.
        let missing = (needs_screen && screens.into_iter().all(|name| value(name).is_none()))
            .then_some("there is no screen (DISPLAY, WAYLAND_DISPLAY)");
        let path = value("PATH").map(String::as_str).unwrap_or_default();
        let programs = candidates
            .iter()
            .filter_map(|(name, arguments)| Some((find(path, name)?, *arguments)))
            .collect();
        Self { programs, missing }
    }
}

#[async_trait]
impl Browser for SystemBrowser {
    async fn open(&self, page: &Url) -> Result<(), String> {
        if let Some(why) = self.missing {
            return Err(why.to_owned());
        }
        let mut why = "there is no program that opens pages (xdg-open)".to_owned();
        for (program, arguments) in &self.programs {
            match start(program, arguments, page).await {
                Ok(()) => return Ok(()),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

/// A program that still runs after a while has opened the page.
async fn start(program: &Path, arguments: &[&str], page: &Url) -> Result<(), String> {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .arg(page.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    match tokio::time::timeout(BROWSER_PATIENCE, child.wait()).await {
        Ok(Ok(status)) if !status.success() => Err(format!("{}: {status}", program.display())),
        Ok(Err(error)) => Err(format!("{}: {error}", program.display())),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// `name` in `search` (a `PATH`): absolute folders only, so that no program of the folder that we
/// happen to be in is started.
fn find(search: &str, name: &str) -> Option<PathBuf> {
    std::env::split_paths(search)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
