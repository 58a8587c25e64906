use std::collections::BTreeSet;
use std::io::Write as _;

use jiff::Timestamp;
use sealgate_sigstore::oidc::Secret;
use sealgate_sigstore::signing_config::{LogService, RekorVersion, Services};

use super::plan::{CommandFlags, SigningPlan};
use super::*;
use crate::cli::{self, Command};
use crate::command::sign_blob::SignBlobPlan;
use crate::failure::CliError;

const NOW: &str = "2026-01-02T03:04:05Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

async fn services(flags: &SigningFlags, key: Option<&str>) -> Result<Services, CliError> {
    let plan = flags.plan(CommandFlags { key, yes: true, ..CommandFlags::default() })?;
    let services = services::load(&plan, now()).await?;
    plan.check(&services)?;
    Ok(services)
}

async fn refused(flags: SigningFlags, key: Option<&str>) -> String {
    services(&flags, key).await.unwrap_err().message
}

fn url(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn log(url: &str, version: RekorVersion) -> Vec<LogService> {
    vec![LogService { url: url.to_owned(), version }]
}

/// The refusal of a command line.
fn refusal(line: &str) -> Refusal {
    match command(line) {
        Command::Sign(args) => args.0.plan(Default::default()).unwrap_err(),
        Command::SignBlob(args) => args.0.plan().unwrap_err(),
        other => panic!("{other:?}"),
    }
}

/// The plan of a `sign-blob` command line.
fn planned(line: &str) -> SigningPlan {
    let Command::SignBlob(args) = command(line) else { panic!("{line}") };
    match args.0.plan() {
        Ok(SignBlobPlan::Sign(plan)) => *plan,
        other => panic!("{line}: {other:?}"),
    }
}

fn command(line: &str) -> Command {
    let arguments = format!("sealgate {line}");
    let arguments = arguments.split(' ').map(Into::into).collect();
    cli::parse("sealgate", arguments).unwrap_or_else(|error| panic!("{line}: {error}")).command
}

/// A command line, the message and the notes of its refusal.
type Row = (&'static str, &'static str, &'static [&'static str]);

/// The same with the services of the plan.
type ServiceRow = (Row, fn() -> Services);

