use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const NOW: &str = "2026-11-21T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn service(url: &str, version: u32, operator: &str, start: &str, end: &str) -> Service {
    let time = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    Service { start: time(start), end: time(end), ..Service::new(url, version, operator) }
}

fn logs(selection: Option<Selection>, logs: Vec<Service>) -> SigningConfig {
    SigningConfig { logs, log_selection: selection, ..SigningConfig::default() }
}

fn urls(config: &SigningConfig) -> Result<Vec<String>, NoService> {
    let services = config.services(now(), SignWith::Key)?;
    Ok(services.logs.into_iter().map(|log| log.url).collect())
}

/// Output of cosign 3.1.3.
const WRITTEN: &str = r#"{
  "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
  "caUrls": [{"url": "https://fulcio.example", "majorApiVersion": 1,
    "validFor": {"start": "2024-01-01T00:00:00Z"}, "operator": "a.example"}],
  "oidcUrls": [{"url": "https://oauth.example/auth", "majorApiVersion": 1,
    "validFor": {"start": "2024-01-01T00:00:00Z"}, "operator": "a.example"}],
  "rekorTlogUrls": [{"url": "https://log.example", "majorApiVersion": 2,
    "validFor": {"start": "2025-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"},
    "operator": "a.example"}],
  "rekorTlogConfig": {"selector": "ANY"},
  "tsaUrls": [{"url": "https://tsa.example/api/v1/timestamp", "majorApiVersion": 1,
    "validFor": {"start": "2024-01-01T00:00:00Z", "end": "0001-01-01T00:00:00Z"},
    "operator": "a.example"}],
  "tsaConfig": {"selector": "EXACT", "count": 1}
}"#;

#[test]
fn reads_what_cosign_writes_and_reads_what_it_writes() {
    let config = SigningConfig::parse(WRITTEN.as_bytes()).unwrap();
    assert_eq!(config.timestamp_selection, Some(Selection::Exact(1)));
    assert_eq!(SigningConfig::parse(config.to_json().as_bytes()), Ok(config.clone()));
    let services = config.services(now(), SignWith::Identity).unwrap();
    let log = LogService { url: "https://log.example".to_owned(), version: RekorVersion::V2 };
    let want = Services {
        fulcio: Some("https://fulcio.example".to_owned()),
        oidc: Some("https://oauth.example/auth".to_owned()),
        logs: vec![log],
        timestamps: vec!["https://tsa.example/api/v1/timestamp".to_owned()],
    };
    assert_eq!(services, want);
    let with_key = config.services(now(), SignWith::Key).unwrap();
    assert_eq!((with_key.fulcio, with_key.oidc), (None, None));
    assert_eq!(with_key.logs, want.logs);
}

