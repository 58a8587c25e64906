//! `sign-blob`: signs files, with a key or keyless. The signature is a bundle, or base64 text for
//! `verify-blob --signature`.

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
use crate::cli::signing::plan::{CommandFlags, ServiceAccess, SignatureFormat, SigningPlan};
use crate::cli::signing::resume::{self, ResumeFile};
use crate::cli::signing::{Refusal, Signing, SigningFlags, open, reopen, report};
use crate::cli::values::{BOOL, go_bool};
use crate::failure::{CliError, Outcome};
use crate::session::Session;
use crate::terminal;

/// The command that resumes an unfinished signature, up to the file's name.
const RESUME: &str = "sealgate sign-blob --bundle BUNDLE FILE --resume";

/// Sign files
///
/// With --key, no service is contacted, unless flags or a signing configuration name one. Verifying
/// such a signature needs --insecure-ignore-tlog with `cosign verify-blob --key`, and with
/// `sealgate verify-blob --key` if a trust root is configured. With --tlog-upload or
/// --signing-config FILE, the signature is logged and verifies without that flag. Without --key,
/// the signer is identified by an identity token (keyless).
///
/// To write a Sigstore bundle, use --bundle FILE. Without it, or with --new-bundle-format=false,
/// the signature is printed in base64 (--output-signature FILE writes it to a file).
#[derive(Args, Debug)]
pub(crate) struct SignBlobArgs {
    /// Private key: a file, env://VAR or k8s://NAMESPACE/SECRET
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Write a bundle with everything that verification needs to FILE
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// Write the signature to FILE
    #[arg(long, alias = "output", value_name = "FILE")]
    output_signature: Option<PathBuf>,

    /// Write the signature in base64
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    b64: Option<bool>,

    /// Write the certificate to FILE (base64-encoded PEM, as cosign does)
    #[arg(long, alias = "output-cert", value_name = "FILE", hide = true)]
    output_certificate: Option<PathBuf>,

    /// With false, write the bundle format of cosign 1 and 2
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    new_bundle_format: Option<bool>,

    /// Algorithm of the ephemeral key (keyless): ecdsa-sha2-256-nistp256 (default),
    /// ecdsa-sha2-384-nistp384, ecdsa-sha2-512-nistp521, rsa-sign-pkcs1-{2048,3072,4096}-sha256
    #[arg(long, value_name = "ALGORITHM")]
    signing_algorithm: Option<String>,

    /// Write the timestamp to FILE, as cosign 1 and 2 do
    #[arg(long, value_name = "FILE", hide = true)]
    rfc3161_timestamp: Option<PathBuf>,

    /// Do not ask for confirmation
    #[arg(short, long, value_name = BOOL, value_parser = go_bool)]
    yes: Option<bool>,

    #[command(flatten)]
    token: TokenFlags,

    #[command(flatten)]
    signing: SigningFlags,

    /// Files to sign (- is standard input)
    #[arg(value_name = "BLOB", required = true)]
    blobs: Vec<PathBuf>,
}

pub(crate) async fn run(args: SignBlobArgs, session: &mut Session) -> Outcome {
    match args.plan()? {
        SignBlobPlan::Sign(plan) => args.sign(&plan, session).await,
        SignBlobPlan::Resume { file, blob, access } => {
            args.resume(&file, &blob, &access, session).await
        }
    }
}

/// A plan to sign blobs.
#[derive(Debug)]
pub(crate) enum SignBlobPlan {
    /// Signs the blobs of the command line.
    Sign(Box<SigningPlan>),
    /// Resumes an unfinished signature over a blob.
    Resume { file: PathBuf, blob: PathBuf, access: ServiceAccess },
}

/// The reason why a blob was not signed.
enum Unsigned {
    /// The blob could not be read, or the key could not sign.
    Cli(CliError),
    /// The signature over the blob with this digest could not be published.
    Engine(SignFailure, Digest),
}

