//! What signing and verifying without keys look like on each side; and bundles, to look into and
//! to change.

use std::sync::OnceLock;

use sealgate_tests::image::{self, Image, MANIFEST};
use sealgate_tests::oidc::WORKFLOW;
use sealgate_tests::programs::{Run, Sandbox};
use sealgate_tests::registries::Registry;
use sealgate_tests::sigstore::{self, LogKey, Rekor};
use serde_json::{Value, json};

use crate::support::Tool;

/// A person that signs.
pub(crate) const ADA: Who = Who::Person("ada@example.com");
/// Another one.
pub(crate) const BOB: Who = Who::Person("bob@example.com");

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Somebody with an identity.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    /// By mail address.
    Person(&'static str),
    /// [`WORKFLOW`] on GitHub.
    Workflow,
}

impl Who {
    /// The name in the certificate.
    pub(crate) fn identity(self) -> &'static str {
        match self {
            Self::Person(email) => email,
            Self::Workflow => WORKFLOW,
        }
    }

    /// Who has authenticated it.
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

/// A sandbox with `root.json` and `services.json`.
pub(crate) fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let sigstore = sigstore::shared();
    sandbox.write("root.json", sigstore.trusted_root_json().to_string());
    sandbox.write("services.json", sigstore.signing_config_json().to_string());
    sandbox
}

impl Tool {
    /// A signing verb with its arguments, by an identity.
    pub(crate) fn sign_as(self, sandbox: &Sandbox, who: Who, verb: &str, more: &[&str]) -> Run {
        // A token of its own for each signature, as a token does not live long.
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

    /// A verifying verb with its arguments, by an identity.
    pub(crate) fn verify_as(self, sandbox: &Sandbox, who: Who, verb: &str, more: &[&str]) -> Run {
        let issuer = who.issuer();
        let identity = ["--certificate-identity", who.identity()];
        let issuer = ["--certificate-oidc-issuer", issuer.as_str()];
        self.verify_wanting(sandbox, verb, &[&identity, &issuer, more].concat())
    }

    /// A verifying verb, with whatever identity flags.
    pub(crate) fn verify_wanting(self, sandbox: &Sandbox, verb: &str, more: &[&str]) -> Run {
        let mut arguments = vec![verb, "--trusted-root=root.json"];
        arguments.extend(more);
        self.run(sandbox, &arguments)
    }
}

/// A second log, whose key is of another kind.
pub(crate) fn second_log() -> &'static Rekor {
    static LOG: OnceLock<Rekor> = OnceLock::new();
    LOG.get_or_init(|| Rekor::start("rekor-second", LogKey::P256).expect("a second log"))
}

/// The only bundle that a registry holds for an image.
pub(crate) fn bundle_of(image: &Image) -> Value {
    let mut all = bundles_of(image);
    assert_eq!(all.len(), 1, "bundles of {}", image.by_digest());
    all.remove(0)
}

/// All bundles that a registry holds for an image.
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

/// An image with one bundle, which some signer may have made for it or not. The registry must
/// serve the referrers API.
pub(crate) fn attach(registry: &Registry, repository: &str, text: &str, bundle: &Value) -> Image {
    let image = image::push(&registry.host, repository, "v1", text).expect("pushing an image");
    attach_to(&image, bundle);
    image
}

/// One more bundle for an image, in a registry that serves the referrers API.
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
pub(crate) fn signed_file(sandbox: &Sandbox, who: Who, name: &str, content: &str) -> Value {
    sandbox.write(name, content);
    let bundle = format!("--bundle={name}.json");
    Tool::Cosign.sign_as(sandbox, who, "sign-blob", &[&bundle, name]).ok();
    serde_json::from_str(&sandbox.read(&format!("{name}.json"))).expect("a bundle")
}
