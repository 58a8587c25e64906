//! Image references, `registry/repository[:tag][@digest]`, read as go-containerregistry reads
//! them (weak validation: `nginx` is `index.docker.io/library/nginx:latest`).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
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

/// A tag or a digest, by which a registry finds a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identifier {
    /// A movable name.
    Tag(String),
    /// A content address.
    Digest(Digest),
}

/// Reason why a text is not a reference. The text of the variants follows go-containerregistry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// Not a reference at all.
    #[error("could not parse reference: {0}")]
    Malformed(String),
    /// The repository holds characters that are not allowed, or has a wrong length.
    #[error(
        "repository can only contain the characters `abcdefghijklmnopqrstuvwxyz0123456789_-./`: {0}"
    )]
    Repository(String),
    /// The registry is not a host, or host and port.
    #[error("registries must be valid RFC 3986 URI authorities: {0}")]
    Registry(String),
    /// The tag holds characters that are not allowed, or has a wrong length.
    #[error(
        "tag can only contain the characters `abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.`: {0}"
    )]
    Tag(String),
    /// The text after `@` is not a digest.
    #[error("could not parse reference: {0}: invalid digest after @")]
    Digest(String),
}

const MAX_REFERENCE: usize = 4096;
/// Characters of the longest path of a repository.
pub const MAX_PATH: usize = 255;
/// Characters of the longest tag (distribution-spec).
pub const MAX_TAG: usize = 128;

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

    /// The canonical name of the registry, for comparisons: without the port of HTTPS, and Docker
    /// Hub's hosts as [`DEFAULT_REGISTRY`]. `ghcr.io:443` and `ghcr.io` are the same registry, and
    /// a pod may name either.
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
    /// The repository of the image.
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

    /// The identifier to request from the registry: the digest if there is one, else the tag.
    pub fn identifier(&self) -> Identifier {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Identifier::Digest(digest.clone()),
            (None, Some(tag)) => Identifier::Tag(tag.clone()),
            (None, None) => Identifier::Tag("latest".to_owned()),
        }
    }

    /// The same image by digest, with the tag kept for display: `repo:tag@sha256:…`.
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

/// The canonical name of a registry in lower case: without the implied port, and Docker Hub's hosts
/// as one.
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

/// Reason why a text is not a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRegistry {
    /// No host name: empty, or a character, hyphen or dot where none may be.
    #[error("not a host name")]
    Host,
    /// `registry.io.` is `registry.io` to a resolver, another name to a policy, and no name at all
    /// to the kubelet (distribution/reference).
    #[error("a host name does not end with a dot")]
    TrailingDot,
    /// `registry.io:0443` connects to the port 443 and is another text.
    #[error("a port is a number from 1 to 65535 without leading zeros")]
    Port,
    /// `010.0.0.1`, `0x0a000001`, `10.1` and `167772161` reach an address and do not look like it.
    #[error("an IPv4 address is written as four decimal numbers without leading zeros")]
    Ipv4,
    /// Not an IPv6 address, or one with a zone.
    #[error("not an IPv6 address without a zone")]
    Ipv6,
    /// `[::ffff:10.0.0.1]` reaches `10.0.0.1`.
    #[error("an IPv6 address that stands for an IPv4 address; write the IPv4 address")]
    MappedIpv4,
    /// `0.0.0.0` and `[::]` reach this machine and are no host's address.
    #[error("the unspecified address is no host's address")]
    Unspecified,
}

/// A registry, `host` or `host:port`, in the one spelling that its references have: in lower case,
/// an address as RFC 5952 writes it, Docker Hub as [`DEFAULT_REGISTRY`]. Ports are kept, see
/// [`canonical_registry`].
///
/// # Errors
/// Any text that could reach a server under another spelling: each address has one spelling, so
/// that the author of a pod cannot choose one that no policy names.
pub fn parse_registry(text: &str) -> Result<String, InvalidRegistry> {
    // Host names do not depend on case (RFC 3986, 3.2.2); patterns are matched against the
    // lower-case form, so that `GHCR.IO/x` cannot slip past a rule for `ghcr.io`.
    let registry = text.to_ascii_lowercase();
    if registry == "docker.io" {
        return Ok(DEFAULT_REGISTRY.to_owned());
    }
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (registry.as_str(), None),
    };
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => format!("[{}]", ipv6(inner)?),
        None => host_name(host)?.to_owned(),
    };
    match port {
        None => Ok(host),
        Some(port) if is_port(port) => Ok(format!("{host}:{port}")),
        Some(_) => Err(InvalidRegistry::Port),
    }
}

/// True for a port in its one spelling: 1 to 65535, without leading zeros.
pub fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok() && !text.starts_with(['+', '0'])
}

/// True for a tag of an image reference.
pub fn is_tag(text: &str) -> bool {
    let first_ok = !text.is_empty() && !text.starts_with(['.', '-']);
    text.len() <= MAX_TAG && first_ok && text.bytes().all(is_tag_byte)
}

/// True if a byte is allowed in a tag; dots and hyphens are not at its beginning.
pub fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)
}

