//! Trust configs of a policy's authorities: trust roots, composed of those that the policy names,
//! and the proofs that it requires.
//!
//! A trust root that is unavailable, or has no part that the authority requires, makes the
//! authority [`Undecidable`]; no check is skipped.

use std::sync::Arc;

use sealgate_core::fault::Fault;
use sealgate_core::trust::{CertificateAuthority, Part, TrustRoot};
use sealgate_core::verify::{Override, Overrides, RootSource, TrustConfig};

use crate::cip::{Authority, Keyless, Timestamp, TransparencyLog};
use crate::rule::UndecidableReason;

/// A reference to a trust root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RootRef {
    /// The TrustRoot object of this name.
    Named(String),
    /// The gate's own trust root.
    Default,
}

/// Lookup of trust roots.
pub type RootLookup<'a> = dyn Fn(&RootRef) -> Result<(Arc<TrustRoot>, RootSource), Fault> + 'a;

/// The reason why an authority is undecidable.
#[derive(Debug)]
pub(super) struct Undecidable {
    pub(super) reason: UndecidableReason,
    pub(super) detail: String,
}

/// The trust roots that an authority's parts are taken from.
struct Roots<'a> {
    lookup: &'a RootLookup<'a>,
    /// The root that is searched first for parts without a reference of their own.
    base: RootRef,
}

/// The maximum size of the trust roots that are composed for the authorities of one policy, in
/// bytes. That of the public-good instance has about 10 KiB.
const MAX_COMPOSED: usize = 8 * 1024 * 1024;
/// The size of a log or an authority without its certificates, roughly.
const PART_SIZE: usize = 1024;

/// The trust roots that are composed for the authorities of one policy: equal ones are shared, and
/// their size is bounded.
#[derive(Default)]
pub(super) struct ComposedRoots {
    roots: Vec<Arc<TrustRoot>>,
    size: usize,
}

/// A trust root, and its name for messages.
struct NamedRoot {
    root: Arc<TrustRoot>,
    source: RootSource,
    name: String,
}

/// Returns the trust config of a keyless authority. `ca` replaces the root's certificate
/// authorities.
///
/// Certificate authorities and CT logs come from the root of `keyless`, transparency logs from that
/// of `ctlog`, timestamp authorities from that of `rfc3161timestamp`. A certificate needs a trusted
/// time: from a log unless the policy requires a timestamp instead, or the root has timestamp
/// authorities and no log.
pub(super) fn of_keyless(
    authority: &Authority,
    keyless: &Keyless,
    ca: Option<CertificateAuthority>,
    lookup: &RootLookup<'_>,
    composed: &mut ComposedRoots,
) -> Result<TrustConfig, Undecidable> {
    let roots = Roots { lookup, base: RootRef::named(&keyless.trust_root_ref) };
    let base = roots.get(&roots.base)?;
    let mut root = TrustRoot::clone(&base.root);
    if let Some(ca) = ca {
        root.certificate_authorities = vec![ca];
    }
    if root.certificate_authorities.is_empty() {
        return Err(base.missing("certificate authority"));
    }
    let mut overrides = Overrides::default();
    match keyless.insecure_ignore_sct {
        Some(true) => overrides.sct = Override::Ignored,
        _ if root.ct_logs.is_empty() => {
            return Err(base.missing("usable certificate log (ctLogs)"));
        }
        _ => {}
    }
    roots.add_proofs(authority, &mut root, &mut overrides)?;
    if authority.ctlog.is_none() {
        (overrides.log, overrides.timestamp) =
            trusted_time_source(&root, &base, overrides.timestamp)?;
    }
    base.trust_config(root, overrides, composed)
}

