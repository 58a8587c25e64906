//! `sealgate demo`: sign, store, verify, admit, refuse, on this machine and with nothing else.
//!
//! What is printed as a command is what was run: `sealgate` commands run as this program's own
//! children, the gate from the arguments that are shown, admissions as real AdmissionReviews over
//! HTTPS. Every outcome is compared with the one that was announced.

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

use self::review::{ApiServer, Said};
use self::stage::Stage;
use crate::failure::{CliError, Outcome};
use crate::serve::{self, ServeArgs};

mod forge;
mod image;
mod review;
mod stage;

/// Demonstrate signing, verification and admission with an in-process registry and gate
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Keep the registry, the gate and the files until Ctrl-C, so that you can repeat commands by
    /// hand
    #[arg(long)]
    keep: bool,
}

/// The password of the demo's keys. They guard nothing.
const PASSWORD: &str = "demo";

/// Runs the demo; fails when something went otherwise than announced. Blocks: it has a runtime of
/// its own, as the gate has.
pub(crate) fn run(args: DemoArgs) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let played = runtime.block_on(perform(&args));
    runtime.shutdown_background();
    played.map_err(|error| CliError::new(format!("demo: {error:#}")))
}

/// Where the demo plays.
struct Play {
    stage: Stage,
    folder: tempfile::TempDir,
    host: String,
    repository: Repository,
    registry: Arc<dyn RegistryWrite>,
    gate: ApiServer,
}

/// What a Pod's creation should come to.
enum Announced<'a> {
    Admitted,
    /// Refused, with this in the text.
    Refused(&'a str),
}

async fn perform(args: &DemoArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut stage = Stage::default();
    stage.open("Sealgate: sign an image, keep the signature, stand at the gate");
    let folder = tempfile::Builder::new().prefix("sealgate-demo-").tempdir()?;
    stage.act("A registry for container images, in this process");
    let served = Served::start(serve_registry::Options::default()).await?;
    let host = served.registry();
    stage.note(&format!("http://{host}, in memory"));
    make_keys(&mut stage, folder.path()).await?;
    let (gate, running) = open_gate(&mut stage, folder.path(), &host).await?;
    let mut play = Play {
        stage,
        folder,
        repository: Repository::parse(&format!("{host}/demo/app"))?,
        registry: Arc::new(Client::new(Options::default())?),
        host,
        gate,
    };
    play.acts().await?;
    play.close(start);
    if args.keep {
        play.wait(running.address().to_string()).await?;
    }
    running.stop().await;
    play.verdict()
}

async fn make_keys(stage: &mut Stage, folder: &Path) -> anyhow::Result<()> {
    stage.act("A key pair to sign with");
    sealgate(stage, folder, &["generate-key-pair", "--output-key-prefix", "demo"]).await?;
    stage.note("The private half is demo.key, encrypted with the password in COSIGN_PASSWORD");
    stage.note(&format!("(here: {PASSWORD}); the public half is demo.pub."));
    Ok(())
}

/// Starts the gate on a folder with one policy.
async fn open_gate(
    stage: &mut Stage,
    folder: &Path,
    host: &str,
) -> anyhow::Result<(ApiServer, serve::Gate)> {
    stage.act("The gate, with a policy in a folder");
    let key = std::fs::read_to_string(folder.join("demo.pub"))?;
    std::fs::create_dir(folder.join("policies"))?;
    std::fs::write(folder.join("policies/demo.yaml"), policy(host, &key))?;
    stage.note(&format!(
        "policies/demo.yaml: what lies under {host}/demo must be signed by demo.key"
    ));
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
    stage.command(&format!("sealgate serve {} --write-ca gate-ca.pem", words.join(" ")));
    let parsed = ServeCommand::try_parse_from(arguments)?;
    let gate = serve::open(parsed.args).await.map_err(|error| anyhow::anyhow!(error.message))?;
    let address = gate.address().to_string();
    gate.when_ready(std::time::Duration::from_secs(10)).await.map_err(anyhow::Error::msg)?;
    stage.note(&format!("listening on https://{address}, ready"));
    let server = ApiServer::new(address, &std::fs::read_to_string(&ca)?, folder)?;
    Ok((server, gate))
}

/// The arguments of `serve`, read as the command line reads them.
#[derive(clap::Parser)]
struct ServeCommand {
    #[command(flatten)]
    args: ServeArgs,
}

impl Play {
    async fn acts(&mut self) -> anyhow::Result<()> {
        let app = self.unsigned().await?;
        self.signed(&app).await?;
        self.wrong_key().await?;
        self.moved(&app).await?;
        self.changed(&app).await
    }

    async fn unsigned(&mut self) -> anyhow::Result<Digest> {
        self.stage.act("An image, pushed but not signed");
        let digest = self.push("v1", "hello from the demo\n").await?;
        self.admit("unsigned", "v1", Announced::Refused("no signatures found")).await?;
        Ok(digest)
    }

    async fn signed(&mut self, digest: &Digest) -> anyhow::Result<()> {
        self.stage.act("The same image, signed");
        let image = self.by_digest(digest);
        self.run(&["sign", "--key", "demo.key", "-y", &image]).await?;
        self.run(&["verify", "--key", "demo.pub", &image]).await?;
        self.stage.note("The signature lies in the registry, beside the image:");
        self.run(&["tree", &image]).await?;
        let said = self.admit("signed", "v1", Announced::Admitted).await?;
        let pinned = said.image.ends_with(&digest.to_string());
        self.stage.outcome(pinned, "the tag was replaced by what was judged");
        self.stage.quote(&said.image);
        Ok(())
    }

