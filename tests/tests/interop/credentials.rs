//! Registry credentials: real cosign 3.1.3 and sealgate at the same registry, with the same
//! configuration.

use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealgate_tests::image::Image;
use sealgate_tests::programs::Sandbox;
use sealgate_tests::registries;
use sealgate_tests::service::{Answer, Request, Service, value};
use serde_json::{Value, json};

use crate::support::{Format, TOOLS, Tool, sandbox_with_key};

const USER: &str = "ada";
const PASSWORD: &str = "hunter/2";
const REFRESH: &str = "refresh+token/1";
const TOKEN: &str = "Bearer access-token";

/// `Basic ...` of the user above.
fn basic() -> String {
    format!("Basic {}", auth())
}

fn auth() -> String {
    STANDARD.encode(format!("{USER}:{PASSWORD}"))
}

/// Signed image in a public registry, and the key in a sandbox.
fn signed(name: &str) -> (Sandbox, Image) {
    let sandbox = sandbox_with_key();
    let image = registries::docker().image(name);
    Tool::Cosign.sign(&sandbox, Format::Bundle, "cosign", &image.by_digest(), &[]).ok();
    (sandbox, image)
}

/// Same image behind a service that refuses requests by `refuse`.
fn behind(
    image: &Image,
    refuse: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
) -> Image {
    let service = Service::bind().unwrap();
    let (host, upstream) = (service.host.clone(), image.host.clone());
    service.answer_with(move |request| {
        refuse(request).unwrap_or_else(|| Answer::of(&upstream, request))
    });
    image.at(&host)
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    value(&request.headers, name).unwrap_or_default()
}

/// Requires `TOKEN`, and names the token endpoint.
fn wants_token(request: &Request) -> Option<Answer> {
    let realm = format!("http://{}/token", header(request, "host"));
    let challenge = format!("Bearer realm=\"{realm}\",service=\"tests\"");
    (header(request, "authorization") != TOKEN).then(|| Answer::unauthorized(&challenge))
}

fn token() -> Answer {
    Answer::json(&json!({ "token": "access-token" }))
}

/// Docker configuration of the sandbox with one entry.
fn configure(sandbox: &Sandbox, host: &str, entry: &Value) {
    sandbox.write(".docker/config.json", json!({ "auths": { host: entry } }).to_string());
}

#[test]
fn loosely_written_challenges() {
    let (sandbox, image) = signed("loose-challenges");
    let by_password = [
        "Basic",
        "Basic realm=/",
        "Basic realm=",
        "Basic realm=\"\"",
        "Basic realm=My Private Registry",
        "Basic realm=\"My \"private\" registry\"",
        "Basic realm=\"Régistre privé\"",
        "BASIC realm='x'; charset=UTF-8",
        "",
    ];
    let by_token = [
        "Bearer REALM service=\"tests\"",
        "Bearer REALM;service=\"tests\"",
        "bearer REALM,service=tests",
        "Bearer REALM,service=\"my \"inner\" tests\"",
        "Bearer REALM,service=\"Région\"",
        "Bearer REALM, scope=repository:tests:pull",
    ];
    for (challenge, wanted) in
        by_password.map(|c| (c, basic())).into_iter().chain(by_token.map(|c| (c, TOKEN.to_owned())))
    {
        let image = behind(&image, move |request| match request.path.as_str() {
            "/token" if header(request, "authorization") == basic() => Some(token()),
            "/token" => Some(Answer::unauthorized("Basic")),
            _ => {
                let realm = format!("realm=\"http://{}/token\"", header(request, "host"));
                let challenge = challenge.replace("REALM", &realm);
                (header(request, "authorization") != wanted)
                    .then(|| Answer::unauthorized(&challenge))
            }
        });
        configure(&sandbox, &image.host, &json!({ "auth": auth() }));
        for tool in TOOLS {
            let run = tool.verify(&sandbox, "cosign", &image.by_tag(), &[]);
            assert_eq!(run.code, 0, "{challenge:?}\n{}", run.report());
        }
    }
}

