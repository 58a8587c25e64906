//! From the mirror that the user has chosen to one of its targets: the copy in the cache, news of
//! the mirror where they are due, and what came with the program where nothing was chosen.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sealgate_core::verify::RootSource;

use super::{
    Environment, OLD, Origin, PUBLIC_GOOD, Refresh, Remedy, RootError, RootOptions, Warning, days,
    embedded,
};
use crate::tuf::{Cache, Mirror, SIGNING_CONFIG, TRUSTED_ROOT, Times, Tuf, TufError, Verified};

/// How often a mirror is asked, at most.
const DUE: SignedDuration = SignedDuration::from_hours(24);
/// What is kept of a repository.
pub(super) const TARGETS: &[&str] = &[TRUSTED_ROOT, SIGNING_CONFIG];

/// A target, and where it came from.
pub(super) struct Found {
    /// Its bytes; nothing where what came with the program is meant.
    pub(super) json: Option<Vec<u8>>,
    pub(super) source: RootSource,
    pub(super) origin: Origin,
    pub(super) warnings: Vec<Warning>,
}

/// `target` of the mirror that the user has chosen, if any.
pub(super) async fn find(
    options: &RootOptions,
    target: &str,
    now: Timestamp,
) -> Result<Found, RootError> {
    match chosen(&options.environment)? {
        None => Ok(Found::embedded(RootSource::Embedded, Vec::new(), now)),
        Some(tuf) => of_mirror(&tuf, options.refresh, target, now).await,
    }
}

/// The mirror of `TUF_MIRROR`, or the one that `initialize` has noted.
fn chosen(environment: &Environment) -> Result<Option<Tuf>, RootError> {
    let Some(folder) = &environment.cache else {
        return match &environment.mirror {
            None => Ok(None),
            Some(_) => Err(RootError::Variable {
                variable: "TUF_MIRROR",
                detail: "no folder for a copy of it: set TUF_ROOT or HOME".to_owned(),
            }),
        };
    };
    let cache = Cache::new(folder);
    let noted = |error| RootError::Tuf { mirror: folder.display().to_string(), error };
    let name = match &environment.mirror {
        Some(name) => Some(name.clone()),
        None => cache.chosen().map_err(noted)?,
    };
    let Some(name) = name else { return Ok(None) };
    let failed = |error: TufError| RootError::Tuf { mirror: name.clone(), error };
    let mirror = Mirror::parse(&name).map_err(|fault| failed(fault.into()))?;
    let anchor = anchor(environment, &cache, &mirror)?;
    let none = || failed(TufError::NoAnchor { mirror: name.clone() });
    Ok(Some(Tuf::new(mirror, cache, anchor.ok_or_else(none)?)))
}

/// Where trust in `mirror` begins: for the public ones with what came with the program, as in
/// cosign; else with `TUF_ROOT_JSON`, or with the root that `initialize` was given.
pub(super) fn anchor(
    environment: &Environment,
    cache: &Cache,
    mirror: &Mirror,
) -> Result<Option<Vec<u8>>, RootError> {
    let name = mirror.to_string();
    if let Some(known) = embedded::anchor(&name) {
        return Ok(Some(known.to_vec()));
    }
    if let Some(path) = &environment.root_json {
        return super::environment::tuf_root(path).map(Some);
    }
    cache.anchor(mirror).map_err(|error| RootError::Tuf { mirror: name, error })
}

