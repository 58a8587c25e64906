//! Name look-ups that take as long as the resolver waits.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::Context as _;

/// Name server that receives queries and never answers one.
pub struct SilentNameServer {
    socket: UdpSocket,
}

impl SilentNameServer {
    /// Binds port 53 on an unused loopback address; needs root.
    pub fn start() -> anyhow::Result<Self> {
        let seed = std::process::id();
        let mut addresses = (0..64u32).map(|turn| {
            let [_, _, high, low] = (seed.wrapping_mul(31).wrapping_add(turn)).to_be_bytes();
            Ipv4Addr::new(127, 53, high, low.clamp(1, 254))
        });
        let socket = addresses.find_map(|address| UdpSocket::bind((address, 53)).ok());
        Ok(Self { socket: socket.context("no loopback address has port 53 free (needs root)")? })
    }

    /// Content of a `resolv.conf` that names this server only.
    pub fn resolv_conf(&self) -> anyhow::Result<String> {
        Ok(format!("nameserver {}\n", self.socket.local_addr()?.ip()))
    }
}

/// Image on a registry whose name must be looked up; another name for each number.
pub fn image(number: u64) -> String {
    let digest = crate::image::sha256(&number.to_be_bytes());
    format!("registry-{number}.unresolved.example.com/app@{digest}")
}
