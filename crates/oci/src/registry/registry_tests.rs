use super::{testing::*, *};
use crate::{
    Credentials, Digest, Platform, Secret,
    manifest::{Descriptor, Index, Manifest, media},
};
use std::{io::Cursor, sync::Mutex};

fn manifest() -> (Vec<u8>, Digest) {
    let layer = Descriptor::of(media::OCI_LAYER_GZIP, b"layer");
    let bytes = Manifest::new(Descriptor::of(media::OCI_CONFIG, b"config"), vec![layer]).to_bytes().unwrap();
    let digest = Digest::of(&bytes);
    (bytes, digest)
}

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

/// A manifest as registries send it.
fn sent(bytes: &[u8]) -> Reply {
    let digest = Digest::of(bytes).to_string();
    with("200 OK", &[("Content-Type", media::OCI_MANIFEST), ("Docker-Content-Digest", &digest)], bytes)
}

/// What comes of a blob.
async fn get(client: &Client, server: &Server, bytes: &[u8], digest: &Digest) -> Result<Vec<u8>, RegistryError> {
    let descriptor = Descriptor::new(media::OCI_LAYER, digest.clone(), bytes.len() as u64);
    let mut download = Download::new(&descriptor, Cursor::new(Vec::new()));
    client.blob(&server.reference(), &mut download, &|_| {}).await?;
    Ok(download.into_inner().into_inner())
}

async fn resolve(server: &Server, client: &Client) -> Result<Resolved, RegistryError> {
    client.resolve(&server.reference(), &platform("linux/amd64")).await
}

#[tokio::test]
async fn a_tag_leads_to_the_manifest_of_a_platform() {
    let (inner, digest) = manifest();
    let mut entry = Descriptor::of(media::OCI_MANIFEST, &inner);
    entry.platform = Some(platform("linux/amd64"));
    let index = Index::new(vec![entry]).to_bytes().unwrap();
    let (served, top, by_digest) = (index.clone(), Digest::of(&index), digest.clone());
    let server = Server::clear(move |asked, _| match asked.path.as_str() {
        "/v2/a/b/manifests/tag" => with("200 OK", &[("Content-Type", media::OCI_INDEX)], &served),
        path if path.ends_with(&by_digest.to_string()) => sent(&inner),
        _ => status("404 Not Found"),
    });
    let client = client();
    let resolved = resolve(&server, &client).await.unwrap();
    assert_eq!((&resolved.digest, resolved.top()), (&digest, &top));
    assert_eq!(resolved.indexes[0].bytes, index);
    assert_eq!(resolved.manifest.layers.len(), 1);
    let asked = server.asked();
    assert!(asked[0].header("accept").contains(media::DOCKER_LIST));
    assert_eq!(asked[0].header("user-agent"), concat!("agentkernel/", env!("CARGO_PKG_VERSION")));
    assert_eq!(asked[0].header("host"), server.host());
    assert_eq!(asked[0].connection, asked[1].connection, "one connection is enough");

    let error = client.resolve(&server.reference(), &platform("linux/arm64")).await.unwrap_err();
    assert_eq!(error.to_string(), "The image is not there for linux/arm64, but for linux/amd64");
    // An index by its own digest is pinned as well.
    let pinned = server.reference().pinned(Digest::of(b"other"));
    assert!(matches!(client.document(&pinned).await, Err(RegistryError::NotFound { .. })));
}

#[tokio::test]
async fn a_manifest_is_what_its_digest_says() {
    let (bytes, digest) = manifest();
    let other = Digest::of(b"other").to_string();
    let lying = bytes.clone();
    let server = Server::clear(move |_, _| with("200 OK", &[("Docker-Content-Digest", &other)], &lying));
    let error = resolve(&server, &client()).await.unwrap_err();
    let (host, other) = (server.host(), Digest::of(b"other"));
    assert_eq!(error.to_string(), format!("What came from '{host}' is {digest}, not {other}"));
    // A digest that was pinned beats what the registry says.
    let reference = server.reference().pinned(digest.clone());
    assert_eq!(client().document(&reference).await.unwrap().digest, digest);
    let reference = server.reference().pinned(other);
    assert!(matches!(client().document(&reference).await, Err(RegistryError::Digest { .. })));
}

