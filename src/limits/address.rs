//! Who calls, by address. What a client says of itself counts only where a trusted proxy passes it on
//! (contract/auth-users.md 3.4).

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The client's address, found once per request and kept in its extensions.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    pub ip: IpAddr,
    /// Whether the client itself came by https.
    pub https: bool,
}

/// Which peers are believed, and how many of them stand in a row.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// `TRUSTED_PROXY_COUNT`
    pub count: usize,
    /// `TE_TRUSTED_PROXIES`
    pub trusted: Vec<IpNet>,
}

impl Proxies {
    /// The n-th address from the right of `X-Forwarded-For`; the peer itself if it is not trusted or says too little.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Address {
        let peer = peer.to_canonical();
        let direct = Address { ip: peer, https: false };
        if self.count == 0 || !holds(&self.trusted, peer) {
            return direct;
        }
        let ip = self.nth(headers, "x-forwarded-for").and_then(parse).unwrap_or(peer);
        let https = self.nth(headers, "x-forwarded-proto").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        Address { ip, https }
    }

    fn nth<'a>(&self, headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let values: Vec<&str> = headers
            .get_all(name)
            .iter()
            .flat_map(|value| value.to_str().unwrap_or("").split(','))
            .map(str::trim)
            .collect();
        values.len().checked_sub(self.count).map(|at| values[at])
    }
}

/// An address, with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let ip = text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()));
    ip.map(|ip| ip.to_canonical())
}

/// Whether one of the networks holds the address.
pub fn holds(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&ip))
}

/// How an address is counted: a subscriber of IPv6 has 2^64 addresses, and they are one.
pub fn counted(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}
