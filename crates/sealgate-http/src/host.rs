//! Host classification by spelling; no name is resolved.

use std::net::{IpAddr, Ipv6Addr};

/// Host as written in URLs and references: IPv6 addresses in brackets, no port.
pub(crate) enum Host<'a> {
    Name(&'a str),
    Address(IpAddr),
}

/// Returns whether a host, written as in URLs and references and without a port, is a loopback
/// host: `localhost`, `127.0.0.0/8` or `::1`. Plain HTTP is allowed there, so no other spelling
/// counts, not even an IPv4-mapped IPv6 address, which references do not allow.
pub fn is_loopback(host: &str) -> bool {
    Host::parse(host).is_loopback()
}

impl<'a> Host<'a> {
    pub(crate) fn parse(host: &'a str) -> Self {
        let address = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().map(IpAddr::V6),
            None => host.parse().map(IpAddr::V4),
        };
        address.map_or(Self::Name(host), Self::Address)
    }

    /// Same host, with an IPv4-mapped IPv6 address converted to IPv4.
    pub(crate) fn canonical(self) -> Self {
        match self {
            Self::Address(address) => Self::Address(address.to_canonical()),
            name @ Self::Name(_) => name,
        }
    }

    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => *name == "localhost",
            Self::Address(address) => address.is_loopback(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_a_matter_of_spelling() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "[0:0:0:0:0:0:0:1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "localhost.",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "127.1",
            "127.0.0.01",
            "10.0.0.1",
            "0.0.0.0",
            "::1",
            "[::]",
            "[::2]",
            "[127.0.0.1]",
            "[::127.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
        assert!(Host::parse("[::ffff:127.0.0.1]").canonical().is_loopback());
    }
}
