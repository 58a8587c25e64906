use super::*;

fn refused(result: Result<&str, CliError>) -> String {
    result.unwrap_err().message
}

#[test]
fn verifying_needs_a_key() {
    let message = refused(VerifyingServices::default().for_key(None));
    assert!(
        message.starts_with("--certificate-identity or --certificate-identity-regexp is required")
    );
    let flags =
        VerifyingServices { certificate_identity: Some("me".to_owned()), ..Default::default() };
    assert!(refused(flags.for_key(None)).contains("keyless"));
    assert!(refused(flags.for_key(Some("k"))).starts_with("exactly one of: key reference"));
}

#[test]
fn a_check_that_cannot_be_made_is_never_skipped() {
    let text = || Some("x".to_owned());
    let all = [
        VerifyingServices { certificate_oidc_issuer: text(), ..Default::default() },
        VerifyingServices { certificate_github_workflow_sha: text(), ..Default::default() },
        VerifyingServices { use_signed_timestamps: Some(true), ..Default::default() },
        VerifyingServices { trusted_root: Some("x".into()), ..Default::default() },
        VerifyingServices { rekor_url: text(), ..Default::default() },
        VerifyingServices { ca_roots: text(), ..Default::default() },
    ];
    for flags in all {
        assert!(flags.for_key(Some("k")).is_err(), "{flags:?}");
    }
    let ignored = VerifyingServices {
        insecure_ignore_tlog: Some(true),
        rekor_url: text(),
        ..Default::default()
    };
    assert!(ignored.for_key(Some("k")).is_ok());
}
