//! The trust root and the signing configuration that the user has, for commands that neither sign
//! nor verify.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use sealgate_sigstore::root::{
    Environment, LoadedConfig, LoadedRoot, Refresh, RootOptions, current_root,
    current_signing_config,
};

use crate::failure::CliError;
use crate::terminal;

/// How long a TUF mirror may be asked for news.
const REFRESH: Duration = Duration::from_secs(10);

/// The root of TUF or the environment, else the one built in.
pub(crate) async fn default_root() -> Result<LoadedRoot, CliError> {
    let options = options(None, Refresh::WhenDue(REFRESH));
    let chosen = current_root(&options, Timestamp::now()).await?;
    chosen.warnings.iter().for_each(|warning| terminal::warn(warning.to_string()));
    Ok(chosen)
}

/// The same or the one in `file`, without asking anybody.
pub(crate) async fn offline_root(file: Option<PathBuf>) -> Result<LoadedRoot, CliError> {
    Ok(current_root(&options(file, Refresh::Never), Timestamp::now()).await?)
}

/// The signing configuration of TUF, else the one built in.
pub(crate) async fn default_signing_config() -> Result<LoadedConfig, CliError> {
    let options = options(None, Refresh::WhenDue(REFRESH));
    let chosen = current_signing_config(&options, Timestamp::now()).await?;
    chosen.warnings.iter().for_each(|warning| terminal::warn(warning.to_string()));
    Ok(chosen)
}

fn options(file: Option<PathBuf>, refresh: Refresh) -> RootOptions {
    let environment = Environment::read(|name| std::env::var_os(name));
    RootOptions { file, environment, refresh }
}
