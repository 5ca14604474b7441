//! A server that does what a test says, on a loopback address, in clear or with TLS.

use super::{Client, Resolver, Retries, Settings, Timeouts};
use crate::{Digest, Reference};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// Which connection it came by.
    pub connection: usize,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Where a `Range` begins.
    pub fn from(&self) -> usize {
        self.header("range").trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0)
    }
}

/// What the server does.
pub enum Reply {
    /// Sends this, and waits for the next request.
    Send(Vec<u8>),
    /// Sends this, and closes.
    Close(Vec<u8>),
    /// Sends this, and nothing more until the client goes.
    Stall(Vec<u8>),
    /// Sends this, and then one byte of the rest after the other, each after a while.
    Drip(Vec<u8>, Vec<u8>),
}

/// An answer with a length.
pub fn answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = head(status, headers, body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// The head of one, whose body may be another than it says.
pub fn head(status: &str, headers: &[(&str, &str)], length: usize) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    (text + "\r\n").into_bytes()
}

pub fn ok(body: &[u8]) -> Reply {
    Reply::Send(answer("200 OK", &[], body))
}

pub fn status(status: &str) -> Reply {
    Reply::Send(answer(status, &[], b""))
}

/// Sends an answer that has something to say besides.
pub fn with(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    Reply::Send(answer(status, headers, body))
}

/// What a good registry does with a request for a blob, from where it is asked.
pub fn blob(asked: &Asked, bytes: &[u8]) -> Reply {
    match asked.from() {
        0 => ok(bytes),
        from => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            with("206 Partial Content", &[("Content-Range", &range)], &bytes[from..])
        }
    }
}

/// A server, until the process ends.
pub struct Server {
    pub address: SocketAddr,
    /// The certificate of its authority.
    pub authority: Vec<u8>,
    log: Arc<Mutex<Vec<Asked>>>,
}

type Act = Arc<dyn Fn(&Asked, usize) -> Reply + Send + Sync>;

impl Server {
    /// One in clear. The function is given each request, and how many there were before.
    pub fn clear(act: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Arc::new(act), None, Vec::new())
    }

    /// One with a certificate for these names.
    pub fn tls(names: &[&str], act: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        let (config, authority) = certified(names);
        Self::start(Arc::new(act), Some(Arc::new(config)), authority)
    }

    /// One with this certificate.
    pub fn with(config: Arc<ServerConfig>, act: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(Arc::new(act), Some(config), Vec::new())
    }

    fn start(act: Act, tls: Option<Arc<ServerConfig>>, authority: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let shared = log.clone();
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (act, tls, log) = (act.clone(), tls.clone(), shared.clone());
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    match tls {
                        Some(config) => {
                            let tls = ServerConnection::new(config).unwrap();
                            let _ = serve(StreamOwned::new(tls, stream), &act, &log, connection);
                        }
                        None => drop(serve(stream, &act, &log, connection)),
                    }
                });
            }
        });
        Self { address, authority, log }
    }

    /// The server's `HOST:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn reference(&self) -> Reference {
        format!("{}/a/b:tag", self.address).parse().unwrap()
    }

    /// Every request until now.
    pub fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }
}

/// What a server with a certificate for these names needs, and the certificate, which vouches for itself.
pub fn certified(names: &[&str]) -> (ServerConfig, Vec<u8>) {
    certified_as(names, |_| {})
}

/// The same, with something else about the certificate.
pub fn certified_as(names: &[&str], change: impl FnOnce(&mut rcgen::CertificateParams)) -> (ServerConfig, Vec<u8>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate: CertificateDer<'static> = params.self_signed(&key).unwrap().der().clone();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    (config, certificate.to_vec())
}

fn serve<S: Read + Write>(stream: S, act: &Act, log: &Mutex<Vec<Asked>>, connection: usize) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream, connection)? {
        let before = {
            let mut log = log.lock().unwrap();
            log.push(asked.clone());
            log.len() - 1
        };
        let reply = act(&asked, before);
        let (Reply::Send(bytes) | Reply::Close(bytes) | Reply::Stall(bytes) | Reply::Drip(bytes, _)) = &reply;
        stream.get_mut().write_all(bytes)?;
        stream.get_mut().flush()?;
        match reply {
            Reply::Send(_) => {}
            Reply::Close(_) => return Ok(()),
            Reply::Drip(_, rest) => {
                for byte in rest {
                    thread::sleep(Duration::from_millis(20));
                    stream.get_mut().write_all(&[byte])?;
                    stream.get_mut().flush()?;
                }
            }
            Reply::Stall(_) => return io::copy(&mut stream, &mut io::sink()).map(drop),
        }
    }
    Ok(())
}

/// A request, if it is one.
fn read(stream: &mut impl BufRead, connection: usize) -> io::Result<Option<Asked>> {
    // A client that speaks TLS first is hung up on.
    if stream.fill_buf()?.first().is_none_or(|byte| !byte.is_ascii_uppercase()) {
        return Ok(None);
    }
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(Asked { method, path, headers, body, connection }))
}

/// Settings that wait for nothing long.
pub fn settings() -> Settings {
    let mut settings = Settings::new(Resolver::fixed(BTreeMap::new()));
    settings.retries =
        Retries { pause: Duration::from_millis(1), longest: Duration::from_millis(2), ..Retries::default() };
    settings.timeouts = Timeouts { stall: Duration::from_millis(300), ..Timeouts::default() };
    settings
}

pub fn client() -> Client {
    Client::new(settings())
}

/// Bytes that look like nothing, and their digest.
pub fn contents(length: usize) -> (Vec<u8>, Digest) {
    let bytes: Vec<u8> = (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let digest = Digest::of(&bytes);
    (bytes, digest)
}

/// A port at which nobody listens.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
