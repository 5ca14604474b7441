//! Hides TLS on both sides of a connection whose requests are read: the server is verified as its client would, and the
//! client is answered by the sandbox's own authority.

use crate::{
    Authority, Denial, Host, Reason, Target,
    http::{Passage, Stream},
    inside, opening,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer, ServerName,
        pem::{self, PemObject},
    },
    server::Acceptor,
};
use std::{fmt, io, sync::Arc, time::Duration};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, client::TlsStream};

/// How long each side has for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// The protocols (ALPN) that can be read.
const READ: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// How others begin that are requests too, and are agreed on nowhere: they can't be read.
const UNREAD: [&[u8]; 4] = [b"h2", b"h3", b"http/", b"spdy/"];
/// The records with which a handshake ends: something is wrong with a certificate (not the client's own), or with
/// something else (RFC 8446, 6).
const CERTIFICATE_UNKNOWN: [u8; 7] = [21, 3, 3, 0, 2, 2, 46];
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// The certificates of those whom this machine trusts, by its own files.
#[must_use]
pub fn system_roots() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// The certificates in PEM; what is none is left out.
#[must_use]
pub fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).flatten().collect()
}

/// Whom we trust to vouch for servers.
#[derive(Clone)]
pub struct Roots {
    config: ClientConfig,
    count: usize,
}

impl Roots {
    /// What this machine trusts, by its own files: a supervisor has no environment any more that could name others. What
    /// is no certificate is left out; there may be none, and no server is trusted then.
    ///
    /// # Errors
    /// [`rustls::Error`] if TLS cannot be spoken at all.
    pub fn load() -> Result<Self, rustls::Error> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(system_roots());
        Self::new(store)
    }

    /// These certificates alone, in PEM.
    ///
    /// # Errors
    /// [`io::Error`] if they are none.
    pub fn only(pem: &[u8]) -> io::Result<Self> {
        let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates.map_err(io::Error::other)?);
        Self::new(store).map_err(io::Error::other)
    }

    fn new(store: RootCertStore) -> Result<Self, rustls::Error> {
        let count = store.len();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self { config, count })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn connector(&self, protocols: Vec<Vec<u8>>) -> TlsConnector {
        let mut config = self.config.clone();
        config.alpn_protocols = protocols;
        TlsConnector::from(Arc::new(config))
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("count", &self.count).finish_non_exhaustive()
    }
}

/// Carries what is said inside of TLS from a client to a server until one of them ends: requests, which are read, or, where
/// any protocol may be spoken, something else. Dropping it ends both.
///
/// The client's hello must be for the target: whoever has read it knows. The server's handshake comes first, so that a
/// client that gets a connection knows that there is a server, and which protocol it has chosen. It must run in a
/// [`tokio::task::LocalSet`].
///
/// # Errors
/// Why the whole connection failed. Requests that were refused have been reported, and answered.
pub async fn intercept(
    client: impl Stream,
    server: impl Stream,
    authority: &Authority,
    roots: &Roots,
    passage: Passage,
) -> Result<(), Denial> {
    let denial = |reason, detail: String| Denial::new(reason, &passage.target).because(detail);
    let timed_out = |_| denial(Reason::TimedOut, "in the handshake of TLS".to_owned());
    let hello = LazyConfigAcceptor::new(Acceptor::default(), client);
    let hello = tokio::time::timeout(HANDSHAKE, hello).await.map_err(timed_out)?;
    let mut hello = hello.map_err(|error| denial(Reason::BadTls, error.to_string()))?;
    let any = !opening::is_web(&passage.grant);
    let protocols = hello.client_hello().alpn().into_iter().flatten();
    let protocols = protocols.filter(|protocol| may_agree(protocol, any)).map(<[u8]>::to_vec).collect();
    let server = match connect(roots, &passage.target, protocols, server).await {
        Ok(server) => server,
        Err(denial) => {
            let certificate = denial.reason == Reason::BadCertificate;
            alert(&mut hello.io, if certificate { CERTIFICATE_UNKNOWN } else { INTERNAL_ERROR }).await;
            return Err(denial);
        }
    };
    let protocol = server.get_ref().1.alpn_protocol();
    let config = authority.server(&passage.target.host, protocol);
    let config = config.map_err(|error| denial(Reason::BadTls, error.to_string()))?;
    let client = tokio::time::timeout(HANDSHAKE, hello.into_stream(config)).await.map_err(timed_out)?;
    let client = client.map_err(|error| {
        let reason = if distrusts(&error) { Reason::AuthorityUntrusted } else { Reason::BadTls };
        denial(reason, format!("it has ended the handshake: {error}"))
    })?;
    inside::carry(client, server, passage).await
}

/// Whether both sides may agree on a protocol.
fn may_agree(protocol: &[u8], any: bool) -> bool {
    READ.contains(&protocol) || (any && !UNREAD.iter().any(|begin| protocol.starts_with(begin)))
}

/// Speaks TLS with the server of a target, which must prove to be that.
///
/// # Errors
/// Why it could not.
pub(crate) async fn connect<S: Stream>(
    roots: &Roots,
    target: &Target,
    protocols: Vec<Vec<u8>>,
    server: S,
) -> Result<TlsStream<S>, Denial> {
    let denial = |reason, detail: String| Denial::new(reason, target).because(detail);
    let name = match &target.host {
        Host::Name(name) => {
            ServerName::try_from(name.to_string()).map_err(|error| denial(Reason::BadCertificate, error.to_string()))?
        }
        Host::Address(address) => ServerName::from(*address),
    };
    let connected = tokio::time::timeout(HANDSHAKE, roots.connector(protocols).connect(name, server)).await;
    let connected = connected.map_err(|_| denial(Reason::TimedOut, "in the handshake of TLS".to_owned()))?;
    connected.map_err(|error| failed(&error, &denial))
}

/// Why a server's handshake failed.
fn failed(error: &io::Error, denial: &impl Fn(Reason, String) -> Denial) -> Denial {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(error @ (rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)) => {
            denial(Reason::BadCertificate, error.to_string())
        }
        _ => denial(Reason::Unreachable, format!("TLS failed: {error}")),
    }
}

/// Whether a client has ended its handshake for the certificate that it was shown: it says so, or goes without a word.
fn distrusts(error: &io::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let known = error.get_ref().and_then(|inner| inner.downcast_ref());
    match known {
        Some(rustls::Error::AlertReceived(alert)) => matches!(
            alert,
            Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateUnknown
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                // By another authority of the same name, such as another sandbox's.
                | Alert::DecryptError
        ),
        Some(_) => false,
        None => matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        ),
    }
}

/// Ends a handshake that has only begun.
async fn alert(client: &mut (impl AsyncWrite + Unpin), record: [u8; 7]) {
    // Whoever is gone need not be told.
    let _ = client.write_all(&record).await;
    let _ = client.shutdown().await;
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
