//! A cluster's feeds, turned into what the door and the listener look at.
//!
//! Watching and writing is `sealgate_kube`; here its channels end.

use std::sync::Arc;

use sealgate_kube::certificates::Serving;
use sealgate_kube::policies::PolicySource;
use sealgate_kube::watch::{Policies, PolicyFeed};
use sealgate_policy::select::NoMatch;
use tokio::sync::watch;
use tracing::{error, info};

use crate::certificate::{CertificateSlot, InvalidCertificate, ServerCertificate};
use crate::metrics::Metrics;
use crate::policies::PolicyState;

/// Follows a cluster's policies. `no_match` comes before what the ConfigMap says.
pub fn follow_policies(
    mut feed: PolicyFeed,
    no_match: Option<NoMatch>,
    metrics: Arc<Metrics>,
) -> watch::Receiver<PolicyState> {
    let waiting = "the cluster's policies are not read yet";
    let (sender, receiver) = watch::channel(PolicyState::waiting(PolicySource::Cluster, waiting));
    tokio::spawn(async move {
        loop {
            let policies = feed.borrow_and_update().clone();
            if let Some(policies) = policies {
                metrics.reloads.inc();
                sender.send_replace(state(&policies, no_match));
            }
            tokio::select! {
                () = sender.closed() => return,
                changed = feed.changed() => if changed.is_err() {
                    // What is in force stays in force, and everybody can see that it is old.
                    error!("the cluster's policies are no longer followed");
                    metrics.reload_errors.inc();
                    let old = "the cluster's policies are no longer followed".to_owned();
                    sender.send_modify(|state| state.problems.push(old));
                    return sender.closed().await;
                },
            }
        }
    });
    receiver
}

fn state(policies: &Policies, no_match: Option<NoMatch>) -> PolicyState {
    let set = match no_match {
        Some(no_match) => Arc::new(policies.set.with_no_match(no_match)),
        None => Arc::clone(&policies.set),
    };
    PolicyState {
        set: Some(set),
        problems: policies.problems.clone(),
        empty_authorities: policies.context.empty_authorities,
        source: PolicySource::Cluster,
        insecure_registries: policies.config.insecure_registries.clone(),
    }
}

/// Puts the certificate that `feed` holds into `slot`, now and at each change. One that cannot be
/// used changes nothing.
pub fn follow_certificate<T: Send + Sync + 'static>(
    mut feed: watch::Receiver<T>,
    read: fn(&T) -> Option<Arc<Serving>>,
    slot: Arc<CertificateSlot>,
    metrics: Arc<Metrics>,
) {
    tokio::spawn(async move {
        loop {
            let serving = read(&feed.borrow_and_update());
            if let Some(serving) = serving {
                take_over(&serving, &slot, &metrics);
            }
            if feed.changed().await.is_err() {
                error!("the certificate is no longer renewed");
                return;
            }
        }
    });
}

fn take_over(serving: &Serving, slot: &CertificateSlot, metrics: &Metrics) {
    match certificate(serving) {
        Ok(certificate) => {
            info!(until = %certificate.not_after(), "certificate taken over");
            slot.set(certificate);
            metrics.certificate_rotations.inc();
        }
        Err(error) => error!(%error, "the new certificate cannot be used; the old one stays"),
    }
}

/// What `sealgate_kube` makes, as the listener needs it.
pub fn certificate(serving: &Serving) -> Result<ServerCertificate, InvalidCertificate> {
    ServerCertificate::from_pem(&serving.chain, &serving.key)
}
