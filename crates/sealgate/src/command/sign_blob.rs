//! `sign-blob`: signs a file, with a key or as whoever an identity token names; the signature is a
//! bundle, or text for `--signature`.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use sealgate_core::certificate::pem;
use sealgate_core::digest::{Algorithm, Digest};
use sealgate_core::verify::Artifact;
use sealgate_engine::failure::Failure;
use sealgate_engine::ports::Signer as _;
use sealgate_engine::sign::{PendingArtifacts, SignFailure, VerificationKey};
use sealgate_engine::sign_blob::{SignedBlob, publish_blob, resume_blob};
use sealgate_engine::verify_blob::MAX_HELD;

use crate::cli::files::{self, Mode};
use crate::cli::keys::TokenFlags;
use crate::cli::signing::resume::{self, Place};
use crate::cli::signing::{Asked, Signing, SigningServices, Steps, made};
use crate::cli::values::{BOOL, go_bool};
use crate::failure::{CliError, Outcome};
use crate::session::Session;
use crate::terminal;

/// How to go on with what stayed unfinished.
const RESUME: &str = "sealgate sign-blob --bundle BUNDLE FILE --resume";

/// Sign files
///
/// With --key no service is contacted, unless flags or a signing configuration name one. `cosign
/// verify-blob --key` then needs --insecure-ignore-tlog, and so does `sealgate verify-blob --key`
/// where a trust root is configured; with --tlog-upload or --signing-config FILE the signature is
/// logged, and neither does. Without --key an identity token says who signs (keyless).
///
/// Give --bundle FILE for a Sigstore bundle. Without it, or with --new-bundle-format=false, the
/// signature is printed in base64 (--output-signature FILE writes it to a file).
#[derive(Args, Debug)]
pub(crate) struct SignBlobArgs {
    /// The private key: a file, env://VAR or k8s://NAMESPACE/SECRET
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Write everything needed to verify to FILE
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// Write the signature to FILE
    #[arg(long, alias = "output", value_name = "FILE")]
    output_signature: Option<PathBuf>,

    /// Whether the signature is written in base64
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    b64: Option<bool>,

    /// Write the certificate, PEM in base64 as cosign does, to FILE
    #[arg(long, alias = "output-cert", value_name = "FILE", hide = true)]
    output_certificate: Option<PathBuf>,

    /// false writes the bundle of cosign 1 and 2
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    new_bundle_format: Option<bool>,

    /// Algorithm of the ephemeral key (keyless): ecdsa-sha2-256-nistp256 (unless given),
    /// ecdsa-sha2-384-nistp384, ecdsa-sha2-512-nistp521, rsa-sign-pkcs1-{2048,3072,4096}-sha256
    #[arg(long, value_name = "ALGORITHM")]
    signing_algorithm: Option<String>,

    /// Write the timestamp to FILE, as cosign 1 and 2 do
    #[arg(long, value_name = "FILE", hide = true)]
    rfc3161_timestamp: Option<PathBuf>,

    /// Do not ask
    #[arg(short, long, value_name = BOOL, value_parser = go_bool)]
    yes: Option<bool>,

    #[command(flatten)]
    token: TokenFlags,

    #[command(flatten)]
    services: SigningServices,

    /// The files (- is standard input)
    #[arg(value_name = "BLOB", required = true)]
    blobs: Vec<PathBuf>,
}

pub(crate) async fn run(args: SignBlobArgs, session: &mut Session) -> Outcome {
    args.check()?;
    if let Some(path) = &args.services.resume {
        return args.go_on(path, session).await;
    }
    args.services.judge(args.key.as_deref())?;
    let what: Vec<_> = args.blobs.iter().map(|blob| blob.display().to_string()).collect();
    let asked = Asked {
        key: args.key.as_deref(),
        yes: args.yes == Some(true),
        what: &what,
        algorithm: args.signing_algorithm.as_deref(),
        legacy: args.is_older(),
        steps: Steps::Told,
    };
    let signing = args.services.open(asked).await?;
    for blob in &args.blobs {
        let signed = sign(&signing, blob).await;
        let signed = signed.map_err(|failure| args.keep(failure, &signing, blob))?;
        args.give(&signed, &signing.key, session)?;
    }
    signing.tell_unlogged(Steps::Told);
    Ok(())
}

/// Why a blob has no signature.
enum Unsigned {
    Cli(CliError),
    Engine(SignFailure, Digest),
}

/// Read once and not kept, unless the key signs whole content.
async fn sign(signing: &Signing, blob: &Path) -> Result<SignedBlob, Unsigned> {
    let Signing { signer, key, transparency, .. } = signing;
    let during =
        |error: CliError| Unsigned::Cli(error.during(&format!("signing {}", blob.display())));
    let unread = |error: CliError| during(error.during("getting payload"));
    if signer.public_key().needs_message() {
        let content = files::read_or_stdin(blob, MAX_HELD).map_err(unread)?;
        let signature = signer.sign_message(&content);
        let signature = signature.map_err(|error| during(error.into()))?;
        let digest = Digest::of(&content);
        let artifact = Artifact::Content(&content);
        let signed = publish_blob(signature, digest.clone(), artifact, key, transparency).await;
        return signed.map_err(|failure| Unsigned::Engine(failure, digest));
    }
    let source = files::open_or_stdin(blob).map_err(unread)?;
    let (signature, digest) = signer.sign_reader(source).map_err(|error| during(error.into()))?;
    let digests = [digest.clone()];
    let artifact = Artifact::Digests(&digests);
    let signed = publish_blob(signature, digest.clone(), artifact, key, transparency).await;
    signed.map_err(|failure| Unsigned::Engine(failure, digest))
}

