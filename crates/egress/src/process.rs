//! Hides how a forked child becomes egress: what it keeps, what it gives up for good, and that it tests this.

use crate::{control::Config, server};
use jail::{caps::Cap, process, seccomp};
use rustix::{
    fd::{AsRawFd, OwnedFd},
    io::Errno,
    net::{AddressFamily, SocketType},
    process::{Pid, Resource, Signal},
};
use std::io;

/// The most memory that an egress may have, in bytes.
const MEMORY: u64 = 512 << 20;

/// What a supervisor gives to its egress.
pub struct Start {
    /// The name of the process, for ps(1).
    pub name: String,
    /// The supervisor: egress dies with it.
    pub parent: Pid,
    /// What holds from the start.
    pub config: Config,
    /// Where init hands connections over.
    pub flows: OwnedFd,
    /// The stream to the supervisor.
    pub control: OwnedFd,
    /// Where connections to the user's ssh-agent are asked for, if its keys are lent.
    pub agent: Option<OwnedFd>,
}

/// Egress could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A right could not be given up.
    #[error("Cannot give up {0}")]
    Jail(&'static str, #[source] io::Error),
    /// A right is still there.
    #[error("{0} is still possible")]
    Wall(&'static str),
    /// The system gave no resources.
    #[error("Cannot serve")]
    Serve(#[from] io::Error),
}

/// Runs egress in the calling process, which must be a fork made for that, until the supervisor is gone.
///
/// # Errors
/// [`RunError`]; nothing was accepted yet if a wall could not be raised.
pub fn run(start: Start) -> Result<(), RunError> {
    let Start { name, parent, config, flows, control, agent } = start;
    let failed = |what| move |error| RunError::Jail(what, error);
    // The fork has copies of everything that the supervisor holds: its lock, its link, its clients.
    let kept: Vec<_> = [&flows, &control].into_iter().chain(&agent).map(AsRawFd::as_raw_fd).collect();
    process::close_fds_from(3, &kept).map_err(failed("descriptors"))?;
    process::set_parent_death_signal(Signal::KILL).map_err(failed("life without its supervisor"))?;
    if rustix::process::getppid() != Some(parent) {
        return Ok(());
    }
    // What it is called helps only whoever looks.
    let _ = process::forget_arguments(&name);
    let _ = process::set_name("ak-egress");
    process::reset_signals().map_err(failed("signals"))?;
    // Peers go while they are written to, by writev(2) and splice(2) too, which know no MSG_NOSIGNAL.
    jail::signal::ignore(Signal::PIPE).map_err(failed("signals"))?;
    // Two descriptors for a flow, and a pipe while something is stuck.
    let _ = process::raise_rlimit(Resource::Nofile);
    // Trust in the world's servers is read from files, for those who need it.
    let server = server::Prepared::new(config);
    raise_walls()?;
    server.serve(flows, control, agent)?;
    Ok(())
}

fn raise_walls() -> Result<(), RunError> {
    let failed = |what| move |error| RunError::Jail(what, error);
    process::set_dumpable(false).map_err(failed("being read"))?;
    process::set_rlimit(Resource::Core, 0).map_err(failed("core files"))?;
    // Whatever clients and servers make it hold: beyond this it ends, its connections with it, and the next one begins anew.
    process::set_rlimit(Resource::Data, MEMORY).map_err(failed("memory"))?;
    process::set_no_new_privs().map_err(failed("new privileges"))?;
    if rustix::process::geteuid().is_root() {
        jail::caps::limit_bounding(Cap::empty()).map_err(failed("capabilities"))?;
    }
    jail::caps::drop_all().map_err(failed("capabilities"))?;
    jail::landlock::forbid_files().map_err(|error| RunError::Jail("files", io::Error::other(error)))?;
    seccomp::install(seccomp::Profile::Egress)
        .map_err(|error| RunError::Jail("system calls", io::Error::other(error)))?;
    test_walls()
}

/// Tries what must not be possible any more.
fn test_walls() -> Result<(), RunError> {
    use rustix::fs::{Mode, OFlags};
    if rustix::fs::open("/", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).is_ok() {
        return Err(RunError::Wall("opening a file"));
    }
    if rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).is_ok() {
        return Err(RunError::Wall("a local socket"));
    }
    match rustix::process::test_kill_process(rustix::process::getpid()) {
        Err(Errno::PERM) => Ok(()),
        _ => Err(RunError::Wall("a signal")),
    }
}
