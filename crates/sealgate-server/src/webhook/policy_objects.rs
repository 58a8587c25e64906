//! Reviews of ClusterImagePolicies and TrustRoots: validation, defaults, conversion.

use bytes::Bytes;
use sealgate_kube::answer::ReviewResponse;
use sealgate_kube::policies::{self, Reviewed, Validation};
use sealgate_kube::review::Malformed;
use sealgate_policy::assemble::PolicySource;
use sealgate_policy::cip::compile::RootRef;
use sealgate_policy::cip::validate::Context;
use tracing::warn;

use super::handler::WebhookHandler;
use crate::hook::Hook;

impl WebhookHandler {
    /// Validates an object.
    pub(super) fn validate_policy(&self, body: &Bytes) -> ReviewResponse {
        let (source, empty_authorities) = {
            let state = self.policies.borrow();
            (state.source, state.config.empty_authorities)
        };
        if source == PolicySource::Folder {
            warn!(
                "a policy object of the cluster was reviewed; it has no effect, because this gate reads \
                 its policies from a folder"
            );
        }
        let system_namespace = self.system_namespace.clone();
        let context = Context { system_namespace, empty_authorities };
        let roots = |which: &RootRef| self.roots.get(which);
        let validation = Validation { context: &context, roots: &roots, source };
        self.policy_reviewed(Hook::ValidatePolicies, policies::validated(body, &validation))
    }

    /// Fills in the defaults of an object.
    pub(super) fn default_policy(&self, body: &Bytes) -> ReviewResponse {
        self.policy_reviewed(Hook::DefaultPolicies, policies::defaulted(body))
    }

    /// Converts objects to another version of the API.
    pub(super) fn convert_policies(&self, body: &Bytes) -> ReviewResponse {
        match policies::converted(body) {
            Ok(body) => {
                self.decisions.converted();
                ReviewResponse::ok(body)
            }
            Err(reason) => self.malformed(Hook::ConvertPolicies, &Malformed { uid: None, reason }),
        }
    }

    fn policy_reviewed(&self, hook: Hook, review: Result<Reviewed, Malformed>) -> ReviewResponse {
        match review {
            Ok(review) => {
                self.decisions.policy_reviewed(hook, &review);
                ReviewResponse::ok(review.body)
            }
            Err(malformed) => self.malformed(hook, &malformed),
        }
    }
}
