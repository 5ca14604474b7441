use super::*;

#[test]
fn answers_tell_what_was_heard() {
    for answer in ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404", "http/1.1 400 Bad\r\n", "HTTP/2 200"] {
        assert_eq!(http(answer.as_bytes()), Some(Heard::Http), "{answer}");
        assert_eq!(either(answer.as_bytes()), Some(Heard::Http), "{answer}");
        // As soon as it can be, and not otherwise before.
        for length in 0..answer.len() {
            let told = http(&answer.as_bytes()[..length]);
            assert_eq!(told, (length > 5).then_some(Heard::Http), "{}", &answer[..length]);
        }
    }
    for answer in [&b"\x16\x03\x03\0\x5a\x02"[..], b"\x15\x03\x01\0\x02\x02\x28", b"\x16\x03\x00"] {
        assert_eq!(tls(answer), Some(Heard::Tls), "{answer:?}");
        assert_eq!(either(answer), Some(Heard::Tls), "{answer:?}");
        assert_eq!((tls(&answer[..1]), tls(&answer[..2])), (None, None));
    }
    for answer in
        [&b"+OK\r\n"[..], b"hello", b"HELLO", b"imok", b"RTSP/1.0 200 OK\r\n", b"GNUTELLA/0.6 200 OK", b"HTTP/x"]
    {
        assert_eq!(http(answer), Some(Heard::Other), "{}", answer.escape_ascii());
    }
    for answer in [&b"\x16\0\0\0\x01"[..], b"\x15\x03\x09", b"\0\0\0\x08", b"\x17\x03\x03"] {
        assert_eq!(tls(answer), Some(Heard::Other), "{}", answer.escape_ascii());
        assert_eq!(either(answer), Some(Heard::Other), "{}", answer.escape_ascii());
    }
}

#[test]
fn settings_are_told_by_their_first_bytes() {
    let frame = [0, 0, 18, 4, 0, 0, 0, 0, 0];
    for length in 0..frame.len() {
        assert_eq!(settings(&frame[..length]), None, "{length}");
    }
    assert_eq!(settings(&frame), Some(true));
    for other in [&b"220 "[..], b"SSH-2.0-x", b"\x4a\0\0\0\x0a", &[0, 0, 17, 4], &[0, 0, 18, 4, 1], &[1, 0, 2, 4]] {
        assert_eq!(settings(other), Some(false), "{other:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "(HTTP)?/?[0-9.]{0,4}.{0,4}") {
        let _ = (tls(&bytes), either(&bytes), http(&bytes), http(text.as_bytes()), settings(&bytes));
    }
}
