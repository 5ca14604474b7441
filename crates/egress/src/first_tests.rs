use super::*;
use crate::testing::hello;
use tokio::io::AsyncWriteExt;

fn tls(speech: Speech) -> Hello {
    match speech {
        Speech::Tls(hello) => hello,
        other => panic!("{other:?}"),
    }
}

/// The same handshake message with an extension more, in records of a few bytes each.
fn changed(record: &[u8], extension: &[u8], piece: usize) -> Vec<u8> {
    let mut message = record[5..].to_vec();
    let session = 38 + 1 + usize::from(message[38]);
    let suites = session + 2 + usize::from(u16::from_be_bytes([message[session], message[session + 1]]));
    let extensions = suites + 1 + usize::from(message[suites]);
    message.extend_from_slice(extension);
    let length = (message.len() - extensions - 2) as u16;
    message[extensions..extensions + 2].copy_from_slice(&length.to_be_bytes());
    let length = (message.len() - 4) as u32;
    message[1..4].copy_from_slice(&length.to_be_bytes()[1..]);
    let records = message.chunks(piece).flat_map(|part| {
        let head = [0x16, 3, 1, (part.len() >> 8) as u8, part.len() as u8];
        head.into_iter().chain(part.iter().copied())
    });
    records.collect()
}

/// An extension of this type with this content.
fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((content.len() as u16).to_be_bytes());
    bytes.extend(content);
    bytes
}

/// An extension `server_name` that says this.
fn server_name(name: &str) -> Vec<u8> {
    let name = name.as_bytes();
    let mut content = ((name.len() + 3) as u16).to_be_bytes().to_vec();
    content.push(0);
    content.extend((name.len() as u16).to_be_bytes());
    content.extend(name);
    extension(0, &content)
}

