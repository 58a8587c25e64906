//! Claims of an identity token, parsed without verification: shown to the user before the identity
//! becomes public, and used to detect unusable tokens early.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sealgate_core::fault::{Fault, FaultKind};
use serde::Deserialize;

use crate::http::printable;

/// Maximum size of a token, in bytes; a larger one fits in no header.
pub(super) const MAX_TOKEN: usize = 16 << 10;
/// Longest text of a claim, in characters.
const MAX_TEXT: usize = 400;
const MAX_AUDIENCES: usize = 32;

/// Claims of a token. Texts are safe for terminals: bounded, no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `email`.
    pub email: Option<Email>,
    /// CI workflow in the token, which the certificate names instead of the subject.
    pub workflow: Option<String>,
    /// `aud`.
    pub audience: Vec<String>,
    /// `exp`.
    pub expires: Option<Timestamp>,
    /// `federated_claims.connector_id`: identity provider used with an issuer that federates
    /// logins; certificates of the public-good instance name it as the issuer.
    pub connector: Option<String>,
    pub(super) nonce: Option<String>,
}

/// E-mail address and its verification state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// E-mail address.
    pub address: String,
    /// Verification state according to the issuer.
    pub checked: Checked,
}

/// Verification state of an e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// `email_verified` is true.
    Yes,
    /// `email_verified` is false or missing.
    No,
}

/// Problem because of which a certificate authority may refuse a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The token has expired.
    Expired(Timestamp),
    /// The token has no expiry.
    NoExpiry,
    /// The token has another audience.
    Audience {
        /// Expected audience.
        wanted: String,
        /// Audiences of the token.
        found: Vec<String>,
    },
    /// The issuer has not verified the e-mail address.
    EmailNotVerified(String),
    /// The token has no subject.
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
    email_verified: Option<BoolOrString>,
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

/// Boolean that some issuers write as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum BoolOrString {
    Boolean(bool),
    Text(String),
}

/// Parses the claims of a token without verifying it.
///
/// # Errors
/// An error if the text is not a JSON web token, or is larger than 16 KiB. The message shows
/// nothing of it.
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

/// Decoded second part of three. All three parts must be base64url.
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
    /// Identity as Fulcio writes it into the certificate: the e-mail address; for a GitHub or
    /// GitLab job, the URI of its workflow; otherwise the subject. The certificate is
    /// authoritative.
    pub fn identity(&self) -> &str {
        let email = self.email.as_ref().map(|email| &email.address);
        email.or(self.workflow.as_ref()).unwrap_or(&self.subject)
    }

    /// Problems at the time `now`. Without `audience`, the audience is not checked.
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
            Some(BoolOrString::Boolean(true)) => Checked::Yes,
            Some(BoolOrString::Text(text)) if text.eq_ignore_ascii_case("true") => Checked::Yes,
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
            // Whole seconds are sufficient; an invalid time counts as no expiry.
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
            Self::Expired(at) => write!(f, "the identity token expired at {at}"),
            Self::NoExpiry => f.write_str("the identity token has no expiry"),
            Self::Audience { wanted, found } if found.is_empty() => {
                write!(f, "the identity token has no audience; expected {wanted:?}")
            }
            Self::Audience { wanted, found } => {
                let found = found.join(", ");
                write!(f, "the identity token has the audience {found}, not {wanted}")
            }
            Self::EmailNotVerified(address) => {
                write!(f, "the issuer has not verified the e-mail address {address}")
            }
            Self::NoSubject => f.write_str("the identity token has no subject"),
        }
    }
}
