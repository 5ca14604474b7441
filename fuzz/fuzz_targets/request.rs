//! What a client says in HTTP/1: whatever of it gets to a server is a row of requests for that server, which even a strict
//! reader takes apart in one way.
#![no_main]

use egress::{Target, fuzzing::passed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let target = Target::parse("a.example:80", None).unwrap();
    let Ok(got) = passed(input, &target) else { return };
    let mut rest = got.as_slice();
    while let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
        let (head, after) = rest.split_at(end);
        let Some(body) = body(&after[4..], length(head)) else { return };
        rest = body;
    }
    // A head that did not come whole was not judged: nothing of it may be there.
    assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(rest));
});

/// How long a body is.
enum Length {
    Bytes(usize),
    Chunked,
}

fn length(head: &[u8]) -> Length {
    let head = head.iter().map(|byte| char::from(*byte)).collect::<String>();
    let mut lines = head.split("\r\n");
    let first: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let [method, path, "HTTP/1.1"] = first[..] else { panic!("{head:?}") };
    assert!(!method.is_empty() && method != "CONNECT" && method.bytes().all(token), "{head:?}");
    assert!(path.starts_with('/') || (path == "*" && method == "OPTIONS"), "{head:?}");
    assert!(!path.contains(|c: char| c.is_ascii_control()), "{head:?}");
    let (mut hosts, mut lengths, mut chunked) = (Vec::new(), Vec::new(), 0);
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{head:?}"));
        assert!(!name.is_empty() && name.bytes().all(token), "{head:?}");
        assert!(!value.contains(|c: char| c.is_ascii_control() && c != '\t'), "{head:?}");
        match &*name.to_ascii_lowercase() {
            "host" => hosts.push(value.trim().to_ascii_lowercase()),
            "content-length" => lengths.push(value.trim().to_owned()),
            "transfer-encoding" => {
                assert!(value.trim().eq_ignore_ascii_case("chunked"), "{head:?}");
                chunked += 1;
            }
            "keep-alive" | "proxy-connection" => panic!("{head:?}"),
            _ => {}
        }
    }
    let [host] = &hosts[..] else { panic!("{head:?}") };
    assert!(["a.example", "a.example.", "a.example:80", "a.example.:80"].contains(&host.as_str()), "{head:?}");
    assert!(lengths.len() + chunked <= 1, "{head:?}");
    match lengths.first() {
        Some(length) => {
            assert!(length.bytes().all(|byte| byte.is_ascii_digit()), "{head:?}");
            Length::Bytes(length.parse().unwrap_or(usize::MAX))
        }
        None if chunked == 1 => Length::Chunked,
        None => Length::Bytes(0),
    }
}

fn token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What follows a body; `None` if the body is not whole.
fn body(bytes: &[u8], length: Length) -> Option<&[u8]> {
    match length {
        Length::Bytes(length) => bytes.get(length..),
        Length::Chunked => {
            let mut rest = bytes;
            loop {
                let end = rest.windows(2).position(|two| two == b"\r\n")?;
                let size = std::str::from_utf8(&rest[..end]).unwrap();
                assert!(!size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit()), "{size:?}");
                let size = usize::from_str_radix(size, 16).unwrap();
                rest = &rest[end + 2..];
                if size == 0 {
                    break;
                }
                rest = rest.get(size..)?;
                rest = match rest {
                    [b'\r', b'\n', rest @ ..] => rest,
                    [] | [b'\r'] => return None,
                    _ => panic!("a chunk that does not end"),
                };
            }
            // Trailers, if any.
            loop {
                let end = rest.windows(2).position(|two| two == b"\r\n")?;
                let line = &rest[..end];
                rest = &rest[end + 2..];
                if line.is_empty() {
                    return Some(rest);
                }
            }
        }
    }
}
