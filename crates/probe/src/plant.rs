//! Canaries on the host: what an escape would reach. They live as long as standard input is open, which the runner and
//! its attempts outside hold, so that they and what those made are taken away however the runner ends; a line `check`
//! asks which of them somebody has disturbed.

use crate::{case::words, json, sys::own, syscall};
use rustix::event;
use std::{
    collections::BTreeMap,
    env,
    ffi::CString,
    fs, io,
    io::{BufRead, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::{
        fd::{AsFd, BorrowedFd},
        linux::net::SocketAddrExt,
        unix::{fs::DirBuilderExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

mod project;
mod requests;
mod survey;

use requests::Requests;

pub use project::ELSEWHERE;
pub use survey::{hash, tty_number};

/// The variable in which the runner gives the token, and in which it may leak.
pub const TOKEN: &str = "AGENTKERNEL_CANARY";

/// Plants, prints the parameters as one JSON object, and answers until standard input ends.
pub fn serve() -> ExitCode {
    let Ok(token) = env::var(TOKEN) else {
        let _ = writeln!(io::stderr(), "probe: {TOKEN} is not set");
        return ExitCode::from(2);
    };
    if token.len() < 16 || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
        let _ = writeln!(io::stderr(), "probe: {TOKEN} must be 16 hexadecimal digits or more");
        return ExitCode::from(2);
    }
    let mut plants = Plants::new(token);
    let result = plants.plant().and_then(|()| plants.answer());
    plants.remove();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "probe: the canaries can't be planted: {}", words(&error));
            ExitCode::from(1)
        }
    }
}

struct Plants {
    token: String,
    name: String,
    dir: PathBuf,
    params: BTreeMap<String, String>,
    files: Vec<PathBuf>,
    streams: Vec<Stream>,
    datagrams: Vec<UdpSocket>,
    requests: Requests,
    shm: Option<u64>,
    queue: Option<CString>,
    key: Option<u64>,
    hostname: String,
}

enum Stream {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Plants {
    fn new(token: String) -> Self {
        let name = format!(".agentkernel-attest-{}", &token[..12]);
        let dir = env::temp_dir().join(&name[1..]);
        let requests = Requests::new(&token);
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            token,
            name,
            dir,
            params: BTreeMap::new(),
            files: Vec::new(),
            streams: Vec::new(),
            datagrams: Vec::new(),
            requests,
            shm: None,
            queue: None,
            key: None,
            hostname,
        }
    }

    fn set(&mut self, key: &str, value: impl ToString) {
        self.params.insert(key.to_owned(), value.to_string());
    }

    /// A file with the token that may be impossible to make.
    fn file(&mut self, key: &str, path: PathBuf) {
        let made = fs::OpenOptions::new().write(true).create_new(true).open(&path);
        if made.and_then(|mut file| file.write_all(self.token.as_bytes())).is_ok() {
            self.set(key, path.display());
            self.files.push(path);
        }
    }

    fn plant(&mut self) -> io::Result<()> {
        // The runner decides when this ends, not a key that it was sent too.
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
            block(signal)?;
        }
        block(libc::SIGURG)?;
        let comm = format!("akc-{}", &self.token[..8]);
        let text = CString::new(comm.clone())?;
        syscall!(libc::SYS_prctl, libc::PR_SET_NAME, text.as_c_str(), 0, 0, 0)?;
        // A host that lets only parents trace (Yama) shall not hide what its processes are worth.
        let _ = syscall!(libc::SYS_prctl, libc::PR_SET_PTRACER, -1, 0, 0, 0);

        fs::DirBuilder::new().mode(0o700).create(&self.dir)?;
        let dir = self.dir.clone();
        fs::create_dir(dir.join("mount"))?;
        self.file("canary", dir.join("canary"));
        project::plant(&dir, &self.token)?;

