//! An internet of a test's own: a network in which every address answers for itself, a name server, an authority that
//! clients trust, and real servers. Nothing of it leaves the machine, and all of it ends with the test, however it ends.
//!
//! Its processes are those of `test-internet` (tests/internet/main.rs), which has the namespaces. Sockets are opened there
//! and used here, by threads of the test.

mod authority;
mod models;
mod names;
mod registries;
mod servers;

pub use models::MODEL_SERVER;
pub use names::Query;
pub use registries::{CRATES, DEBIAN, INDEX, NPM, PACKAGE};
pub use servers::{CACHE, DATABASE, GIT, HIDDEN, OWN, SHARED, WEB, WEB_V4, WEB_V6};

use crate::{NOBODY, Who, World};
use authority::Authority;
use names::Names;
use rustix::{
    fd::{AsFd, OwnedFd},
    net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType},
};
use std::{
    cell::RefCell,
    env, fs,
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// An internet, which ends when it is dropped.
pub struct Internet {
    folder: TempDir,
    authority: Authority,
    names: Arc<Names>,
    /// The end of it here, of the pipe whose other end `test-internet` reads.
    requests: OwnedFd,
    /// Its process in the namespaces.
    pid: String,
    /// unshare(1), which waits for it.
    unshare: Child,
    /// Sockets that threads listen on.
    sockets: RefCell<Vec<OwnedFd>>,
}

impl Internet {
    /// An empty one: `localhost` is its only name. `None`, counted and named, if there can be none here.
    ///
    /// # Panics
    /// If it cannot be made for another reason than that this user may not.
    #[must_use]
    pub fn new() -> Option<Self> {
        if !installed("openssl") || !installed("unshare") {
            return None;
        }
        if !Path::new(authority::TRUSTED).is_dir() {
            crate::skipped("a test's own internet", "this host trusts nobody: there are no ca-certificates");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("ak-internet-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let packets = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (requests, served) = packets.unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child"]);
        if !rustix::process::getuid().is_root() {
            unshare.args(["--user", "--map-current-user", "--keep-caps"]);
        }
        unshare.arg("--").arg(helper()).arg("serve").stdin(Stdio::from(served));
        unshare.env_clear().env("PATH", crate::PATH).env("LANG", "C.UTF-8");
        let started = unshare.spawn().unwrap();
        // Or else its end of the pipe would be open here as well.
        drop(unshare);
        let mut unshare = started;
        let Ok(pid) = ask(&requests, &["pid"]).map(|(pid, _)| pid) else {
            let status = unshare.wait().unwrap();
            crate::skipped("a test's own internet", &format!("its namespaces cannot be made ({status})"));
            return None;
        };
        let internet = Self {
            folder,
            authority: Authority::new(),
            names: Arc::default(),
            requests,
            pid,
            unshare,
            sockets: RefCell::default(),
        };
        internet.settle();
        Some(internet)
    }

    /// Puts its own in the place of the host's files that say whom to ask and whom to trust.
    fn settle(&self) {
        // With a name of the machine's own, as Debian has it: what `attest` sends by one is not skipped.
        let hosts = self.write("hosts", "127.0.0.1\tlocalhost\n127.0.1.1\tmachine\n::1\tlocalhost\n");
        let resolver = self.write("resolv.conf", "");
        self.authority.trusted(&self.path("trusted"));
        self.mount(&hosts, "/etc/hosts");
        self.mount(&resolver, "/etc/resolv.conf");
        self.mount(&self.path("trusted"), authority::TRUSTED);
        self.serve_names("127.0.0.1");
        self.name("localhost", &["127.0.0.1"]);
    }

    /// Answers at this address to whoever asks for names, and nowhere else any more; resolv.conf says so.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn serve_names(&self, address: &str) {
        let place = format!("{address}:53");
        let udp = UdpSocket::from(self.socket("udp", &place));
        Arc::clone(&self.names).serve(&place, udp, self.listen(&place));
        let _ = self.write("resolv.conf", &format!("nameserver {address}\n"));
    }

    /// Answers to a name after some time only, or never.
    pub fn slow_name(&self, name: &str, time: Option<Duration>) {
        self.names.slow(name, time);
    }

    /// A directory of it, which everybody may read.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn mount(&self, source: &Path, target: &str) {
        self.ask(&["mount", source.to_str().unwrap(), target]);
    }

    /// Lets the clients of Java trust its servers.
    ///
    /// # Panics
    /// If the keytool of Java fails.
    pub fn trust_in_java(&self) {
        authority::trust_in_java(&self.path("trusted"));
    }

    /// Gives a name its addresses.
    pub fn name(&self, name: &str, addresses: &[&str]) {
        self.name_in_turn(name, &[addresses]);
    }

    /// Gives a name other addresses at each question for the same type; the last ones stay.
    ///
    /// # Panics
    /// If an address is none.
    pub fn name_in_turn(&self, name: &str, turns: &[&[&str]]) {
        let parse = |addresses: &&[&str]| addresses.iter().map(|address| address.parse::<IpAddr>().unwrap()).collect();
        self.names.set(name, turns.iter().map(parse).collect());
    }

    /// All that its name server was asked so far.
    #[must_use]
    pub fn queries(&self) -> Vec<Query> {
        self.names.queries()
    }

    /// Listens at an address, whichever it is. When the internet ends, no more connections come.
    #[must_use]
    pub fn listen(&self, address: &str) -> TcpListener {
        self.socket("tcp", address).into()
    }

    /// A datagram socket at an address.
    #[must_use]
    pub fn datagrams(&self, address: &str) -> UdpSocket {
        self.socket("udp", address).into()
    }

    /// Lets a function answer every connection to an address, each in a thread of its own.
    pub fn serve(&self, address: &str, answer: impl Fn(TcpStream) + Clone + Send + 'static) {
        let listener = self.listen(address);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = answer.clone();
                thread::spawn(move || answer(stream));
            }
        });
    }

    fn socket(&self, kind: &str, address: &str) -> OwnedFd {
        let socket = self.ask(&[kind, address]).unwrap();
        self.sockets.borrow_mut().push(socket.try_clone().unwrap());
        socket
    }

    /// Starts a server in there, and waits until it listens at an address.
    fn start(&self, uid: Option<u32>, command: &[&str], address: &str) {
        let log = self.path(&format!("{}.log", Path::new(command[0]).file_name().unwrap().display()));
        let uid = uid.map_or_else(|| "-".to_owned(), |uid| uid.to_string());
        self.ask(&[&["start", &uid, log.to_str().unwrap()], command].concat());
        for _ in 0..1200 {
            if ask(&self.requests, &["try", address]).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(25));
        }
        panic!("{command:?} does not listen at {address}: {}", fs::read_to_string(log).unwrap_or_default());
    }

    fn ask(&self, request: &[&str]) -> Option<OwnedFd> {
        ask(&self.requests, request).unwrap().1
    }

    /// `agentkernel` with these arguments, on a host in this internet.
    #[must_use]
    pub fn agentkernel(&self, world: &World, arguments: &[&str]) -> Command {
        let mut command = self.command(world, world.binary());
        command.args(arguments);
        command
    }

    /// A program of a host in this internet: as the user of a world, in its project.
    #[must_use]
    pub fn command(&self, world: &World, program: impl AsRef<Path>) -> Command {
        let uid = if world.who == Who::Nobody { NOBODY.to_string() } else { "-".to_owned() };
        let mut command = world.anybody(helper());
        command.args(["enter", &self.pid, &uid]).arg(program.as_ref());
        command
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        for socket in self.sockets.borrow().iter() {
            // Whoever waits for something of it waits no longer. A datagram socket says that it is not connected.
            let _ = rustix::net::shutdown(socket, Shutdown::Both);
        }
        let _ = rustix::net::shutdown(&self.requests, Shutdown::Both);
        let _ = self.unshare.wait();
    }
}

/// Asks for something, and gives the text and the socket of the answer; the error, in words, if there is one.
fn ask(requests: impl AsFd, request: &[&str]) -> Result<(String, Option<OwnedFd>), String> {
    rustix::net::send(&requests, request.join("\0").as_bytes(), SendFlags::NOSIGNAL)
        .map_err(|error| error.to_string())?;
    let mut answer = vec![0; 1 << 16];
    let (length, mut sockets) = jail::fd::receive(&requests, 1, &mut answer).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    text.strip_prefix("ok").map(|rest| (rest.to_owned(), sockets.pop())).ok_or(text)
}

/// The program that is built for this.
fn helper() -> PathBuf {
    let helper = crate::beside_us("test-internet");
    assert!(helper.is_file(), "no {}: run cargo build -p agentkernel-tests", helper.display());
    helper
}

/// Whether a server or a tool is installed; if not, that is counted and named.
#[must_use]
pub fn installed(program: &str) -> bool {
    let found = env::split_paths(crate::PATH).any(|folder| folder.join(program).is_file());
    if !found {
        crate::skipped(&format!("a test with {program}"), "it is not installed");
    }
    found
}
