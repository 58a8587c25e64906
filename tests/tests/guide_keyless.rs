//! Execution of docs/guides/keyless.md, like the other guides in guide.rs, against real Fulcio,
//! Rekor v2 and timestamp authority, a real registry and a separate cluster.
//!
//! A ```yaml block begins with a file name and is written to that file. Of the workflow, the
//! signing step is run as a GitHub runner does; the other steps are [`STEPS_NOT_RUN`]. A ```console
//! block is not run: the guide says so and why, and [`NOT_RUN`] lists them. No other fences are
//! allowed. A token replaces the login.

use std::path::Path;
use std::time::Duration;

use sealgate_testkit::tuf::{Files, TufRepository};
use sealgate_tests::cluster::Cluster;
use sealgate_tests::gate::{GateOptions, Installation};
use sealgate_tests::process::wait_until;
use sealgate_tests::programs::{Run, Sandbox, sealgate};
use sealgate_tests::proxy::FixedResponse;
use sealgate_tests::service::{Answer, Service};
use sealgate_tests::{image, oidc, registries, sigstore};
use serde_json::{Value, json};

use crate::guide::is_as_told;

const GUIDE: &str = include_str!("../../docs/guides/keyless.md");
const REJECT_CODES: &str = include_str!("../../docs/reference/reject-codes.md");
const OTHER_CODES: [&str; 2] = [
    include_str!("../../docs/reference/exit-codes.md"),
    include_str!("../../docs/reference/cluster-image-policy.md"),
];

/// Reasons why blocks are not run, in the guide's words.
const NOT_RUN: [&str; 2] = ["it asks the public mirror", "its cluster has no nodes"];
/// Steps of the workflow that need GitHub.
const STEPS_NOT_RUN: [&str; 3] = ["Build image", "Push image", "Install sealgate"];
/// Step of the workflow that does not.
const RUN: &str = "Sign image";

/// Manual signer.
const PERSON: &str = "user@example.com";
/// Identity of the workflow, without `https://github.com/`.
const WORKFLOW: &str = "example/app/.github/workflows/build-sign.yml@refs/heads/main";

/// Block between two fences.
#[derive(Debug)]
enum Block {
    /// Commands and their expected output.
    Commands { text: String, expected: Option<String> },
    /// File to write.
    File { name: String, text: String },
    /// Commands that are not run, with the guide's reason.
    NotRun { why: String },
}

/// Environment in which the guide is run.
struct Reader {
    sandbox: Sandbox,
    /// Variables exported and unset by the reader's shell so far.
    shell: Vec<String>,
}

#[test]
fn the_guide_for_keyless() {
    let repository = sigstore_repository();
    let guide = placed(&mirror(repository.files()));
    let cluster = Cluster::start("guide-keyless").unwrap();
    let mut reader = Reader::new(Some(&cluster));
    reader.sandbox.write("root.json", repository.root(1));
    push_images("guide");
    let mut gate = None;
    for block in blocks(&guide) {
        match block {
            Block::File { name, text } if name.starts_with(".github/") => {
                reader.runs_workflow(&text);
            }
            Block::File { name, text } => drop(reader.sandbox.write(&name, text)),
            Block::NotRun { .. } => {}
            Block::Commands { text, expected } => {
                reader.does(&text, expected.as_deref());
                if text.contains("sealgate install") {
                    gate = Some(Installation::attach_with("guide-keyless", &cluster, &own_root()));
                }
            }
        }
    }
    gate.expect("the guide installs the gate").unwrap();
}

/// Replacement of the embedded public-good root.
fn own_root() -> GateOptions {
    let root = sigstore::shared().trusted_root().display().to_string();
    GateOptions { arguments: vec!["--trusted-root".to_owned(), root], ..GateOptions::default() }
}

fn push_images(folder: &str) {
    let host = &registries::docker().host;
    let sha = oidc::COMMIT;
    let images =
        [("myapp", "v1.0.0"), ("unsigned", "latest"), ("private", "v1.0.0"), ("myapp", sha)];
    for (name, tag) in images {
        image::push(host, &format!("{folder}/{name}"), tag, &format!("{folder} {name} {tag}"))
            .unwrap();
    }
    image::push_index(host, &format!("{folder}/multi"), "v1.0.0").unwrap();
}

