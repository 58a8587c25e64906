//! Groups and versions of the Kubernetes API.

pub(crate) const ADMISSION: &str = "admissionregistration.k8s.io/v1";
pub(crate) const APPS: &str = "apps/v1";
pub(crate) const EXTENSIONS: &str = "apiextensions.k8s.io/v1";
pub(crate) const POLICY: &str = "policy/v1";
pub(crate) const RBAC: &str = "rbac.authorization.k8s.io/v1";
pub(crate) const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