#[tokio::test]
async fn indexes_do_not_lead_on_and_on() {
    let mut documents: Vec<Vec<u8>> = vec![manifest().0];
    for _ in 0..3 {
        let last = documents.last().unwrap();
        let kind = if documents.len() == 1 { media::OCI_MANIFEST } else { media::OCI_INDEX };
        let mut entry = Descriptor::of(kind, last);
        entry.platform = Some(platform("linux/amd64"));
        documents.push(Index::new(vec![entry]).to_bytes().unwrap());
    }
    let served = documents.clone();
    let server = Server::clear(move |asked, _| {
        let named = served.iter().find(|bytes| asked.path.ends_with(&Digest::of(bytes).to_string()));
        Reply::Send(answer("200 OK", &[], named.unwrap_or(&served[3])))
    });
    assert!(matches!(resolve(&server, &client()).await, Err(RegistryError::TooDeep)));
    let reference = server.reference().pinned(Digest::of(&documents[2]));
    let resolved = client().resolve(&reference, &platform("linux/amd64")).await.unwrap();
    assert_eq!(resolved.indexes.len(), 2);
}

#[tokio::test]
async fn a_manifest_has_an_end_and_the_size_that_the_index_says() {
    let server = Server::clear(|_, _| ok(&vec![b' '; 5 << 20]));
    let error = resolve(&server, &client()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("'{}' sends more than 4194304 bytes for a manifest", server.host()));
    let (bytes, digest) = manifest();
    let served = bytes.clone();
    let server = Server::clear(move |_, _| sent(&served));
    let descriptor = Descriptor::new(media::OCI_MANIFEST, digest, 7);
    let error = client().document_of(&server.reference(), &descriptor).await.unwrap_err();
    assert!(matches!(error, RegistryError::Size { expected: 7, found, .. } if found == bytes.len() as u64));
}

#[tokio::test]
async fn every_status_is_told_in_words_and_only_some_are_tried_again() {
    let words = br#"{"errors":[{"code":"UNKNOWN","message":"some\nthing \u001b[31m","detail":{}},{"code":"X"}]}"#;
    let quoted = "UNKNOWN, some\u{fffd}thing \u{fffd}[31m; X";
    for (line, times, expected, hint) in [
        ("401 Unauthorized", 1, "wants a login", "agentkernel image login HOST"),
        ("403 Forbidden", 1, "does not allow it", "agentkernel image login HOST"),
        ("404 Not Found", 1, "has no such image", "Check the image's name and its tag"),
        ("405 Method Not Allowed", 1, "answers 405 Method Not Allowed", ""),
        ("429 Too Many Requests", 6, "allows no more requests for now", "Wait for a while, or log in"),
        ("500 Internal Server Error", 6, "answers 500 Internal Server Error", ""),
        ("501 Not Implemented", 1, "answers 501 Not Implemented", ""),
        ("502 Bad Gateway", 6, "answers 502 Bad Gateway", ""),
        ("503 Service Unavailable", 6, "answers 503 Service Unavailable", ""),
        ("504 Gateway Timeout", 6, "answers 504 Gateway Timeout", ""),
        ("418 I'm a teapot", 1, "answers 418 I'm a teapot", ""),
    ] {
        let server = Server::clear(move |_, _| with(line, &[], words));
        let error = resolve(&server, &client()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("'{}' {expected}: {quoted}", server.host()));
        assert!(error.hint().contains(&hint.replace("HOST", &server.host())), "{}", error.hint());
        assert_eq!(server.asked().len(), times, "{line}");
    }
    // What comes after trouble is taken.
    let (bytes, digest) = manifest();
    let server = Server::clear(move |_, before| if before < 5 { status("503 x") } else { sent(&bytes) });
    assert_eq!(resolve(&server, &client()).await.unwrap().digest, digest);
}

#[tokio::test]
async fn a_body_that_is_no_error_of_a_registry_is_not_quoted() {
    let server = Server::clear(|_, _| with("404 Not Found", &[], b"<html>Not here</html>"));
    let error = resolve(&server, &client()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("'{}' has no such image", server.host()));
}

