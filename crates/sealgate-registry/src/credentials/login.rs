//! `sealgate login`: stores a password in the credential helper that Docker's `config.json` names
//! for the registry, otherwise in the file itself. The rest of the file is preserved.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealgate_core::fault::{Fault, FaultKind};
use serde_json::{Map, Value};

use super::docker::DockerConfig;
use super::helper::Helper;
use super::{Environment, Secret, server_key};

/// Path of the `config.json` that Docker itself would use; `None` without `DOCKER_CONFIG` and
/// `HOME`.
pub fn config_path(environment: &Environment) -> Option<PathBuf> {
    let folder = environment.docker_config.clone();
    let folder = folder.or_else(|| environment.home.as_ref().map(|home| home.join(".docker")));
    folder.map(|folder| folder.join("config.json"))
}

/// Place where the password was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredIn {
    /// Credential helper with this name.
    Helper(String),
    /// The file.
    File,
    /// The file, because the configured helper was not found.
    FileWithoutHelper(Fault),
}

/// Stores a user name and a password for `registry`: in the credential helper named by the
/// configuration at `path` and found in `search` (a `PATH`), otherwise in the file, which is
/// created with mode 0600 if missing. Unknown fields are preserved.
///
/// # Errors
/// `Config` when the file cannot be parsed or written; `Config` or `Timeout` when the helper fails,
/// in which case the file is not changed.
pub async fn login(
    path: &Path,
    registry: &str,
    username: &str,
    password: &Secret,
    search: Option<OsString>,
) -> Result<StoredIn, Fault> {
    if username.is_empty() || username.contains(':') {
        return Err(fault(path, "a user name must not be empty or contain a colon"));
    }
    let key = server_key(registry);
    let config = DockerConfig::read(path, search.clone())?;
    let helper = config.as_ref().and_then(|config| config.helper(registry));
    let helper = helper.map(|name| Helper::find(name, search.as_deref()).map(|it| (name, it)));
    let (kept_by, entry) = match helper {
        Some(Ok((name, helper))) => {
            helper.store(&key, username, password).await?;
            // As in Docker: the entry stays, without the credential that the helper stores.
            (StoredIn::Helper(name.to_owned()), serde_json::json!({}))
        }
        Some(Err(missing)) => (StoredIn::FileWithoutHelper(missing), in_file(username, password)),
        None => (StoredIn::File, in_file(username, password)),
    };
    change(path, |auths| {
        auths.insert(key, entry);
    })?;
    Ok(kept_by)
}

fn in_file(username: &str, password: &Secret) -> Value {
    let auth = STANDARD.encode(format!("{username}:{}", password.reveal()));
    serde_json::json!({ "auth": auth })
}

fn change(path: &Path, edit: impl FnOnce(&mut Map<String, Value>)) -> Result<(), Fault> {
    let mut document = read(path)?;
    let auths = document.entry("auths").or_insert(Value::Null);
    if auths.is_null() {
        *auths = Value::Object(Map::new());
    }
    let auths = auths.as_object_mut().ok_or_else(|| fault(path, "auths is not an object"))?;
    edit(auths);
    let text = serde_json::to_vec_pretty(&document).map_err(|e| fault(path, &e.to_string()))?;
    write(path, &text).map_err(|e| fault(path, &e.to_string()))
}

fn read(path: &Path) -> Result<Map<String, Value>, Fault> {
    match std::fs::read(path) {
        Ok(text) if text.iter().all(u8::is_ascii_whitespace) => Ok(Map::new()),
        Ok(text) => {
            let document = serde_json::from_slice::<Option<_>>(&text);
            let document =
                document.map_err(|_| fault(path, "is not a JSON object; left unchanged"))?;
            Ok(document.unwrap_or_default())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(e) => Err(fault(path, &e.to_string())),
    }
}

/// Writes a temporary file and renames it over the old one, so that a crash leaves the old file. A
/// symbolic link stays a link.
fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let beside = path.with_extension(format!("json.{}.tmp", std::process::id()));
    let _ = std::fs::remove_file(&beside);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&beside, &path)
}

fn fault(path: &Path, detail: &str) -> Fault {
    Fault::new(FaultKind::Config, path.display().to_string(), detail)
}
