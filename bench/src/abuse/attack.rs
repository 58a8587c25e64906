//! The process of the hostile tenants.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use sealgate_tests::certificates::ServerFiles;
use sealgate_tests::hostile::client::ClientCertificate;
use sealgate_tests::hostile::process::{processor, raise_descriptor_limit};
use sealgate_tests::hostile::tenants::{Targets, fifty, run};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::Settings;

/// Name of the part of this program that is the hostile tenants.
pub(crate) const PART: &str = "hostile-tenants";

/// Environment variables with the paths of the API server's certificate and key.
const CERTIFICATE: &str = "HOSTILE_CLIENT_CERTIFICATE";
const KEY: &str = "HOSTILE_CLIENT_KEY";

/// Time in which all of them begin.
const RAMP: Duration = Duration::from_secs(2);
/// Lower priority, so that the gate has its share of the cores first.
const NICENESS: &str = "10";

/// A running process of hostile tenants.
pub(super) struct Attackers {
    process: Child,
    duration: Duration,
}

/// The result of an attack.
pub(super) struct Attack {
    /// Answers of the gate by code.
    pub(super) answers: String,
    /// Share of one core that the generator used.
    pub(super) cores: f64,
}

impl Attackers {
    /// Starts the hostile tenants of the gate on this port.
    pub(super) fn start(
        port: u16,
        settings: &Settings,
        certificate: Option<&ClientCertificate>,
    ) -> anyhow::Result<Self> {
        fifty(&settings.only)?;
        let mut command = Command::new("nice");
        command.args(["-n", NICENESS]).arg(std::env::current_exe()?).arg(PART);
        command.args([port.to_string(), settings.seconds.to_string()]).args(&settings.only);
        if let Some(ClientCertificate(files)) = certificate {
            command.env(CERTIFICATE, &files.certificate).env(KEY, &files.key);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let duration = Duration::from_secs(settings.seconds);
        Ok(Self { process: command.spawn().context("the hostile tenants")?, duration })
    }

    /// Waits for their end.
    pub(super) async fn end(self) -> anyhow::Result<Attack> {
        let output = self.process.wait_with_output().await?;
        if !output.status.success() {
            bail!("the hostile tenants ended with {}", output.status);
        }
        let result: Value = serde_json::from_slice(&output.stdout)?;
        let answers = result["answers"].as_str().context("answers")?.to_owned();
        let seconds = result["processor"].as_f64().context("processor")?;
        Ok(Attack { answers, cores: seconds / self.duration.as_secs_f64() })
    }
}

/// The hostile tenants themselves: `PORT SECONDS [KIND]...`. Prints the result as JSON.
pub(crate) fn hostile_tenants(arguments: &[String]) -> anyhow::Result<()> {
    let [port, seconds, only @ ..] = arguments else {
        bail!("usage: {PART} PORT SECONDS [KIND]...")
    };
    let kinds = fifty(only)?;
    let file = |variable| std::env::var_os(variable).map(PathBuf::from);
    let files = file(CERTIFICATE).zip(file(KEY));
    let certificate =
        files.map(|(certificate, key)| ClientCertificate(ServerFiles { certificate, key }));
    let (port, seconds) = (port.parse()?, Duration::from_secs(seconds.parse()?));
    raise_descriptor_limit()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let answers = runtime.block_on(async {
        let targets = Targets::new(port, certificate).await?;
        let attack = run(targets.clone(), &kinds, RAMP);
        if let Ok(ended) = tokio::time::timeout(seconds, attack).await {
            ended?;
        }
        anyhow::Ok(targets.answers())
    })?;
    let processor = processor(std::process::id())?.as_secs_f64();
    let result = json!({ "answers": answers.to_string(), "processor": processor });
    writeln!(std::io::stdout(), "{result}")?;
    // Tasks that still wait for the gate are not waited for.
    runtime.shutdown_background();
    Ok(())
}