/// Guide with the harness's services instead of the reader's.
fn placed(mirror: &str) -> String {
    let sigstore = sigstore::shared();
    let registry = format!("{}/guide", registries::docker().host);
    let (people, workflows) = (sigstore.issuer.people(), sigstore.issuer.workflows());
    [
        ("origin=rekor.example.com", "origin=localhost"),
        ("https://rekor.example.com", &sigstore.rekor.url),
        ("https://fulcio.example.com", &sigstore.fulcio.url),
        ("https://ctfe.example.com", &sigstore.ct_log.url),
        ("https://tsa.example.com/api/v1/timestamp", &sigstore.authority.url),
        ("https://oauth2.example.com/auth", &people),
        ("https://tuf.example.com", mirror),
        ("https://accounts.google.com", &people),
        ("https://token.actions.githubusercontent.com", &workflows),
        ("myregistry.com", &registry),
    ]
    .into_iter()
    .fold(GUIDE.to_owned(), |guide, (placeholder, value)| {
        assert!(guide.contains(placeholder), "{placeholder} is not in the guide");
        guide.replace(placeholder, value)
    })
}

/// Trusted root of the harness as a TUF repository.
fn sigstore_repository() -> TufRepository {
    let sigstore = sigstore::shared();
    TufRepository::new(jiff::Timestamp::now())
        .with("trusted_root.json", sigstore.trusted_root_json().to_string())
        .with("signing_config.v0.2.json", sigstore.signing_config_json().to_string())
}

/// Serves a TUF repository; returns its URL.
fn mirror(files: Files) -> String {
    let service = Service::bind().expect("a port");
    let address = format!("http://{}", service.host);
    service.answer_with(move |request| match files.get(request.path.trim_start_matches('/')) {
        Some(file) => Answer { status: "200 OK", headers: Vec::new(), body: file.clone() },
        None => Answer::not_found(),
    });
    address
}

