//! `sealgate login`: writes an entry into docker's `config.json`, keeping everything else in it.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealgate_core::fault::{Fault, FaultKind};
use serde_json::{Map, Value};

use super::{Environment, Secret, normal_host};

/// The `config.json` that docker itself would use; `None` without `DOCKER_CONFIG` and `HOME`.
pub fn config_path(environment: &Environment) -> Option<PathBuf> {
    let folder = environment.docker_config.clone();
    let folder = folder.or_else(|| environment.home.as_ref().map(|home| home.join(".docker")));
    folder.map(|folder| folder.join("config.json"))
}

/// Stores a user name and a password for `registry` in the file `path` (made with mode 0600 where
/// there is none). Fields that we do not know stay as they are.
///
/// # Errors
/// `Config` where the file cannot be read as JSON, or cannot be written.
pub fn login(path: &Path, registry: &str, username: &str, password: &Secret) -> Result<(), Fault> {
    if username.is_empty() || username.contains(':') {
        return Err(fault(path, "a user name is not empty and holds no colon"));
    }
    let auth = STANDARD.encode(format!("{username}:{}", password.reveal()));
    change(path, |auths| {
        auths.insert(key(registry), serde_json::json!({ "auth": auth }));
    })
}

/// The key that docker stores a registry under.
fn key(registry: &str) -> String {
    match normal_host(registry).as_str() {
        "index.docker.io" => "https://index.docker.io/v1/".to_owned(),
        host => host.to_owned(),
    }
}

fn change(path: &Path, edit: impl FnOnce(&mut Map<String, Value>)) -> Result<(), Fault> {
    let mut document = read(path)?;
    let auths = document.entry("auths").or_insert_with(|| Value::Object(Map::new()));
    let auths = auths.as_object_mut().ok_or_else(|| fault(path, "auths is no object"))?;
    edit(auths);
    let text = serde_json::to_vec_pretty(&document).map_err(|e| fault(path, &e.to_string()))?;
    write(path, &text).map_err(|e| fault(path, &e.to_string()))
}

fn read(path: &Path) -> Result<Map<String, Value>, Fault> {
    match std::fs::read(path) {
        Ok(text) if text.iter().all(u8::is_ascii_whitespace) => Ok(Map::new()),
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|_| fault(path, "is no JSON object; not touched"))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Map::new()),
        Err(e) => Err(fault(path, &e.to_string())),
    }
}

/// Beside the file, then over it: a crash leaves the old file. A link stays a link.
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
