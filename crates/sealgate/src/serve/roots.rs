//! Trust roots of the gate: its own, and those of TrustRoot objects.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_engine::ports::{Clock as _, RootRepositories};
use sealgate_engine::roots::{RootResult, Roots};
use sealgate_server::roots::TufRoots;
use sealgate_sigstore::root::{Environment, Refresh, RootOptions, current_root};
use tracing::{error, info, warn};

use crate::clock::SystemClock;
use crate::failure::CliError;

/// Opens the trust roots. The gate's own is in `file`, or else in the environment, in the cache of
/// `sealgate initialize`, or embedded. It is not refreshed while the gate runs.
pub(crate) async fn open(file: Option<&Path>) -> Result<Arc<Roots>, CliError> {
    open_with(file, Arc::new(TufRoots)).await
}

/// The same with TrustRoots that `repositories` opens.
pub(crate) async fn open_with(
    file: Option<&Path>,
    repositories: Arc<dyn RootRepositories>,
) -> Result<Arc<Roots>, CliError> {
    let options = RootOptions {
        file: file.map(Path::to_owned),
        environment: Environment::read(|name| std::env::var_os(name)),
        refresh: Refresh::Never,
    };
    let now = SystemClock.now();
    let own = own(&options, now).await;
    if let (Some(_), Err(fault)) = (file, &own) {
        return Err(CliError::new(format!("--trusted-root: {}", fault.detail)));
    }
    Ok(Roots::new(own, repositories, Arc::new(SystemClock)))
}

async fn own(options: &RootOptions, now: Timestamp) -> RootResult {
    let chosen = current_root(options, now).await.map_err(|error| {
        error!(%error, "the gate has no trust root of its own: policies that need it deny");
        Fault::new(FaultKind::Config, "the gate's own trust root", error.to_string())
    })?;
    info!(root = chosen.origin.describe(now), "the gate's own trust root");
    for warning in &chosen.warnings {
        warn!("{warning}");
    }
    Ok((chosen.root.parsed().clone(), chosen.source))
}
