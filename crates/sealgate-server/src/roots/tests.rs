use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use sealgate_policy::cip::trust_root::Bytes;
use sealgate_testkit::keyless::TestSigstore;
use sealgate_testkit::tuf::{Files, TufRepository, archive};

use super::*;

const TARGET: &str = "trusted_root.json";

/// A mirror over HTTP; what it has may be changed.
struct Served {
    address: String,
    files: Arc<Mutex<Files>>,
}

impl Served {
    fn start(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let files = Arc::new(Mutex::new(files));
        let served = Arc::clone(&files);
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let name = first.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
                let found = served.lock().unwrap().get(&name).cloned();
                let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
                let body = found.unwrap_or_default();
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = client.write_all(&[head.as_bytes(), &body].concat());
            }
        });
        Self { address, files }
    }

    fn publish(&self, files: Files) {
        *self.files.lock().unwrap() = files;
    }
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// As it is after it was written and read.
fn root() -> TrustRoot {
    TrustRoot::parse(TestSigstore::default().trust_root().to_json().as_bytes()).unwrap()
}

fn repository(root: &TrustRoot) -> TufRepository {
    TufRepository::new(now()).with(TARGET, root.to_json())
}

fn remote_of(repository: &TufRepository, mirror: &str) -> Spec {
    let remote = Remote {
        root: Bytes(repository.root(1)),
        mirror: mirror.to_owned(),
        targets: "targets".to_owned(),
        trusted_root_target: TARGET.to_owned(),
    };
    Spec { remote: Some(remote), ..Spec::default() }
}

fn archive_of(root: Vec<u8>, files: &Files) -> Spec {
    let repository = Repository {
        root: Bytes(root),
        mirror_fs: Bytes(archive(files, "repository/")),
        targets: "targets".to_owned(),
        trusted_root_target: TARGET.to_owned(),
    };
    Spec { repository: Some(repository), ..Spec::default() }
}

fn refused(spec: &Spec) -> String {
    TufRoots.open(spec).err().expect("refused").to_string()
}

#[tokio::test]
async fn a_remote_is_read_again_and_cannot_go_back() {
    let (first, second) = (root(), root());
    let mut written = repository(&first);
    let old = written.files();
    let served = Served::start(old.clone());
    let mut opened = TufRoots.open(&remote_of(&written, &served.address)).unwrap();
    let good = |root: &TrustRoot| ReadRoot { root: root.clone(), expired: None };
    assert_eq!(opened.read(now()).await.unwrap(), good(&first));
    written.targets.insert(TARGET.to_owned(), second.to_json().into_bytes());
    written.version += 1;
    served.publish(written.files());
    assert_eq!(opened.read(now()).await.unwrap(), good(&second));
    served.publish(old);
    let fault = opened.read(now()).await.unwrap_err();
    assert!(fault.detail.starts_with("rollback: "), "{fault}");
    served.publish(written.files());
    assert_eq!(opened.read(now()).await.unwrap(), good(&second));
    let fault = opened.read(now() + days(30)).await.unwrap_err();
    assert!(fault.detail.contains("expired"), "{fault}");
}

#[tokio::test]
async fn a_mirror_with_other_content_is_refused() {
    let written = repository(&root());
    let served = Served::start(Files::new());
    let fault = async |files: Files| {
        served.publish(files);
        let mut opened = TufRoots.open(&remote_of(&written, &served.address)).unwrap();
        opened.read(now()).await.unwrap_err().to_string()
    };
    fault(Files::new()).await;
    let other = repository(&root());
    let error = fault(other.files()).await;
    assert!(error.contains("signature") || error.contains("threshold"), "{error}");
    let mut edited = written.files();
    let target = edited.iter_mut().find(|(name, _)| name.starts_with("targets/")).unwrap();
    target.1.push(b' ');
    fault(edited).await;
    let none = TufRepository::new(now());
    served.publish(none.files());
    let mut opened = TufRoots.open(&remote_of(&none, &served.address)).unwrap();
    let fault = opened.read(now()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Missing, "{fault}");
    let junk = TufRepository::new(now()).with(TARGET, b"{}".to_vec());
    served.publish(junk.files());
    let mut opened = TufRoots.open(&remote_of(&junk, &served.address)).unwrap();
    let fault = opened.read(now()).await.unwrap_err();
    assert!(fault.detail.contains("trusted root"), "{fault}");
}

/// The author of a TrustRoot makes the gate send requests to an address, and can read the outcome in
/// its status.
#[tokio::test]
async fn the_response_of_a_server_is_not_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/inside", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (number, mut client) in listener.incoming().flatten().enumerate() {
            let mut lines = BufReader::new(client.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let status = ["500 Internal Server Error", "400 Bad Request"][number % 2];
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\ninside knowledge");
            let _ = client.write_all(head.as_bytes());
        }
    });
    let mut opened = TufRoots.open(&remote_of(&repository(&root()), &address)).unwrap();
    let fault = opened.read(now()).await.unwrap_err();
    assert!(fault.detail.contains("answered 400"), "{fault}");
    assert!(!format!("{fault:?}").contains("knowledge"), "{fault:?}");
}

#[tokio::test]
async fn an_archive_is_read_without_a_network() {
    let root = root();
    let written = repository(&root);
    let mut opened = TufRoots.open(&archive_of(written.root(1), &written.files())).unwrap();
    let read = opened.read(now()).await.unwrap();
    assert_eq!(read, ReadRoot { root: root.clone(), expired: None });
    // There is no newer one to ask for: it is used, and its expiry is reported.
    let late = opened.read(now() + days(30)).await.unwrap();
    assert_eq!(late, ReadRoot { root, expired: Some(now() + days(7)) });
    let other = repository(&TrustRoot::default());
    let mut opened = TufRoots.open(&archive_of(other.root(1), &written.files())).unwrap();
    opened.read(now()).await.unwrap_err();
}

#[test]
fn a_spec_that_cannot_be_opened_is_refused_at_once() {
    let written = repository(&TrustRoot::default());
    let remote = |mirror: &str| remote_of(&written, mirror);
    // Elsewhere a mirror may be a folder; the author of an object must not read one of the gate's.
    for mirror in ["/etc", "file:///etc", "etc", "ftp://tuf.example", ""] {
        assert!(
            refused(&remote(mirror)).contains("must be an https:// or http:// URL"),
            "{mirror}"
        );
    }
    let mut spec = remote("https://tuf.example");
    spec.remote.as_mut().unwrap().targets = "mine".to_owned();
    assert!(refused(&spec).contains("remote.targets"));
    let mut spec = remote("https://tuf.example");
    spec.remote.as_mut().unwrap().root = Bytes(b"{}".to_vec());
    assert!(refused(&spec).contains("remote.root"));
    let spec = archive_of(b"{}".to_vec(), &written.files());
    assert!(refused(&spec).contains("repository.root"));
    assert!(refused(&Spec::default()).contains("exactly one"));
}
