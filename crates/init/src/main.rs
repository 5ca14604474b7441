//! PID 1 in every sandbox: exec, terminals, reaping, files, DNS and TCP capture, spoken over the link.
//!
//! It is started with five descriptors: 0 to 2, which it leaves alone; 3, the link, a connected stream socket; and 4,
//! by which it hands over connections to the outside (`wire::flow`). With the argument [`STDIO`], which it has where
//! others make its machine, it is started with three: the link is its standard input and output, connections to the
//! outside are streams of it, and init does the part of the backend's work that can be done from inside only.
//! It has no configuration and reads no environment: all it is told comes over the link. The same program runs on every
//! backend.
//!
//! The walls that init raises are raised on itself, so it needs nothing of a sandbox but what it tests for, and can
//! be run in any pid namespace of its own. It refuses to run as anything but PID 1: it reaps and kills *every*
//! process that it can see.
#![forbid(unsafe_code)]

mod activity;
mod capture;
mod covers;
mod exec;
mod flow;
mod link;
mod oom;
mod poll;
mod prepare;
mod pump;
mod server;
mod spawn;
mod transfer;
mod usage;
mod walls;
mod watch;

use crate::{
    capture::Capture,
    covers::Covers,
    link::{Link, LinkError},
    oom::OomKills,
    server::Server,
    spawn::Spawner,
    walls::WallError,
    watch::Watch,
};
use jail::signal::SignalFd;
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    process::Signal,
};
use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};
use wire::link::FromInit;

/// The argument that says where the link is.
const STDIO: &str = "stdio";
/// The descriptor of the link.
const LINK: i32 = 3;
/// The descriptor over which connections go.
const FLOWS: i32 = 4;
/// How long init waits for a supervisor that does not read why it failed.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long init waits to be told what to do where nobody may see that the link has ended.
const SETUP: Duration = Duration::from_secs(60);

/// Why init ended before its time.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("Not PID 1")]
    NotFirst,
    #[error("Cannot start")]
    Start(#[source] io::Error),
    #[error(transparent)]
    Wall(#[from] WallError),
    #[error(transparent)]
    Link(#[from] LinkError),
}

fn main() -> ExitCode {
    if rustix::process::getpid().as_raw_nonzero().get() != 1 {
        return complain(&InitError::NotFirst);
    }
    let result = run();
    // Whatever is still there ends with PID 1; this makes it certain before the status is known.
    let _ = jail::pid1::signal_everyone(Signal::KILL.as_raw());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

/// Says on standard error, which a backend may keep or not, why there is no sandbox any more.
fn complain(error: &InitError) -> ExitCode {
    let _ = writeln!(io::stderr(), "init: {}", wire::cause(error));
    ExitCode::FAILURE
}

fn run() -> Result<(), InitError> {
    let stdio = std::env::args_os().nth(1).is_some_and(|argument| argument == STDIO);
    let descriptors = walls::check_descriptors(if stdio { LINK } else { FLOWS + 1 });
    jail::pid1::keep_heap_small();
    // While init is dumpable and alone: its entries in /proc belong to nobody inside afterwards, since its program was
    // one that nobody inside may read.
    jail::process::set_dumpable(true).map_err(InitError::Start)?;
    let oom_score = rustix::fs::open("/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).ok();
    // The same for /proc/self/auxv, which rustix reads once, and panics if it cannot. (Linux 6.4 has a prctl(2) for it.)
    let _ = rustix::param::page_size();
    jail::process::set_dumpable(false).map_err(InitError::Start)?;
    // By this name programs know that they are in a sandbox, which no variable could tell them for sure.
    jail::process::set_name("ak-init").map_err(InitError::Start)?;
    jail::signal::block_all().map_err(InitError::Start)?;
    let signals = SignalFd::new(&[Signal::CHILD, Signal::TERM, Signal::INT]).map_err(InitError::Start)?;
    let (mut link, flows) = if stdio { take_stdio() } else { take_sockets() }.map_err(InitError::Start)?;
    let setup = link.setup(stdio.then_some(SETUP))?;

    let raised = || {
        descriptors?;
        let prepared = setup.prepare.as_deref().map(prepare::prepare).transpose()?;
        let oom_kills = prepared.is_some().then(OomKills::open).flatten();
        // Ports below 1024 may need a capability, so the sockets come before the walls.
        let capture = if setup.capture { Some(Capture::open(flows, setup.agent)?) } else { None };
        let mut walls = walls::raise(&setup)?;
        walls.extend(prepared.into_iter().flatten());
        walls.extend(capture.as_ref().map(Capture::wall));
        Ok((capture, oom_kills, walls))
    };
    let (capture, oom_kills, walls) = match raised() {
        Ok(raised) => raised,
        Err(error) => {
            let error: WallError = error;
            link.tell(&FromInit::Failed { wall: error.wall.to_owned(), cause: error.cause.clone() })?;
            link.flush_all(FAREWELL)?;
            return Err(error.into());
        }
    };
    let spawner = Spawner::new(&setup, oom_score);
    let heartbeat = setup.heartbeat_ms.map(|ms| Duration::from_millis(ms.into()));
    let server =
        Server::new(link, signals, spawner, capture, oom_kills, Watch::new(Covers::new(&setup.protected)), heartbeat);
    let mut server = server.map_err(InitError::Start)?;
    server.link().tell(&FromInit::Ready { walls })?;
    Ok(server.run()?)
}

/// The link, and where connections are handed over.
fn take_sockets() -> io::Result<(Link, Option<OwnedFd>)> {
    let link = jail::pid1::take_fd(LINK)?;
    Ok((Link::new(link.try_clone()?, link)?, Some(jail::pid1::take_fd(FLOWS)?)))
}

/// The link over standard input and output, which lead nowhere from then on.
fn take_stdio() -> io::Result<(Link, Option<OwnedFd>)> {
    let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), LINK)?;
    let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), LINK)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok((Link::new(input, output)?, None))
}
