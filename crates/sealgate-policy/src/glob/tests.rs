use super::*;

const HEX: &str = "abcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd";

fn image(text: &str) -> Reference {
    let text = text.replace("@D", &format!("@sha256:{HEX}"));
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn matches(glob: &str, text: &str) -> bool {
    Glob::parse(glob).unwrap().matches(&image(text), TagMatching::AsWritten)
}

#[track_caller]
fn table(glob: &str, yes: &[&str], no: &[&str]) {
    for text in yes {
        assert!(matches(glob, text), "{glob} should match {text}");
    }
    for text in no {
        assert!(!matches(glob, text), "{glob} should not match {text}");
    }
}

#[test]
fn wildcards_do_not_match_across_parts() {
    table(
        "ghcr.io/acme/*",
        &["ghcr.io/acme/app", "ghcr.io/acme/app@D", "ghcr.io/acme/app:v1@D", "ghcr.io/acme/a"],
        &["ghcr.io/acme/app/sub@D", "ghcr.io/acme2/app@D", "ghcr.io/acme", "ghcr.io/x/acme/app"],
    );
    table(
        "ghcr.io/acme/**",
        &["ghcr.io/acme/app@D", "ghcr.io/acme/a/b/c@D"],
        &["ghcr.io/acmeapp@D", "ghcr.io/acme@D", "ghcr.io/other/acme/app@D"],
    );
    table("ghcr.io/**/app", &["ghcr.io/a/b/app@D", "ghcr.io/a/app@D"], &["ghcr.io/a/app2@D"]);
    table("ghcr.io/a*c/app", &["ghcr.io/abc/app@D", "ghcr.io/ac/app"], &["ghcr.io/a/c/app@D"]);
    table("**", &["nginx", "ghcr.io/a/b/c:t@D", "localhost:5000/x@D"], &[]);
    table("ghcr.io/a.b/app", &["ghcr.io/a.b/app@D"], &["ghcr.io/axb/app@D"]);
    table("ghcr.io/a.b/*", &["ghcr.io/a.b/app@D"], &["ghcr.io/axb/app@D", "ghcr.io/a/b/app@D"]);
    table("a.b.io/**", &["a.b.io/app@D"], &["axb.io/app@D", "a.bxio:80/app@D", "a-b.io/app@D"]);
    table("***/app", &["ghcr.io/a/app@D"], &["ghcr.io/a/app2@D"]);
}

#[test]
fn a_plain_repository_matches_that_repository() {
    table(
        "ghcr.io/acme/app",
        &["ghcr.io/acme/app", "ghcr.io/acme/app:v1", "ghcr.io/acme/app:v1@D", "ghcr.io/acme/app@D"],
        &["ghcr.io/acme/app2@D", "ghcr.io/acme/app/x@D", "ghcr.io/acme/ap@D"],
    );
}

#[test]
fn no_host_means_docker_hub() {
    table(
        "*",
        &["nginx", "nginx:1.2@D", "docker.io/nginx", "index.docker.io/library/nginx@D"],
        &["acme/app", "ghcr.io/nginx@D", "ghcr.io/library/nginx@D"],
    );
    table(
        "*/*",
        &["nginx", "acme/app@D", "docker.io/acme/app"],
        &["ghcr.io/acme@D", "ghcr.io/acme/app@D", "acme/app/sub@D"],
    );
    table("nginx", &["nginx@D", "docker.io/library/nginx"], &["acme/nginx", "ghcr.io/nginx@D"]);
    table("nginx*", &["nginx@D", "nginx-unprivileged@D"], &["acme/nginx@D", "nginx.evil.com/x@D"]);
    table("acme/app", &["acme/app@D", "docker.io/acme/app:1@D"], &["acme.evil.com/app@D"]);
    table("acme*/**", &["acme/app@D", "acme-labs/a/b"], &["acme.evil.com/app@D", "acme:80/app@D"]);
    table("library/nginx", &["nginx@D"], &["ghcr.io/library/nginx@D"]);
    for glob in ["docker.io/library/**", "index.docker.io/library/*", "Docker.IO/library/*"] {
        table(glob, &["nginx@D", "docker.io/nginx"], &["acme/app", "docker.io.evil.com/library/a"]);
    }
    for glob in ["docker.io/nginx", "index.docker.io/nginx", "docker.io/*"] {
        table(glob, &["nginx@D", "library/nginx:1"], &["acme/nginx", "ghcr.io/nginx"]);
    }
    table("docker.io/**", &["nginx", "acme/app@D"], &["ghcr.io/acme/app@D"]);
    table("docker.io/acme/*", &["acme/app@D"], &["acme/app/x@D", "library/acme"]);
}

/// Look-alike names that a pattern must never match.
#[test]
fn look_alike_names_do_not_match() {
    let others = [
        "registry.io.evil.com/team/app@D",
        "registry.io:80/team/app@D",
        "registry.io:4430/team/app@D",
        "registry.io:5000/team/app@D",
        "a.registry.io/team/app@D",
        "evil.com/registry.io/team/app@D",
        "evil.com/registry.io.team/app@D",
        "myregistry.io/team/app@D",
        "xn--registry-io.evil/team/app@D",
        "registry-io/team/app@D",
        "registry.io/team2/app@D",
        "registry.io/teamapp@D",
        "registry.io/team-evil/app@D",
        "registry.io/x/team/app@D",
        "registryxio.com/team/app@D",
        "registry.i/o/team/app@D",
        "nginx@D",
    ];
    for glob in
        ["registry.io/team/*", "registry.io/team/**", "registry.io/team/app", "REGISTRY.io/team/*"]
    {
        table(glob, &["registry.io/team/app@D", "REGISTRY.IO/team/app:v1@D"], &others);
    }
    table(
        "*.registry.io/**",
        &["eu.registry.io/x@D"],
        &["registry.io/x@D", "evil.com/a.registry.io/x@D"],
    );
    // In a reference, `localhost` alone is a host, not every name that begins with it.
    table("localhost-team/**", &["localhost-team/app@D"], &["localhost/x@D"]);
    table("localhost**", &["localhost/x@D", "localhost:5000/x@D"], &["localhost-team/app@D"]);
    table("localhost/**", &["localhost/x@D"], &["localhost-team/app@D"]);
    table("localhost:5000/**", &["localhost:5000/x@D"], &["localhost/x@D", "localhost:50000/x@D"]);
    table(
        "registry.io/app",
        &["registry.io/app@D"],
        &["registry.io/app/app@D", "registry.io/library/app@D"],
    );
}

/// Spellings of one server: the author of the pod must not find one that no policy names.
#[test]
fn one_server_is_one_registry_however_it_is_written() {
    let same = ["registry.io/x@D", "registry.io:443/x@D", "REGISTRY.IO:443/x:v1@D"];
    let other = ["registry.io:4430/x@D", "registry.io:80/x@D", "registry.io.evil.com:443/x@D"];
    for glob in ["registry.io/**", "registry.io:443/**", "Registry.io:443/x", "registry.io/*"] {
        table(glob, &same, &other);
    }
    table("registry.io:5000/**", &["registry.io:5000/x@D"], &["registry.io/x@D", same[1]]);
    // With a wildcard in the host, either spelling may be intended: both are tried.
    for glob in ["*.io/x", "*.io:443/x", "registry.*:443/**", "registry.io:*/**"] {
        table(glob, &same, &["registry.com:4430/x@D"]);
    }
    table("*.io:443/**", &["a.io/x@D"], &["a.io:5000/x@D", "a.com/x@D"]);
    let hub = [
        "nginx@D",
        "index.docker.io:443/library/nginx@D",
        "registry-1.docker.io/library/nginx@D",
        "registry.hub.docker.com/library/nginx:1@D",
    ];
    for glob in ["nginx", "docker.io/library/*", "registry-1.docker.io/**", "*.docker.io/**"] {
        table(glob, &hub, &["registry-2.docker.io.evil.com/library/nginx@D"]);
    }
    table("registry-1*.io/**", &["registry-1.docker.io/library/nginx@D"], &["nginx@D"]);
}

/// Spellings that reach a server and that the kubelet, or a resolver, reads in another way than a
/// person. They are not references, so the no-match policy cannot allow them.
#[test]
fn spellings_that_only_a_resolver_accepts_are_not_references() {
    for text in [
        "registry.io./x",
        "registry.io:0443/x",
        "registry.io:05000/x",
        "registry.io:/x",
        "user@registry.io/x",
        "registry.io@evil.com/x",
        "registry.io%2e/x",
        "registry。io/x",
        "rеgistry.io/x",
        "0x0a000001:443/x",
        "010.0.0.1/x",
        "registry.io\\x",
        "registry.io/../x",
        "registry.io//x",
        "https://registry.io/x",
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text}");
    }
}