#[tokio::test(start_paused = true)]
async fn a_server_is_waited_for_as_long_as_it_asks_but_not_for_ever() {
    let mut settings = settings();
    settings.timeouts.stall = Duration::from_secs(3600);
    settings.timeouts.answer = Duration::from_secs(3600);
    settings.timeouts.connect = Duration::from_secs(3600);
    settings.retries = Retries::default();
    let client = Client::new(settings);
    let pause = async |seconds: u64| {
        let limited = RegistryError::RateLimited {
            host: "x".into(),
            wait: Some(Duration::from_secs(seconds)),
            said: String::new(),
            logged_in: false,
        };
        let begin = tokio::time::Instant::now();
        let mut failures = 0;
        client.pause(limited, &mut failures).await.map(|()| begin.elapsed().as_secs())
    };
    assert_eq!(pause(7).await.unwrap(), 7);
    assert_eq!(pause(90).await.unwrap(), 90);
    assert!(matches!(pause(91).await, Err(RegistryError::RateLimited { .. })));
    // Without that, longer and longer.
    let mut failures = 0;
    let mut total = Duration::ZERO;
    for longest in [300, 600, 1200, 2400, 4800] {
        let begin = tokio::time::Instant::now();
        let broken = RegistryError::Broken { host: "x".into(), why: String::new() };
        client.pause(broken, &mut failures).await.unwrap();
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(longest / 2) && took <= Duration::from_millis(longest + 2), "{took:?}");
        total += took;
    }
    let broken = RegistryError::Broken { host: "x".into(), why: String::new() };
    assert!(client.pause(broken, &mut failures).await.is_err());
    assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
    assert_eq!(retry_after("-7"), None);
}

#[tokio::test]
async fn retry_after_is_read_from_the_answer() {
    let server = Server::clear(|_, _| with("429 Too Many Requests", &[("Retry-After", "3600")], b""));
    let error = resolve(&server, &client()).await.unwrap_err();
    assert!(matches!(error, RegistryError::RateLimited { wait: Some(wait), .. } if wait.as_secs() == 3600));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_blob_goes_on_where_it_broke_off() {
    let (bytes, digest) = contents(100_000);
    let served = bytes.clone();
    // Two connections break, one stalls, one answers with trouble: each after another part.
    let server = Server::clear(move |asked, before| {
        let from = asked.from();
        let part = |length: usize| {
            let range = format!("bytes {from}-{}/{}", served.len() - 1, served.len());
            let line = if from == 0 { "200 OK" } else { "206 Partial Content" };
            let mut bytes = head(line, &[("Content-Range", &range)], served.len() - from);
            bytes.extend_from_slice(&served[from..from + length]);
            bytes
        };
        match before {
            0 => Reply::Close(part(10_000)),
            1 => Reply::Stall(part(20_000)),
            2 => status("500 x"),
            3 => Reply::Close(part(30_000)),
            4 => Reply::Close(Vec::new()),
            _ => blob(asked, &served),
        }
    });
    let seen = Mutex::new(Vec::new());
    let descriptor = Descriptor::new(media::OCI_LAYER, digest, bytes.len() as u64);
    let mut download = Download::new(&descriptor, Cursor::new(Vec::new()));
    let progress = |done| seen.lock().unwrap().push(done);
    client().blob(&server.reference(), &mut download, &progress).await.unwrap();
    assert_eq!(download.into_inner().into_inner(), bytes);
    let from: Vec<usize> = server.asked().iter().map(Asked::from).collect();
    assert_eq!(from, [0, 10_000, 30_000, 30_000, 60_000, 60_000]);
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&100_000));
}