/// Refusals that need nothing but the flags.
const REFUSALS: &[Row] = &[
    (
        "sign --certificate c image",
        "--certificate needs --key",
        &["without --key, the certificate authority issues the certificate"],
    ),
    (
        "sign-blob --certificate-chain c blob",
        "--certificate-chain needs --key",
        &["without --key, the certificate authority issues the certificate"],
    ),
    (
        "sign --key k --issue-certificate --certificate c image",
        "--issue-certificate and --certificate cannot be used together",
        &[],
    ),
    (
        "sign --key k --certificate-chain c image",
        "no leaf certificate found or provided while specifying chain",
        &["give the certificate of the key with --certificate"],
    ),
    (
        "sign --key k --timestamp-client-cert c image",
        "--timestamp-client-cert and --timestamp-client-key must be given together",
        &[],
    ),
    (
        "sign --timestamp-client-key c --resume file",
        "--timestamp-client-cert and --timestamp-client-key must be given together",
        &[],
    ),
    (
        "sign --key k --signing-config c --rekor-url https://rekor.example image",
        "cannot specify service URLs and use signing config",
        &[],
    ),
    (
        "sign --use-signing-config --timestamp-server-url https://tsa.example image",
        "cannot specify service URLs and use signing config",
        &[],
    ),
    (
        "sign --fulcio-url https://fulcio.example image",
        "--rekor-url is not given",
        &[
            "other services for this signature are private, so no public service is used",
            "give --rekor-url URL, or --tlog-upload=false for no log",
        ],
    ),
    (
        "sign --rekor-url https://rekor.example image",
        "--fulcio-url is not given",
        &[
            "other services for this signature are private, so no public service is used",
            "give --fulcio-url URL, or sign with --key",
        ],
    ),
    (
        "sign-blob --signing-algorithm ed25519 blob",
        "parsing signature algorithm: unknown algorithm \"ed25519\"",
        &[
            "supported algorithms: ecdsa-sha2-256-nistp256, ecdsa-sha2-384-nistp384, ecdsa-sha2-512-nistp521, \
           rsa-sign-pkcs1-2048-sha256, rsa-sign-pkcs1-3072-sha256, rsa-sign-pkcs1-4096-sha256",
        ],
    ),
    (
        "sign --oidc-provider gogle image",
        "getting provider: not a valid provider: gogle (known: envvar, github-actions, \
         buildkite-agent, circleci, filesystem, google-workload-identity, google-impersonate, spiffe)",
        &[],
    ),
    (
        "sign --fulcio-auth-flow fast image",
        "setting auth flow: unsupported oauth flow: fast (known: normal, device, token, \
         client_credentials)",
        &[],
    ),
    (
        "sign --sk image",
        "--sk (hardware security keys) is not supported in this version of sealgate",
        &["use a key file, env://VAR or k8s://NAMESPACE/SECRET"],
    ),
    (
        "sign-blob --slot 9c blob",
        "--slot (hardware security keys) is not supported in this version of sealgate",
        &["use a key file, env://VAR or k8s://NAMESPACE/SECRET"],
    ),
    (
        "sign --key k --attachment sbom image",
        "--attachment is not supported in this version of sealgate",
        &["what is signed is always made from the image"],
    ),
    (
        "sign --key k --payload file image",
        "--payload is not supported in this version of sealgate",
        &["what is signed is always made from the image"],
    ),
    (
        "sign --key k --format legacy --registry-referrers-mode oci-1-1 image",
        "--registry-referrers-mode=oci-1-1 with the legacy format is not supported in this version \
         of sealgate",
        &["bundles are stored as referrers: omit the flag and use --format bundle"],
    ),
    (
        "sign --key k --sign-container-identity a,b image",
        "several --sign-container-identity is not supported in this version of sealgate",
        &["give one, and sign again for each further name"],
    ),
    (
        "sign --key k --registry-referrers-mode new image",
        "invalid argument \"new\" for \"--registry-referrers-mode\" flag: must be one of \
         \"legacy\", \"oci-1-1\"",
        &[],
    ),
    (
        "sign --key k --format bundle --new-bundle-format=false image",
        "--format and --new-bundle-format name different formats",
        &[],
    ),
    (
        "sign --key k --upload=false image",
        "must enable upload to the OCI registry or specify a local --bundle path with \
         --new-bundle-format",
        &["with --upload=false, the signature is written to a file only: give --bundle FILE"],
    ),
    ("sign --key k -a novalue image", "unable to parse annotation: novalue", &[]),
    (
        "sign --key k image@sha256:0",
        "parsing reference: could not parse reference: image@sha256:0",
        &["invalid digest after @"],
    ),
    (
        "sign-blob --key k --bundle b one two",
        "--bundle names one file, but several files are signed",
        &["sign the files one at a time"],
    ),
    (
        "sign-blob --key k --output-signature s one two",
        "--output-signature names one file, but several files are signed",
        &["sign the files one at a time"],
    ),
    (
        "sign --resume file image",
        "--resume takes the images and the signatures from its file",
        &["give neither images nor --key with --resume"],
    ),
    (
        "sign --resume file --key k",
        "--resume takes the images and the signatures from its file",
        &["give neither images nor --key with --resume"],
    ),
    ("sign-blob --resume file one two", "--resume requires the one file that was signed", &[]),
    ("sign-blob --resume file --key k one", "--resume and --key cannot be used together", &[]),
];

/// Refusals of a `sign-blob` command line with the services that its source gives.
const SERVICE_REFUSALS: &[ServiceRow] = &[
    (
        (
            "sign-blob --key k --tlog-upload=false --signing-config c blob",
            "--tlog-upload=false is not supported with --signing-config or --use-signing-config. \
             Provide a signing config with --signing-config without a transparency log service",
            &["`sealgate signing-config create` writes one"],
        ),
        rekor2,
    ),
    (
        (
            "sign-blob --key k --new-bundle-format=false --signing-config c blob",
            "the legacy format cannot hold an entry of a Rekor v2 log",
            &["write a bundle (--format bundle), or use a Rekor v1 log"],
        ),
        rekor2,
    ),
    (
        (
            "sign-blob --signing-config c blob",
            "no fulcio URLs provided in signing config",
            &["signing without --key requires a certificate authority: add one, or give --key"],
        ),
        Services::default,
    ),
    (
        (
            "sign-blob --signing-config c blob",
            "a timestamp authority must be provided to request a short-lived certificate that \
             will be logged to Rekor",
            &[
                "a Rekor v2 log does not sign the time of an entry: specify a timestamp authority as well",
            ],
        ),
        rekor2,
    ),
    (
        (
            "sign-blob --key k --rfc3161-timestamp t blob",
            "--rfc3161-timestamp requires a timestamp authority",
            &["specify one with --timestamp-server-url or in a signing config"],
        ),
        Services::default,
    ),
];

fn rekor2() -> Services {
    let logs = log("https://rekor.example", RekorVersion::V2);
    Services { logs, fulcio: url("https://fulcio.example"), ..Services::default() }
}

