//! `login`: stores a user name and password for a registry in docker's configuration.

use clap::Args;
use sealgate_core::reference::Repository;
use sealgate_registry::credentials::{self, Environment, Secret, StoredIn};
use serde_json::json;

use crate::cli::files;
use crate::cli::values::{BOOL, go_bool};
use crate::failure::{CliError, Outcome};
use crate::output::{self, OutputFlag};
use crate::session::Session;
use crate::terminal;

/// Log in to a registry
///
/// The password is stored with the credential helper that Docker's config.json names for the
/// registry (credHelpers, credsStore). Without a helper, it is stored in that file.
#[derive(Args)]
pub(crate) struct LoginArgs {
    /// The user name
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,

    /// Password (visible to anyone who can list processes; prefer --password-stdin)
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<String>,

    /// Read the password from standard input
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    password_stdin: Option<bool>,

    #[command(flatten)]
    output: OutputFlag,

    /// Registry
    #[arg(value_name = "SERVER", default_value = "index.docker.io")]
    server: String,
}

impl std::fmt::Debug for LoginArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoginArgs({})", self.server)
    }
}

pub(crate) async fn run(args: LoginArgs, session: &mut Session) -> Outcome {
    let format = args.output.begin(session);
    let server = args.server.trim_start_matches("https://").trim_end_matches('/');
    // A registry name must parse as the first part of a repository.
    let registry = Repository::parse(&format!("{server}/x"))
        .ok()
        .filter(|parsed| server.contains(['.', ':']) || parsed.registry() == server)
        .ok_or_else(|| {
            CliError::new(format!("registries must be valid RFC 3986 URI authorities: {server}"))
        })?;
    let username = args.username.filter(|name| !name.is_empty());
    let password = match (args.password, args.password_stdin) {
        (_, Some(true)) => Some(from_stdin()?),
        (password, _) => password.map(Secret::new),
    };
    let (Some(username), Some(password)) = (username, password) else {
        return Err(CliError::new("username and password required")
            .note("give --username, and --password-stdin or --password"));
    };
    let environment = Environment::from_process();
    let path = credentials::config_path(&environment)
        .ok_or_else(|| CliError::new("neither DOCKER_CONFIG nor HOME is set"))?;
    let (server, search) = (registry.registry(), environment.path);
    let kept_by = credentials::login(&path, server, &username, &password, search).await?;
    if let StoredIn::FileWithoutHelper(missing) = &kept_by {
        terminal::warn(format!("{missing}: the password is stored unencrypted in the file"));
    }
    let helper = match kept_by {
        StoredIn::Helper(name) => Some(name),
        StoredIn::File | StoredIn::FileWithoutHelper(_) => None,
    };
    let path = path.display().to_string();
    let line = match &helper {
        Some(name) => format!("logged in via {path} (docker-credential-{name} has the password)"),
        None => format!("logged in via {path}"),
    };
    let fields =
        json!({ "registry": server, "username": username, "file": path, "helper": helper });
    output::report_result(session, format, "login", fields, || line)
}

fn from_stdin() -> Result<Secret, CliError> {
    let bytes = zeroize::Zeroizing::new(files::read_stdin(64 * 1024)?);
    let text =
        std::str::from_utf8(&bytes).map_err(|_| CliError::new("the password is not UTF-8 text"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
}
