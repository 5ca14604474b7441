//! A registry of Debian's on a loopback address, with TLS, passwords or tokens; an image; and skopeo.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use oci::{
    Credentials, Digest, Reference, Secret,
    manifest::{Descriptor, ImageConfig, Manifest, media},
    registry::{Client, Registry as Known, Resolver, Settings},
};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// Who may use a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Everybody.
    None,
    /// Whoever has the password.
    Password,
    /// Whoever has a token, which whoever has the password gets.
    Token,
}

pub const USER: &str = "someone";
pub const PASSWORD: &str = "open:sesame";

/// A registry that ends with this value.
pub struct Registry {
    child: Child,
    folder: TempDir,
    port: u16,
    tls: bool,
    login: Login,
}

/// A program of the system, with nothing of the test's environment.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Runs a program to its end and gives its output.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    assert!(output.status.success(), "{command:?}: {}", support::told(&output));
    output.stdout
}

/// Whether everything is there that these tests need; what is not is counted.
pub fn ready() -> bool {
    ["docker-registry", "skopeo", "openssl", "htpasswd"].into_iter().all(support::internet::installed)
}

impl Registry {
    pub fn start(tls: bool, login: Login) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, port) = (folder.path().to_owned(), support::free_port());
        let mut http = json!({"addr": format!("127.0.0.1:{port}"), "secret": "x"});
        if tls {
            certificates(&path);
            http["tls"] = json!({"certificate": path.join("server.pem"), "key": path.join("server.key")});
        }
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": path.join("data")}, "delete": {"enabled": true}},
            "http": http,
        });
        match login {
            Login::None => {}
            Login::Password => {
                let file = run(program("htpasswd").args(["-nbB", USER, PASSWORD]), b"");
                fs::write(path.join("htpasswd"), file).unwrap();
                config["auth"] = json!({"htpasswd": {"realm": "here", "path": path.join("htpasswd")}});
            }
            Login::Token => {
                let realm = serve_tokens(&path, tls);
                config["auth"] = json!({"token": {
                    "realm": realm, "service": "the registry", "issuer": "the test",
                    "rootcertbundle": path.join("issuer.pem"),
                }});
            }
        }
        // JSON is YAML.
        fs::write(path.join("config.yml"), config.to_string()).unwrap();
        let child = spawn(&path, port);
        Self { child, folder, port, tls, login }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.host()).parse().unwrap()
    }

    /// The certificate of who vouches for it, in PEM.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Where it keeps a blob.
    pub fn kept(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.folder.path().join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// Kills it and starts it again.
    pub fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.folder.path(), self.port);
    }

    /// The requests that it has seen, as lines of Apache's log.
    pub fn requests(&self) -> String {
        fs::read_to_string(self.folder.path().join("access")).unwrap()
    }

    /// What our client is told of it.
    pub fn settings(&self, credentials: Credentials) -> Settings {
        let mut settings = Settings::new(Resolver::fixed(BTreeMap::new()));
        let mut known = Known { credentials, ..Known::default() };
        if self.tls {
            known.authorities = vec![fs::read(self.folder.path().join("ca.der")).unwrap()];
        }
        settings.registries.insert(self.host(), known);
        settings.retries.pause = Duration::from_millis(50);
        settings
    }

    pub fn credentials(&self) -> Credentials {
        match self.login {
            Login::None => Credentials::None,
            _ => Credentials::Basic { user: USER.to_owned(), password: Secret::new(PASSWORD.to_owned()) },
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.settings(self.credentials()))
    }

    /// Lets skopeo copy between this registry and a layout.
    #[track_caller]
    pub fn skopeo(&self, from: &str, to: &str) {
        let mut command = program("skopeo");
        command.env("HOME", self.folder.path()).env("TMPDIR", self.folder.path());
        command.args(["--insecure-policy", "copy", "--all", "--quiet"]);
        let side = if to.starts_with("docker:") { "dest" } else { "src" };
        if self.tls {
            let folder = self.folder.path().join("trusted");
            fs::create_dir_all(&folder).unwrap();
            fs::copy(self.folder.path().join("ca.pem"), folder.join("ca.crt")).unwrap();
            command.arg(format!("--{side}-cert-dir={}", folder.display()));
        } else {
            command.arg(format!("--{side}-tls-verify=false"));
        }
        if self.login != Login::None {
            command.arg(format!("--{side}-creds={USER}:{PASSWORD}"));
        }
        run(command.args([from, to]), b"");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, port: u16) -> Child {
    let log = |name| fs::OpenOptions::new().create(true).append(true).open(folder.join(name)).unwrap();
    let mut command = program("docker-registry");
    command.arg("serve").arg(folder.join("config.yml")).current_dir(folder);
    let mut child = command.stdin(Stdio::null()).stdout(log("access")).stderr(log("errors")).spawn().unwrap();
    support::eventually("the registry answers", || {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "{}", fs::read_to_string(folder.join("errors")).unwrap());
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    child
}

/// Makes an authority and a certificate of it for the loopback address.
fn certificates(folder: &Path) {
    let openssl = |arguments: &[&str]| run(program("openssl").args(arguments).current_dir(folder), b"");
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=the authority of the test",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    ]);
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=registry",
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
    ]);
    fs::write(folder.join("server.ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "server.ext",
        "-out",
        "server.pem",
    ]);
    openssl(&["x509", "-in", "ca.pem", "-outform", "DER", "-out", "ca.der"]);
}

