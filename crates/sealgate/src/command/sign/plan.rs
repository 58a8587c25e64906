//! The plan of `sign`: a pure function of its flags and of the environment.

use std::path::PathBuf;

use sealgate_core::reference::{Reference, Repository};
use sealgate_engine::legacy::MediaTypes;
use sealgate_engine::limits::Limits;
use sealgate_engine::sign::{Formats, SignRequest, Upload};

use super::{Format, Output, SignArgs, media_types};
use crate::cli::registry;
use crate::cli::signing::Refusal;
use crate::cli::signing::plan::{
    CommandFlags, Progress, ServiceAccess, SignatureFormat, SigningPlan,
};
use crate::cli::values;
use crate::command::limits;
use crate::failure::CliError;

/// The environment variables that `sign` reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `COSIGN_DOCKER_MEDIA_TYPES`.
    media_types: MediaTypes,
    /// `COSIGN_REPOSITORY`.
    signature_repository: Option<Repository>,
    /// `COSIGN_MAX_ATTACHMENT_SIZE`.
    limits: Limits,
}

/// A plan to sign images.
#[derive(Debug)]
pub(crate) struct SignPlan {
    /// The settings for the engine.
    pub(super) request: SignRequest,
    /// The images and the signer, or the file to resume from.
    pub(super) action: Action,
}

/// The images and the signer, or the file to resume from.
#[derive(Debug)]
pub(super) enum Action {
    /// Signs images.
    Sign { images: Vec<Reference>, signing: Box<SigningPlan> },
    /// Resumes unfinished signatures.
    Resume { file: PathBuf, access: ServiceAccess },
}

impl Environment {
    pub(super) fn read() -> Result<Self, CliError> {
        Ok(Self {
            media_types: media_types()?,
            signature_repository: registry::signature_repository()?,
            limits: limits()?,
        })
    }
}

impl SignArgs {
    /// Plans to sign, or refuses.
    pub(crate) fn plan(&self, environment: Environment) -> Result<SignPlan, Refusal> {
        self.check()?;
        let request = self.request(environment)?;
        let action = match &self.signing.resume {
            Some(file) => {
                if !self.images.is_empty() || self.key.is_some() {
                    return Err(Refusal::ResumeWithImages);
                }
                Action::Resume { file: file.clone(), access: self.signing.access()? }
            }
            None => {
                let signing = Box::new(self.signing.plan(self.command_flags(request.formats))?);
                Action::Sign { images: self.references()?, signing }
            }
        };
        Ok(SignPlan { request, action })
    }

    fn command_flags(&self, formats: Formats) -> CommandFlags<'_> {
        CommandFlags {
            key: self.key.as_deref(),
            yes: self.yes == Some(true),
            format: match formats {
                Formats::Bundle => SignatureFormat::Bundle,
                Formats::Legacy | Formats::Both => SignatureFormat::Legacy,
            },
            progress: match self.output {
                Output::Text => Progress::Shown,
                Output::Json => Progress::Hidden,
            },
            ..CommandFlags::default()
        }
    }

    /// Refuses what `sign` does not support, and a signature without a destination.
    fn check(&self) -> Result<(), Refusal> {
        let unsupported =
            |what: &str, why| Err(Refusal::Unsupported { what: what.to_owned(), why });
        self.token.check_signing()?;
        let from_image = "what is signed is always made from the image";
        if self.attachment.as_ref().is_some_and(|kind| !kind.is_empty()) {
            return unsupported("--attachment", from_image);
        }
        if self.payload.is_some() {
            return unsupported("--payload", from_image);
        }
        let formats = self.formats()?;
        if self.writes_nothing() && formats != Formats::Legacy {
            return Err(Refusal::NoDestination);
        }
        match self.registry_referrers_mode.as_deref() {
            Some("oci-1-1") if formats == Formats::Legacy => unsupported(
                "--registry-referrers-mode=oci-1-1 with the legacy format",
                "bundles are stored as referrers: omit the flag and use --format bundle",
            ),
            None | Some("legacy" | "oci-1-1") => Ok(()),
            Some(other) => Err(Refusal::ReferrersMode { value: other.to_owned() }),
        }
    }

    /// True if the signature goes neither to the registry nor to a file.
    pub(super) fn writes_nothing(&self) -> bool {
        self.upload == Some(false) && self.bundle.is_none() && self.output_signature.is_none()
    }

    fn formats(&self) -> Result<Formats, Refusal> {
        Ok(match (self.format, self.new_bundle_format) {
            (None, Some(false)) | (Some(Format::Legacy), None | Some(false)) => Formats::Legacy,
            (None, _) | (Some(Format::Bundle), None | Some(true)) => Formats::Bundle,
            (Some(Format::Both), None) => Formats::Both,
            (Some(_), Some(_)) => return Err(Refusal::TwoFormats),
        })
    }

    fn request(&self, environment: Environment) -> Result<SignRequest, Refusal> {
        let container_identity = match self.sign_container_identity.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            _ => {
                return Err(Refusal::Unsupported {
                    what: "several --sign-container-identity".to_owned(),
                    why: "give one, and sign again for each further name",
                });
            }
        };
        let annotations = values::annotations(&self.annotations);
        Ok(SignRequest {
            annotations: annotations.map_err(|error| Refusal::Annotation { error })?,
            formats: self.formats()?,
            upload: match self.upload {
                Some(false) => Upload::Nowhere,
                _ => Upload::Registry,
            },
            recursive: self.recursive == Some(true),
            media_types: environment.media_types,
            record_creation_timestamp: self.record_creation_timestamp == Some(true),
            container_identity,
            signature_repository: environment.signature_repository,
            tag_prefix: self.registry.tag_prefix(),
            limits: environment.limits,
        })
    }

    fn references(&self) -> Result<Vec<Reference>, Refusal> {
        let parse = |text: &String| {
            text.parse().map_err(|error| Refusal::Reference { text: text.clone(), error })
        };
        self.images.iter().map(parse).collect()
    }
}