#[test]
fn a_hello_says_for_whom_it_is() {
    let hello = tls(classify(&hello("Example.ORG", &["h2", "http/1.1"]), Expected::Web).unwrap());
    assert_eq!(hello.server_name, Some(Host::parse("example.org").unwrap()));
    assert_eq!(hello.protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
}

#[test]
fn a_hello_without_a_name_says_nobody() {
    let without = hello("192.0.2.1", &[]);
    assert_eq!(tls(classify(&without, Expected::Web).unwrap()).server_name, None);
    // An address where a name belongs is dropped as well.
    let address = changed(&without, &server_name("192.0.2.1"), 4096);
    assert_eq!(tls(classify(&address, Expected::Web).unwrap()).server_name, None);
    let named = changed(&without, &server_name("example.org"), 4096);
    assert_eq!(tls(classify(&named, Expected::Web).unwrap()).server_name, Some(Host::parse("example.org").unwrap()));
    // In the spellings of inet_aton(3), too, and numbers that are none.
    for name in ["2130706433", "0x7f.1", "0177.0.0.1", "127.1"] {
        match classify(&changed(&without, &server_name(name), 4096), Expected::Web).unwrap() {
            Speech::Tls(hello) => assert_eq!(hello.server_name, None, "{name}"),
            other => assert!(matches!(other, Speech::BadTls(_)), "{name}"),
        }
    }
}

#[test]
fn a_name_that_is_none_is_bad() {
    let without = hello("192.0.2.1", &[]);
    for name in ["a\0.example.org", "*.example.org", "a b", "exämple.org", "[::1]", "example.org:443", "evil@a.org"] {
        let speech = classify(&changed(&without, &server_name(name), 4096), Expected::Web).unwrap();
        assert!(matches!(speech, Speech::BadTls(_)), "{name:?}: {speech:?}");
    }
}

#[test]
fn two_names_are_bad() {
    let two = changed(&hello("example.org", &[]), &server_name("other.org"), 4096);
    assert!(matches!(classify(&two, Expected::Web), Some(Speech::BadTls(_))));
}

#[test]
fn an_encrypted_hello_is_for_the_name_outside_of_it() {
    // HPKE's key derivation and cipher, the configuration's number, a key, and what is encrypted (RFC 9849, 5).
    let content = [&[0, 0, 1, 0, 1, 7, 0, 32][..], &[9; 32], &[0, 144], &[9; 144]].concat();
    let ech = changed(&hello("example.org", &[]), &extension(0xfe0d, &content), 4096);
    assert_eq!(tls(classify(&ech, Expected::Web).unwrap()).server_name, Some(Host::parse("example.org").unwrap()));
}

/// Where anything may be spoken, a request is what has a version, or a method that is known and a path.
#[test]
fn lines_of_other_languages_are_none_of_http() {
    for bytes in [
        &b"get /k\r\n"[..],
        b"OPTIONS * RTSP/1.0\r\n",
        b"OPTIONS sip:a@b SIP/2.0\r\n",
        b"set http:1 0 0 1\r\n",
        b"SCAN /tmp/x\n",
        b"LIST /\n",
        b"SELECT * FROM t;\n",
        b"CONNECT db\n",
        b"003agit-upload-pack /p.git\0host=git.example.com\0",
        b"\x16\0\0\0\x01",
        b"\x15\0",
        // The mark of a record of 259 bytes, as ONC RPC has it (RFC 5531, 11).
        b"\x80\0\x01\x03",
        b"\x80\x30\0",
        b"\r\n\r\n{",
    ] {
        assert_eq!(classify(bytes, Expected::Any), Some(Speech::Other), "{}", bytes.escape_ascii());
    }
    for bytes in [
        &b"JDWP-Handshake"[..],
        b"ruok",
        b"x",
        b"hello world",
        b"LIST /",
        b"GET x",
        b"CONNECT a:1",
        b"\x15",
        b"\x16",
        b"\x16\x03",
        b"\x80",
        b"\x80\x2e\x01",
        &[b'A'; MAX / 2],
        &b"ab ".repeat(MAX / 4),
    ] {
        assert_eq!(classify(bytes, Expected::Any), None, "{}", bytes.escape_ascii());
    }
    for bytes in [
        &b"GET / HTTP/1.1"[..],
        b"\r\nCONNECT a:1 http/1.0\r\n",
        b"GET x:y HTTP/1.1\r\n",
        b"POST http://a/ HTTP/",
        // What some servers take for a request: without a version, after blanks that others know none of, with control
        // characters in it, by a method of any length.
        b"GET /\n",
        b"GET http://a",
        b"\xa0\x1cGET\x1d/",
        b"brew a\x1b\x85HTTP/1.1\r\n",
        b"GET a\0b\x85HTTP/1.1\r\n",
        &[&[b'A'; 9000][..], b" x HTTP/1.1\r\n"].concat(),
        &[b"FETCH ", &[b'a'; 40_000][..], b" HTTP/1.1\r\n"].concat(),
        // What a server behind a proxy is told first.
        b"PROXY ",
        b"\r\n\r\n\0\r\nQUIT\n",
    ] {
        assert_eq!(classify(bytes, Expected::Any), Some(Speech::Http(Version::One)), "{}", bytes.escape_ascii());
    }
    assert_eq!(classify(b"PRI * HTTP/2.0\r\n", Expected::Any), Some(Speech::Http(Version::Two)));
    tls(classify(&hello("example.org", &[]), Expected::Any).unwrap());
    // TLS that says nothing of a name, or not yet.
    for bytes in [
        &b"\x16\x03\0\0\x05hello"[..],
        b"\x15\x03\x01\0\x02\x01\x5a",
        b"\x14\x03\x03\0\x01\x01",
        b"\x17\x03\x03\0\x01\0",
        b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10",
        b"\x81\0\x01\x03\x03",
    ] {
        let speech = classify(bytes, Expected::Any);
        assert!(matches!(speech, Some(Speech::BadTls(_))), "{}: {speech:?}", bytes.escape_ascii());
    }
}

#[tokio::test]
async fn a_long_hello_in_small_records_and_smaller_pieces_is_read() {
    // As with a key share of ML-KEM and more: over 2 KiB, over several records, byte by byte.
    let long = changed(&hello("example.org", &["h2"]), &extension(0xffa5, &[7; 9000]), 300);
    assert!(long.len() > 9000);
    let (mut client, mut server) = tokio::io::duplex(1);
    let whole = long.clone();
    let sending = async {
        client.write_all(&whole).await.unwrap();
        client
    };
    let mut buffer = Vec::new();
    let (speech, _client) = tokio::join!(first(&mut server, &mut buffer, Expected::Web), sending);
    assert_eq!(tls(speech.unwrap()).server_name, Some(Host::parse("example.org").unwrap()));
    assert_eq!(buffer, long);
    // It is told as soon as it can be, and not before.
    assert_eq!(classify(&long[..long.len() - 1], Expected::Web), None);
}

#[tokio::test]
async fn what_goes_on_for_ever_is_refused() {
    let bytes = vec![[0x16, 3, 1, 0, 1, 1]; 64 * 1024].concat();
    let mut buffer = Vec::new();
    assert!(matches!(first(&mut &*bytes, &mut buffer, Expected::Web).await, Ok(Speech::BadTls(_))));
    assert!(buffer.len() <= MAX);
    // What could still become a request is one that cannot be read.
    for endless in [vec![b'\n'; MAX * 2], vec![b'a'; MAX * 2], b"a ".repeat(MAX)] {
        for expected in [Expected::Web, Expected::Any] {
            let mut buffer = Vec::new();
            let speech = first(&mut &*endless, &mut buffer, expected).await.unwrap();
            assert_eq!((speech, buffer.len()), (Speech::Http(Version::One), MAX));
        }
    }
}

#[tokio::test]
async fn an_end_is_told() {
    let mut buffer = Vec::new();
    assert_eq!(first(&mut &b""[..], &mut buffer, Expected::Web).await.unwrap(), Speech::Nothing);
    assert_eq!(first(&mut &b"GE"[..], &mut buffer, Expected::Web).await.unwrap(), Speech::Other);
    let half = &hello("example.org", &[])[..100];
    assert!(matches!(first(&mut &*half, &mut Vec::new(), Expected::Web).await, Ok(Speech::BadTls(_))));
}

#[test]
fn requests_are_told_as_soon_as_they_can_be() {
    let one = Some(Speech::Http(Version::One));
    for bytes in [
        "GET /",
        "GET http",
        "get HTTP",
        "OPTIONS *",
        "CONNECT ",
        "PROPPATCH /x HTTP/1.1\r\n",
        "\r\n\r\nGET /",
        "GET   /",
        "GET\t/",
        "M-SEARCH *",
        // What servers take for a request, though it is not for a path of theirs.
        " GET /",
        "GET\u{b}/",
        "GET\r\u{c}/",
        "GET x:y\u{b}HTTP/1.1",
        "GET ftp://other.example/ HTTP/",
        "GET x:y HTTP/1.1\r\n",
        "GET www.example.com:80 http/1.0\n",
        "GET ?x\tHTTP/1.1",
        "GET \u{e9} HTTP/1.1",
    ] {
        assert_eq!(classify(bytes.as_bytes(), Expected::Web), one, "{bytes}");
    }
    for bytes in [
        "",
        "\r\n",
        "G",
        "GET",
        "GET ",
        "GET h",
        "GET htt",
        "GET httq",
        "EHLO a",
        "GET ftp://x/ HTTP",
        "PRI ",
        &"A".repeat(MAX / 2),
        "\u{15}",
    ] {
        assert_eq!(classify(bytes.as_bytes(), Expected::Web), None, "{bytes}");
    }
    assert_eq!(classify(b"PRI *", Expected::Web), Some(Speech::Http(Version::Two)));
}

#[test]
fn what_is_neither_is_told_at_once() {
    for bytes in [
        &b"\0"[..],
        b"SSH-2.0-OpenSSH_9.2p1 D\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"PING\r\n",
        b"EHLO a\r\n",
        b"GET httq\n",
        b"a1 LOGIN a b\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
    ] {
        assert_eq!(classify(bytes, Expected::Web), Some(Speech::Other), "{}", bytes.escape_ascii());
    }
    assert!(matches!(classify(b"\x16\x02\0\0\x05hello", Expected::Web), Some(Speech::BadTls(_))));
}

#[tokio::test]
async fn what_was_read_is_read_again() {
    let (mut client, server) = tokio::io::duplex(64);
    client.write_all(b" world").await.unwrap();
    let mut replay = Replay::new(b"hello".to_vec(), server);
    let mut bytes = [0; 3];
    replay.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hel");
    let mut bytes = [0; 8];
    replay.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"lo world");
    replay.write_all(b"back").await.unwrap();
    let mut bytes = [0; 4];
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"back");
}

