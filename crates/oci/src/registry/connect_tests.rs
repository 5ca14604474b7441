use super::{
    super::{Client, RegistryError, testing},
    *,
};
use http_body_util::Full;
use hyper::{server::conn::http2 as server, service::service_fn};
use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};
use tokio_rustls::TlsAcceptor;

/// A registry that speaks HTTP/2 and has some tags. On its first connection it is silent from the second request on.
async fn silent() -> (SocketAddr, Vec<u8>, Arc<AtomicUsize>) {
    let (mut config, authority) = testing::certified(&["127.0.0.1"]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let first = count.fetch_add(1, SeqCst) == 0;
            let requests = Arc::new(AtomicUsize::new(0));
            let service = service_fn(move |_| {
                let silent = requests.fetch_add(1, SeqCst) > 0 && first;
                async move {
                    if silent {
                        std::future::pending::<()>().await;
                    }
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(br#"{"tags":["a"]}"#))))
                }
            });
            let connection = server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    (address, authority, connections)
}

#[tokio::test]
async fn a_connection_that_is_silent_is_not_used_again() {
    let (address, authority, connections) = silent().await;
    let reference = format!("{address}/a").parse().unwrap();
    let mut settings = testing::settings();
    settings.roots = vec![authority];
    settings.timeouts.answer = Duration::from_millis(200);
    settings.retries.count = 0;
    let client = Client::new(settings);
    assert_eq!(client.tags(&reference).await.unwrap(), ["a"]);
    assert_eq!(connections.load(SeqCst), 1, "one is enough for the question whether TLS is spoken, and for more");
    assert!(matches!(client.tags(&reference).await, Err(RegistryError::TimedOut { .. })));
    for _ in 0..3 {
        assert_eq!(client.tags(&reference).await.unwrap(), ["a"]);
    }
    assert_eq!(connections.load(SeqCst), 2);
}

#[tokio::test]
async fn a_registry_leads_neither_to_one_link_nor_from_elsewhere_to_this_machine() {
    let hosts = [
        ("far.example", "203.0.113.1"),
        ("here.example", "127.0.0.1"),
        ("metadata.example", "169.254.169.254"),
        ("six.example", "fe80::1"),
    ];
    let hosts = hosts.map(|(host, address)| (host.to_owned(), vec![address.parse().unwrap()]));
    let mut settings = testing::settings();
    settings.resolver = crate::registry::Resolver::fixed(hosts.into());
    let pool = Pool::new(Arc::new(settings));
    for (from, to, refused) in [
        ("far.example", "storage.example", ""),
        ("far.example", "198.51.100.1", ""),
        ("far.example", "169.254.169.254", "an address of one link"),
        ("far.example", "[::ffff:169.254.169.254]", "an address of one link"),
        ("here.example", "metadata.example", "an address of one link"),
        ("127.0.0.1:5000", "[fe80::1]:80", "an address of one link"),
        ("localhost", "six.example", "an address of one link"),
        ("far.example", "localhost:8080", "this machine itself"),
        ("far.example", "here.example", "this machine itself"),
        ("far.example", "0.0.0.0", "this machine itself"),
        ("here.example", "127.0.0.2", ""),
        ("localhost:5000", "here.example", ""),
    ] {
        let (from, to) = (Origin::new(true, from).unwrap(), Origin::new(false, to).unwrap());
        pool.reached(&from, &pool.look_up(&from).await.unwrap()[0]);
        let said = pool.may_lead(&from, &to).await.map_or_else(|error| error.to_string(), |()| String::new());
        let expected = match refused {
            "" => String::new(),
            what => format!("'{}' leads to {}, {what}, which is not followed", from.authority(), to.authority()),
        };
        assert_eq!(said, expected);
    }
}

/// A name that means something else a moment later leads nowhere else, and makes nobody local.
#[tokio::test]
async fn what_is_connected_to_are_the_addresses_that_were_looked_at() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let mut settings = testing::settings();
    settings.resolver = crate::registry::Resolver::new(move |_| {
        let address = if asked.fetch_add(1, SeqCst) == 0 { "127.0.0.2" } else { "127.0.0.1" };
        Box::pin(std::future::ready(Ok(vec![address.parse().unwrap()])))
    });
    let pool = Pool::new(Arc::new(settings));
    let (here, moving) = (Origin::new(false, "127.0.0.1:1").unwrap(), format!("moving.example:{port}"));
    let moving = Origin::new(false, &moving).unwrap();
    pool.reached(&here, &"127.0.0.1".parse().unwrap());
    pool.may_lead(&here, &moving).await.unwrap();
    assert!(matches!(pool.dial(&moving).await, Err(RegistryError::Connect { .. })));
    // Who was reached elsewhere is not here, whatever his name means by now.
    pool.reached(&moving, &"203.0.113.1".parse().unwrap());
    assert!(matches!(pool.may_lead(&moving, &here).await, Err(RegistryError::Redirect { .. })));
}