/// No byte is late, and it would take for ever.
#[tokio::test]
async fn a_server_that_sends_drop_by_drop_is_given_up() {
    let (bytes, digest) = contents(100_000);
    let served = bytes.clone();
    let server = Server::clear(move |asked, _| {
        let rest = &served[asked.from()..];
        match asked.path.contains("/blobs/") {
            true if asked.from() == 0 => Reply::Drip(head("200 OK", &[], rest.len()), rest.to_vec()),
            true => {
                let range = format!("bytes {}-{}/{}", asked.from(), served.len() - 1, served.len());
                Reply::Drip(head("206 Partial Content", &[("Content-Range", &range)], rest.len()), rest.to_vec())
            }
            false => Reply::Drip(head("200 OK", &[], rest.len()), rest.to_vec()),
        }
    });
    let mut settings = settings();
    settings.retries.count = 2;
    (settings.timeouts.window, settings.timeouts.least) = (Duration::from_millis(100), 1000);
    let client = Client::new(settings);
    let error = get(&client, &server, &bytes, &digest).await.unwrap_err();
    assert!(matches!(error, RegistryError::Broken { .. }), "{error}");
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    // Nothing of what came is lost.
    assert!(asked.windows(2).all(|pair| pair[0].from() < pair[1].from()), "{asked:?}");
    assert!(matches!(client.document(&server.reference()).await, Err(RegistryError::Broken { .. })));
    assert!(matches!(client.tags(&server.reference()).await, Err(RegistryError::Broken { .. })));
}

#[tokio::test]
async fn a_server_without_ranges_sends_all_of_it_again() {
    let (bytes, digest) = contents(50_000);
    let served = bytes.clone();
    let server = Server::clear(move |_, before| {
        let mut all = answer("200 OK", &[], &served);
        if before == 0 {
            all.truncate(all.len() - 10_000);
            return Reply::Close(all);
        }
        Reply::Send(all)
    });
    assert_eq!(get(&client(), &server, &bytes, &digest).await.unwrap(), bytes);
    assert_eq!(server.asked()[1].from(), 40_000);
}

#[tokio::test]
async fn what_was_there_before_is_used_if_it_is_the_same() {
    let (bytes, digest) = contents(50_000);
    let served = bytes.clone();
    let server = Server::clear(move |asked, _| blob(asked, &served));
    let descriptor = Descriptor::new(media::OCI_LAYER, digest.clone(), bytes.len() as u64);
    let corrupt = |at: usize, length: usize| {
        let mut part = bytes[..length].to_vec();
        part[at] ^= 1;
        part
    };
    for (found, from) in [
        (bytes[..20_000].to_vec(), vec![20_000]),
        (corrupt(5, 20_000), vec![20_000, 0]),
        (bytes.clone(), vec![]),
        (corrupt(5, 50_000), vec![0]),
        (Vec::new(), vec![0]),
    ] {
        let before = server.asked().len();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &found).unwrap();
        let mut download = Download::resume(&descriptor, &file).unwrap();
        assert_eq!(download.done(), found.len() as u64);
        client().blob(&server.reference(), &mut download, &|_| {}).await.unwrap();
        let mut read = vec![0; bytes.len()];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut read, 0).unwrap();
        assert_eq!(read, bytes);
        let asked: Vec<usize> = server.asked()[before..].iter().map(Asked::from).collect();
        assert_eq!(asked, from);
    }
    // Somewhere else than at the beginning of the output.
    let mut download = Download::at(&descriptor, Cursor::new(vec![1; 10]), 10).unwrap();
    client().blob(&server.reference(), &mut download, &|_| {}).await.unwrap();
    assert_eq!(download.into_inner().into_inner(), [vec![1; 10], bytes].concat());
}

