//! `sealgate demo`: signing, storage, verification, admission and denial on this machine, without
//! other services.
//!
//! Every printed command is one that was run: `sealgate` commands as child processes of this
//! program, the gate with the arguments that are shown, admissions as AdmissionReviews over HTTPS.
//! Every result is compared with the expected one.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::{Args, Parser as _};
use sealgate_core::digest::Digest;
use sealgate_core::reference::Repository;
use sealgate_engine::ports::RegistryWrite;
use sealgate_registry::serve::{self as serve_registry, Served};
use sealgate_registry::{Client, Options};
use tokio::signal::unix::{SignalKind, signal};

use self::output::Output;
use self::review::{ApiServer, ReviewResult};
use crate::failure::{CliError, Outcome};
use crate::serve::{self, ServeArgs};

mod forge;
mod image;
mod output;
mod review;

/// Demonstrate signing, verification and admission with an in-process registry and gate
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Keep the registry, the gate and the files until Ctrl-C, so that you can repeat the commands
    #[arg(long)]
    keep: bool,
}

/// The password of the demo's keys, which protect nothing.
const PASSWORD: &str = "demo";

/// Runs the demo; fails if a result is not the expected one. Blocks: it has its own runtime, as the
/// gate has.
pub(crate) fn run(args: DemoArgs) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(perform(&args));
    runtime.shutdown_background();
    outcome.map_err(|error| CliError::new(format!("demo: {error:#}")))
}

/// A run of the demo, with its registry and gate.
struct DemoRun {
    output: Output,
    folder: tempfile::TempDir,
    host: String,
    repository: Repository,
    registry: Arc<dyn RegistryWrite>,
    gate: ApiServer,
}

/// The expected result of creating a Pod.
enum Expected<'a> {
    Admitted,
    /// Denied, with this text in the message.
    Denied(&'a str),
}

async fn perform(args: &DemoArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut output = Output::default();
    output.title("Sealgate demo: sign an image, store the signature, verify it at admission");
    let folder = tempfile::Builder::new().prefix("sealgate-demo-").tempdir()?;
    output.step("Start an OCI registry in this process");
    let served = Served::start(serve_registry::Options::default()).await?;
    let host = served.registry();
    output.note(&format!("http://{host}, in memory"));
    make_keys(&mut output, folder.path()).await?;
    let (gate, running) = open_gate(&mut output, folder.path(), &host).await?;
    let mut run = DemoRun {
        output,
        folder,
        repository: Repository::parse(&format!("{host}/demo/app"))?,
        registry: Arc::new(Client::new(Options::default())?),
        host,
        gate,
    };
    run.steps().await?;
    run.close(start);
    if args.keep {
        run.wait(running.address().to_string()).await?;
    }
    running.stop().await;
    run.check()
}

async fn make_keys(output: &mut Output, folder: &Path) -> anyhow::Result<()> {
    output.step("Generate a key pair");
    sealgate(output, folder, &["generate-key-pair", "--output-key-prefix", "demo"]).await?;
    output.note("demo.key is the private key, encrypted with the password in COSIGN_PASSWORD");
    output.note(&format!("(here: {PASSWORD}); demo.pub is the public key."));
    Ok(())
}

