//! Which addresses the server and its units may be made to connect to: a list of what is refused.
//! Not "is it global": package indexes are reached by addresses of documentation ranges on some machines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address belongs to this machine, a private network, or nobody.
pub fn refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) => refused_v6(address),
    }
}

/// Whether an address is refused, or is one of this machine's own.
pub fn refused_or_own(address: IpAddr) -> bool {
    refused(address) || own().contains(&address.to_canonical())
}

/// The addresses of this machine's interfaces, read anew: they change.
pub fn own() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
                (_, Some(v6)) => Some(IpAddr::V6(v6.ip())),
                _ => None,
            }
        })
        .collect()
}

/// A public address that is the host of every machine at Azure, and tells it secrets.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

fn refused_v4(address: Ipv4Addr) -> bool {
    if address == AZURE {
        return true;
    }
    let [a, b, c, _] = address.octets();
    match a {
        0 | 10 | 127 | 224.. => true,
        100 => (64..128).contains(&b),
        169 => b == 254,
        172 => (16..32).contains(&b),
        192 => b == 168 || (b == 0 && c == 0),
        _ => false,
    }
}

fn refused_v6(address: Ipv6Addr) -> bool {
    let words = address.segments();
    if let Some(inner) = inner_v4(words) {
        return refused_v4(inner);
    }
    // `::`, `::1` and the dead IPv4-compatible range around them; unique local; link local and site local; multicast.
    words[..6] == [0; 6] || words[0] & 0xfe00 == 0xfc00 || words[0] & 0xff80 == 0xfe80 || words[0] & 0xff00 == 0xff00
}

/// The IPv4 address that an address stands for: `::ffff:0:0/96`, `::ffff:0:0:0/96`, `64:ff9b::/96`, `64:ff9b:1::/48`, `2002::/16`.
fn inner_v4(words: [u16; 8]) -> Option<Ipv4Addr> {
    let ([0, 0, 0, 0, 0, 0xffff, high, low]
    | [0, 0, 0, 0, 0xffff, 0, high, low]
    | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
    | [0x64, 0xff9b, 1, _, _, _, high, low]
    | [0x2002, high, low, ..]) = words
    else {
        return None;
    };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}
