//! Image patterns: the glob language of `ClusterImagePolicy`, read so that a pattern means what
//! its author sees in it, and no more.
//!
//! The language: `*` stands for anything but `/`, `**` for anything; everything else is literal;
//! the whole name must fit. policy-controller matches the pattern against one text, the
//! canonical `registry/repository@digest`. That makes `repo:tag`, plain `repo` and `docker.io/…`
//! patterns dead, and lets a wildcard run over the border between name and digest. Here a pattern
//! is taken apart first, and each part is matched against its own part of the image:
//!
//! * **name** against `registry/repository`. A name whose first part is no host (no dot, no
//!   colon, not `localhost`, no leading wildcard) is on Docker Hub, as in an image reference; one
//!   part alone is below `library/`. `*` and `*/*` are Docker Hub's, as the peer defines them.
//!   `docker.io` is `index.docker.io`. Hosts compare without case.
//! * **tag** (after `:`) against the tag that was written, see [`TagTrust`].
//! * **digest** (after `@`) against the digest, `sha256:…`.
//!
//! Why each widening over the peer is safe. Every policy is both a gate and a permission: where
//! nothing matches, the default denies, so a pattern that matches too much lets in what its author
//! never meant (worst with `static: pass`), and one that matches too little opens the way for a
//! laxer policy. So the widenings only touch patterns that the peer never matches at all: a plain
//! `ghcr.io/acme/app` names that repository and nothing beside it; `docker.io/library/**` and
//! `acme/app` name what the same text names in a pod. Nothing is matched by prefix, no part of the
//! text is decoded: `registry.io.evil.com` and `registry.io:5000` are other hosts than
//! `registry.io` (and one that ends in a dot is no host). Only what is pulled from the same
//! server by construction is one: `registry.io:443` is `registry.io`, and Docker Hub's hosts are
//! one host (`Repository::canonical_registry`). Otherwise whoever writes the pod could choose the
//! spelling that no policy names.
//!
//! A tag is different: in `app:v1@sha256:…` the digest alone says what runs, and whoever writes
//! the pod writes the tag. [`TagTrust`] says when such a tag counts.

use sealgate_core::reference::{DEFAULT_REGISTRY, Reference, Repository, canonical_registry};

mod impossible;
mod wildcard;

pub(crate) use impossible::Impossible;
use wildcard::Wildcard;

/// The longest pattern: longer than any name that it could match.
pub const MAX_GLOB: usize = 1024;

/// A compiled image pattern.
#[derive(Clone, Debug)]
pub struct Glob {
    text: String,
    /// None fits every name.
    name: Option<Wildcard>,
    /// Whether a wildcard stands in the host: then every spelling of an image's host is tried.
    open_host: bool,
    tag: Option<Wildcard>,
    digest: Option<Wildcard>,
}

/// What a tag that stands beside a digest is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TagTrust {
    /// It counts as written. For rules that require a signature over the digest: a wrong tag can
    /// bring an image under the rule, and there only content that the authority signed passes.
    AsWritten,
    /// It does not count: a pattern with a tag matches references without a digest only. For
    /// rules that let unsigned content in (`static: pass`, mode warn), where a free word before
    /// the digest must not be the key.
    OnlyWithoutDigest,
}

/// Why a text is not a pattern. The texts are policy-controller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGlob {
    /// Not a pattern in the sense of Go's `filepath.Match`.
    #[error("syntax error in pattern")]
    Syntax,
    /// A character that no image name has.
    #[error("invalid glob {0:?}")]
    Characters(String),
    /// Longer than [`MAX_GLOB`] bytes.
    #[error("longer than {MAX_GLOB} bytes")]
    TooLong,
}

/// What the author of a pattern may not have meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It asks for a tag.
    Tag,
    /// A wildcard ends the host: `registry.io*`.
    OpenHost,
    /// `**` stands before the rest of a host: `**.io/app`.
    LooseHost,
    /// No registry is named, and a wildcard may have been meant for one.
    DockerHub,
    /// A registry's name with nothing behind it, which is a repository of Docker Hub.
    HostAlone,
}

