use super::*;
use proptest::prelude::*;

/// The special-purpose registries of IANA for IPv4 and IPv6 and what clouds document, written apart from the code: the
/// longest prefix decides.
const TABLE: &[(&str, u8, Class)] = &[
    ("0.0.0.0", 0, Class::Public),
    ("0.0.0.0", 8, Class::NoHost),
    ("10.0.0.0", 8, Class::Private),
    ("100.64.0.0", 10, Class::Private),
    ("100.100.100.200", 32, Class::Metadata),
    ("127.0.0.0", 8, Class::Loopback),
    ("168.63.129.16", 32, Class::Metadata),
    ("169.254.0.0", 16, Class::LinkLocal),
    ("172.16.0.0", 12, Class::Private),
    ("192.0.0.0", 24, Class::NoHost),
    ("192.0.0.192", 32, Class::Metadata),
    ("192.0.2.0", 24, Class::NoHost),
    ("192.88.99.0", 24, Class::NoHost),
    ("192.168.0.0", 16, Class::Private),
    ("198.18.0.0", 15, Class::NoHost),
    ("198.51.100.0", 24, Class::NoHost),
    ("203.0.113.0", 24, Class::NoHost),
    ("224.0.0.0", 4, Class::NoHost),
    ("240.0.0.0", 4, Class::NoHost),
    ("255.255.255.255", 32, Class::NoHost),
    // Multicast, the unspecified address and whatever was not given out.
    ("::", 0, Class::NoHost),
    ("::1", 128, Class::Loopback),
    ("64:ff9b:1::", 48, Class::Private),
    ("100::", 64, Class::NoHost),
    ("100:0:0:1::", 64, Class::NoHost),
    ("2000::", 3, Class::Public),
    ("2001::", 23, Class::NoHost),
    ("2001:db8::", 32, Class::NoHost),
    ("3fff::", 20, Class::NoHost),
    ("5f00::", 16, Class::NoHost),
    ("fc00::", 7, Class::Private),
    ("fd00:ec2::", 32, Class::Metadata),
    ("fd00:c1::a9fe:a9fe", 128, Class::Metadata),
    ("fd00:42::42", 128, Class::Metadata),
    ("fd20:ce::254", 128, Class::Metadata),
    ("fe80::", 10, Class::LinkLocal),
    ("fec0::", 10, Class::Private),
    ("ff00::", 8, Class::NoHost),
];

/// An address as a number of 128 bits, the IPv4 ones at the top.
fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (true, u128::from(address.to_bits()) << 96),
        IpAddr::V6(address) => (false, address.to_bits()),
    }
}

fn listed(address: IpAddr) -> Class {
    let (is_v4, number) = bits(address);
    let inside = TABLE.iter().filter(|(network, length, _)| {
        let (same, network) = bits(network.parse().unwrap());
        same == is_v4 && (*length == 0 || (number ^ network) >> (128 - length) == 0)
    });
    inside.max_by_key(|(_, length, _)| *length).unwrap().2
}

/// The ways to write an IPv4 address as an IPv6 one, and whether a public address is public in this way too.
fn clothes(address: Ipv4Addr) -> Vec<(IpAddr, bool)> {
    let [a, b, c, d] = address.octets();
    let low = format!("{:x}:{:x}", u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let inverted = format!("{:x}:{:x}", !u16::from_be_bytes([a, b]), !u16::from_be_bytes([c, d]));
    let mut all = vec![
        (format!("::ffff:{low}"), true),
        (format!("::ffff:{address}"), true),
        (format!("64:ff9b::{low}"), true),
        (format!("2002:{low}::1"), true),
        (format!("2002:{low}:ffff:ffff:ffff:ffff:ffff"), true),
        (format!("2a00::5efe:{low}"), true),
        (format!("2a00::200:5efe:{low}"), true),
        (format!("::ffff:0:{low}"), false),
        (format!("2001:0:4136:e378:8000:63bf:{inverted}"), false),
    ];
    if a != 0 || b != 0 {
        all.push((format!("::{address}"), false));
    }
    all.into_iter().map(|(text, same)| (text.parse().unwrap(), same)).collect()
}

fn check(address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            assert_eq!(class(address), listed(address), "{address}");
            for (dressed, same) in clothes(v4) {
                let expected = match class(address) {
                    Class::Public if !same => Class::NoHost,
                    other => other,
                };
                assert_eq!(class(dressed), expected, "{dressed} for {address}");
            }
        }
        IpAddr::V6(v6) if behind(v6).is_none() => assert_eq!(class(address), listed(address), "{address}"),
        IpAddr::V6(_) => {}
    }
}

#[test]
fn every_special_range_is_one_from_its_first_to_its_last_address() {
    for &(network, length, _) in TABLE {
        let first: IpAddr = network.parse().unwrap();
        match first {
            IpAddr::V4(first) => {
                let last = first.to_bits() | u32::MAX.checked_shr(length.into()).unwrap_or(0);
                for edge in [first.to_bits(), last] {
                    for near in [edge.wrapping_sub(1), edge, edge.wrapping_add(1)] {
                        check(IpAddr::V4(near.into()));
                    }
                }
            }
            IpAddr::V6(first) => {
                let last = first.to_bits() | u128::MAX.checked_shr(length.into()).unwrap_or(0);
                for edge in [first.to_bits(), last] {
                    for near in [edge.wrapping_sub(1), edge, edge.wrapping_add(1)] {
                        check(IpAddr::V6(near.into()));
                    }
                }
            }
        }
    }
}

