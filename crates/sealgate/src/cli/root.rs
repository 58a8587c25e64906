//! Default trust root and signing configuration, for commands that neither sign nor verify.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use sealgate_sigstore::root::{
    Environment, LoadedConfig, LoadedRoot, Refresh, RootOptions, current_root,
    current_signing_config,
};

use crate::failure::CliError;
use crate::terminal;

/// The time limit for refreshing from a TUF mirror.
const REFRESH: Duration = Duration::from_secs(10);

/// Loads the trust root from TUF or the environment, else the embedded one.
pub(crate) async fn default_root() -> Result<LoadedRoot, CliError> {
    let options = options(None, Refresh::WhenDue(REFRESH));
    let chosen = current_root(&options, Timestamp::now()).await?;
    chosen.warnings.iter().for_each(|warning| terminal::warn(warning.to_string()));
    Ok(chosen)
}

/// Loads the default trust root, or that in `file`, without network access.
pub(crate) async fn offline_root(file: Option<PathBuf>) -> Result<LoadedRoot, CliError> {
    Ok(current_root(&options(file, Refresh::Never), Timestamp::now()).await?)
}

/// Loads the signing configuration from TUF, else the embedded one.
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