/// Selects the source of the trusted time for a certificate where the policy names no log.
fn trusted_time_source(
    root: &TrustRoot,
    base: &NamedRoot,
    timestamp: Override,
) -> Result<(Override, Override), Undecidable> {
    if timestamp == Override::Required {
        return Ok((Override::Ignored, Override::Required));
    }
    if !root.transparency_logs.is_empty() {
        return Ok((Override::Unset, timestamp));
    }
    // A log that the root names and that cannot be used does not make the log optional.
    if root.names_transparency_log() || root.timestamp_authorities.is_empty() {
        return Err(base.missing("usable transparency log, and no timestamp authority either"));
    }
    Ok((Override::Ignored, Override::Required))
}

/// Returns the trust config of a key authority. A key needs neither log nor timestamp unless the
/// policy requires them; any that accompany a signature are still verified with the gate's default
/// root, if there is one.
pub(super) fn of_key(
    authority: &Authority,
    lookup: &RootLookup<'_>,
    composed: &mut ComposedRoots,
) -> Result<TrustConfig, Undecidable> {
    let roots = Roots { lookup, base: RootRef::Default };
    let mut overrides = Overrides { log: Override::Ignored, ..Overrides::default() };
    let requires_proofs = authority.ctlog.is_some() || authority.rfc3161timestamp.is_some();
    let own = roots.get(&RootRef::Default);
    if !requires_proofs {
        let (root, source) = own.map(|own| (own.root.into(), own.source)).ok().unzip();
        return Ok(TrustConfig { root, source: source.unwrap_or_default(), overrides });
    }
    // The required parts may come from other roots.
    let own = own.unwrap_or_else(|_| NamedRoot::empty());
    let mut root = TrustRoot {
        certificate_authorities: Vec::new(),
        ct_logs: Vec::new(),
        ..TrustRoot::clone(&own.root)
    };
    roots.add_proofs(authority, &mut root, &mut overrides)?;
    own.trust_config(root, overrides, composed)
}

/// Returns a warning if `ctlog` names a TrustRoot and the URL of a log that it does not contain.
pub(super) fn other_log(authority: &Authority, lookup: &RootLookup<'_>) -> Option<String> {
    let TransparencyLog { url, trust_root_ref } = authority.ctlog.as_ref()?;
    let url = url.as_deref().filter(|_| !trust_root_ref.is_empty())?;
    let (root, _) = lookup(&RootRef::named(trust_root_ref)).ok()?;
    if has_log(&root, Some(url)) {
        return None;
    }
    let logs: Vec<&str> = root.transparency_logs.iter().map(|log| log.base_url.as_str()).collect();
    Some(format!(
        "{url} is not a log of TrustRoot {trust_root_ref}; its logs are trusted instead: {}",
        logs.join(", ")
    ))
}

impl ComposedRoots {
    /// Returns `root`, shared with an earlier authority that has the same.
    fn share(&mut self, root: TrustRoot) -> Result<Arc<TrustRoot>, Undecidable> {
        if let Some(same) = self.roots.iter().find(|known| ***known == root) {
            return Ok(Arc::clone(same));
        }
        self.size += size(&root);
        if self.size > MAX_COMPOSED {
            let detail =
                format!("the trust roots of the policy's authorities exceed {MAX_COMPOSED} bytes");
            return Err(Undecidable { reason: UndecidableReason::TrustRoot, detail });
        }
        let root = Arc::new(root);
        self.roots.push(Arc::clone(&root));
        Ok(root)
    }
}

/// The size of a trust root in memory, roughly.
fn size(root: &TrustRoot) -> usize {
    let authorities = root.certificate_authorities.iter().chain(&root.timestamp_authorities);
    let chains = authorities.map(|it| PART_SIZE + it.chain().iter().map(Vec::len).sum::<usize>());
    let logs = root.transparency_logs.len() + root.ct_logs.len() + root.skipped.len();
    chains.sum::<usize>() + PART_SIZE * logs
}

impl RootRef {
    /// Parses a policy's reference; empty is the gate's own root.
    fn named(name: &str) -> Self {
        if name.is_empty() { Self::Default } else { Self::Named(name.to_owned()) }
    }
}