fn normal_registry(registry: &str) -> Result<String, InvalidReference> {
    if registry.is_empty() {
        return Ok(DEFAULT_REGISTRY.to_owned());
    }
    parse_registry(registry).map_err(|_| InvalidReference::Registry(cut(registry)))
}

fn ipv6(text: &str) -> Result<Ipv6Addr, InvalidRegistry> {
    // RFC 6052, 2.1: behind a NAT64 this prefix is the IPv4 internet.
    const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
    let address: Ipv6Addr = text.parse().map_err(|_| InvalidRegistry::Ipv6)?;
    let embeds = address.to_ipv4().is_some() && !address.is_loopback();
    match address {
        _ if address.is_unspecified() => Err(InvalidRegistry::Unspecified),
        _ if embeds || address.segments().starts_with(&NAT64) => Err(InvalidRegistry::MappedIpv4),
        address => Ok(address),
    }
}

fn host_name(host: &str) -> Result<&str, InvalidRegistry> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
    if host.ends_with('.') {
        return Err(InvalidRegistry::TrailingDot);
    }
    if host.is_empty()
        || !host.bytes().all(allowed)
        || host.starts_with(['-', '.'])
        || host.contains("..")
    {
        return Err(InvalidRegistry::Host);
    }
    match looks_like_ipv4(host).then(|| host.parse::<Ipv4Addr>()) {
        None => Ok(host),
        Some(Err(_)) => Err(InvalidRegistry::Ipv4),
        Some(Ok(address)) if address.is_unspecified() => Err(InvalidRegistry::Unspecified),
        Some(Ok(_)) => Ok(host),
    }
}

/// True if resolvers take a host for an IPv4 address: its last part is a number.
fn looks_like_ipv4(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let hexadecimal = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    let number = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    number || last.strip_prefix("0x").is_some_and(hexadecimal)
}

fn check_path(path: &str) -> Result<(), InvalidReference> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-./".contains(&b);
    let segments_ok = path.split('/').all(|s| !s.is_empty() && s != "." && s != "..");
    if (2..=MAX_PATH).contains(&path.len()) && path.bytes().all(allowed) && segments_ok {
        return Ok(());
    }
    // One letter is a good repository on Docker Hub's terms once `library/` stands before it.
    if path.len() == 1 && path.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Ok(());
    }
    Err(InvalidReference::Repository(cut(path)))
}

fn check_tag(tag: &str) -> Result<(), InvalidReference> {
    if is_tag(tag) { Ok(()) } else { Err(InvalidReference::Tag(cut(tag))) }
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
            "10.0.0.1.:5000/a",
            "127.1/a",
            "127.1:5000/a",
            "0x7f.1/a",
            "0X7F.0.0.1/a",
            "2130706433:5000/a",
            "017700000001:5000/a",
            "127.0.0.01/a",
            "127.0.0.1:05000/a",
            "0.0.0.0:5000/a",
            "[::]:5000/a",
            "[::ffff:127.0.0.1]:5000/a",
            "[::ffff:7f00:1]:5000/a",
            "[::FFFF:7F00:1]/a",
            "[0:0:0:0:0:ffff:7f00:1]:5000/a",
            "[::7f00:1]:5000/a",
            "[64:ff9b::7f00:1]:5000/a",
            "[fe80::1%eth0]:5000/a",
            "[fe80::1%25eth0]:5000/a",
            "[::1]:05000/a",
            "[::1].:5000/a",
            "[::1/a",
            "::1/a",
            "::1:5000/a",
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
            ("[0:0:0:0:0:0:0:1]:5000/a/b", "[::1]:5000"),
            ("[::0001]:443/a/b", "[::1]"),
            ("[2001:DB8:0:0::A]:5000/a/b", "[2001:db8::a]:5000"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.repository().canonical_registry(), canonical, "{text}");
        }
    }

    proptest! {
        /// Every text that a resolver or an HTTP client reads as the address is that address in
        /// its usual form, or no registry.
        #[test]
        fn an_ipv4_address_has_one_spelling(address: [u8; 4], port in 1..=u16::MAX) {
            let [a, b, c, d] = address;
            let one = u32::from_be_bytes(address);
            let usual = Ipv4Addr::from(address);
            let registry = |host: String| parse_registry(&format!("{host}:{port}"));
            for host in [
                format!("{one}"), format!("{one:#x}"), format!("{one:#X}"), format!("0{one:o}"),
                format!("{a}.{}", one & 0xff_ffff), format!("{a}.{b}.{}", one & 0xffff),
                format!("0{a:o}.{b}.{c}.{d}"), format!("{a}.{b}.{c}.{d:#x}"),
                format!("{a}.{b}.{c}.0{d}"), format!("{usual}."),
                format!("[::ffff:{usual}]"), format!("[{}]", usual.to_ipv6_mapped()),
            ] {
                let read = registry(host.clone());
                prop_assert!(read.is_err(), "{} is {:?}", host, read);
            }
            prop_assert_eq!(registry(usual.to_string()).is_ok(), one != 0);
        }

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
