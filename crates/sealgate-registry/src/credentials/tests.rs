//! Tests of credential lookup and storage.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sealgate_core::fault::FaultKind;

use super::*;

fn config(json: serde_json::Value, search: Option<OsString>) -> Keychain {
    let text = json.to_string();
    let config = DockerConfig::parse("config.json", text.as_bytes(), search).unwrap();
    Keychain::from_docker_config(config)
}

fn names(list: &[Credential]) -> Vec<String> {
    let name = |c: &Credential| match c {
        Credential::Password { username, password } => {
            format!("{username}:{}", password.reveal())
        }
        Credential::Refresh(token) => format!("refresh {}", token.reveal()),
        Credential::Bearer(token) => format!("bearer {}", token.reveal()),
    };
    list.iter().map(name).collect()
}

async fn find(keychain: &Keychain, registry: &str, path: &str) -> Vec<String> {
    names(&keychain.lookup(registry, path).await.unwrap())
}

fn entry(name: &str) -> serde_json::Value {
    serde_json::json!({ "username": name, "password": "p" })
}

#[tokio::test]
async fn reads_every_kind_of_entry() {
    let keychain = config(
        serde_json::json!({ "auths": {
            "a.io": { "auth": "YWRhOnA6dw==" },
            "b.io": { "username": "ada", "password": "pw", "email": "x" },
            "c.io": { "auth": "MDAwOg==", "identitytoken": "id" },
            "d.io": { "registrytoken": "reg" },
            "e.io": {}, "f.io": null, "g.io": { "auth": "!!" },
            "h.io": { "auth": "PHRva2VuPjppZA==" },
            "[2001:DB8:0::A]:5000": { "auth": "YWRhOnA6dw==" },
            "i.io": { "auth": "YWRhOnB3", "identitytoken": "id" },
            "j.io": { "auth": "!!", "identitytoken": "id" },
        }, "credHelpers": null, "HttpHeaders": {} }),
        None,
    );
    for (registry, found) in [
        ("a.io", vec!["ada:p:w"]),
        ("b.io", vec!["ada:pw"]),
        ("c.io", vec!["refresh id"]),
        ("d.io", vec!["bearer reg"]),
        ("e.io", vec![]),
        ("f.io", vec![]),
        ("h.io", vec!["refresh id"]),
        ("i.io", vec!["refresh id", "ada:pw"]),
        ("j.io", vec!["refresh id"]),
        ("a.io.evil.com", vec![]),
        // Different spellings of one registry, compared as image patterns compare them.
        ("a.io:443", vec!["ada:p:w"]),
        ("[2001:db8::a]:5000", vec!["ada:p:w"]),
        ("a.io:4430", vec![]),
        ("[2001:db8::a]:5001", vec![]),
    ] {
        assert_eq!(find(&keychain, registry, "x/y").await, found, "{registry}");
    }
}

#[tokio::test]
async fn the_most_specific_path_comes_first_and_ends_at_a_slash() {
    let auths = serde_json::json!({ "auths": {
        "reg.io": entry("host"), "https://reg.io/team": entry("team"),
        "reg.io/team/app": entry("app"), "https://index.docker.io/v1/": entry("hub"),
    }});
    let keychain = config(auths, None);
    assert_eq!(find(&keychain, "reg.io", "team/app").await, ["app:p", "team:p", "host:p"]);
    assert_eq!(find(&keychain, "reg.io", "team/apple").await, ["team:p", "host:p"]);
    assert_eq!(find(&keychain, "reg.io", "teamevil/app").await, ["host:p"]);
    for hub in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
        assert_eq!(find(&keychain, hub, "library/x").await, ["hub:p"], "{hub}");
    }
}

