//! `sign-blob`: signs a file with a key; the signature is a bundle, or text for `--signature`.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use sealgate_core::bundle::Bundle;
use sealgate_core::digest::Digest;
use sealgate_core::verify::{Artifact, BlobSignature, KeyAuthority, verify_blob};
use sealgate_keys::KeyPair;
use serde_json::json;

use crate::cli::files::{self, Mode};
use crate::cli::keys::{self, TokenFlags};
use crate::cli::signing::SigningServices;
use crate::cli::values::{BOOL, go_bool, refuse_given};
use crate::failure::{CliError, Outcome};
use crate::session::Session;
use crate::terminal;

/// Sign files with a key
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

    /// Without meaning: there is no certificate
    #[arg(long, alias = "output-cert", value_name = "FILE", hide = true)]
    output_certificate: Option<PathBuf>,

    /// false writes the bundle of cosign 1 and 2
    #[arg(long, value_name = BOOL, value_parser = go_bool, hide = true)]
    new_bundle_format: Option<bool>,

    /// Algorithm of the ephemeral key of keyless signing
    #[arg(long, value_name = "ALGORITHM", hide = true)]
    signing_algorithm: Option<String>,

    #[arg(long, hide = true)]
    rfc3161_timestamp: Option<String>,

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
    let signer = keys::signer(args.services.for_key(args.key.as_deref())?).await?;
    for blob in &args.blobs {
        let source = files::open_or_stdin(blob)?;
        let (signature, digest) = signer.sign_reader(source).map_err(|error| {
            CliError::from(error).during(&format!("signing {}", blob.display()))
        })?;
        check(&signer, &signature, &digest)?;
        if let Some(path) = &args.bundle {
            let text = match args.new_bundle_format {
                Some(false) => {
                    json!({ "base64Signature": STANDARD.encode(&signature) }).to_string()
                }
                _ => Bundle::of_message(digest, signature.clone(), signer.public()).to_json(),
            };
            files::write(path, text.as_bytes(), Mode::Private)?;
            terminal::say(format!("Wrote bundle to file {}", path.display()));
        }
        args.give(&signature, session)?;
    }
    Ok(())
}

/// Nothing is given out unless our own verifier accepts it. (Ed25519 signs whole content, which is
/// gone by now; its signatures are checked where they are made.)
fn check(signer: &KeyPair, signature: &[u8], digest: &Digest) -> Outcome {
    let authority = KeyAuthority { keys: vec![signer.public().clone()], hash: Some(signer.hash()) };
    if authority.blob_digests().is_none() {
        return Ok(());
    }
    let artifact = Artifact::Digests(std::slice::from_ref(digest));
    verify_blob(
        BlobSignature::Detached(&STANDARD.encode(signature).into_bytes()),
        &authority,
        artifact,
    )
    .map(drop)
    .map_err(|reason| CliError::new(format!("the signature that was made is bad: {reason}")))
}

impl SignBlobArgs {
    fn check(&self) -> Outcome {
        self.token.check()?;
        let timestamp = [("--rfc3161-timestamp", self.rfc3161_timestamp.is_some())];
        refuse_given(&timestamp, "timestamp authorities come with a later version")?;
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
        for (flag, given) in [
            ("--signing-algorithm", self.signing_algorithm.is_some()),
            ("--output-certificate", self.output_certificate.is_some()),
        ] {
            if given {
                terminal::warn(format!("{flag} has no meaning when signing with --key"));
            }
        }
        Ok(())
    }

    /// The bare signature, where it is asked for: to a file, or to standard output if there is no
    /// new bundle to hold it.
    fn give(&self, signature: &[u8], session: &mut Session) -> Outcome {
        let encoded = self.b64 != Some(false);
        if let Some(path) = &self.output_signature {
            let text = STANDARD.encode(signature);
            let content = if encoded { text.as_bytes() } else { signature };
            files::write(path, content, Mode::Private)?;
            terminal::say(format!("Wrote signature to file {}", path.display()));
            return Ok(());
        }
        let in_bundle = self.bundle.is_some() && self.new_bundle_format != Some(false);
        match encoded {
            _ if in_bundle => Ok(()),
            true => session.line(STANDARD.encode(signature)),
            false => session.print(signature),
        }
    }
}
