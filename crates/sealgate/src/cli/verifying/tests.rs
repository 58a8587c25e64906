use clap::{FromArgMatches as _, Parser};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: VerifyingServices,
}

fn flags(arguments: &[&str]) -> VerifyingServices {
    let command = <Line as clap::CommandFactory>::command();
    let matches = command.get_matches_from([&["x"], arguments].concat());
    Line::from_arg_matches(&matches).unwrap().flags
}

fn refused(arguments: &[&str], key: Option<&str>) -> String {
    match flags(arguments).signer(key) {
        Err(error) => error.message,
        Ok(_) => panic!("{arguments:?} were accepted"),
    }
}

const IDENTITY: [&str; 2] = ["--certificate-identity=me", "--certificate-oidc-issuer=i"];

#[test]
fn a_key_or_an_identity_is_needed() {
    let message = refused(&[], None);
    assert!(
        message.starts_with("--certificate-identity or --certificate-identity-regexp is required")
    );
    assert!(refused(&IDENTITY, Some("k")).starts_with("exactly one of: key reference (--key) or"));
    let both = [&IDENTITY[..], &["--certificate-identity-regexp=me"]].concat();
    assert!(refused(&both, None).starts_with("exactly one of: key reference (--key) or"));
    assert!(matches!(flags(&IDENTITY).signer(None), Ok(Signer::Identities(_))));
    assert!(matches!(flags(&IDENTITY).signer(Some("")), Ok(Signer::Identities(_))));
    assert!(matches!(flags(&[]).signer(Some("k")), Ok(Signer::Key("k"))));
}

#[test]
fn a_check_that_a_key_cannot_have_is_never_skipped() {
    for flag in [
        "--certificate-oidc-issuer=i",
        "--certificate-oidc-issuer-regexp=i",
        "--certificate-github-workflow-sha=x",
        "--ca-roots=x",
        "--certificate-chain=x",
        "--sct=x",
    ] {
        let name = flag.split('=').next().unwrap();
        assert!(refused(&[flag], Some("k")).starts_with(name), "{flag}");
    }
    let certificate = refused(&["--cert=c.pem"], Some("k"));
    assert!(certificate.starts_with("exactly one of: key reference (--key), certificate (--cert)"));
    assert!(refused(&["--certificate-email=me@x"], None).starts_with("--certificate-email"));
}
