//! What a policy's authorities rest on: trust roots, composed of those that the policy names, and
//! the proofs that it asks for.
//!
//! A root that is named and cannot be had, or that lacks what the authority asks of it, is a
//! [`Lacking`]: the authority becomes undecidable, and no check is left out.

use std::sync::Arc;

use sealgate_core::fault::Fault;
use sealgate_core::trust::{CertificateAuthority, Part, TrustRoot};
use sealgate_core::verify::{Override, Overrides, RootSource, TrustConfig};

use crate::cip::{Authority, Keyless, Timestamp, TransparencyLog};
use crate::rule::UndecidableReason;

/// Which trust root is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RootRef {
    /// The TrustRoot object of this name.
    Named(String),
    /// The gate's own.
    Default,
}

/// How trust roots are had.
pub type RootLookup<'a> = dyn Fn(&RootRef) -> Result<(Arc<TrustRoot>, RootSource), Fault> + 'a;

/// What an authority needs and cannot have.
#[derive(Debug)]
pub(super) struct Lacking {
    pub(super) lack: UndecidableReason,
    pub(super) detail: String,
}

/// The roots that an authority may take its parts from.
struct Roots<'a> {
    lookup: &'a RootLookup<'a>,
    /// Where parts without a reference of their own are looked for first.
    base: RootRef,
}

/// A root, and how it is called in messages.
struct Found {
    root: Arc<TrustRoot>,
    source: RootSource,
    name: String,
}

/// What identities in certificates rest on. `ca` replaces the root's authorities.
///
/// Authorities and certificate logs come from the root of `keyless`, logs from that of `ctlog`,
/// timestamp authorities from that of `rfc3161timestamp`. A certificate needs a trusted time: by
/// a log unless the policy asks for a timestamp instead, or the root has timestamp authorities
/// and no log.
pub(super) fn of_keyless(
    authority: &Authority,
    keyless: &Keyless,
    ca: Option<CertificateAuthority>,
    lookup: &RootLookup<'_>,
) -> Result<TrustConfig, Lacking> {
    let roots = Roots { lookup, base: RootRef::named(&keyless.trust_root_ref) };
    let base = roots.get(&roots.base)?;
    let mut root = TrustRoot::clone(&base.root);
    if let Some(ca) = ca {
        root.certificate_authorities = vec![ca];
    }
    if root.certificate_authorities.is_empty() {
        return Err(base.lacks("certificate authority"));
    }
    let mut overrides = Overrides::default();
    match keyless.insecure_ignore_sct {
        Some(true) => overrides.sct = Override::Ignored,
        _ if root.ct_logs.is_empty() => {
            return Err(base.lacks("usable certificate log (ctLogs)"));
        }
        _ => {}
    }
    roots.add_proofs(authority, &mut root, &mut overrides)?;
    if authority.ctlog.is_none() {
        (overrides.log, overrides.timestamp) = some_time(&root, &base, overrides.timestamp)?;
    }
    Ok(base.trust_config(root, overrides))
}

/// How a certificate gets its trusted time where the policy names no log.
fn some_time(
    root: &TrustRoot,
    base: &Found,
    timestamp: Override,
) -> Result<(Override, Override), Lacking> {
    if timestamp == Override::Required {
        return Ok((Override::Ignored, Override::Required));
    }
    if !root.transparency_logs.is_empty() {
        return Ok((Override::Unset, timestamp));
    }
    // A log that is named and cannot be used is no reason to do without one.
    if root.names_transparency_log() || root.timestamp_authorities.is_empty() {
        return Err(base.lacks("usable transparency log, and no timestamp authority either"));
    }
    Ok((Override::Ignored, Override::Required))
}

/// What keys rest on. A key needs neither log nor timestamp unless the policy asks for them; what
/// lies beside a signature is still compared with the gate's own root, where there is one.
pub(super) fn of_key(
    authority: &Authority,
    lookup: &RootLookup<'_>,
) -> Result<TrustConfig, Lacking> {
    let roots = Roots { lookup, base: RootRef::Default };
    let mut overrides = Overrides { log: Override::Ignored, ..Overrides::default() };
    let asks = authority.ctlog.is_some() || authority.rfc3161timestamp.is_some();
    let own = roots.get(&RootRef::Default);
    if !asks {
        let (root, source) = own.map(|own| (own.root.into(), own.source)).ok().unzip();
        return Ok(TrustConfig { root, source: source.unwrap_or_default(), overrides });
    }
    // The parts that are asked for may come from elsewhere.
    let own = own.unwrap_or_else(|_| Found::nothing());
    let mut root = TrustRoot {
        certificate_authorities: Vec::new(),
        ct_logs: Vec::new(),
        ..TrustRoot::clone(&own.root)
    };
    roots.add_proofs(authority, &mut root, &mut overrides)?;
    Ok(own.trust_config(root, overrides))
}

