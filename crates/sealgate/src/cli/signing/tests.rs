use std::io::Write as _;

use super::*;

fn refused(result: Result<&str, CliError>) -> String {
    result.unwrap_err().message
}

#[test]
fn plain_key_signing_is_fine() {
    assert_eq!(SigningServices::default().for_key(Some("k")), Ok("k"));
    let quiet = SigningServices {
        tlog_upload: Some(false),
        use_signing_config: Some(false),
        rekor_url: Some("https://rekor.example".to_owned()),
        ..Default::default()
    };
    assert_eq!(quiet.for_key(Some("k")), Ok("k"));
}

#[test]
fn what_we_cannot_do_is_refused_by_name() {
    let text = || Some("x".to_owned());
    let with = |flags: SigningServices| refused(flags.for_key(Some("k")));
    let all = [
        (SigningServices { tlog_upload: Some(true), ..Default::default() }, "--tlog-upload=true"),
        (SigningServices { rekor_url: text(), ..Default::default() }, "--rekor-url"),
        (
            SigningServices { use_signing_config: Some(true), ..Default::default() },
            "--use-signing-config",
        ),
        (
            SigningServices { timestamp_server_url: text(), ..Default::default() },
            "--timestamp-server-url",
        ),
        (SigningServices { certificate: text(), ..Default::default() }, "--certificate"),
        (
            SigningServices { issue_certificate: Some(true), ..Default::default() },
            "--issue-certificate",
        ),
    ];
    for (flags, name) in all {
        let message = with(flags);
        assert!(message.starts_with(name), "{message}");
    }
    assert!(refused(SigningServices::default().for_key(None)).contains("keyless"));
}

#[test]
fn a_signing_config_without_services_is_fine() {
    let config = |json: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(json.as_bytes()).unwrap();
        file
    };
    let judge = |json: &str| {
        let file = config(json);
        let path = Some(file.path().to_owned());
        SigningServices { signing_config: path, ..Default::default() }.for_key(Some("k")).is_ok()
    };
    assert!(judge("{}"));
    assert!(judge(r#"{"rekorTlogUrls":[],"tsaUrls":null}"#));
    assert!(!judge(r#"{"rekorTlogUrls":[{"url":"https://rekor.example"}]}"#));
    assert!(!judge(r#"{"tsaUrls":[{"url":"https://tsa.example"}]}"#));
    assert!(!judge("no json"));
}
