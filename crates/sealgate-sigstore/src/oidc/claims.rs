//! What an identity token says, read without verifying: to tell a person whose identity will
//! become public, and to see before anything is asked that a token is of no use.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;

use crate::http::printable;

/// The largest token that is looked at; a larger one fits no header.
pub(super) const MAX_TOKEN: usize = 16 << 10;
/// Of a claim's text, in characters.
const MAX_TEXT: usize = 400;
const MAX_AUDIENCES: usize = 32;

/// The claims of a token. Its texts are fit to be shown: bounded, no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `email`.
    pub email: Option<Email>,
    /// The CI job that the token is about: what a certificate names instead of the subject.
    pub workflow: Option<String>,
    /// `aud`.
    pub audience: Vec<String>,
    /// `exp`.
    pub expires: Option<Timestamp>,
    /// `federated_claims.connector_id`: where the person logged in, for an issuer that stands
    /// between; the public-good certificates name this as their issuer.
    pub connector: Option<String>,
    pub(super) nonce: Option<String>,
}

/// An address, and whether the issuer has made sure of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The address.
    pub address: String,
    /// What the issuer says of it.
    pub checked: Checked,
}

/// Whether an issuer has made sure that an address is the person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// `email_verified` is true.
    Yes,
    /// It is not.
    No,
}

/// What may keep a certificate authority from taking a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// It has expired.
    Expired(Timestamp),
    /// It does not say when it expires.
    NoExpiry,
    /// It is for somebody else.
    Audience {
        /// For whom it should be.
        wanted: String,
        /// For whom it is.
        found: Vec<String>,
    },
    /// The issuer has not made sure of the e-mail address.
    EmailNotVerified(String),
    /// It names nobody.
    NoSubject,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    sub: String,
    job_workflow_ref: Option<String>,
    ci_config_ref_uri: Option<String>,
    email: Option<String>,
    email_verified: Option<Truth>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nonce: Option<String>,
    federated_claims: Option<Federated>,
}

#[derive(Deserialize)]
struct Federated {
    connector_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Some issuers write it as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Truth {
    Boolean(bool),
    Text(String),
}

/// Reads a token's claims. Verifies nothing.
///
/// # Errors
/// It is no JSON web token, or larger than 16 KiB. The message shows nothing of it.
pub fn claims(token: &str) -> Result<Claims, Fault> {
    let bad = |why| Fault::new(FaultKind::Malformed, "identity token", why);
    if token.len() > MAX_TOKEN {
        return Err(Fault::new(FaultKind::TooLarge, "identity token", "is longer than 16 KiB"));
    }
    let payload = payload(token).ok_or_else(|| bad("is not a JSON web token"))?;
    let document: Document =
        serde_json::from_slice(&payload).map_err(|_| bad("has claims that cannot be read"))?;
    Ok(document.into())
}

/// The decoded second part of three. Header and payload must be base64url, the signature too.
fn payload(token: &str) -> Option<Vec<u8>> {
    let mut parts = token.split('.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || signature.is_empty() {
        return None;
    }
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok();
    let header = decode(header)?;
    decode(signature)?;
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&header).ok()?;
    decode(payload)
}

impl Claims {
    /// Who signs, as Fulcio writes it into the certificate: the e-mail address, of a job on GitHub or
    /// GitLab the address of its workflow, else the subject. The certificate decides.
    pub fn identity(&self) -> &str {
        let email = self.email.as_ref().map(|email| &email.address);
        email.or(self.workflow.as_ref()).unwrap_or(&self.subject)
    }

    /// What may keep an authority from taking it at `now`; without `audience` that is not asked.
    pub fn warnings(&self, now: Timestamp, audience: Option<&str>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        match self.expires {
            Some(at) if at <= now => warnings.push(Warning::Expired(at)),
            Some(_) => {}
            None => warnings.push(Warning::NoExpiry),
        }
        if let Some(wanted) = audience.filter(|wanted| !self.is_for(wanted)) {
            let wanted = wanted.to_owned();
            warnings.push(Warning::Audience { wanted, found: self.audience.clone() });
        }
        match &self.email {
            Some(Email { address, checked: Checked::No }) => {
                warnings.push(Warning::EmailNotVerified(address.clone()));
            }
            None if self.subject.is_empty() => warnings.push(Warning::NoSubject),
            _ => {}
        }
        warnings
    }

    pub(super) fn is_for(&self, audience: &str) -> bool {
        self.audience.iter().any(|found| found == audience)
    }
}

impl From<Document> for Claims {
    fn from(document: Document) -> Self {
        let text = |text: String| printable(&text, MAX_TEXT);
        let checked = match &document.email_verified {
            Some(Truth::Boolean(true)) => Checked::Yes,
            Some(Truth::Text(text)) if text.eq_ignore_ascii_case("true") => Checked::Yes,
            _ => Checked::No,
        };
        let email = document.email.filter(|address| !address.is_empty());
        let github = document.job_workflow_ref.map(|path| format!("https://github.com/{path}"));
        let gitlab = document.ci_config_ref_uri.map(|address| format!("https://{address}"));
        let audience = match document.aud {
            Some(Audience::One(one)) => vec![one],
            Some(Audience::Many(many)) => many,
            None => Vec::new(),
        };
        Self {
            issuer: text(document.iss),
            subject: text(document.sub),
            email: email.map(|address| Email { address: text(address), checked }),
            workflow: github.or(gitlab).map(text),
            audience: audience.into_iter().take(MAX_AUDIENCES).map(text).collect(),
            // Whole seconds are enough; what is no time is no expiry.
            expires: document.exp.and_then(|at| Timestamp::from_second(at as i64).ok()),
            connector: document.federated_claims.and_then(|f| f.connector_id).map(text),
            nonce: document.nonce.map(text),
        }
    }
}

impl fmt::Display for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (issuer {}", self.identity(), self.issuer)?;
        if let Some(connector) = &self.connector {
            write!(f, ", logged in at {connector}")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(at) => write!(f, "the identity token has expired, at {at}"),
            Self::NoExpiry => f.write_str("the identity token does not say when it expires"),
            Self::Audience { wanted, found } if found.is_empty() => {
                write!(f, "the identity token has no audience; {wanted:?} is usual")
            }
            Self::Audience { wanted, found } => {
                let found = found.join(", ");
                write!(f, "the identity token is for the audience {found}, not for {wanted}")
            }
            Self::EmailNotVerified(address) => {
                write!(f, "the issuer has not verified the e-mail address {address}")
            }
            Self::NoSubject => f.write_str("the identity token names nobody"),
        }
    }
}