async fn of_mirror(
    tuf: &Tuf,
    refresh: Refresh,
    target: &str,
    now: Timestamp,
) -> Result<Found, RootError> {
    let mirror = tuf.mirror().to_string();
    let times = tuf.cache().times(tuf.mirror());
    let copy = tuf.cached(TARGETS).await;
    let wanting = match &copy {
        Err(_) => true,
        Ok(copy) => copy.target(target).is_err() && copy.listed.iter().any(|name| name == target),
    };
    let news = match refresh {
        Refresh::WhenDue(deadline) if wanting || is_due(&times, now) => {
            Some(news(tuf, times, now, deadline).await)
        }
        _ => None,
    };
    let mut warnings = Vec::new();
    let (verified, refreshed) = match (news, copy) {
        (Some(Ok(fresh)), copy) => {
            if let Some(error) = copy.err().filter(|error| !is_new(error)) {
                let remedy = Remedy::Refreshed;
                warnings.push(Warning::Unusable { mirror: mirror.clone(), error, remedy });
            }
            (fresh, Some(now))
        }
        (news, Ok(copy)) => {
            if let Some(Err(error)) = news {
                let refreshed = times.refreshed;
                let mirror = mirror.clone();
                warnings.push(Warning::NotRefreshed { mirror, error, refreshed });
            }
            warnings.extend(expiry(&copy, &mirror, now));
            (copy, times.refreshed)
        }
        (news, Err(error)) => return nothing(mirror, error, news.and_then(Result::err), now),
    };
    let json = verified.target(target).map(<[u8]>::to_vec);
    let json = json.map_err(|error| RootError::Tuf { mirror: mirror.clone(), error })?;
    let origin = Origin::Tuf { mirror, refreshed, expires: verified.expires() };
    Ok(Found { json: Some(json), source: RootSource::Configured, origin, warnings })
}

/// Asks the mirror, and notes that it was asked, whatever it said.
async fn news(
    tuf: &Tuf,
    times: Times,
    now: Timestamp,
    deadline: Duration,
) -> Result<Verified, TufError> {
    let news = tuf.refresh(TARGETS, now, deadline).await;
    let refreshed = if news.is_ok() { Some(now) } else { times.refreshed };
    let times = Times { refreshed, tried: Some(now) };
    if let Err(error) = tuf.cache().note(tuf.mirror(), times) {
        tracing::debug!(%error, "the time of the refresh was not noted");
    }
    news
}

/// Whether a day has passed since the mirror was asked, or the clock went back.
fn is_due(times: &Times, now: Timestamp) -> bool {
    let last = times.tried.max(times.refreshed);
    last.is_none_or(|last| last > now || now.duration_since(last) >= DUE)
}

/// No copy yet: nothing that anybody must be told.
fn is_new(error: &TufError) -> bool {
    matches!(error, TufError::NotCached { .. })
}

fn expiry(copy: &Verified, mirror: &str, now: Timestamp) -> Option<Warning> {
    let role = copy.expired(now)?;
    let mirror = mirror.to_owned();
    Some(Warning::Expired { mirror, role: role.name, expires: role.expires })
}

/// Neither news nor a good copy. For the public-good mirror what came with the program is a good
/// copy, too; nothing takes the place of a private one.
fn nothing(
    mirror: String,
    copy: TufError,
    news: Option<TufError>,
    now: Timestamp,
) -> Result<Found, RootError> {
    let known = mirror == PUBLIC_GOOD;
    let unusable =
        Warning::Unusable { mirror: mirror.clone(), error: copy.clone(), remedy: Remedy::Embedded };
    if known {
        let failed = |error| Warning::NotRefreshed { mirror, error, refreshed: None };
        let warnings = news.map(failed).into_iter().chain([unusable]).collect();
        return Ok(Found::embedded(RootSource::Configured, warnings, now));
    }
    let error = match news {
        Some(news) if is_new(&copy) => news,
        _ => copy,
    };
    Err(RootError::Tuf { mirror, error })
}

impl Found {
    fn embedded(source: RootSource, mut warnings: Vec<Warning>, now: Timestamp) -> Self {
        let taken = embedded::taken();
        if now.duration_since(taken) > OLD {
            warnings.push(Warning::Old { taken, days: days(taken, now) });
        }
        Self { json: None, source, origin: Origin::Embedded { taken }, warnings }
    }
}