        let (name, token) = (self.name.clone(), self.token.clone());
        self.set("token", token);
        self.set("comm", comm);
        self.set("pid", std::process::id());
        self.set("plant_name", &name);
        self.set("plant_dir", dir.display());
        self.set("mount_dir", dir.join("mount").display());
        self.set("workspace", project::workspace(&dir).display());
        self.file("tmp_canary", Path::new("/tmp").join(&name));
        self.file("shm_file", Path::new("/dev/shm").join(&name));
        let uid = rustix::process::geteuid().as_raw();
        self.set("uid", uid);
        let run = if uid == 0 { "/run".into() } else { format!("/run/user/{uid}") };
        self.file("run_canary", Path::new(&run).join(&name));
        if let Some(home) = env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute()) {
            self.file("home_canary", home.join(&name));
            self.set("home", home.display());
        }
        self.listen()?;
        self.objects();
        for (key, value) in survey::host() {
            self.set(&key, value);
        }
        Ok(())
    }

    fn listen(&mut self) -> io::Result<()> {
        let tcp = |plants: &mut Self, key: &str, address: SocketAddr| -> io::Result<SocketAddr> {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let bound = listener.local_addr()?;
            plants.set(key, bound);
            plants.streams.push(Stream::Tcp(listener));
            Ok(bound)
        };
        let port = tcp(self, "tcp4", (Ipv4Addr::LOCALHOST, 0).into())?.port();
        self.set("tcp_mapped", SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port)));
        // A host without IPv6, or without any address, has nothing to reach there.
        let _ = tcp(self, "tcp6", (Ipv6Addr::LOCALHOST, 0).into());
        let datagrams = |plants: &mut Self, key: &str, address: SocketAddr| -> io::Result<()> {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            plants.set(key, socket.local_addr()?);
            plants.datagrams.push(socket);
            Ok(())
        };
        datagrams(self, "udp", (Ipv4Addr::LOCALHOST, 0).into())?;
        if let Some(own) = survey::own_address((Ipv4Addr::new(203, 0, 113, 1), 53).into()) {
            if let Ok(SocketAddr::V4(bound)) = tcp(self, "tcp_host", (own, 0).into()) {
                self.set("tcp_host_mapped", SocketAddr::from((bound.ip().to_ipv6_mapped(), bound.port())));
                self.requests.redirect(bound.into());
            }
            let _ = datagrams(self, "udp_host", (own, 0).into());
            if let Ok(bound) = self.requests.listen((own, 0).into()) {
                self.set("requests_host", bound);
            }
        }
        if let Some(own) = survey::own_address((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 53).into()) {
            let _ = tcp(self, "tcp6_host", (own, 0).into());
        }
        // A name that nobody but this host must be asked for.
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        for (address, name) in survey::own_names(&hosts) {
            if let Ok(bound) = self.requests.listen((address, 0).into()) {
                self.set("requests_named", bound);
                self.set("own_name", name);
                if let Ok(bound) = tcp(self, "tcp_named", (address, 0).into())
                    && !self.requests.redirects()
                {
                    self.requests.redirect(bound);
                }
                break;
            }
        }

        let path = self.dir.join("unix.sock");
        let unix = UnixListener::bind(&path)?;
        unix.set_nonblocking(true)?;
        self.set("unix", path.display());
        self.streams.push(Stream::Unix(unix));
        let hidden = std::os::unix::net::SocketAddr::from_abstract_name(&self.name)?;
        let hidden = UnixListener::bind_addr(&hidden)?;
        hidden.set_nonblocking(true)?;
        let name = self.name.clone();
        self.set("abstract", name);
        self.streams.push(Stream::Unix(hidden));
        Ok(())
    }

    /// Kernel objects. A kernel that lacks one has nothing to attack.
    fn objects(&mut self) {
        let key = u32::from_str_radix(&self.token[..7], 16).unwrap_or(1).max(1);
        if let Ok(id) = syscall!(libc::SYS_shmget, key, 4096, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) {
            self.shm = Some(id);
            self.set("shm_key", key);
        }
        // The raw call takes the name without the library's slash.
        if let Ok(name) = CString::new(&self.name[1..])
            && let Ok(fd) =
                syscall!(libc::SYS_mq_open, name.as_c_str(), libc::O_CREAT | libc::O_EXCL | libc::O_RDWR, 0o600, 0)
        {
            drop(own(fd));
            self.set("queue", name.to_string_lossy());
            self.queue = Some(name);
        }
        if let Ok(description) = CString::new(format!("akc-{}", &self.token[..8]))
            && let Ok(key) = syscall!(
                libc::SYS_add_key,
                c"user",
                description.as_c_str(),
                self.token.as_bytes(),
                self.token.len() as u64,
                SESSION_KEYRING
            )
        {
            self.key = Some(key);
            self.set("key", key);
        }
    }

    /// Serves canaries and checks until standard input ends.
    fn answer(&mut self) -> io::Result<()> {
        let fields: Vec<_> = self.params.iter().map(|(key, value)| (key.as_str(), json::string(value))).collect();
        writeln!(io::stdout(), "{}", json::object(&fields))?;
        let stdin = io::stdin();
        let mut input = io::BufReader::with_capacity(1, stdin.lock());
        loop {
            let ready = {
                let mut fds = vec![event::PollFd::from_borrowed_fd(stdin_fd(), event::PollFlags::IN)];
                fds.extend(self.streams.iter().map(|stream| event::PollFd::new(stream, event::PollFlags::IN)));
                fds.extend(self.datagrams.iter().map(|socket| event::PollFd::new(socket, event::PollFlags::IN)));
                fds.extend(self.requests.fds().map(|fd| event::PollFd::from_borrowed_fd(fd, event::PollFlags::IN)));
                match event::poll(&mut fds, None) {
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other?,
                };
                !fds[0].revents().is_empty()
            };
            self.serve_canaries();
            if ready {
                let mut line = String::new();
                if input.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if line.trim_end() == "check" {
                    writeln!(io::stdout(), "{}", json::strings(&self.disturbed()))?;
                }
            }
        }
    }

    /// The token for whoever connects. A peer that goes away is its own loss.
    fn serve_canaries(&mut self) {
        self.requests.serve();
        for stream in &self.streams {
            match stream {
                Stream::Tcp(listener) => {
                    while let Ok((mut peer, _)) = listener.accept() {
                        let _ = peer.write_all(self.token.as_bytes());
                    }
                }
                Stream::Unix(listener) => {
                    while let Ok((mut peer, _)) = listener.accept() {
                        let _ = peer.write_all(self.token.as_bytes());
                    }
                }
            }
        }
        let mut buffer = [0u8; 64];
        for socket in &self.datagrams {
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(self.token.as_bytes(), peer);
            }
        }
    }

    /// What somebody has changed since the last time, put right again.
    fn disturbed(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for dir in SYSTEM_DIRS {
            let path = Path::new(dir).join(&self.name);
            // Some of these hold canaries of ours.
            if !self.files.contains(&path) && path.symlink_metadata().is_ok() {
                found.push(format!("{} was made", path.display()));
                let _ = fs::remove_file(&path);
            }
        }
        for path in &self.files {
            if fs::read(path).is_ok_and(|text| text == self.token.as_bytes()) {
                continue;
            }
            found.push(format!("{} was changed", path.display()));
            let _ = fs::write(path, &self.token);
        }
        if let Some(what) = project::disturbed(&self.dir, &self.token) {
            found.push(what);
        }
        found.extend(survey::unmount(&self.name).map(|point| format!("{point} was mounted")));
        if self.requests.take_heard() {
            found.push("a request arrived that is for another host".to_owned());
        }
        if take(libc::SIGURG) {
            found.push("a signal arrived".to_owned());
        }
        let uname = rustix::system::uname();
        if uname.nodename().to_string_lossy() != self.hostname {
            found.push("the host name was changed".to_owned());
            self.hostname = uname.nodename().to_string_lossy().into_owned();
        }
        found
    }

    /// Takes everything away. What is gone already is gone.
    fn remove(&mut self) {
        let _ = self.disturbed();
        for path in self.files.drain(..) {
            let _ = fs::remove_file(path);
        }
        // A sandbox that has not ended yet may still make something in the project.
        for _ in 0..50 {
            match fs::remove_dir_all(&self.dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(Duration::from_millis(100)),
                _ => break,
            }
        }
        if let Some(id) = self.shm.take() {
            let _ = syscall!(libc::SYS_shmctl, id, libc::IPC_RMID, 0);
        }
        if let Some(name) = self.queue.take() {
            let _ = syscall!(libc::SYS_mq_unlink, name.as_c_str());
        }
        if let Some(key) = self.key.take() {
            // KEYCTL_UNLINK.
            let _ = syscall!(libc::SYS_keyctl, 9, key, SESSION_KEYRING, 0, 0);
        }
    }
}

/// `KEY_SPEC_SESSION_KEYRING`.
const SESSION_KEYRING: i32 = -3;

/// Where cases try to make a file.
const SYSTEM_DIRS: &[&str] = &[
    "/",
    "/usr",
    "/usr/bin",
    "/usr/local/bin",
    "/etc",
    "/etc/cron.d",
    "/etc/profile.d",
    "/etc/systemd/system",
    "/var",
    "/var/lib",
    "/opt",
    "/boot",
    "/root",
    "/srv",
    "/home",
];

fn stdin_fd() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

fn set_of(signal: i32) -> [u8; 8] {
    (1u64 << (signal - 1)).to_ne_bytes()
}

fn block(signal: i32) -> io::Result<()> {
    syscall!(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &set_of(signal), 0, 8)?;
    Ok(())
}

/// Whether a blocked signal has come; if so it is gone.
fn take(signal: i32) -> bool {
    let now = [0u8; 16];
    syscall!(libc::SYS_rt_sigtimedwait, &set_of(signal), 0, &now, 8).is_ok()
}