#[test]
fn tags_and_digests_are_matched_separately() {
    table(
        "ghcr.io/acme/app:v1*",
        &["ghcr.io/acme/app:v1", "ghcr.io/acme/app:v1.2@D"],
        &[
            "ghcr.io/acme/app@D",
            "ghcr.io/acme/app:v2@D",
            "ghcr.io/acme/app-v1@D",
            "ghcr.io/acme/app",
        ],
    );
    table(
        "ghcr.io/acme/app:*",
        &["ghcr.io/acme/app@D", "ghcr.io/acme/app:x"],
        &["ghcr.io/acme/b:x"],
    );
    // The wildcard of the name must not match into the digest, whose hash begins with `a`.
    table("ghcr.io/acme/*:a*", &["ghcr.io/acme/app:alpha@D"], &["ghcr.io/acme/app@D"]);
    table("ghcr.io/acme/*abcd", &["ghcr.io/acme/xabcd@D"], &["ghcr.io/acme/app@D"]);
    table(
        "**:latest",
        &["nginx", "ghcr.io/a/b:latest@D"],
        &["ghcr.io/a/b:v1", "ghcr.io/a/latest:x@D"],
    );
    table("nginx:1.*", &["nginx:1.25@D"], &["nginx:2@D", "nginx@D"]);
    let exact = format!("ghcr.io/acme/app@sha256:{HEX}");
    table(
        &exact,
        &["ghcr.io/acme/app@D", "ghcr.io/acme/app:any@D"],
        &["ghcr.io/acme/app", "ghcr.io/b@D"],
    );
    let tagged = format!("ghcr.io/acme/app:v1@sha256:{HEX}");
    table(&tagged, &["ghcr.io/acme/app@D", "ghcr.io/acme/app:v1@D"], &["ghcr.io/acme/app:v1"]);
    table("ghcr.io/acme/app@sha256:*", &["ghcr.io/acme/app@D"], &["ghcr.io/acme/app:v1"]);
    table("ghcr.io/acme/app@*", &["ghcr.io/acme/app@D", "ghcr.io/acme/app"], &[]);
    table("registry.local:5000**", &["registry.local:5000/a/b@D"], &["registry.local/a@D"]);
    table("a:b:c", &[], &["a:b"]);
    table("user@ghcr.io/app", &[], &["ghcr.io/app@D", "user@D"]);
    table("@", &[], &["nginx@D", "nginx"]);
    table(":", &[], &["nginx@D", "nginx"]);
    table("/", &[], &["nginx@D"]);
}

