//! CustomResourceDefinitions of group `policy.sigstore.dev`.
//!
//! Both versions of `ClusterImagePolicy` have the same schema, so the API server can convert by
//! itself (`strategy: None`, which only changes `apiVersion`): this is lossless by construction and
//! always available. policy-controller's conversion webhook dropped a `ctlog` that had only a
//! `trustRootRef`, and made policies undeletable after its removal.
//!
//! As in policy-controller, the schema lists every field, so that unknown fields are pruned or
//! refused by strict clients; rules about values are left to the policy webhook and its messages,
//! except for the bounds of lists and long texts, with which the API server refuses an object that
//! is too large before anything else looks at it.

use sealgate_core::trust::{MAX_AUTHORITIES as MAX_ROOT_AUTHORITIES, MAX_LOGS};
use sealgate_policy::cip::bounds::{
    MAX_ATTESTATIONS, MAX_AUTHORITIES, MAX_CERTIFICATES, MAX_IDENTITIES, MAX_IMAGES, MAX_KEY,
    MAX_MATCHES, MAX_NAME, MAX_NAMESPACES, MAX_POLICY, MAX_PULL_SECRETS, MAX_REQUIREMENTS,
    MAX_SOURCES, MAX_TEXT, MAX_VALUES,
};
use sealgate_policy::cip::trust_root::validate::{MAX_MIRROR, MAX_ROOT};
use serde_json::{Map, Value, json};

/// API group of all resources.
pub const GROUP: &str = "policy.sigstore.dev";

/// Served versions of `ClusterImagePolicy`, the stored one first.
pub const POLICY_VERSIONS: [&str; 2] = ["v1alpha1", "v1beta1"];

/// Version of `TrustRoot`.
pub const ROOT_VERSION: &str = "v1alpha1";

/// All CustomResourceDefinitions.
pub fn all() -> Vec<Value> {
    vec![cluster_image_policies(), trust_roots()]
}

/// `clusterimagepolicies.policy.sigstore.dev`.
pub(crate) fn cluster_image_policies() -> Value {
    let versions: Vec<Value> = POLICY_VERSIONS
        .iter()
        .enumerate()
        .map(|(index, name)| version(name, index == 0, policy_spec(), policy_columns()))
        .collect();
    definition(
        "clusterimagepolicies",
        "clusterimagepolicy",
        "ClusterImagePolicy",
        &["cip"],
        versions,
    )
}

/// `trustroots.policy.sigstore.dev`.
pub fn trust_roots() -> Value {
    let columns = vec![
        column("Ready", "string", READY),
        column("Stale", "string", STALE),
        column("Age", "date", AGE),
    ];
    let versions = vec![version(ROOT_VERSION, true, trust_root_spec(), columns)];
    definition("trustroots", "trustroot", "TrustRoot", &[], versions)
}

const READY: &str = ".status.conditions[?(@.type==\"Ready\")].status";
const STALE: &str = ".status.conditions[?(@.type==\"Stale\")].status";
const AGE: &str = ".metadata.creationTimestamp";

fn definition(
    plural: &str,
    singular: &str,
    kind: &str,
    short: &[&str],
    versions: Vec<Value>,
) -> Value {
    let mut names = json!({
        "plural": plural,
        "singular": singular,
        "kind": kind,
        "listKind": format!("{kind}List"),
        "categories": ["all", "sigstore"],
    });
    if !short.is_empty() {
        names["shortNames"] = json!(short);
    }
    json!({
        "apiVersion": crate::api::EXTENSIONS,
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{GROUP}"),
            // Deleting the definition deletes all policies: a Helm release that owned it must not
            // remove it.
            "annotations": { "helm.sh/resource-policy": "keep" },
        },
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": names,
            // The explicit null makes `kubectl apply` remove a conversion webhook left by
            // policy-controller, which the API server would otherwise refuse in combination with
            // `None`.
            "conversion": { "strategy": "None", "webhook": null },
            "versions": versions,
        },
    })
}

