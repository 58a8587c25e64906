//! Location of a TUF repository: an HTTP URL or a directory, with metadata at the top and targets
//! in `targets/`.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use sealgate_core::fault::{Fault, FaultKind};
use sigstore_tuf::Repository;
use sigstore_tuf::transport::FetchFuture;
use url::Url;

use super::error::TufError;
use super::files;
use crate::http::{self, Client, Request};

/// Location of a TUF repository.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Text as given; its name in caches and messages.
    name: String,
    location: Location,
}

#[derive(Clone, Debug)]
enum Location {
    Http(Url),
    Folder(PathBuf),
}

impl Mirror {
    /// Parses `https://…`, `http://…`, `file:///…`, or a directory path.
    ///
    /// # Errors
    /// [`FaultKind::Config`] with the reason.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let location = match text.split_once("://") {
            Some(("https" | "http", _)) => Location::Http(http::service_url(text)?),
            Some(("file", _)) => Location::Folder(folder(text)?),
            Some(_) => return Err(unusable(text)),
            None if text.is_empty() => return Err(unusable(text)),
            None => Location::Folder(std::path::absolute(text).map_err(|_| unusable(text))?),
        };
        let name = match &location {
            // The name is stored, and must stay valid in another working directory.
            Location::Folder(path) if !text.contains("://") => path.display().to_string(),
            _ => text.to_owned(),
        };
        Ok(Self { name: name.trim_end_matches('/').to_owned(), location })
    }

    /// Name of its directory in a cache, as in sigstore-go.
    pub(super) fn folder_name(&self) -> String {
        let name = self.name.strip_prefix("https://").unwrap_or(&self.name);
        let name = name.strip_prefix("http://").unwrap_or(name);
        name.replace(['/', ':'], "-").to_lowercase()
    }

    pub(super) fn repository(&self) -> Result<Box<dyn Repository>, TufError> {
        match &self.location {
            Location::Http(base) => {
                Ok(Box::new(HttpRepository { base: base.clone(), client: client()? }))
            }
            Location::Folder(path) if path.is_dir() => {
                Ok(Box::new(DirectoryRepository(path.clone())))
            }
            Location::Folder(_) => {
                Err(Fault::new(FaultKind::Unreachable, &self.name, "no such directory").into())
            }
        }
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn unusable(text: &str) -> Fault {
    let shown: String = text.chars().take(200).collect();
    Fault::new(
        FaultKind::Config,
        shown,
        "not an address of a TUF repository: expected https://…, http://…, file:///… or a directory",
    )
}

fn folder(text: &str) -> Result<PathBuf, Fault> {
    let url = Url::parse(text).map_err(|_| unusable(text))?;
    url.to_file_path().map_err(|()| unusable(text))
}

/// Client with short timeouts: there is a cached copy, and another refresh will follow.
fn client() -> Result<Client, Fault> {
    let retries = http::Retries { max: 1, ..http::Retries::default() };
    Client::new(&http::Options { retries, ..http::Options::default() })
}

/// Repository over HTTP. Of a refusal only the status is reported: a TrustRoot object can name any
/// URL that the gate reaches, and its status shows the fault.
struct HttpRepository {
    base: Url,
    client: Client,
}

impl HttpRepository {
    async fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TufError> {
        files::inside(Path::new(""), path)?;
        let url = http::below(&self.base, path);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let answer = self.client.send(Request::get(url).limit(limit).without_error_text()).await?;
        match answer.status {
            // Object stores return 403 for missing objects; python-tuf and go-tuf treat it as 404.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => Ok(None),
            _ => Ok(Some(answer.success()?.body.to_vec())),
        }
    }
}

impl Repository for HttpRepository {
    fn fetch_metadata<'a>(&'a self, name: &'a str, limit: u64) -> FetchFuture<'a> {
        Box::pin(async move { self.get(name, limit).await.map_err(files::into_crate) })
    }

    fn fetch_target<'a>(&'a self, path: &'a str, limit: u64) -> FetchFuture<'a> {
        Box::pin(async move {
            let path = format!("targets/{path}");
            self.get(&path, limit).await.map_err(files::into_crate)
        })
    }
}

/// Repository in a directory.
struct DirectoryRepository(PathBuf);

impl Repository for DirectoryRepository {
    fn fetch_metadata<'a>(&'a self, name: &'a str, limit: u64) -> FetchFuture<'a> {
        files::found(files::read(&self.0, name, limit))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, limit: u64) -> FetchFuture<'a> {
        files::found(files::read(&self.0, &format!("targets/{path}"), limit))
    }
}