#[test]
fn a_tag_beside_a_digest_admits_nothing() {
    let glob = Glob::parse("ghcr.io/acme/app:v1").unwrap();
    let written = |text: &str, tags| glob.matches(&image(text), tags);
    assert!(written("ghcr.io/acme/app:v1", TagMatching::OnlyWithoutDigest));
    assert!(!written("ghcr.io/acme/app:v1@D", TagMatching::OnlyWithoutDigest));
    assert!(written("ghcr.io/acme/app:v1@D", TagMatching::AsWritten));
    let exact = Glob::parse(&format!("ghcr.io/acme/app:v1@sha256:{HEX}")).unwrap();
    assert!(exact.matches(&image("ghcr.io/acme/app:v1@D"), TagMatching::OnlyWithoutDigest));
}

#[test]
fn invalid_patterns_have_policy_controllers_messages() {
    for (glob, text) in [
        ("[", "syntax error in pattern"),
        ("[]", "syntax error in pattern"),
        ("[a", "syntax error in pattern"),
        ("[a-", "syntax error in pattern"),
        ("a\\", "syntax error in pattern"),
        ("[a-z]*", "invalid glob \"[a-z]*\""),
        ("$FOO*", "invalid glob \"$FOO*\""),
        ("", "invalid glob \"\""),
        ("ghcr.io/é", "invalid glob \"ghcr.io/é\""),
        ("ghcr.io/a b", "invalid glob \"ghcr.io/a b\""),
        ("ghcr.io/a?", "invalid glob \"ghcr.io/a?\""),
    ] {
        assert_eq!(Glob::parse(glob).unwrap_err().to_string(), text, "{glob}");
    }
    assert_eq!(Glob::parse(&"a".repeat(MAX_GLOB + 1)), Err(InvalidGlob::TooLong));
    assert!(Glob::parse(&"*".repeat(MAX_GLOB)).is_ok());
}

