use super::*;

fn servers_of(text: &str) -> Vec<String> {
    let index = |name: &str| (name == "eth0").then_some(7);
    servers(text, index).iter().map(ToString::to_string).collect()
}

#[test]
fn servers_are_read_as_a_c_library_reads_them() {
    for (text, expected) in [
        ("nameserver 192.0.2.1\n", &["192.0.2.1:53"][..]),
        (
            "# nameserver 192.0.2.9\n;nameserver 192.0.2.9\nsearch example.org\nnameserver\t 192.0.2.1 # ours\r\n",
            &["192.0.2.1:53"],
        ),
        ("nameserver 2001:db8::1\nnameserver ::1", &["[2001:db8::1]:53", "[::1]:53"]),
        (
            "nameserver fe80::1%eth0\nnameserver fe80::2%3\nnameserver fe80::3%eth9",
            &["[fe80::1%7]:53", "[fe80::2%3]:53"],
        ),
        (
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n",
            &["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"],
        ),
        (
            "nameserver\nnameserver x\nnameserver [::1]\nnameserver 192.0.2.1:53\nnameservers 192.0.2.1\nnameserver 192.0.2.1%eth0",
            &["127.0.0.1:53"],
        ),
        ("", &["127.0.0.1:53"]),
        ("\0\u{fffd}", &["127.0.0.1:53"]),
    ] {
        assert_eq!(servers_of(text), expected, "{text}");
    }
}

#[test]
fn names_of_hosts_are_those_that_hosts_can_have() {
    let text = "127.0.0.1 localhost\n# 192.0.2.9 no\n192.0.2.1\tNAS nas.lan. # comment\n::1 localhost ip6-loopback\n\
        192.0.2.2 a b\\c 127.1 [::1] é #x\nx y\n192.0.2.3\n\n  10.0.0.1   db.internal\r\nfe80::1%eth0 no\n";
    let found: Vec<String> = hosts(text).iter().map(|(name, address)| format!("{name}={address}")).collect();
    assert_eq!(
        found,
        [
            "localhost=127.0.0.1",
            "nas=192.0.2.1",
            "nas.lan=192.0.2.1",
            "localhost=::1",
            "ip6-loopback=::1",
            "a=192.0.2.2",
            "db.internal=10.0.0.1"
        ]
    );
    let many: String = (0..10_000).map(|number| format!("0.0.0.0 ads{number}.example\n")).collect();
    assert_eq!(hosts(&many).len(), MAX_HOSTS);
}

#[test]
fn a_file_is_read_up_to_a_whole_line() {
    let file = std::env::temp_dir().join(format!("agentkernel-hosts-{}", std::process::id()));
    std::fs::write(&file, "192.0.2.1 name\n".repeat(100_000)).unwrap();
    let text = read(file.to_str().unwrap());
    std::fs::remove_file(&file).unwrap();
    assert!(text.len() as u64 <= MAX_BYTES && text.len() > 200_000);
    assert!(text.lines().all(|line| line == "192.0.2.1 name"));
    assert_eq!(read("/nonexistent/hosts"), "");
    assert_eq!(read("/"), "");
}

#[test]
fn this_host_has_servers() {
    let system = system_resolver();
    assert!((1..=MAX_SERVERS).contains(&system.servers.len()));
    let told = serde_json::to_string(&system).unwrap();
    assert_eq!(serde_json::from_str::<Resolver>(&told).unwrap(), system);
}

/// serde leaves it out by itself where a format is not for people.
#[test]
fn the_interface_of_a_server_is_told() {
    let told = Resolver { servers: vec!["[fe80::1%7]:53".parse().unwrap()], hosts: Vec::new() };
    let again: Resolver = postcard::from_bytes(&postcard::to_allocvec(&told).unwrap()).unwrap();
    assert_eq!(again, told);
}
