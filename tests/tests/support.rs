//! What signing and verifying look like on each side, so that a test says only what it is about.

use sealgate_tests::image::{self, Image};
use sealgate_tests::programs::{Run, Sandbox};
use serde_json::Value;

/// The two ways of storing a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A bundle as a referrer of the image.
    Bundle,
    /// A layer under the tag `sha256-HEX.sig`.
    Legacy,
}

/// The two programs that must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Cosign,
    Sealgate,
}

pub(crate) const FORMATS: [Format; 2] = [Format::Bundle, Format::Legacy];
pub(crate) const TOOLS: [Tool; 2] = [Tool::Cosign, Tool::Sealgate];

/// No log, no timestamp authority: what `cosign signing-config create` writes.
const NO_SERVICES: &str = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}"#;

/// What `cosign trusted-root create` writes; with it cosign asks nobody on the internet.
const EMPTY_ROOT: &str =
    r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;

impl Tool {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Cosign => Self::Sealgate,
            Self::Sealgate => Self::Cosign,
        }
    }

    /// Runs it.
    pub(crate) fn run(self, sandbox: &Sandbox, arguments: &[&str]) -> Run {
        match self {
            Self::Cosign => sandbox.cosign(arguments),
            Self::Sealgate => sandbox.sealgate(arguments),
        }
    }

    /// Makes `PREFIX.key` and `PREFIX.pub`.
    pub(crate) fn generate(self, sandbox: &Sandbox, prefix: &str) {
        self.run(sandbox, &["generate-key-pair", "--output-key-prefix", prefix]).ok();
    }

    /// Makes `PREFIX.key` and `PREFIX.pub` of a private key in PEM.
    pub(crate) fn import(self, sandbox: &Sandbox, pem: &str, prefix: &str) -> Run {
        let arguments = ["import-key-pair", "--key", pem, "--output-key-prefix", prefix, "-y"];
        self.run(sandbox, &arguments)
    }

    /// `sign` with `PREFIX.key`.
    pub(crate) fn sign(
        self,
        sandbox: &Sandbox,
        format: Format,
        prefix: &str,
        image: &str,
        more: &[&str],
    ) -> Run {
        let key = format!("{prefix}.key");
        let mut arguments = vec!["sign", "--key", &key, "-y"];
        arguments.extend(self.format_flags(sandbox, format));
        arguments.extend(more);
        arguments.push(image);
        self.run(sandbox, &arguments)
    }

    /// `verify` with `PREFIX.pub`.
    pub(crate) fn verify(self, sandbox: &Sandbox, prefix: &str, image: &str, more: &[&str]) -> Run {
        let key = format!("{prefix}.pub");
        let mut arguments = vec!["verify", "--key", &key];
        if self == Self::Cosign {
            arguments.push("--insecure-ignore-tlog");
        }
        arguments.extend(more);
        arguments.push(image);
        self.run(sandbox, &arguments)
    }

    /// What makes `sign` and `sign-blob` write that format, and ask no service.
    pub(crate) fn format_flags(self, sandbox: &Sandbox, format: Format) -> Vec<&'static str> {
        match (self, format) {
            (Self::Sealgate, Format::Bundle) => vec![],
            (Self::Sealgate, Format::Legacy) => vec!["--new-bundle-format=false"],
            (Self::Cosign, Format::Bundle) => {
                sandbox.write("no-services.json", NO_SERVICES);
                sandbox.write("empty-root.json", EMPTY_ROOT);
                vec!["--signing-config=no-services.json", "--trusted-root=empty-root.json"]
            }
            (Self::Cosign, Format::Legacy) => vec![
                "--use-signing-config=false",
                "--new-bundle-format=false",
                "--tlog-upload=false",
            ],
        }
    }
}

/// A sandbox with the key pair `cosign.key` and `cosign.pub`, made by `sealgate`.
pub(crate) fn sandbox_with_key() -> Sandbox {
    let sandbox = Sandbox::new();
    Tool::Sealgate.generate(&sandbox, "cosign");
    sandbox
}

/// The digests that `verify`'s JSON on standard output speaks of.
#[track_caller]
pub(crate) fn verified_digests(run: &Run) -> Vec<String> {
    let json = run.json();
    let entries = json.as_array().unwrap_or_else(|| panic!("not a list:\n{}", run.report()));
    let digest = |entry: &Value| entry["critical"]["image"]["docker-manifest-digest"].clone();
    entries.iter().map(|e| digest(e).as_str().unwrap_or_default().to_owned()).collect()
}

/// How many signatures of that format the registry holds for an image.
pub(crate) fn stored(image: &Image, format: Format) -> usize {
    let manifest = |tag: &str| {
        image::get_manifest(&image.host, &image.repository, tag).expect("reading a manifest")
    };
    match format {
        Format::Legacy => {
            let found = manifest(&format!("{}.sig", image.digest_tag()));
            found.map_or(0, |m| m["layers"].as_array().map_or(0, Vec::len))
        }
        Format::Bundle => {
            let path = format!("/v2/{}/referrers/{}", image.repository, image.digest);
            let answer = sealgate_tests::http::get(&image.host, &path, "*/*").expect("referrers");
            let index = match answer.status {
                200 => Some(serde_json::from_slice(&answer.body).expect("an index")),
                _ => manifest(&image.digest_tag()),
            };
            index.map_or(0, |i: Value| i["manifests"].as_array().map_or(0, Vec::len))
        }
    }
}
