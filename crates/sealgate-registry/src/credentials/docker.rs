//! Docker `config.json` and containers `auth.json` files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::helper::{Helper, HelperErrors};
use super::{Credential, Secret, normal_host, server_key};

/// Maximum size of a configuration file, in bytes.
const MAX_CONFIG: u64 = 4 << 20;
/// Lifetime of a cached credential helper result. Tokens of ECR and Google live for an hour or
/// more.
const HELPER_MEMORY: Duration = Duration::from_secs(300);

/// Parsed `config.json`: `auths` entries, credential helpers, and cached helper results.
pub struct DockerConfig {
    name: String,
    auths: Entries,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
    path: Option<OsString>,
    /// Created for the first helper that is asked.
    memory: LazyLock<moka::future::Cache<(String, String), Option<Credential>>>,
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DockerConfig({}, {} entries)", self.name, self.auths.usable.len())
    }
}

/// Key of an `auths` entry: a host and a path prefix, both of which may be patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthKey {
    /// Host as written in the key, in lower case.
    written: String,
    pub(super) host: String,
    pub(super) path: String,
}

/// Entries of `auths`, longest path first. An unreadable entry does not affect the others.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) usable: Vec<(AuthKey, Credential)>,
    /// Keys of unreadable entries.
    pub(super) bad: Vec<AuthKey>,
}

/// Raw values of `auths`, parsed one by one. They borrow from the input, so that no copy of a
/// secret is left in memory.
pub(super) type RawEntries<'a> = BTreeMap<String, &'a RawValue>;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct File<'a> {
    #[serde(borrow)]
    auths: Option<RawEntries<'a>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

/// Value in `auths`. Other fields (`email`) are ignored.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

/// Error for an `auth` value that is not base64 of `user:password`.
struct Unreadable;

impl DockerConfig {
    /// Reads `path`; `None` when there is no such file. `search` is the `PATH` for credential
    /// helpers.
    ///
    /// # Errors
    /// `Config` when the file cannot be read or is not a valid configuration.
    pub fn read(path: &Path, search: Option<OsString>) -> Result<Option<Self>, Fault> {
        let name = path.display().to_string();
        let bad = |detail: String| Fault::new(FaultKind::Config, name.clone(), detail);
        let file = match std::fs::File::open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|e| bad(e.to_string()))?,
        };
        let mut text = Zeroizing::new(Vec::new());
        // Not the file's reported length: a device reports none.
        file.take(MAX_CONFIG + 1).read_to_end(&mut text).map_err(|e| bad(e.to_string()))?;
        if text.len() as u64 > MAX_CONFIG {
            return Err(bad("larger than 4 MiB".into()));
        }
        Self::parse(&name, &text, search).map(Some)
    }

    /// Parses the text of a configuration; `name` is used in messages.
    ///
    /// # Errors
    /// `Config` when the text is not a valid configuration.
    pub fn parse(name: &str, text: &[u8], search: Option<OsString>) -> Result<Self, Fault> {
        // Docker accepts an empty file and `null` as an empty configuration. The parser's own
        // message could quote a secret, so an error gives the position only.
        let text = if text.iter().all(u8::is_ascii_whitespace) { b"null" } else { text };
        let file = serde_json::from_slice::<Option<File<'_>>>(text).map_err(|e| {
            let place = format!(
                "not a valid Docker config.json (line {}, column {})",
                e.line(),
                e.column()
            );
            Fault::new(FaultKind::Config, name, place)
        })?;
        let file = file.unwrap_or_default();
        let auths = Entries::read(&file.auths.unwrap_or_default());
        for scope in &auths.bad {
            tracing::warn!(file = name, entry = %scope, "unreadable credentials entry");
        }
        let helpers = file.cred_helpers.unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            auths,
            helpers: helpers.into_iter().map(|(k, v)| (AuthKey::parse(&k).host, v)).collect(),
            store: file.creds_store.filter(|s| !s.is_empty()),
            path: search,
            memory: LazyLock::new(|| {
                moka::future::Cache::builder().max_capacity(256).time_to_live(HELPER_MEMORY).build()
            }),
        })
    }

    /// Credentials for a repository: from the host's helper, then the credential store, then the
    /// file's own entries with the most specific path first.
    pub(super) async fn lookup(
        &self,
        registry: &str,
        path: &str,
        words: HelperErrors,
    ) -> Result<Vec<Credential>, Fault> {
        let host = normal_host(registry);
        let mut found = Vec::new();
        let mut failed = None;
        if let Some(helper) = self.helper(&host) {
            // The spelling in use first, as Docker does, then the canonical name.
            let mut servers = vec![server_key(registry), server_key(&host)];
            servers.dedup();
            for server in servers {
                match self.ask(helper, server, words).await {
                    Ok(credential) => found.extend(credential),
                    Err(fault) => failed = failed.or(Some(fault)),
                }
                if !found.is_empty() {
                    break;
                }
            }
        }
        let fits = |scope: &AuthKey| scope.host == host && scope.holds(path);
        let mut entries: Vec<_> = self.auths.usable.iter().filter(|(s, _)| fits(s)).collect();
        // Among entries with the same path, the one with this spelling of the registry comes first.
        let written = registry.to_ascii_lowercase();
        entries.sort_by_key(|(s, _)| (std::cmp::Reverse(s.path.len()), s.written != written));
        found.extend(entries.into_iter().map(|(_, credential)| credential.clone()));
        let bad = self.auths.bad.iter().find(|scope| fits(scope));
        match failed.or_else(|| bad.map(|scope| scope.unreadable(&self.name))) {
            Some(fault) if found.is_empty() => Err(fault),
            _ => Ok(found),
        }
    }

    /// Credential helper for a host. A host with an empty helper has none, not even the credential
    /// store: Docker reads the file's own entry instead.
    pub(super) fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.helpers.get(&normal_host(registry));
        own.or(self.store.as_ref()).map(String::as_str).filter(|name| !name.is_empty())
    }

    async fn ask(
        &self,
        helper: &str,
        server: String,
        words: HelperErrors,
    ) -> Result<Option<Credential>, Fault> {
        let key = (helper.to_owned(), server.clone());
        let ask = async { Helper::find(helper, self.path.as_deref())?.get(&server, words).await };
        self.memory
            .try_get_with(key, ask)
            .await
            .map_err(|fault: std::sync::Arc<Fault>| Fault::clone(&fault))
    }
}