/// The parts of a pattern, normalised.
struct Parts<'a> {
    name: String,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl Glob {
    /// Reads and compiles a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidGlob> {
        check(text)?;
        let parts = Parts::of(text);
        Ok(Self {
            text: text.to_owned(),
            open_host: parts.name.split('/').next().is_some_and(|host| host.contains('*')),
            name: (parts.name != "**").then(|| Wildcard::new(&parts.name)),
            tag: parts.tag.map(Wildcard::new),
            digest: parts.digest.map(Wildcard::new),
        })
    }

    /// The pattern that matches every image.
    pub fn any() -> Self {
        Self { text: "**".to_owned(), name: None, open_host: true, tag: None, digest: None }
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The literal beginning of the pattern's name, which the [`canonical_name`] of each matching
    /// image begins with: `ghcr.io/acme/` of `ghcr.io/acme/*`. Empty where no registry is written
    /// out, since such a pattern also matches other spellings of an image's registry.
    pub(crate) fn literal_prefix(&self) -> &str {
        match &self.name {
            Some(name) if !self.open_host => name.literal_prefix(),
            _ => "",
        }
    }

    /// Whether the pattern matches `image`.
    pub fn matches(&self, image: &Reference, tags: TagTrust) -> bool {
        self.name.as_ref().is_none_or(|name| self.names(name, image.repository()))
            && self.digest.as_ref().is_none_or(|digest| {
                image.digest().is_some_and(|have| digest.is_match(&have.to_string()))
            })
            && self.tag.as_ref().is_none_or(|tag| {
                let counts = image.digest().is_none() || tags == TagTrust::AsWritten;
                counts && image.tag().is_some_and(|have| tag.is_match(have))
            })
    }

    /// Whether the pattern may match `image`, whose tag points to a digest that is not known. What
    /// a pattern asks of digest or tag is believed to be met only where `tags` says that the rule
    /// holds for signed content alone.
    pub(crate) fn may_match(&self, image: &Reference, tags: TagTrust) -> bool {
        let signed_only = tags == TagTrust::AsWritten;
        self.name.as_ref().is_none_or(|name| self.names(name, image.repository()))
            && (self.digest.is_none() || signed_only)
            && self
                .tag
                .as_ref()
                .is_none_or(|tag| signed_only && image.tag().is_some_and(|have| tag.is_match(have)))
    }

    fn names(&self, name: &Wildcard, image: &Repository) -> bool {
        name.is_match(&canonical_name(image)) || (self.open_host && matches_spelling(name, image))
    }

    /// What the author may not have meant.
    pub(crate) fn doubts(&self) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        if self.tag.is_some() {
            doubts.push(Doubt::Tag);
        }
        doubts.extend(name_doubt(&self.text));
        doubts
    }

    /// Why no image can match, where that is certain.
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
            // `repo:*` asks for nothing; and a digest written out says all, whatever its tag.
            tag: tag.filter(|tag| !only_stars(tag) && !literal_digest),
            digest: digest.filter(|digest| !only_stars(digest)),
        }
    }
}

/// Splits a tag off: the text after the last colon when no slash follows. In `host:5000**` the
/// wildcard may hold the slash, so that is a port.
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

/// The name that the spellings of one repository share: `registry/path`, see
/// [`Repository::canonical_registry`].
pub(crate) fn canonical_name(image: &Repository) -> String {
    format!("{}/{}", image.canonical_registry(), image.path())
}

/// Whether `name` matches another spelling of an image: `*.io:443/**` and `registry-1.*/**` mean
/// spellings that the canonical name has lost.
fn matches_spelling(name: &Wildcard, image: &Repository) -> bool {
    let at = |registry: &str| name.is_match(&format!("{registry}/{}", image.path()));
    let registry = image.canonical_registry();
    let written = image.registry() != registry && at(image.registry());
    written || (!has_port(registry) && at(&format!("{registry}:443")))
}

/// The name of a pattern, written as the [`canonical_name`] of an image.
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

fn name_doubt(text: &str) -> Option<Doubt> {
    let first = text.split('/').next().unwrap_or_default();
    let (literal, has_path) = (first.trim_start_matches('*'), text.contains('/'));
    if literal.is_empty() {
        return None;
    }
    if is_host(first) && first.ends_with('*') && (has_path || spans_slashes(first)) {
        return Some(Doubt::OpenHost);
    }
    if has_path && first.starts_with("**") {
        return Some(Doubt::LooseHost);
    }
    let (name, _) = split_tag(text.split('@').next().unwrap_or_default());
    if !name.contains('/') && !spans_slashes(name) && (name.contains('.') || name == "localhost") {
        return Some(Doubt::HostAlone);
    }
    (!is_host(first) && first.contains('*')).then_some(Doubt::DockerHub)
}

fn spans_slashes(part: &str) -> bool {
    part.contains("**")
}

/// One part with `**` in it: `**`, `ghcr.io**`, `nginx**`.
fn alone(part: &str) -> String {
    let lower = part.to_ascii_lowercase();
    match lower.strip_prefix("docker.io") {
        Some(rest) if rest.starts_with('*') => format!("{DEFAULT_REGISTRY}{rest}"),
        _ if is_host(part) => lower,
        _ => format!("{DEFAULT_REGISTRY}/library/{part}"),
    }
}

fn below_host(host: &str, path: &str) -> String {
    let host = if host.contains('*') { host } else { canonical_registry(host) };
    let library = host == DEFAULT_REGISTRY && !path.contains('/') && !spans_slashes(path);
    if library { format!("{host}/library/{path}") } else { format!("{host}/{path}") }
}

/// Whether a registry is written with a port (an IPv6 address has colons of its own).
fn has_port(registry: &str) -> bool {
    registry.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'))
}

/// Whether the first part of a pattern stands for a registry. As in an image reference,
/// `localhost-team` does not: it is somebody on Docker Hub.
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
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(InvalidGlob::Characters(text.to_owned()));
    }
    Ok(())
}

/// Whether Go's `filepath.Match` takes `text` for a pattern. Only needed to say the same of a
/// pattern with brackets or backslashes as the peer does: both are refused in any case.
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

/// Reads a character class after its `[`: `^`, then one or more of `a`, `a-b`, `\a`, then `]`.
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
