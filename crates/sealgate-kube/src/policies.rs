//! The reviews of policy and TrustRoot objects: validation, defaults, conversion between the
//! versions.
//!
//! Border: pure. `sealgate-policy` validates the objects; here the result becomes a response. An
//! object that cannot be read is denied.

use sealgate_policy::assemble::PolicySource;
use sealgate_policy::cip::compile::{RootLookup, root_warnings};
use sealgate_policy::cip::convert::convert;
use sealgate_policy::cip::defaults::{DefaultField, default_fields};
use sealgate_policy::cip::field_error::{FieldErrors, Level};
use sealgate_policy::cip::read::{Unreadable, check_json};
use sealgate_policy::cip::trust_root::{self, TrustRootObject};
use sealgate_policy::cip::validate::{Context, denial, validate};
use sealgate_policy::cip::{ClusterImagePolicy, GROUP, KIND, Version};
use sealgate_policy::scope::Scope;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer;
use crate::images::{WalkError, cut};
use crate::review::{self, MAX_BODY, Malformed, MalformedReason, Operation, Request, with_request};

/// The most objects of one conversion.
const MAX_CONVERTED: usize = 10_000;

/// The inputs of a validation.
#[derive(Clone, Copy)]
pub struct Validation<'a> {
    /// The gate's configuration.
    pub context: &'a Context,
    /// The trust roots that the gate has now.
    pub roots: &'a RootLookup<'a>,
    /// The source of the gate's policies.
    pub source: PolicySource,
}

/// The warning of a gate on a folder about an object of a cluster.
const NO_EFFECT: &str = "this gate reads its policies from a folder: this object has no effect";

/// The answer of `/validate-policies` to the review in `body`: denied with policy-controller's
/// words, or allowed, with warnings in either case.
///
/// # Errors
/// [`Malformed`] for what is not a review of a ClusterImagePolicy or TrustRoot; see [`answer::malformed`].
pub fn validated(body: &[u8], with: &Validation<'_>) -> Result<Reviewed, Malformed> {
    reviewed(
        body,
        |_| (),
        |uid, written, ()| {
            let errors = match written {
                ReviewedObject::Policy(policy) => {
                    let mut errors = validate(&policy, with.context);
                    if with.source == PolicySource::Cluster {
                        errors.also(root_warnings(&policy, with.roots));
                    }
                    errors
                }
                ReviewedObject::TrustRoot(root) => trust_root::validate::validate(&root),
            };
            decide(uid, &errors, with.source)
        },
    )
}

/// The answer of `/default-policies` to the review in `body`: a patch that fills in the defaults. A
/// write that leaves the spec as it is, such as one of labels or finalizers, changes none of it.
///
/// # Errors
/// [`Malformed`] for what is not a review of a ClusterImagePolicy or TrustRoot; see [`answer::malformed`].
pub fn defaulted(body: &[u8]) -> Result<Reviewed, Malformed> {
    reviewed(body, SpecChange::of, |uid, written, spec| {
        let fields = match written {
            _ if spec == SpecChange::Unchanged => Vec::new(),
            ReviewedObject::Policy(policy) => default_fields(&policy),
            ReviewedObject::TrustRoot(root) => root.default_fields(),
        };
        (true, answer::patched(uid, &operations(fields)))
    })
}

/// The answer to the review of a ClusterImagePolicy or TrustRoot.
#[derive(Clone, Debug)]
pub struct Reviewed {
    /// The AdmissionReview.
    pub body: Vec<u8>,
    /// The decision: true if the object is allowed.
    pub allowed: bool,
    /// The object, as far as the request names it.
    pub scope: Scope,
    /// True for a dry run: the object is not stored.
    pub dry_run: bool,
}

/// The decision about an object, and the AdmissionReview with it.
type ObjectDecision = (bool, Vec<u8>);

