//! Parsing of policies and trust roots: from YAML text (several documents, as in a folder of
//! policies) and from JSON values (as returned by the API server), with one parser for both.
//! Parsing is strict: an unknown field is an error, never ignored, since a misspelt requirement
//! would have no effect. A field that is null is removed, as the API server does. An error names
//! the field, and in a text its line and column. Size, depth, nodes and aliases are bounded.

use std::collections::BTreeMap;

use sealgate_core::base64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ClusterImagePolicy, GROUP, KIND, Version};
use crate::cip::trust_root::{self, TrustRootObject};

mod locate;

pub use locate::{FieldPath, Position};

/// The maximum size of a YAML text, in bytes.
pub const MAX_YAML: usize = 4 * 1024 * 1024;

/// The maximum size of an object in JSON, in bytes: that of a request to an API server.
pub const MAX_OBJECT: usize = 3 * 1024 * 1024;

/// The maximum number of values in an object in JSON: a value takes many times the memory of its
/// text.
pub const MAX_OBJECT_VALUES: usize = 100_000;

/// The maximum number of documents in one text, items of lists included.
pub const MAX_DOCUMENTS: usize = 1000;

/// One document of a YAML text.
#[derive(Clone, Debug)]
pub enum Document {
    /// A policy.
    Policy(Box<ClusterImagePolicy>),
    /// A policy or trust root that cannot be parsed, or a document that is not an object. Reported,
    /// never skipped.
    Unreadable {
        /// Its name; without one, its number in the text: `document 2`.
        name: String,
        /// The reason.
        error: Unreadable,
    },
    /// A trust root.
    TrustRoot(Box<TrustRootObject>),
    /// A secret, for `secretRef`.
    Secret(SecretDocument),
    /// A ConfigMap, for `config-policy-controller`.
    ConfigMap {
        /// Namespace, or empty.
        namespace: String,
        /// Name.
        name: String,
        /// Its data.
        data: BTreeMap<String, String>,
    },
    /// Any other object, which the caller may want to report.
    Other {
        /// `apiVersion`.
        api_version: String,
        /// `kind`.
        kind: String,
        /// `metadata.name`.
        name: String,
    },
}

/// A Secret from a file. `Debug` shows no data.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretDocument {
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The decoded `data`, and `stringData`.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// The reason why a document cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The text is larger than [`MAX_YAML`].
    #[error("larger than {MAX_YAML} bytes")]
    TooLarge,
    /// The text has more documents than [`MAX_DOCUMENTS`].
    #[error("more than {MAX_DOCUMENTS} documents")]
    TooMany,
    /// The object is larger than [`MAX_OBJECT`].
    #[error("the object is larger than {MAX_OBJECT} bytes")]
    ObjectTooLarge,
    /// The object has more values than [`MAX_OBJECT_VALUES`].
    #[error("the object has more than {MAX_OBJECT_VALUES} values")]
    TooManyValues,
    /// The text is not YAML, or exceeds the limits of depth, nodes or aliases.
    #[error("not YAML: {0}")]
    Yaml(String),
    /// The version or kind is not supported.
    #[error("neither a ClusterImagePolicy of v1alpha1 or v1beta1 nor a TrustRoot of v1alpha1: {0}")]
    Version(String),
    /// A field is unknown, missing or of a wrong type.
    #[error("{message}{}", place(path, *position))]
    Field {
        /// The error, in the words of Go's decoder where it has an equivalent.
        message: String,
        /// The field; for an unknown or missing one, its parent.
        path: FieldPath,
        /// Its position in a text.
        position: Option<Position>,
    },
    /// A document without `apiVersion` or `kind`: an error page, plain text, a Git LFS pointer.
    #[error("not a Kubernetes object: apiVersion or kind is missing")]
    NotAnObject,
}

/// The envelope of a Kubernetes object around its spec.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Object<S> {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: Metadata,
    spec: S,
    #[serde(rename = "status", default)]
    _status: Value,
}

/// The metadata fields that are used.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    /// Never empty.
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) generation: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSecret {
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
    #[serde(default)]
    string_data: Option<BTreeMap<String, String>>,
}