/// Signs a blob, which is read once and not kept, unless the key signs whole content.
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
    /// Plans to sign or to resume, or refuses. A pure function of the flags.
    pub(crate) fn plan(&self) -> Result<SignBlobPlan, Refusal> {
        self.token.check_signing()?;
        let files = [
            ("--bundle", self.bundle.is_some()),
            ("--output-signature", self.output_signature.is_some()),
        ];
        let file = files.iter().find(|(_, given)| *given);
        if let (Some((flag, _)), true) = (file, self.blobs.len() > 1) {
            return Err(Refusal::SeveralBlobs { flag });
        }
        let Some(file) = &self.signing.resume else {
            return Ok(SignBlobPlan::Sign(Box::new(self.signing.plan(self.command_flags())?)));
        };
        let [blob] = self.blobs.as_slice() else { return Err(Refusal::ResumeSeveralBlobs) };
        if self.key.is_some() {
            return Err(Refusal::ResumeWithKey);
        }
        let (file, blob, access) = (file.clone(), blob.clone(), self.signing.access()?);
        Ok(SignBlobPlan::Resume { file, blob, access })
    }

    fn command_flags(&self) -> CommandFlags<'_> {
        CommandFlags {
            key: self.key.as_deref(),
            algorithm: self.signing_algorithm.as_deref(),
            yes: self.yes == Some(true),
            format: match self.is_older() {
                true => SignatureFormat::Legacy,
                false => SignatureFormat::Bundle,
            },
            timestamp_file: self.rfc3161_timestamp.is_some(),
            ..CommandFlags::default()
        }
    }

    async fn sign(&self, plan: &SigningPlan, session: &mut Session) -> Outcome {
        let names: Vec<_> = self.blobs.iter().map(|blob| blob.display().to_string()).collect();
        let signing = open(plan, &names).await?;
        for blob in &self.blobs {
            let signed = sign(&signing, blob).await;
            let signed = signed.map_err(|failure| self.keep(failure, &signing, blob))?;
            self.write(&signed, &signing.key, session)?;
        }
        signing.report_unlogged();
        Ok(())
    }

    /// True if the bundle is in the format of cosign 1 and 2.
    fn is_older(&self) -> bool {
        self.new_bundle_format == Some(false)
    }

    fn keep(&self, failure: Unsigned, signing: &Signing, blob: &Path) -> CliError {
        match failure {
            Unsigned::Cli(error) => error,
            Unsigned::Engine(failure @ SignFailure::Unfinished(_), digest) => {
                let bundle = self.bundle.as_deref();
                let file = ResumeFile { bundle, digest: &digest, command: RESUME };
                resume::keep(failure, signing, file)
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

    /// `--resume`: uploads to the logs that lack an entry.
    async fn resume(
        &self,
        file: &Path,
        blob: &Path,
        access: &ServiceAccess,
        session: &mut Session,
    ) -> Outcome {
        let (signatures, services) = resume::read(file)?;
        let PendingArtifacts::Blob(pending) = signatures.artifacts else {
            return Err(CliError::new(format!("{}: it is about images", file.display()))
                .note("use `sealgate sign --resume`"));
        };
        let key = signatures.verification_key;
        let transparency = reopen(access, &key, &services).await?;
        let content = files::read_or_stdin(blob, MAX_HELD)?;
        let artifact = Artifact::Content(&content);
        let signed = resume_blob(*pending, artifact, &key, &transparency).await;
        let signed = signed.map_err(|failure| match failure {
            SignFailure::Unfinished(unfinished) => {
                let digest = &Digest::with(Algorithm::Sha256, &content);
                let bundle = self.bundle.as_deref();
                let file = ResumeFile { bundle, digest, command: RESUME };
                resume::keep_with(&unfinished, &services.logs, file)
            }
            other => other.into(),
        })?;
        self.write(&signed, &key, session)
    }

    /// Writes the bundle, and the bare signature where it is asked for: to files, or to standard
    /// output if there is no bundle that contains it.
    fn write(&self, signed: &SignedBlob, key: &VerificationKey, session: &mut Session) -> Outcome {
        report::log_entries(&signed.log);
        if let Some(path) = &self.bundle {
            let older = || report::older_bundle(&signed.signature, &signed.log, key);
            let text = if self.is_older() { older() } else { signed.bundle.clone() };
            files::write(path, text.as_bytes(), Mode::Private)?;
            terminal::say(format!("Wrote bundle to file {}", path.display()));
        }
        self.write_parts(signed, key)?;
        self.write_signature(&signed.signature, session)
    }

    fn write_parts(&self, signed: &SignedBlob, key: &VerificationKey) -> Outcome {
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
                return Err(Refusal::NoTimestamp.into());
            }
            files::write(path, timestamp.as_bytes(), Mode::Private)?;
            terminal::say(format!("Timestamp wrote in the file {}", path.display()));
        }
        Ok(())
    }

    fn write_signature(&self, signature: &str, session: &mut Session) -> Outcome {
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
