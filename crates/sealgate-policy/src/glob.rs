//! Image patterns: the glob language of `ClusterImagePolicy`, compiled so that a pattern selects
//! the images that its author names, and no others.
//!
//! The language: `*` matches any text without `/`, `**` any text; everything else is literal; the
//! whole name must match. policy-controller matches the pattern against one text, the canonical
//! `registry/repository@digest`. There, patterns such as `repo:tag`, plain `repo` and `docker.io/…`
//! never match, and a wildcard may match across the border between name and digest. Here a pattern
//! is split first, and each part is matched against its own part of the image:
//!
//! * **name** against `registry/repository`. A name whose first part is not a host (no dot, no
//!   colon, not `localhost`, no leading wildcard) is on Docker Hub, as in an image reference; a
//!   single part is below `library/`. `*` and `*/*` select images on Docker Hub, as in
//!   policy-controller. `docker.io` is `index.docker.io`. Hosts are compared without case.
//!   A registry at an IPv6 address is written as in an image reference, `[::1]:5000/**`, without a
//!   wildcard in it; policy-controller has no such patterns.
//! * **tag** (after `:`) against the tag as written, see [`TagMatching`].
//! * **digest** (after `@`) against the digest, `sha256:…`.
//!
//! Patterns that match more than in policy-controller, and why that is safe. Every policy both
//! restricts and permits: where nothing matches, the default denies, so a pattern that matches too
//! much admits images that its author did not intend (worst with `static: pass`), and one that
//! matches too little leaves images to a less strict policy. So only patterns that
//! policy-controller never matches at all have gained a meaning: a plain `ghcr.io/acme/app` selects
//! that repository only; `docker.io/library/**` and `acme/app` select what the same text names in a
//! pod. Nothing is matched by prefix, and no part of the text is decoded: `registry.io.evil.com`
//! and `registry.io:5000` are other hosts than `registry.io` (and a name that ends in a dot is not
//! a host). Only spellings that reach the same server by construction are equal: `registry.io:443`
//! is `registry.io`, and Docker Hub's hosts are one host (`Repository::canonical_registry`).
//! Otherwise the author of a pod could choose a spelling that no policy names.
//!
//! Tags are different: in `app:v1@sha256:…` the digest alone decides what runs, and the author of
//! the pod writes the tag. [`TagMatching`] determines when such a tag is considered.

use std::net::Ipv6Addr;

use sealgate_core::reference::{
    DEFAULT_REGISTRY, Reference, Repository, canonical_registry, parse_registry,
};

mod impossible;
mod wildcard;

pub(crate) use impossible::Impossible;
use wildcard::Wildcard;

/// The maximum length of a pattern: longer than any name that it could match.
pub const MAX_GLOB: usize = 1024;

/// A compiled image pattern.
#[derive(Clone, Debug)]
pub struct Glob {
    text: String,
    /// `None` matches every name.
    name: Option<Wildcard>,
    /// Set if the host contains a wildcard: then every spelling of an image's host is tried.
    host_wildcard: bool,
    tag: Option<Wildcard>,
    digest: Option<Wildcard>,
}

/// The treatment of a tag that precedes a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagMatching {
    /// Considered as written. For rules that require a signature over the digest: a wrong tag can
    /// only make the rule apply, and then only content that the authority signed passes.
    AsWritten,
    /// Ignored: a pattern with a tag matches references without a digest only. For rules that admit
    /// unsigned content (`static: pass`, mode warn), where the author of a pod could otherwise
    /// obtain admission by choosing a tag.
    OnlyWithoutDigest,
}

/// The reason why a text is not a pattern. The messages are policy-controller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGlob {
    /// Not a pattern according to Go's `filepath.Match`.
    #[error("syntax error in pattern")]
    Syntax,
    /// A character that image names cannot contain.
    #[error("invalid glob {0:?}")]
    Characters(String),
    /// Longer than [`MAX_GLOB`] bytes.
    #[error("longer than {MAX_GLOB} bytes")]
    TooLong,
}

/// A pattern that may not mean what its author intends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternWarning {
    /// It names a tag.
    Tag,
    /// A wildcard ends the host: `registry.io*`.
    TrailingHostWildcard,
    /// `**` stands before the rest of a host: `**.io/app`.
    LeadingHostWildcard,
    /// It names no registry, and a wildcard may have been intended to match one.
    DockerHub,
    /// A registry name alone, which is a repository on Docker Hub.
    RegistryOnly,
}

