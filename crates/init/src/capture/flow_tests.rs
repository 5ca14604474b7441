use super::*;

#[test]
fn first_bytes() {
    for (bytes, expected) in [
        (&b""[..], Speech::Unknown),
        (b"G", Speech::Unknown),
        (b"GET", Speech::Unknown),
        (b"GET / HTTP/1.1\r\n", Speech::Http),
        (b"OPTIONS * HTTP/1", Speech::Http),
        (b"P", Speech::Unknown),
        (b"PRI * HTTP/2.0\r\n", Speech::Other),
        (b"\x16\x03\x01\x02\x00", Speech::Other),
        (b"SSH-2.0-OpenSSH", Speech::Other),
        (b"get / HTTP/1.1", Speech::Other),
    ] {
        assert_eq!(speech(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn the_answer_has_the_message_for_its_body() {
    let response = forbidden("Refused by policy: network \u{201c}none\u{201d}\n");
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"));
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
    assert_eq!(body, "Refused by policy: network \u{201c}none\u{201d}\n");
}