#[tokio::test]
async fn pull_secrets_match_as_the_kubelet_matches() {
    let auths = serde_json::json!({ "auths": {
        "*.gcr.io": entry("any"), "eu.gcr.io/proj": entry("proj"),
        "reg.io:5000": entry("port"), "r?g.io": entry("mark"), "[a-z].io": entry("class"),
        "*.corp:443": entry("https"), "*.lan:5000": entry("wild"),
    }});
    let legacy = serde_json::json!({ "old.io": entry("old") });
    let secrets = [auths, legacy]
        .map(|json| PullSecret { docker_config_json: json.to_string().into_bytes() });
    let keychain = Keychain::default().with_pull_secrets(&secrets);
    for (registry, path, found) in [
        ("eu.gcr.io", "proj/app", vec!["proj:p", "any:p"]),
        ("eu.gcr.io", "projector/app", vec!["any:p"]),
        ("gcr.io", "proj/app", vec![]),
        ("a.b.gcr.io", "proj/app", vec![]),
        ("x.gcr.io.evil.com", "a", vec![]),
        ("reg.io", "a", vec!["mark:p"]),
        ("reg.io:5000", "a", vec!["port:p"]),
        ("x.io", "a", vec![]),
        ("old.io", "a", vec!["old:p"]),
        ("reg.corp:443", "a", vec!["https:p"]),
        ("reg.corp", "a", vec!["https:p"]),
        ("reg.corp:5000", "a", vec![]),
        ("reg.lan:5000", "a", vec!["wild:p"]),
        ("reg.lan:443", "a", vec![]),
        ("reg.lan", "a", vec![]),
    ] {
        assert_eq!(find(&keychain, registry, path).await, found, "{registry}/{path}");
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_spoils_no_other() {
    let auths = serde_json::json!({
        "good.io": entry("good"), "wrong.io": { "auth": 5 }, "text.io": "sesame",
        "base64.io": { "auth": "!!" }, "colon.io": { "auth": "c2VzYW1l" },
        "both.io": entry("both"), "both.io/x": [],
    });
    let docker = config(serde_json::json!({ "auths": auths }), None);
    let pull = |json: serde_json::Value| {
        let secret = PullSecret { docker_config_json: json.to_string().into_bytes() };
        Keychain::default().with_pull_secrets(&[secret])
    };
    let (modern, legacy) = (pull(serde_json::json!({ "auths": auths })), pull(auths.clone()));
    for keychain in [docker, modern, legacy] {
        assert_eq!(find(&keychain, "good.io", "x").await, ["good:p"]);
        assert_eq!(find(&keychain, "both.io", "x").await, ["both:p"]);
        assert_eq!(find(&keychain, "other.io", "x").await, Vec::<String>::new());
        for registry in ["wrong.io", "text.io", "base64.io", "colon.io"] {
            let fault = keychain.lookup(registry, "x").await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::Config);
            assert!(fault.to_string().contains(registry), "{fault}");
            assert!(!fault.to_string().contains("sesame"), "{fault}");
        }
    }
    // A source with an entry for the registry is enough.
    let secret = serde_json::json!({ "auths": { "wrong.io": entry("pull") } }).to_string();
    let secret = PullSecret { docker_config_json: secret.into_bytes() };
    let both = config(serde_json::json!({ "auths": auths }), None).with_pull_secrets(&[secret]);
    assert_eq!(find(&both, "wrong.io", "x").await, ["pull:p"]);
}

fn script(folder: &Path, name: &str, text: &str) {
    let path = folder.join(format!("docker-credential-{name}"));
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn helpers_are_asked_by_host_then_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let json = r#"#!/bin/sh
read s; printf '{"ServerURL":"%s","Username":"ada","Secret":"for-%s"}' "$s" "$s""#;
    script(folder.path(), "good", json);
    let token = "#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"id\"}'";
    script(folder.path(), "token", token);
    let none = "#!/bin/sh\necho 'credentials not found in native keychain'; exit 1";
    script(folder.path(), "none", none);
    script(folder.path(), "broken", "#!/bin/sh\necho '{\"Secret\":\"sesame\"}'; exit 3");
    let keychain = config(
        serde_json::json!({
            "auths": { "file.io": entry("file"), "broken2.io": entry("file") },
            "credsStore": "none",
            "credHelpers": {
                "good.io": "good", "token.io": "token", "broken.io": "broken",
                "broken2.io": "broken", "absent.io": "absent", "evil.io": "../evil",
                "docker.io": "good",
            },
        }),
        Some(folder.path().as_os_str().to_owned()),
    );
    assert_eq!(find(&keychain, "good.io", "a").await, ["ada:for-good.io"]);
    let hub = find(&keychain, "index.docker.io", "a").await;
    assert_eq!(hub, ["ada:for-https://index.docker.io/v1/"]);
    assert_eq!(find(&keychain, "token.io", "a").await, ["refresh id"]);
    assert_eq!(find(&keychain, "file.io", "a").await, ["file:p"]);
    assert_eq!(find(&keychain, "other.io", "a").await, Vec::<String>::new());
    assert_eq!(find(&keychain, "broken2.io", "a").await, ["file:p"]);
    for registry in ["broken.io", "absent.io", "evil.io"] {
        let fault = keychain.lookup(registry, "a").await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Config, "{registry}");
        assert!(!fault.to_string().contains("sesame"));
    }
}

