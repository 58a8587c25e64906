//! Where a repository is: an HTTP address, or a folder. Metadata lies at the top, targets in
//! `targets/`.

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

/// Where a repository is.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// As it was given: how it is named in caches and messages.
    name: String,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Http(Url),
    Folder(PathBuf),
}

impl Mirror {
    /// Reads `https://…`, `http://…`, `file:///…`, or the path of a folder.
    ///
    /// # Errors
    /// A [`FaultKind::Config`] that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let place = match text.split_once("://") {
            Some(("https" | "http", _)) => Place::Http(http::service_url(text)?),
            Some(("file", _)) => Place::Folder(folder(text)?),
            Some(_) => return Err(unusable(text)),
            None if text.is_empty() => return Err(unusable(text)),
            None => Place::Folder(std::path::absolute(text).map_err(|_| unusable(text))?),
        };
        let name = match &place {
            // The name is kept, and read again in another working folder.
            Place::Folder(path) if !text.contains("://") => path.display().to_string(),
            _ => text.to_owned(),
        };
        Ok(Self { name: name.trim_end_matches('/').to_owned(), place })
    }

    /// The name of its folder in a cache, as sigstore-go makes it.
    pub(super) fn folder_name(&self) -> String {
        let name = self.name.strip_prefix("https://").unwrap_or(&self.name);
        let name = name.strip_prefix("http://").unwrap_or(name);
        name.replace(['/', ':'], "-").to_lowercase()
    }

    pub(super) fn repository(&self) -> Result<Box<dyn Repository>, TufError> {
        match &self.place {
            Place::Http(base) => Ok(Box::new(Remote { base: base.clone(), client: client()? })),
            Place::Folder(path) if path.is_dir() => Ok(Box::new(Folder(path.clone()))),
            Place::Folder(_) => {
                Err(Fault::new(FaultKind::Unreachable, &self.name, "there is no such folder")
                    .into())
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
        "no address of a TUF repository: want https://…, http://…, file:///… or a folder",
    )
}

fn folder(text: &str) -> Result<PathBuf, Fault> {
    let url = Url::parse(text).map_err(|_| unusable(text))?;
    url.to_file_path().map_err(|()| unusable(text))
}

/// A client that gives up soon: there is a copy, and the next refresh comes.
fn client() -> Result<Client, Fault> {
    let retries = http::Retries { max: 1, ..http::Retries::default() };
    Client::new(&http::Options { retries, ..http::Options::default() })
}

/// A repository behind HTTP. Of a refusal the status is told and nothing else: a TrustRoot object
/// names any address that the gate reaches, and shows the fault in its status.
struct Remote {
    base: Url,
    client: Client,
}

impl Remote {
    async fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TufError> {
        files::inside(Path::new(""), path)?;
        let url = http::below(&self.base, path);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let answer = self.client.send(Request::get(url).limit(limit).without_words()).await?;
        match answer.status {
            // Object stores say 403 where there is nothing: python-tuf and go-tuf do the same.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => Ok(None),
            _ => Ok(Some(answer.success()?.body.to_vec())),
        }
    }
}

impl Repository for Remote {
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

/// A repository in a folder.
struct Folder(PathBuf);

impl Repository for Folder {
    fn fetch_metadata<'a>(&'a self, name: &'a str, limit: u64) -> FetchFuture<'a> {
        files::found(files::read(&self.0, name, limit))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, limit: u64) -> FetchFuture<'a> {
        files::found(files::read(&self.0, &format!("targets/{path}"), limit))
    }
}
