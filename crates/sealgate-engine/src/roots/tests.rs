use std::collections::VecDeque;

use async_trait::async_trait;
use sealgate_policy::cip::trust_root::{Keys, Remote};

use super::*;

/// The results of consecutive refreshes; the last one is repeated.
type Script = Arc<Mutex<VecDeque<Result<ReadRoot, Fault>>>>;

struct Scripted(Script);

struct Reading(Script);

impl RootRepositories for Scripted {
    fn open(&self, spec: &Spec) -> Result<Box<dyn RootRepository>, Fault> {
        match &spec.remote {
            Some(remote) if remote.mirror == "unusable" => {
                Err(Fault::new(FaultKind::Config, "mirror", "cannot be used"))
            }
            _ => Ok(Box::new(Reading(self.0.clone()))),
        }
    }
}

#[async_trait]
impl RootRepository for Reading {
    async fn read(&mut self, _now: Timestamp) -> Result<ReadRoot, Fault> {
        let next = {
            let mut script = self.0.lock().unwrap();
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        };
        match next {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }
}

fn root(name: &str) -> TrustRoot {
    let skipped = sealgate_core::trust::Skipped {
        part: sealgate_core::trust::Part::CtLog,
        uri: sealgate_core::reject::Foreign::new(name),
        reason: sealgate_core::reject::Foreign::new(""),
    };
    TrustRoot { skipped: vec![skipped], ..TrustRoot::default() }
}

fn good(name: &str) -> Result<ReadRoot, Fault> {
    Ok(ReadRoot { root: root(name), expired: None })
}

fn fault() -> Result<ReadRoot, Fault> {
    Err(Fault::new(FaultKind::Unreachable, "tuf.example", "no route"))
}

fn roots(script: Vec<Result<ReadRoot, Fault>>) -> (Arc<Roots>, Script) {
    let script: Script = Arc::new(Mutex::new(script.into()));
    let none = Fault::new(FaultKind::Missing, "own", "no own root");
    let repositories = Arc::new(Scripted(script.clone()));
    (Roots::with_schedule(Err(none), repositories, Arc::new(Still), QUICK), script)
}

/// A day in a second.
const QUICK: RefreshSchedule = RefreshSchedule {
    refresh: Duration::from_millis(200),
    retry: Duration::from_millis(40),
    longest: Duration::from_millis(100),
    timeout: Duration::from_millis(100),
};

/// Waits until the root has this URL.
async fn until(roots: &Roots, name: &str, expected: &str) {
    let mut changes = roots.changes();
    let seen = async {
        while conditions(roots, name) != expected {
            changes.changed().await.unwrap();
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(10), seen).await;
    assert!(seen.is_ok(), "{expected}: {}", conditions(roots, name));
}

fn remote(mirror: &str) -> Result<Spec, String> {
    let remote = Remote { mirror: mirror.to_owned(), ..Remote::default() };
    Ok(Spec { remote: Some(remote), ..Spec::default() })
}

fn objects(all: &[(&str, Result<Spec, String>)]) -> Objects {
    all.iter().map(|(name, object)| ((*name).to_owned(), object.clone())).collect()
}

fn get(roots: &Roots, name: &str) -> Result<TrustRoot, String> {
    let found = roots.get(&RootRef::Named(name.to_owned()));
    found.map(|(root, _)| (*root).clone()).map_err(|fault| fault.detail)
}

/// `Ready=True`, `Stale=False`, … with the reason where there is a problem.
fn conditions(roots: &Roots, name: &str) -> String {
    let all = roots.conditions(name);
    let texts = all.iter().map(|c| format!("{}={} {}", c.kind, c.holds, c.reason));
    texts.map(|text| text.trim_end().to_owned()).collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn what_stands_in_the_object_is_there_at_once_and_the_rest_is_told() {
    let (roots, _) = roots(Vec::new());
    let keys = Spec { sigstore_keys: Some(Keys::default()), ..Spec::default() };
    let all = [
        ("keys", Ok(keys)),
        ("invalid", Err("it is not valid".to_owned())),
        ("unusable", remote("unusable")),
        ("pending", remote("https://m")),
    ];
    roots.set(&objects(&all));
    assert_eq!(get(&roots, "keys"), Ok(TrustRoot::default()));
    assert_eq!(conditions(&roots, "keys"), "Ready=true");
    assert_eq!(get(&roots, "invalid").unwrap_err(), "TrustRoot invalid: it is not valid");
    assert_eq!(conditions(&roots, "invalid"), "Ready=false Invalid");
    assert!(get(&roots, "unusable").unwrap_err().contains("cannot be used"));
    assert_eq!(get(&roots, "pending").unwrap_err(), "TrustRoot pending: not fetched yet");
    assert_eq!(conditions(&roots, "pending"), "Ready=false Pending, Stale=false");
    assert_eq!(get(&roots, "gone").unwrap_err(), "trustRootRef gone not found");
    assert_eq!(roots.get(&RootRef::Default).unwrap_err().detail, "no own root");
    assert_eq!(roots.conditions("gone"), []);
}

#[tokio::test]
async fn the_last_good_root_stays_when_a_refresh_fails() {
    let (roots, script) = roots(vec![good("one"), fault()]);
    roots.set(&objects(&[("t", remote("https://m"))]));
    until(&roots, "t", "Ready=true, Stale=false").await;
    assert_eq!(get(&roots, "t"), Ok(root("one")));
    until(&roots, "t", "Ready=true, Stale=true RefreshFailed").await;
    assert_eq!(get(&roots, "t"), Ok(root("one")), "kept");
    let message = &roots.conditions("t")[1].message;
    assert!(
        message.starts_with("the root fetched at 2023-11-14T22:13:20Z is still used: "),
        "{message}"
    );
    assert!(message.contains("no route"), "{message}");
    script.lock().unwrap().extend([good("two")]);
    until(&roots, "t", "Ready=true, Stale=false").await;
    assert_eq!(get(&roots, "t"), Ok(root("two")), "soon tried again");
    let changes = roots.changes();
    tokio::time::sleep(QUICK.refresh * 3).await;
    assert!(!changes.has_changed().unwrap(), "the same root is no change");
}

#[tokio::test]
async fn what_was_never_read_is_not_there_and_is_tried_again() {
    let (roots, script) = roots(vec![fault()]);
    roots.set(&objects(&[("t", remote("https://m"))]));
    until(&roots, "t", "Ready=false RefreshFailed, Stale=false").await;
    assert!(get(&roots, "t").unwrap_err().contains("no route"));
    script.lock().unwrap().extend([good("at last")]);
    until(&roots, "t", "Ready=true, Stale=false").await;
    assert_eq!(get(&roots, "t"), Ok(root("at last")));
}

#[tokio::test]
async fn a_mirror_that_never_answers_is_given_up() {
    let (roots, _) = roots(Vec::new());
    roots.set(&objects(&[("t", remote("https://m"))]));
    until(&roots, "t", "Ready=false RefreshFailed, Stale=false").await;
    assert!(get(&roots, "t").unwrap_err().contains("no answer within 0 s"));
}

/// An edit of a trust root withdraws trust from the old root at once.
#[tokio::test]
async fn an_edited_object_starts_anew_and_an_equal_one_goes_on() {
    let (roots, script) = roots(vec![good("one")]);
    roots.set(&objects(&[("t", remote("https://m"))]));
    until(&roots, "t", "Ready=true, Stale=false").await;
    script.lock().unwrap().clear();
    roots.set(&objects(&[("t", remote("https://m")), ("u", remote("https://u"))]));
    assert_eq!(get(&roots, "t"), Ok(root("one")));
    roots.set(&objects(&[("t", remote("https://other"))]));
    assert_eq!(get(&roots, "t").unwrap_err(), "TrustRoot t: not fetched yet");
    assert_eq!(get(&roots, "u").unwrap_err(), "trustRootRef u not found");
    // The result of a refresh of the old object is not used for the new one.
    roots.store("t", &remote("https://m").unwrap(), good("late"));
    roots.store("u", &remote("https://u").unwrap(), good("late"));
    assert!(get(&roots, "t").is_err() && get(&roots, "u").is_err());
}

#[tokio::test]
async fn readers_end_with_their_objects_and_with_the_roots() {
    let (roots, script) = roots(vec![good("one")]);
    let holders = async |count: usize| {
        let mut patience = 1000;
        while Arc::strong_count(&script) != count && patience > 0 {
            patience -= 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(Arc::strong_count(&script), count);
    };
    roots.set(&objects(&[("t", remote("https://m"))]));
    // The repositories of the roots, of the task, and of the test.
    holders(3).await;
    roots.set(&Objects::new());
    holders(2).await;
    roots.set(&objects(&[("t", remote("https://m"))]));
    holders(3).await;
    drop(roots);
    holders(1).await;
}

#[tokio::test]
async fn an_archive_that_has_expired_is_used_and_said_to_be_old() {
    let expired = Some(Timestamp::from_second(1_600_000_000).unwrap());
    let (roots, _) = roots(vec![Ok(ReadRoot { root: root("old"), expired })]);
    roots.set(&objects(&[("t", remote("https://m"))]));
    until(&roots, "t", "Ready=true, Stale=true Expired").await;
    assert_eq!(get(&roots, "t"), Ok(root("old")));
    assert!(roots.conditions("t")[1].message.contains("expired at 2020-09-13T12:26:40Z"));
}

#[test]
fn waits_grow_and_are_bounded() {
    let RefreshSchedule { refresh, retry, longest, .. } = DEFAULT_SCHEDULE;
    assert!(DEFAULT_SCHEDULE.wait(0) >= refresh && DEFAULT_SCHEDULE.wait(0) <= refresh * 5 / 4);
    for failures in 1..100 {
        let (wait, least) =
            (DEFAULT_SCHEDULE.wait(failures), retry * (1 << (failures - 1).min(10)));
        assert!(wait >= least.min(longest) && wait <= longest * 5 / 4, "{failures}");
    }
}