impl Reader {
    /// Shell with `sealgate`, also under the name `cosign`, with `kubectl`, and the cluster. The
    /// harness's services replace the public ones.
    fn new(cluster: Option<&Cluster>) -> Self {
        let sigstore = sigstore::shared();
        let sandbox = Sandbox::new();
        std::fs::create_dir(sandbox.path("bin")).unwrap();
        for link in ["sealgate", "cosign"] {
            std::os::unix::fs::symlink(sealgate(), sandbox.path("bin").join(link)).unwrap();
        }
        for (file, text) in [
            ("fulcio.pem", &sigstore.fulcio.chain),
            ("ctfe.pub", &sigstore.ct_log.public_key),
            ("rekor.pub", &sigstore.rekor.public_key),
            ("tsa.pem", &sigstore.authority.chain),
        ] {
            sandbox.write(file, text);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", sandbox.path("bin").display());
        let kubeconfig = cluster.map(|cluster| cluster.kubeconfig.display().to_string());
        let sandbox = sandbox
            .with("PATH", path)
            .with("KUBECONFIG", kubeconfig.unwrap_or_default())
            .with("COSIGN_TRUSTED_ROOT", sigstore.trusted_root().display().to_string())
            .with("COSIGN_SIGNING_CONFIG", sigstore.signing_config().display().to_string());
        Self { sandbox, shell: vec!["export SIGSTORE_ID_TOKEN=$(cat token)".to_owned()] }
    }

    /// A policy takes effect shortly after it is applied; a reader is slower than that.
    #[track_caller]
    fn does(&mut self, commands: &str, expected: Option<&str>) {
        let mut run = self.types(commands);
        let may_try_again = commands.starts_with("kubectl run ");
        let waited = wait_until(Duration::from_secs(30), || {
            if !is_as_told(&run, expected) && may_try_again {
                // Pods admitted by an earlier policy would be in the way.
                self.types("kubectl delete pods --all -n shop --now");
                run = self.types(commands);
            }
            is_as_told(&run, expected) || !may_try_again
        });
        let is_so = waited.is_ok() && is_as_told(&run, expected);
        assert!(is_so, "{commands}\nexpected: {expected:#?}\n{}", run.report());
        let lasts = |line: &&str| line.starts_with("export ") || line.starts_with("unset ");
        self.shell.extend(commands.lines().filter(lasts).map(str::to_owned));
    }

    fn types(&self, commands: &str) -> Run {
        // Tokens are short-lived.
        self.sandbox.write("token", sigstore::shared().token(PERSON));
        let script = format!("set -euo pipefail\n{}\n{commands}", self.shell.join("\n"));
        // The guide says that these commands need no network, so they get none.
        if commands.contains("--offline") {
            return self.sandbox.program("unshare", &["--net", "bash", "-c", &script]);
        }
        self.sandbox.run(Path::new("bash"), &["-c", &script], None)
    }

    /// Runs the signing step with a runner's environment.
    fn runs_workflow(&self, workflow: &str) {
        let commands = signing_step(workflow);
        let steps = |variables: &str| {
            let script = format!("set -euo pipefail\n{variables}\n{commands}");
            self.sandbox.run(Path::new("bash"), &["-c", &script], None)
        };
        let hint = "GitHub Actions issues identity tokens to jobs with ";
        assert!(GUIDE.contains(hint));
        steps("export GITHUB_ACTIONS=true COSIGN_FULCIO_AUTH_FLOW=token").fails_with(hint);
        let token = json!({ "value": workflow_token() }).to_string();
        let runner =
            FixedResponse::start("200 OK", "Content-Type: application/json\r\n", &token).unwrap();
        let url = format!("http://{}/token?api-version=2", runner.host);
        let run = steps(&format!(
            "export GITHUB_ACTIONS=true ACTIONS_ID_TOKEN_REQUEST_TOKEN=secret\n\
             export ACTIONS_ID_TOKEN_REQUEST_URL='{url}'"
        ));
        // The identity announced before publishing is the one in the certificate.
        run.ok()
            .says("tlog entry created")
            .says(&format!("the identity https://github.com/{WORKFLOW} ("))
            .says(&format!("Certificate subject: https://github.com/{WORKFLOW}"))
            .says_no("\"value\"");
        assert_eq!(runner.take(), ["GET /token?api-version=2&audience=sigstore"]);
    }
}

/// Commands of the workflow's signing step, with its expressions evaluated.
fn signing_step(workflow: &str) -> String {
    let steps = named_steps(workflow);
    let names: Vec<_> = steps.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [&STEPS_NOT_RUN[..], &[RUN]].concat(), "the test runs only {RUN}");
    let sentence = format!("(The test runs the step “{RUN}” as a runner does");
    assert!(GUIDE.contains(&sentence), "the guide says what is not run");
    assert!(workflow.contains("id-token: write"));
    let registry = format!("{}/guide", registries::docker().host);
    let commands = steps[STEPS_NOT_RUN.len()].1.replace("${{ secrets.REGISTRY }}", &registry);
    let commands = commands.replace("${{ github.sha }}", oidc::COMMIT);
    assert!(!commands.contains("${{"), "{commands}");
    commands
}

/// Token of the guide's workflow, in GitHub's form.
fn workflow_token() -> String {
    let issuer = &sigstore::shared().issuer;
    let mut claims: Value = oidc::workflow(&issuer.workflows());
    for (claim, value) in [
        ("sub", "repo:example/app:ref:refs/heads/main"),
        ("ref", "refs/heads/main"),
        ("job_workflow_ref", WORKFLOW),
        ("workflow_ref", WORKFLOW),
        ("workflow", "Build and Sign"),
    ] {
        claims[claim] = json!(value);
    }
    issuer.sign(claims)
}

/// Named steps of a workflow, with their commands.
fn named_steps(workflow: &str) -> Vec<(&str, String)> {
    let parts = workflow.split("    - name: ").skip(1);
    let step = |part: &str| {
        let (_, commands) = part.split_once("run: |\n").expect("a step with a name runs commands");
        commands.lines().map(|line| format!("{}\n", line.trim_start())).collect()
    };
    parts.map(|part| (part.lines().next().unwrap_or_default(), step(part))).collect()
}

