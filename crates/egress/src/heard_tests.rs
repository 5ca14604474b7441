use super::*;

#[test]
fn answers_tell_what_was_heard() {
    for answer in
        ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404", "http/1.1 400 Bad\r\n", "FOO/1.1 200 OK", "HTTP/2 200", "X/9 500 "]
    {
        assert_eq!(judge(answer.as_bytes()), Some(Heard::Http), "{answer}");
        // As soon as it can be, and not otherwise before.
        let slash = answer.find('/').unwrap();
        let whole_name = if answer[..slash].eq_ignore_ascii_case("http") { 0 } else { slash + 1 };
        for length in whole_name..answer.len() {
            let told = judge(&answer.as_bytes()[..length]);
            assert!(told.is_none() || told == Some(Heard::Http), "{} {told:?}", &answer[..length]);
        }
    }
    for answer in [&b"\x16\x03\x03\0\x5a\x02"[..], b"\x15\x03\x01\0\x02\x02\x28", b"\x16\x03\x00"] {
        assert_eq!(judge(answer), Some(Heard::Tls), "{answer:?}");
        assert_eq!((judge(&answer[..1]), judge(&answer[..2])), (None, None));
    }
    for answer in [
        &b"220 mail.example.org ESMTP\r\n"[..],
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"+OK\r\n",
        b"hello",
        b"imok",
        b"OK",
        b"FOO",
        b"$5\r\nhello\r\n",
        b"VALUE 123 0 5\r\n",
        b"INSERTED 123\r\n",
        b"RESERVED 200 5\r\n",
        b"RTSP/1.0 200 OK\r\n",
        b"SIP/2.0 200 OK\r\n",
        b"HTTP/x",
        b"HTTP/1.1-200",
        b"HTTP/1.1 ok",
        b"path/1 20 files",
        b"OK MPD 0.23.5\n",
        b"INFO {\"server_id\"",
        b"\x4a\0\0\0\x0a8.0",
        b"\x16\0\0\0\x01",
        b"\x15\x03\x09",
        b"\0\0\0\x08",
        b"abcdefghijk",
    ] {
        assert_eq!(judge(answer), Some(Heard::Other), "{}", answer.escape_ascii());
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
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "[A-Za-z]{0,9}/?[0-9.]{0,4} ?[0-9]{0,4}.{0,4}") {
        let _ = (judge(&bytes), judge(text.as_bytes()), settings(&bytes));
    }
}