#[test]
fn ambiguous_patterns_have_warnings() {
    for (glob, warnings) in [
        ("ghcr.io/acme/**", vec![]),
        ("**", vec![]),
        ("*", vec![]),
        ("*/*", vec![]),
        ("*.gcr.io/**", vec![]),
        ("ghcr.io/a:v1", vec![PatternWarning::Tag]),
        ("ghcr.io*/**", vec![PatternWarning::TrailingHostWildcard]),
        ("ghcr.io**", vec![PatternWarning::TrailingHostWildcard]),
        ("**.io/app", vec![PatternWarning::LeadingHostWildcard]),
        ("acme*/**", vec![PatternWarning::DockerHub]),
        ("ghcr.io", vec![PatternWarning::RegistryOnly]),
        ("*.gcr.io", vec![PatternWarning::RegistryOnly]),
        ("localhost:5000", vec![PatternWarning::Tag, PatternWarning::RegistryOnly]),
        ("nginx:1.2", vec![PatternWarning::Tag]),
    ] {
        assert_eq!(Glob::parse(glob).unwrap().warnings(), warnings, "{glob}");
    }
}

/// Patterns that no image can match are rejected, with the reason and the pattern that was probably
/// intended.
#[test]
fn patterns_that_no_image_can_match_are_rejected() {
    for (glob, says) in [
        ("https://ghcr.io/acme/**", "an image name has no scheme; write ghcr.io/acme/**"),
        ("oci://ghcr.io", "an image name has no scheme; write ghcr.io/**"),
        ("docker://nginx", "an image name has no scheme; write nginx"),
        ("ghcr.io/acme/", "ends with a slash, and an image name does not; write ghcr.io/acme/**"),
        ("ghcr.io:443/", "write ghcr.io:443/**"),
        ("ghcr.io/acme/:v1", "ends with a slash"),
        ("/acme/**", "write REGISTRY/acme/**"),
        ("/", "begins with a slash"),
        ("ghcr.io//acme/*", "no empty part between slashes; write ghcr.io/acme/*"),
        ("**//**", "no empty part"),
        ("ghcr.io/acme/../**", "no part . or .."),
        ("ghcr.io/./app", "no part . or .."),
        ("..", "no part . or .."),
        ("ghcr.io:99999/**", "a port is a number from 1 to 65535"),
        ("*.io:99999/**", "a port is a number"),
        ("**:0/**", "a port is a number"),
        ("ghcr.io:/app", "a port is a number"),
        ("ghcr.io:0443/app", "leading zeros; write ghcr.io:443/app"),
        ("ghcr.io./**", "does not end with a dot; write ghcr.io/**"),
        ("*./**", "does not end with a dot"),
        ("**.:5000/x", "does not end with a dot"),
        (".gcr.io/**", "not a host name; write *.gcr.io/**"),
        ("a..io/**", "not a host name"),
        ("-*.io/x", "not a host name"),
        ("127.1/**", "four decimal numbers"),
        ("0x7f.0.0.1:5000/**", "four decimal numbers"),
        ("2130706433:5000/**", "four decimal numbers"),
        ("010.0.0.1/**", "four decimal numbers"),
        ("0.0.0.0:5000/**", "unspecified address"),
        ("ghcr.io/Acme/**", "a repository is written in lower case; write ghcr.io/acme/**"),
        ("Nginx", "lower case; write nginx"),
        ("ghcr.io/a:1/b", "a repository has no colon"),
        ("a:b:c", "a repository has no colon"),
        ("ghcr.io/a:", "a tag has 1 to 128"),
        ("ghcr.io/a:-x", "a tag has 1 to 128"),
        ("ghcr.io/a:.*", "a tag has 1 to 128"),
        (":", "a tag has 1 to 128"),
        ("ghcr.io/a@sha256:abc", "a digest is sha256:"),
        (&format!("ghcr.io/a@sha256:{}", &HEX[1..]), "a digest is sha256:"),
        (&format!("ghcr.io/a@sha256:{}0", HEX), "a digest is sha256:"),
        (&format!("ghcr.io/a@sha256:{}*0", HEX), "a digest is sha256:"),
        (&format!("ghcr.io/a@sha256:{}", HEX.to_uppercase()), "lower-case hexadecimal"),
        (&format!("ghcr.io/a@md5:{HEX}"), "a digest is sha256:"),
        ("ghcr.io/a@sha256:*xyz", "a digest is sha256:"),
        ("ghcr.io/a@*:xyz", "a digest is sha256:"),
        ("ghcr.io/a@", "a digest is sha256:"),
        ("user@ghcr.io/a", "a digest is sha256:"),
        (&format!("ghcr.io/a:{}", "t".repeat(129)), "a tag has 1 to 128"),
        (&format!("ghcr.io/{}", "a".repeat(256)), "at most 255"),
    ] {
        let said = Glob::parse(glob).unwrap().impossible().map(|why| why.to_string());
        let said = said.unwrap_or_else(|| panic!("{glob} is taken"));
        assert!(
            said.starts_with("no image can match it: ") && said.contains(says),
            "{glob}: {said}"
        );
        if let Some((_, meant)) = said.split_once("; write ").filter(|_| !said.contains("REGISTRY"))
        {
            assert_eq!(Glob::parse(meant).unwrap().impossible(), None, "{glob}: {said}");
        }
    }
}

