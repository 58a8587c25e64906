//! `ClusterImagePolicy` of `policy.sigstore.dev`, v1alpha1 and v1beta1.

pub mod field_error;
