use super::*;
use std::collections::BTreeMap;

/// What a registry keeps of uploads.
#[derive(Default)]
struct Store {
    blobs: BTreeMap<String, Vec<u8>>,
    upload: Vec<u8>,
}

/// A registry that takes blobs, and fails as `fault` says before it does what it is asked for.
fn registry(store: &Arc<Mutex<Store>>, fault: fn(&Asked, usize, &mut Store) -> Option<Reply>) -> Server {
    let store = store.clone();
    Server::clear(move |asked, before| {
        let mut store = store.lock().unwrap();
        if let Some(reply) = fault(asked, before, &mut store) {
            return reply;
        }
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let location = [("Location", "/v2/a/b/blobs/uploads/1?state=x")];
        match (asked.method.as_str(), path) {
            ("POST", "/v2/a/b/blobs/uploads/") => {
                store.upload.clear();
                with("202 Accepted", &location, b"")
            }
            ("PATCH", _) => {
                let begin: usize = asked.header("content-range").split('-').next().unwrap().parse().unwrap();
                assert_eq!(store.upload.len(), begin, "no hole, nothing twice");
                store.upload.extend_from_slice(&asked.body);
                with("202 Accepted", &location, b"")
            }
            ("GET", "/v2/a/b/blobs/uploads/1") => {
                let range = format!("0-{}", store.upload.len().saturating_sub(1));
                with("204 No Content", &[location[0], ("Range", &range)], b"")
            }
            ("PUT", "/v2/a/b/blobs/uploads/1") => {
                let digest = query.strip_prefix("state=x&digest=").unwrap().replace("%3A", ":");
                let bytes = [std::mem::take(&mut store.upload), asked.body.clone()].concat();
                assert_eq!(Digest::of(&bytes).to_string(), digest);
                store.blobs.insert(digest, bytes);
                status("201 Created")
            }
            _ => status("404 Not Found"),
        }
    })
}

async fn push(client: &Client, server: &Server, bytes: &[u8]) -> Result<Vec<u64>, RegistryError> {
    let descriptor = Descriptor::of(media::OCI_LAYER, bytes);
    let seen = Mutex::new(Vec::new());
    let progress = |done| seen.lock().unwrap().push(done);
    client.push_blob(&server.reference(), &descriptor, &mut Cursor::new(bytes), &progress).await?;
    Ok(seen.into_inner().unwrap())
}

#[tokio::test]
async fn a_blob_goes_whole() {
    let store = Arc::default();
    let server = registry(&store, |_, before, _| match before {
        0 => Some(status("503 x")),
        2 => Some(status("500 x")),
        4 => Some(Reply::Close(Vec::new())),
        _ => None,
    });
    let (bytes, digest) = contents(300_000);
    let seen = push(&client(), &server, &bytes).await.unwrap();
    assert_eq!(seen.last(), Some(&300_000));
    assert_eq!(store.lock().unwrap().blobs[&digest.to_string()], bytes);
    let methods: Vec<String> = server.asked().iter().map(|asked| asked.method.clone()).collect();
    assert_eq!(methods, ["POST", "POST", "PUT", "POST", "PUT", "POST", "PUT"]);
    assert_eq!(server.asked()[6].header("content-length"), "300000");
    push(&client(), &server, b"").await.unwrap();
    let error = push(&client(), &Server::clear(|_, _| status("403 Forbidden")), &bytes).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }));
}

#[tokio::test]
async fn no_blob_goes_where_a_registry_must_not_lead() {
    let server = Server::clear(|_, _| with("202 Accepted", &[("Location", "http://169.254.169.254/upload")], b""));
    let (bytes, _) = contents(300_000);
    let mut in_parts = testing::settings();
    in_parts.chunk = Some(100_000);
    for client in [client(), Client::new(in_parts)] {
        let error = push(&client, &server, &bytes).await.unwrap_err();
        assert!(error.to_string().contains("leads to 169.254.169.254, an address of one link"), "{error}");
    }
}

#[tokio::test]
async fn a_blob_goes_in_parts_and_on_where_the_registry_is() {
    let store = Arc::default();
    // The second part gets only half of the way, the third is taken, but nobody is told so.
    let server = registry(&store, |asked, before, store| match (asked.method.as_str(), before) {
        ("PATCH", 2) => {
            store.upload.extend_from_slice(&asked.body[..500]);
            Some(Reply::Close(Vec::new()))
        }
        ("PATCH", 5) => {
            store.upload.extend_from_slice(&asked.body);
            Some(status("502 x"))
        }
        _ => None,
    });
    let mut settings = settings();
    settings.chunk = Some(1000);
    let client = Client::new(settings);
    let (bytes, digest) = contents(3700);
    let seen = push(&client, &server, &bytes).await.unwrap();
    assert_eq!(seen, [1000, 1500, 2500, 3500, 3700]);
    assert_eq!(store.lock().unwrap().blobs[&digest.to_string()], bytes);
    let ranges: Vec<String> = server
        .asked()
        .iter()
        .map(|asked| asked.header("content-range").to_owned())
        .filter(|range| !range.is_empty())
        .collect();
    assert_eq!(ranges, ["0-999", "1000-1999", "1500-2499", "2500-3499", "3500-3699"]);
    // A small one is not cut.
    push(&client, &server, b"small").await.unwrap();
    assert_eq!(server.asked().last().unwrap().body, b"small");
}