impl SignBlobArgs {
    fn check(&self) -> Outcome {
        self.token.check()?;
        let files = [
            ("--bundle", self.bundle.is_some()),
            ("--output-signature", self.output_signature.is_some()),
        ];
        if let (Some((flag, _)), true) =
            (files.iter().find(|(_, given)| *given), self.blobs.len() > 1)
        {
            return Err(CliError::new(format!("{flag} names one file, and several are signed"))
                .note("sign them one by one"));
        }
        if self.signing_algorithm.is_some() && self.key.is_some() {
            terminal::warn("--signing-algorithm has no meaning when signing with --key");
        }
        Ok(())
    }

    /// Whether the bundle of cosign 1 and 2 is wanted.
    fn is_older(&self) -> bool {
        self.new_bundle_format == Some(false)
    }

    fn keep(&self, failure: Unsigned, signing: &Signing, blob: &Path) -> CliError {
        match failure {
            Unsigned::Cli(error) => error,
            Unsigned::Engine(failure @ SignFailure::Unfinished(_), digest) => {
                let bundle = self.bundle.as_deref();
                resume::keep(failure, signing, Place { bundle, digest: &digest, command: RESUME })
            }
            Unsigned::Engine(SignFailure::Failed(Failure::Rejected(reason)), _) => {
                CliError::new(format!("the signature that was made is bad: {reason}"))
                    .note(reason.remedy())
                    .during(&format!("signing {}", blob.display()))
            }
            Unsigned::Engine(other, _) => {
                CliError::from(other).during(&format!("signing {}", blob.display()))
            }
        }
    }

    /// `--resume`: tells the logs that are missing.
    async fn go_on(&self, path: &Path, session: &mut Session) -> Outcome {
        let [blob] = self.blobs.as_slice() else {
            return Err(CliError::new("--resume goes on with one file: give it"));
        };
        if self.key.is_some() {
            return Err(CliError::new("--resume goes on with what is signed: leave --key away"));
        }
        let (pending, services) = resume::read(path)?;
        let PendingArtifacts::Blob(blob_bundle) = pending.artifacts else {
            return Err(CliError::new(format!("{}: it is about images", path.display()))
                .note("use `sealgate sign --resume`"));
        };
        let key = pending.verification_key;
        let transparency = self.services.reopen(&key, &services).await?;
        let content = files::read_or_stdin(blob, MAX_HELD)?;
        let artifact = Artifact::Content(&content);
        let finished = resume_blob(*blob_bundle, artifact, &key, &transparency).await;
        let signed = finished.map_err(|failure| match failure {
            SignFailure::Unfinished(unfinished) => {
                let digest = &Digest::with(Algorithm::Sha256, &content);
                let place = Place { bundle: self.bundle.as_deref(), digest, command: RESUME };
                resume::keep_with(&unfinished, &services.logs, place)
            }
            other => other.into(),
        })?;
        self.give(&signed, &key, session)
    }

    /// The bundle, and the bare signature where it is asked for: to files, or to standard output
    /// if there is no new bundle to hold it.
    fn give(&self, signed: &SignedBlob, key: &VerificationKey, session: &mut Session) -> Outcome {
        made::tell_log_entries(&signed.log);
        if let Some(path) = &self.bundle {
            let older = || made::older_bundle(&signed.signature, &signed.log, key);
            let text = if self.is_older() { older() } else { signed.bundle.clone() };
            files::write(path, text.as_bytes(), Mode::Private)?;
            terminal::say(format!("Wrote bundle to file {}", path.display()));
        }
        self.give_parts(signed, key)?;
        self.give_signature(&signed.signature, session)
    }

    fn give_parts(&self, signed: &SignedBlob, key: &VerificationKey) -> Outcome {
        if let Some(path) = &self.output_certificate {
            match key.certificates().first() {
                Some(leaf) => {
                    let text = STANDARD.encode(pem::write(leaf));
                    files::write(path, text.as_bytes(), Mode::Private)?;
                    terminal::say(format!("Wrote certificate to file {}", path.display()));
                }
                None => terminal::warn("--output-certificate: there is no certificate to write"),
            }
        }
        if let Some(path) = &self.rfc3161_timestamp {
            let (_, timestamp) = signed.log.to_annotations();
            if timestamp.is_empty() {
                return Err(CliError::new("--rfc3161-timestamp: no timestamp authority was asked")
                    .note("name one with --timestamp-server-url, or in a signing config"));
            }
            files::write(path, timestamp.as_bytes(), Mode::Private)?;
            terminal::say(format!("Timestamp wrote in the file {}", path.display()));
        }
        Ok(())
    }

    fn give_signature(&self, signature: &str, session: &mut Session) -> Outcome {
        let encoded = self.b64 != Some(false);
        let raw = STANDARD.decode(signature).unwrap_or_default();
        if let Some(path) = &self.output_signature {
            let content = if encoded { signature.as_bytes() } else { raw.as_slice() };
            files::write(path, content, Mode::Private)?;
            terminal::say(format!("Wrote signature to file {}", path.display()));
            return Ok(());
        }
        let in_bundle = self.bundle.is_some() && !self.is_older();
        match encoded {
            _ if in_bundle => Ok(()),
            true => session.line(signature),
            false => session.print(raw),
        }
    }
}