/// The parts of a pattern, normalised.
struct Parts<'a> {
    name: String,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl Glob {
    /// Parses and compiles a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidGlob> {
        check(text)?;
        let parts = Parts::of(text);
        Ok(Self {
            text: text.to_owned(),
            host_wildcard: parts.name.split('/').next().is_some_and(|host| host.contains('*')),
            name: (parts.name != "**").then(|| Wildcard::new(&parts.name)),
            tag: parts.tag.map(Wildcard::new),
            digest: parts.digest.map(Wildcard::new),
        })
    }

    /// The pattern that matches every image.
    pub fn any() -> Self {
        Self { text: "**".to_owned(), name: None, host_wildcard: true, tag: None, digest: None }
    }

    /// The text that it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The literal prefix of the pattern's name, which the [`canonical_name`] of each matching
    /// image begins with: `ghcr.io/acme/` of `ghcr.io/acme/*`. Empty if the registry is not
    /// literal, since such a pattern also matches other spellings of an image's registry.
    pub(crate) fn literal_prefix(&self) -> &str {
        match &self.name {
            Some(name) if !self.host_wildcard => name.literal_prefix(),
            _ => "",
        }
    }

    /// Returns whether the pattern matches `image`.
    pub fn matches(&self, image: &Reference, tags: TagMatching) -> bool {
        self.name.as_ref().is_none_or(|name| self.names(name, image.repository()))
            && self.digest.as_ref().is_none_or(|digest| {
                image.digest().is_some_and(|have| digest.is_match(&have.to_string()))
            })
            && self.tag.as_ref().is_none_or(|tag| {
                let counts = image.digest().is_none() || tags == TagMatching::AsWritten;
                counts && image.tag().is_some_and(|have| tag.is_match(have))
            })
    }

    /// Returns whether the pattern may match `image`, whose tag has not been resolved to a digest.
    /// A digest or tag in the pattern is assumed to match only if `tags` says that the rule holds
    /// for signed content alone.
    pub(crate) fn may_match(&self, image: &Reference, tags: TagMatching) -> bool {
        let signed_only = tags == TagMatching::AsWritten;
        self.name.as_ref().is_none_or(|name| self.names(name, image.repository()))
            && (self.digest.is_none() || signed_only)
            && self
                .tag
                .as_ref()
                .is_none_or(|tag| signed_only && image.tag().is_some_and(|have| tag.is_match(have)))
    }

    fn names(&self, name: &Wildcard, image: &Repository) -> bool {
        name.is_match(&canonical_name(image))
            || (self.host_wildcard && matches_spelling(name, image))
    }

    /// Returns the reasons why the pattern may not mean what its author intends.
    pub(crate) fn warnings(&self) -> Vec<PatternWarning> {
        let mut warnings = Vec::new();
        if self.tag.is_some() {
            warnings.push(PatternWarning::Tag);
        }
        warnings.extend(name_warning(&self.text));
        warnings
    }

    /// Returns the reason why no image can match, if that is certain.
    pub(crate) fn impossible(&self) -> Option<Impossible> {
        impossible::impossible(&self.text)
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Glob {}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        let only_stars = |part: &str| !part.is_empty() && part.bytes().all(|b| b == b'*');
        let literal_digest = digest.is_some_and(|digest| !digest.contains('*'));
        Self {
            name: normal_name(name),
            // `repo:*` restricts nothing; and a literal digest is sufficient, whatever its tag.
            tag: tag.filter(|tag| !only_stars(tag) && !literal_digest),
            digest: digest.filter(|digest| !only_stars(digest)),
        }
    }
}

/// Splits off the tag: the text after the last colon when no slash follows. In `host:5000**` the
/// wildcard may match the slash, so that is a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag))
            if !tag.contains('/')
                && (name.contains('/') || name.contains("**") || !tag.contains("**")) =>
        {
            (name, Some(tag))
        }
        _ => (text, None),
    }
}

/// Returns the canonical name of a repository: `registry/path`, see
/// [`Repository::canonical_registry`].
pub(crate) fn canonical_name(image: &Repository) -> String {
    format!("{}/{}", image.canonical_registry(), image.path())
}

/// Returns whether `name` matches another spelling of an image: `*.io:443/**` and `registry-1.*/**`
/// refer to spellings that the canonical name does not keep.
fn matches_spelling(name: &Wildcard, image: &Repository) -> bool {
    let at = |registry: &str| name.is_match(&format!("{registry}/{}", image.path()));
    let registry = image.canonical_registry();
    let written = image.registry() != registry && at(image.registry());
    written || (!has_port(registry) && at(&format!("{registry}:443")))
}

/// Returns the name of a pattern in the form of an image's [`canonical_name`].
fn normal_name(name: &str) -> String {
    let (first, rest) = match name.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    match rest {
        None if spans_slashes(first) => alone(first),
        None => format!("{DEFAULT_REGISTRY}/library/{first}"),
        Some("*") if first == "*" => format!("{DEFAULT_REGISTRY}/*/*"),
        Some(rest) if is_host(first) => below_host(&first.to_ascii_lowercase(), rest),
        Some(_) => format!("{DEFAULT_REGISTRY}/{name}"),
    }
}

