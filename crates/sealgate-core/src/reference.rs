//! Image references, `registry/repository[:tag][@digest]`, read as go-containerregistry reads
//! them (weak validation: `nginx` is `index.docker.io/library/nginx:latest`).

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry meant when a reference names none.
pub const DEFAULT_REGISTRY: &str = "index.docker.io";

/// A repository of a registry: `ghcr.io/acme/app`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: String,
    path: String,
}

/// A reference to an image. At least one of tag and digest is always there: a text with
/// neither gets the tag `latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
    original: String,
}

/// What a registry is asked for: a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identifier {
    /// A movable name.
    Tag(String),
    /// A content address.
    Digest(Digest),
}

/// Why a text is not a reference. The text of the variants follows go-containerregistry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// Nothing that could be a reference.
    #[error("could not parse reference: {0}")]
    Malformed(String),
    /// The repository holds characters that are not allowed, or has a wrong length.
    #[error(
        "repository can only contain the characters `abcdefghijklmnopqrstuvwxyz0123456789_-./`: {0}"
    )]
    Repository(String),
    /// The registry is no host, or host and port.
    #[error("registries must be valid RFC 3986 URI authorities: {0}")]
    Registry(String),
    /// The tag holds characters that are not allowed, or has a wrong length.
    #[error(
        "tag can only contain the characters `abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.`: {0}"
    )]
    Tag(String),
    /// What stands after `@` is no digest.
    #[error("could not parse reference: {0}: invalid digest after @")]
    Digest(String),
}

const MAX_REFERENCE: usize = 4096;

impl Repository {
    /// A repository from its text, `[registry/]path`, with neither tag nor digest.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        if text.is_empty() || text.len() > MAX_REFERENCE {
            return Err(InvalidReference::Malformed(cut(text)));
        }
        let (registry, path) = match text.split_once('/') {
            Some((host, rest)) if looks_like_host(host) => (host, rest),
            _ => ("", text),
        };
        let registry = normal_registry(registry)?;
        check_path(path)?;
        let path = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        // Once more, so that what is printed can be read again.
        check_path(&path)?;
        Ok(Self { registry, path })
    }

    /// Host, or host and port.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The registry by the one name that all its spellings share, for comparisons: without the
    /// port of HTTPS, and Docker Hub's hosts as [`DEFAULT_REGISTRY`]. What is pulled from
    /// `ghcr.io:443` is what lies at `ghcr.io`; which of the two was written is up to whoever
    /// writes the pod.
    pub fn canonical_registry(&self) -> &str {
        canonical_registry(&self.registry)
    }

    /// The path below the registry, `acme/app`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The reference to `identifier` in this repository.
    pub fn at(&self, identifier: Identifier) -> Reference {
        let (tag, digest) = match identifier {
            Identifier::Tag(tag) => (Some(tag), None),
            Identifier::Digest(digest) => (None, Some(digest)),
        };
        let mut reference =
            Reference { repository: self.clone(), tag, digest, original: String::new() };
        reference.original = reference.to_string();
        reference
    }
}

impl Reference {
    /// Where the image lies.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, where one was written or implied.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The text as it was given.
    pub fn original(&self) -> &str {
        &self.original
    }

    /// What to ask the registry for: the digest if there is one, else the tag.
    pub fn identifier(&self) -> Identifier {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Identifier::Digest(digest.clone()),
            (None, Some(tag)) => Identifier::Tag(tag.clone()),
            (None, None) => Identifier::Tag("latest".to_owned()),
        }
    }

    /// The same image by digest, the tag kept for people: `repo:tag@sha256:…`.
    pub fn pinned(&self, digest: Digest) -> Self {
        let mut pinned = Self { digest: Some(digest), ..self.clone() };
        pinned.original = pinned.to_string();
        pinned
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if text.is_empty() || text.len() > MAX_REFERENCE {
            return Err(InvalidReference::Malformed(cut(text)));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse().map_err(|_| InvalidReference::Digest(cut(text)))?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        let (name, tag) = split_tag(name);
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let repository = Repository::parse(name)?;
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { repository, tag, digest, original: text.to_owned() })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// The tag is what stands after the last colon, unless a slash follows (then it is a port).
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((base, tag)) if !tag.contains('/') => (base, Some(tag)),
        _ => (name, None),
    }
}

/// A registry's name, in lower case, without the port that is implied, and Docker Hub's hosts by
/// the one that stands for all.
pub fn canonical_registry(registry: &str) -> &str {
    let host = registry.strip_suffix(":443").unwrap_or(registry);
    match host {
        "docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DEFAULT_REGISTRY,
        host => host,
    }
}

fn looks_like_host(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost"
}

fn normal_registry(registry: &str) -> Result<String, InvalidReference> {
    // Host names do not depend on case (RFC 3986, 3.2.2); patterns are matched against the
    // lower-case form, so that `GHCR.IO/x` cannot slip past a rule for `ghcr.io`.
    let registry = registry.to_ascii_lowercase();
    if registry.is_empty() || registry == "docker.io" {
        return Ok(DEFAULT_REGISTRY.to_owned());
    }
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (registry.as_str(), None),
    };
    // `registry.io:0443` connects to the port 443 and is another text: one spelling only.
    let port_ok = port.is_none_or(|p| p.parse::<u16>().is_ok() && !p.starts_with(['+', '0']));
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let host_ok = if bracketed {
        host[1..host.len() - 1].parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
            && !host.starts_with(['-', '.'])
            // `registry.io.` is `registry.io` to a resolver, another name to a policy, and no
            // name at all to the kubelet (distribution/reference).
            && !host.ends_with('.')
            && !host.contains("..")
            && is_one_address(host)
    };
    if port_ok && host_ok { Ok(registry) } else { Err(InvalidReference::Registry(cut(&registry))) }
}