#[tokio::test]
async fn other_bytes_than_those_of_the_digest_are_an_error() {
    let (bytes, digest) = contents(5000);
    let reply = |bytes: Vec<u8>| Server::clear(move |_, _| ok(&bytes));
    let mut wrong = bytes.clone();
    wrong[4000] ^= 1;
    let server = reply(wrong);
    let error = get(&client(), &server, &bytes, &digest).await.unwrap_err();
    assert!(matches!(error, RegistryError::Digest { ref expected, .. } if *expected == digest));
    assert_eq!(server.asked().len(), 1);
    assert!(error.hint().contains("nothing of it was used"));
    for length in [4999, 0] {
        let server = reply(bytes[..length].to_vec());
        let error = get(&client(), &server, &bytes, &digest).await.unwrap_err();
        let host = server.host();
        assert_eq!(error.to_string(), format!("'{host}' has {length} bytes of {digest}, not 5000"));
    }
    let server = reply([bytes.clone(), vec![0]].concat());
    let error = get(&client(), &server, &bytes, &digest).await.unwrap_err();
    assert!(matches!(error, RegistryError::Size { found: 5001, .. }));
    // Without a length, it is seen when they come.
    let endless = Server::clear(|_, _| {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        (0..50).for_each(|_| bytes.extend_from_slice(&[b"400\r\n".as_slice(), &[7; 1024], b"\r\n"].concat()));
        Reply::Stall(bytes)
    });
    let error = get(&client(), &endless, &bytes, &digest).await.unwrap_err();
    assert!(matches!(error, RegistryError::Size { .. }));
    // A length that lies is a connection that breaks, time after time.
    let served = bytes.clone();
    let short = Server::clear(move |asked, _| {
        let mut reply = head("200 OK", &[], served.len());
        reply.extend_from_slice(&served[..1000.min(served.len() - asked.from())]);
        Reply::Close(reply)
    });
    let error = get(&client(), &short, &bytes, &digest).await.unwrap_err();
    assert!(matches!(error, RegistryError::Broken { .. }), "{error}");
    assert_eq!(short.asked().len(), 6);
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_refused() {
    let (bytes, digest) = contents(5000);
    for range in ["bytes 0-4999/5000", "bytes 1001-4999/5000", "bytes 1000-4998/5000", "bytes 1000-4999/5001", "x", ""]
    {
        let served = bytes.clone();
        let server = Server::clear(move |asked, _| match asked.from() {
            0 => Reply::Close([head("200 OK", &[], 5000), served[..1000].to_vec()].concat()),
            from => with("206 Partial Content", &[("Content-Range", range)], &served[from..]),
        });
        let error = get(&client(), &server, &bytes, &digest).await.unwrap_err();
        assert!(matches!(error, RegistryError::Protocol { .. }), "{range}: {error}");
    }
    // One that cannot be had begins anew.
    let served = bytes.clone();
    let server = Server::clear(move |asked, before| match (asked.from(), before) {
        (0, 0) => Reply::Close([head("200 OK", &[], 5000), served[..1000].to_vec()].concat()),
        (0, _) => ok(&served),
        _ => status("416 Range Not Satisfiable"),
    });
    assert_eq!(get(&client(), &server, &bytes, &digest).await.unwrap(), bytes);
    let server = Server::clear(|_, _| with("200 OK", &[("Content-Encoding", "gzip")], b"x"));
    assert!(matches!(get(&client(), &server, &bytes, &digest).await, Err(RegistryError::Protocol { .. })));
}

#[tokio::test]
async fn an_empty_blob_is_asked_for_too() {
    let server = Server::clear(|_, _| ok(b""));
    assert_eq!(get(&client(), &server, b"", &Digest::of(b"")).await.unwrap(), b"");
    assert!(get(&client(), &server, b"", &Digest::of(b"x")).await.is_err());
}

#[tokio::test]
async fn what_answers_nothing_or_nonsense_is_told_so() {
    let (bytes, digest) = contents(10);
    let mut settings = settings();
    settings.retries.count = 1;
    settings.timeouts.answer = Duration::from_millis(100);
    let client = Client::new(settings);
    let server = Server::clear(|_, _| Reply::Stall(Vec::new()));
    assert!(matches!(get(&client, &server, &bytes, &digest).await, Err(RegistryError::TimedOut { .. })));
    assert_eq!(server.asked().len(), 2);
    let server = Server::clear(|_, _| Reply::Stall(head("200 OK", &[], 10)));
    assert!(matches!(get(&client, &server, &bytes, &digest).await, Err(RegistryError::TimedOut { .. })));
    let server = Server::clear(|_, _| Reply::Send(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()));
    assert!(matches!(get(&client, &server, &bytes, &digest).await, Err(RegistryError::Protocol { .. })));
    // A head without end, and one with too many fields.
    let long = "x".repeat(300_000);
    for headers in [vec![("X", long.as_str())], vec![("X", "y"); 1000]] {
        let reply = answer("200 OK", &headers, b"");
        let server = Server::clear(move |_, _| Reply::Send(reply.clone()));
        let error = get(&client, &server, &bytes, &digest).await.unwrap_err();
        assert!(matches!(error, RegistryError::Protocol { .. }), "{error}");
        assert_eq!(server.asked().len(), 1);
    }
    let nobody = format!("{}/a", nobody()).parse().unwrap();
    assert!(matches!(client.document(&nobody).await, Err(RegistryError::Connect { .. })));
    let unknown = "registry.example.com/a".parse().unwrap();
    let error = client.document(&unknown).await.unwrap_err();
    assert_eq!(error.to_string(), "There is no host 'registry.example.com'");
}

#[tokio::test]
async fn several_blobs_come_at_once_but_not_all() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let blobs: Vec<(Vec<u8>, Digest)> = (1..=9).map(|n| contents(n * 1000)).collect();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (served, counted, highest) = (blobs.clone(), now.clone(), most.clone());
    let server = Server::clear(move |asked, _| {
        highest.fetch_max(counted.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        counted.fetch_sub(1, SeqCst);
        let (bytes, _) = served.iter().find(|(_, digest)| asked.path.ends_with(&digest.to_string())).unwrap();
        blob(asked, bytes)
    });
    let mut settings = settings();
    settings.parallel = 3;
    let client = Client::new(settings);
    let mut wanted: Vec<Download<Cursor<Vec<u8>>>> = Vec::new();
    for (bytes, digest) in &blobs {
        let descriptor = Descriptor::new(media::OCI_LAYER, digest.clone(), bytes.len() as u64);
        wanted.push(Download::new(&descriptor, Cursor::default()));
    }
    let seen = Mutex::new([0; 9]);
    client.blobs(&server.reference(), &mut wanted, &|index| seen.lock().unwrap()[index] += 1).await.unwrap();
    for (wanted, (bytes, _)) in wanted.into_iter().zip(&blobs) {
        assert_eq!(wanted.into_inner().into_inner(), *bytes);
    }
    assert_eq!(seen.into_inner().unwrap(), [1; 9]);
    assert_eq!(most.load(SeqCst), 3);
    let connections = server.asked().iter().map(|asked| asked.connection).max().unwrap();
    assert!(connections <= 4, "connections are used again: {connections}");

    let missing = Descriptor::new(media::OCI_LAYER, Digest::of(b"none"), 4);
    let failing = Server::clear(|_, _| status("404 Not Found"));
    let mut wanted = [Download::new(&missing, Cursor::new(Vec::new()))];
    let (index, error) = client.blobs(&failing.reference(), &mut wanted, &|_| panic!()).await.unwrap_err();
    assert!(index == 0 && matches!(error, RegistryError::NotFound { .. }));
}

/// A client that logs in to a server.
fn with_credentials(server: &Server, credentials: Credentials) -> Client {
    let mut settings = settings();
    settings.registries.insert(server.host(), Registry { credentials, ..Registry::default() });
    Client::new(settings)
}

fn basic() -> Credentials {
    Credentials::Basic { user: "user".into(), password: Secret::new("pass:word".into()) }
}

/// A disk that is full after so many bytes, until there is room.
struct Full {
    file: Cursor<Vec<u8>>,
    room: std::rc::Rc<std::cell::Cell<usize>>,
}

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = self.room.get().min(bytes.len());
        if room == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.room.set(self.room.get() - room);
        std::io::Write::write(&mut self.file, &bytes[..room])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::io::Seek for Full {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        std::io::Seek::seek(&mut self.file, to)
    }
}

#[tokio::test]
async fn a_download_goes_on_after_the_disk_was_full() {
    let (bytes, digest) = contents(50_000);
    let served = bytes.clone();
    let server = Server::clear(move |asked, _| blob(asked, &served));
    let room = std::rc::Rc::new(std::cell::Cell::new(777));
    let full = Full { file: Cursor::new(Vec::new()), room: room.clone() };
    let descriptor = Descriptor::new(media::OCI_LAYER, digest, bytes.len() as u64);
    let mut download = Download::new(&descriptor, full);
    let error = client().blob(&server.reference(), &mut download, &|_| {}).await.unwrap_err();
    assert!(matches!(error, RegistryError::Write(_)), "{error}");
    room.set(usize::MAX);
    client().blob(&server.reference(), &mut download, &|_| {}).await.unwrap();
    assert_eq!(download.into_inner().file.into_inner(), bytes);
}

#[path = "login_tests.rs"]
mod login;
#[path = "push_tests.rs"]
mod push;
