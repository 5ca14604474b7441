use super::*;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

fn client(key: &AuthorityKey) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(key.certificate.as_bytes()).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A handshake: which protocol the client then speaks, and the server's certificates.
async fn shake(
    client: Arc<ClientConfig>,
    name: &str,
    server: Arc<ServerConfig>,
) -> std::io::Result<(Option<Vec<u8>>, Vec<CertificateDer<'static>>)> {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let connector = TlsConnector::from(client);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let (near, far) = tokio::join!(connector.connect(name, near), TlsAcceptor::from(server).accept(far));
    let near = near?;
    far?;
    let connection = near.get_ref().1;
    let chain = connection.peer_certificates().unwrap().iter().map(|one| one.clone().into_owned()).collect();
    Ok((connection.alpn_protocol().map(<[u8]>::to_vec), chain))
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_takes_us_for_the_host() {
    let key = Authority::generate().unwrap();
    let authority = Authority::load(&key).unwrap();
    let mut client = client(&key);
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client = Arc::new(client);
    let long = format!("{}.example.org", "a".repeat(63));
    for name in ["example.org", "under_score.example.org", "192.0.2.1", "2001:db8::1", &long] {
        let server = authority.server(&host(name), Some(b"http/1.1")).unwrap();
        let (protocol, chain) = shake(client.clone(), name, server).await.unwrap();
        assert_eq!(protocol.unwrap(), b"http/1.1", "{name}");
        assert_eq!(chain.len(), 2);
    }
}

#[tokio::test]
async fn nobody_takes_us_for_another_host_or_by_another_authority() {
    let key = Authority::generate().unwrap();
    let authority = Authority::load(&key).unwrap();
    let server = authority.server(&host("example.org"), None).unwrap();
    shake(Arc::new(client(&key)), "other.example.org", server.clone()).await.unwrap_err();
    let other = Authority::generate().unwrap();
    shake(Arc::new(client(&other)), "example.org", server).await.unwrap_err();
}

#[tokio::test]
async fn certificates_have_what_strict_clients_want() {
    let key = Authority::generate().unwrap();
    let authority = Authority::load(&key).unwrap();
    let config = authority.server(&host("example.org"), None).unwrap();
    let (_, chain) = shake(Arc::new(client(&key)), "example.org", config).await.unwrap();
    let has = |der: &CertificateDer<'_>, bytes: &[u8]| der.windows(bytes.len()).any(|window| window == bytes);
    // Object identifiers of subjectKeyIdentifier and authorityKeyIdentifier.
    assert!(has(&chain[0], &[0x55, 0x1d, 0x0e]) && has(&chain[0], &[0x55, 0x1d, 0x23]));
    assert!(has(&chain[1], &[0x55, 0x1d, 0x0e]));
    // basicConstraints, critical, CA:TRUE with pathlen 0; keyUsage, critical, keyCertSign alone.
    assert!(has(&chain[1], &[0x55, 0x1d, 0x13, 1, 1, 0xff, 4, 8, 0x30, 6, 1, 1, 0xff, 2, 1, 0]));
    assert!(has(&chain[1], &[0x55, 0x1d, 0x0f, 1, 1, 0xff, 4, 4, 3, 2, 2, 4]));
}

#[test]
fn a_certificate_is_made_once_and_few_are_kept() {
    let authority = Authority::load(&Authority::generate().unwrap()).unwrap();
    let one = authority.server(&host("a.org"), Some(b"h2")).unwrap();
    assert!(Arc::ptr_eq(&one, &authority.server(&host("A.org."), Some(b"h2")).unwrap()));
    assert!(!Arc::ptr_eq(&one, &authority.server(&host("a.org"), None).unwrap()));
    for number in 0..KEPT {
        authority.server(&host(&format!("{number}.org")), None).unwrap();
        authority.server(&host("a.org"), Some(b"h2")).unwrap();
    }
    assert_eq!(authority.made.borrow().len(), KEPT);
    assert!(Arc::ptr_eq(&one, &authority.server(&host("a.org"), Some(b"h2")).unwrap()));
}

#[test]
fn an_old_certificate_is_made_anew() {
    let authority = Authority::load(&Authority::generate().unwrap()).unwrap();
    let old = authority.server(&host("a.org"), None).unwrap();
    authority.made.borrow_mut()[0].at -= RENEW;
    let new = authority.server(&host("a.org"), None).unwrap();
    assert!(!Arc::ptr_eq(&old, &new));
    authority.made.borrow_mut()[0].at += Duration::HOUR;
    assert!(!Arc::ptr_eq(&new, &authority.server(&host("a.org"), None).unwrap()));
    assert_eq!(authority.made.borrow().len(), 1);
}

#[test]
fn two_certificates_never_have_the_same_number() {
    let authority = Authority::load(&Authority::generate().unwrap()).unwrap();
    let now = OffsetDateTime::now_utc();
    let leaf = |name| authority.leaf(&host(name), now).unwrap();
    // Version, and then the number: 16 bytes from the 15th or 16th on, whatever the lengths before are.
    let number = |der: CertificateDer<'_>| {
        der.windows(5).position(|at| at == [2, 1, 2, 2, 16]).map(|at| der[at + 5..at + 21].to_vec())
    };
    assert_ne!(number(leaf("a.org")).unwrap(), number(leaf("a.org")).unwrap());
}

#[test]
fn what_is_no_key_is_refused() {
    let good = Authority::generate().unwrap();
    let none = AuthorityKey { certificate: "nothing".to_owned(), key: good.key.clone() };
    assert!(matches!(Authority::load(&none), Err(AuthorityError::Certificate(_))));
    let none = AuthorityKey { certificate: good.certificate.clone(), key: Secret::new(b"nothing".to_vec()) };
    assert!(matches!(Authority::load(&none), Err(AuthorityError::Make(_))));
}

#[test]
fn no_key_is_printed() {
    let authority = Authority::load(&Authority::generate().unwrap()).unwrap();
    assert_eq!(format!("{authority:?}"), "Authority { made: 0, .. }");
}
