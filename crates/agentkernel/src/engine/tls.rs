//! Hides TLS with an engine: both sides prove who they are, by files that are called as Docker calls them.

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject as _},
};
use std::{error::Error, fs, io, path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Who vouches for the engine, if it is not whom this machine trusts; and who we are.
const CA: &str = "ca.pem";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// How TLS is spoken with the files of a directory. They are read anew for each connection: they are renewed now and then.
///
/// # Errors
/// What is wrong with them.
pub(super) fn config(dir: &Path) -> Result<ClientConfig, String> {
    let place = |name: &str| dir.join(name).display().to_string();
    let read = |name: &str| match fs::read(dir.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", place(name))),
    };
    let certificates = |name: &str, pem: &[u8]| {
        let found = egress::tls::certificates(pem);
        if found.is_empty() { Err(format!("{} has no certificate in it", place(name))) } else { Ok(found) }
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(match read(CA)? {
        Some(pem) => certificates(CA, &pem)?,
        None => egress::tls::system_roots(),
    });
    if added == 0 {
        return Err(format!("nobody is trusted to vouch for it: there is no {}", place(CA)));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    match (read(CERTIFICATE)?, read(KEY)?) {
        (Some(own), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| format!("{}: {error}", place(KEY)))?;
            let config = builder.with_client_auth_cert(certificates(CERTIFICATE, &own)?, key);
            config.map_err(|error| format!("{}: {error}", place(KEY)))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(_), None) => Err(format!("there is {}, and no {KEY} beside it", place(CERTIFICATE))),
        (None, Some(_)) => Err(format!("there is {}, and no {CERTIFICATE} beside it", place(KEY))),
    }
}

/// Speaks it with `HOST:PORT`, which must prove to be that.
///
/// # Errors
/// Why it could not.
pub(super) async fn speak(config: ClientConfig, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let spoken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    spoken.map_err(|error| match inner(&error) {
        // Somebody else's authority may be called alike.
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            format!("nobody vouches for its certificate whom {CA} trusts")
        }
        Some(rustls::Error::InvalidCertificate(why)) => format!("its certificate is not accepted: {why}"),
        Some(rustls::Error::InvalidMessage(_)) => "no TLS is spoken there".to_owned(),
        Some(rustls::Error::AlertReceived(alert)) => refused(*alert),
        _ => error.to_string(),
    })
}

/// Why it has ended a connection, if it has said so: it looks at our certificate after we are done with its own.
pub(super) fn alert(error: &hyper::Error) -> Option<String> {
    match inner(error.source()?.downcast_ref::<io::Error>()?)? {
        rustls::Error::AlertReceived(alert) => Some(refused(*alert)),
        _ => None,
    }
}

fn inner(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn refused(alert: rustls::AlertDescription) -> String {
    format!("it does not accept who we are by {CERTIFICATE} and {KEY}, or without them ({alert:?})")
}
