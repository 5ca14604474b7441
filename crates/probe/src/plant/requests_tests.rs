use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A canary, and what it answers to these bytes.
fn answer(bytes: &[u8]) -> (bool, String) {
    let mut canary = Requests::new(TOKEN);
    let address = canary.listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("it listens");
    canary.redirect(address);
    let mut client = TcpStream::connect(address).expect("it is there");
    client.write_all(bytes).expect("it hears");
    client.shutdown(std::net::Shutdown::Write).expect("all is said");
    canary.serve();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("it hangs up");
    (canary.take_heard(), String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn what_is_for_it_is_welcome_in_every_language() {
    let welcome = speech::welcome(TOKEN);
    let hello = speech::client_hello(None, b"", 0);
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".as_slice(),
        &speech::request_in_frames(b"here", &[]),
        &speech::records(&hello, 20),
    ] {
        let (heard, answer) = answer(bytes);
        assert!(!heard && answer.contains(&welcome) && !answer.contains(TOKEN), "{answer}");
    }
    let (_, twice) = answer(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    assert_eq!(twice.matches(&welcome).count(), 2);
    assert!(answer(b"GET /redirect HTTP/1.1\r\n\r\n").1.contains("302 Found\r\nLocation: http://127.0.0.1:"));
    assert_eq!(answer(b""), (false, String::new()));
}

#[test]
fn what_is_not_for_it_is_told_in_every_language() {
    let there = speech::elsewhere(TOKEN);
    let packed = [b"\x01\x8a".as_slice(), &speech::packed(&speech::sign(TOKEN))].concat();
    let settings = [speech::PREFACE, &speech::settings()].concat();
    for bytes in [
        format!("GET / HTTP/1.1\r\nHost: {there}\r\n\r\n").as_bytes(),
        format!("GET / HTTP/1.1\nHost: {there}\n\n").as_bytes(),
        format!("POST / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: {there}\r\n").as_bytes(),
        &speech::request_in_frames(there.as_bytes(), &[]),
        &[settings, speech::frame(speech::HEADERS, 5, 1, &packed)].concat(),
        &speech::records(&speech::client_hello(Some(&[there.as_bytes()]), b"", 0), 1 << 14),
    ] {
        let (heard, answer) = answer(bytes);
        assert!(heard && answer.contains(TOKEN), "{answer}");
    }
}
