//! Fixture of the command-line tests: a folder, an in-memory registry, and the binary.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use futures::stream;
use sealgate_core::digest::Digest;
use sealgate_core::manifest::{Descriptor, media_type};
use sealgate_core::reference::{Identifier, Repository};
use sealgate_engine::ports::{RegistryRead, RegistryWrite};
use sealgate_registry::serve::{Options, Referrers, Served};
use sealgate_registry::{Client, Options as ClientOptions};
use sealgate_testkit::keyless::Legacy;
use serde_json::json;
use tokio::runtime::Runtime;

/// The password of every key in these tests.
const PASSWORD: &str = "a test's password";

/// A folder and a registry, removed on drop.
pub(crate) struct CliFixture {
    folder: tempfile::TempDir,
    runtime: Runtime,
    pub(crate) served: Served,
    client: Client,
}

/// The result of running the program.
pub(crate) struct CommandResult {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl CommandResult {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Parses standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.out.trim())
            .unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// Returns the first and the last line of standard error.
    pub(crate) fn frame(&self) -> (&str, &str) {
        let first = self.err.lines().find(|line| line.starts_with("Error:")).unwrap_or_default();
        (first, self.err.lines().last().unwrap_or_default())
    }
}

impl CliFixture {
    /// Creates a fixture whose registry has the referrers API.
    pub(crate) fn new() -> Self {
        Self::with(Referrers::Api)
    }

    pub(crate) fn with(referrers: Referrers) -> Self {
        let runtime = Runtime::new().unwrap();
        let options = Options { referrers, ..Options::default() };
        let served = runtime.block_on(Served::start(options)).unwrap();
        let client = runtime.block_on(async { Client::new(ClientOptions::default()) }).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), runtime, served, client }
    }

    /// Creates a fixture with a key pair in `cosign.key` and `cosign.pub`.
    pub(crate) fn with_key() -> Self {
        let fixture = Self::new();
        fixture.run(&["generate-key-pair"]).code(0);
        fixture
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Returns the command to run the program in the folder, with a clean environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealgate"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("COSIGN_PASSWORD", PASSWORD)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> CommandResult {
        command_result(self.command(arguments).output().unwrap())
    }

    pub(crate) fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> CommandResult {
        command_result(self.command(arguments).envs(variables.iter().copied()).output().unwrap())
    }

    /// Runs the program with text on standard input.
    pub(crate) fn run_fed(&self, arguments: &[&str], input: &str) -> CommandResult {
        use std::io::Write as _;
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        command_result(child.wait_with_output().unwrap())
    }

    /// `127.0.0.1:PORT/NAME`.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.served.registry())
    }

    /// Stores a small image, and returns its digest.
    pub(crate) fn image(&self, name: &str, tag: &str, content: &str) -> Digest {
        let config = json!({"architecture": "amd64", "os": "linux", "comment": content});
        let config = self.blob(name, media_type::OCI_CONFIG, config.to_string().as_bytes());
        let layer = "application/vnd.oci.image.layer.v1.tar";
        let layer = self.blob(name, layer, content.as_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": config,
            "layers": [layer],
        });
        self.manifest(name, tag, media_type::OCI_MANIFEST, &manifest)
    }

    /// Stores an index of two images, and returns the digests of index and children.
    pub(crate) fn index(&self, name: &str, tag: &str) -> (Digest, Vec<Digest>) {
        let children: Vec<Digest> =
            ["amd64", "arm64"].iter().map(|arch| self.image(name, arch, arch)).collect();
        let entries = children.iter().zip(["amd64", "arm64"]).map(|(digest, architecture)| {
            let at = Identifier::Digest(digest.clone());
            let found = self.runtime.block_on(self.client.resolve(&self.repository(name), &at));
            let found = found.unwrap().unwrap();
            json!({
                "mediaType": found.media_type,
                "size": found.size,
                "digest": digest,
                "platform": {"os": "linux", "architecture": architecture},
            })
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": entries.collect::<Vec<_>>(),
        });
        (self.manifest(name, tag, media_type::OCI_INDEX, &index), children)
    }

    fn blob(&self, name: &str, media_type: &str, content: &[u8]) -> Descriptor {
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            size: content.len() as u64,
            digest: Digest::of(content),
            artifact_type: None,
            annotations: Default::default(),
            platform: None,
        };
        let piece = Ok(bytes::Bytes::copy_from_slice(content));
        let stream = Box::pin(stream::iter([piece]));
        let repository = self.repository(name);
        let pushed = self.client.push_blob(&repository, &descriptor, stream);
        self.runtime.block_on(pushed).unwrap();
        descriptor
    }

    fn manifest(
        &self,
        name: &str,
        tag: &str,
        media_type: &str,
        manifest: &serde_json::Value,
    ) -> Digest {
        self.manifest_at(name, &Identifier::Tag(tag.to_owned()), media_type, manifest)
    }

    fn manifest_at(
        &self,
        name: &str,
        at: &Identifier,
        media_type: &str,
        manifest: &serde_json::Value,
    ) -> Digest {
        let bytes = manifest.to_string().into_bytes().into();
        let repository = self.repository(name);
        let pushed = self.client.push_manifest(&repository, at, media_type, bytes);
        self.runtime.block_on(pushed).unwrap()
    }

    /// Attaches a bundle to an image, as cosign 3 does.
    pub(crate) fn attach_bundle(&self, name: &str, image: &Digest, bundle: &str) {
        let at = Identifier::Digest(image.clone());
        let subject = self.runtime.block_on(self.client.resolve(&self.repository(name), &at));
        let subject = subject.unwrap().unwrap();
        let kind = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": kind,
            "config": self.blob(name, "application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [self.blob(name, kind, bundle.as_bytes())],
            "subject": {
                "mediaType": subject.media_type,
                "size": subject.size,
                "digest": image,
            },
        });
        let at = Identifier::Digest(Digest::of(manifest.to_string().as_bytes()));
        self.manifest_at(name, &at, media_type::OCI_MANIFEST, &manifest);
    }

    /// Stores the only legacy signature of an image.
    pub(crate) fn attach_legacy(&self, name: &str, image: &Digest, legacy: &Legacy) {
        let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
        let mut layer = json!(self.blob(name, kind, &legacy.payload));
        layer["annotations"] = json!(legacy.annotations);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": self.blob(name, media_type::OCI_CONFIG, b"{}"),
            "layers": [layer],
        });
        let tag = format!("sha256-{}.sig", image.hex());
        self.manifest(name, &tag, media_type::OCI_MANIFEST, &manifest);
    }

    fn repository(&self, name: &str) -> Repository {
        Repository::parse(&self.name(name)).unwrap()
    }
}

fn command_result(output: Output) -> CommandResult {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    CommandResult {
        code: output.status.code().unwrap_or(-1),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}
