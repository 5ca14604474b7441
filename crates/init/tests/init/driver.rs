//! A supervisor for tests: starts the built init in namespaces of its own and speaks the link with it.
//!
//! Init raises its walls itself, so nothing in it has to be switched off for a test: it gets a new pid, mount and
//! network namespace from unshare(1), and below root a user namespace as well, and finds there what it needs.

use rustix::{
    event::{PollFd, PollFlags},
    io::Errno,
    net::{AddressFamily, SendFlags, SocketFlags, SocketType},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Debug,
    net::TcpStream,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio as Io},
    time::{Duration, Instant},
};
use wire::{
    Channel, ExecSpec, Exit, Stdio, User,
    flow::{Dial, Flow, Handed},
    frame::Decoder,
    link::{ExecControl, ExecFailure, ExecReport, FilesReport, FromInit, Open, Setup, ToInit, Wall},
    mux::{Event, Mux, Side},
};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// The namespaces that init runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A user namespace with one id, 0, as an ordinary user gets it.
    OneId,
    /// The tester's own ids, all of them: for root only.
    ManyIds,
}

/// One side of a stream, as the supervisor sees it.
#[derive(Default)]
pub struct Stream {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub ended: Vec<Channel>,
    pub controls: VecDeque<Vec<u8>>,
    pub closed: bool,
    /// Still to be sent, then an end of file if wanted.
    input: VecDeque<u8>,
    input_eof: bool,
    /// Give no credit back, so that the other side has to stop.
    pub stuck: bool,
    owed: usize,
}

/// A running init.
pub struct Driver {
    pub child: Child,
    /// Where connections are handed over.
    pub flows: OwnedFd,
    socket: Option<UnixStream>,
    decoder: Decoder,
    mux: Mux,
    pub streams: BTreeMap<u32, Stream>,
    pub messages: VecDeque<FromInit>,
    pub gone: bool,
}

/// How an exec went.
#[derive(Debug)]
pub struct Output {
    pub report: ExecReport,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    #[track_caller]
    pub fn code(&self) -> u8 {
        match self.report {
            ExecReport::Exited(Exit::Code(code)) => code,
            _ => panic!("not exited: {self:?}"),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

pub fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// So often, or `AGENTKERNEL_TEST_SCALE` times less where the machine is emulated.
pub fn scaled(count: u32) -> u32 {
    let scale = std::env::var("AGENTKERNEL_TEST_SCALE").map_or(1, |text| text.parse().unwrap());
    (count / scale).max(1)
}

pub fn setup(place: Place) -> Setup {
    Setup {
        capture: false,
        agent: false,
        ids: match place {
            Place::OneId => vec![(0, 1)],
            Place::ManyIds => vec![(0, 65536)],
        },
        writable: vec!["/dev".into(), "/tmp".into()],
        rlimits: vec![],
        protected: vec![],
        log_refused: false,
        build: false,
        heartbeat_ms: None,
        prepare: None,
    }
}

pub fn user(id: u32) -> User {
    User { uid: id, gid: id, groups: vec![] }
}

pub fn exec(argv: &[&str]) -> ExecSpec {
    ExecSpec {
        argv: argv.iter().map(|&arg| arg.into()).collect(),
        env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".into()],
        cwd: "/".into(),
        user: user(0),
        stdio: Stdio::Pipes { stdin: false },
        needs: vec![],
    }
}

pub fn sh(script: &str) -> ExecSpec {
    exec(&["sh", "-c", script])
}

pub fn with_stdin(mut spec: ExecSpec) -> ExecSpec {
    spec.stdio = Stdio::Pipes { stdin: true };
    spec
}

impl Driver {
    /// Starts init with nothing sent but the hello.
    pub fn bare(place: Place) -> Self {
        Self::with_descriptors(place, "")
    }

    /// The same, with more descriptors, as the shell's redirections say it.
    pub fn with_descriptors(place: Place, more: &str) -> Self {
        Self::launch(place, more, ":")
    }

    /// Starts init where a shell has mounted something, and waits until it serves.
    #[track_caller]
    pub fn with_mounts(place: Place, setup: Setup, mounts: &str) -> Self {
        let mut driver = Self::launch(place, "", mounts);
        driver.send(&ToInit::Setup(setup));
        assert!(matches!(driver.message(), FromInit::Ready { .. }));
        driver
    }

    fn launch(place: Place, more: &str, mounts: &str) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (flows, their_flows) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        // The link comes in as standard input and moves to descriptor 3, the flow socket as standard output to 4. With terminals and a network of its own, as the native
        // backend makes it: lo is up, every address is local, every port is free for all.
        let script = "exec 3<&0 4<&1 0</dev/null 1>&2; eval \"exec $3\"; exec unshare $1 --pid --fork --kill-child --mount-proc --net sh -c '
            mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts && ip link set lo up && ip route add local default dev lo && ip -6 route add local default dev lo &&
            echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start && eval \"$2\" && exec \"$1\"' sh \"$2\" \"$4\"";
        let flags = if place == Place::OneId { "-Ur" } else { "--mount" };
        // Whatever the test runner left open is none of init's business, and init would say so.
        jail::process::close_on_exec_from(3, &[]).unwrap();
        let child = Command::new("sh")
            .args(["-c", script, "sh", flags, env!("CARGO_BIN_EXE_init"), more, mounts])
            .stdin(Io::from(OwnedFd::from(theirs)))
            .stdout(Io::from(their_flows))
            .spawn()
            .unwrap();
        Self {
            child,
            flows,
            socket: Some(ours),
            decoder: Decoder::default(),
            mux: Mux::new(Side::Odd),
            streams: BTreeMap::new(),
            messages: VecDeque::new(),
            gone: false,
        }
    }

    pub fn send(&mut self, message: &ToInit) {
        self.mux.message(&wire::encode(message).unwrap());
    }

    /// Starts init with this setup and waits until it serves.
    #[track_caller]
    pub fn with(place: Place, setup: Setup) -> (Self, Vec<Wall>) {
        let mut driver = Self::bare(place);
        driver.send(&ToInit::Setup(setup));
        let walls = match driver.message() {
            FromInit::Ready { walls } => walls,
            other => panic!("not ready: {other:?}"),
        };
        (driver, walls)
    }

    #[track_caller]
    pub fn start() -> Self {
        Self::with(Place::OneId, setup(Place::OneId)).0
    }

    #[track_caller]
    pub fn message(&mut self) -> FromInit {
        self.until("a message", |driver| !driver.messages.is_empty());
        self.messages.pop_front().unwrap()
    }

    /// Moves bytes until the condition holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.work();
            if condition(self) {
                return;
            }
            assert!(!self.gone, "init is gone while waiting for {what}");
            assert!(Instant::now() < deadline, "waited too long for {what}");
            self.wait(Duration::from_millis(100));
        }
    }

