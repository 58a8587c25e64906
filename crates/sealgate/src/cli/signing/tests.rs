use std::io::Write as _;

use sealgate_sigstore::signing_config::{LogService, Services};

use super::*;

const NOW: &str = "2026-01-02T03:04:05Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

async fn services(flags: &SigningServices, key: Option<&str>) -> Result<Services, CliError> {
    flags.judge(key)?;
    let services = flags.services(key, now()).await?;
    let asked = Asked { key, yes: true, ..Asked::default() };
    flags.check_services(&services, &asked)?;
    Ok(services)
}

async fn refused(flags: SigningServices, key: Option<&str>) -> String {
    services(&flags, key).await.unwrap_err().message
}

fn url(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn log(url: &str, version: RekorVersion) -> Vec<LogService> {
    vec![LogService { url: url.to_owned(), version }]
}

#[tokio::test]
async fn a_key_alone_asks_nobody() {
    let quiet = [
        SigningServices::default(),
        SigningServices { use_signing_config: Some(false), ..Default::default() },
        SigningServices {
            tlog_upload: Some(false),
            use_signing_config: Some(false),
            rekor_url: url("https://rekor.example"),
            ..Default::default()
        },
        SigningServices { fulcio_url: url("https://fulcio.example"), ..Default::default() },
    ];
    for flags in quiet {
        assert_eq!(services(&flags, Some("k")).await.unwrap(), Services::default(), "{flags:?}");
    }
}

#[tokio::test]
async fn a_key_with_a_log_and_a_timestamp_authority() {
    let flags = SigningServices {
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
async fn a_private_set_up_never_ends_at_a_public_service() {
    let private = || SigningServices { fulcio_url: url("https://f.example"), ..Default::default() };
    assert_eq!(refused(private(), None).await, "--rekor-url is not given");
    let no_log = SigningServices { tlog_upload: Some(false), ..private() };
    let found = services(&no_log, None).await.unwrap();
    let fulcio = Some("https://f.example".to_owned());
    assert_eq!(found, Services { fulcio, ..Services::default() });
    let only_log =
        SigningServices { rekor_url: url("https://rekor.example"), ..Default::default() };
    assert_eq!(refused(only_log, None).await, "--fulcio-url is not given");
}

#[tokio::test]
async fn without_a_signing_config_the_public_services_are_cosigns() {
    let flags = SigningServices { use_signing_config: Some(false), ..Default::default() };
    let found = services(&flags, None).await.unwrap();
    assert_eq!(found.fulcio.as_deref(), Some("https://fulcio.sigstore.dev"));
    assert_eq!(found.oidc.as_deref(), Some("https://oauth2.sigstore.dev/auth"));
    assert_eq!(found.logs, log("https://rekor.sigstore.dev", RekorVersion::V1));
    assert!(found.timestamps.is_empty());
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_in_cosigns_words() {
    let conflict = "cannot specify service URLs and use signing config";
    let file = || Some(PathBuf::from("signing.json"));
    let urls = SigningServices {
        signing_config: file(),
        rekor_url: url("https://rekor.example"),
        ..Default::default()
    };
    assert_eq!(refused(urls, Some("k")).await, conflict);
    let chain = SigningServices { certificate_chain: file(), ..Default::default() };
    let no_leaf = "no leaf certificate found or provided while specifying chain";
    assert_eq!(refused(chain, Some("k")).await, no_leaf);
    let keyless = SigningServices { certificate: file(), ..Default::default() };
    assert_eq!(refused(keyless, None).await, "--certificate needs --key");
    let client = SigningServices { timestamp_client_cert: file(), ..Default::default() };
    assert!(refused(client, Some("k")).await.contains("belong together"));
}

fn config(json: &str) -> (tempfile::NamedTempFile, SigningServices) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(json.as_bytes()).unwrap();
    let signing_config = Some(file.path().to_owned());
    (file, SigningServices { signing_config, ..Default::default() })
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
    let no_log = SigningServices { tlog_upload: Some(false), ..flags };
    assert!(refused(no_log, Some("k")).await.starts_with("--tlog-upload=false is not supported"));
    let (_file, flags) = config(&empty);
    let no_log = SigningServices { tlog_upload: Some(false), ..flags };
    assert_eq!(services(&no_log, Some("k")).await.unwrap(), Services::default());
    let (_file, flags) = config("no json");
    let message = refused(flags, Some("k")).await;
    assert!(message.starts_with("error reading signing config from file"), "{message}");
}

#[tokio::test]
async fn a_log_of_version_2_does_not_fit_into_the_legacy_format() {
    let flags = SigningServices::default();
    let logs = log("https://rekor.example", RekorVersion::V2);
    let services = Services { logs, ..Services::default() };
    let asked = Asked { key: Some("k"), yes: true, legacy: true, ..Asked::default() };
    let error = flags.check_services(&services, &asked).unwrap_err();
    assert_eq!(error.message, "the legacy format cannot hold an entry of a Rekor v2 log");
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
    let flags =
        SigningServices { identity_token: Some(secret("eyJ").unwrap()), ..Default::default() };
    assert!(!format!("{flags:?}").contains("eyJ"));
}