impl ClusterImagePolicy {
    /// Parses an object as returned by the API server.
    pub fn from_json(object: &Value) -> Result<Self, Unreadable> {
        let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        let version = Version::of(api_version)
            .filter(|_| kind == KIND)
            .ok_or_else(|| Unreadable::Version(line(&format!("{api_version} {kind}"))))?;
        let (Metadata { name, generation }, spec) = parts(object)?;
        Ok(Self { version, name, generation, spec })
    }
}

/// Checks the size of an object in JSON and the number of values in it, before it is parsed. Its
/// depth is bounded by the parser.
///
/// # Errors
/// [`Unreadable::ObjectTooLarge`] and [`Unreadable::TooManyValues`].
pub fn check_json(object: &str) -> Result<(), Unreadable> {
    if object.len() > MAX_OBJECT {
        return Err(Unreadable::ObjectTooLarge);
    }
    match count_values(object) > MAX_OBJECT_VALUES {
        true => Err(Unreadable::TooManyValues),
        false => Ok(()),
    }
}

/// Counts the values of a JSON text: one after each comma and each opening bracket outside of
/// strings, at least.
fn count_values(json: &str) -> usize {
    let mut values = 1;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b',' | b'[' | b'{' => values += 1,
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    values
}

/// Parses an object's metadata and its spec; `S` is an `Option` if the spec is optional.
pub(crate) fn parts<S: DeserializeOwned>(object: &Value) -> Result<(Metadata, S), Unreadable> {
    let mut object = object.clone();
    drop_nulls(&mut object);
    let read = serde_path_to_error::deserialize(&object);
    let Object { metadata, spec, .. } = read.map_err(|error| {
        let path = FieldPath::of(error.path());
        Unreadable::field(field(&error.into_inner().to_string()), path)
    })?;
    if metadata.name.is_empty() {
        let name = FieldPath::default().key("metadata").key("name");
        return Err(Unreadable::field("missing field(s)".to_owned(), name));
    }
    Ok((metadata, spec))
}

