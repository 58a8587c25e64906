//! The webhooks of the gate and their paths.

/// A webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Validates the images of a workload.
    Validate,
    /// Replaces the tags in a workload by `tag@digest`.
    Mutate,
    /// Validates a ClusterImagePolicy or TrustRoot.
    ValidatePolicies,
    /// Fills in the defaults of a ClusterImagePolicy or TrustRoot.
    DefaultPolicies,
    /// Converts ClusterImagePolicies between the versions of the API.
    ConvertPolicies,
}

impl Hook {
    /// The webhook at `path`: our names, and those that policy-controller's webhooks are registered
    /// with.
    pub fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/validate" | "/validations" => Self::Validate,
            "/mutate" | "/mutations" => Self::Mutate,
            "/validate-policies" | "/validating" => Self::ValidatePolicies,
            "/default-policies" | "/defaulting" => Self::DefaultPolicies,
            "/resource-conversion" => Self::ConvertPolicies,
            _ => return None,
        })
    }

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Mutate => "mutate",
            Self::ValidatePolicies => "validate-policies",
            Self::DefaultPolicies => "default-policies",
            Self::ConvertPolicies => "convert-policies",
        }
    }
}
