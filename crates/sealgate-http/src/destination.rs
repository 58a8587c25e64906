//! Addresses that requests may go to.
//!
//! The gate sends requests to hosts that the author of a pod chooses. Loopback and link-local
//! addresses, and the metadata services of clouds, answer the gate with what its author must not
//! have, or trust the gate as a local client. They are refused by the address that a name resolves
//! to, and by a literal address in a URL.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::host::Host;
use crate::network::Network;
use crate::resolver::Resolver;

/// Addresses that requests may go to, and the resolution of names.
#[derive(Clone, Debug, Default)]
pub enum Destinations {
    /// Any address; names are resolved by the operating system.
    #[default]
    Any,
    /// No special address except those in the networks listed; names are resolved by `resolver`.
    /// Names that a proxy resolves are not checked.
    NotSpecial {
        /// Resolver of names.
        resolver: Arc<Resolver>,
        /// Networks of special addresses that are allowed.
        allowed: Vec<Network>,
    },
}

/// Special address that a request may not go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialAddress {
    address: IpAddr,
    class: Class,
}

/// Class of special addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Unspecified,
    Loopback,
    LinkLocal,
    Multicast,
    Broadcast,
    /// Address of a cloud's metadata service outside the link-local range.
    Metadata,
}

/// Addresses of metadata services outside the link-local range.
const METADATA: [IpAddr; 5] = [
    // Alibaba Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Oracle Cloud.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // Amazon EC2.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    // Google Cloud.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

impl Destinations {
    /// The loopback networks.
    pub const LOOPBACK: [Network; 2] = [
        Network::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
        Network::of(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];

    /// Checks the host of a URL if it is an address: such a host is not resolved.
    ///
    /// # Errors
    /// The special address.
    pub fn check(&self, url: &Url) -> Result<(), SpecialAddress> {
        match url.host_str().map(Host::parse) {
            Some(Host::Address(address)) => self.check_address(address),
            _ => Ok(()),
        }
    }

    fn check_address(&self, address: IpAddr) -> Result<(), SpecialAddress> {
        let Self::NotSpecial { allowed, .. } = self else { return Ok(()) };
        let Some(class) = Class::of(address) else { return Ok(()) };
        let meant = embedded(address);
        let is_allowed =
            allowed.iter().any(|network| network.contains(address) || network.contains(meant));
        if is_allowed { Ok(()) } else { Err(SpecialAddress { address, class }) }
    }
}

impl Class {
    /// Class of an address; `None` if it is not special. An address that embeds an IPv4 address has
    /// the class of that one.
    fn of(address: IpAddr) -> Option<Self> {
        let address = embedded(address);
        match address {
            _ if METADATA.contains(&address) => Some(Self::Metadata),
            _ if address.is_loopback() => Some(Self::Loopback),
            _ if address.is_multicast() => Some(Self::Multicast),
            _ if address.is_unspecified() => Some(Self::Unspecified),
            // The whole network means "this host" (RFC 1122, 3.2.1.3).
            IpAddr::V4(v4) if v4.octets()[0] == 0 => Some(Self::Unspecified),
            IpAddr::V4(v4) if v4.is_link_local() => Some(Self::LinkLocal),
            IpAddr::V4(v4) if v4.is_broadcast() => Some(Self::Broadcast),
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(Self::LinkLocal),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Metadata => "the address of a cloud's metadata service",
        }
    }
}

/// IPv4 address that an IPv6 address embeds: IPv4-mapped and IPv4-compatible (RFC 4291, 2.5.5),
/// NAT64 (RFC 6052 and RFC 8215, with a prefix of 96 bits), and 6to4 (RFC 3056). Any other address
/// is returned as it is.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

impl fmt::Display for SpecialAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, class } = self;
        write!(f, "{address} is {}; not contacted without --registry-allow-network", class.name())
    }
}

impl std::error::Error for SpecialAddress {}

/// Resolution of the names in URLs, without special addresses.
pub(crate) struct CheckedNames {
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) destinations: Destinations,
}

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, destinations) = (Arc::clone(&self.resolver), self.destinations.clone());
        Box::pin(async move {
            let found = resolver.addresses(name.as_str()).await?;
            let mut kept = Vec::new();
            let mut refused = None;
            for address in found.iter() {
                match destinations.check_address(*address) {
                    Ok(()) => kept.push(SocketAddr::new(*address, 0)),
                    Err(special) => refused = Some(special),
                }
            }
            match refused {
                Some(special) if kept.is_empty() => Err(special.into()),
                _ => Ok(Box::new(kept.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destinations(allowed: &[&str]) -> Destinations {
        let allowed = allowed.iter().map(|text| text.parse().unwrap()).collect();
        Destinations::NotSpecial { resolver: Arc::new(Resolver::from_system()), allowed }
    }

    fn allows(destinations: &Destinations, url: &str) -> bool {
        destinations.check(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn special_addresses_are_refused_in_every_spelling() {
        let none = destinations(&[]);
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "127.0.0.1.",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::7f00:1]",
            "[2002:7f00:1::1]",
            "0.0.0.0",
            "0.1.2.3",
            "[::]",
            "[::ffff:0.0.0.0]",
            "169.254.169.254",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a9fe:a9fe::]",
            "[fe80::1]",
            "224.0.0.1",
            "[ff02::1]",
            "255.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
        ] {
            let url = format!("https://{host}:8443/v2/");
            assert!(!allows(&none, &url), "{host}");
            assert!(allows(&Destinations::Any, &url), "{host}");
        }
    }

    #[test]
    fn private_and_public_addresses_are_allowed() {
        for host in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "192.0.2.1",
            "8.8.8.8",
            "[fd00::1]",
            "[2001:db8::1]",
            "[2002:a00:1::1]",
            "[::ffff:10.0.0.1]",
            "registry.corp",
            "localhost",
        ] {
            assert!(allows(&destinations(&[]), &format!("https://{host}/v2/")), "{host}");
        }
    }

    #[test]
    fn allowed_networks_are_judged_by_the_embedded_address_too() {
        let some = destinations(&["127.0.0.0/8", "fe80::/64"]);
        for (host, allowed) in [
            ("127.0.0.1", true),
            ("[::ffff:127.0.0.1]", true),
            ("[64:ff9b::7f00:1]", true),
            ("[::1]", false),
            ("[fe80::1]", true),
            ("[fe80:0:0:1::1]", false),
            ("169.254.169.254", false),
        ] {
            assert_eq!(allows(&some, &format!("http://{host}/")), allowed, "{host}");
        }
    }
}
