//! Defaults of fields, as policy-controller's defaulting webhook fills them in.

use serde_json::{Value, json};

use super::{Authority, ClusterImagePolicy, Spec};

/// The URL of the public-good Fulcio.
pub const DEFAULT_FULCIO: &str = "https://fulcio.sigstore.dev";

/// One field to set, in the patch of the defaulting webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultField {
    /// JSON pointer.
    pub pointer: String,
    /// The value.
    pub value: Value,
}

impl Spec {
    /// Fills in the defaults.
    pub(crate) fn set_defaults(&mut self) {
        if self.mode.is_empty() {
            "enforce".clone_into(&mut self.mode);
        }
        for (index, authority) in self.authorities.iter_mut().enumerate() {
            authority.set_defaults(index);
        }
    }
}

impl Authority {
    fn set_defaults(&mut self, index: usize) {
        if self.name.is_empty() {
            self.name = format!("authority-{index}");
        }
        if let Some(key) = self.key.as_mut().filter(|key| key.hash_algorithm.is_empty()) {
            "sha256".clone_into(&mut key.hash_algorithm);
        }
        if let Some(keyless) =
            self.keyless.as_mut().filter(|k| k.url.is_none() && k.ca_cert.is_none())
        {
            keyless.url = Some(DEFAULT_FULCIO.to_owned());
        }
    }
}

/// Returns the fields that the defaulting webhook sets in `policy`, as JSON patch `add` operations.
pub fn default_fields(policy: &ClusterImagePolicy) -> Vec<DefaultField> {
    let written = &policy.spec;
    let mut filled = written.clone();
    filled.set_defaults();
    let mut fields = Vec::new();
    let mut add = |pointer: String, value: &str| {
        fields.push(DefaultField { pointer, value: json!(value) });
    };
    if written.mode != filled.mode {
        add("/spec/mode".to_owned(), &filled.mode);
    }
    for (index, (old, new)) in written.authorities.iter().zip(&filled.authorities).enumerate() {
        let at = format!("/spec/authorities/{index}");
        if old.name != new.name {
            add(format!("{at}/name"), &new.name);
        }
        if let (Some(old), Some(new)) = (&old.key, &new.key)
            && old.hash_algorithm != new.hash_algorithm
        {
            add(format!("{at}/key/hashAlgorithm"), &new.hash_algorithm);
        }
        if let (Some(old), Some(new)) = (&old.keyless, &new.keyless)
            && old.url != new.url
        {
            add(format!("{at}/keyless/url"), new.url.as_deref().unwrap_or_default());
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_what_is_left_out_and_nothing_else() {
        let policy = ClusterImagePolicy::from_json(&json!({
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": {"name": "p"},
            "spec": {"images": [{"glob": "**"}], "authorities": [
                {"key": {"data": "x"}},
                {"name": "named", "key": {"data": "x", "hashAlgorithm": "sha512"}},
                {"keyless": {"identities": []}},
                {"name": "own-ca", "keyless": {"ca-cert": {"data": "x"}}},
                {"name": "s", "static": {"action": "pass"}},
            ]}
        }))
        .unwrap();
        let fields: Vec<String> = default_fields(&policy)
            .into_iter()
            .map(|field| format!("{}={}", field.pointer, field.value.as_str().unwrap()))
            .collect();
        assert_eq!(
            fields,
            [
                "/spec/mode=enforce",
                "/spec/authorities/0/name=authority-0",
                "/spec/authorities/0/key/hashAlgorithm=sha256",
                "/spec/authorities/2/name=authority-2",
                "/spec/authorities/2/keyless/url=https://fulcio.sigstore.dev",
            ]
        );
        let mut filled = policy.clone();
        filled.spec.set_defaults();
        assert_eq!(default_fields(&filled), []);
    }
}