/// Removes the fields that are null, as an API server does. It keeps the nulls of lists and of maps
/// whose keys are not fields, and rejects them.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            for (name, value) in fields.iter_mut() {
                if name != "matchLabels" {
                    drop_nulls(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

impl Unreadable {
    fn field(message: String, path: FieldPath) -> Self {
        Self::Field { message, path, position: None }
    }

    /// Adds the line and the column in the text.
    fn found_in(self, yaml: &str, document: usize, item: Option<usize>) -> Self {
        let Self::Field { message, path, .. } = self else { return self };
        let below = FieldPath::default();
        let below = item.map_or(below.clone(), |item| below.key("items").index(item));
        let position = locate::position(yaml, document, &below.join(&path), options());
        Self::Field { message, path, position }
    }
}

fn place(path: &FieldPath, position: Option<Position>) -> String {
    let field = if path.is_empty() { String::new() } else { format!(": {path}") };
    match position {
        Some(Position { line, column }) => format!("{field} (line {line}, column {column})"),
        None => field,
    }
}

/// Parses the documents of a YAML text, with lists flattened. An error means that the text as a
/// whole cannot be parsed; a single invalid policy is a [`Document::Unreadable`].
pub fn documents(yaml: &str) -> Result<Vec<Document>, Unreadable> {
    let mut documents = Vec::new();
    // Finding one position takes as long as parsing the text.
    let mut located = false;
    let mut push = |value: &Value, number: usize, item: Option<usize>| {
        let mut read = document(value, documents.len() + 1);
        if let Document::Unreadable { error, .. } = &mut read
            && !std::mem::replace(&mut located, true)
        {
            *error = error.clone().found_in(yaml, number, item);
        }
        documents.push(read);
    };
    for (number, value) in values(yaml)?.iter().enumerate() {
        match value.get("items").and_then(Value::as_array) {
            Some(items) if text(value, "/kind").ends_with("List") => {
                for (index, item) in items.iter().enumerate() {
                    push(item, number, Some(index));
                }
            }
            _ => push(value, number, None),
        }
    }
    if documents.len() > MAX_DOCUMENTS { Err(Unreadable::TooMany) } else { Ok(documents) }
}

fn values(yaml: &str) -> Result<Vec<Value>, Unreadable> {
    if yaml.len() > MAX_YAML {
        return Err(Unreadable::TooLarge);
    }
    serde_saphyr::from_multiple_with_options(yaml, options())
        .map_err(|e| Unreadable::Yaml(line(&e.to_string())))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 40,
            max_nodes: 200_000,
            max_events: 500_000,
            max_aliases: 200,
            max_anchors: 200,
            max_recorded_anchor_events: 20_000,
            max_recorded_anchor_bytes: 1024 * 1024,
            max_documents: MAX_DOCUMENTS,
            max_total_scalar_bytes: 2 * MAX_YAML,
            max_merge_keys: 200,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn document(value: &Value, number: usize) -> Document {
    let (api_version, kind) = (text(value, "/apiVersion"), text(value, "/kind"));
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    // If only the kind or only the version is supported, the error says which other part is
    // expected.
    let ours = group == GROUP || [KIND, trust_root::KIND].contains(&kind);
    let unreadable = |error| Document::Unreadable { name: format!("document {number}"), error };
    if !ours && (api_version.is_empty() || kind.is_empty()) {
        return unreadable(Unreadable::NotAnObject);
    }
    match (group, kind) {
        (GROUP, KIND) => policy(value),
        (GROUP, trust_root::KIND) => trust_root(value),
        ("", "Secret") => secret(value),
        ("", "ConfigMap") => config_map(value),
        ("", "List") => {
            let items = FieldPath::default().key("items");
            unreadable(Unreadable::field("expected a list".to_owned(), items))
        }
        _ => Document::Other {
            api_version: line(api_version),
            kind: line(kind),
            name: line(text(value, "/metadata/name")),
        },
    }
}

fn policy(value: &Value) -> Document {
    match ClusterImagePolicy::from_json(value) {
        Ok(policy) => Document::Policy(Box::new(policy)),
        Err(error) => Document::Unreadable { name: line(text(value, "/metadata/name")), error },
    }
}

fn trust_root(value: &Value) -> Document {
    match TrustRootObject::from_json(value) {
        Ok(root) => Document::TrustRoot(Box::new(root)),
        Err(error) => Document::Unreadable { name: line(text(value, "/metadata/name")), error },
    }
}

/// Parses a Secret. One whose data cannot be decoded is kept without data: the policies that refer
/// to it report that.
fn secret(value: &Value) -> Document {
    let raw = RawSecret::deserialize(value).ok();
    let (data, strings) = raw.map_or((None, None), |raw| (raw.data, raw.string_data));
    let decoded: Option<BTreeMap<String, Vec<u8>>> = data
        .unwrap_or_default()
        .into_iter()
        .map(|(key, text)| Some((key, base64::decode(text.trim()).ok()?)))
        .collect();
    let strings = strings.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes()));
    Document::Secret(SecretDocument {
        namespace: text(value, "/metadata/namespace").to_owned(),
        name: text(value, "/metadata/name").to_owned(),
        data: decoded.map_or_else(BTreeMap::new, |data| data.into_iter().chain(strings).collect()),
    })
}

fn config_map(value: &Value) -> Document {
    let data = value.get("data").and_then(Value::as_object).into_iter().flatten();
    Document::ConfigMap {
        namespace: text(value, "/metadata/namespace").to_owned(),
        name: text(value, "/metadata/name").to_owned(),
        data: data.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect(),
    }
}

pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Translates serde's message to that of Go's decoder, which policy-controller's webhook shows, or
/// at least to the words of JSON.
fn field(error: &str) -> String {
    // The names of our types say nothing to the author of an object.
    if let Some((found, _)) = error.split_once(", expected struct ") {
        return line(&format!("{found}, expected an object"));
    }
    let unknown = error.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    match unknown {
        Some((name, rest)) => line(&format!("json: unknown field {name:?}{rest}")),
        None => line(error),
    }
}

pub(crate) fn line(text: &str) -> String {
    text.chars().take(400).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl std::fmt::Debug for SecretDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { namespace, name, data } = self;
        write!(f, "SecretDocument({namespace}/{name}, {} entries)", data.len())
    }
}

#[cfg(test)]
mod tests;