/// What is to be told where `ctlog` names a TrustRoot and the address of a log that it does not have.
pub(super) fn other_log(authority: &Authority, lookup: &RootLookup<'_>) -> Option<String> {
    let TransparencyLog { url, trust_root_ref } = authority.ctlog.as_ref()?;
    let url = url.as_deref().filter(|_| !trust_root_ref.is_empty())?;
    let (root, _) = lookup(&RootRef::named(trust_root_ref)).ok()?;
    if has_log(&root, Some(url)) {
        return None;
    }
    let logs: Vec<&str> = root.transparency_logs.iter().map(|log| log.base_url.as_str()).collect();
    Some(format!(
        "{url} is no log of TrustRoot {trust_root_ref}, which decides: {}",
        logs.join(", ")
    ))
}

impl RootRef {
    /// The reference that a policy writes; empty is the gate's own root.
    fn named(name: &str) -> Self {
        if name.is_empty() { Self::Default } else { Self::Named(name.to_owned()) }
    }
}

impl Roots<'_> {
    fn get(&self, which: &RootRef) -> Result<Found, Lacking> {
        let name = match which {
            RootRef::Named(name) => format!("TrustRoot {name}"),
            RootRef::Default => "the gate's own trust root".to_owned(),
        };
        match (self.lookup)(which) {
            Ok((root, source)) => Ok(Found { root, source, name }),
            Err(fault) => Err(Lacking { lack: UndecidableReason::TrustRoot, detail: fault.detail }),
        }
    }

    /// The root for a part: the one that is named, else the first that has the part, of the
    /// authority's and the gate's.
    fn with(
        &self,
        reference: &str,
        what: &str,
        has: impl Fn(&TrustRoot) -> bool,
    ) -> Result<Found, Lacking> {
        let candidates = match reference {
            "" if self.base == RootRef::Default => vec![RootRef::Default],
            "" => vec![self.base.clone(), RootRef::Default],
            name => vec![RootRef::named(name)],
        };
        let mut lacking = None;
        for candidate in &candidates {
            let found = self.get(candidate)?;
            if has(&found.root) {
                return Ok(found);
            }
            lacking.get_or_insert(found.lacks(what));
        }
        Err(lacking.unwrap_or_else(|| Found::nothing().lacks(what)))
    }

    /// Takes over the logs of `ctlog` and the timestamp authorities of `rfc3161timestamp`.
    fn add_proofs(
        &self,
        authority: &Authority,
        root: &mut TrustRoot,
        overrides: &mut Overrides,
    ) -> Result<(), Lacking> {
        if let Some(TransparencyLog { url, trust_root_ref }) = &authority.ctlog {
            // A TrustRoot that is named says which logs count, as in policy-controller. Where none
            // is, the address is all that the policy says about the log.
            let url = url.as_deref().filter(|_| trust_root_ref.is_empty());
            let what = match url {
                Some(url) => format!("usable transparency log {url}"),
                None => "usable transparency log".to_owned(),
            };
            let found = self.with(trust_root_ref, &what, |root| has_log(root, url))?;
            root.transparency_logs.clone_from(&found.root.transparency_logs);
            root.skipped.retain(|skipped| skipped.part != Part::TransparencyLog);
            overrides.log = Override::Required;
            // A Rekor v2 entry has its time from a timestamp. Whoever names a root for a key's
            // log names its clocks, too; a certificate's clocks are named with the certificate.
            if authority.keyless.is_none() {
                root.timestamp_authorities.clone_from(&found.root.timestamp_authorities);
            }
        }
        if let Some(Timestamp { trust_root_ref }) = &authority.rfc3161timestamp {
            let has = |root: &TrustRoot| !root.timestamp_authorities.is_empty();
            let found = self.with(trust_root_ref, "timestamp authority", has)?;
            root.timestamp_authorities.clone_from(&found.root.timestamp_authorities);
            overrides.timestamp = Override::Required;
        }
        Ok(())
    }
}

impl Found {
    fn nothing() -> Self {
        let name = "the gate's own trust root".to_owned();
        Self { root: Arc::default(), source: RootSource::default(), name }
    }

    fn lacks(&self, what: &str) -> Lacking {
        let detail = format!("{} has no {what}", self.name);
        Lacking { lack: UndecidableReason::TrustRoot, detail }
    }

    /// Shares the root where nothing else was put together.
    fn trust_config(self, root: TrustRoot, overrides: Overrides) -> TrustConfig {
        let root = if *self.root == root { self.root } else { Arc::new(root) };
        TrustConfig { root: Some(root.into()), source: self.source, overrides }
    }
}

/// Whether a log has this address, or whether there is any. All logs of the root count then: the
/// shards of one log have addresses of their own.
fn has_log(root: &TrustRoot, url: Option<&str>) -> bool {
    let plain = |url: &str| url.trim().trim_end_matches('/').to_ascii_lowercase();
    let wanted = url.filter(|url| !url.is_empty()).map(plain);
    let mut logs = root.transparency_logs.iter();
    logs.any(|log| wanted.as_ref().is_none_or(|wanted| plain(&log.base_url) == *wanted))
}