/// Reads a review and has it decided. `look` reads what the decision needs besides the object.
fn reviewed<T>(
    body: &[u8],
    look: impl FnOnce(&Request<'_>) -> T,
    decide: impl FnOnce(&str, ReviewedObject, T) -> ObjectDecision,
) -> Result<Reviewed, Malformed> {
    let (uid, (object, scope, dry_run)) = with_request(body, |request| {
        let object = match read(&request)? {
            Some(Ok(object)) => Some(Ok((object, look(&request)))),
            Some(Err(unreadable)) => Some(Err(unreadable)),
            None => None,
        };
        Ok((object, request.scope(), request.dry_run))
    })?;
    let (allowed, body) = match object {
        None => (true, answer::allowed(&uid)),
        Some(Err(unreadable)) => refuse_unreadable(&uid, &unreadable),
        Some(Ok((written, looked))) => decide(&uid, written, looked),
    };
    Ok(Reviewed { body, allowed, scope, dry_run })
}

fn decide(uid: &str, errors: &FieldErrors, source: PolicySource) -> ObjectDecision {
    let mut warnings = errors.warnings();
    if source == PolicySource::Folder {
        // First: no other warning matters as much.
        warnings.insert(0, NO_EFFECT.to_owned());
    }
    let refused = !errors.filter(Level::Error).is_empty();
    (!refused, answer::policy_response(uid, refused.then(|| denial(errors)).as_deref(), &warnings))
}

fn refuse_unreadable(uid: &str, unreadable: &Unreadable) -> ObjectDecision {
    let message =
        format!("decoding request failed: cannot decode incoming new object: {unreadable}");
    (false, answer::policy_response(uid, Some(&message), &[]))
}

fn operations(fields: Vec<DefaultField>) -> Vec<Value> {
    fields
        .into_iter()
        .map(|field| json!({ "op": "add", "path": field.pointer, "value": field.value }))
        .collect()
}

/// The object of a request.
enum ReviewedObject {
    Policy(Box<ClusterImagePolicy>),
    TrustRoot(Box<TrustRootObject>),
}

/// The effect of a request on the spec of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpecChange {
    Changed,
    /// The spec is the stored one.
    Unchanged,
}

impl SpecChange {
    fn of(request: &Request<'_>) -> Self {
        let spec = |object: Option<&RawValue>| {
            let object = object?.get();
            check_json(object).ok()?;
            let object: Value = serde_json::from_str(object).ok()?;
            object.get("spec").cloned()
        };
        match (spec(request.object), spec(request.old_object)) {
            (Some(new), Some(old)) if new == old => Self::Unchanged,
            _ => Self::Changed,
        }
    }
}

/// The object; `None` if there is nothing to validate: it is deleted, or only its status is
/// written.
type RequestedObject = Option<Result<ReviewedObject, Unreadable>>;

fn read(request: &Request<'_>) -> Result<RequestedObject, MalformedReason> {
    let of_root = request.kind.kind == trust_root::KIND;
    if request.kind.group != GROUP || (request.kind.kind != KIND && !of_root) {
        let kind = format!("{}/{}", request.kind.group, request.kind.kind);
        return Err(WalkError::UnhandledKind(cut(&kind)).into());
    }
    let operation = Operation::parse(&request.operation)?;
    let stores_spec = matches!(operation, Operation::Create | Operation::Update);
    if !stores_spec || !request.sub_resource.is_empty() {
        return Ok(None);
    }
    // An object that is not valid must not be kept from being deleted.
    if operation == Operation::Update
        && let Some(old) = request.old_object
        && review::being_deleted(old)?
    {
        return Ok(None);
    }
    let object = request.object.ok_or(MalformedReason::Missing("request.object"))?;
    if let Err(unreadable) = check_json(object.get()) {
        return Ok(Some(Err(unreadable)));
    }
    let mut object: Value = serde_json::from_str(object.get()).map_err(review::json)?;
    name_generated(&mut object);
    Ok(Some(match of_root {
        true => TrustRootObject::from_json(&object).map(Box::new).map(ReviewedObject::TrustRoot),
        false => ClusterImagePolicy::from_json(&object).map(Box::new).map(ReviewedObject::Policy),
    }))
}

