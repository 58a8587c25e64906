use std::path::Path;

use sealgate_testkit::tuf::TufRepository;

use super::*;
use crate::tuf::{self, MAX_ROOT};

const ROOT: &[u8] = include_bytes!("../../data/trusted_root.json");
const CONFIG: &[u8] = include_bytes!("../../data/signing_config.v0.2.json");
const SOON: Refresh = Refresh::WhenDue(Duration::from_secs(10));

/// Private mirror in a directory, and a home directory.
struct MirrorFixture {
    repository: TufRepository,
    folder: tempfile::TempDir,
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn later(hours: i64) -> Timestamp {
    now() + SignedDuration::from_hours(hours)
}

impl MirrorFixture {
    fn new() -> Self {
        let repository =
            TufRepository::new(now()).with(TRUSTED_ROOT, ROOT).with(SIGNING_CONFIG, CONFIG);
        Self { repository, folder: tempfile::tempdir().unwrap() }
    }

    /// Environment after `initialize`.
    async fn initialized() -> Self {
        let fixture = Self::new();
        fixture.publish();
        fixture.initialize().await.unwrap();
        fixture
    }

    fn publish(&self) {
        self.repository.write(Path::new(&self.mirror()));
    }

    fn remove_mirror(&self) {
        std::fs::remove_dir_all(self.mirror()).unwrap();
    }

    fn mirror(&self) -> String {
        self.folder.path().join("mirror").display().to_string()
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join(".sigstore/root")
    }

    async fn initialize(&self) -> Result<Initialized, RootError> {
        let wanted = Initialize {
            mirror: self.mirror(),
            root: Some(self.repository.root(1)),
            deadline: Duration::from_secs(10),
        };
        initialize(&self.environment(), wanted, now()).await
    }

    fn environment(&self) -> Environment {
        let home = self.folder.path().as_os_str().to_owned();
        Environment::read(|name| (name == "HOME").then(|| home.clone()))
    }

    fn options(&self) -> RootOptions {
        RootOptions { file: None, environment: self.environment(), refresh: SOON }
    }

