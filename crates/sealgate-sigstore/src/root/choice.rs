//! Loads a target of the chosen mirror: from the cached copy, after a refresh if one is due, or
//! from the embedded data if no mirror was chosen.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sealgate_core::verify::RootSource;

use super::{
    Environment, OLD, PUBLIC_GOOD, Refresh, Remedy, RootError, RootOptions, RootOrigin, Warning,
    days, embedded,
};
use crate::tuf::{
    Cache, Mirror, RefreshTimes, SIGNING_CONFIG, TRUSTED_ROOT, Tuf, TufError, VerifiedTargets,
};

/// Minimum interval between refreshes.
const REFRESH_INTERVAL: SignedDuration = SignedDuration::from_hours(24);
/// Targets kept in the cache.
pub(super) const TARGETS: &[&str] = &[TRUSTED_ROOT, SIGNING_CONFIG];

/// Target and its origin.
pub(super) struct FoundTarget {
    /// Content; `None` stands for the embedded one.
    pub(super) json: Option<Vec<u8>>,
    pub(super) source: RootSource,
    pub(super) origin: RootOrigin,
    pub(super) warnings: Vec<Warning>,
}

/// Loads `target` from the chosen mirror, if any.
pub(super) async fn find(
    options: &RootOptions,
    target: &str,
    now: Timestamp,
) -> Result<FoundTarget, RootError> {
    match chosen(&options.environment)? {
        None => Ok(FoundTarget::embedded(RootSource::Embedded, Vec::new(), now)),
        Some(tuf) => of_mirror(&tuf, options.refresh, target, now).await,
    }
}

/// Mirror in `TUF_MIRROR`, or the one recorded by `initialize`.
fn chosen(environment: &Environment) -> Result<Option<Tuf>, RootError> {
    let Some(folder) = &environment.cache else {
        return match &environment.mirror {
            None => Ok(None),
            Some(_) => Err(RootError::Variable {
                variable: "TUF_MIRROR",
                detail: "no directory for a copy of it: set TUF_ROOT or HOME".to_owned(),
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

/// Initial TUF root for `mirror`: the embedded one for public mirrors, as in cosign; otherwise
/// `TUF_ROOT_JSON`, or the root given to `initialize`.
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
) -> Result<FoundTarget, RootError> {
    let mirror = tuf.mirror().to_string();
    let times = tuf.cache().times(tuf.mirror());
    let copy = tuf.cached(TARGETS).await;
    let wanting = match &copy {
        Err(_) => true,
        Ok(copy) => copy.target(target).is_err() && copy.listed.iter().any(|name| name == target),
    };
    let news = match refresh {
        Refresh::WhenDue(deadline) if wanting || is_due(&times, now) => {
            Some(try_refresh(tuf, times, now, deadline).await)
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
        (news, Err(error)) => return without_copy(mirror, error, news.and_then(Result::err), now),
    };
    let json = verified.target(target).map(<[u8]>::to_vec);
    let json = json.map_err(|error| RootError::Tuf { mirror: mirror.clone(), error })?;
    let origin = RootOrigin::Tuf { mirror, refreshed, expires: verified.expires() };
    Ok(FoundTarget { json: Some(json), source: RootSource::Configured, origin, warnings })
}

/// Refreshes the copy, and records the attempt whatever its result.
async fn try_refresh(
    tuf: &Tuf,
    times: RefreshTimes,
    now: Timestamp,
    deadline: Duration,
) -> Result<VerifiedTargets, TufError> {
    let news = tuf.refresh(TARGETS, now, deadline).await;
    let refreshed = if news.is_ok() { Some(now) } else { times.refreshed };
    let times = RefreshTimes { refreshed, tried: Some(now) };
    if let Err(error) = tuf.cache().note(tuf.mirror(), times) {
        tracing::debug!(%error, "the time of the refresh was not recorded");
    }
    news
}

/// Returns whether a day has passed since the last attempt, or the clock went back.
fn is_due(times: &RefreshTimes, now: Timestamp) -> bool {
    let last = times.tried.max(times.refreshed);
    last.is_none_or(|last| last > now || now.duration_since(last) >= REFRESH_INTERVAL)
}

/// Returns whether the error only means that there is no copy yet, which needs no warning.
fn is_new(error: &TufError) -> bool {
    matches!(error, TufError::NotCached { .. })
}

fn expiry(copy: &VerifiedTargets, mirror: &str, now: Timestamp) -> Option<Warning> {
    let role = copy.expired(now)?;
    let mirror = mirror.to_owned();
    Some(Warning::Expired { mirror, role: role.name, expires: role.expires })
}

/// Neither a refresh nor a valid copy. For the public-good mirror, the embedded data serve as a
/// copy; nothing replaces a private mirror.
fn without_copy(
    mirror: String,
    copy: TufError,
    news: Option<TufError>,
    now: Timestamp,
) -> Result<FoundTarget, RootError> {
    let known = mirror == PUBLIC_GOOD;
    let unusable =
        Warning::Unusable { mirror: mirror.clone(), error: copy.clone(), remedy: Remedy::Embedded };
    if known {
        let failed = |error| Warning::NotRefreshed { mirror, error, refreshed: None };
        let warnings = news.map(failed).into_iter().chain([unusable]).collect();
        return Ok(FoundTarget::embedded(RootSource::Configured, warnings, now));
    }
    let error = match news {
        Some(news) if is_new(&copy) => news,
        _ => copy,
    };
    Err(RootError::Tuf { mirror, error })
}

impl FoundTarget {
    fn embedded(source: RootSource, mut warnings: Vec<Warning>, now: Timestamp) -> Self {
        let taken = embedded::taken();
        if now.duration_since(taken) > OLD {
            warnings.push(Warning::Old { taken, days: days(taken, now) });
        }
        Self { json: None, source, origin: RootOrigin::Embedded { taken }, warnings }
    }
}
