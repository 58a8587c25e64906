//! Patterns that no image reference can match, with the reason and the pattern that was probably
//! intended.
//!
//! Reports certain cases only: each reason names a literal part of the pattern that no registry,
//! repository, tag or digest can have. Such a policy would silently have no effect.

use sealgate_core::digest::Algorithm;
use sealgate_core::reference::{
    self, InvalidRegistry, MAX_PATH, MAX_TAG, is_port, is_tag_byte, parse_registry,
};

use super::{Parts, is_host, split_tag};

/// The reason why no image can match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Impossible {
    reason: Reason,
    /// The pattern that was probably intended.
    meant: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("an image name has no scheme")]
    Scheme,
    #[error("it begins with a slash, and an image name begins with a registry or a repository")]
    LeadingSlash,
    #[error("it ends with a slash, and an image name does not")]
    TrailingSlash,
    #[error("an image name has no empty part between slashes")]
    EmptySegment,
    #[error("an image name has no part . or ..")]
    DotSegment,
    #[error("{0}")]
    Registry(InvalidRegistry),
    #[error("a repository is written in lower case")]
    UpperCase,
    #[error("a repository has no colon")]
    Colon,
    #[error("a repository has at most 255 characters")]
    LongRepository,
    #[error(
        "a tag has 1 to 128 letters, digits, underscores, dots and hyphens, and begins with neither dot nor hyphen"
    )]
    Tag,
    #[error(
        "a digest is sha256:, sha384: or sha512: and 64, 96 or 128 lower-case hexadecimal digits"
    )]
    Digest,
}

impl std::fmt::Display for Impossible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no image can match it: {}", self.reason)?;
        match &self.meant {
            Some(meant) => write!(f, "; write {meant}"),
            None => Ok(()),
        }
    }
}

/// Returns the reason why no image can match `text`, which has only characters that patterns may
/// contain.
pub(super) fn impossible(text: &str) -> Option<Impossible> {
    let because = |reason, meant: Option<String>| Some(Impossible { reason, meant });
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.trim_matches('/');
        let alone = !rest.contains('/') && rest.contains(['.', ':']);
        let meant = if alone { format!("{rest}/**") } else { rest.to_owned() };
        return because(Reason::Scheme, Some(meant).filter(|_| !rest.is_empty()));
    }
    let rest = text.split('@').next().unwrap_or_default();
    let (name, _) = split_tag(rest);
    let trimmed = name.trim_matches('/');
    if name.starts_with('/') {
        let below = Some(format!("REGISTRY/{trimmed}")).filter(|_| !trimmed.is_empty());
        return because(Reason::LeadingSlash, below);
    }
    if name.ends_with('/') {
        let below = Some(format!("{trimmed}/**")).filter(|_| name == text);
        return because(Reason::TrailingSlash, below);
    }
    if name.contains("//") {
        let segments: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
        return because(Reason::EmptySegment, Some(segments.join("/")));
    }
    if name.split('/').any(|part| part == "." || part == "..") {
        return because(Reason::DotSegment, None);
    }
    registry(name).or_else(|| {
        let Parts { name, tag, digest } = Parts::of(text);
        let reason = path(&name)
            .or_else(|| tag.filter(|tag| !is_tag(tag)).map(|_| Reason::Tag))
            .or_else(|| digest.filter(|digest| !is_digest(digest)).map(|_| Reason::Digest))?;
        let meant = Some(text.to_ascii_lowercase()).filter(|_| reason == Reason::UpperCase);
        because(reason, meant)
    })
}

/// Checks the registry of a normalised name, and suggests a correction.
fn registry(name: &str) -> Option<Impossible> {
    let invalid = invalid_registry(name)?;
    let (host, path) = name.split_once('/')?;
    let (bare, port) = match host.rsplit_once(':') {
        Some((bare, port)) => (bare, format!(":{port}")),
        None => (host, String::new()),
    };
    let meant = match invalid {
        InvalidRegistry::TrailingDot => {
            Some(format!("{}{port}/{path}", bare.trim_end_matches('.')))
        }
        InvalidRegistry::Host if host.starts_with('.') => Some(format!("*{host}/{path}")),
        InvalidRegistry::Port => {
            let port = port.trim_start_matches(':').parse::<u16>().ok();
            port.map(|port| format!("{bare}:{port}/{path}"))
        }
        _ => None,
    };
    // A suggested pattern must be valid itself.
    let meant = meant.filter(|meant| invalid_registry(meant).is_none());
    Some(Impossible { reason: Reason::Registry(invalid), meant })
}

/// Checks the registry of a name: as a whole if it is literal, otherwise its literal parts.
fn invalid_registry(name: &str) -> Option<InvalidRegistry> {
    let (host, _) = name.split_once('/')?;
    match host.contains('*') {
        _ if !is_host(host) => None,
        false => parse_registry(host).err(),
        true => open_registry(host),
    }
}

/// Checks the literal parts of a registry with wildcards. `**` may match the slash after the
/// registry, so the text that follows may belong to the repository; but no repository has a colon.
fn open_registry(host: &str) -> Option<InvalidRegistry> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let spans = host.contains("**");
    // An IPv6 address ends in a bracket, which no pattern has: the text after the last colon is a
    // port, where there is no wildcard in it.
    if port.is_some_and(|port| !port.contains('*') && !is_port(port)) {
        Some(InvalidRegistry::Port)
    } else if name.ends_with('.') && (port.is_some() || !spans) {
        Some(InvalidRegistry::TrailingDot)
    } else if name.starts_with(['-', '.']) || (name.contains("..") && !spans) {
        Some(InvalidRegistry::Host)
    } else {
        None
    }
}

/// Checks the repository of a normalised name.
fn path(name: &str) -> Option<Reason> {
    let (_, path) = name.split_once('/')?;
    let literals = path.bytes().filter(|b| *b != b'*').count();
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        Some(Reason::UpperCase)
    } else if path.contains(':') {
        Some(Reason::Colon)
    } else if literals > MAX_PATH {
        Some(Reason::LongRepository)
    } else {
        None
    }
}

/// Returns whether a tag can match: the literal parts of the pattern must be parts of valid tags.
fn is_tag(tag: &str) -> bool {
    let literals = tag.replace('*', "");
    if tag.starts_with('*') {
        // The wildcard may hold the first character.
        return literals.len() <= MAX_TAG && literals.bytes().all(is_tag_byte);
    }
    reference::is_tag(&literals)
}

fn is_digest(digest: &str) -> bool {
    let hexadecimal = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    Algorithm::ALL.iter().any(|algorithm| {
        let (algorithm, digits) = (format!("{}:", algorithm.name()), algorithm.hex_len());
        let (literal, rest) = match digest.find('*') {
            Some(at) => digest.split_at(at),
            None => (digest, ""),
        };
        let open = !rest.is_empty();
        match literal.strip_prefix(&algorithm) {
            // The wildcard stands among the digits.
            Some(hex) => {
                let all = hex.bytes().chain(rest.bytes().filter(|b| *b != b'*'));
                let count = all.clone().count();
                all.into_iter().all(hexadecimal)
                    && if open { count <= digits } else { count == digits }
            }
            // It stands before the colon or right behind a part of the algorithm's name; then the
            // end of the pattern is the end of the digits.
            None => {
                let last = rest.rsplit('*').next().unwrap_or_default();
                let last = last.rsplit(':').next().unwrap_or_default();
                open && algorithm.starts_with(literal) && last.bytes().all(hexadecimal)
            }
        }
    })
}