fn name_warning(text: &str) -> Option<PatternWarning> {
    let first = text.split('/').next().unwrap_or_default();
    let (literal, has_path) = (first.trim_start_matches('*'), text.contains('/'));
    if literal.is_empty() {
        return None;
    }
    if is_host(first) && first.ends_with('*') && (has_path || spans_slashes(first)) {
        return Some(PatternWarning::TrailingHostWildcard);
    }
    if has_path && first.starts_with("**") {
        return Some(PatternWarning::LeadingHostWildcard);
    }
    let (name, _) = split_tag(text.split('@').next().unwrap_or_default());
    if !name.contains('/') && !spans_slashes(name) && (name.contains('.') || name == "localhost") {
        return Some(PatternWarning::RegistryOnly);
    }
    (!is_host(first) && first.contains('*')).then_some(PatternWarning::DockerHub)
}

fn spans_slashes(part: &str) -> bool {
    part.contains("**")
}

/// A name of a single part that contains `**`: `**`, `ghcr.io**`, `nginx**`.
fn alone(part: &str) -> String {
    let lower = part.to_ascii_lowercase();
    match lower.strip_prefix("docker.io") {
        Some(rest) if rest.starts_with('*') => format!("{DEFAULT_REGISTRY}{rest}"),
        _ if is_host(part) => lower,
        _ => format!("{DEFAULT_REGISTRY}/library/{part}"),
    }
}

fn below_host(host: &str, path: &str) -> String {
    if host.starts_with('[') {
        // An address has one form; one that is not a registry is impossible as it is.
        let host = parse_registry(host).unwrap_or_else(|_| host.to_owned());
        return format!("{}/{path}", canonical_registry(&host));
    }
    let host = if host.contains('*') { host } else { canonical_registry(host) };
    let library = host == DEFAULT_REGISTRY && !path.contains('/') && !spans_slashes(path);
    if library { format!("{host}/library/{path}") } else { format!("{host}/{path}") }
}

/// Returns whether a registry has a port (an IPv6 address has colons of its own).
fn has_port(registry: &str) -> bool {
    registry.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'))
}

/// Returns whether the first part of a pattern is a registry. As in an image reference,
/// `localhost-team` is not: it is an account on Docker Hub.
fn is_host(first: &str) -> bool {
    let local = |rest: &str| rest.is_empty() || rest.starts_with('*');
    first.contains(['.', ':'])
        || first.starts_with('*')
        || first.strip_prefix("localhost").is_some_and(local)
}

fn check(text: &str) -> Result<(), InvalidGlob> {
    if text.len() > MAX_GLOB {
        return Err(InvalidGlob::TooLong);
    }
    if !is_go_pattern(text) {
        return Err(InvalidGlob::Syntax);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_:/*.@".contains(&b);
    let checked = below_address(text).unwrap_or(text);
    if checked.is_empty() || !checked.bytes().all(allowed) {
        return Err(InvalidGlob::Characters(text.to_owned()));
    }
    Ok(())
}

/// Returns the text after the registry of a pattern, if that is an IPv6 address: `app/*` of
/// `[::1]:5000/app/*`.
fn below_address(text: &str) -> Option<&str> {
    let (host, path) = text.split_once('/')?;
    let (address, port) = host.strip_prefix('[')?.split_once(']')?;
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(digits);
    (address.parse::<Ipv6Addr>().is_ok() && port_fits).then_some(path)
}

/// Returns whether `text` is a pattern according to Go's `filepath.Match`. Needed only to return
/// policy-controller's message for a pattern with brackets or backslashes: it is rejected in any
/// case.
fn is_go_pattern(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let good = match c {
            '\\' => chars.next().is_some(),
            '[' => is_go_class(&mut chars),
            _ => true,
        };
        if !good {
            return false;
        }
    }
    true
}

/// Parses a character class after its `[`: `^`, then one or more of `a`, `a-b`, `\a`, then `]`.
fn is_go_class(chars: &mut std::str::Chars<'_>) -> bool {
    let mut peek = chars.clone();
    if peek.next() == Some('^') {
        *chars = peek;
    }
    let mut ranges = 0;
    loop {
        match chars.next() {
            Some(']') if ranges > 0 => return true,
            None | Some(']' | '-') => return false,
            Some('\\') if chars.next().is_none() => return false,
            Some(_) => ranges += 1,
        }
        let mut peek = chars.clone();
        if peek.next() == Some('-') {
            let high = match peek.next() {
                Some('\\') => peek.next(),
                Some('-' | ']') => None,
                other => other,
            };
            if high.is_none() {
                return false;
            }
            *chars = peek;
        }
    }
}

#[cfg(test)]
mod tests;
