//! Which addresses are refused.
//! The list is in `src/net.rs`.

use trends_earth::net::{own, refused, refused_or_own};

#[test]
fn private_and_local_addresses_are_refused_in_every_spelling() {
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "168.63.129.16",
        "192.0.0.192",
        "::127.0.0.1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::",
    ] {
        assert!(refused(address.parse().unwrap()), "{address} is let through");
    }
}

#[test]
fn public_addresses_are_let_through() {
    for address in [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.1.1",
        "172.15.1.1",
        "172.32.0.1",
        "192.167.1.1",
        "192.169.1.1",
        "223.255.255.255",
        "203.0.113.7",
        "2606:4700:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2001:db8::1",
    ] {
        assert!(!refused(address.parse().unwrap()), "{address} is refused");
    }
}

#[test]
fn the_machines_own_addresses_are_refused() {
    let own = own();
    assert!(own.iter().any(|address| address.is_loopback()), "{own:?}");
    assert!(own.into_iter().all(refused_or_own));
}