#[test]
fn every_refusal_has_its_exact_words() {
    let mut covered = BTreeSet::new();
    let mut check = |row: &Row, refusal: Refusal| {
        let (line, message, notes) = *row;
        covered.insert(variant(&refusal));
        let error = CliError::from(refusal);
        assert_eq!(error.message, message, "{line}");
        assert_eq!(error.notes, notes, "{line}");
    };
    for row in REFUSALS {
        check(row, refusal(row.0));
    }
    for (row, services) in SERVICE_REFUSALS {
        check(row, planned(row.0).check(&services()).unwrap_err());
    }
    assert_eq!(covered, (0..VARIANTS).collect(), "variants without a row");
}

const VARIANTS: usize = 24;

/// The number of a variant. A new one needs a row above.
fn variant(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::WithoutKey { .. } => 0,
        Refusal::TwoCertificates => 1,
        Refusal::ChainWithoutCertificate => 2,
        Refusal::HalfClientCertificate => 3,
        Refusal::UrlsAndConfig => 4,
        Refusal::ServiceNotGiven { .. } => 5,
        Refusal::Algorithm { .. } => 6,
        Refusal::Provider { .. } => 7,
        Refusal::Flow { .. } => 8,
        Refusal::Unsupported { .. } => 9,
        Refusal::ReferrersMode { .. } => 10,
        Refusal::TwoFormats => 11,
        Refusal::NoDestination => 12,
        Refusal::Annotation { .. } => 13,
        Refusal::Reference { .. } => 14,
        Refusal::SeveralBlobs { .. } => 15,
        Refusal::ResumeWithImages => 16,
        Refusal::ResumeSeveralBlobs => 17,
        Refusal::ResumeWithKey => 18,
        Refusal::ConfiguredLog => 19,
        Refusal::LegacyRekor2 => 20,
        Refusal::NoCertificateAuthority => 21,
        Refusal::NoTimestampAuthority => 22,
        Refusal::NoTimestamp => 23,
    }
}

#[test]
fn flags_without_meaning_are_warnings() {
    let with_key = |flag: &str| planned(&format!("sign-blob --key k {flag} blob"));
    for flag in [
        "--fulcio-url=https://fulcio.sigstore.dev",
        "--fulcio-auth-flow=token",
        "--identity-token=t",
        "--insecure-skip-verify=true",
        "--oidc-issuer=https://oauth2.sigstore.dev/auth",
        "--oidc-client-id=i",
        "--oidc-client-secret-file=f",
        "--oidc-redirect-url=u",
        "--oidc-provider=p",
        "--oidc-disable-ambient-providers=true",
        "--signing-algorithm=a",
    ] {
        let (name, _) = flag.split_once('=').unwrap();
        let warning = format!("{name} has no meaning when signing with --key");
        assert_eq!(with_key(flag).warnings, [warning]);
    }
    let services = Services::default();
    for flag in ["--timestamp-client-cacert", "--timestamp-server-name"] {
        let warning = format!("{flag} has no meaning: no timestamp authority is asked");
        assert_eq!(with_key(&format!("{flag}=x")).check(&services), Ok(vec![warning]));
    }
    let [warning] = with_key("--trusted-root=r").check(&services).unwrap().try_into().unwrap();
    assert!(warning.starts_with("--trusted-root has no meaning here"), "{warning}");
}

#[test]
fn weak_keyless_services_are_warnings() {
    let plan = planned("sign-blob --signing-config c blob");
    let services = |fulcio: &str| Services { fulcio: url(fulcio), ..Services::default() };
    let [unlogged] = plan.check(&services("https://fulcio.example")).unwrap().try_into().unwrap();
    assert!(unlogged.starts_with("neither a log nor a timestamp authority is asked"));
    let [unencrypted, _] =
        plan.check(&services("http://fulcio.example")).unwrap().try_into().unwrap();
    assert!(unencrypted.starts_with("the identity token goes to http://fulcio.example without"));
}

#[tokio::test]
async fn a_key_alone_uses_no_service() {
    let quiet = [
        SigningFlags::default(),
        SigningFlags { use_signing_config: Some(false), ..Default::default() },
        SigningFlags {
            tlog_upload: Some(false),
            use_signing_config: Some(false),
            rekor_url: url("https://rekor.example"),
            ..Default::default()
        },
        SigningFlags { fulcio_url: url("https://fulcio.example"), ..Default::default() },
    ];
    for flags in quiet {
        assert_eq!(services(&flags, Some("k")).await.unwrap(), Services::default(), "{flags:?}");
    }
}

#[tokio::test]
async fn a_key_with_a_log_and_a_timestamp_authority() {
    let flags = SigningFlags {
        rekor_url: url("https://rekor.example"),
        timestamp_server_url: url("https://tsa.example/api"),
        ..Default::default()
    };
    let found = services(&flags, Some("k")).await.unwrap();
    assert_eq!(found.logs, log("https://rekor.example", RekorVersion::V1));
    assert_eq!(found.timestamps, ["https://tsa.example/api"]);
    assert_eq!((found.fulcio, found.oidc), (None, None));
}

