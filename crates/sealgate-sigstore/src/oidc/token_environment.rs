//! Environment of a token request: environment variables, clock, console, browser, file paths and
//! service URLs.

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

/// Environment variables in use; no other is read.
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

/// Time limit for a browser launcher to report an error.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(3);

/// Environment of a token request. `Debug` shows no value of a variable.
#[derive(Clone)]
pub struct TokenEnvironment {
    variables: BTreeMap<String, String>,
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// Timer for polling.
    pub sleep: Arc<dyn Sleep>,
    /// Output for instructions and progress.
    pub console: Arc<dyn Console>,
    /// Browser launcher.
    pub browser: Arc<dyn Browser>,
    /// Presence of an interactive terminal.
    pub terminal: Terminal,
    /// HTTP options for all services.
    pub http: http::Options,
    /// File paths and URLs that only tests change.
    pub paths: Paths,
    /// Time limit for a login in the browser.
    pub login_deadline: Duration,
}

/// File paths and URLs that only tests change.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Token projected by Kubernetes.
    pub filesystem_token: PathBuf,
    /// DMI product name of the machine.
    pub product_name: PathBuf,
    /// SPIFFE socket, unless `SPIFFE_ENDPOINT_SOCKET` names another one.
    pub spiffe_socket: PathBuf,
    /// URL of Google's IAM credentials service.
    pub google_credentials: String,
}

/// Presence of an interactive terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Standard input is a terminal.
    Interactive,
    /// Script or CI job.
    Absent,
}

/// Output for instructions to the user. Never receives a secret.
pub trait Console: Send + Sync {
    /// Shows one or more lines.
    fn say(&self, text: &str);
}

/// Browser launcher.
#[async_trait]
pub trait Browser: Send + Sync {
    /// Opens `page`; the error is the reason why it cannot be opened.
    async fn open(&self, page: &Url) -> Result<(), String>;
}

/// Timer.
#[async_trait]
pub trait Sleep: Send + Sync {
    /// Returns after this time.
    async fn sleep(&self, time: Duration);
}

/// Timer of the async runtime.
struct Timer;

/// Default browser of the operating system.
#[derive(Clone, Debug)]
pub struct SystemBrowser {
    programs: Vec<(PathBuf, &'static [&'static str])>,
    /// Reason why no browser can be available, according to the environment.
    missing: Option<&'static str>,
}

impl TokenEnvironment {
    /// Environment variables of this process, the system's browser, and the default paths.
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

    /// Variant of [`Self::of_process`] with explicit environment variables.
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
            sleep: Arc::new(Timer),
            console,
            browser,
            terminal,
            http,
            paths: Paths::default(),
            login_deadline: Duration::from_secs(120),
        }
    }

    /// Value of an environment variable; an empty one counts as unset.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Program in the search path.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        find(self.variable("PATH").unwrap_or_default(), name)
    }
}

impl fmt::Debug for TokenEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEnvironment")
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .field("terminal", &self.terminal)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

impl Default for Paths {
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
impl Sleep for Timer {
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

impl SystemBrowser {
    /// Looks for a browser launcher.
    fn find(variables: &BTreeMap<String, String>) -> Self {
        let value = |name| variables.get(name).filter(|value| !value.is_empty());
        let candidates: &[(&str, &'static [&'static str])] = match std::env::consts::OS {
            "macos" => &[("open", &[])],
            "windows" => &[("rundll32.exe", &["url.dll,FileProtocolHandler"])],
            _ => &[("xdg-open", &[]), ("wslview", &[]), ("x-www-browser", &[])],
        };
        let screens = ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME", "BROWSER"];
        let needs_screen = !["macos", "windows"].contains(&std::env::consts::OS);
        // A text browser would take over this terminal and hide its content.
        let missing = (needs_screen && screens.into_iter().all(|name| value(name).is_none()))
            .then_some("no display available (DISPLAY, WAYLAND_DISPLAY)");
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
        let mut why = "no program found that opens a browser (xdg-open)".to_owned();
        for (program, arguments) in &self.programs {
            match start(program, arguments, page).await {
                Ok(()) => return Ok(()),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

/// Starts the launcher. If it still runs after a while, the page counts as opened.
async fn start(program: &Path, arguments: &[&str], page: &Url) -> Result<(), String> {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .arg(page.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    match tokio::time::timeout(LAUNCH_TIMEOUT, child.wait()).await {
        Ok(Ok(status)) if !status.success() => Err(format!("{}: {status}", program.display())),
        Ok(Err(error)) => Err(format!("{}: {error}", program.display())),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// Looks for `name` in `search` (a `PATH`). Relative directories are skipped, so that no program in
/// the working directory is started.
fn find(search: &str, name: &str) -> Option<PathBuf> {
    std::env::split_paths(search)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