/// An object with `generateName` gets its name only after the mutating webhooks.
fn name_generated(object: &mut Value) {
    let generated = object.pointer("/metadata/generateName").and_then(Value::as_str);
    let named = object.pointer("/metadata/name").and_then(Value::as_str);
    if let (Some(generated), None | Some("")) = (generated.map(str::to_owned), named)
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("name".to_owned(), Value::String(generated));
    }
}

// === conversion ===

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConversionReview<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    request: ConversionRequest<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConversionRequest<'a> {
    uid: String,
    #[serde(rename = "desiredAPIVersion")]
    desired_api_version: String,
    #[serde(borrow, default)]
    objects: RawObjects<'a>,
}

/// The objects of a conversion: each is parsed only while it is converted. At most
/// [`MAX_CONVERTED`] are kept, and one more, so that it shows.
#[derive(Default)]
struct RawObjects<'a>(Vec<&'a RawValue>);

/// The answer to a conversion.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConversionAnswer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: ConversionResponse<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConversionResponse<'a> {
    uid: &'a str,
    result: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    converted_objects: Option<Vec<Box<RawValue>>>,
}

const CONVERSION_VERSION: &str = "apiextensions.k8s.io/v1";
const CONVERSION_KIND: &str = "ConversionReview";

impl<'de: 'a, 'a> Deserialize<'de> for RawObjects<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(RawObjectsVisitor)
    }
}

struct RawObjectsVisitor;

impl<'de> Visitor<'de> for RawObjectsVisitor {
    type Value = RawObjects<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(RawObjects::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut objects = Vec::new();
        while let Some(object) = list.next_element::<&RawValue>()? {
            if objects.len() <= MAX_CONVERTED {
                objects.push(object);
            }
        }
        Ok(RawObjects(objects))
    }
}

/// The answer to a ConversionReview (`apiextensions.k8s.io/v1`). Our own CRDs convert without a
/// webhook (see [`crate::crd`]); this serves a CRD that still has policy-controller's.
///
/// # Errors
/// [`MalformedReason`] for what is not a ConversionReview: HTTP 400.
pub fn converted(body: &[u8]) -> Result<Vec<u8>, MalformedReason> {
    if body.len() > MAX_BODY {
        return Err(MalformedReason::TooLarge);
    }
    let review: ConversionReview<'_> = serde_json::from_slice(body).map_err(review::json)?;
    if review.api_version != CONVERSION_VERSION || review.kind != CONVERSION_KIND {
        let got = format!("{} {}", review.api_version, review.kind);
        return Err(MalformedReason::Version(cut(&got)));
    }
    let ConversionRequest { uid, desired_api_version, objects } = review.request;
    let (result, converted_objects) = match convert_all(&desired_api_version, &objects.0) {
        Ok(objects) => (json!({ "status": "Success" }), Some(objects)),
        Err(message) => (json!({ "status": "Failure", "message": message }), None),
    };
    let response = ConversionResponse { uid: &uid, result, converted_objects };
    let (api_version, kind) = (CONVERSION_VERSION, CONVERSION_KIND);
    let answer = ConversionAnswer { api_version, kind, response };
    serde_json::to_vec(&answer).map_err(review::json)
}

fn convert_all(to: &str, objects: &[&RawValue]) -> Result<Vec<Box<RawValue>>, String> {
    let version = Version::of(to).ok_or_else(|| format!("unknown version, got: {}", cut(to)))?;
    if objects.len() > MAX_CONVERTED {
        return Err(format!("more than {MAX_CONVERTED} objects"));
    }
    objects.iter().map(|object| convert_one(version, object.get())).collect()
}

fn convert_one(version: Version, object: &str) -> Result<Box<RawValue>, String> {
    check_json(object).map_err(|error| error.to_string())?;
    let object: Value = serde_json::from_str(object).map_err(|error| cut(&error.to_string()))?;
    let converted = convert(object, version).map_err(|error| error.to_string())?;
    serde_json::value::to_raw_value(&converted).map_err(|error| cut(&error.to_string()))
}

#[cfg(test)]
mod tests;
