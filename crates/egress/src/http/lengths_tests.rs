use super::*;

fn told(bytes: &str, piece: usize) -> Vec<bool> {
    let (mut requests, mut told) = (Requests::default(), Vec::new());
    for piece in bytes.as_bytes().chunks(piece) {
        requests.read(piece, |twice| told.push(twice));
    }
    told
}

#[test]
fn each_request_is_told_of_in_its_turn() {
    let plain = "GET / HTTP/1.1\r\nHost: a\r\nX-Content-Length: 3\r\n\r\n";
    // Bodies that look like heads with two lengths.
    let inner = "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let counted = format!("\r\nPOST / HTTP/1.1\ncontent-LENGTH:{}\n\n{inner}", inner.len());
    let chunked = format!(
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}{:x};x=y\r\n{inner}\r\n00\r\nContent-Length: 1\r\n\r\n",
        "0".repeat(200),
        inner.len()
    );
    let both = "POST / HTTP/1.1\r\nContent-Length: 4\r\ntransfer-encoding : x\r\n";
    let twice = "POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nxx";
    let coded = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\n";
    let all = [plain, &counted, &chunked, twice, coded, plain, both, plain].concat();
    for piece in [1, 2, 7, 1000] {
        assert_eq!(told(&all, piece), [false, false, false, true, true, false], "{piece}");
    }
}

#[test]
fn what_is_no_request_is_not_followed() {
    for lost in [
        "POST / HTTP/1.1\r\nContent-Length: many\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n",
    ] {
        let mut requests = Requests::default();
        requests.read(lost.as_bytes(), |_| {});
        assert!(requests.at == At::Lost, "{lost}");
    }
    let mut requests = Requests::default();
    requests.read(&[b'x'; 100_000], |_| {});
    assert_eq!(requests.line.bytes.len(), KEPT);
}

#[test]
fn lengths_of_answers_are_written_plainly() {
    let clear = |head: &str| {
        let mut answers = Answers::new();
        assert!(answers.read(head.as_bytes()), "nothing was asked");
        answers.expect();
        let whole = answers.read(head.as_bytes());
        answers.expect();
        assert_eq!(head.as_bytes().iter().all(|byte| answers.read(&[*byte])), whole, "{head:?}");
        whole
    };
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX : y\r\nY: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nJunk\n\nContent-Length : 5",
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200\r\nContent-Length:2\r\n\r\n",
        "HTTP/1.1 101 Switching\r\n\r\nX\r\nContent-Length : 5\r\n",
    ] {
        assert!(clear(head), "{head:?}");
    }
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding\t: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\t0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n Content-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n x\r\n\r\n",
    ] {
        assert!(!clear(head), "{head:?}");
    }
}