/// policy-controller's own test data and examples, and edge cases.
#[test]
fn patterns_that_an_image_can_match_are_accepted() {
    for glob in [
        "*",
        "*/*",
        "*/**",
        "**",
        "**demo**",
        "image*",
        "images.*",
        "inde**",
        "ghc**",
        "foo*",
        "index.docker.**",
        "index.docker.io/*/*",
        "index.docker.io/library/foo:latest",
        "index.docker.io/myuser/*:latest",
        "myuser/myapp**",
        "ghcr.io/foo**",
        "globbityglob",
        "gcr.io/*/*",
        "cgr.dev/chainguard/static*",
        "us-docker.pkg.dev/cloudrun/container/**",
        "ghcr.io/sigstore/timestamp-server**",
        "ghcr.io/sigstore/cosign/cosign:v1.12.1",
        "quay.io/jetstack/cert-manager-acmesolver:*",
        "ghcr.io/sgtcodfish/ace:0.5",
        "gcr.io/projectsigstore/policy-webhook@sha256:d1e7af59381793687db4673277005276eb73a06cf555503138dd18eaa1ca47d6",
        "ghcr.io/foo@sha256:5504f2a95018e3d8a52d80d9e1a128c6ea337581808ff9fe96f5628ce2336350",
        "myglob",
        "yepanotherglob",
        "registry.local:5000/**",
        "*:5000/**",
        "*:0*/x",
        "*:*:443/x",
        "**./x",
        "**..io/x",
        "*.io:*/x",
        "localhost/*",
        "LOCALHOST:5000/x",
        "GHCR.IO/x",
        "10.0.0.1/x",
        "ghcr.io/a@sha256:*",
        "ghcr.io/a@sha*",
        "ghcr.io/a@*",
        "ghcr.io/a@*0",
        "ghcr.io/a@sha256:ab*cd",
        "ghcr.io/a:_x",
        "ghcr.io/a:*.x",
        "ghcr.io/a..b/c",
        "ghcr.io/-a/b",
        "a.b",
        "ghcr.io",
        "nginx:**",
    ] {
        let said = Glob::parse(glob).unwrap().impossible();
        assert_eq!(said, None, "{glob}");
    }
}