#[test]
fn a_configuration_without_services_has_none() {
    let text = format!(r#"{{"mediaType":"{MEDIA_TYPE}","rekorTlogConfig":{{}},"tsaConfig":{{}}}}"#);
    let config = SigningConfig::parse(text.as_bytes()).unwrap();
    assert_eq!(config, SigningConfig::default());
    assert_eq!(config.to_json(), text);
    assert_eq!(config.services(now(), SignWith::Identity), Ok(Services::default()));
}

#[test]
fn refuses_what_it_cannot_read() {
    let parse = |text: &str| SigningConfig::parse(text.as_bytes());
    let with = |rest: &str| parse(&format!(r#"{{"mediaType":"{MEDIA_TYPE}",{rest}}}"#));
    let old = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.1+json"}"#;
    assert!(matches!(parse(old), Err(InvalidSigningConfig::MediaType(_))));
    assert!(matches!(parse("{}"), Err(InvalidSigningConfig::MediaType(_))));
    let many = vec![r#"{"url":"https://a.example"}"#; MAX_SERVICES + 1].join(",");
    let many = with(&format!(r#""tsaUrls":[{many}]"#));
    assert_eq!(many, Err(InvalidSigningConfig::TooMany("tsaUrls")));
    let long = "x".repeat(2049);
    for rest in [
        r#""caUrls":[{}]"#,
        r#""caUrls":{}"#,
        r#""caUrls":[],"caUrls":[]"#,
        r#""caUrls":[],"ca_urls":[]"#,
        r#""caUrls":[{"url":"x","majorApiVersion":-1}]"#,
        r#""caUrls":[{"url":"x","validFor":{"start":"yesterday"}}]"#,
        r#""tsaConfig":{"selector":"SOME"}"#,
        r#""tsaConfig":{"selector":"EXACT"}"#,
        &format!(r#""caUrls":[{{"url":"{long}"}}]"#),
    ] {
        assert!(matches!(with(rest), Err(InvalidSigningConfig::Malformed(_))), "{rest}");
    }
    let large = " ".repeat(MAX_SIGNING_CONFIG + 1);
    assert_eq!(parse(&large), Err(InvalidSigningConfig::TooLarge));
}

#[test]
fn the_highest_version_that_is_valid_wins() {
    let all = Some(Selection::All);
    let one = service("https://one", 1, "a", "2021-01-01T00:00:00Z", "");
    let two = service("https://two", 2, "a", "2025-01-01T00:00:00Z", "");
    let later = service("https://later", 2, "b", "2030-01-01T00:00:00Z", "");
    let over = service("https://over", 2, "c", "", "2020-01-01T00:00:00Z");
    let third = service("https://third", 3, "d", "", "");
    let both = logs(all, vec![one.clone(), third.clone(), two, later.clone(), over.clone()]);
    assert_eq!(urls(&both), Ok(vec!["https://two".to_owned()]));
    assert_eq!(urls(&logs(all, vec![later.clone(), one])), Ok(vec!["https://one".to_owned()]));
    let none = urls(&logs(all, vec![later, over, third])).unwrap_err();
    let text = "no transparency logs of the signing config is valid at 2026-11-21T12:00:00Z with \
                an API version of [2, 1]";
    assert_eq!(none.to_string(), text);
}

#[test]
fn the_edges_of_a_window_belong_to_it() {
    let all = Some(Selection::All);
    for (start, end, valid) in [
        (NOW, "", true),
        ("", NOW, true),
        (NOW, NOW, true),
        ("2026-11-21T12:00:01Z", "", false),
        ("", "2026-11-21T11:59:59Z", false),
    ] {
        let config = logs(all, vec![service("https://a", 1, "a", start, end)]);
        assert_eq!(urls(&config).is_ok(), valid, "{start}..{end}");
    }
}

#[test]
fn of_one_operator_the_newest() {
    let config = logs(
        Some(Selection::All),
        vec![
            service("https://a1", 2, "a", "2024-01-01T00:00:00Z", ""),
            service("https://a0", 2, "a", "", ""),
            service("https://a2", 2, "a", "2025-01-01T00:00:00Z", ""),
            service("https://b", 2, "b", "2024-06-01T00:00:00Z", ""),
        ],
    );
    assert_eq!(urls(&config), Ok(vec!["https://a2".to_owned(), "https://b".to_owned()]));
}

#[test]
fn selections() {
    let three: Vec<_> =
        ["a", "b", "c"].map(|name| Service::new(format!("https://{name}"), 2, name)).into();
    let count = |selection| urls(&logs(selection, three.clone())).map(|urls| urls.len());
    assert_eq!(count(Some(Selection::All)), Ok(3));
    assert_eq!(count(Some(Selection::Any)), Ok(1));
    assert_eq!(count(Some(Selection::Exact(2))), Ok(2));
    assert_eq!(count(Some(Selection::Exact(3))), Ok(3));
    let exact = |wanted| NoService::Exact { what: LOGS, wanted, found: 3 };
    assert_eq!(count(Some(Selection::Exact(4))), Err(exact(4)));
    assert_eq!(count(Some(Selection::Exact(0))), Err(exact(0)));
    assert_eq!(count(None), Err(NoService::NoSelection(LOGS)));
}

#[test]
fn by_chance_every_one_has_its_turn() {
    let two: Vec<_> = ["a", "b"].map(|name| Service::new(name, 2, name)).into();
    for selection in [Selection::Any, Selection::Exact(1)] {
        let config = logs(Some(selection), two.clone());
        let mut random = StdRng::seed_from_u64(1);
        let mut chosen: Vec<_> = (0..50)
            .map(|_| config.choose(now(), SignWith::Key, &mut random).unwrap().logs.remove(0).url)
            .collect();
        chosen.sort();
        chosen.dedup();
        assert_eq!(chosen, ["a", "b"]);
    }
}

#[test]
fn ports_are_made_of_addresses_that_are_some() {
    let client = crate::http::fixture::client();
    let config = SigningConfig::parse(WRITTEN.as_bytes()).unwrap();
    let services = config.services(now(), SignWith::Identity).unwrap();
    let ports = services.ports(&client, &client).unwrap();
    assert!(ports.issuer.is_some());
    assert_eq!(ports.logs[0].url(), "https://log.example/");
    assert_eq!(ports.timestamps[0].url(), "https://tsa.example/api/v1/timestamp");
    let bad = Services { timestamps: vec!["tsa.example".to_owned()], ..services };
    assert!(bad.ports(&client, &client).is_err());
}
