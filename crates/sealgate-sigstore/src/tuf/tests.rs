use std::path::PathBuf;

use jiff::SignedDuration;
use sealgate_testkit::tuf::{self as written, Files, TufRepository};

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);
const ROOT: &[u8] = b"a trusted root";

/// Repository in a directory, and a cache.
struct RepositoryFixture {
    repository: TufRepository,
    folder: tempfile::TempDir,
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn later(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

impl RepositoryFixture {
    fn new() -> Self {
        let repository = TufRepository::new(now()).with(TRUSTED_ROOT, ROOT);
        Self { repository, folder: tempfile::tempdir().unwrap() }
    }

    fn mirror(&self) -> PathBuf {
        self.folder.path().join("mirror")
    }

    fn cache(&self) -> Cache {
        Cache::new(self.folder.path().join("cache"))
    }

    fn tuf(&self) -> Tuf {
        let mirror = Mirror::parse(self.mirror().to_str().unwrap()).unwrap();
        Tuf::new(mirror, self.cache(), self.repository.root(1))
    }

    fn publish(&self) {
        self.repository.write(&self.mirror());
    }

    /// Publishes modified files.
    fn publish_files(&self, files: &Files) {
        let _ = std::fs::remove_dir_all(self.mirror());
        written::write(files, &self.mirror());
    }

    async fn refresh_at(&self, time: Timestamp) -> Result<VerifiedTargets, TufError> {
        self.tuf().refresh(&[TRUSTED_ROOT], time, DEADLINE).await
    }

    async fn refresh(&self) -> Result<VerifiedTargets, TufError> {
        self.refresh_at(now()).await
    }

    async fn cached(&self) -> Result<VerifiedTargets, TufError> {
        self.tuf().cached(&[TRUSTED_ROOT]).await
    }

    /// Path of a file in the copy.
    fn copy(&self, name: &str) -> PathBuf {
        self.cache().folder(self.tuf().mirror()).join(name)
    }
}

/// Environment with a refreshed repository of version 1.
async fn refreshed() -> RepositoryFixture {
    let fixture = RepositoryFixture::new();
    fixture.publish();
    fixture.refresh().await.unwrap();
    fixture
}

#[tokio::test]
async fn a_good_repository_is_read_and_kept() {
    let fixture = RepositoryFixture::new();
    fixture.publish();
    let fresh = fixture.refresh().await.unwrap();
    assert_eq!(fresh.target(TRUSTED_ROOT), Ok(ROOT));
    assert_eq!((fresh.listed.as_slice(), fresh.roles.len()), (&[TRUSTED_ROOT.to_owned()][..], 4));
    assert!(fresh.roles.iter().all(|role| role.version == 1 && role.length > 100));
    assert_eq!((fresh.expires(), fresh.expired(now())), (later(7), None));
    // The mirror is gone: the copy is the same.
    std::fs::remove_dir_all(fixture.mirror()).unwrap();
    assert_eq!(fixture.cached().await.unwrap(), fresh);
    assert_eq!(fresh.target("other.json"), Err(TufError::NoTarget("other.json".to_owned())));
}

#[tokio::test]
async fn names_without_versions_and_hashes_are_read_too() {
    let mut fixture = RepositoryFixture::new();
    fixture.repository.consistent = false;
    fixture.repository.renew_root();
    fixture.publish();
    assert_eq!(fixture.refresh().await.unwrap().target(TRUSTED_ROOT), Ok(ROOT));
    assert_eq!(fixture.cached().await.unwrap().target(TRUSTED_ROOT), Ok(ROOT));
}

#[tokio::test]
async fn an_older_version_is_refused() {
    let mut fixture = RepositoryFixture::new();
    fixture.repository.version = 7;
    fixture.publish();
    fixture.refresh().await.unwrap();
    fixture.repository.version = 6;
    fixture.publish();
    let error = fixture.refresh().await.unwrap_err();
    assert_eq!(error.code(), "tuf-rollback");
    assert_eq!(
        error.to_string(),
        "rollback: timestamp is at version 7, the repository offers version 6"
    );
    assert_eq!(fixture.cached().await.unwrap().roles[1].version, 7);
}

#[tokio::test]
async fn an_older_version_is_refused_after_the_copy_has_expired() {
    let mut fixture = RepositoryFixture::new();
    fixture.repository.version = 7;
    fixture.publish();
    fixture.refresh().await.unwrap();
    fixture.repository.version = 6;
    fixture.repository.expires.values_mut().for_each(|time| *time = later(30));
    fixture.repository.renew_root();
    fixture.publish();
    let error = fixture.refresh_at(later(8)).await.unwrap_err();
    assert_eq!(error.code(), "tuf-rollback", "{error}");
}

#[tokio::test]
async fn a_frozen_mirror_is_refused_and_the_copy_stays() {
    let fixture = refreshed().await;
    let error = fixture.refresh_at(later(8)).await.unwrap_err();
    assert_eq!(error.code(), "tuf-expired");
    assert!(error.is_refusal());
    let copy = fixture.cached().await.unwrap();
    assert_eq!(copy.target(TRUSTED_ROOT), Ok(ROOT));
    assert!(copy.expired(later(8)).is_some());
}

#[tokio::test]
async fn each_role_that_has_expired_is_named() {
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut fixture = RepositoryFixture::new();
        fixture.repository.expires.insert(role, later(1));
        fixture.repository.renew_root();
        fixture.publish();
        let error = fixture.refresh_at(later(2)).await.unwrap_err();
        assert!(
            matches!(&error, TufError::Expired { role: found, .. } if found == role),
            "{error}"
        );
        fixture.refresh().await.unwrap();
        assert_eq!(fixture.cached().await.unwrap().expired(later(2)).unwrap().name, role);
    }
}

#[tokio::test]
async fn a_target_that_is_not_what_its_hash_says_is_refused() {
    let fixture = refreshed().await;
    let mut files = fixture.repository.files();
    let name = files.keys().find(|name| name.ends_with(TRUSTED_ROOT)).unwrap().clone();
    files.insert(name, b"a twisted root".to_vec());
    fixture.publish_files(&files);
    std::fs::remove_file(fixture.copy("targets/trusted_root.json")).unwrap();
    let error = fixture.refresh().await.unwrap_err();
    assert_eq!(error.code(), "tuf-mismatch", "{error}");
    // A missing copy of a target is left out.
    assert_eq!(fixture.cached().await.unwrap().targets.len(), 0);
}

#[tokio::test]
async fn a_damaged_copy_is_refused_and_repaired() {
    let damages: [(&str, &[u8], &str); 6] = [
        ("targets/trusted_root.json", b"a twisted root", "tuf-mismatch"),
        ("targets.json", b"{}", "tuf-malformed"),
        ("snapshot.json", b"", "tuf-mismatch"),
        ("timestamp.json", b"{\"signed\":{}", "tuf-malformed"),
        ("timestamp.json", &[b' '; 20_000], "tuf-cache"),
        ("root.json", b"nothing", ""),
    ];
    for (name, bytes, code) in damages {
        let fixture = refreshed().await;
        std::fs::write(fixture.copy(name), bytes).unwrap();
        let read = fixture.cached().await.map_err(|error| error.code());
        match code {
            // The initial root is not read from the copy.
            "" => assert!(read.is_ok()),
            code => assert_eq!(read, Err(code), "{name}"),
        }
        fixture.refresh().await.unwrap();
        assert_eq!(fixture.cached().await.unwrap().target(TRUSTED_ROOT), Ok(ROOT), "{name}");
    }
}

#[tokio::test]
async fn a_copy_of_another_repository_is_refused() {
    let fixture = refreshed().await;
    let other = refreshed().await;
    for name in ["timestamp.json", "snapshot.json", "targets.json", "targets/trusted_root.json"] {
        std::fs::copy(other.copy(name), fixture.copy(name)).unwrap();
    }
    let error = fixture.cached().await.unwrap_err();
    assert_eq!(error.code(), "tuf-signatures", "{error}");
}

#[tokio::test]
async fn roots_are_walked_through_each_signed_by_the_one_before() {
    let mut fixture = refreshed().await;
    fixture.repository.rotate();
    fixture.repository.rotate();
    fixture.repository.version = 2;
    fixture.publish();
    assert_eq!(fixture.refresh().await.unwrap().roles[0].version, 3);
    // Offline, from the first root, through the copies of the intermediate ones.
    assert_eq!(fixture.cached().await.unwrap().roles[0].version, 3);
    // A copy as cosign leaves it: the newest root only.
    std::fs::remove_dir_all(fixture.copy("root_history")).unwrap();
    let mirror = fixture.tuf().mirror().clone();
    let anchored = |root| Tuf::new(mirror.clone(), fixture.cache(), root);
    let from = |version| anchored(fixture.repository.root(version));
    assert_eq!(from(2).cached(&[TRUSTED_ROOT]).await.unwrap().roles[0].version, 3);
    assert_eq!(from(3).cached(&[TRUSTED_ROOT]).await.unwrap().roles[0].version, 3);
}

#[tokio::test]
async fn a_root_that_the_old_keys_have_not_signed_is_refused() {
    let mut fixture = refreshed().await;
    fixture.repository.rotate_without_old_keys();
    fixture.repository.version = 2;
    fixture.publish();
    let error = fixture.refresh().await.unwrap_err();
    assert_eq!(error.to_string(), "root metadata has 0 of 2 required valid signatures");
    assert_eq!(fixture.cached().await.unwrap().roles[0].version, 1);
}

#[tokio::test]
async fn one_signature_is_not_two() {
    let mut fixture = refreshed().await;
    fixture.repository.rotate();
    let mut files = fixture.repository.files();
    keep_signatures(files.get_mut("2.root.json").unwrap(), |at| at != 0 && at != 1);
    fixture.publish_files(&files);
    let error = fixture.refresh().await.unwrap_err();
    let TufError::Threshold { role, found: 1, threshold: 2 } = &error else { panic!("{error}") };
    assert_eq!(role, "root");
}

#[tokio::test]
async fn metadata_without_signatures_is_refused() {
    for (name, role) in [
        ("timestamp.json", "timestamp"),
        ("targets.json", "targets"),
        // The timestamp pins the snapshot's hash, which would be refused first.
        ("1.root.json", "root"),
    ] {
        let mut fixture = RepositoryFixture::new();
        fixture.repository.consistent = false;
        fixture.repository.renew_root();
        let mut files = fixture.repository.files();
        keep_signatures(files.get_mut(name).unwrap(), |_| false);
        fixture.publish_files(&files);
        let mirror = fixture.tuf().mirror().clone();
        let tuf = match role {
            "root" => Tuf::new(mirror, fixture.cache(), files["1.root.json"].clone()),
            _ => fixture.tuf(),
        };
        let error = tuf.refresh(&[TRUSTED_ROOT], now(), DEADLINE).await.unwrap_err();
        let fits = matches!(&error, TufError::Threshold { role: of, found: 0, .. } if of == role);
        assert!(fits, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_version_is_not_skipped() {
    let mut fixture = refreshed().await;
    fixture.repository.rotate();
    fixture.repository.rotate();
    let mut files = fixture.repository.files();
    files.insert("2.root.json".to_owned(), fixture.repository.root(3));
    fixture.publish_files(&files);
    let error = fixture.refresh().await.unwrap_err();
    assert_eq!(error.to_string(), "root version 3 does not follow version 1");
}

#[tokio::test]
async fn what_is_too_large_is_not_read() {
    let fixture = RepositoryFixture::new();
    let mut files = fixture.repository.files();
    files.insert("timestamp.json".to_owned(), vec![b' '; 20_000]);
    fixture.publish_files(&files);
    let error = fixture.refresh().await.unwrap_err();
    assert!(error.to_string().contains("larger than 16384 bytes"), "{error}");

    let mut fixture = RepositoryFixture::new();
    fixture.repository.targets.insert(TRUSTED_ROOT.to_owned(), vec![b' '; MAX_TARGET as usize + 1]);
    fixture.publish();
    let error = fixture.refresh().await.unwrap_err();
    assert!(error.to_string().contains("exceeds configured max 1048576"), "{error}");
}

#[tokio::test]
async fn what_is_no_repository_is_a_fault() {
    let fixture = RepositoryFixture::new();
    let error = fixture.refresh().await.unwrap_err();
    assert!(error.to_string().contains("no such directory"), "{error}");
    std::fs::create_dir_all(fixture.mirror()).unwrap();
    let error = fixture.refresh().await.unwrap_err();
    assert_eq!(error.to_string(), "incomplete TUF repository: timestamp.json not found");
    assert!(!error.is_refusal());
    let error = fixture.cached().await.unwrap_err();
    assert_eq!(error.code(), "tuf-not-cached");
}

#[tokio::test]
async fn a_refused_refresh_writes_nothing() {
    let mut fixture = refreshed().await;
    let before = listing(&fixture);
    fixture.repository.rotate();
    fixture.repository.version = 2;
    let mut files = fixture.repository.files();
    keep_signatures(files.get_mut("2.targets.json").unwrap(), |_| false);
    fixture.publish_files(&files);
    assert_eq!(fixture.refresh().await.unwrap_err().code(), "tuf-signatures");
    assert_eq!(listing(&fixture), before);
}

#[tokio::test]
async fn no_name_leads_out_of_the_cache() {
    let fixture = refreshed().await;
    let folder = fixture.copy("");
    for name in ["../escape", "/escape", "targets/../../escape", "a//b", "./a", "a\\b", "", "a\0"] {
        let files = Files::from([(name.to_owned(), b"x".to_vec())]);
        let error = cache::commit(&folder, &files).await.unwrap_err();
        assert!(error.to_string().contains("a file name that leads outside"), "{name:?}: {error}");
        assert!(files::read(&folder, name, 100).is_err(), "{name:?}");
    }
    assert!(!fixture.folder.path().join("cache/escape").exists());
    let error = fixture.tuf().refresh(&["../../escape"], now(), DEADLINE).await;
    assert_eq!(error.unwrap().targets.len(), 0);
}

#[tokio::test]
async fn a_link_in_the_cache_is_replaced_and_not_written_through() {
    let fixture = refreshed().await;
    let outside = fixture.folder.path().join("outside");
    std::fs::write(&outside, "mine").unwrap();
    let link = fixture.copy("targets/trusted_root.json");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    assert_eq!(fixture.cached().await.unwrap_err().code(), "tuf-mismatch");
    fixture.refresh().await.unwrap();
    assert_eq!(std::fs::read(&outside).unwrap(), b"mine");
    assert_eq!(fixture.cached().await.unwrap().target(TRUSTED_ROOT), Ok(ROOT));
}

/// A cache in a directory writable by others.
#[tokio::test]
async fn a_lock_that_is_a_link_truncates_nothing() {
    for name in [".lock", ".refresh.lock"] {
        let fixture = refreshed().await;
        let outside = fixture.folder.path().join("outside");
        std::fs::write(&outside, "mine").unwrap();
        let link = fixture.copy(name);
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&outside, &link).unwrap();
        assert_eq!(fixture.refresh().await.unwrap_err().code(), "tuf-cache");
        assert_eq!(std::fs::read(&outside).unwrap(), b"mine");
        std::fs::remove_file(&link).unwrap();
        fixture.refresh().await.unwrap();
    }
}

#[tokio::test]
async fn refreshes_of_one_copy_follow_each_other() {
    let fixture = refreshed().await;
    let tuf = fixture.tuf();
    let held = cache::lock_for_refresh(&fixture.copy("")).await.unwrap();
    let short = Duration::from_millis(100);
    let error = tuf.refresh(&[TRUSTED_ROOT], now(), short).await.unwrap_err();
    assert_eq!(error.code(), "timeout");
    // Reading is still possible meanwhile.
    assert_eq!(fixture.cached().await.unwrap().target(TRUSTED_ROOT), Ok(ROOT));
    drop(held);
    tuf.refresh(&[TRUSTED_ROOT], now(), DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_writers_at_once_see_whole_copies() {
    let mut fixture = refreshed().await;
    let mut reads = 0;
    for version in 2..12 {
        fixture.repository.version = version;
        fixture.publish();
        let (tuf, other, third) = (fixture.tuf(), fixture.tuf(), fixture.tuf());
        let task = tokio::spawn(async move { tuf.refresh(&[TRUSTED_ROOT], now(), DEADLINE).await });
        let rival =
            tokio::spawn(async move { other.refresh(&[TRUSTED_ROOT], now(), DEADLINE).await });
        while !task.is_finished() {
            let seen = third.cached(&[TRUSTED_ROOT]).await.unwrap();
            assert_eq!(seen.target(TRUSTED_ROOT), Ok(ROOT));
            reads += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        task.await.unwrap().unwrap();
        rival.await.unwrap().unwrap();
    }
    assert!(reads > 0);
    assert_eq!(fixture.cached().await.unwrap().roles[1].version, 11);
}

#[tokio::test]
async fn an_archive_is_a_repository() {
    for (prefix, folder) in [("repository/", "targets"), ("./", ""), ("/repository/", "/targets/")]
    {
        let repository = TufRepository::new(now()).with(TRUSTED_ROOT, ROOT);
        let bytes = written::archive(&repository.files(), prefix);
        let root = repository.root(1);
        let read = of_archive(&bytes, &root, folder, TRUSTED_ROOT, now(), Expiry::Enforced).await;
        assert_eq!(read.unwrap().target(TRUSTED_ROOT), Ok(ROOT), "{prefix}");
        let stale =
            of_archive(&bytes, &root, folder, TRUSTED_ROOT, later(8), Expiry::Enforced).await;
        assert_eq!(stale.unwrap_err().code(), "tuf-expired");
        let told =
            of_archive(&bytes, &root, folder, TRUSTED_ROOT, later(8), Expiry::Reported).await;
        assert!(told.unwrap().expired(later(8)).is_some());
        let none = of_archive(&bytes, &root, folder, "other", now(), Expiry::Reported).await;
        assert_eq!(none, Err(TufError::NoTarget("other".to_owned())));
    }
}

#[tokio::test]
async fn a_bad_archive_is_refused() {
    let repository = TufRepository::new(now()).with(TRUSTED_ROOT, ROOT);
    let files = repository.files();
    let with = |name: &str, bytes: Vec<u8>| {
        let mut files = files.clone();
        files.insert(name.to_owned(), bytes);
        written::archive(&files, "")
    };
    let good = written::archive(&files, "");
    let many = (0..2000).map(|at| (format!("{at}"), Vec::new())).chain(files.clone()).collect();
    let cases = [
        (with("../escape", vec![1]), "an entry name that leads outside the archive: \"../escape\""),
        (with("targets/../../x", vec![1]), "an entry name that leads outside"),
        (with("a\\b", vec![1]), "an entry name that leads outside"),
        (with("zeros", vec![0; 33 << 20]), "unpacks to more than 33554432 bytes"),
        (written::archive(&many, ""), "more than 1024 entries"),
        (vec![0; archive::MAX_ARCHIVE + 1], "larger than 8388608 bytes"),
        (b"no archive".to_vec(), "malformed TUF repository archive"),
        (good[..good.len() / 2].to_vec(), "malformed TUF repository archive"),
        (written::archive(&Files::new(), ""), "no timestamp.json"),
        (with_link(), "neither a file nor a directory"),
    ];
    for (bytes, message) in cases {
        let read = archive::Archive::read(&bytes, "targets").unwrap_err();
        assert!(read.to_string().contains(message), "{read}");
        assert_eq!(read.code(), "tuf-archive");
    }
}

#[tokio::test]
async fn no_flipped_bit_gives_another_target_or_a_panic() {
    let repository = TufRepository::new(now()).with(TRUSTED_ROOT, ROOT);
    let (files, root) = (repository.files(), repository.root(1));
    let read = async |archive: &[u8]| {
        of_archive(archive, &root, "targets", TRUSTED_ROOT, now(), Expiry::Enforced).await
    };
    let (mut tried, mut good) = (0, 0);
    for (name, bytes) in &files {
        for at in (0..bytes.len()).step_by(bytes.len() / 24 + 1) {
            let mut files = files.clone();
            files.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            let found = read(&written::archive(&files, "")).await;
            good += usize::from(found.is_ok());
            tried += 1;
            assert!(found.is_err() || found.unwrap().target(TRUSTED_ROOT) == Ok(ROOT));
        }
    }
    // The initial root is known: its copy in the archive is not read.
    assert!(tried > 80 && good < tried / 3, "{good} of {tried}");
    let archive = written::archive(&files, "");
    for at in (0..archive.len()).step_by(3) {
        let mut archive = archive.clone();
        archive[at] ^= 1 << (at % 8);
        let found = read(&archive).await;
        assert!(found.is_err() || found.unwrap().target(TRUSTED_ROOT) == Ok(ROOT));
    }
}

#[tokio::test]
async fn a_mirror_may_not_go_back_between_two_questions() {
    let mut fixture = RepositoryFixture::new();
    fixture.repository.version = 3;
    fixture.publish();
    let mirror = Mirror::parse(&format!("file://{}", fixture.mirror().display())).unwrap();
    let root = fixture.repository.root(1);
    let ask = async |known: &KnownMetadata| {
        remote(&mirror, &root, TRUSTED_ROOT, known, now(), DEADLINE).await
    };
    let (verified, known) = ask(&KnownMetadata::default()).await.unwrap();
    assert_eq!(verified.target(TRUSTED_ROOT), Ok(ROOT));
    let (_, known) = ask(&known).await.unwrap();
    fixture.repository.version = 2;
    fixture.publish();
    assert_eq!(ask(&known).await.unwrap_err().code(), "tuf-rollback");
    assert!(ask(&KnownMetadata::default()).await.is_ok());
}

#[tokio::test]
async fn a_mirror_behind_http_is_asked() {
    let fixture = RepositoryFixture::new();
    let files = fixture.repository.files();
    let served = axum::Router::new().fallback(move |uri: axum::http::Uri| {
        let found = uri.path().strip_prefix("/base/").and_then(|name| files.get(name)).cloned();
        // As object stores do.
        async move { found.ok_or(axum::http::StatusCode::FORBIDDEN) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/base/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, served).await });
    let tuf =
        Tuf::new(Mirror::parse(&address).unwrap(), fixture.cache(), fixture.repository.root(1));
    let fresh = tuf.refresh(&[TRUSTED_ROOT], now(), DEADLINE).await.unwrap();
    assert_eq!(fresh.target(TRUSTED_ROOT), Ok(ROOT));
    server.abort();
    let _ = server.await;
    let error = tuf.refresh(&[TRUSTED_ROOT], now(), DEADLINE).await.unwrap_err();
    assert_eq!(error.code(), "unreachable", "{error}");
    assert_eq!(tuf.cached(&[TRUSTED_ROOT]).await.unwrap(), fresh);
}

#[tokio::test]
async fn a_mirror_that_does_not_answer_costs_the_deadline_only() {
    let fixture = RepositoryFixture::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let tuf =
        Tuf::new(Mirror::parse(&address).unwrap(), fixture.cache(), fixture.repository.root(1));
    let short = Duration::from_millis(200);
    let error = tuf.refresh(&[TRUSTED_ROOT], now(), short).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{address}: no response within 200ms (timeout)"));
}

#[test]
fn the_cache_is_laid_out_as_sigstore_go_does_it() {
    let cache = Cache::new("/c");
    let of = |mirror: &str| cache.folder(&Mirror::parse(mirror).unwrap());
    assert_eq!(
        of("https://tuf-repo-cdn.sigstore.dev"),
        PathBuf::from("/c/tuf-repo-cdn.sigstore.dev")
    );
    assert_eq!(of("http://Tuf.Example:8080/a/b"), PathBuf::from("/c/tuf.example-8080-a-b"));
}

#[test]
fn the_choice_and_the_times_are_kept_as_the_others_keep_them() {
    let fixture = RepositoryFixture::new();
    let (cache, tuf) = (fixture.cache(), fixture.tuf());
    assert_eq!(cache.chosen(), Ok(None));
    cache.choose(tuf.mirror()).unwrap();
    assert_eq!(cache.chosen().unwrap().unwrap(), tuf.mirror().to_string());
    std::fs::write(cache.path().join("remote.json"), "{\"mirror\":\"https://m.example\"}").unwrap();
    assert_eq!(cache.chosen(), Ok(Some("https://m.example".to_owned())));
    std::fs::write(cache.path().join("remote.json"), "{").unwrap();
    assert_eq!(cache.chosen().unwrap_err().code(), "tuf-cache");

    assert_eq!(cache.times(tuf.mirror()), RefreshTimes::default());
    let times = RefreshTimes { refreshed: Some(now()), tried: Some(later(1)) };
    cache.note(tuf.mirror(), times).unwrap();
    assert_eq!(cache.times(tuf.mirror()), times);
    let go = r#"{"lastTimestamp":"2026-11-21T13:00:00.123456789+01:00"}"#;
    let name = format!("{}.json", fixture.copy("").file_name().unwrap().to_str().unwrap());
    std::fs::write(cache.path().join(name), go).unwrap();
    assert_eq!(cache.times(tuf.mirror()).refreshed.unwrap().as_second(), now().as_second());
}

#[test]
fn what_is_no_address_is_said() {
    for text in ["", "ftp://a.example", "https://", "file://host/x", "https://u:p@a.example"] {
        assert!(Mirror::parse(text).is_err(), "{text}");
    }
}

/// Keeps the signatures at the given positions.
fn keep_signatures(bytes: &mut Vec<u8>, keep: impl Fn(usize) -> bool) {
    let mut value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let signatures = value["signatures"].as_array_mut().unwrap();
    let mut at = 0..;
    signatures.retain(|_| keep(at.next().unwrap()));
    *bytes = value.to_string().into_bytes();
}

fn listing(fixture: &RepositoryFixture) -> Files {
    let mut files = Files::new();
    for name in ["root.json", "timestamp.json", "snapshot.json", "targets.json"] {
        files.insert(name.to_owned(), std::fs::read(fixture.copy(name)).unwrap());
    }
    files.insert("root_history/2".to_owned(), {
        std::fs::read(fixture.copy("root_history/2.root.json")).unwrap_or_default()
    });
    files
}

fn with_link() -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(gzip);
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    archive.append_link(&mut header, "timestamp.json", "/etc/hostname").unwrap();
    archive.into_inner().unwrap().finish().unwrap()
}