#[test]
fn an_unanswerable_challenge_is_reported() {
    let (sandbox, image) = signed("hopeless-challenges");
    for (challenge, said) in [
        ("Bearer service=\"x\"", "Bearer challenge has no realm"),
        ("Negotiate", "asks for Negotiate"),
    ] {
        let image = behind(&image, |_| Some(Answer::unauthorized(challenge)));
        configure(&sandbox, &image.host, &json!({ "auth": auth() }));
        let run = Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &[]).exits(1);
        run.says(said)
            .says_no("sealgate login")
            .says_no("none are configured")
            .says_no("no signatures");
        assert_ne!(Tool::Cosign.verify(&sandbox, "cosign", &image.by_tag(), &[]).code, 0);
    }
}

#[test]
fn configurations_with_nothing_in_them() {
    let (sandbox, image) = signed("empty-configurations");
    for text in ["", "\n", "{}", "null", "{\"auths\":null}"] {
        sandbox.write(".docker/config.json", text);
        for tool in TOOLS {
            let run = tool.verify(&sandbox, "cosign", &image.by_tag(), &[]);
            assert_eq!(run.code, 0, "{text:?}\n{}", run.report());
        }
    }
    std::fs::remove_file(sandbox.path(".docker/config.json")).unwrap();
    let sandbox = sandbox.with("REGISTRY_AUTH_FILE", "/dev/null");
    for tool in TOOLS {
        tool.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
    }
}

/// cosign reads only the first of these files, so it is not compared.
#[test]
fn one_file_that_cannot_be_read_does_not_stop_the_others() {
    let (sandbox, image) = signed("unreadable-configuration");
    let image = behind(&image, |request| {
        (header(request, "authorization") != basic()).then(|| Answer::unauthorized("Basic"))
    });
    sandbox.write(".docker/config.json", "{\"auths\": sesame");
    let run = Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &[]).exits(1);
    run.says("config.json").says("(config)").says_no("sesame").says_no("no signatures");
    let file = json!({ "auths": { &image.host: { "auth": auth() } } }).to_string();
    let path = sandbox.write("auth.json", file);
    let sandbox = sandbox.with("REGISTRY_AUTH_FILE", path.to_string_lossy());
    Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
}

#[test]
fn a_token_endpoint_that_wants_a_length() {
    let (sandbox, image) = signed("token-with-length");
    let image = behind(&image, |request| {
        if request.path != "/token" {
            return wants_token(request);
        }
        let refuse = |status, error: &str, words: &str| {
            Answer::refusal(status, &json!({ "error": error, "error_description": words }))
        };
        let length = value(&request.headers, "content-length");
        let form = request.form();
        Some(match (request.method.as_str(), length, value(&form, "refresh_token")) {
            ("POST", None | Some("0"), _) => refuse("411 Length Required", "length", "no length"),
            ("POST", _, Some(REFRESH)) => token(),
            _ => refuse("400 Bad Request", "invalid_grant", "the token was revoked"),
        })
    });
    configure(&sandbox, &image.host, &json!({ "identitytoken": REFRESH }));
    for tool in TOOLS {
        tool.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
    }
    configure(&sandbox, &image.host, &json!({ "identitytoken": "revoked-one" }));
    for tool in TOOLS {
        let run = tool.verify(&sandbox, "cosign", &image.by_tag(), &[]);
        run.fails_with("the token was revoked").says_no("revoked-one").says_no("no signatures");
    }
}

#[test]
fn a_token_endpoint_without_post() {
    let (sandbox, image) = signed("token-without-post");
    let image = behind(&image, |request| match (request.path.as_str(), request.method.as_str()) {
        ("/token", "GET") if header(request, "authorization") == basic() => Some(token()),
        ("/token", "GET") => Some(Answer::unauthorized("Basic")),
        ("/token", _) => Some(Answer::not_found()),
        _ => wants_token(request),
    });
    configure(&sandbox, &image.host, &json!({ "auth": auth(), "identitytoken": REFRESH }));
    for tool in TOOLS {
        tool.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
    }
}