impl Roots<'_> {
    fn get(&self, which: &RootRef) -> Result<NamedRoot, Undecidable> {
        let name = match which {
            RootRef::Named(name) => format!("TrustRoot {name}"),
            RootRef::Default => "the gate's own trust root".to_owned(),
        };
        match (self.lookup)(which) {
            Ok((root, source)) => Ok(NamedRoot { root, source, name }),
            Err(fault) => {
                Err(Undecidable { reason: UndecidableReason::TrustRoot, detail: fault.detail })
            }
        }
    }

    /// Returns the root for a part: the one that is named, otherwise the first that has the part,
    /// of the authority's and the gate's.
    fn with(
        &self,
        reference: &str,
        what: &str,
        has: impl Fn(&TrustRoot) -> bool,
    ) -> Result<NamedRoot, Undecidable> {
        let candidates = match reference {
            "" if self.base == RootRef::Default => vec![RootRef::Default],
            "" => vec![self.base.clone(), RootRef::Default],
            name => vec![RootRef::named(name)],
        };
        let mut first = None;
        for candidate in &candidates {
            let found = self.get(candidate)?;
            if has(&found.root) {
                return Ok(found);
            }
            first.get_or_insert(found.missing(what));
        }
        Err(first.unwrap_or_else(|| NamedRoot::empty().missing(what)))
    }

    /// Adds the logs of `ctlog` and the timestamp authorities of `rfc3161timestamp`.
    fn add_proofs(
        &self,
        authority: &Authority,
        root: &mut TrustRoot,
        overrides: &mut Overrides,
    ) -> Result<(), Undecidable> {
        if let Some(TransparencyLog { url, trust_root_ref }) = &authority.ctlog {
            // A TrustRoot that is named decides which logs are trusted, as in policy-controller.
            // Without one, the URL is all that the policy says about the log.
            let url = url.as_deref().filter(|_| trust_root_ref.is_empty());
            let what = match url {
                Some(url) => format!("usable transparency log {url}"),
                None => "usable transparency log".to_owned(),
            };
            let found = self.with(trust_root_ref, &what, |root| has_log(root, url))?;
            root.transparency_logs.clone_from(&found.root.transparency_logs);
            root.skipped.retain(|skipped| skipped.part != Part::TransparencyLog);
            overrides.log = Override::Required;
            // A Rekor v2 entry has its time from a timestamp. A policy that names a root for a
            // key's log names its timestamp authorities, too; those for a certificate are named
            // with the certificate.
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

impl NamedRoot {
    fn empty() -> Self {
        let name = "the gate's own trust root".to_owned();
        Self { root: Arc::default(), source: RootSource::default(), name }
    }

    fn missing(&self, what: &str) -> Undecidable {
        let detail = format!("{} has no {what}", self.name);
        Undecidable { reason: UndecidableReason::TrustRoot, detail }
    }

    /// Shares the root if it was not changed.
    fn trust_config(
        self,
        root: TrustRoot,
        overrides: Overrides,
        composed: &mut ComposedRoots,
    ) -> Result<TrustConfig, Undecidable> {
        let root = if *self.root == root { self.root } else { composed.share(root)? };
        Ok(TrustConfig { root: Some(root.into()), source: self.source, overrides })
    }
}

/// Returns whether the root has a log at this URL, or any log without one. All logs of the root are
/// then trusted: the shards of one log have different URLs.
fn has_log(root: &TrustRoot, url: Option<&str>) -> bool {
    let plain = |url: &str| url.trim().trim_end_matches('/').to_ascii_lowercase();
    let wanted = url.filter(|url| !url.is_empty()).map(plain);
    let mut logs = root.transparency_logs.iter();
    logs.any(|log| wanted.as_ref().is_none_or(|wanted| plain(&log.base_url) == *wanted))
}