/// A reference with some of its text replaced by wildcards.
fn reference_and_pattern() -> impl proptest::strategy::Strategy<Value = (String, String)> {
    use proptest::prelude::*;
    let host = prop_oneof![
        "[a-z]{1,6}\\.io",
        "[a-z]{1,4}\\.[a-z]{2}:[1-9][0-9]{0,3}",
        Just("localhost:5000".to_owned()),
        Just("[2001:db8:0:1::a]:443".to_owned()),
        Just("10.0.0.1".to_owned()),
    ];
    let path = "[a-z0-9]{2,4}(/[a-z0-9_.-]{0,3}[a-z0-9]){0,2}";
    let rest = prop_oneof![
        Just(String::new()),
        "[:][A-Za-z0-9_][A-Za-z0-9_.-]{0,5}",
        Just(format!("@sha256:{HEX}")),
    ];
    (host, path, rest, 0usize..40, 0usize..40, any::<bool>()).prop_map(
        |(host, path, rest, from, length, double)| {
            let text = format!("{host}/{path}{rest}");
            let from = from.min(text.len());
            let to = (from + length).min(text.len());
            let star = if double { "**" } else { "*" };
            let pattern = format!("{}{star}{}", &text[..from], &text[to..]);
            (text, pattern)
        },
    )
}

proptest::proptest! {
    /// No pattern that matches an image is reported as impossible.
    #[test]
    fn what_matches_is_never_impossible((text, pattern) in reference_and_pattern()) {
        if let (Ok(glob), Ok(image)) = (Glob::parse(&pattern), text.parse::<Reference>())
            && glob.matches(&image, TagMatching::AsWritten)
        {
            proptest::prop_assert_eq!(glob.impossible(), None, "{} matches {}", pattern, text);
        }
    }

    #[test]
    fn never_panics_and_a_literal_matches_itself_only(
        text in "[a-z*:@./-]{0,30}",
        name in "[a-z]{1,8}\\.io/[a-z]{2,8}(/[a-z]{2,8})?",
        other in "[a-z]{1,8}\\.io/[a-z]{2,8}(/[a-z]{2,8})?",
    ) {
        if let Ok(glob) = Glob::parse(&text) {
            let _ = (glob.warnings(), glob.impossible());
            if glob.impossible().is_some() {
                let others = [image("nginx@D"), image("localhost:5000/a.b/c:v1"), image("a.io/b@D")];
                for other in others {
                    proptest::prop_assert!(!glob.matches(&other, TagMatching::AsWritten), "{}", text);
                }
            }
        }
        let itself = matches(&name, &format!("{name}@D"));
        proptest::prop_assert!(itself);
        let another = matches(&name, &format!("{other}@D"));
        proptest::prop_assert_eq!(another, name == other);
    }
}

#[test]
fn a_registry_at_an_ipv6_address_is_written_as_in_an_image() {
    let others = ["[fd00::2]:5000/app@D", "[::1]/app@D", "[::1]:5001/app@D", "nginx@D"];
    for glob in ["[::1]:5000/*", "[::1]:5000/**", "[0:0::1]:5000/app", "[::1]:5000/app@sha256:*"] {
        table(glob, &["[::1]:5000/app@D"], &others);
        assert_eq!(Glob::parse(glob).unwrap().warnings(), []);
        assert_eq!(Glob::parse(glob).unwrap().impossible(), None);
    }
    table("[2001:DB8::1]/**", &["[2001:db8::1]/a/b@D", "[2001:db8::1]:443/a"], &others);
    table("[::1]:443/*", &["[::1]/app@D"], &["[::1]:5000/app@D"]);
    assert_eq!(Glob::parse("[::1]:5000/team/*").unwrap().literal_prefix(), "[::1]:5000/team/");
    for glob in [
        "[::1]:5000",
        "[::1]",
        "[::1]**",
        "[::1]:50*/**",
        "[::*]/**",
        "[::1/**",
        "[::1%eth0]/a",
        "[a]/b",
        "[::1]:5000/",
        "a/[::1]/b",
    ] {
        assert!(Glob::parse(glob).is_err(), "{glob}");
    }
    for glob in ["[::ffff:7f00:1]/**", "[::1]:99999/**", "[::]/**"] {
        assert!(Glob::parse(glob).unwrap().impossible().is_some(), "{glob}");
    }
}
