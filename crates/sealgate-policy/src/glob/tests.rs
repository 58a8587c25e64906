use super::*;

const HEX: &str = "abcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd";

fn image(text: &str) -> Reference {
    let text = text.replace("@D", &format!("@sha256:{HEX}"));
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn matches(glob: &str, text: &str) -> bool {
    Glob::parse(glob).unwrap().matches(&image(text), TagTrust::AsWritten)
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
fn wildcards_stay_where_they_are() {
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
fn the_repository_alone_means_the_repository() {
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

/// The table of look-alike names: what a pattern must never reach.
#[test]
fn look_alike_names_stay_outside() {
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
    // In a reference `localhost` alone is a host, not every name that begins so.
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

/// Spellings of one server: whoever writes the pod must not find one that no policy names.
#[test]
fn one_server_is_one_registry_however_it_is_written() {
    let same = ["registry.io/x@D", "registry.io:443/x@D", "REGISTRY.IO:443/x:v1@D"];
    let other = ["registry.io:4430/x@D", "registry.io:80/x@D", "registry.io.evil.com:443/x@D"];
    for glob in ["registry.io/**", "registry.io:443/**", "Registry.io:443/x", "registry.io/*"] {
        table(glob, &same, &other);
    }
    table("registry.io:5000/**", &["registry.io:5000/x@D"], &["registry.io/x@D", same[1]]);
    // With a wildcard in the host the author may mean either spelling: both are tried.
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

/// Spellings that reach a server and that the kubelet, or a resolver, reads in another way than
/// a person: no reference at all, so that nothing-matches has nothing to allow.
#[test]
fn spellings_that_only_a_resolver_understands_are_no_references() {
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
fn tags_and_digests_have_parts_of_their_own() {
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
    // The wildcard of the name must not run into the digest, whose hash begins with `a`.
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
fn a_tag_beside_a_digest_opens_nothing() {
    let glob = Glob::parse("ghcr.io/acme/app:v1").unwrap();
    let written = |text: &str, tags| glob.matches(&image(text), tags);
    assert!(written("ghcr.io/acme/app:v1", TagTrust::OnlyWithoutDigest));
    assert!(!written("ghcr.io/acme/app:v1@D", TagTrust::OnlyWithoutDigest));
    assert!(written("ghcr.io/acme/app:v1@D", TagTrust::AsWritten));
    let exact = Glob::parse(&format!("ghcr.io/acme/app:v1@sha256:{HEX}")).unwrap();
    assert!(exact.matches(&image("ghcr.io/acme/app:v1@D"), TagTrust::OnlyWithoutDigest));
}

#[test]
fn refuses_what_is_no_pattern_in_the_peers_words() {
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
fn doubts_are_told() {
    for (glob, doubts) in [
        ("ghcr.io/acme/**", vec![]),
        ("**", vec![]),
        ("*", vec![]),
        ("*/*", vec![]),
        ("*.gcr.io/**", vec![]),
        ("ghcr.io/a:v1", vec![Doubt::Tag]),
        ("ghcr.io*/**", vec![Doubt::OpenHost]),
        ("ghcr.io**", vec![Doubt::OpenHost]),
        ("**.io/app", vec![Doubt::LooseHost]),
        ("acme*/**", vec![Doubt::DockerHub]),
        ("ghcr.io/Acme/**", vec![Doubt::Never]),
        ("user@ghcr.io/a", vec![Doubt::Never]),
        ("ghcr.io/a:1/b", vec![Doubt::Never]),
    ] {
        assert_eq!(Glob::parse(glob).unwrap().doubts(), doubts, "{glob}");
    }
}

proptest::proptest! {
    #[test]
    fn never_panics_and_a_literal_matches_itself_only(
        text in "[a-z*:@./-]{0,30}",
        name in "[a-z]{1,8}\\.io/[a-z]{2,8}(/[a-z]{2,8})?",
        other in "[a-z]{1,8}\\.io/[a-z]{2,8}(/[a-z]{2,8})?",
    ) {
        if let Ok(glob) = Glob::parse(&text) {
            let _ = (glob.matches(&image("nginx@D"), TagTrust::AsWritten), glob.doubts());
        }
        let itself = matches(&name, &format!("{name}@D"));
        proptest::prop_assert!(itself);
        let another = matches(&name, &format!("{other}@D"));
        proptest::prop_assert_eq!(another, name == other);
    }
}