/// Sandbox in which `docker-credential-NAME` is this script.
fn with_helper(sandbox: Sandbox, name: &str, script: &str) -> Sandbox {
    let program = format!("bin/docker-credential-{name}");
    let path = sandbox.write(&program, format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let search = format!("{}:{path}", sandbox.path("bin").display());
    sandbox.with("PATH", search)
}

#[test]
fn a_helpers_error_message() {
    let (sandbox, image) = signed("helper-words");
    // Anonymous tokens are issued, so that the helper is called and may have no credentials.
    let image = behind(&image, |request| match request.path.as_str() {
        "/token" => Some(token()),
        _ => wants_token(request),
    });
    let sandbox = with_helper(sandbox, "tests", "cat >/dev/null; cat words; exit 1");
    sandbox.write(".docker/config.json", json!({ "credsStore": "tests" }).to_string());
    sandbox.write("words", "credentials not found in native keychain\n");
    for tool in TOOLS {
        tool.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
    }
    // Error text of Docker Desktop's helper, which is a failure to cosign.
    sandbox.write("words", "No stored credential for https://index.docker.io/v1/\n");
    Tool::Sealgate.verify(&sandbox, "cosign", &image.by_tag(), &[]).ok();
    sandbox.write("words", "the keychain is locked\n");
    for tool in TOOLS {
        let run = tool.verify(&sandbox, "cosign", &image.by_tag(), &[]);
        run.fails_with("the keychain is locked").says_no("no signatures");
    }
}

#[test]
fn login_with_a_helper() {
    let keeper = "[ $1 = store ] || exit 1; cat > kept.json";
    let sandbox = with_helper(Sandbox::new(), "keeper", keeper);
    let settings =
        [json!({ "credsStore": "keeper" }), json!({ "credHelpers": { "reg.io": "keeper" } })];
    for settings in settings {
        let by_both = TOOLS.map(|tool| {
            sandbox.write(".docker/config.json", settings.to_string());
            tool.run(&sandbox, &["login", "reg.io", "-u", USER, "-p", PASSWORD]).ok();
            let kept: Value = serde_json::from_str(&sandbox.read("kept.json")).unwrap();
            std::fs::remove_file(sandbox.path("kept.json")).unwrap();
            let file = sandbox.read(".docker/config.json");
            assert!(!file.contains(PASSWORD) && !file.contains(&auth()), "{tool:?}: {file}");
            (kept, serde_json::from_str::<Value>(&file).unwrap())
        });
        assert_eq!(by_both[0], by_both[1]);
        assert_eq!(by_both[0].0["Secret"], PASSWORD);
    }
    // Docker fails here; we store the password in the file, and the warning says so.
    sandbox.write(".docker/config.json", json!({ "credsStore": "absent" }).to_string());
    let login = ["login", "reg.io", "-u", USER, "-p", PASSWORD];
    Tool::Sealgate.run(&sandbox, &login).ok().says("WARNING: ").says("stored unencrypted");
    assert!(sandbox.read(".docker/config.json").contains(&auth()));
}

/// The target of a redirect is another server: it is named, and gets no credentials.
#[test]
fn a_registry_behind_a_redirect_refuses() {
    let (sandbox, image) = signed("behind-a-redirect");
    let storage = behind(&image, |_| Some(Answer::unauthorized("Basic realm=\"storage\"")));
    let to = storage.host.clone();
    let front = behind(&image, move |request| {
        let location = format!("http://{to}{}", request.path);
        let headers = vec![("Location", location)];
        Some(Answer { status: "307 Temporary Redirect", headers, body: Vec::new() })
    });
    configure(&sandbox, &front.host, &json!({ "auth": auth() }));
    let run = Tool::Sealgate.verify(&sandbox, "cosign", &front.by_tag(), &[]).exits(1);
    let named = format!("{} (redirected from {})", storage.host, front.host);
    run.says(&named).says("401").says_no("sealgate login").says_no("no signatures");
    assert_ne!(Tool::Cosign.verify(&sandbox, "cosign", &front.by_tag(), &[]).code, 0);
}
