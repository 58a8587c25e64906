//! The file of unfinished signatures: pending signatures as a JSON document, from which signing is
//! resumed.
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
use sealgate_core::key::PublicKey;
use sealgate_core::manifest::Descriptor;
use sealgate_core::reference::Reference;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pending::{
    PendingArtifacts, PendingBundle, PendingImage, PendingLegacy, PendingSignatures,
};
use super::verification_key::VerificationKey;
use crate::annotation;
use crate::failure::Failure;

const SCHEMA: &str = "sealgate.dev/unfinished/v1";
const MAX_CERTIFICATES: usize = 16;

/// The document.
#[derive(Serialize, Deserialize)]
struct Document {
    schema: String,
    key: String,
    certificates: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    images: Vec<ImageDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<BundleDocument>,
}

#[derive(Serialize, Deserialize)]
struct ImageDocument {
    image: String,
    subject: Descriptor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bundle: Option<BundleDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    legacy: Option<LegacyDocument>,
}

#[derive(Serialize, Deserialize)]
struct BundleDocument {
    bundle: Value,
    missing: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct LegacyDocument {
    payload: String,
    #[serde(flatten)]
    bundle: BundleDocument,
}

impl PendingSignatures {
    /// The size in bytes of the largest document that is read.
    pub const MAX: usize = 2 * MAX_BUNDLE;

    /// Writes the document.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, Failure> {
        let (images, blob) = match &self.artifacts {
            PendingArtifacts::Images(images) => {
                (images.iter().map(ImageDocument::of).collect::<Result<_, _>>()?, None)
            }
            PendingArtifacts::Blob(pending) => (Vec::new(), Some(BundleDocument::of(pending)?)),
        };
        let certificates = self.verification_key.certificates().iter().map(|der| pem::write(der));
        let document = Document {
            schema: SCHEMA.to_owned(),
            key: self.verification_key.key().to_pem(),
            certificates: certificates.collect(),
            images,
            blob,
        };
        serde_json::to_string_pretty(&document).map_err(invalid)
    }

    /// Reads such a document. Its content is untrusted: the signatures are verified again before
    /// they are uploaded or stored.
    ///
    /// # Errors
    /// The JSON is no such document.
    pub fn parse(json: &[u8]) -> Result<Self, Failure> {
        if json.len() > Self::MAX {
            return Err(invalid(format!("larger than {} bytes", Self::MAX)));
        }
        let document: Document = serde_json::from_slice(json).map_err(invalid)?;
        if document.schema != SCHEMA {
            return Err(invalid(format!("want the schema {SCHEMA}")));
        }
        let artifacts = match (document.images.is_empty(), document.blob) {
            (false, None) => {
                let images = document.images.into_iter().map(ImageDocument::read);
                PendingArtifacts::Images(images.collect::<Result<_, _>>()?)
            }
            (true, Some(blob)) => PendingArtifacts::Blob(Box::new(blob.read()?)),
            _ => return Err(invalid("want images, or a blob")),
        };
        let verification_key = verification_key(&document.key, &document.certificates)?;
        Ok(Self { verification_key, artifacts })
    }
}

fn verification_key(key: &str, certificates: &[String]) -> Result<VerificationKey, Failure> {
    let key = PublicKey::from_pem(key).map_err(invalid)?;
    if certificates.is_empty() {
        return Ok(VerificationKey::plain(key));
    }
    let chain = Unverified::of_pem(&certificates.concat(), MAX_CERTIFICATES)?;
    VerificationKey::certified(key, chain.iter().map(|found| found.der().to_vec()).collect())
}

impl ImageDocument {
    fn of(pending: &PendingImage) -> Result<Self, Failure> {
        Ok(Self {
            image: pending.reference.to_string(),
            subject: pending.subject.clone(),
            bundle: pending.bundle.as_ref().map(BundleDocument::of).transpose()?,
            legacy: pending.legacy.as_ref().map(LegacyDocument::of).transpose()?,
        })
    }

    fn read(self) -> Result<PendingImage, Failure> {
        let reference: Reference = self.image.parse().map_err(invalid)?;
        if reference.digest() != Some(&self.subject.digest) {
            return Err(invalid("the digest of an image is not that of its manifest"));
        }
        Ok(PendingImage {
            reference,
            subject: self.subject,
            bundle: self.bundle.map(BundleDocument::read).transpose()?,
            legacy: self.legacy.map(LegacyDocument::read).transpose()?,
        })
    }
}

impl BundleDocument {
    fn of(pending: &PendingBundle) -> Result<Self, Failure> {
        let bundle = serde_json::from_str(&pending.bundle.to_json()).map_err(invalid)?;
        Ok(Self { bundle, missing: pending.missing_logs.clone() })
    }

    fn read(self) -> Result<PendingBundle, Failure> {
        let bundle = Bundle::parse(self.bundle.to_string().as_bytes())?;
        Ok(PendingBundle { bundle, missing_logs: self.missing })
    }
}

impl LegacyDocument {
    fn of(pending: &PendingLegacy) -> Result<Self, Failure> {
        let payload = annotation::base64(&pending.payload);
        Ok(Self { payload, bundle: BundleDocument::of(&pending.bundle)? })
    }

    fn read(self) -> Result<PendingLegacy, Failure> {
        let payload = sealgate_core::base64::decode(&self.payload).map_err(invalid)?;
        Ok(PendingLegacy { payload, bundle: self.bundle.read()? })
    }
}

fn invalid(why: impl std::fmt::Display) -> Failure {
    Failure::Invalid(format!("not a file of unfinished signatures: {why}"))
}