/// Whether a host that resolvers take for an address is written as that address is usually
/// written: `010.0.0.1`, `0x0a000001` and `167772161` reach `10.0.0.1` and do not look like it.
fn is_one_address(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let hexadecimal = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    let number = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    if number || last.strip_prefix("0x").is_some_and(hexadecimal) {
        return host.parse::<std::net::Ipv4Addr>().is_ok();
    }
    true
}

fn check_path(path: &str) -> Result<(), InvalidReference> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-./".contains(&b);
    let segments_ok = path.split('/').all(|s| !s.is_empty() && s != "." && s != "..");
    if (2..=255).contains(&path.len()) && path.bytes().all(allowed) && segments_ok {
        return Ok(());
    }
    // One letter is a good repository on Docker Hub's terms once `library/` stands before it.
    if path.len() == 1 && path.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Ok(());
    }
    Err(InvalidReference::Repository(cut(path)))
}

fn check_tag(tag: &str) -> Result<(), InvalidReference> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let first_ok = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    if tag.len() <= 128 && first_ok && tag.bytes().all(allowed) {
        Ok(())
    } else {
        Err(InvalidReference::Tag(cut(tag)))
    }
}

/// Foreign text for an error message: cut, and with control characters escaped.
fn cut(text: &str) -> String {
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().take(300).map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_references_as_go_containerregistry_does() {
        let digest = Digest::of(b"x");
        for (text, full) in [
            ("nginx", "index.docker.io/library/nginx:latest"),
            ("nginx:1.2", "index.docker.io/library/nginx:1.2"),
            ("docker.io/nginx", "index.docker.io/library/nginx:latest"),
            ("acme/app", "index.docker.io/acme/app:latest"),
            ("ghcr.io/acme/app:v1", "ghcr.io/acme/app:v1"),
            ("GHCR.io/acme/app:v1", "ghcr.io/acme/app:v1"),
            ("localhost/app", "localhost/app:latest"),
            ("127.0.0.1:5000/app:v1", "127.0.0.1:5000/app:v1"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            (&format!("ghcr.io/a/b@{digest}"), &format!("ghcr.io/a/b@{digest}")),
            (&format!("ghcr.io/a/b:t@{digest}"), &format!("ghcr.io/a/b:t@{digest}")),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full, "{text}");
            assert_eq!(reference.original(), text);
        }
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        let digest = Digest::of(b"x");
        for text in [
            "",
            "in@valid",
            "Upper/case",
            "ghcr.io/",
            "ghcr.io//a",
            "ghcr.io/a/../b",
            "ghcr.io/./b",
            "ghcr.io:port/a",
            "ghcr.io./a",
            "ghcr.io.:443/a",
            "ghcr.io:/a",
            "ghcr.io:0443/a",
            "ghcr.io:0/a",
            "ghcr.io:+443/a",
            "ghcr.io:65536/a",
            "ghcr.io:443:443/a",
            "010.0.0.1/a",
            "10.1/a",
            "167772161:443/a",
            "0x0a000001:443/a",
            "10.0.0.0x1/a",
            "10.0.0.256/a",
            "re@gistry/reponame",
            "ghcr.io/a:",
            "ghcr.io/a:-x",
            "ghcr.io/a b",
            "http://ghcr.io/a",
            &format!("ghcr.io/a@{digest}@{digest}"),
            &format!("ghcr.io/a:{}", "t".repeat(129)),
            &format!("ghcr.io/{}", "a".repeat(256)),
            // fits by itself, but not with `library/` before it
            &"a".repeat(250),
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_registry_has_one_canonical_name() {
        for (text, canonical) in [
            ("ghcr.io/a/b", "ghcr.io"),
            ("GHCR.io:443/a/b", "ghcr.io"),
            ("ghcr.io:4430/a/b", "ghcr.io:4430"),
            ("ghcr.io:80/a/b", "ghcr.io:80"),
            ("10.0.0.1:443/a/b", "10.0.0.1"),
            ("[::1]:443/a/b", "[::1]"),
            ("nginx", DEFAULT_REGISTRY),
            ("docker.io:443/library/nginx", DEFAULT_REGISTRY),
            ("registry-1.docker.io/library/nginx", DEFAULT_REGISTRY),
            ("registry.hub.docker.com:443/library/nginx", DEFAULT_REGISTRY),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.repository().canonical_registry(), canonical, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same(text in "[a-zA-Z0-9:./@_\\[\\]-]{0,300}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().unwrap();
                prop_assert_eq!(again.repository(), reference.repository());
                prop_assert_eq!(again.identifier(), reference.identifier());
            }
        }

        #[test]
        fn random_texts_never_panic(text: String) {
            let _ = text.parse::<Reference>();
            let _ = Repository::parse(&text);
        }
    }
}