proptest::proptest! {
    #[test]
    fn bit_by_bit_it_is_the_same(beginning in "[\r\n A-Z/*\u{85}]{0,12}", rest: Vec<u8>, pieces in 1usize..7) {
        let whole = [beginning.as_bytes(), &rest, b" HTTP/1.1\n"].concat();
        for expected in [Expected::Web, Expected::Any] {
            let mut listener = Listener::new(expected);
            let ends = (1..whole.len()).step_by(pieces).chain([whole.len()]);
            let bit_by_bit = ends.map(|end| listener.hear(&whole[..end])).find(Option::is_some).flatten();
            proptest::prop_assert_eq!(bit_by_bit, classify(&whole, expected));
        }
    }

    /// Nor does it matter what was let go of.
    #[test]
    fn what_is_let_go_of_tells_nothing(runs in proptest::collection::vec(("[\r\n A-Z/*:x\u{85}]", 1usize..200), 0..6), rest: Vec<u8>, pieces in 1usize..90) {
        let beginning: String = runs.iter().map(|(what, times)| what.repeat(*times)).collect();
        let whole = [beginning.as_bytes(), &rest, b" HTTP/1.1\n"].concat();
        let mut listener = Listener::new(Expected::Any);
        let mut kept = Vec::new();
        let told = whole.chunks(pieces).find_map(|piece| {
            kept.extend_from_slice(piece);
            let told = listener.hear(&kept);
            if !listener.is_tls() && told.is_none() {
                listener.shorten(&mut kept);
            }
            told
        });
        proptest::prop_assert!(kept.len() <= 5 * KEPT + pieces || listener.is_tls());
        proptest::prop_assert_eq!(told, classify(&whole, Expected::Any));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, tls: bool) {
        let bytes = if tls { [&[0x16, 3, 1][..], &bytes].concat() } else { bytes };
        let _ = (classify(&bytes, Expected::Web), classify(&bytes, Expected::Any));
    }

    #[test]
    fn more_bytes_never_change_what_was_told(cut in 0usize..400, rest: Vec<u8>) {
        let whole = [hello("example.org", &["h2"]), rest].concat();
        for expected in [Expected::Web, Expected::Any] {
            if let Some(early) = classify(&whole[..cut.min(whole.len())], expected) {
                proptest::prop_assert_eq!(Some(early), classify(&whole, expected));
            }
        }
    }
}
