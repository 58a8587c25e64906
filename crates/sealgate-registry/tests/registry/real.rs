//! Tests against Debian's docker-registry, which has no referrers API and ignores `If-Match`:
//! `cargo test -p sealgate-registry --test registry -- --ignored`; `cargo xtask test` runs them.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sealgate_engine::ports::{RegistryRead, RegistryWrite};

use super::*;

struct Running {
    child: Child,
    folder: tempfile::TempDir,
    addr: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        assert!(self.folder.path().exists());
    }
}

async fn docker_registry() -> Running {
    docker_registry_with(tempfile::tempdir().unwrap(), "").await
}

/// `http` is added to the `http` section of the configuration.
async fn docker_registry_with(folder: tempfile::TempDir, http: &str) -> Running {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let data = folder.path().join("data");
    let config = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  \
         filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: \"{free}\"{http}}}\n",
        data.display()
    );
    let path = folder.path().join("config.yml");
    std::fs::write(&path, config).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry (apt-get install docker-registry)");
    for _ in 0..100 {
        if tokio::net::TcpStream::connect(free).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Running { child, folder, addr: free.to_string() }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs docker-registry"]
async fn http2_over_tls_works_with_docker_registry() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), super::tls::Authority::new());
    let (certificate, key) = authority.issue("127.0.0.1");
    let (cert, secret) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&cert, certificate.pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    let (cert, secret) = (cert.display(), secret.display());
    let tls = format!(", tls: {{certificate: {cert}, key: {secret}}}");
    let running = docker_registry_with(folder, &tls).await;
    let trust = sealgate_registry::TlsRoots::Only(authority.pem());
    let start = Instant::now();
    let client = Client::new(Options { tls_roots: trust, ..options() }).unwrap();
    println!("a client is made in {:?}", start.elapsed());
    let repository = at(&running, "a/b");
    let image = push_image(&client, &repository, "v1").await;
    let large = push_blob(&client, &repository, &vec![b'x'; 5_000_000]).await;
    let read = client.blob(&repository, &large.digest, 10 << 20).await.unwrap().unwrap();
    assert_eq!(read.len(), 5_000_000);
    let bundle = push_bundle(&client, &repository, &image, "bundle").await;
    let list = client.referrers(&repository, &image.digest).await.unwrap();
    assert_eq!(list.iter().map(|d| &d.digest).collect::<Vec<_>>(), [&bundle]);
}

fn at(running: &Running, path: &str) -> Repository {
    Repository::parse(&format!("{}/{path}", running.addr)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs docker-registry"]
async fn everything_works_with_docker_registry() {
    let running = docker_registry().await;
    let (client, repository) = (client(), at(&running, "deep/er/repo"));
    assert_eq!(client.resolve(&repository, &tag("v1")).await.unwrap(), None);
    assert_eq!(client.tags(&repository).await.unwrap(), Vec::<String>::new());
    let image = push_image(&client, &repository, "v1").await;
    let found = client.resolve(&repository, &tag("v1")).await.unwrap().unwrap();
    assert_eq!(found, image);
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|i| (i % 251) as u8).collect();
    let large = push_blob(&client, &repository, &bytes).await;
    let read = client.blob(&repository, &large.digest, 10 << 20).await.unwrap().unwrap();
    assert_eq!(read, bytes);
    let other = at(&running, "other");
    assert!(client.mount_blob(&other, &large.digest, &repository).await.unwrap());
    assert!(!client.mount_blob(&other, &Digest::of(b"nothing"), &repository).await.unwrap());
    let bundle = push_bundle(&client, &repository, &image, "bundle").await;
    let list = client.referrers(&repository, &image.digest).await.unwrap();
    assert_eq!(list.iter().map(|d| &d.digest).collect::<Vec<_>>(), [&bundle]);
    assert_eq!(client.tags(&repository).await.unwrap().len(), 2);
    assert!(client.delete(&repository, &tag("v1")).await.unwrap());
    assert!(!client.delete(&repository, &tag("v1")).await.unwrap());
    assert_eq!(client.resolve(&repository, &tag("v1")).await.unwrap(), None);
    assert!(client.delete(&repository, &Identifier::Digest(bundle)).await.unwrap());
    assert_eq!(client.referrers(&repository, &image.digest).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs docker-registry"]
async fn twenty_writers_lose_nothing_in_docker_registry() {
    let running = docker_registry().await;
    for round in 0..5 {
        let repository = at(&running, &format!("round{round}"));
        let image = push_image(&client(), &repository, "v1").await;
        let start = Instant::now();
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let (repository, image) = (repository.clone(), image.clone());
                tokio::spawn(async move {
                    push_bundle(&client(), &repository, &image, &format!("bundle {n}")).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let list = client().referrers(&repository, &image.digest).await.unwrap();
        println!("round {round}: {} entries after {:?}", list.len(), start.elapsed());
        assert_eq!(list.len(), 20);
    }
}