fn version(name: &str, storage: bool, spec: Value, columns: Vec<Value>) -> Value {
    let schema = object(
        "",
        [
            ("apiVersion", string("The version of this schema.")),
            ("kind", string("The kind of this object.")),
            ("metadata", json!({ "type": "object" })),
            ("spec", spec),
            ("status", status()),
        ],
    );
    json!({
        "name": name,
        "served": true,
        "storage": storage,
        "subresources": { "status": {} },
        "additionalPrinterColumns": columns,
        "schema": { "openAPIV3Schema": schema },
    })
}

fn column(name: &str, kind: &str, path: &str) -> Value {
    json!({ "name": name, "type": kind, "jsonPath": path })
}

fn policy_columns() -> Vec<Value> {
    let mut reason = column("Reason", "string", ".status.conditions[?(@.type==\"Ready\")].message");
    reason["priority"] = json!(1);
    vec![
        column("Ready", "string", READY),
        column("Mode", "string", ".spec.mode"),
        column("Age", "date", AGE),
        reason,
    ]
}

fn string(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

/// A string of at most `most` bytes: the API server counts characters, of which there are no more.
fn text(description: &str, most: usize) -> Value {
    json!({ "type": "string", "description": description, "maxLength": most })
}

fn boolean(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

/// At most `most` bytes in base64, with room for line breaks.
fn bytes(description: &str, most: usize) -> Value {
    let encoded = most / 2 * 3;
    json!({ "type": "string", "format": "byte", "description": description, "maxLength": encoded })
}

fn array(description: &str, most: usize, items: Value) -> Value {
    json!({ "type": "array", "description": description, "maxItems": most, "items": items })
}

fn object<const N: usize>(description: &str, fields: [(&str, Value); N]) -> Value {
    let properties: Map<String, Value> =
        fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    if !description.is_empty() {
        schema["description"] = json!(description);
    }
    schema
}

fn status() -> Value {
    let mut condition = object(
        "One aspect of the object's state.",
        [
            (
                "type",
                string(
                    "Ready, KeysInlined, TrustRootsInlined, PoliciesInlined; Stale of a TrustRoot.",
                ),
            ),
            ("status", string("True, False or Unknown.")),
            ("reason", string("One word for programs.")),
            ("message", string("One sentence for people.")),
            ("severity", string("Empty for an error, else Warning or Info.")),
            ("lastTransitionTime", string("When the status changed last.")),
        ],
    );
    condition["required"] = json!(["type", "status"]);
    let annotations = json!({
        "type": "object",
        "description": "Additional facts.",
        "additionalProperties": { "type": "string" },
    });
    object(
        "What the gate found out about the object.",
        [
            (
                "observedGeneration",
                json!({
                    "type": "integer",
                    "format": "int64",
                    "description": "The generation of the spec that the conditions speak of.",
                }),
            ),
            (
                "conditions",
                json!({ "type": "array", "description": "The conditions.", "items": condition }),
            ),
            ("annotations", annotations),
        ],
    )
}

// === ClusterImagePolicy ===

fn policy_spec() -> Value {
    let glob = object(
        "A pattern of image names.",
        [(
            "glob",
            text(
                "Matched against the whole name with its registry: `*` does not cross a `/`, `**` does.",
                MAX_TEXT,
            ),
        )],
    );
    object(
        "Which images the policy covers, and what they must have. All policies that cover an image must hold.",
        [
            (
                "images",
                array("The images this policy covers; one pattern must match.", MAX_IMAGES, glob),
            ),
            (
                "authorities",
                array(
                    "The authorities; an image must satisfy at least one.",
                    MAX_AUTHORITIES,
                    authority(),
                ),
            ),
            (
                "match",
                array(
                    "The objects this policy covers; all where empty, else one entry must match.",
                    MAX_MATCHES,
                    match_entry(),
                ),
            ),
            ("mode", string("enforce (the default) denies, warn admits with a warning.")),
            ("policy", policy("A policy over what the authorities verified.")),
        ],
    )
}

fn authority() -> Value {
    object(
        "A source of trust: exactly one of key, keyless, static.",
        [
            (
                "name",
                text("The name in messages and policies; authority-<index> where empty.", MAX_NAME),
            ),
            ("key", key_reference("A public key.", MAX_KEY)),
            ("keyless", keyless()),
            (
                "static",
                object(
                    "A fixed answer, without a signature.",
                    [
                        ("action", string("pass or fail.")),
                        ("message", text("What to say when the action is fail.", MAX_TEXT)),
                    ],
                ),
            ),
            (
                "source",
                array(
                    "Where the signatures are, if not beside the image. At most one.",
                    MAX_SOURCES,
                    source(),
                ),
            ),
            (
                "ctlog",
                object(
                    "The transparency log (Rekor) that must hold the signature.",
                    [
                        ("url", string("The log's address.")),
                        ("trustRootRef", string("The TrustRoot with the log's key.")),
                    ],
                ),
            ),
            (
                "attestations",
                array("Attestations that must all be there.", MAX_ATTESTATIONS, attestation()),
            ),
            (
                "rfc3161timestamp",
                object(
                    "The timestamp authority that must have stamped the signature.",
                    [("trustRootRef", string("The TrustRoot with the authority's chain."))],
                ),
            ),
            ("signatureFormat", string("legacy or bundle; where empty, both count.")),
        ],
    )
}

fn key_reference(description: &str, most: usize) -> Value {
    object(
        description,
        [
            (
                "secretRef",
                object(
                    "A Secret with one public key.",
                    [
                        ("name", string("The Secret's name.")),
                        ("namespace", string("Where set, the namespace of the gate.")),
                    ],
                ),
            ),
            ("data", text("A public key in PEM form.", most)),
            ("kms", text("The URI of a key in a key management service.", MAX_TEXT)),
            ("hashAlgorithm", string("sha224, sha256 (the default), sha384 or sha512.")),
        ],
    )
}

fn keyless() -> Value {
    let identity = object(
        "An issuer and a subject, each exact or as a regular expression.",
        [
            ("issuer", text("The issuer, exactly.", MAX_TEXT)),
            ("subject", text("The subject, exactly.", MAX_TEXT)),
            ("issuerRegExp", text("A regular expression for the issuer.", MAX_TEXT)),
            ("subjectRegExp", text("A regular expression for the subject.", MAX_TEXT)),
        ],
    );
    object(
        "A short-lived certificate for an identity.",
        [
            ("url", text("The certificate authority (Fulcio).", MAX_TEXT)),
            ("identities", array("The accepted identities.", MAX_IDENTITIES, identity)),
            ("trustRootRef", string("The TrustRoot to use.")),
            (
                "ca-cert",
                key_reference("The certificate authority's own certificate.", MAX_CERTIFICATES),
            ),
            (
                "insecureIgnoreSCT",
                boolean("Whether a certificate needs no proof that it was logged."),
            ),
        ],
    )
}

fn source() -> Value {
    let secret = object("", [("name", string("The Secret's name, in the workload's namespace."))]);
    object(
        "Where signatures are kept.",
        [
            ("oci", string("The repository.")),
            ("signaturePullSecrets", array("Pull secrets for it.", MAX_PULL_SECRETS, secret)),
            ("tagPrefix", string("What the signature tags start with.")),
        ],
    )
}

fn attestation() -> Value {
    object(
        "A statement about the image.",
        [
            ("name", string("The name in messages and policies.")),
            ("predicateType", string("The predicate type, a URI or one of cosign's short names.")),
            ("policy", policy("A policy over the statement.")),
        ],
    )
}

fn policy(description: &str) -> Value {
    object(
        description,
        [
            ("type", string("cue or rego.")),
            ("data", text("The policy's text.", MAX_POLICY)),
            (
                "remote",
                object(
                    "A policy to be fetched.",
                    [
                        ("url", string("An https address.")),
                        ("sha256sum", string("The SHA-256 of what is there.")),
                    ],
                ),
            ),
            (
                "configMapRef",
                object(
                    "A policy in a ConfigMap in the gate's namespace.",
                    [
                        ("name", string("The ConfigMap's name.")),
                        ("namespace", string("The gate's namespace.")),
                        ("key", string("The key in its data.")),
                    ],
                ),
            ),
            ("fetchConfigFile", boolean("Whether the policy sees the image's configuration.")),
            ("includeSpec", boolean("Whether it sees the object's spec.")),
            ("includeObjectMeta", boolean("Whether it sees the object's metadata.")),
            ("includeTypeMeta", boolean("Whether it sees the object's kind and version.")),
        ],
    )
}

fn match_entry() -> Value {
    object(
        "Objects by their kind, namespace and labels; all that is set must hold.",
        [
            ("group", string("The API group, exactly; core is empty.")),
            ("version", string("The API version, or *.")),
            ("resource", string("The plural resource, such as pods or deployments.")),
            ("selector", label_selector()),
            (
                "namespaces",
                array(
                    "The namespaces; all where empty.",
                    MAX_NAMESPACES,
                    json!({ "type": "string" }),
                ),
            ),
        ],
    )
}

fn label_selector() -> Value {
    let strings = json!({ "type": "string" });
    let expression = object(
        "",
        [
            ("key", string("The label.")),
            ("operator", string("In, NotIn, Exists or DoesNotExist.")),
            ("values", array("The values.", MAX_VALUES, strings.clone())),
        ],
    );
    let labels = json!({
        "type": "object",
        "maxProperties": MAX_REQUIREMENTS,
        "additionalProperties": strings,
    });
    object(
        "Labels of the object itself (not of its pod template).",
        [
            ("matchLabels", labels),
            ("matchExpressions", array("All must hold.", MAX_REQUIREMENTS, expression)),
        ],
    )
}

// === TrustRoot ===

fn trust_root_spec() -> Value {
    object(
        "Keys and certificates to trust: exactly one of remote, repository, sigstoreKeys.",
        [
            (
                "remote",
                object(
                    "A TUF repository on the network.",
                    [
                        ("root", bytes("Its root.json.", MAX_ROOT)),
                        ("mirror", string("Its address.")),
                        ("targets", string("Its folder of targets; targets where empty.")),
                        (
                            "trustedRootTarget",
                            string("The target to read; trusted_root.json where empty."),
                        ),
                    ],
                ),
            ),
            (
                "repository",
                object(
                    "A TUF repository in this object.",
                    [
                        ("root", bytes("Its root.json.", MAX_ROOT)),
                        ("mirrorFS", bytes("A gzipped tar of it.", MAX_MIRROR)),
                        ("targets", string("Its folder of targets; targets where empty.")),
                        (
                            "trustedRootTarget",
                            string("The target to read; trusted_root.json where empty."),
                        ),
                    ],
                ),
            ),
            (
                "sigstoreKeys",
                object(
                    "Keys and certificates, written out.",
                    [
                        (
                            "certificateAuthorities",
                            array(
                                "Certificate authorities (Fulcio).",
                                MAX_ROOT_AUTHORITIES,
                                certificate_authority(),
                            ),
                        ),
                        ("tLogs", array("Transparency logs (Rekor).", MAX_LOGS, log())),
                        ("ctLogs", array("Certificate transparency logs.", MAX_LOGS, log())),
                        (
                            "timestampAuthorities",
                            array(
                                "Timestamp authorities.",
                                MAX_ROOT_AUTHORITIES,
                                certificate_authority(),
                            ),
                        ),
                    ],
                ),
            ),
        ],
    )
}

fn certificate_authority() -> Value {
    object(
        "",
        [
            (
                "subject",
                object(
                    "Its name.",
                    [
                        ("organization", string("The organization.")),
                        ("commonName", string("The common name.")),
                    ],
                ),
            ),
            ("uri", string("Its address.")),
            ("certChain", bytes("Its chain in PEM form.", MAX_CERTIFICATES)),
            ("validFor", valid_for("When it counts; always where empty.")),
        ],
    )
}

fn log() -> Value {
    object(
        "",
        [
            ("baseURL", string("Its address.")),
            ("hashAlgorithm", string("Its hash.")),
            ("publicKey", bytes("Its public key in PEM form.", MAX_KEY)),
            ("validFor", valid_for("When its key counts; always where empty.")),
        ],
    )
}

fn valid_for(description: &str) -> Value {
    object(
        description,
        [
            ("start", string("The first second, as 2026-01-31T00:00:00Z.")),
            ("end", string("The last second; open where empty.")),
        ],
    )
}
