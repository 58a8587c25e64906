//! Real registries, each started once for all tests: Debian's docker-registry (no referrers API,
//! absolute Location headers) and go-containerregistry's (relative ones), with and without the
//! referrers API.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::certificates::ServerFiles;
use crate::http;
use crate::image::{self, Image};
use crate::process::{Launch, Server, free_port};
use crate::programs::built;

/// User name and password of the registry with authentication.
pub const USER: (&str, &str) = ("ada", "s3cret");

/// bcrypt hash of the above.
const HTPASSWD: &str = "ada:$2y$04$5EJEkub60vP/i6ryecp6suUsYoI/fnd7KpUMn7yAQ/7EnYd8bCOs2\n";

/// Running registry.
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub host: String,
    /// True if it supports the referrers API.
    pub has_referrers: bool,
    // Kept alive as long as the registry.
    _server: Mutex<Server>,
    _folder: TempDir,
}

impl Registry {
    /// Pushes an image for one test: `tests/NAME:v1`.
    pub fn image(&self, name: &str) -> Image {
        self.image_with(name, "v1", name)
    }

    /// Variant with a custom tag and text.
    pub fn image_with(&self, name: &str, tag: &str, text: &str) -> Image {
        let text = format!("{} {text}", self.host);
        image::push(&self.host, &format!("tests/{name}"), tag, &text).expect("pushing an image")
    }
}

/// docker-registry 2.8, shared.
pub fn docker() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY
        .get_or_init(|| start_docker("docker-registry", Security::Open).expect("docker-registry"))
}

/// docker-registry 2.8 with authentication as [`USER`].
pub fn docker_with_password() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        start_docker("docker-registry-htpasswd", Security::Password).expect("docker-registry")
    })
}

/// go-containerregistry's registry with the referrers API, shared.
pub fn referrers() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| start_go(true).expect("refregistry -referrers"))
}

/// Variant without the referrers API.
pub fn no_referrers() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| start_go(false).expect("refregistry"))
}

/// All registries without authentication, for tests that must hold on each.
pub fn all() -> [&'static Registry; 3] {
    [docker(), referrers(), no_referrers()]
}

/// docker-registry 2.8 over TLS, with the certificate and key in these files.
pub fn docker_with_tls(name: &str, files: &ServerFiles) -> anyhow::Result<Registry> {
    start_docker_at(name, "127.0.0.1", Security::Tls(files))
}

/// docker-registry 2.8 without TLS on an address of this machine that is not loopback.
pub fn docker_without_tls(name: &str) -> anyhow::Result<Registry> {
    let addresses = Command::new("hostname").arg("-I").output().context("hostname -I")?;
    let addresses = String::from_utf8_lossy(&addresses.stdout).into_owned();
    let address = addresses
        .split_whitespace()
        .find(|it| it.parse::<Ipv4Addr>().is_ok_and(|it| !it.is_loopback()))
        .context("this machine has no IPv4 address but loopback")?;
    start_docker_at(name, address, Security::Open)
}

enum Security<'a> {
    Open,
    Password,
    Tls(&'a ServerFiles),
}

fn start_docker(name: &str, security: Security<'_>) -> anyhow::Result<Registry> {
    start_docker_at(name, "127.0.0.1", security)
}

fn start_docker_at(name: &str, address: &str, security: Security<'_>) -> anyhow::Result<Registry> {
    let folder = TempDir::new()?;
    let host = format!("{address}:{}", free_port()?);
    let storage = folder.path().join("storage");
    let mut config = format!(
        "version: 0.1\n\
         log:\n  level: warn\n\
         storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
         http:\n  addr: {host}\n",
        storage.display(),
    );
    if let Security::Tls(ServerFiles { certificate, key }) = security {
        let (certificate, key) = (certificate.display(), key.display());
        config.push_str(&format!("  tls:\n    certificate: {certificate}\n    key: {key}\n"));
    }
    if let Security::Password = security {
        let passwords = folder.path().join("htpasswd");
        std::fs::write(&passwords, HTPASSWD)?;
        let passwords = passwords.display();
        config.push_str(&format!("auth:\n  htpasswd:\n    realm: tests\n    path: {passwords}\n"));
    }
    let file = folder.path().join("config.yml");
    std::fs::write(&file, config).context("writing the registry's configuration")?;
    let mut launch = Launch::new(name, "docker-registry");
    launch.command().arg("serve").arg(&file);
    let server = launch.start(|| match security {
        // A TLS server that is contacted without TLS.
        Security::Tls(_) => std::net::TcpStream::connect(&host).is_ok(),
        Security::Open | Security::Password => answers(&host),
    })?;
    Ok(Registry { host, has_referrers: false, _server: Mutex::new(server), _folder: folder })
}

fn start_go(has_referrers: bool) -> anyhow::Result<Registry> {
    let host = format!("127.0.0.1:{}", free_port()?);
    let name = if has_referrers { "refregistry-referrers" } else { "refregistry" };
    let mut launch = Launch::new(name, built("refregistry"));
    launch.command().arg("-addr").arg(&host).arg(format!("-referrers={has_referrers}"));
    let server = launch.start(|| answers(&host))?;
    Ok(Registry { host, has_referrers, _server: Mutex::new(server), _folder: TempDir::new()? })
}

/// Returns whether `/v2/` is answered, possibly with 401.
fn answers(host: &str) -> bool {
    http::get(host, "/v2/", "*/*").is_ok_and(|answer| matches!(answer.status, 200 | 401))
}