/// Starts the gate with a folder that contains one policy.
async fn open_gate(
    output: &mut Output,
    folder: &Path,
    host: &str,
) -> anyhow::Result<(ApiServer, serve::Gate)> {
    output.step("Start the gate with a policy from a folder");
    let key = std::fs::read_to_string(folder.join("demo.pub"))?;
    std::fs::create_dir(folder.join("policies"))?;
    std::fs::write(folder.join("policies/demo.yaml"), policy(host, &key))?;
    output.note(&format!("policies/demo.yaml: images in {host}/demo must be signed with demo.key"));
    let words = ["--policies", "policies", "--listen", "127.0.0.1:0", "--self-signed"];
    let ca = folder.join("gate-ca.pem");
    let policies = folder.join("policies");
    let arguments = [
        "serve".as_ref(),
        "--policies".as_ref(),
        policies.as_os_str(),
        "--listen".as_ref(),
        "127.0.0.1:0".as_ref(),
        "--self-signed".as_ref(),
        "--write-ca".as_ref(),
        ca.as_os_str(),
    ];
    output.command(&format!("sealgate serve {} --write-ca gate-ca.pem", words.join(" ")));
    let parsed = ServeCommand::try_parse_from(arguments)?;
    let gate = serve::open(parsed.args).await.map_err(|error| anyhow::anyhow!(error.message))?;
    let address = gate.address().to_string();
    gate.when_ready(std::time::Duration::from_secs(10)).await.map_err(anyhow::Error::msg)?;
    output.note(&format!("listening on https://{address}, ready"));
    let server = ApiServer::new(address, &std::fs::read_to_string(&ca)?, folder)?;
    Ok((server, gate))
}

/// The arguments of `serve`, parsed as on the command line.
#[derive(clap::Parser)]
struct ServeCommand {
    #[command(flatten)]
    args: ServeArgs,
}

impl DemoRun {
    async fn steps(&mut self) -> anyhow::Result<()> {
        let app = self.unsigned().await?;
        self.signed(&app).await?;
        self.wrong_key().await?;
        self.moved(&app).await?;
        self.changed(&app).await
    }

    async fn unsigned(&mut self) -> anyhow::Result<Digest> {
        self.output.step("Deploy an unsigned image");
        let digest = self.push("v1", "hello from the demo\n").await?;
        self.admit("unsigned", "v1", Expected::Denied("no signatures found")).await?;
        Ok(digest)
    }

    async fn signed(&mut self, digest: &Digest) -> anyhow::Result<()> {
        self.output.step("Sign the image and deploy it again");
        let image = self.by_digest(digest);
        self.run(&["sign", "--key", "demo.key", "-y", &image]).await?;
        self.run(&["verify", "--key", "demo.pub", &image]).await?;
        self.output.note("The signature is stored in the registry, next to the image:");
        self.run(&["tree", &image]).await?;
        let result = self.admit("signed", "v1", Expected::Admitted).await?;
        let pinned = result.image.ends_with(&digest.to_string());
        self.output.outcome(pinned, "the tag was replaced by the verified digest");
        self.output.quote(&result.image);
        Ok(())
    }

    async fn wrong_key(&mut self) -> anyhow::Result<()> {
        self.output.step("Deploy an image that is signed with another key");
        let digest = self.push("other", "not from us\n").await?;
        let folder = self.folder.path().to_owned();
        let keys = ["generate-key-pair", "--output-key-prefix", "other"];
        sealgate(&self.output, &folder, &keys).await?;
        let image = self.by_digest(&digest);
        self.run(&["sign", "--key", "other.key", "-y", &image]).await?;
        self.admit("wrong-key", "other", Expected::Denied("wrong-signature")).await.map(drop)
    }

    async fn moved(&mut self, app: &Digest) -> anyhow::Result<()> {
        self.output.step("Deploy an image with a valid signature of another image");
        let victim = self.push("moved", "evil, with a copied signature\n").await?;
        forge::move_signature(&*self.registry, &self.repository, app, &victim).await?;
        self.output.note("An attacker with write access to the registry copied the signature of v1 to this image.");
        self.admit("moved", "moved", Expected::Denied("other-subject")).await.map(drop)
    }

    async fn changed(&mut self, app: &Digest) -> anyhow::Result<()> {
        self.output.step("Deploy an image with a modified signature of another image");
        let victim = self.push("changed", "evil, with a forged statement\n").await?;
        forge::change_signature(&*self.registry, &self.repository, app, &victim).await?;
        self.output
            .note("The statement now names this image, but it was signed for the original one.");
        self.admit("changed", "changed", Expected::Denied("wrong-signature")).await.map(drop)
    }