    async fn root_at(&self, time: Timestamp) -> Result<LoadedRoot, RootError> {
        current_root(&self.options(), time).await
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Directory of the cached copy.
    fn copy(&self) -> PathBuf {
        let mirror = tuf::Mirror::parse(&self.mirror()).unwrap();
        tuf::Cache::new(self.cache()).folder(&mirror)
    }
}

fn said(chosen: &LoadedRoot) -> Vec<String> {
    chosen.warnings.iter().map(Warning::to_string).collect()
}

#[test]
fn the_embedded_roots_can_be_read() {
    let (root, taken) = embedded();
    assert!(root.names_transparency_log() && root.skipped.is_empty());
    assert_eq!(root.fingerprint(), root.parsed().fingerprint());
    assert!(root.fingerprint().to_string() == embedded::FINGERPRINT);
    assert_eq!(taken.to_string(), "2026-08-21T19:25:56Z");
    assert!(embedded_signing_config().starts_with(b"{"));
    for mirror in [PUBLIC_GOOD, STAGING] {
        let anchor = embedded::anchor(mirror).unwrap();
        assert!(anchor.len() < MAX_ROOT as usize);
        tuf::check_anchor(anchor).unwrap();
    }
}

/// Public-good repository as of the time of the embedded data, written to a directory.
fn recorded(folder: &Path) {
    use aws_lc_rs::digest::{SHA256, digest};
    let target = |name, bytes| format!("targets/{}.{name}", hex::encode(digest(&SHA256, bytes)));
    let files: [(String, &[u8]); 5] = [
        ("timestamp.json".into(), include_bytes!("../../tests/data/public-good/timestamp.json")),
        ("165.snapshot.json".into(), include_bytes!("../../tests/data/public-good/snapshot.json")),
        ("14.targets.json".into(), include_bytes!("../../tests/data/public-good/targets.json")),
        (target(TRUSTED_ROOT, ROOT), ROOT),
        (target(SIGNING_CONFIG, CONFIG), CONFIG),
    ];
    std::fs::create_dir_all(folder.join("targets")).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

#[tokio::test]
async fn the_embedded_data_are_those_of_the_public_good_repository() {
    let fixture = MirrorFixture::new();
    recorded(Path::new(&fixture.mirror()));
    let taken = embedded().1;
    let at = async |time| {
        let deadline = Duration::from_secs(10);
        let wanted = Initialize { mirror: fixture.mirror(), root: None, deadline };
        initialize(&fixture.environment(), wanted, time).await
    };
    let done = at(taken).await.unwrap();
    assert_eq!(done.root, *embedded().0);
    assert_eq!(done.verified.target(SIGNING_CONFIG), Ok(embedded_signing_config()));
    let late = at(taken + SignedDuration::from_hours(240)).await.unwrap_err();
    assert!(late.to_string().contains("timestamp metadata expired at 2026-08-28"), "{late}");
}

#[tokio::test]
async fn without_a_choice_the_embedded_root_is_used_offline() {
    let fixture = MirrorFixture::new();
    let chosen = fixture.root_at(now()).await.unwrap();
    assert_eq!((chosen.source, &chosen.root), (RootSource::Embedded, &embedded().0));
    assert_eq!(said(&chosen), [""; 0]);
    assert_eq!(
        chosen.origin.describe(now()),
        "the public-good root embedded in sealgate, taken 2026-08-21 (91 days old)"
    );
    let mirror = "https://tuf.example".to_owned();
    let asked = RootOrigin::Tuf { mirror, refreshed: Some(now()), expires: later(24) };
    for (hours, age) in
        [(0, "less than a day"), (23, "less than a day"), (24, "1 day"), (48, "2 days")]
    {
        let said = format!("the TUF mirror https://tuf.example, refreshed {age} ago");
        assert_eq!(asked.describe(later(hours)), said);
    }
    assert!(!fixture.cache().exists());
    let old = fixture.root_at(later(366 * 24)).await.unwrap();
    assert_eq!(
        said(&old),
        ["the trust root embedded in sealgate is 457 days old (of 2026-08-21): run `sealgate \
          initialize` to get a newer one"]
    );
}

#[tokio::test]
async fn a_file_wins_over_everything() {
    let fixture = MirrorFixture::initialized().await;
    let path = fixture.write("root.json", ROOT);
    let options = RootOptions { file: Some(path.clone()), ..fixture.options() };
    let chosen = current_root(&options, now()).await.unwrap();
    assert_eq!((chosen.source, chosen.origin), (RootSource::Configured, RootOrigin::File(path)));
    assert_eq!(*chosen.root, *embedded().0);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_an_error() {
    let fixture = MirrorFixture::new();
    let of = async |path: PathBuf| {
        let options = RootOptions { file: Some(path), ..fixture.options() };
        current_root(&options, now()).await.unwrap_err().to_string()
    };
    let none = of(fixture.folder.path().join("none")).await;
    assert!(none.starts_with("loading trusted root: ") && none.contains("No such file"), "{none}");
    let bad = of(fixture.write("bad.json", "{}")).await;
    assert!(bad.contains("bad.json: ") && bad.contains("media type"), "{bad}");
    let large = of(fixture.write("large.json", vec![b' '; (1 << 20) + 1])).await;
    assert!(large.ends_with("larger than 1048576 bytes"), "{large}");
}

#[tokio::test]
async fn the_mirror_of_initialize_decides() {
    let fixture = MirrorFixture::initialized().await;
    let chosen = fixture.root_at(later(1)).await.unwrap();
    assert_eq!(chosen.source, RootSource::Configured);
    let (mirror, refreshed, expires) = (fixture.mirror(), Some(now()), later(7 * 24));
    assert_eq!(chosen.origin, RootOrigin::Tuf { mirror, refreshed, expires });
    assert_eq!(said(&chosen), [""; 0]);
    let config = current_signing_config(&fixture.options(), later(1)).await.unwrap();
    assert_eq!((config.json.as_slice(), config.source), (CONFIG, RootSource::Configured));
}

#[tokio::test]
async fn a_mirror_is_refreshed_once_a_day() {
    let mut fixture = MirrorFixture::initialized().await;
    fixture.repository.version = 2;
    fixture.publish();
    let version = || {
        let bytes = std::fs::read(fixture.copy().join("timestamp.json")).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        value["signed"]["version"].as_u64().unwrap()
    };
    fixture.root_at(later(23)).await.unwrap();
    assert_eq!(version(), 1);
    let never = RootOptions { refresh: Refresh::Never, ..fixture.options() };
    current_root(&never, later(25)).await.unwrap();
    assert_eq!(version(), 1);
    fixture.root_at(later(25)).await.unwrap();
    assert_eq!(version(), 2);
}

#[tokio::test]
async fn a_mirror_that_is_gone_is_a_warning_once_a_day() {
    let fixture = MirrorFixture::initialized().await;
    fixture.remove_mirror();
    let first = fixture.root_at(later(25)).await.unwrap();
    assert_eq!(*first.root, *embedded().0);
    assert_eq!(
        said(&first),
        [format!(
            "refreshing the trust root from {0} failed: {0}: no such directory (unreachable); the \
             last valid copy, of 2026-11-21, is used",
            fixture.mirror()
        )]
    );
    assert_eq!(said(&fixture.root_at(later(26)).await.unwrap()), [""; 0]);
    assert_eq!(said(&fixture.root_at(later(50)).await.unwrap()).len(), 1);
}

#[tokio::test]
async fn an_expired_copy_is_used_and_reported() {
    let fixture = MirrorFixture::initialized().await;
    fixture.remove_mirror();
    let chosen = fixture.root_at(later(8 * 24)).await.unwrap();
    assert_eq!(*chosen.root, *embedded().0);
    let [unreachable, expired] = &said(&chosen)[..] else { panic!("{:?}", chosen.warnings) };
    assert!(unreachable.contains("failed"), "{unreachable}");
    assert!(expired.contains("metadata of the trust root from"), "{expired}");
    assert!(expired.contains("expired on 2026-11-28; its last valid copy is used"), "{expired}");
}

#[tokio::test]
async fn a_frozen_mirror_is_refused_and_reported() {
    let fixture = MirrorFixture::initialized().await;
    let chosen = fixture.root_at(later(8 * 24)).await.unwrap();
    let [refused, _] = &said(&chosen)[..] else { panic!("{:?}", chosen.warnings) };
    assert!(refused.contains("was refused: root metadata expired at 2026-11-28"), "{refused}");
}

#[tokio::test]
async fn a_damaged_copy_is_fetched_again_or_reported() {
    let fixture = MirrorFixture::initialized().await;
    let target = fixture.copy().join("targets").join(TRUSTED_ROOT);
    std::fs::write(&target, "{}").unwrap();
    let chosen = fixture.root_at(later(1)).await.unwrap();
    assert_eq!(*chosen.root, *embedded().0);
    let [told] = &said(&chosen)[..] else { panic!("{:?}", chosen.warnings) };
    assert!(told.contains("cannot be used") && told.ends_with("it was fetched again"), "{told}");
    assert_eq!(said(&fixture.root_at(later(1)).await.unwrap()), [""; 0]);

    std::fs::write(&target, "{}").unwrap();
    fixture.remove_mirror();
    let error = fixture.root_at(later(1)).await.unwrap_err().to_string();
    assert!(error.starts_with("getting trusted root from TUF: "), "{error}");
    assert!(error.contains("does not match its metadata"), "{error}");
}

#[tokio::test]
async fn nothing_replaces_a_private_mirror() {
    let fixture = MirrorFixture::initialized().await;
    std::fs::remove_dir_all(fixture.copy()).unwrap();
    fixture.remove_mirror();
    let error = fixture.root_at(later(1)).await.unwrap_err().to_string();
    assert!(error.contains("no trusted TUF root for"), "{error}");
    std::fs::write(fixture.cache().join("remote.json"), "{").unwrap();
    assert!(fixture.root_at(later(1)).await.is_err());
}

#[tokio::test]
async fn the_public_good_mirror_without_a_copy_is_the_embedded_root_as_chosen() {
    let fixture = MirrorFixture::new();
    std::fs::create_dir_all(fixture.cache()).unwrap();
    let remote = format!("{{\"mirror\":\"{PUBLIC_GOOD}\"}}");
    std::fs::write(fixture.cache().join("remote.json"), remote).unwrap();
    let options = RootOptions { refresh: Refresh::Never, ..fixture.options() };
    let chosen = current_root(&options, now()).await.unwrap();
    assert_eq!(chosen.source, RootSource::Configured);
    assert!(matches!(chosen.origin, RootOrigin::Embedded { .. }));
    let [told] = &said(&chosen)[..] else { panic!("{:?}", chosen.warnings) };
    assert!(told.ends_with("the root embedded in sealgate is used"), "{told}");
}

#[tokio::test]
async fn a_mirror_may_be_named_by_the_environment() {
    let fixture = MirrorFixture::new();
    fixture.publish();
    let anchor = fixture.write("1.root.json", fixture.repository.root(1));
    let named = Environment { mirror: Some(fixture.mirror()), ..fixture.environment() };
    let options = RootOptions { environment: named.clone(), ..fixture.options() };
    let error = current_root(&options, now()).await.unwrap_err().to_string();
    assert!(error.contains("no trusted TUF root for"), "{error}");
    let environment = Environment { root_json: Some(anchor), ..named };
    let options = RootOptions { environment, ..options };
    let chosen = current_root(&options, now()).await.unwrap();
    assert!(matches!(chosen.origin, RootOrigin::Tuf { refreshed: Some(_), .. }));
    assert_eq!((chosen.source, said(&chosen).len()), (RootSource::Configured, 0));
}

#[tokio::test]
async fn a_private_mirror_without_a_signing_config_does_not_end_at_public_services() {
    let mut fixture = MirrorFixture::new();
    fixture.repository.targets.remove(SIGNING_CONFIG);
    fixture.publish();
    fixture.initialize().await.unwrap();
    let error = current_signing_config(&fixture.options(), now()).await.unwrap_err().to_string();
    assert!(
        error.ends_with("the repository has no target \"signing_config.v0.2.json\""),
        "{error}"
    );
    let none = MirrorFixture::new();
    let config = current_signing_config(&none.options(), now()).await.unwrap();
    assert_eq!((config.json.as_slice(), config.source), (CONFIG, RootSource::Embedded));
}

#[tokio::test]
async fn a_failed_initialize_leaves_the_choice_before() {
    let mut fixture = MirrorFixture::initialized().await;
    let before = fixture.root_at(later(1)).await.unwrap();
    fixture.repository.targets.insert(TRUSTED_ROOT.to_owned(), b"{}".to_vec());
    let mirror = fixture.folder.path().join("other");
    fixture.repository.write(&mirror);
    let of = async |mirror: String, root: &[u8]| {
        let deadline = Duration::from_secs(10);
        let wanted = Initialize { mirror, root: Some(root.to_vec()), deadline };
        initialize(&fixture.environment(), wanted, later(1)).await.map(|_| ()).unwrap_err()
    };
    let other = mirror.display().to_string();
    let root = fixture.repository.root(1);
    assert!(matches!(of(other.clone(), &root).await, RootError::Invalid { .. }));
    let foreign = TufRepository::new(now()).root(1);
    assert!(of(other, &foreign).await.to_string().contains("metadata has 0 of"));
    assert!(of("ftp://a.example".to_owned(), &root).await.to_string().contains("not an address"));
    assert!(of(fixture.mirror(), b"{}").await.to_string().contains("malformed TUF metadata"));
    assert_eq!(fixture.root_at(later(1)).await.unwrap().origin, before.origin);
}

#[tokio::test]
async fn initialize_again_keeps_the_protection_against_going_back() {
    let mut fixture = MirrorFixture::new();
    fixture.repository.version = 5;
    fixture.publish();
    fixture.initialize().await.unwrap();
    fixture.repository.version = 4;
    fixture.publish();
    let error = fixture.initialize().await.unwrap_err().to_string();
    assert!(error.contains("rollback: timestamp is at version 5"), "{error}");
}

#[tokio::test]
async fn keys_of_the_environment_stand_over_the_rest() {
    let fixture = MirrorFixture::new();
    let pem = |der: &[u8]| sealgate_testkit::keyless::pem("CERTIFICATE", der);
    let public = embedded().0;
    let [old, new] = &public.certificate_authorities[..] else { panic!("two authorities") };
    let both = format!("{}{}{}", pem(old.root()), pem(&new.chain()[0]), pem(new.root()));
    let keys = Keys {
        ca: Some(fixture.write("ca.pem", both)),
        log: Some(fixture.write("log.pem", public.transparency_logs[0].key.key.to_pem())),
        ..Keys::default()
    };
    let environment = Environment { keys, ..fixture.environment() };
    let options = RootOptions { environment, ..fixture.options() };
    let chosen = current_root(&options, now()).await.unwrap();
    assert_eq!(chosen.source, RootSource::Configured);
    let root = &chosen.root;
    assert_eq!(root.certificate_authorities.len(), 2);
    assert!(root.certificate_authorities.iter().all(|one| one.intermediates().len() == 1));
    assert_eq!(root.transparency_logs.len(), 1);
    assert_eq!(root.transparency_logs[0].log_id(), public.transparency_logs[0].log_id());
    assert_eq!(root.ct_logs, public.ct_logs);
    assert!(chosen.origin.to_string().contains("log.pem, the rest from the public-good root"));
}

#[tokio::test]
async fn keys_that_cannot_be_used_name_their_variable() {
    let fixture = MirrorFixture::new();
    let pem = |der: &[u8]| sealgate_testkit::keyless::pem("CERTIFICATE", der);
    let public = embedded().0;
    let good = fixture.write("good.pem", pem(public.certificate_authorities[1].root()));
    let leaf = fixture.write("leaf.pem", pem(&public.certificate_authorities[1].chain()[0]));
    let none = fixture.folder.path().join("none");
    let bad = fixture.write("bad.pem", "nothing");
    let (k, some) = (Keys::default(), Some);
    let cases = [
        (Keys { ca: some(none), ..k.clone() }, "SIGSTORE_ROOT_FILE: ", "No such file"),
        (Keys { ca: some(leaf), ..k.clone() }, "SIGSTORE_ROOT_FILE: ", "contains no root"),
        (Keys { tsa: some(bad.clone()), ..k.clone() }, "SIGSTORE_TSA_CERTIFICATE_FILE: ", "no PEM"),
        (Keys { log: some(bad.clone()), ..k.clone() }, "SIGSTORE_REKOR_PUBLIC_KEY: ", "bad.pem: "),
        (Keys { ct_log: some(good.clone()), ..k.clone() }, "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE: ", ""),
    ];
    for (keys, variable, detail) in cases {
        let environment = Environment { keys, ..fixture.environment() };
        let options = RootOptions { environment, ..fixture.options() };
        let error = current_root(&options, now()).await.unwrap_err().to_string();
        assert!(error.starts_with(variable) && error.contains(detail), "{error}");
    }
    let tsa = Keys { tsa: Some(good), ..Keys::default() };
    assert_eq!(tsa.over(None).unwrap().root.timestamp_authorities.len(), 1);
}

#[test]
fn the_variables_are_cosigns_and_empty_ones_are_not_set() {
    let set = Environment::read(|name| Some(format!("/{name}").into()));
    assert_eq!(set.cache, Some(PathBuf::from("/TUF_ROOT")));
    assert_eq!(set.mirror.as_deref(), Some("/TUF_MIRROR"));
    assert_eq!(set.keys.log, Some(PathBuf::from("/SIGSTORE_REKOR_PUBLIC_KEY")));
    assert!(set.keys.is_complete());
    let home = |name: &str| Some(if name == "HOME" { "/home" } else { "" }.into());
    let plain = Environment::read(home);
    assert_eq!(plain.cache, Some(PathBuf::from("/home/.sigstore/root")));
    assert!(plain.keys.is_empty() && plain.mirror.is_none());
}