/// Gives tokens to whoever knows the password, until the test ends; with TLS as the registry has it. Gives its address.
fn serve_tokens(folder: &Path, tls: bool) -> String {
    run(
        program("openssl").current_dir(folder).args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=the test",
            "-keyout",
            "issuer.key",
            "-out",
            "issuer.pem",
        ]),
        b"",
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let folder = folder.to_owned();
    let config = tls.then(|| {
        let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
    });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (folder, config, stream) = (folder.clone(), config.clone(), stream.unwrap());
            thread::spawn(move || match config {
                Some(config) => {
                    let tls = ServerConnection::new(config).unwrap();
                    give_token(&mut BufReader::new(StreamOwned::new(tls, stream)), &folder);
                }
                None => give_token(&mut BufReader::new(stream), &folder),
            });
        }
    });
    format!("http{}://{address}/token", if tls { "s" } else { "" })
}

fn give_token<S: Read + Write>(stream: &mut BufReader<S>, folder: &Path) {
    let mut lines = stream.by_ref().lines();
    let Some(Ok(request)) = lines.next() else { return };
    let fields: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let basic = format!("authorization: basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let known = fields.iter().any(|field| field.to_lowercase() == basic.to_lowercase());
    let (status, body) = if known {
        let query = request.split(' ').nth(1).unwrap().split_once('?').unwrap().1.to_owned();
        let scopes = query.split('&').filter_map(|part| part.strip_prefix("scope=")).map(decoded);
        ("200 OK", json!({"token": token(folder, scopes.collect()), "expires_in": 300}))
    } else {
        ("401 Unauthorized", json!({"details": "incorrect username or password"}))
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let _ = stream.get_mut().write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
}

/// A part of a query as it is meant.
fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(decoded).unwrap()
}

/// A token as the registry's specification has it (RFC 7519, RS256).
fn token(folder: &Path, scopes: Vec<String>) -> String {
    let der = run(program("openssl").args(["x509", "-in", "issuer.pem", "-outform", "DER"]).current_dir(folder), b"");
    let access: Vec<serde_json::Value> = scopes
        .iter()
        .flat_map(|scope| scope.split(' '))
        .filter_map(|scope| scope.strip_prefix("repository:")?.rsplit_once(':'))
        .map(|(name, actions)| {
            let actions: Vec<&str> = actions.split(',').collect();
            json!({"type": "repository", "name": name, "actions": actions})
        })
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [STANDARD.encode(der)]});
    let claims = json!({
        "iss": "the test", "sub": USER, "aud": "the registry", "exp": now + 300, "nbf": now - 10, "iat": now,
        "jti": format!("{now}"), "access": access,
    });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let sign = ["dgst", "-sha256", "-sign", "issuer.key"];
    let signature = run(program("openssl").args(sign).current_dir(folder), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// An image, as a layout of the OCI (image-layout.md).
pub struct Image {
    pub folder: PathBuf,
    pub manifest: Manifest,
    pub bytes: Vec<u8>,
}

impl Image {
    /// Makes one whose layers hold files of these sizes, of bytes that cannot be made smaller.
    pub fn make(folder: &Path, sizes: &[u64]) -> Self {
        let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
        for (index, size) in sizes.iter().enumerate() {
            let name = format!("file{index}");
            let mut bytes = Vec::new();
            fs::File::open("/dev/urandom").unwrap().take(*size).read_to_end(&mut bytes).unwrap();
            let content = tempfile::tempdir().unwrap();
            fs::write(content.path().join(&name), bytes).unwrap();
            // Without what tar fills its last record with, as engines write it: not all that pack it again keep that.
            let tar = run(
                program("tar").args(["-c", "-b1", "--owner=0", "--group=0", &name]).current_dir(content.path()),
                b"",
            );
            diff_ids.push(Digest::of(&tar));
            layers.push((media::OCI_LAYER_GZIP, run(program("gzip").args(["-n1"]), &tar)));
        }
        Self::of(folder, &diff_ids, &layers)
    }

    /// Makes one of layers as they travel, each with its type, that are said to have these contents.
    pub fn of(folder: &Path, diff_ids: &[Digest], layers: &[(&str, Vec<u8>)]) -> Self {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |media_type: &str, bytes: &[u8]| {
            let descriptor = Descriptor::of(media_type, bytes);
            fs::write(blobs.join(descriptor.digest.hex()), bytes).unwrap();
            descriptor
        };
        let layers = layers.iter().map(|(media_type, bytes)| put(media_type, bytes)).collect();
        let diff_ids: Vec<String> = diff_ids.iter().map(Digest::to_string).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Env": ["A=b"], "Cmd": ["/file0"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = ImageConfig::parse(config.to_string().as_bytes()).unwrap().to_bytes().unwrap();
        let manifest = Manifest::new(put(media::OCI_CONFIG, &config), layers);
        let bytes = manifest.to_bytes().unwrap();
        let mut entry = put(media::OCI_MANIFEST, &bytes);
        entry.annotations = [("org.opencontainers.image.ref.name".to_owned(), "tag".to_owned())].into();
        let index = oci::manifest::Index::new(vec![entry]).to_bytes().unwrap();
        fs::write(folder.join("index.json"), index).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { folder: folder.to_owned(), manifest, bytes }
    }

    /// Puts it into a registry behind an index, which is named so there. Gives the index's digest.
    pub fn put_index(&self, registry: &Registry, name: &str) -> Digest {
        let mut entry = Descriptor::of(media::OCI_MANIFEST, &self.bytes);
        entry.platform = Some("linux/amd64".parse().unwrap());
        let index = oci::manifest::Index::new(vec![entry]).to_bytes().unwrap();
        let descriptor = Descriptor::of(media::OCI_INDEX, &index);
        fs::write(self.folder.join("blobs/sha256").join(descriptor.digest.hex()), &index).unwrap();
        let digest = descriptor.digest.clone();
        let mut entry = descriptor;
        entry.annotations = [("org.opencontainers.image.ref.name".to_owned(), "many".to_owned())].into();
        let top = oci::manifest::Index::new(vec![entry]).to_bytes().unwrap();
        fs::write(self.folder.join("index.json"), top).unwrap();
        registry.skopeo(&format!("oci:{}:many", self.folder.display()), &format!("docker://{name}"));
        digest
    }

    /// What is in it by this digest.
    pub fn blob(&self, digest: &Digest) -> Vec<u8> {
        fs::read(self.folder.join("blobs/sha256").join(digest.hex())).unwrap()
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}
