use super::*;
use crate::{
    first::Replay,
    testing::{passage, run},
};
use tokio::{
    io::{AsyncReadExt as _, duplex},
    task::spawn_local,
};

/// What it takes this for that a client says and then ends with, what a silent server has got of it, and what is left.
async fn told(said: Vec<u8>) -> (Result<Speech, Reason>, Vec<u8>, Vec<u8>) {
    let (mut client, mut near) = duplex(4096);
    let (far, mut server) = duplex(4096);
    let getting = spawn_local(async move {
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.map(|_| got)
    });
    let saying = spawn_local(async move { client.write_all(&said).await });
    let target = Target::parse("a.org:9000", None).unwrap();
    let (mut buffer, mut far) = (Vec::new(), Replay::new(Vec::new(), far));
    let speech = any(&mut near, &mut buffer, &mut far, &target, &mut Watch::default()).await;
    drop((near, far));
    let _ = saying.await.unwrap();
    (speech.map(|(speech, _)| speech).map_err(|denial| denial.reason), getting.await.unwrap().unwrap(), buffer)
}

/// Much in one line of another language than HTTP is passed on, whether it has blanks or not.
#[test]
fn a_long_line_is_passed_on() {
    for said in [b"word ".repeat(200_000), vec![b'a'; 1_000_000], [b"GET", &b" ".repeat(300_000)[..], b"x"].concat()] {
        run(async {
            let (speech, mut got, left) = told(said.clone()).await;
            assert_eq!(speech, Ok(Speech::Other));
            got.extend(left);
            assert!(got == said, "{} of {}", got.len(), said.len());
        });
    }
}

/// If it becomes a request after all, that goes no further.
#[test]
fn a_request_in_a_long_line_goes_no_further() {
    let request = b" / HTTP/1.1\r\nHost: hidden\r\n\r\n";
    let longest = 1_000_000;
    for beginning in [
        vec![b'a'; longest],
        b"FETCH ".iter().copied().chain(vec![b'a'; longest]).collect(),
        [b"GET", &b" ".repeat(longest)[..]].concat(),
        b"\r\n".repeat(longest).into_iter().chain(*b"GET").collect(),
    ] {
        run(async {
            let (speech, got, _) = told([&beginning[..], request].concat()).await;
            assert_eq!(speech, Err(Reason::BadRequest));
            assert!(!got.windows(6).any(|part| part == b"HTTP/1" || part == b"hidden"));
            assert!(beginning.starts_with(&got) || got.starts_with(&beginning));
        });
    }
}

/// TLS in a line that is passed on before its end is looked at as well.
#[test]
fn tls_in_a_long_line_goes_no_further() {
    run(async {
        let (mut client, mut near) = duplex(4096);
        let (far, mut server) = duplex(1 << 20);
        let (passage, _) = passage("a.org:9000", &[]);
        let mut watch = Watch::of(&passage.target, &passage.grant);
        // One without the end of a line.
        let name = [&[0, 27, 0, 0, 0, 23, 0, 21, 0, 0, 18][..], b"hidden.example.net"].concat();
        let hello = [&[0x16, 3, 1, 0, 74, 1, 0, 0, 70, 3, 3][..], &[1; 32], &[0, 0, 2, 0x13, 1, 1, 0], &name].concat();
        client.write_all(&[b"GET x", &hello[..]].concat()).await.unwrap();
        let (mut buffer, mut far) = (Vec::new(), Replay::new(Vec::new(), far));
        let denial = any(&mut near, &mut buffer, &mut far, &passage.target, &mut watch).await.unwrap_err();
        assert_eq!(denial.reason, Reason::SniMismatch);
        drop(far);
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"");
    });
}

/// A server that speaks before the end of what it is told is heard, so that it goes on to hear.
#[test]
fn a_server_that_answers_a_long_line_is_heard() {
    run(async {
        let (mut client, mut near) = duplex(4096);
        let (far, server) = duplex(4096);
        spawn_local(async move {
            let (mut from, mut to) = tokio::io::split(server);
            tokio::io::copy(&mut from, &mut to).await
        });
        let saying = spawn_local(async move { client.write_all(&vec![b'a'; 10_000_000]).await });
        let target = Target::parse("a.org:9000", None).unwrap();
        let (mut buffer, mut far) = (Vec::new(), Replay::new(Vec::new(), far));
        let (speech, _) = any(&mut near, &mut buffer, &mut far, &target, &mut Watch::default()).await.unwrap();
        assert_eq!((speech, saying.is_finished()), (Speech::Other, false));
    });
}

/// A server that answers as one of HTTP what is none yet hears no more.
#[test]
fn nothing_follows_what_is_answered_as_a_request() {
    run(async {
        let (mut client, mut near) = duplex(1 << 20);
        let (far, mut server) = duplex(1 << 20);
        let answering = spawn_local(async move {
            let mut heard = vec![0; 1 << 20];
            let count = server.read(&mut heard).await?;
            server.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            heard.truncate(count);
            server.read_to_end(&mut heard).await.map(|_| heard)
        });
        let blank = b"\r\n".repeat(40 << 10);
        let said = [&blank[..], b"GET / HTTP/1.1\r\nHost: hidden\r\n\r\n"].concat();
        client.write_all(&said).await.unwrap();
        let target = Target::parse("a.org:9000", None).unwrap();
        let (mut buffer, mut far) = (Vec::new(), Replay::new(Vec::new(), far));
        let denial = any(&mut near, &mut buffer, &mut far, &target, &mut Watch::default()).await.unwrap_err();
        drop((near, far));
        assert_eq!(denial.reason, Reason::BadRequest);
        assert!(blank.starts_with(&answering.await.unwrap().unwrap()));
    });
}