    /// Moves bytes for a while.
    pub fn idle(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.gone {
            self.work();
            self.wait(Duration::from_millis(10));
        }
    }

    fn wait(&self, time: Duration) {
        let Some(socket) = &self.socket else { return };
        let flags = if self.mux.output().is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let time = rustix::event::Timespec { tv_sec: 0, tv_nsec: time.as_nanos() as i64 };
        match rustix::event::poll(&mut [PollFd::from_borrowed_fd(socket.as_fd(), flags)], Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }

    fn work(&mut self) {
        self.feed();
        self.flush();
        let Some(socket) = &self.socket else { return };
        // One read at a time, so that credit flows back while data comes in.
        match rustix::io::read(socket, self.decoder.space()) {
            Ok(0) | Err(Errno::CONNRESET | Errno::PIPE) => self.gone = true,
            Ok(count) => {
                self.decoder.filled(count);
                self.receive();
            }
            Err(Errno::AGAIN) => {}
            Err(error) => panic!("read: {error}"),
        }
        self.feed();
        self.flush();
    }

    fn flush(&mut self) {
        let Some(socket) = &self.socket else { return };
        while !self.mux.output().is_empty() {
            match rustix::net::send(socket, self.mux.output(), SendFlags::NOSIGNAL) {
                Ok(count) => self.mux.advance(count),
                Err(Errno::AGAIN) => return,
                // What is left to read is read first.
                Err(_) => return,
            }
        }
    }

    fn receive(&mut self) {
        let mut decoder = std::mem::take(&mut self.decoder);
        while let Some(frame) = decoder.next().expect("init sends frames") {
            match self.mux.receive(frame).expect("init keeps the rules") {
                Event::Hello(_) | Event::Writable { .. } | Event::TooMuch { .. } | Event::Nothing => {}
                Event::Message(payload) => self.messages.push_back(wire::decode(payload).unwrap()),
                Event::Opened { stream, .. } => panic!("init opened stream {stream}"),
                Event::Data { stream, channel, bytes } => {
                    let state = self.streams.get_mut(&stream).unwrap();
                    match channel {
                        Channel::Stderr => state.stderr.extend_from_slice(bytes),
                        Channel::Stdout | Channel::Stdin => state.stdout.extend_from_slice(bytes),
                    }
                    state.owed += bytes.len();
                }
                Event::Eof { stream, channel } => self.streams.get_mut(&stream).unwrap().ended.push(channel),
                Event::Control { stream, payload } => {
                    self.streams.get_mut(&stream).unwrap().controls.push_back(payload.to_vec());
                }
                Event::Closed { stream } => {
                    self.streams.get_mut(&stream).unwrap().closed = true;
                    self.mux.close(stream);
                }
            }
        }
        self.decoder = decoder;
    }

    fn feed(&mut self) {
        for (&id, stream) in &mut self.streams {
            if !stream.stuck && stream.owed > 0 {
                self.mux.consumed(id, std::mem::take(&mut stream.owed));
            }
            while !stream.input.is_empty() {
                let sent = self.mux.data(id, Channel::Stdin, stream.input.as_slices().0);
                if sent == 0 {
                    break;
                }
                stream.input.drain(..sent);
            }
            if stream.input.is_empty() && stream.input_eof {
                stream.input_eof = false;
                self.mux.eof(id, Channel::Stdin);
            }
        }
    }

    pub fn open(&mut self, open: &Open) -> u32 {
        let id = self.mux.open(&wire::encode(open).unwrap());
        self.streams.insert(id, Stream::default());
        id
    }

    pub fn exec(&mut self, spec: ExecSpec) -> u32 {
        self.open(&Open::Exec(spec))
    }

    pub fn input(&mut self, id: u32, bytes: &[u8]) {
        self.stream(id).input.extend(bytes);
    }

    pub fn eof(&mut self, id: u32) {
        self.stream(id).input_eof = true;
    }

    pub fn control(&mut self, id: u32, control: ExecControl) {
        self.mux.control(id, &wire::encode(&control).unwrap());
    }

    /// The next thing that init hands over, with its socket.
    #[track_caller]
    pub fn handed(&mut self) -> (Handed, Option<TcpStream>) {
        let mut found = None;
        self.until("something handed over", |driver| {
            let mut waiting = [PollFd::new(&driver.flows, PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            if rustix::event::poll(&mut waiting, Some(&now)).unwrap() > 0 {
                let mut bytes = [0; wire::flow::MAX_DATAGRAM];
                let (length, mut fds) = jail::fd::receive(&driver.flows, 2, &mut bytes).unwrap();
                assert!(fds.len() <= 1);
                let socket = fds.pop().map(|fd| {
                    let socket = TcpStream::from(fd);
                    socket.set_nonblocking(false).unwrap();
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                    socket
                });
                found = Some((wire::decode(&bytes[..length]).unwrap(), socket));
            }
            found.is_some()
        });
        found.unwrap()
    }

    /// The next connection of a program.
    #[track_caller]
    pub fn flow(&mut self) -> (Flow, TcpStream) {
        match self.handed() {
            (Handed::Flow(flow), Some(socket)) => (flow, socket),
            other => panic!("no flow: {other:?}"),
        }
    }

    /// Asks for a connection to a port inside.
    pub fn dial(&mut self, dial: Dial) {
        rustix::net::send(&self.flows, &wire::encode(&dial).unwrap(), SendFlags::NOSIGNAL).unwrap();
    }

    pub fn close(&mut self, id: u32) {
        self.mux.close(id);
    }

    pub fn stream(&mut self, id: u32) -> &mut Stream {
        self.streams.get_mut(&id).expect("an open stream")
    }

    #[track_caller]
    pub fn started(&mut self, id: u32) -> u32 {
        self.until("a start", |driver| !driver.stream(id).controls.is_empty());
        let report: ExecReport = wire::decode(&self.stream(id).controls.pop_front().unwrap()).unwrap();
        match report {
            ExecReport::Started { pid } => pid,
            other => panic!("not started: {other:?}"),
        }
    }

    /// Waits for the end of an exec.
    #[track_caller]
    pub fn finish(&mut self, id: u32) -> Output {
        self.until("the end of an exec", |driver| driver.stream(id).closed);
        let stream = self.streams.remove(&id).unwrap();
        let report = wire::decode(stream.controls.back().expect("a report")).unwrap();
        if let ExecReport::Exited(_) = report {
            assert!(stream.ended.contains(&Channel::Stdout), "output ends before the exit is told");
        }
        Output { report, stdout: stream.stdout, stderr: stream.stderr }
    }

    #[track_caller]
    pub fn run(&mut self, spec: ExecSpec) -> Output {
        let id = self.exec(spec);
        self.finish(id)
    }

    #[track_caller]
    pub fn failure(&mut self, spec: ExecSpec) -> (ExecFailure, String) {
        match self.run(spec).report {
            ExecReport::Failed { kind, cause } => (kind, cause),
            other => panic!("not failed: {other:?}"),
        }
    }

    #[track_caller]
    pub fn files(&mut self, id: u32) -> (FilesReport, Vec<u8>) {
        self.until("the end of a transfer", |driver| driver.stream(id).closed);
        let stream = self.streams.remove(&id).unwrap();
        (wire::decode(stream.controls.back().expect("a report")).unwrap(), stream.stdout)
    }

    /// Sends bytes as they are, past the multiplexer.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.flush();
        rustix::net::send(self.socket.as_ref().unwrap(), bytes, SendFlags::NOSIGNAL).unwrap();
    }

    /// Lets go of the link.
    pub fn hang_up(&mut self) {
        self.flush();
        self.socket = None;
    }

    /// Waits for init itself, and gives unshare's view of its status.
    #[track_caller]
    pub fn exit_status(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if !self.gone {
                self.work();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "init does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Without its link init kills everything and ends; that it does is a test of its own.
        self.socket = None;
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Compares large byte strings without printing them.
#[track_caller]
pub fn assert_same(a: &[u8], b: &[u8]) {
    assert_eq!(a.len(), b.len(), "lengths differ");
    let difference = a.iter().zip(b).position(|(a, b)| a != b);
    assert_eq!(difference, None::<usize>, "bytes differ");
}

/// Bytes that repeat nowhere soon.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

#[track_caller]
pub fn assert_contains(text: impl AsRef<str> + Debug, part: &str) {
    assert!(text.as_ref().contains(part), "{part:?} is not in {text:?}");
}