impl Entries {
    pub(super) fn read(auths: &RawEntries<'_>) -> Self {
        let mut entries = Self::default();
        for (key, text) in auths {
            let scope = AuthKey::parse(key);
            // Docker leaves an empty value where a helper holds the secret.
            match serde_json::from_str::<Option<Entry>>(text.get()).map(Option::unwrap_or_default) {
                Ok(entry) => match entry.credentials() {
                    Ok(found) => {
                        entries.usable.extend(found.into_iter().map(|c| (scope.clone(), c)));
                    }
                    Err(Unreadable) => entries.bad.push(scope),
                },
                Err(_) => entries.bad.push(scope),
            }
        }
        entries.usable.sort_by_key(|(scope, _)| std::cmp::Reverse(scope.path.len()));
        entries
    }
}

impl fmt::Display for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.path.as_str() {
            "" => self.host.clone(),
            path => format!("{}/{path}", self.host),
        };
        f.write_str(&crate::reply::printable(&name))
    }
}

impl AuthKey {
    /// Parses a key: `ghcr.io`, `ghcr.io/acme`, `https://index.docker.io/v1/`.
    pub(super) fn parse(key: &str) -> Self {
        let rest = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_end_matches('/');
        let path = if matches!(path, "v1" | "v2") { "" } else { path };
        let written = host.to_ascii_lowercase();
        Self { written, host: normal_host(host), path: path.to_owned() }
    }

    /// Fault for a matching entry that cannot be read.
    pub(super) fn unreadable(&self, file: &str) -> Fault {
        let detail = format!("the credentials entry {self} cannot be read");
        Fault::new(FaultKind::Config, file, detail)
    }

    /// Returns whether `path` equals this path or is below it, by whole segments.
    pub(super) fn holds(&self, path: &str) -> bool {
        match path.strip_prefix(self.path.as_str()) {
            Some(rest) => self.path.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }
}

impl Entry {
    /// Credentials in the entry, in Docker's order: a token before a password. A token endpoint
    /// without POST accepts no refresh token; the password then serves for GET.
    fn credentials(self) -> Result<Vec<Credential>, Unreadable> {
        let full = |t: Option<Secret>| t.filter(|t| !t.reveal().is_empty());
        let mut found = Vec::new();
        found.extend(full(self.registrytoken).map(Credential::Bearer));
        found.extend(full(self.identitytoken).map(Credential::Refresh));
        match Self::pair(full(self.auth), self.username, self.password) {
            // Docker stores the user name next to a token, without a password.
            Ok(Some((_, password))) if !found.is_empty() && password.reveal().is_empty() => {}
            // Docker's helpers mark a refresh token by this user name.
            Ok(Some((name, token))) if name == "<token>" => found.push(Credential::Refresh(token)),
            Ok(Some((username, password))) if !username.is_empty() => {
                found.push(Credential::Password { username, password });
            }
            Err(Unreadable) if found.is_empty() => return Err(Unreadable),
            _ => {}
        }
        Ok(found)
    }

    /// User name and password; those in `auth` take precedence.
    fn pair(
        auth: Option<Secret>,
        username: Option<String>,
        password: Option<Secret>,
    ) -> Result<Option<(String, Secret)>, Unreadable> {
        let pair = username.zip(password);
        match auth {
            None => Ok(pair),
            Some(auth) => decode(auth.reveal()).or(pair).ok_or(Unreadable).map(Some),
        }
    }
}

/// Decodes `auth`: base64 of `user:password`.
fn decode(auth: &str) -> Option<(String, Secret)> {
    let auth = auth.trim();
    let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok()?;
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), Secret::new(password.trim_end_matches('\0'))))
}