#[tokio::test]
async fn what_has_changed_is_not_pushed() {
    let store = Arc::default();
    let server = registry(&store, |_, _, _| None);
    let (bytes, digest) = contents(5000);
    for (source, size) in [(&bytes[..4999], 5000), (&bytes[1..], 4999)] {
        let descriptor = Descriptor::new(media::OCI_LAYER, digest.clone(), size);
        let pushed = client().push_blob(&server.reference(), &descriptor, &mut Cursor::new(source), &|_| {}).await;
        assert!(matches!(pushed, Err(RegistryError::Changed(_))));
    }
    assert!(store.lock().unwrap().blobs.is_empty());
}

#[tokio::test]
async fn what_a_registry_has_is_not_sent() {
    let server = Server::clear(|asked, _| {
        let has = asked.path.ends_with(&Digest::of(b"there").to_string());
        match asked.method.as_str() {
            "HEAD" if has => with("200 OK", &[], b""),
            "POST" if asked.path.ends_with("from=a%2Fc") => status("201 Created"),
            "POST" => with("202 Accepted", &[("Location", "/v2/a/b/blobs/uploads/1")], b""),
            "DELETE" => status("204 No Content"),
            _ => with("404 Not Found", &[], b""),
        }
    });
    let (client, reference) = (client(), server.reference());
    assert!(client.has_blob(&reference, &Digest::of(b"there")).await.unwrap());
    assert!(!client.has_blob(&reference, &Digest::of(b"not")).await.unwrap());
    assert!(client.mount(&reference, &Digest::of(b"x"), "a/c").await.unwrap());
    assert!(!client.mount(&reference, &Digest::of(b"x"), "a/d").await.unwrap());
    let last = server.asked().pop().unwrap();
    assert_eq!((last.method.as_str(), last.path.as_str()), ("DELETE", "/v2/a/b/blobs/uploads/1"));
    // Nobody else is asked to remove anything.
    let other = Server::clear(|_, _| status("204 No Content"));
    let location = format!("http://{}/upload", other.host());
    let server = Server::clear(move |_, _| with("202 Accepted", &[("Location", &location)], b""));
    assert!(!client.mount(&server.reference(), &Digest::of(b"x"), "a/d").await.unwrap());
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn a_manifest_is_filed_under_its_tag() {
    let server = Server::clear(|asked, before| {
        let digest = if before == 2 { Digest::of(b"other") } else { Digest::of(&asked.body) }.to_string();
        if before == 0 { status("500 x") } else { with("201 Created", &[("Docker-Content-Digest", &digest)], b"") }
    });
    let (bytes, digest) = manifest();
    let reference = server.reference();
    assert_eq!(client().push_manifest(&reference, media::OCI_MANIFEST, &bytes).await.unwrap(), digest);
    let asked = server.asked().pop().unwrap();
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("PUT", "/v2/a/b/manifests/tag"));
    assert_eq!((asked.header("content-type"), &asked.body), (media::OCI_MANIFEST, &bytes));
    let pushed = client().push_manifest(&reference, media::OCI_MANIFEST, &bytes).await;
    assert!(matches!(pushed, Err(RegistryError::Digest { .. })));
    let untagged: Reference = format!("{}/a/b@{digest}", server.host()).parse().unwrap();
    client().push_manifest(&untagged, media::OCI_MANIFEST, &bytes).await.unwrap();
    assert_eq!(server.asked().pop().unwrap().path, format!("/v2/a/b/manifests/{digest}"));
}

#[tokio::test]
async fn tags_come_page_by_page() {
    let server = Server::clear(|asked, _| match asked.path.as_str() {
        "/v2/a/b/tags/list?n=1000" => {
            let next = [("Link", "</v2/a/b/tags/list?last=b>; rel=\"next\"")];
            with("200 OK", &next, br#"{"name":"a/b","tags":["a","b","not a tag"]}"#)
        }
        "/v2/a/b/tags/list?last=b" => ok(br#"{"name":"a/b","tags":["c"]}"#),
        "/v2/none/tags/list?n=1000" => ok(br#"{"name":"none","tags":null}"#),
        "/v2/away/tags/list?n=1000" => {
            with("200 OK", &[("Link", "<http://other.example.com/>; rel=next")], br#"{"tags":[]}"#)
        }
        "/v2/html/tags/list?n=1000" => ok(b"<html>"),
        path => with("200 OK", &[("Link", &format!("<{path}x>; rel=\"next\""))], br#"{"tags":[]}"#),
    });
    let tags = async |repository: &str| {
        let reference: Reference = format!("{}/{repository}", server.host()).parse().unwrap();
        client().tags(&reference).await.map_err(|error| error.to_string())
    };
    assert_eq!(tags("a/b").await.unwrap(), ["a", "b", "c"]);
    assert!(tags("none").await.unwrap().is_empty());
    for (repository, words) in [
        ("away", "its list of tags goes on elsewhere"),
        ("html", "it sends no list of tags"),
        ("endless", "its list of tags does not end"),
    ] {
        let error = tags(repository).await.unwrap_err();
        assert!(error.ends_with(words), "{error}");
    }
}

#[tokio::test]
async fn a_tag_is_asked_for_its_digest_alone() {
    let digest = Digest::of(b"x");
    let server = Server::clear(move |asked, _| match asked.path.ends_with("/tag") {
        true => with("200 OK", &[("Docker-Content-Digest", &Digest::of(b"x").to_string())], b""),
        false => status("404 Not Found"),
    });
    assert_eq!(client().digest(&server.reference()).await.unwrap(), Some(digest));
    assert_eq!(server.asked()[0].method, "HEAD");
    assert_eq!(client().digest(&server.reference().tagged("none").unwrap()).await.unwrap(), None);
}
