//! Keyless bundles, offline: what one costs in process, and as a command beside real cosign.
//!
//! In process, the bundles are those that the fuzz targets begin with: certificate chain on P-384 with a
//! certificate log's promise, a log entry with promise, proof and checkpoint, and (Rekor v2) a
//! signed timestamp. The commands judge what real cosign has signed with the tests' own Fulcio,
//! Rekor v2 and timestamp authority.

use std::fs;
use std::sync::Arc;

use anyhow::Context as _;
use sealgate_core::digest::Digest;
use sealgate_core::evidence::{BundleBytes, Evidence, Origin};
use sealgate_core::identity::{IdentityAuthority, IdentityMatcher};
use sealgate_core::trust::TrustRoot;
use sealgate_core::verify::{
    Authority, ClaimComparison, ImageSignatureRequirement, Overrides, Requirement, RootSource,
    SubjectRequirement, TrustConfig, verify,
};

use sealgate_tests::programs::{Sandbox, built, sealgate};
use sealgate_tests::{registries, sigstore};

use crate::measure::paired;
use crate::table::Row;

const RUNS: u32 = 1000;
const COMMANDS: usize = 21;
const ADA: &str = "ada@example.com";
/// Within the validity of the seeds.
const NOW: i64 = 1_700_000_020;
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds");

/// All rows about bundles with certificates.
pub(crate) fn run() -> anyhow::Result<Vec<Row>> {
    let root = TrustRoot::parse(&fs::read(format!("{SEEDS}/keys/trusted_root.json"))?)?;
    let (root, source) = (Some(Arc::new(root)), RootSource::Configured);
    let trust_config =
        TrustConfig { root: root.map(Into::into), source, overrides: Overrides::default() };
    let in_process =
        ["rekor-v1", "rekor-v2"].into_iter().map(|name| in_process(name, &trust_config));
    let mut rows = in_process.collect::<anyhow::Result<Vec<_>>>()?;
    rows.extend(commands()?);
    Ok(rows)
}

/// `verify-blob` of a file and `verify` of an image.
fn commands() -> anyhow::Result<Vec<Row>> {
    let sandbox = Sandbox::new();
    sandbox.write("app.txt", "an artifact\n");
    let image = registries::referrers().image("bench-keyless").by_digest();
    sign(&sandbox, &["sign-blob", "--bundle=app.json", "app.txt"]);
    sign(&sandbox, &["sign", &image]);
    let bundle = format!("--bundle={}", sandbox.path("app.json").display());
    let file = sandbox.path("app.txt").display().to_string();
    let blob = one(&sandbox, "blob", &["verify-blob", &bundle, &file])?;
    Ok([blob, one(&sandbox, "image", &["verify", &image])?].concat())
}

fn sign(sandbox: &Sandbox, words: &[&str]) {
    let sigstore = sigstore::shared();
    let root = format!("--trusted-root={}", sigstore.trusted_root().display());
    let config = format!("--signing-config={}", sigstore.signing_config().display());
    let token = format!("--identity-token={}", sigstore.token(ADA));
    let flags = ["-y", &root, &config, &token];
    sandbox.cosign(&[&words[..1], &flags[..], &words[1..]].concat()).ok();
}

fn one(sandbox: &Sandbox, name: &str, words: &[&str]) -> anyhow::Result<Vec<Row>> {
    let sigstore = sigstore::shared();
    let flags = [
        format!("--trusted-root={}", sigstore.trusted_root().display()),
        format!("--certificate-oidc-issuer={}", sigstore.issuer.people()),
        format!("--certificate-identity={ADA}"),
    ];
    let words = words.iter().map(|word| (*word).to_owned());
    let words: Vec<String> = words.chain(flags).collect();
    let cosign = built("cosign");
    let (a, b) = paired(sandbox, COMMANDS, (&sealgate(), &words), (&cosign, &words))?;
    let what = |figure: &str| format!("verify one keyless {name}: {figure}");
    Ok(vec![
        Row::against(&what("wall"), "ms", a.wall, b.wall),
        Row::against(&what("processor"), "ms", a.cpu, b.cpu),
        Row::against(&what("peak memory"), "MiB", a.memory, b.memory),
    ])
}

/// From the bytes of a bundle to `Verified`, nothing kept from one to the next.
fn in_process(name: &str, trust_config: &TrustConfig) -> anyhow::Result<Row> {
    let json = fs::read(format!("{SEEDS}/verify/{name}"))?;
    let origin = Origin { repository: "bench".to_owned(), manifest: None, layer: None };
    let evidence = Evidence::Bundle(BundleBytes { origin, json: json.into() });
    let identities = vec![IdentityMatcher::default()];
    let authority = Authority::Identities(IdentityAuthority { identities });
    let wanted = ImageSignatureRequirement {
        digest: Digest::of(b"whatever it is about"),
        annotations: Default::default(),
        claims: ClaimComparison::Ignored,
    };
    let subject = SubjectRequirement::ImageSignature(&wanted);
    let requirement = Requirement { authority: &authority, subject };
    let before = processor_time()?;
    for _ in 0..RUNS {
        verify(&evidence, &requirement, &trust_config.context(&authority, NOW))?;
    }
    let each = (processor_time()? - before) / f64::from(RUNS);
    let what = format!("keyless bundle ({name}) in process: processor");
    Ok(Row::alone(&what, format!("{each:.2} ms"), "1 ms"))
}

/// Of this thread, in milliseconds.
fn processor_time() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().context("an empty schedstat")?;
    Ok(nanoseconds.parse::<f64>()? / 1e6)
}