/// `docker login HOST:443` stores the credential under that spelling.
#[tokio::test]
async fn a_helper_is_asked_for_the_name_as_written_first() {
    let folder = tempfile::tempdir().unwrap();
    let search = || Some(folder.path().as_os_str().to_owned());
    let keeper = r#"#!/bin/sh
read s; echo "$s" >> $(dirname "$0")/asked
case "$s" in
port.io:443|bare.io|both.io*) printf '{"Username":"ada","Secret":"for-%s"}' "$s" ;;
bad.io:443) echo 'out of order'; exit 1 ;;
*) echo 'credentials not found in native keychain'; exit 1 ;;
esac"#;
    script(folder.path(), "keeper", keeper);
    let json = serde_json::json!({
        "credsStore": "keeper",
        "auths": { "file.io": entry("bare"), "file.io:443": entry("port") },
    });
    for (registry, found, asked) in [
        ("port.io:443", vec!["ada:for-port.io:443"], "port.io:443\n"),
        ("port.io", vec![], "port.io\n"),
        ("bare.io:443", vec!["ada:for-bare.io"], "bare.io:443\nbare.io\n"),
        ("both.io:443", vec!["ada:for-both.io:443"], "both.io:443\n"),
        ("both.io", vec!["ada:for-both.io"], "both.io\n"),
        ("file.io", vec!["bare:p", "port:p"], "file.io\n"),
        ("file.io:443", vec!["port:p", "bare:p"], "file.io:443\nfile.io\n"),
    ] {
        let log = folder.path().join("asked");
        let _ = std::fs::remove_file(&log);
        let keychain = config(json.clone(), search());
        assert_eq!(find(&keychain, registry, "x").await, found, "{registry}");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), asked, "{registry}");
    }
    let keychain = config(json, search());
    assert_eq!(keychain.lookup("bad.io:443", "x").await.unwrap_err().kind, FaultKind::Config);
}

#[tokio::test]
async fn login_keeps_the_name_as_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let (path, kept) = (folder.path().join("config.json"), folder.path().join("kept"));
    script(folder.path(), "keeper", &format!("#!/bin/sh\ncat > {}", kept.display()));
    std::fs::write(&path, r#"{"credsStore":"keeper"}"#).unwrap();
    let search = Some(folder.path().as_os_str().to_owned());
    login(&path, "reg.io:443", "ada", &Secret::new("pw"), search).await.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    assert_eq!(told["ServerURL"], "reg.io:443");
    let file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(file["auths"]["reg.io:443"], serde_json::json!({}));
}

