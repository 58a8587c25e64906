//! Keyless signing and verification with either tool; and bundles, to inspect and modify.

use std::sync::OnceLock;

use sealgate_tests::image::{self, Image, MANIFEST};
use sealgate_tests::oidc::WORKFLOW;
use sealgate_tests::programs::{Run, Sandbox};
use sealgate_tests::registries::Registry;
use sealgate_tests::sigstore::{self, LogKey, Rekor};
use serde_json::{Value, json};

use crate::support::Tool;

/// Signing person.
pub(crate) const ADA: Signer = Signer::Person("ada@example.com");
/// Another one.
pub(crate) const BOB: Signer = Signer::Person("bob@example.com");

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Signer with an identity.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signer {
    /// Person, by e-mail address.
    Person(&'static str),
    /// [`WORKFLOW`] on GitHub.
    Workflow,
}

impl Signer {
    /// Identity in the certificate.
    pub(crate) fn identity(self) -> &'static str {
        match self {
            Self::Person(email) => email,
            Self::Workflow => WORKFLOW,
        }
    }

    /// OIDC issuer.
    pub(crate) fn issuer(self) -> String {
        let issuer = &sigstore::shared().issuer;
        match self {
            Self::Person(_) => issuer.people(),
            Self::Workflow => issuer.workflows(),
        }
    }

    fn token(self) -> String {
        let issuer = &sigstore::shared().issuer;
        match self {
            Self::Person(email) => issuer.token(email),
            Self::Workflow => issuer.workflow_token(),
        }
    }
}

/// Sandbox with `root.json` and `services.json`.
pub(crate) fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let sigstore = sigstore::shared();
    sandbox.write("root.json", sigstore.trusted_root_json().to_string());
    sandbox.write("services.json", sigstore.signing_config_json().to_string());
    sandbox
}

impl Tool {
    /// Runs a signing verb with its arguments, as a signer.
    pub(crate) fn sign_as(self, sandbox: &Sandbox, who: Signer, verb: &str, more: &[&str]) -> Run {
        // A new token for each signature, as tokens are short-lived.
        sandbox.write("token", who.token());
        let mut arguments = vec![
            verb,
            "-y",
            "--trusted-root=root.json",
            "--signing-config=services.json",
            "--identity-token=token",
        ];
        arguments.extend(more);
        self.run(sandbox, &arguments)
    }

    /// Runs a verifying verb with its arguments, for a signer's identity.
    pub(crate) fn verify_as(
        self,
        sandbox: &Sandbox,
        who: Signer,
        verb: &str,
        more: &[&str],
    ) -> Run {
        let issuer = who.issuer();
        let identity = ["--certificate-identity", who.identity()];
        let issuer = ["--certificate-oidc-issuer", issuer.as_str()];
        self.verify_wanting(sandbox, verb, &[&identity, &issuer, more].concat())
    }

    /// Runs a verifying verb with custom identity flags.
    pub(crate) fn verify_wanting(self, sandbox: &Sandbox, verb: &str, more: &[&str]) -> Run {
        let mut arguments = vec![verb, "--trusted-root=root.json"];
        arguments.extend(more);
        self.run(sandbox, &arguments)
    }
}

/// Second log, with a key of another type.
pub(crate) fn second_log() -> &'static Rekor {
    static LOG: OnceLock<Rekor> = OnceLock::new();
    LOG.get_or_init(|| Rekor::start("rekor-second", LogKey::P256).expect("a second log"))
}

/// Only bundle of an image in a registry.
pub(crate) fn bundle_of(image: &Image) -> Value {
    let mut all = bundles_of(image);
    assert_eq!(all.len(), 1, "bundles of {}", image.by_digest());
    all.remove(0)
}

/// All bundles of an image in a registry.
pub(crate) fn bundles_of(image: &Image) -> Vec<Value> {
    let path = format!("/v2/{}/referrers/{}", image.repository, image.digest);
    let answer = sealgate_tests::http::get(&image.host, &path, "*/*").expect("referrers");
    let manifest = |at: &str| {
        image::get_manifest(&image.host, &image.repository, at).expect("reading a manifest")
    };
    let index = match answer.status {
        200 => serde_json::from_slice(&answer.body).expect("an index"),
        _ => manifest(&image.digest_tag()).unwrap_or_default(),
    };
    let referrers = index["manifests"].as_array().cloned().unwrap_or_default();
    let bundle = |referrer: &Value| {
        let manifest = manifest(referrer["digest"].as_str()?)?;
        let layer = manifest["layers"][0]["digest"].as_str()?;
        let bytes = image::get_blob(&image.host, &image.repository, layer).expect("a blob");
        serde_json::from_slice(&bytes).ok()
    };
    referrers.iter().filter_map(bundle).collect()
}

/// Image with one bundle, which may or may not have been made for it. The registry must support the
/// referrers API.
pub(crate) fn attach(registry: &Registry, repository: &str, text: &str, bundle: &Value) -> Image {
    let image = image::push(&registry.host, repository, "v1", text).expect("pushing an image");
    attach_to(&image, bundle);
    image
}

/// Adds a bundle to an image, in a registry with the referrers API.
pub(crate) fn attach_to(image: &Image, bundle: &Value) {
    let (host, repository) = (&image.host, &image.repository);
    let bundle = bundle.to_string().into_bytes();
    image::push_blob(host, repository, &bundle).expect("pushing a bundle");
    image::push_blob(host, repository, b"{}").expect("pushing nothing");
    let subject = image::get_manifest(host, repository, &image.digest).expect("the image");
    let size = subject.expect("the image is there").to_string().len();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": BUNDLE,
        "config": image::descriptor(EMPTY, b"{}"),
        "layers": [image::descriptor(BUNDLE, &bundle)],
        "subject": { "mediaType": MANIFEST, "digest": image.digest, "size": size },
    });
    let manifest = manifest.to_string().into_bytes();
    let digest = image::sha256(&manifest);
    image::put_manifest(host, repository, &digest, MANIFEST, &manifest).expect("attaching");
}

/// Signs a file with real cosign.
pub(crate) fn signed_file(sandbox: &Sandbox, who: Signer, name: &str, content: &str) -> Value {
    sandbox.write(name, content);
    let bundle = format!("--bundle={name}.json");
    Tool::Cosign.sign_as(sandbox, who, "sign-blob", &[&bundle, name]).ok();
    serde_json::from_str(&sandbox.read(&format!("{name}.json"))).expect("a bundle")
}
