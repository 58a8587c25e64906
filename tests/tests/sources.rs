//! Input sources: images from long lists, keys from a cluster, passwords from a terminal, the
//! gate's certificate from files renewed by others.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use sealgate_tests::certificates::{self, Authority};
use sealgate_tests::cluster;
use sealgate_tests::image::Image;
use sealgate_tests::process::{Launch, Server, free_port, wait_until};
use sealgate_tests::programs::{PASSWORD, Sandbox, sealgate};
use sealgate_tests::registries;
use serde_json::{Value, json};

use crate::support::sandbox_with_key;

/// Number of images in the long list, and of occurrences of each.
const IMAGES: usize = 40;
const TIMES: usize = 30;

#[test]
fn a_long_list_has_an_outcome_for_every_line() {
    let sandbox = sandbox_with_key();
    let registry = registries::docker();
    let images: Vec<Image> =
        (0..IMAGES).map(|n| registry.image(&format!("long-list-{n}"))).collect();
    let names: Vec<String> = images.iter().map(Image::by_digest).collect();
    let mut sign = vec!["sign", "--key", "cosign.key", "-y"];
    sign.extend(names.iter().map(String::as_str));
    sandbox.sealgate(&sign).ok();
    let unsigned = registry.image("long-list-unsigned").by_tag();
    let missing = format!("{}:nowhere", images[0].name());

    let good = names.join("\n");
    let list = format!("# all of them\n\n{}\n", vec![good; TIMES].join("\n  \n"));
    sandbox.write("good.txt", &list);
    let arguments = |file: &'static str| {
        ["verify", "--key", "cosign.pub", "-o", "sealgate-json", "--images-file", file]
    };
    let report = sandbox.sealgate(&arguments("good.txt")).ok().json();
    assert_eq!(report["images"].as_array().unwrap().len(), IMAGES * TIMES);
    let asked = |index: usize| report["images"][index]["asked"].as_str().unwrap().to_owned();
    assert_eq!((asked(0), asked(IMAGES + 1)), (names[0].clone(), names[1].clone()));

    // Invalid lines are each reported, none hides another, and the worst determines the exit code.
    let bad = format!("{list}UPPER/case\n{unsigned}\nnot a reference\r\n{missing}\n");
    let run = sandbox.run(&sealgate(), &arguments("-"), Some(bad.as_bytes())).exits(11);
    let report = run.json();
    let images = report["images"].as_array().unwrap();
    assert_eq!(images.len(), IMAGES * TIMES + 4);
    let outcomes = |code: &str| {
        let has = |image: &&Value| image["outcome"] == code;
        images.iter().filter(has).map(|image| image["asked"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(outcomes("verified").len(), IMAGES * TIMES);
    assert_eq!(outcomes("invalid-reference"), ["UPPER/case", "not a reference"]);
    assert_eq!(outcomes("no-signatures"), [unsigned.as_str()]);
    assert_eq!(outcomes("not-found"), [missing.as_str()]);
    assert_eq!((&report["verified"], &report["exitCode"]), (&false.into(), &11.into()));
    run.says("4 images were not verified");

    let none = sandbox.run(&sealgate(), &arguments("-"), Some(b"# nothing\n"));
    none.fails_with("no images were named");
    sandbox.sealgate(&arguments("nowhere.txt")).fails_with("nowhere.txt");
}

#[test]
fn keys_in_a_cluster_sign_and_verify() {
    let cluster = cluster::shared();
    cluster.namespace("keys-in-cluster", &[]);
    let kubeconfig = cluster.kubeconfig.display().to_string();
    let sandbox = Sandbox::new().with("KUBECONFIG", kubeconfig);
    let reference = "k8s://keys-in-cluster/signing";
    let made = sandbox.sealgate(&["generate-key-pair", "-o", "json", reference]).ok().json();
    assert_eq!(
        (&made["privateKey"], &made["publicKey"]),
        (&reference.into(), &"cosign.pub".into())
    );
    let show = ["get", "secret", "signing", "-n", "keys-in-cluster", "-o", "json"];
    let secret = cluster.kubectl(&show).ok().json();
    let mut names: Vec<&String> = secret["data"].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["cosign.key", "cosign.password", "cosign.pub"]);

    // The password is stored with the key, so there is no prompt.
    let sandbox = sandbox.with("COSIGN_PASSWORD", "not this one");
    let image = registries::docker().image("keys-in-cluster").by_digest();
    sandbox.sealgate(&["sign", "--key", reference, "-y", "--format", "both", &image]).ok();
    for key in [reference, "cosign.pub"] {
        sandbox.sealgate(&["verify", "--key", key, &image]).ok();
        let tool = ["verify", "--insecure-ignore-tlog", "--key", key, &image];
        sandbox.cosign(&tool).ok();
    }
    let shown = sandbox.sealgate(&["public-key", "--key", reference]).ok().stdout;
    assert_eq!(shown, sandbox.read("cosign.pub"));

    // A secret created by cosign works as well.
    sandbox.cosign(&["generate-key-pair", "k8s://keys-in-cluster/cosigns"]).ok();
    let theirs = "k8s://keys-in-cluster/cosigns";
    let image = registries::docker().image("keys-in-cluster-cosign").by_digest();
    sandbox.sealgate(&["sign", "--key", theirs, "-y", &image]).ok();
    sandbox.sealgate(&["verify", "--key", theirs, &image]).ok();
    sandbox.sealgate(&["verify", "--key", reference, &image]).exits(12);

    let none = "k8s://keys-in-cluster/nowhere";
    for command in [&["sign", "-y", "--key"], &["verify", "-d=false", "--key"]] {
        let run = sandbox.sealgate(&[&command[..], &[none, &image]].concat()).exits(1);
        run.says("keys-in-cluster/nowhere").says_no("no signatures found");
    }
}

/// Password entry at a terminal: the input is not echoed, and echo is restored however the prompt
/// ends.
#[test]
fn a_password_is_typed_unseen_and_the_terminal_is_left_as_it_was() {
    let sandbox = sandbox_with_key();
    let program = sealgate();
    let on_a_terminal = |flags: &str, typed: &str| {
        let line = format!(
            "env -u COSIGN_PASSWORD {} public-key --key cosign.key {flags}; echo code=$?; stty -a",
            program.display()
        );
        // Typed only after the prompt, as a user does.
        let typing = format!("(sleep 1; {typed}; sleep 3) | script -qefc '{line}' /dev/null");
        sandbox.program("bash", &["-c", &typing]).ok().stdout
    };
    let answered = on_a_terminal("", &format!("echo '{PASSWORD}'"));
    assert!(answered.contains("Enter password for private key: "), "{answered}");
    assert!(answered.contains("BEGIN PUBLIC KEY") && answered.contains("code=0"), "{answered}");
    assert!(!answered.contains(PASSWORD), "{answered}");
    let late = on_a_terminal("-t 1500ms", "true");
    assert!(late.contains("context deadline exceeded") && late.contains("code=1"), "{late}");
    for shown in [answered, late] {
        let words: Vec<&str> = shown.split([' ', ';', '\r', '\n']).collect();
        assert!(words.contains(&"echo") && words.contains(&"-echonl"), "{shown}");
    }
}

/// Gate with a certificate in files, laid out like a Secret mounted by the kubelet: a symbolic link
/// to a directory, which is replaced atomically.
struct GateWithCertificateFiles {
    sandbox: Sandbox,
    port: u16,
    authority: Authority,
    server: Server,
}

impl GateWithCertificateFiles {
    fn start(name: &str) -> Self {
        let sandbox = sandbox_with_key();
        let authority = Authority::new("tests gate ca").unwrap();
        let port = free_port().unwrap();
        let policy = json!({
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": { "name": name },
            "spec": {
                "images": [{ "glob": "**" }],
                "authorities": [{ "key": { "data": sandbox.read("cosign.pub") } }],
            },
        });
        sandbox.write("policies/policy.yaml", policy.to_string());
        mount(&sandbox, &authority, "first");
        let mut launch = Launch::new(name, sealgate());
        launch
            .command()
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--policies"])
            .arg(sandbox.path("policies"))
            .arg("--tls-cert")
            .arg(sandbox.path("tls/tls.crt"))
            .arg("--tls-key")
            .arg(sandbox.path("tls/tls.key"))
            .env("HOME", "/nonexistent");
        let ready = || {
            let answer = certificates::request(port, "GET", "/readyz", &[]);
            answer.is_ok_and(|answer| answer.status == 200)
        };
        let server = launch.start(ready).unwrap();
        Self { sandbox, port, authority, server }
    }

    /// Waits until the gate has read an unusable pair and reported it.
    fn refuses(&self, change: impl FnOnce()) {
        let refusals = || self.server.log().matches("keeping the old one").count();
        let before = refusals();
        change();
        wait_until(Duration::from_secs(30), || refusals() > before).expect("the pair is refused");
    }

    fn answers(&self) -> bool {
        let answer = certificates::request(self.port, "GET", "/healthz", &[]);
        answer.is_ok_and(|answer| answer.status == 200)
    }
}

/// Replaces `tls/tls.crt` and `tls/tls.key` by a new pair.
fn mount(sandbox: &Sandbox, authority: &Authority, version: &str) {
    let folder = sandbox.path(&format!("tls/{version}"));
    fs::create_dir_all(&folder).unwrap();
    authority.issue(&folder, "tls").unwrap();
    point(sandbox, version);
}

/// Points `tls/..data` to `version`, atomically.
fn point(sandbox: &Sandbox, version: &str) {
    let (fresh, data) = (sandbox.path("tls/..fresh"), sandbox.path("tls/..data"));
    symlink(version, &fresh).unwrap();
    fs::rename(&fresh, &data).unwrap();
    for file in ["tls.crt", "tls.key"] {
        // Exists from the second time on.
        let _ = symlink(Path::new("..data").join(file), sandbox.path("tls").join(file));
    }
}

#[test]
fn a_certificate_that_is_renewed_on_disk_is_shown() {
    let gate = GateWithCertificateFiles::start("gate-certificate-files");
    let shown = || certificates::shown_by(gate.port).unwrap();
    let first = shown();
    mount(&gate.sandbox, &gate.authority, "second");
    let renewed = || {
        assert!(gate.answers(), "the gate answers all the while");
        shown() != first
    };
    wait_until(Duration::from_secs(30), renewed).expect("the new certificate is shown");
    let second = shown();

    // A key that does not match, and an invalid one: the current certificate stays in use.
    let folder = gate.sandbox.path("tls/third");
    fs::create_dir_all(&folder).unwrap();
    gate.authority.issue(&folder, "tls").unwrap();
    fs::copy(gate.sandbox.path("tls/first/tls.key"), folder.join("tls.key")).unwrap();
    gate.refuses(|| point(&gate.sandbox, "third"));
    assert_eq!(shown(), second);
    gate.sandbox.write("tls/fourth/tls.crt", "no certificate");
    gate.sandbox.write("tls/fourth/tls.key", "no key");
    gate.refuses(|| point(&gate.sandbox, "fourth"));
    assert_eq!(shown(), second);
    assert!(gate.answers());

    mount(&gate.sandbox, &gate.authority, "fifth");
    wait_until(Duration::from_secs(30), || shown() != second).expect("a good pair is shown again");
}