/// All blocks of a guide; panics at an unsupported fence.
fn blocks(guide: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut parts = guide.split("\n```");
    let mut before = parts.next().unwrap_or_default();
    while let Some(opened) = parts.next() {
        let (language, text) = opened.split_once('\n').expect("a fence ends its line");
        let text = format!("{text}\n");
        match language {
            "bash" => blocks.push(Block::Commands { text, expected: None }),
            "yaml" => {
                let name = text.lines().next().and_then(|line| line.strip_prefix("# "));
                let name = name.expect("a file begins with its name").to_owned();
                blocks.push(Block::File { name, text });
            }
            "text" => match blocks.last_mut() {
                Some(Block::Commands { expected, .. }) => *expected = Some(text),
                other => panic!("nothing printed this: {text}\n{other:?}"),
            },
            "console" => {
                let why = before.trim_end().rsplit_once("(Not run by the test: ");
                let why = why.and_then(|(_, why)| why.strip_suffix(".)"));
                let why = why.unwrap_or_else(|| panic!("not run, and nobody says so: {text}"));
                blocks.push(Block::NotRun { why: why.to_owned() });
            }
            other => panic!("```{other}: nothing here runs that\n{text}"),
        }
        before = parts.next().expect("a block is closed");
    }
    blocks
}

#[test]
fn every_block_of_the_keyless_guide_is_accounted_for() {
    let blocks = blocks(GUIDE);
    let not_run = blocks.iter().filter_map(|block| match block {
        Block::NotRun { why } => Some(why.as_str()),
        Block::Commands { .. } | Block::File { .. } => None,
    });
    assert_eq!(not_run.collect::<Vec<_>>(), NOT_RUN);
    for block in &blocks {
        let Block::File { name, .. } = block else { continue };
        let is_used = blocks.iter().any(|block| match block {
            Block::Commands { text, .. } => text.contains(name.as_str()),
            Block::File { .. } | Block::NotRun { .. } => false,
        });
        assert!(is_used || name.starts_with(".github/"), "{name}");
    }
}

#[test]
fn every_code_of_the_keyless_guide_is_one() {
    let section = GUIDE.split("## 10. ").nth(1).expect("the section on refusals");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<_> = rows.filter_map(|row| row.split_once(" | ")).collect();
    assert!(rows.len() > 12, "{rows:?}");
    for (codes, _) in rows {
        for code in codes.split(", ").map(|code| code.trim_matches('`')) {
            // Codes printed while signing are tested elsewhere.
            if code.contains(' ') {
                continue;
            }
            let row = format!("| `{code}` |");
            let known = REJECT_CODES.contains(&row) || OTHER_CODES.iter().any(|p| p.contains(&row));
            assert!(known, "{code} is in no table of codes");
        }
    }
}

/// Commands written for cosign run unchanged under that name.
#[test]
fn the_fourth_article_by_the_name_cosign() {
    let registry = format!("{}/article", registries::docker().host);
    push_images("article");
    let people = sigstore::shared().issuer.people();
    let reader = Reader::new(None);
    let says = |commands: &str| {
        let commands = commands.replace("myregistry.com", &registry);
        reader.types(&commands.replace("https://accounts.google.com", &people))
    };
    says("cosign version").ok();
    says("cosign generate-key-pair\nchmod 600 cosign.key").ok();
    let image = "myregistry.com/myapp:v1.0.0";
    // The trust root requires the harness's log, and its services name it.
    says(&format!("cosign sign -y --key cosign.key {image}")).ok();
    let signed = "  - The signatures were verified against the specified public key";
    says(&format!("cosign verify --key cosign.pub {image}")).ok().says(signed);
    says(&format!("COSIGN_KEY=$(cat cosign.key) cosign sign --key env://COSIGN_KEY {image}")).ok();
    says(&format!("cosign sign {image}")).ok().says("tlog entry created with index: ");
    let verify = "cosign verify \\\n  --certificate-identity=user@example.com \\\n  \
                  --certificate-oidc-issuer=https://accounts.google.com \\\n  ";
    says(&format!("{verify}{image}")).ok().says("Certificate subject: user@example.com");
    says(&format!("{verify}myregistry.com/unsigned:latest")).exits(10).says("no signatures found");
    // Not supported yet, with a message.
    let attest = "cosign attest --key cosign.key --predicate sbom.json ";
    says(&format!("{attest}{image}")).fails_with("it comes with a later version");
}
