//! Registries without publicly trusted TLS: additional CA certificates, and registries that may be
//! accessed over plain HTTP by a flag or by the policy source. Addresses that registries may have.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use sealgate_core::reference::parse_registry;
use sealgate_policy::assemble::PolicyState;
use sealgate_registry::{
    Client, Destinations, InsecureRegistries, Network, NotANetwork, Resolver, TlsRoots,
};
use tokio::sync::watch;
use tracing::warn;

use crate::cli::files;
use crate::cli::registry::RegistryFlags;
use crate::failure::CliError;

/// The maximum size of a CA bundle, in bytes.
const MAX_BUNDLE: u64 = 1 << 20;

/// Flags for registries without publicly trusted TLS, or with special addresses.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Registry options")]
pub(super) struct InsecureFlags {
    /// CA certificates (PEM) to trust for registries, in addition to those of the system; read at
    /// startup
    #[arg(long, value_name = "FILE", conflicts_with_all = ["registry_cacert", "allow_insecure_registry"])]
    registry_ca_bundle: Option<PathBuf>,

    /// Registries that may be contacted over plain HTTP, in addition to those in
    /// config-policy-controller
    #[arg(long, value_name = "HOST[:PORT],...", value_delimiter = ',', value_parser = insecure_host)]
    insecure_registry: Vec<String>,

    /// Networks of special addresses that registries may have. Loopback, link-local and multicast
    /// addresses and the metadata services of clouds are not contacted otherwise; a gate that
    /// listens on a loopback address may also contact loopback addresses
    #[arg(long, value_name = "CIDR,...", value_delimiter = ',', value_parser = network)]
    registry_allow_network: Vec<Network>,
}

fn network(text: &str) -> Result<Network, NotANetwork> {
    text.trim().parse()
}

/// Parses a `HOST[:PORT]` in a flag.
pub(crate) fn insecure_host(text: &str) -> Result<String, String> {
    parse_registry(text.trim())
        .map_err(|_| "expected HOST or HOST:PORT, without scheme, path or pattern".to_owned())
}

impl InsecureFlags {
    /// Returns the registry client of a gate that listens on an address, and the list of insecure
    /// registries that it uses.
    pub(super) fn client(
        &self,
        flags: &RegistryFlags,
        listen: IpAddr,
    ) -> Result<(Client, InsecureRegistries), CliError> {
        let mut options = flags.webhook_options()?;
        options.destinations = self.destinations(listen);
        if let Some(path) = &self.registry_ca_bundle {
            options.tls_roots = TlsRoots::SystemAnd(files::read(path, MAX_BUNDLE)?);
        }
        let insecure = options.insecure.clone();
        let client = flags.connect(options);
        let bundle = [("--registry-ca-bundle", &self.registry_ca_bundle)];
        Ok((client.map_err(|error| files::given(error, &bundle))?, insecure))
    }

    /// Addresses that the gate may contact. Who can reach a gate on a loopback address can reach
    /// the other ports of the machine as well.
    fn destinations(&self, listen: IpAddr) -> Destinations {
        let mut allowed = self.registry_allow_network.clone();
        if listen.is_loopback() {
            allowed.extend(Destinations::LOOPBACK);
        }
        Destinations::NotSpecial { resolver: Arc::new(Resolver::from_system()), allowed }
    }

    /// Updates the list from the flags and `policies`, and logs each change.
    pub(super) fn follow(
        &self,
        mut policies: watch::Receiver<PolicyState>,
        insecure: InsecureRegistries,
    ) {
        let flags = self.insecure_registry.clone();
        let mut before = BTreeSet::new();
        change(&mut before, flags.iter().cloned().collect(), &insecure);
        tokio::spawn(async move {
            loop {
                let state = policies.borrow_and_update().clone();
                // Until the source has been read, only the flags apply.
                let now = flags.iter().cloned().chain(state.config.insecure_registries).collect();
                change(&mut before, now, &insecure);
                if policies.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}

fn change(before: &mut BTreeSet<String>, now: BTreeSet<String>, insecure: &InsecureRegistries) {
    if *before == now {
        return;
    }
    let list =
        |hosts: Vec<&String>| hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>().join(" ");
    warn!(
        registries = list(now.iter().collect()),
        added = list(now.difference(before).collect()),
        removed = list(before.difference(&now).collect()),
        "insecure registries: accessed over plain HTTP if they do not support TLS; an attacker on \
         the network path can read credentials and forge responses"
    );
    insecure.set(now.iter().cloned());
    *before = now;
}