#[tokio::test]
async fn a_helpers_error_message_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let answer = async |name: &str, text: &str| {
        script(folder.path(), name, &format!("#!/bin/sh\n{text}"));
        let json = serde_json::json!({ "credHelpers": { "a.io": name } });
        let keychain = config(json, Some(folder.path().as_os_str().to_owned()));
        keychain.lookup("a.io", "x").await
    };
    for (name, text) in [
        ("native", "echo 'credentials not found in native keychain'; exit 1"),
        ("stderr", "echo 'credentials not found in native keychain' >&2; exit 1"),
        ("desktop", "echo 'No stored credential for https://index.docker.io/v1/'; exit 1"),
        ("other", "echo 'no credentials for a.io'; exit 1"),
        ("empty", "echo '{\"ServerURL\":\"a.io\",\"Username\":\"\",\"Secret\":\"\"}'"),
    ] {
        assert_eq!(answer(name, text).await.unwrap(), [], "{name}");
    }
    for (name, text, words) in [
        (
            "words",
            "echo 'the keychain is locked'; exit 2",
            "(exit status: 2): the keychain is locked",
        ),
        ("errors", "echo 'not logged in to gcloud' >&2; exit 1", "1): not logged in to gcloud"),
        ("both", "echo out; echo err >&2; exit 1", "1): out"),
        ("lines", "printf 'a\\033[2Jb\\nc\\n'; exit 1", "1): a [2Jb c"),
        ("none", "exit 1", "failed (exit status: 1)"),
        ("username", "echo 'no credentials username'; exit 1", "1): no credentials username"),
        ("answer", "echo '{\"Username\":\"ada\",\"Secret\":\"sesame\"}'; exit 1", "status: 1)"),
        ("text", "echo sesame", "returned invalid JSON"),
    ] {
        let fault = answer(name, text).await.unwrap_err();
        assert!(fault.detail.ends_with(words), "{name}: {fault}");
        assert!(!fault.detail.contains("sesame"), "{fault}");
    }
    let endless = "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx || exit 1; done";
    let fault = answer("endless", endless).await.unwrap_err();
    assert!(fault.detail.chars().count() < 300, "{}", fault.detail.len());
}

/// The creator of a pod reads the denial, and must not see a helper's output.
#[tokio::test]
async fn a_helpers_logged_output_is_in_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let json = serde_json::json!({ "credHelpers": { "a.io": "fails" } });
    let search = || Some(folder.path().as_os_str().to_owned());
    for text in [
        "echo 'oops hunter2'; exit 1",
        "echo 'oops hunter2' >&2; exit 1",
        "echo '{\"Username\":\"ada\",\"Secret\":\"hunter2\"}'; exit 1",
        "echo 'oops hunter2'; exit 0",
    ] {
        script(folder.path(), "fails", &format!("#!/bin/sh\n{text}"));
        let keychain = config(json.clone(), search()).with_helper_errors(HelperErrors::InLog);
        // The way the gate uses it for a pod with pull secrets.
        let secret = serde_json::json!({ "auths": {} }).to_string().into_bytes();
        let opened = keychain.with_pull_secrets(&[PullSecret { docker_config_json: secret }]);
        for keychain in [keychain, opened] {
            let fault = keychain.lookup("a.io", "x").await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::Config);
            assert!(!format!("{fault:?}").contains("oops"), "{text}: {fault}");
            assert!(!format!("{fault:?}").contains("hunter2"), "{text}: {fault}");
        }
    }
    script(folder.path(), "none", "#!/bin/sh\necho 'credentials not found'; exit 1");
    let json = serde_json::json!({ "credHelpers": { "a.io": "none" } });
    let keychain = config(json, search()).with_helper_errors(HelperErrors::InLog);
    assert_eq!(keychain.lookup("a.io", "x").await.unwrap(), []);
}

/// As in Docker: an empty helper means the file itself, whatever the credential store.
#[tokio::test]
async fn a_host_with_an_empty_helper_has_none() {
    let keychain = config(
        serde_json::json!({
            "auths": { "file.io": entry("file") },
            "credsStore": "absent",
            "credHelpers": { "file.io": "", "nobody.io": "" },
        }),
        None,
    );
    assert_eq!(find(&keychain, "file.io", "a").await, ["file:p"]);
    assert_eq!(keychain.lookup("nobody.io", "a").await.unwrap(), []);
    assert_eq!(keychain.lookup("other.io", "a").await.unwrap_err().kind, FaultKind::Config);
}

#[test]
fn a_configuration_without_end_is_not_read_to_its_end() {
    let path = Path::new("/dev/zero");
    let fault = DockerConfig::read(path, None).unwrap_err();
    assert_eq!((fault.kind, fault.detail.as_str()), (FaultKind::Config, "larger than 4 MiB"));
}

