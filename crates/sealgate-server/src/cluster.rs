//! The policies and the certificate of a cluster, from the channels of `sealgate-kube` to the
//! webhook handler and the listener.

use std::sync::Arc;

use sealgate_kube::certificates::Serving;
use sealgate_policy::assemble::PolicyState;
use tokio::sync::watch;
use tracing::{error, info};

use crate::listener::certificate::{CertificateSlot, InvalidCertificate, ServerCertificate};
use crate::metrics::Metrics;

/// Follows the policies of a cluster: counts each change, and reports the end of `feed`.
pub fn follow_policies(
    mut feed: watch::Receiver<PolicyState>,
    metrics: Arc<Metrics>,
) -> watch::Receiver<PolicyState> {
    let (sender, receiver) = watch::channel(feed.borrow().clone());
    tokio::spawn(async move {
        loop {
            let state = feed.borrow_and_update().clone();
            if state.set.is_some() {
                metrics.reloads.inc();
                sender.send_replace(state);
            }
            tokio::select! {
                () = sender.closed() => return,
                changed = feed.changed() => if changed.is_err() {
                    // The policies stay in force, and `/readyz` reports that they are old.
                    error!("the cluster's policies are no longer watched");
                    metrics.reload_errors.inc();
                    let old = "the cluster's policies are no longer watched".to_owned();
                    sender.send_modify(|state| state.problems.push(old));
                    return sender.closed().await;
                },
            }
        }
    });
    receiver
}

/// Puts the certificate of `feed` into `slot`, now and at each change. A certificate that cannot be
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
                replace(&serving, &slot, &metrics);
            }
            if feed.changed().await.is_err() {
                error!("the certificate is no longer renewed");
                return;
            }
        }
    });
}

fn replace(serving: &Serving, slot: &CertificateSlot, metrics: &Metrics) {
    match certificate(serving) {
        Ok(certificate) => {
            info!(until = %certificate.not_after(), "certificate replaced");
            slot.set(certificate);
            metrics.certificate_rotations.inc();
        }
        Err(error) => error!(%error, "the new certificate cannot be used; keeping the old one"),
    }
}

/// Parses a certificate of `sealgate-kube` for the listener.
pub fn certificate(serving: &Serving) -> Result<ServerCertificate, InvalidCertificate> {
    ServerCertificate::from_pem(&serving.chain, &serving.key)
}
