//! Signatures that were made and could not be brought to their end, in a form that can be kept in
//! a file: nothing of them was stored, and what a log has taken stands in them.
//!
//! ```json
//! {"schema":"sealgate.dev/unfinished/v1","key":"<PEM>","certificates":["<PEM>"],
//!  "images":[{"image":"repository@digest","subject":{},
//!             "bundle":{"bundle":{},"missing":["<log>"]},
//!             "legacy":{"payload":"<base64>","bundle":{},"missing":[]}}],
//!  "blob":{"bundle":{},"missing":[]}}
//! ```

use sealgate_core::bundle::{Bundle, MAX_BUNDLE};
use sealgate_core::certificate::{Unverified, pem};
use sealgate_core::fault::{Fault, FaultKind};
use sealgate_core::key::PublicKey;
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::Reference;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;
use crate::sign::{ImageDraft, LegacyDraft};
use crate::transparency::{Draft, Signatory};

const SCHEMA: &str = "sealgate.dev/unfinished/v1";
const MAX_CERTIFICATES: usize = 16;

/// Signatures that were made and could not be brought to their end: nothing of them was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Which step failed.
    pub step: Step,
    /// Why.
    pub cause: Failure,
    /// What is made.
    pub work: Work,
}

/// Signatures as far as they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Who signed.
    pub signatory: Signatory,
    /// What was signed.
    pub drafts: Drafts,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drafts {
    /// Images.
    Images(Vec<ImageDraft>),
    /// A blob.
    Blob(Box<Draft>),
}

/// A step at which signing can stop and go on later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A log did not take it.
    Log,
    /// The logs have it, the registry did not take it.
    Store,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct File {
    schema: String,
    key: String,
    certificates: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    images: Vec<Image>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<Kept>,
}

#[derive(Serialize, Deserialize)]
struct Image {
    image: String,
    subject: Descriptor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bundle: Option<Kept>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    legacy: Option<KeptLegacy>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    bundle: Value,
    missing: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct KeptLegacy {
    payload: String,
    #[serde(flatten)]
    kept: Kept,
}

impl Unfinished {
    /// The failure that keeps the work, unless going on could never succeed.
    pub(crate) fn failure(step: Step, cause: Failure, work: Work) -> Failure {
        match cause {
            Failure::Fault(Fault { kind: FaultKind::Unsupported | FaultKind::Config, .. }) => cause,
            _ => Failure::Unfinished(Box::new(Self { step, cause, work })),
        }
    }
}

impl Work {
    /// The largest file that is read.
    pub const MAX: usize = 2 * MAX_BUNDLE;

    /// As a document.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, Failure> {
        let (images, blob) = match &self.drafts {
            Drafts::Images(images) => {
                (images.iter().map(Image::of).collect::<Result<_, _>>()?, None)
            }
            Drafts::Blob(draft) => (Vec::new(), Some(Kept::of(draft)?)),
        };
        let certificates = self.signatory.certificates().iter().map(|der| pem::write(der));
        let file = File {
            schema: SCHEMA.to_owned(),
            key: self.signatory.key().to_pem(),
            certificates: certificates.collect(),
            images,
            blob,
        };
        serde_json::to_string_pretty(&file).map_err(invalid)
    }

    /// Reads such a document. Nothing in it is believed: what it leads to is verified before it
    /// is told to a log or stored.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(json: &[u8]) -> Result<Self, Failure> {
        if json.len() > Self::MAX {
            return Err(invalid(format!("larger than {} bytes", Self::MAX)));
        }
        let file: File = serde_json::from_slice(json).map_err(invalid)?;
        if file.schema != SCHEMA {
            return Err(invalid(format!("want the schema {SCHEMA}")));
        }
        let drafts = match (file.images.is_empty(), file.blob) {
            (false, None) => {
                Drafts::Images(file.images.into_iter().map(Image::read).collect::<Result<_, _>>()?)
            }
            (true, Some(blob)) => Drafts::Blob(Box::new(blob.read()?)),
            _ => return Err(invalid("want images, or a blob")),
        };
        Ok(Self { signatory: signatory(&file.key, &file.certificates)?, drafts })
    }

    /// The addresses of the logs that have not taken everything yet, each once.
    pub fn missing(&self) -> Vec<String> {
        let mut missing: Vec<String> = match &self.drafts {
            Drafts::Blob(draft) => draft.missing.clone(),
            Drafts::Images(images) => {
                let drafts = images.iter().flat_map(ImageDraft::made);
                drafts.flat_map(|draft| draft.missing.clone()).collect()
            }
        };
        missing.sort();
        missing.dedup();
        missing
    }

    /// Whether an authority has signed the time of everything in it.
    pub fn is_timestamped(&self) -> bool {
        let stamped = |draft: &Draft| !draft.bundle.log.timestamps.is_empty();
        match &self.drafts {
            Drafts::Blob(draft) => stamped(draft),
            Drafts::Images(images) => images.iter().flat_map(ImageDraft::made).all(stamped),
        }
    }
}

fn signatory(key: &str, certificates: &[String]) -> Result<Signatory, Failure> {
    let key = PublicKey::from_pem(key).map_err(invalid)?;
    if certificates.is_empty() {
        return Ok(Signatory::of_key(key));
    }
    let chain = Unverified::of_pem(&certificates.concat(), MAX_CERTIFICATES)?;
    Signatory::certified(key, chain.iter().map(|found| found.der().to_vec()).collect())
}

impl Image {
    fn of(draft: &ImageDraft) -> Result<Self, Failure> {
        Ok(Self {
            image: draft.reference.to_string(),
            subject: draft.subject.clone(),
            bundle: draft.bundle.as_ref().map(Kept::of).transpose()?,
            legacy: draft.legacy.as_ref().map(KeptLegacy::of).transpose()?,
        })
    }

    fn read(self) -> Result<ImageDraft, Failure> {
        let reference: Reference = self.image.parse().map_err(invalid)?;
        if reference.digest() != Some(&self.subject.digest) {
            return Err(invalid("an image and its digest are not the same"));
        }
        Ok(ImageDraft {
            reference,
            subject: self.subject,
            bundle: self.bundle.map(Kept::read).transpose()?,
            legacy: self.legacy.map(KeptLegacy::read).transpose()?,
        })
    }
}

impl Kept {
    fn of(draft: &Draft) -> Result<Self, Failure> {
        let bundle = serde_json::from_str(&draft.bundle.to_json()).map_err(invalid)?;
        Ok(Self { bundle, missing: draft.missing.clone() })
    }

    fn read(self) -> Result<Draft, Failure> {
        let bundle = Bundle::parse(self.bundle.to_string().as_bytes())?;
        Ok(Draft { bundle, missing: self.missing })
    }
}

impl KeptLegacy {
    fn of(legacy: &LegacyDraft) -> Result<Self, Failure> {
        let payload = crate::annotation::base64(&legacy.payload);
        Ok(Self { payload, kept: Kept::of(&legacy.draft)? })
    }

    fn read(self) -> Result<LegacyDraft, Failure> {
        let payload = sealgate_core::base64::decode(&self.payload).map_err(invalid)?;
        Ok(LegacyDraft { payload, draft: self.kept.read()? })
    }
}

fn invalid(why: impl std::fmt::Display) -> Failure {
    Failure::Invalid(format!("not a file of unfinished signatures: {why}"))
}