#[tokio::test]
async fn files_are_found_by_the_environment() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    let environment = Environment {
        home: Some(home.path().to_owned()),
        xdg_runtime_dir: Some(at("run")),
        registry_auth_file: Some(at("auth.json")),
        ..Environment::default()
    };
    assert!(find(&Keychain::from_environment(&environment), "a.io", "x").await.is_empty());
    for (folder, file, user) in [
        ("run/containers", "run/containers/auth.json", "xdg"),
        (".", "auth.json", "file"),
        (".docker", ".docker/config.json", "docker"),
    ] {
        std::fs::create_dir_all(at(folder)).unwrap();
        let json = serde_json::json!({ "auths": { "a.io": entry(user) } });
        std::fs::write(at(file), json.to_string()).unwrap();
        let keychain = Keychain::from_environment(&environment);
        assert_eq!(find(&keychain, "a.io", "x").await[0], format!("{user}:p"));
    }
}

/// Docker and go-containerregistry accept these as empty configurations.
#[tokio::test]
async fn a_file_without_anything_in_it_has_no_settings() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("auth.json");
    for text in ["", "\n", " \r\n\t", "null", "{}", r#"{"auths": null}"#, r#"{"auths": {}}"#] {
        std::fs::write(&file, text).unwrap();
        for path in [&file, Path::new("/dev/null")] {
            let environment =
                Environment { registry_auth_file: Some(path.into()), ..Environment::default() };
            let keychain = Keychain::from_environment(&environment);
            assert_eq!(keychain.lookup("a.io", "x").await.unwrap(), [], "{text:?} {path:?}");
        }
        login(&file, "a.io", "ada", &Secret::new("pw"), None).await.unwrap();
        let config = DockerConfig::read(&file, None).unwrap().unwrap();
        assert_eq!(find(&Keychain::from_docker_config(config), "a.io", "x").await, ["ada:pw"]);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_does_not_stop_the_others() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    let environment = Environment {
        docker_config: Some(at("docker")),
        registry_auth_file: Some(at("auth.json")),
        ..Environment::default()
    };
    std::fs::create_dir_all(at("docker")).unwrap();
    let json = serde_json::json!({ "auths": { "a.io": entry("file") } }).to_string();
    std::fs::write(at("auth.json"), json).unwrap();
    let config = at("docker/config.json");
    for break_it in [
        |path: &Path| std::fs::write(path, r#"{"auths": "sesame"#).unwrap(),
        |path: &Path| std::fs::write(path, r#"["sesame"]"#).unwrap(),
        |path: &Path| std::fs::create_dir(path).unwrap(),
    ] {
        let _ = std::fs::remove_file(&config);
        break_it(&config);
        let keychain = Keychain::from_environment(&environment);
        assert_eq!(find(&keychain, "a.io", "x").await, ["file:p"]);
        // The unreadable file may hold credentials for this registry.
        let fault = keychain.lookup("b.io", "x").await.unwrap_err();
        assert_eq!((fault.kind, fault.target), (FaultKind::Config, config.display().to_string()));
        assert!(!fault.detail.contains("sesame"), "{}", fault.detail);
    }
}

#[tokio::test]
async fn a_credential_for_one_registry_is_for_no_other() {
    let ada = Credential::Password { username: "ada".into(), password: Secret::new("pw") };
    let file = config(serde_json::json!({ "auths": { "a.io": entry("file") } }), None);
    let keychain = file.with_credential("a.io", ada.clone());
    assert_eq!(find(&keychain, "a.io", "x").await, ["ada:pw", "file:p"]);
    assert_eq!(find(&keychain, "a.io:443", "x").await, ["ada:pw", "file:p"]);
    for other in ["b.io", "a.io.evil.io", "evil.a.io", "a.io:5000", "index.docker.io"] {
        assert_eq!(keychain.lookup(other, "x").await.unwrap(), [], "{other}");
    }
    let hub = Keychain::default().with_credential("index.docker.io", ada);
    assert_eq!(find(&hub, "docker.io", "library/x").await, ["ada:pw"]);
}

#[tokio::test]
async fn login_gives_the_password_to_the_helper() {
    let folder = tempfile::tempdir().unwrap();
    let (path, kept) = (folder.path().join("config.json"), folder.path().join("kept"));
    let store = format!("#!/bin/sh\n[ $1 = store ] && cat > {}", kept.display());
    script(folder.path(), "keeper", &store);
    let refuse =
        "#!/bin/sh\nread json; echo \"cannot keep $json\"; echo 'not open\"sesame' >&2; exit 1";
    script(folder.path(), "refuses", refuse);
    let search = || Some(folder.path().as_os_str().to_owned());
    let password = Secret::new("open\"sesame");
    let settings = serde_json::json!({
        "credsStore": "keeper",
        "credHelpers": { "own.io": "keeper", "bad.io": "refuses", "gone.io": "absent", "file.io": "" },
        "auths": { "store.io": { "auth": "b2xkOm9sZA==" } },
    });
    std::fs::write(&path, settings.to_string()).unwrap();
    for (registry, server) in [
        ("own.io", "own.io"),
        ("store.io", "store.io"),
        ("docker.io", "https://index.docker.io/v1/"),
    ] {
        let by = login(&path, registry, "ada", &password, search()).await.unwrap();
        assert_eq!(by, StoredIn::Helper("keeper".into()));
        let told: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
        let wanted = serde_json::json!({
            "ServerURL": server, "Username": "ada", "Secret": "open\"sesame",
        });
        assert_eq!(told, wanted);
        let file: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(file["auths"][server], serde_json::json!({}), "nothing is left in the file");
        assert_eq!(file["credsStore"], "keeper");
    }
    // A failing helper is an error, and the file stays unchanged.
    let before = std::fs::read(&path).unwrap();
    let fault = login(&path, "bad.io", "ada", &password, search()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Config);
    assert!(fault.detail.contains("failed") && !fault.detail.contains("open\"sesame"), "{fault}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // A missing helper is skipped, and so is the credential store for an empty helper name.
    let by = login(&path, "gone.io", "ada", &password, search()).await.unwrap();
    assert!(matches!(by, StoredIn::FileWithoutHelper(fault) if fault.detail.contains("not found")));
    let by = login(&path, "file.io", "ada", &password, search()).await.unwrap();
    assert_eq!(by, StoredIn::File);
    let file = DockerConfig::read(&path, None).unwrap().unwrap();
    let file = Keychain::from_docker_config(file);
    assert_eq!(find(&file, "gone.io", "x").await, ["ada:open\"sesame"]);
    assert_eq!(find(&file, "file.io", "x").await, ["ada:open\"sesame"]);
}

#[tokio::test]
async fn login_keeps_what_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/config.json");
    login(&path, "reg.io", "ada", &Secret::new("p:w"), None).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["unknown"] = serde_json::json!({ "kept": [1] });
    std::fs::write(&path, json.to_string()).unwrap();
    login(&path, "docker.io", "bob", &Secret::new("x"), None).await.unwrap();
    let text = std::fs::read(&path).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(json["unknown"]["kept"][0], 1);
    let keychain =
        Keychain::from_docker_config(DockerConfig::parse("config", &text, None).unwrap());
    assert_eq!(find(&keychain, "reg.io", "x").await, ["ada:p:w"]);
    assert_eq!(find(&keychain, "index.docker.io", "x").await, ["bob:x"]);
    std::fs::write(&path, "not json").unwrap();
    assert!(login(&path, "reg.io", "ada", &Secret::new("x"), None).await.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"not json");
}

#[test]
fn secrets_do_not_show() {
    let credential = Credential::Password { username: "ada".into(), password: Secret::new("pw") };
    assert_eq!(format!("{credential:?}"), r#"Password { username: "ada", password: Secret(…) }"#);
    let other = Credential::Password { username: "ada".into(), password: Secret::new("px") };
    assert_ne!(credential.id(), other.id());
    assert_ne!(
        Credential::Refresh(Secret::new("x")).id(),
        Credential::Bearer(Secret::new("x")).id()
    );
}