    async fn push(&mut self, tag: &str, text: &str) -> anyhow::Result<Digest> {
        let digest = image::push(&*self.registry, &self.repository, tag, text).await?;
        self.output.note(&format!("{}/demo/app:{tag} is {digest}", self.host));
        Ok(digest)
    }

    fn by_digest(&self, digest: &Digest) -> String {
        format!("{}/demo/app@{digest}", self.host)
    }

    async fn run(&self, words: &[&str]) -> anyhow::Result<()> {
        sealgate(&self.output, self.folder.path(), words).await
    }

    /// Creates a Pod and compares the gate's response with the expected result.
    async fn admit(
        &mut self,
        name: &str,
        tag: &str,
        expected: Expected<'_>,
    ) -> anyhow::Result<ReviewResult> {
        let image = format!("{}/demo/app:{tag}", self.host);
        let result = self.gate.create_pod(name, &image).await?;
        self.output.note(&format!("A Pod with {image}:"));
        self.output.command(&result.command);
        if !result.allowed {
            self.output.quote(&result.denial);
        }
        match expected {
            Expected::Admitted => self.output.outcome(result.allowed, "admitted"),
            Expected::Denied(why) => {
                let as_expected = !result.allowed && result.denial.contains(why);
                self.output.outcome(as_expected, &format!("denied ({why})"));
            }
        }
        Ok(result)
    }

    fn close(&self, start: Instant) {
        let seconds = start.elapsed().as_secs_f64();
        self.output.title(&format!("\nDemo completed in {seconds:.1} seconds."));
    }

    /// Keeps the registry and the gate running until Ctrl-C.
    async fn wait(&self, gate: String) -> anyhow::Result<()> {
        self.output.note(&format!("The registry is {}, the gate https://{gate}.", self.host));
        self.output.note(
            "You can repeat the commands `verify`, `tree` and `curl` above, and sign more images.",
        );
        self.output.note(
            "(`generate-key-pair` and `serve` would replace the keys and gate-ca.pem, which the",
        );
        self.output.note("running gate uses.) In another terminal:");
        self.output.command(&format!("cd {}", self.folder.path().display()));
        let program = std::env::current_exe().context("locating this program")?;
        self.output.command(&format!("alias sealgate={}", program.display()));
        self.output.command(&format!("export COSIGN_PASSWORD={PASSWORD}"));
        self.output.note("Press Ctrl-C to stop both and remove the files.");
        let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended.context("waiting for Ctrl-C"),
            _ = terminate.recv() => Ok(()),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        match self.output.mismatches() {
            [] => Ok(()),
            mismatches => {
                bail!("results differ from the expected ones:\n{}", mismatches.join("\n"))
            }
        }
    }
}

/// Runs this program with `words` in `folder`, and prints the command and its output.
async fn sealgate(output: &Output, folder: &Path, words: &[&str]) -> anyhow::Result<()> {
    output.command(&format!("sealgate {}", words.join(" ")));
    let program = std::env::current_exe().context("locating this program")?;
    let finished = tokio::process::Command::new(program)
        .args(words)
        .current_dir(folder)
        .env("COSIGN_PASSWORD", PASSWORD)
        .env_remove("COSIGN_REPOSITORY")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !finished.status.success() {
        bail!("`sealgate {}` failed: {}", words.join(" "), text(&finished.stderr));
    }
    match words.first() {
        Some(&"tree") => output.quote(&text(&finished.stdout)),
        Some(&"verify") => output.quote(&text(&finished.stderr)),
        _ => {}
    }
    Ok(())
}

fn policy(host: &str, key: &str) -> String {
    let key: String = key.lines().map(|line| format!("        {line}\n")).collect();
    format!(
        "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata:\n  \
         name: signed-by-demo\nspec:\n  images:\n  - glob: \"{host}/demo/**\"\n  authorities:\n  \
         - name: demo\n    key:\n      data: |\n{key}"
    )
}
