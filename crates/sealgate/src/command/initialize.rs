//! `initialize`: sets the TUF mirror of the trust root, and fetches the trust root.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use clap::Args;
use jiff::Timestamp;
use sealgate_sigstore::root::{
    Environment, Initialize, Initialized, PUBLIC_GOOD, RootError, STAGING, initialize,
};
use sealgate_sigstore::tuf::{MAX_ROOT, check_anchor};
use serde_json::{Value, json};

use crate::cli::values::{BOOL, go_bool};
use crate::cli::{fetch, files};
use crate::failure::{CliError, Outcome};
use crate::output::{self, Format};
use crate::session::Session;
use crate::terminal;

/// `--timeout` may be shorter.
const DEADLINE: Duration = Duration::from_secs(120);

/// Select the TUF mirror for the trust root, and fetch the trust root
///
/// The initial TUF roots of the public-good mirror and the staging mirror are embedded in the
/// program; for any other mirror, pass it with --root. The trust root is cached in ~/.sigstore/root
/// (TUF_ROOT), the same folder that cosign uses. From then on, `verify` uses it and checks the
/// mirror for updates once a day; if the mirror cannot be reached, verification uses the cached
/// copy.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct InitializeArgs {
    /// TUF repository: https://…, http://…, file:///… or a folder
    #[arg(long, value_name = "URL", default_value = PUBLIC_GOOD)]
    mirror: String,

    /// Initial TUF root of the mirror: a file or a URL
    #[arg(long, value_name = "FILE|URL")]
    root: Option<String>,

    /// SHA-256 checksum of the initial root (or sha512:…)
    #[arg(long, value_name = "DIGEST", requires = "root")]
    root_checksum: Option<String>,

    /// Use Sigstore's staging services
    #[arg(long, value_name = BOOL, value_parser = go_bool)]
    staging: Option<bool>,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
}

pub(crate) async fn run(args: InitializeArgs, session: &mut Session) -> Outcome {
    session.errors = args.output.errors();
    let mirror = args.mirror()?;
    let root = match &args.root {
        Some(place) => Some(root(place, args.root_checksum.as_deref()).await?),
        None => None,
    };
    let environment = Environment::read(|name| std::env::var_os(name));
    let wanted = Initialize { mirror, root, deadline: DEADLINE };
    let done = initialize(&environment, wanted, Timestamp::now()).await?;
    for skipped in &done.root.skipped {
        terminal::warn(format!("not used: {}: {}", skipped.uri, skipped.reason));
    }
    match args.output {
        Format::Json => output::document(session, "initialize", document(&done)),
        Format::Text => session.line(format!("Root status: \n{}", status(&done))),
    }
}

impl InitializeArgs {
    fn mirror(&self) -> Result<String, CliError> {
        if self.staging != Some(true) {
            return Ok(self.mirror.clone());
        }
        if self.root.is_some() || self.mirror != PUBLIC_GOOD {
            return Err(CliError::new("--staging goes with neither --mirror nor --root")
                .note("it means the mirror of Sigstore's staging services, and its own root"));
        }
        Ok(STAGING.to_owned())
    }
}

/// The TUF root of `--root`. Without encryption a checksum is required.
async fn root(place: &str, checksum: Option<&str>) -> Result<Vec<u8>, CliError> {
    let expected = checksum.map(Checksum::parse).transpose()?;
    let (plain, tls) = (place.starts_with("http://"), place.starts_with("https://"));
    let bytes = match plain || tls {
        true => {
            match (&expected, plain) {
                (Some(_), _) => {}
                (None, false) => terminal::warn(
                    "Fetching initial root from URL without providing its checksum is deprecated. \
                     Please provide the initial root checksum via the --root-checksum argument.",
                ),
                (None, true) => {
                    return Err(CliError::new(format!("{place}: a root without a checksum"))
                        .note("it could be modified in transit: give --root-checksum"));
                }
            }
            fetch::bytes(place, MAX_ROOT).await?
        }
        false => files::read(Path::new(place.strip_prefix("file://").unwrap_or(place)), MAX_ROOT)?,
    };
    expected.map_or(Ok(()), |expected| expected.check(place, &bytes))?;
    // Before the mirror is contacted: an error in this file is not the mirror's.
    check_anchor(&bytes).map_err(|error| {
        CliError::new(format!("--root {place}: {error}"))
            .note("what to do: give the mirror's root metadata, such as its first N.root.json")
    })?;
    Ok(bytes)
}

struct Checksum {
    algorithm: &'static aws_lc_rs::digest::Algorithm,
    value: Vec<u8>,
    text: String,
}

impl Checksum {
    fn parse(text: &str) -> Result<Self, CliError> {
        let (algorithm, value) = match text.split_once(':') {
            None => (&SHA256, text),
            Some(("sha256", value)) => (&SHA256, value),
            Some(("sha512", value)) => (&SHA512, value),
            Some((other, _)) => {
                return Err(CliError::new(format!("unsupported checksum algorithm: {other}")));
            }
        };
        let bytes = hex::decode(value).ok().filter(|bytes| bytes.len() == algorithm.output_len());
        let wrong = || CliError::new(format!("wrong checksum input format: {text}"));
        Ok(Self { algorithm, value: bytes.ok_or_else(wrong)?, text: value.to_owned() })
    }

    fn check(&self, place: &str, bytes: &[u8]) -> Outcome {
        let found = digest(self.algorithm, bytes);
        if found.as_ref() == self.value {
            return Ok(());
        }
        let (expected, found) = (&self.text, hex::encode(found));
        Err(CliError::new(format!(
            "incorrect checksum for file {place}: expected {expected} but got {found}"
        )))
    }
}

/// The status of the TUF root as cosign prints it, in Go's layout.
fn status(done: &Initialized) -> String {
    let metadata = done.verified.roles.iter().map(|role| {
        let expiration = role.expires.strftime("%d %b %y %H:%M UTC").to_string();
        let value = json!({
            "version": role.version, "len": role.length, "expiration": expiration, "error": "",
        });
        (format!("{}.json", role.name), value)
    });
    let metadata: serde_json::Map<_, _> = metadata.collect();
    let status = json!({
        "local": done.cache,
        "remote": done.mirror,
        "metadata": metadata,
        "targets": done.verified.listed,
    });
    terminal::clean(&indented(&status)).into_owned()
}

fn indented(value: &Value) -> String {
    use serde::Serialize as _;
    let mut bytes = Vec::new();
    let layout = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, layout);
    // A value in memory can always be written.
    let _ = value.serialize(&mut writer);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn document(done: &Initialized) -> Value {
    let role = |role: &sealgate_sigstore::tuf::Role| {
        json!({
            "role": role.name, "version": role.version, "expires": role.expires.to_string(),
            "length": role.length,
        })
    };
    let root = &done.root;
    json!({
        "mirror": done.mirror,
        "cache": done.cache,
        "expires": done.verified.expires().to_string(),
        "metadata": done.verified.roles.iter().map(role).collect::<Vec<_>>(),
        "targets": done.verified.listed,
        "trustRoot": {
            "fingerprint": root.fingerprint().to_string(),
            "certificateAuthorities": root.certificate_authorities.len(),
            "transparencyLogs": root.transparency_logs.len(),
            "ctLogs": root.ct_logs.len(),
            "timestampAuthorities": root.timestamp_authorities.len(),
            "skipped": root.skipped.len(),
        },
    })
}

impl From<RootError> for CliError {
    fn from(error: RootError) -> Self {
        let made = Self::new(error.to_string());
        match error.remedy() {
            Some(remedy) => made.note(remedy),
            None => made,
        }
    }
}