#[test]
fn addresses_that_attackers_use_are_not_public() {
    for (text, expected) in [
        ("0.0.0.0", Class::NoHost),
        ("127.0.0.1", Class::Loopback),
        ("127.255.255.254", Class::Loopback),
        ("169.254.169.254", Class::LinkLocal),
        ("169.254.170.2", Class::LinkLocal),
        ("100.100.100.200", Class::Metadata),
        ("168.63.129.16", Class::Metadata),
        ("192.0.0.192", Class::Metadata),
        ("100.127.255.255", Class::Private),
        ("198.18.0.1", Class::NoHost),
        ("198.19.255.255", Class::NoHost),
        ("::", Class::NoHost),
        ("::1", Class::Loopback),
        ("::ffff:127.0.0.1", Class::Loopback),
        ("::127.0.0.1", Class::Loopback),
        ("::ffff:0:127.0.0.1", Class::Loopback),
        ("64:ff9b::127.0.0.1", Class::Loopback),
        ("64:ff9b::a9fe:a9fe", Class::LinkLocal),
        ("64:ff9b:1::a00:1", Class::Private),
        ("64:ff9b:0:1::1", Class::NoHost),
        ("64:ff9b:2::1", Class::NoHost),
        ("2002:7f00:1::", Class::Loopback),
        ("2002:a00:1::1", Class::Private),
        ("2001:0:0:0:0:0:80ff:fffe", Class::Loopback),
        ("2a00::5efe:10.0.0.1", Class::Private),
        ("fe80::5efe:169.254.169.254", Class::LinkLocal),
        ("fd00:ec2::254", Class::Metadata),
        ("fd00:ec2::23", Class::Metadata),
        ("fd20:ce::254", Class::Metadata),
        ("fe80::a9fe:a9fe", Class::LinkLocal),
        ("fec0::1", Class::Private),
        ("ff02::1", Class::NoHost),
        ("2001:2::1", Class::NoHost),
        ("2001:1::1", Class::NoHost),
        ("2001:10::1", Class::NoHost),
        ("4000::1", Class::NoHost),
    ] {
        assert_eq!(class(text.parse().unwrap()), expected, "{text}");
    }
}

#[test]
fn the_internet_is_public() {
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2a00:1450::1",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "::ffff:8.8.8.8",
        "2620:4f:8000::1",
    ] {
        assert_eq!(class(text.parse().unwrap()), Class::Public, "{text}");
    }
}

/// Everything that the standard library knows to be special is so here.
fn special_to_std(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || v4.is_unspecified()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.to_ipv4().is_some_and(|v4| special_to_std(v4.into()))
        }
    }
}

/// Addresses near what is special: any, and those that share their first bits with an entry of the table.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let near = (0..TABLE.len(), any::<u128>(), 0u8..=128).prop_map(|(entry, noise, keep)| {
        let noise = noise.checked_shr(keep.into()).unwrap_or(0);
        match TABLE[entry].0.parse().unwrap() {
            IpAddr::V4(first) => IpAddr::V4((first.to_bits() ^ (noise >> 96) as u32).into()),
            IpAddr::V6(first) => IpAddr::V6((first.to_bits() ^ noise).into()),
        }
    });
    prop_oneof![any::<IpAddr>(), near]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_class_is_that_of_the_registries(address in addresses()) {
        check(address);
        if special_to_std(address) {
            prop_assert_ne!(class(address), Class::Public);
        }
        prop_assert_eq!(class(address), class(address.to_canonical()));
    }

    #[test]
    fn what_is_public_is_global_unicast(address: Ipv6Addr) {
        if class(address.into()) == Class::Public {
            prop_assert!(address.to_ipv4_mapped().is_some() || address.segments()[0] >> 13 == 1 || address.segments()[..2] == [0x64, 0xff9b]);
        }
    }
}

#[test]
fn every_class_has_words_for_a_sentence() {
    for class in [Class::Public, Class::Private, Class::Loopback, Class::LinkLocal, Class::Metadata, Class::NoHost] {
        assert!(class.words().starts_with('a'));
    }
}

#[test]
fn the_kernel_knows_its_own_addresses() {
    for own in [Own::default(), Own::read()] {
        assert!(own.has(Ipv4Addr::LOCALHOST.into()));
        assert!(own.has(Ipv6Addr::LOCALHOST.into()) || Own::read().0.iter().all(IpAddr::is_ipv4));
        assert!(!own.has(IpAddr::from([192, 0, 2, 1])));
        assert!(!own.has(IpAddr::from([224, 0, 0, 1])));
    }
}

#[test]
fn second_addresses_of_a_device_are_read() {
    let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.0.0.0/24 2 0 2\n        |-- 10.0.0.5\n           /32 host LOCAL\n        |-- 10.0.0.6\n           /32 host LOCAL\n        |-- 10.0.0.255\n           /32 link BROADCAST\n        |-- 127.0.0.0\n           /8 host LOCAL\n";
    assert_eq!(local_v4(trie).collect::<Vec<_>>(), [IpAddr::from([10, 0, 0, 5]), IpAddr::from([10, 0, 0, 6])]);
    let list = "fe80000000000000505400fffe123456 02 40 20 80     eth0\n00000000000000000000000000000001 01 80 10 80       lo\njunk\n";
    assert_eq!(
        local_v6(list).collect::<Vec<_>>(),
        ["fe80::5054:ff:fe12:3456", "::1"].map(|text| text.parse::<IpAddr>().unwrap())
    );
}