    async fn wrong_key(&mut self) -> anyhow::Result<()> {
        self.stage.act("An image that somebody else signed");
        let digest = self.push("other", "not from us\n").await?;
        let folder = self.folder.path().to_owned();
        let keys = ["generate-key-pair", "--output-key-prefix", "other"];
        sealgate(&self.stage, &folder, &keys).await?;
        let image = self.by_digest(&digest);
        self.run(&["sign", "--key", "other.key", "-y", &image]).await?;
        self.admit("wrong-key", "other", Announced::Refused("wrong-signature")).await.map(drop)
    }

    async fn moved(&mut self, app: &Digest) -> anyhow::Result<()> {
        self.stage.act("A good signature, moved to another image");
        let victim = self.push("moved", "evil, with a borrowed signature\n").await?;
        forge::move_signature(&*self.registry, &self.repository, app, &victim).await?;
        self.stage.note("An attacker who may write to the registry put the signature of v1 here.");
        self.admit("moved", "moved", Announced::Refused("other-subject")).await.map(drop)
    }

    async fn changed(&mut self, app: &Digest) -> anyhow::Result<()> {
        self.stage.act("A good signature, changed to speak of another image");
        let victim = self.push("changed", "evil, with a forged statement\n").await?;
        forge::change_signature(&*self.registry, &self.repository, app, &victim).await?;
        self.stage.note("The statement now names this image; the signature is over the old one.");
        self.admit("changed", "changed", Announced::Refused("wrong-signature")).await.map(drop)
    }

    async fn push(&mut self, tag: &str, text: &str) -> anyhow::Result<Digest> {
        let digest = image::push(&*self.registry, &self.repository, tag, text).await?;
        self.stage.note(&format!("{}/demo/app:{tag} is {digest}", self.host));
        Ok(digest)
    }

    fn by_digest(&self, digest: &Digest) -> String {
        format!("{}/demo/app@{digest}", self.host)
    }

    async fn run(&self, words: &[&str]) -> anyhow::Result<()> {
        sealgate(&self.stage, self.folder.path(), words).await
    }

    /// Creates a Pod and compares what the gate says with what was announced.
    async fn admit(
        &mut self,
        name: &str,
        tag: &str,
        announced: Announced<'_>,
    ) -> anyhow::Result<Said> {
        let image = format!("{}/demo/app:{tag}", self.host);
        let said = self.gate.create_pod(name, &image).await?;
        self.stage.note(&format!("A Pod with {image}:"));
        self.stage.command(&said.command);
        if !said.allowed {
            self.stage.quote(&said.denial);
        }
        match announced {
            Announced::Admitted => self.stage.outcome(said.allowed, "admitted"),
            Announced::Refused(why) => {
                let as_announced = !said.allowed && said.denial.contains(why);
                self.stage.outcome(as_announced, &format!("refused ({why})"));
            }
        }
        Ok(said)
    }

    fn close(&self, start: Instant) {
        let seconds = start.elapsed().as_secs_f64();
        self.stage.open(&format!("\nThat was everything, in {seconds:.1} seconds."));
    }

    /// Leaves everything running until Ctrl-C.
    async fn wait(&self, gate: String) -> anyhow::Result<()> {
        self.stage.note(&format!("The registry is {}, the gate https://{gate}.", self.host));
        self.stage.note(
            "The commands `verify`, `tree` and `curl` above can be repeated, and more images",
        );
        self.stage.note(
            "signed. (`generate-key-pair` and `serve` would replace the keys and gate-ca.pem that",
        );
        self.stage.note("the running gate goes by.) In another terminal:");
        self.stage.command(&format!("cd {}", self.folder.path().display()));
        let program = std::env::current_exe().context("where is this program?")?;
        self.stage.command(&format!("alias sealgate={}", program.display()));
        self.stage.command(&format!("export COSIGN_PASSWORD={PASSWORD}"));
        self.stage.note("Ctrl-C stops both and removes the files.");
        let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended.context("waiting for Ctrl-C"),
            _ = terminate.recv() => Ok(()),
        }
    }

    fn verdict(&self) -> anyhow::Result<()> {
        match self.stage.surprises() {
            [] => Ok(()),
            surprises => {
                bail!("something went otherwise than announced:\n{}", surprises.join("\n"))
            }
        }
    }
}

/// Runs this program with `words` in `folder`, and shows the command and what it said.
async fn sealgate(stage: &Stage, folder: &Path, words: &[&str]) -> anyhow::Result<()> {
    stage.command(&format!("sealgate {}", words.join(" ")));
    let program = std::env::current_exe().context("where is this program?")?;
    let output = tokio::process::Command::new(program)
        .args(words)
        .current_dir(folder)
        .env("COSIGN_PASSWORD", PASSWORD)
        .env_remove("COSIGN_REPOSITORY")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!("`sealgate {}` failed: {}", words.join(" "), said(&output.stderr));
    }
    match words.first() {
        Some(&"tree") => stage.quote(&said(&output.stdout)),
        Some(&"verify") => stage.quote(&said(&output.stderr)),
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
