//! The AdmissionReview responses: an [`Answer`] of the engine to bytes.
//!
//! Border: pure. An answer that cannot be written (a pin for a field that was not in the request)
//! becomes a denial. The API server puts `admission webhook "NAME" denied the request: ` before the
//! message.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use sealgate_engine::admit::{Admission, Answer};
use sealgate_policy::decide;
use serde_json::{Value, json};

use crate::review::{Malformed, MalformedReason};

/// The prefix of every denial, as policy-controller's.
pub const DENIAL_PREFIX: &str = "validation failed: ";

/// The longest denial.
const MAX_MESSAGE: usize = 16 * 1024;
/// The longest audit annotation.
const MAX_ANNOTATION: usize = 4 * 1024;

/// The HTTP response to a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewResponse {
    /// 200 for every review that has a uid to answer to, also with a denial; otherwise 400 or 413.
    pub status: StatusCode,
    /// With 200, an AdmissionReview in JSON; otherwise text.
    pub body: Bytes,
}

impl ReviewResponse {
    /// The response with this AdmissionReview.
    pub fn ok(review: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, body: review.into() }
    }
}

/// The response of the validating webhook.
pub fn validated(uid: &str, answer: &Answer) -> Vec<u8> {
    write(response(uid, answer))
}

/// The response of the mutating webhook: the answer's pins as a JSON patch, which first tests that
/// each field still has the text of the request.
pub fn mutated(admission: &Admission, answer: &Answer) -> Vec<u8> {
    let mut body = response(&admission.uid, answer);
    if !answer.allowed || answer.pins.is_empty() {
        return write(body);
    }
    match patch(admission, &answer.pins) {
        Some(operations) => {
            attach_patch(&mut body, &operations);
            write(body)
        }
        None => {
            denied(&admission.uid, "internal error: a pin for a field that is not in the request")
        }
    }
}

/// The response that allows a review, for [`crate::review::Ask::Skip`].
pub fn allowed(uid: &str) -> Vec<u8> {
    write(response(uid, &plain(true, String::new())))
}

/// The response that denies a review with a message (the prefix is added).
pub fn denied(uid: &str, message: &str) -> Vec<u8> {
    write(response(uid, &plain(false, message.to_owned())))
}

/// The response to a review that could not be read.
pub fn malformed(malformed: &Malformed) -> ReviewResponse {
    match &malformed.uid {
        Some(uid) => {
            let mut body = envelope(uid, false);
            set_status(&mut body, &malformed.to_string());
            ReviewResponse::ok(write(body))
        }
        None => ReviewResponse {
            status: match malformed.reason {
                MalformedReason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::BAD_REQUEST,
            },
            body: malformed.to_string().into(),
        },
    }
}

fn plain(allowed: bool, message: String) -> Answer {
    Answer { allowed, message, warnings: Vec::new(), audit: BTreeMap::new(), pins: Vec::new() }
}

fn response(uid: &str, answer: &Answer) -> Value {
    let mut body = envelope(uid, answer.allowed);
    if !answer.allowed {
        set_status(&mut body, &denial(&answer.message));
    }
    set_warnings(&mut body, &answer.warnings);
    let audit = annotations(&answer.audit);
    if !audit.is_empty() {
        body["response"]["auditAnnotations"] = json!(audit);
    }
    body
}

fn envelope(uid: &str, allowed: bool) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": { "uid": uid, "allowed": allowed },
    })
}

/// Lines stay lines; other control characters, which may come from an image text, would reach the
/// user's terminal.
fn set_status(body: &mut Value, message: &str) {
    let printable = |c: char| if c == '\n' { c } else { no_control(c) };
    let message: String = message.chars().map(printable).collect();
    body["response"]["status"] = json!({
        "status": "Failure",
        "reason": "BadRequest",
        "code": 400,
        "message": shorten(&message, MAX_MESSAGE),
    });
}

fn denial(message: &str) -> String {
    if message.starts_with(DENIAL_PREFIX) {
        return message.to_owned();
    }
    let message = if message.is_empty() { "no reason was given" } else { message };
    format!("{DENIAL_PREFIX}{message}")
}

fn set_warnings(body: &mut Value, warnings: &[String]) {
    let warnings = decide::bounded_warnings(warnings);
    if !warnings.is_empty() {
        body["response"]["warnings"] = json!(warnings);
    }
}

fn no_control(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// The API server refuses the whole response for a key that is not a qualified name.
fn annotations(audit: &BTreeMap<String, String>) -> BTreeMap<String, &str> {
    audit
        .iter()
        .map(|(key, value)| (annotation_key(key), shorten(value, MAX_ANNOTATION)))
        .filter(|(key, _)| !key.is_empty())
        .collect()
}

fn annotation_key(key: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let key: String = key.chars().map(|c| if allowed(c) { c } else { '-' }).take(63).collect();
    key.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

fn shorten(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

fn patch(admission: &Admission, pins: &[(String, String)]) -> Option<Vec<Value>> {
    let mut operations = Vec::with_capacity(pins.len() * 2);
    for (pointer, text) in pins {
        let image = admission.workload.images.iter().find(|image| image.pointer == *pointer)?;
        operations.push(json!({ "op": "test", "path": pointer, "value": image.image }));
        operations.push(json!({ "op": "replace", "path": pointer, "value": text }));
    }
    Some(operations)
}

/// The response to a policy object: its patch, if there is anything to patch.
pub(crate) fn patched(uid: &str, operations: &[Value]) -> Vec<u8> {
    let mut body = envelope(uid, true);
    if !operations.is_empty() {
        attach_patch(&mut body, operations);
    }
    write(body)
}

/// The response to a policy object: denied with `message` as it stands, or allowed.
pub(crate) fn policy_response(uid: &str, denial: Option<&str>, warnings: &[String]) -> Vec<u8> {
    let mut body = envelope(uid, denial.is_none());
    if let Some(message) = denial {
        set_status(&mut body, message);
    }
    set_warnings(&mut body, warnings);
    write(body)
}

fn attach_patch(body: &mut Value, operations: &[Value]) {
    let text = Value::from(operations).to_string();
    body["response"]["patchType"] = json!("JSONPatch");
    body["response"]["patch"] = json!(STANDARD.encode(text));
}

fn write(body: Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