#[tokio::test]
async fn a_private_deployment_never_uses_a_public_service() {
    let private = || SigningFlags { fulcio_url: url("https://f.example"), ..Default::default() };
    assert_eq!(refused(private(), None).await, "--rekor-url is not given");
    let no_log = SigningFlags { tlog_upload: Some(false), ..private() };
    let found = services(&no_log, None).await.unwrap();
    let fulcio = Some("https://f.example".to_owned());
    assert_eq!(found, Services { fulcio, ..Services::default() });
    let only_log = SigningFlags { rekor_url: url("https://rekor.example"), ..Default::default() };
    assert_eq!(refused(only_log, None).await, "--fulcio-url is not given");
}

#[tokio::test]
async fn without_a_signing_config_the_public_services_are_cosigns() {
    let flags = SigningFlags { use_signing_config: Some(false), ..Default::default() };
    let found = services(&flags, None).await.unwrap();
    assert_eq!(found.fulcio.as_deref(), Some("https://fulcio.sigstore.dev"));
    assert_eq!(found.oidc.as_deref(), Some("https://oauth2.sigstore.dev/auth"));
    assert_eq!(found.logs, log("https://rekor.sigstore.dev", RekorVersion::V1));
    assert!(found.timestamps.is_empty());
}

fn config(json: &str) -> (tempfile::NamedTempFile, SigningFlags) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(json.as_bytes()).unwrap();
    let signing_config = Some(file.path().to_owned());
    (file, SigningFlags { signing_config, ..Default::default() })
}

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";

fn service(url: &str, version: u32) -> serde_json::Value {
    serde_json::json!({
        "url": url,
        "majorApiVersion": version,
        "operator": "acme.example",
        "validFor": { "start": "2024-01-01T00:00:00Z" },
    })
}

#[tokio::test]
async fn a_signing_config_names_the_services() {
    let empty = format!(r#"{{"mediaType":"{MEDIA_TYPE}"}}"#);
    let (_file, flags) = config(&empty);
    assert_eq!(services(&flags, Some("k")).await.unwrap(), Services::default());
    assert_eq!(refused(flags, None).await, "no fulcio URLs provided in signing config");
    let mut document = serde_json::json!({
        "mediaType": MEDIA_TYPE,
        "caUrls": [service("https://fulcio.example", 1)],
        "rekorTlogUrls": [service("https://rekor.example", 2)],
        "rekorTlogConfig": { "selector": "ANY" },
    });
    let (_file, flags) = config(&document.to_string());
    assert_eq!(
        services(&flags, Some("k")).await.unwrap().logs,
        log("https://rekor.example", RekorVersion::V2)
    );
    let message = refused(flags, None).await;
    assert!(message.starts_with("a timestamp authority must be provided"), "{message}");
    document["tsaUrls"] = serde_json::json!([service("https://tsa.example", 1)]);
    document["tsaConfig"] = serde_json::json!({ "selector": "ANY" });
    let (_file, flags) = config(&document.to_string());
    assert_eq!(services(&flags, None).await.unwrap().timestamps, ["https://tsa.example"]);
    let (_file, flags) = config(&document.to_string());
    let no_log = SigningFlags { tlog_upload: Some(false), ..flags };
    assert!(refused(no_log, Some("k")).await.starts_with("--tlog-upload=false is not supported"));
    let (_file, flags) = config(&empty);
    let no_log = SigningFlags { tlog_upload: Some(false), ..flags };
    assert_eq!(services(&no_log, Some("k")).await.unwrap(), Services::default());
    let (_file, flags) = config("no json");
    let message = refused(flags, Some("k")).await;
    assert!(message.starts_with("error reading signing config from file"), "{message}");
}

#[test]
fn public_services_are_known_by_their_host() {
    for url in [
        "https://rekor.sigstore.dev",
        "https://x.sigstage.dev:443/p",
        "http://A.SIGSTORE.dev",
        "https:rekor.sigstore.dev",
        "https:\\\\rekor.sigstore.dev.",
        "rekor.sigstore.dev",
    ] {
        assert!(services::is_public(url), "{url}");
    }
    for url in ["https://sigstore.dev.acme.example", "https://acme.example/.sigstore.dev", "x", ""]
    {
        assert!(!services::is_public(url), "{url}");
    }
}

#[test]
fn a_token_is_not_in_the_flags_debug_text() {
    let flags = SigningFlags { identity_token: Some(Secret::new("eyJ")), ..Default::default() };
    assert!(!format!("{flags:?}").contains("eyJ"));
}
