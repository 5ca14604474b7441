//! Hides how a program is started: everything between fork(2) and execve(2), and the search for the program.

use jail::{
    caps::BUILD,
    process::{Fork, Program},
    seccomp::{Profile, listener::Listener},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Access, Mode},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
    pipe::PipeFlags,
    process::{Pid, Resource},
};
use std::{
    ffi::{CString, OsStr},
    io,
    os::unix::ffi::OsStrExt,
};
use wire::{
    ExecSpec, OsBytes, Rlimit, RlimitKind, User,
    link::{ExecFailure, Setup},
};

/// Where glibc's execvp(3) looks if there is no `PATH`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";
/// How much sooner the kernel's OOM killer takes a program than init, whose own value is 0.
const OOM_SCORE: &[u8] = b"500";

/// Why nothing was started, for an [`ExecReport::Failed`](wire::link::ExecReport::Failed).
pub type Failure = (ExecFailure, String);

/// What every program of this sandbox has in common.
pub struct Spawner {
    /// Ids that exist, as (first, count).
    ids: Vec<(u32, u32)>,
    /// Limits that every program has.
    rlimits: Vec<Rlimit>,
    /// Init's own /proc/self/oom_score_adj, opened before Landlock made /proc read-only.
    oom_score: Option<OwnedFd>,
    /// Whether root may do what installers do.
    build: bool,
    /// Whether somebody listens to what programs change.
    watched: bool,
    /// The soft limit of open files that init was started with, before it raised its own.
    nofile: rustix::process::Rlimit,
}

/// The descriptors that become a program's 0, 1 and 2.
pub enum ChildStdio<'a> {
    /// One each.
    Pipes([BorrowedFd<'a>; 3]),
    /// A terminal, which becomes the controlling one.
    Terminal(BorrowedFd<'a>),
}

/// A process that is on its way to become a program.
pub struct Launched {
    /// Its id, and that of its session and process group.
    pub pid: Pid,
    /// Tells how it went: [`Outcome::next`]. Non-blocking.
    pub outcome: OwnedFd,
}

/// What a child says before it is a program.
pub enum Outcome {
    /// Its changes are heard here.
    Watched(Listener),
    /// They are not, because the kernel does not have it.
    Unwatched(String),
    /// It became no program.
    Failed(Failure),
    /// It has become one, or has ended.
    Gone,
}

/// As it goes over the socket: whether it is watched, with the listener's descriptor, or why it is not.
type Word = Result<Result<(), String>, Failure>;

impl Outcome {
    /// The next thing that it says; `None`: it has not yet.
    pub fn next(outcome: &OwnedFd) -> Option<Self> {
        let mut bytes = [0; 4096];
        let unreadable = |cause: &dyn std::fmt::Display| {
            Self::Failed((ExecFailure::Other, format!("The child's report is unreadable: {cause}")))
        };
        let (count, mut fds) = match jail::fd::receive(outcome, 1, &mut bytes) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => return Some(Self::Gone),
        };
        Some(match (wire::decode::<Word>(&bytes[..count]), fds.pop()) {
            (Ok(Ok(Ok(()))), Some(fd)) => Self::Watched(Listener::new(fd)),
            (Ok(Ok(Ok(()))), None) => unreadable(&"no descriptor came with it"),
            (Ok(Ok(Err(cause))), _) => Self::Unwatched(cause),
            (Ok(Err(failure)), _) => Self::Failed(failure),
            (Err(error), _) => unreadable(&error),
        })
    }
}

impl Spawner {
    /// Raises init's own limit of open files as far as it goes: each exec takes four, each flow one.
    pub fn new(setup: &Setup, oom_score: Option<OwnedFd>) -> Self {
        let nofile = rustix::process::getrlimit(Resource::Nofile);
        // If it cannot be raised, descriptors run out sooner, and whoever needs one is told so.
        let _ = jail::process::raise_rlimit(Resource::Nofile);
        let (ids, rlimits) = (setup.ids.clone(), setup.rlimits.clone());
        Self {
            ids,
            rlimits,
            build: setup.build,
            watched: setup.log_refused && !setup.protected.is_empty(),
            oom_score,
            nofile,
        }
    }

    /// Whether the sandbox has ids to change to, so that init keeps the right to do so. One user id and one group id
    /// of different numbers are two ranges of one, and leave nothing to change.
    pub fn many_ids(ids: &[(u32, u32)]) -> bool {
        ids.iter().any(|&(_, count)| count > 1)
    }

    /// Checks that a user exists here.
    pub fn check_user(&self, user: &User) -> Result<(), String> {
        let mapped = |id: u32| self.ids.iter().any(|&(first, count)| id >= first && id - first < count);
        if !mapped(user.uid) {
            return Err(format!("User id {} does not exist in this sandbox ({})", user.uid, self.describe_ids()));
        }
        for &gid in [user.gid].iter().chain(&user.groups) {
            if !mapped(gid) {
                return Err(format!("Group id {gid} does not exist in this sandbox ({})", self.describe_ids()));
            }
        }
        if !user.groups.is_empty() && !Self::many_ids(&self.ids) {
            return Err("Supplementary groups need a sandbox with more than one id".to_owned());
        }
        Ok(())
    }

    fn describe_ids(&self) -> String {
        let ranges: Vec<String> = self
            .ids
            .iter()
            .map(|&(first, count)| match count {
                1 => first.to_string(),
                _ => format!("{first}-{}", u64::from(first) + u64::from(count) - 1),
            })
            .collect();
        format!("ids here: {}", if ranges.is_empty() { "none".to_owned() } else { ranges.join(", ") })
    }

    /// Looks at a process of this sandbox as one of its own user and group may.
    pub fn as_peer<T>(&self, peer: Pid, look: impl FnOnce() -> T) -> io::Result<T> {
        if !Self::many_ids(&self.ids) {
            return Ok(look());
        }
        let stat = rustix::fs::stat(format!("/proc/{}", peer.as_raw_nonzero()))?;
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if (stat.st_uid, stat.st_gid) == own { Ok(look()) } else { jail::pid1::as_peer(stat.st_uid, stat.st_gid, look) }
    }

    /// Does something whose files are to belong to a user.
    pub fn as_file_user<T>(&self, user: &User, make: impl FnOnce() -> T) -> io::Result<T> {
        if Self::many_ids(&self.ids) { jail::pid1::as_file_user(user.uid, make) } else { Ok(make()) }
    }

    /// Becomes a user for good, with no capability, but in a build as root. For a child.
    pub fn become_user(&self, user: &User) -> io::Result<()> {
        if Self::many_ids(&self.ids) {
            jail::process::set_ids(user.uid, user.gid, &user.groups)?;
        } else if (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()) != (user.uid, user.gid) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        match self.build && user.uid == 0 {
            true => jail::caps::keep_through_exec(BUILD, BUILD),
            false => jail::caps::drop_all(),
        }
    }

    /// Forks a child that the OOM killer takes before init.
    pub fn fork(&self) -> io::Result<Fork> {
        // A child inherits the score, so it is set around the fork: the child itself could not write to /proc any
        // more. A kernel or mount that does not let us is no reason to start nothing.
        let score = |value: &[u8]| {
            if let Some(fd) = &self.oom_score {
                let _ = rustix::io::pwrite(fd, value, 0);
            }
        };
        score(OOM_SCORE);
        let fork = jail::process::fork();
        if !matches!(fork, Ok(Fork::Child)) {
            score(b"0");
        }
        fork
    }

    /// Starts a program, as a user that was [checked](Self::check_user).
    ///
    /// # Errors
    /// What can be said before the fork; the rest comes through [`Launched::outcome`].
    pub fn spawn(&self, spec: &ExecSpec, stdio: &ChildStdio<'_>) -> Result<Launched, Failure> {
        let program = Search::new(spec)?;
        let needs: Vec<Search> = spec.needs.iter().map(|name| Search::of(name, spec)).collect::<Result<_, _>>()?;
        let argv = strings(&spec.argv, "argument")?;
        let env = strings(&spec.env, "environment entry")?;
        let cwd = c_string(&spec.cwd.0, "working directory")?;
        let (outcome, report) = report_socket().map_err(step("Cannot make a socket"))?;
        match self.fork().map_err(step("Cannot fork"))? {
            Fork::Parent(pid) => Ok(Launched { pid, outcome }),
            Fork::Child => {
                let ready = self.prepare(spec, stdio, &cwd, &report).and_then(|()| has_all(&needs));
                let failure = match ready {
                    Ok(()) => program.exec(&argv, &env),
                    Err(failure) => failure,
                };
                report_failure(&report, failure);
                std::process::exit(125)
            }
        }
    }

    /// Everything that a program may rely on, done in the child.
    fn prepare(&self, spec: &ExecSpec, stdio: &ChildStdio<'_>, cwd: &CString, report: &OwnedFd) -> Result<(), Failure> {
        jail::process::setsid().map_err(step("Cannot start a session"))?;
        let [stdin, stdout, stderr] = match *stdio {
            ChildStdio::Pipes(fds) => fds,
            ChildStdio::Terminal(fd) => {
                jail::process::set_controlling_tty(fd).map_err(step("Cannot take the terminal"))?;
                [fd; 3]
            }
        };
        jail::process::set_stdio(stdin, stdout, stderr).map_err(step("Cannot set standard input and output"))?;
        jail::process::close_on_exec_from(3, &[]).map_err(step("Cannot close descriptors"))?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        self.limit()?;
        self.become_user(&spec.user)
            .map_err(step(&format!("Cannot become user {}:{}", spec.user.uid, spec.user.gid)))?;
        // As the user: the directory may be one that only the user, or only others, can enter.
        rustix::process::chdir(cwd.as_c_str())
            .map_err(|error| step(&format!("Cannot enter the working directory {}", spec.cwd))(error.into()))?;
        jail::process::reset_signals().map_err(step("Cannot reset signals"))?;
        let other = |error: &dyn std::error::Error| (ExecFailure::Other, wire::cause(error));
        if self.watched {
            match jail::seccomp::install_watched() {
                Ok(listener) => return say(report, &Ok(Ok(())), &[listener.as_fd()]).map_err(|error| other(&error)),
                // What is refused is refused all the same.
                Err(error) => say(report, &Ok(Err(wire::cause(&error))), &[]).map_err(|error| other(&error))?,
            }
        }
        jail::seccomp::install(Profile::Program).map_err(|error| other(&error))
    }

    fn limit(&self) -> Result<(), Failure> {
        if !self.rlimits.iter().any(|limit| limit.kind == RlimitKind::Nofile) {
            rustix::process::setrlimit(Resource::Nofile, self.nofile)
                .map_err(|error| (ExecFailure::Other, format!("Cannot set the limit nofile: {error}")))?;
        }
        for limit in &self.rlimits {
            let (resource, name) = match limit.kind {
                RlimitKind::Core => (Resource::Core, "core"),
                RlimitKind::Fsize => (Resource::Fsize, "fsize"),
                RlimitKind::Nofile => (Resource::Nofile, "nofile"),
                RlimitKind::Nproc => (Resource::Nproc, "nproc"),
            };
            // An engine may allow its containers less than the client has. No hard limit can be raised here, and none
            // becomes wider so.
            let hard = rustix::process::getrlimit(resource).maximum;
            let value = hard.map_or(limit.value, |hard| hard.min(limit.value));
            jail::process::set_rlimit(resource, value)
                .map_err(|error| (ExecFailure::Other, format!("Cannot set the limit {name} to {value}: {error}")))?;
        }
        Ok(())
    }
}

/// A step that failed, for which the program is not to blame.
fn step(what: &str) -> impl FnOnce(io::Error) -> Failure {
    move |error| (ExecFailure::Other, format!("{what}: {error}"))
}

/// Tells the parent of a failure. What cannot be told is lost, and the parent reports a program that ended.
fn report_failure(report: &OwnedFd, (kind, cause): Failure) {
    let cause: String = cause.chars().take(1000).collect();
    let _ = say(report, &Err((kind, cause)), &[]);
}

fn say(report: &OwnedFd, word: &Word, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = wire::encode(word).map_err(io::Error::other)?;
    jail::fd::send(report, &bytes, fds).map(drop)
}

/// Where a program may be, in order, by the rules of execvp(3).
struct Search {
    name: String,
    candidates: Vec<CString>,
}

impl Search {
    fn new(spec: &ExecSpec) -> Result<Self, Failure> {
        let Some(program) = spec.argv.first() else {
            return Err((ExecFailure::Other, "No command was given".to_owned()));
        };
        Self::of(program, spec)
    }

    fn of(OsBytes(program): &OsBytes, spec: &ExecSpec) -> Result<Self, Failure> {
        let name = OsStr::from_bytes(program).display().to_string();
        if program.is_empty() {
            return Err((ExecFailure::NotFound, "The command is an empty string".to_owned()));
        }
        if program.contains(&b'/') {
            return Ok(Self { name, candidates: vec![c_string(program, "command")?] });
        }
        let path = spec.env.iter().find_map(|entry| entry.0.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
        let candidates = path
            .split(|&byte| byte == b':')
            .map(|dir| match dir {
                b"" => c_string(program, "command"),
                dir => c_string(&[dir, b"/", program].concat(), "command"),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { name, candidates })
    }

    /// Whether there is one that its caller can execute.
    fn finds(&self) -> bool {
        let can = |path: &CString| rustix::fs::access(path.as_c_str(), Access::EXEC_OK).is_ok();
        self.candidates.iter().any(can)
    }

    /// Becomes the first candidate that can be executed. Returns only on failure.
    ///
    /// One that may not be executed is passed over for a later one, but remembered: if there is none, "permission
    /// denied" says more than "not found". A file in no known format is not handed to a shell.
    fn exec(&self, argv: &[CString], env: &[CString]) -> Failure {
        let mut denied = false;
        for candidate in &self.candidates {
            let error = jail::process::exec(Program::Path(candidate), argv, env);
            match Errno::from_io_error(&error) {
                Some(Errno::ACCESS) => denied = true,
                Some(Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::NODEV | Errno::TIMEDOUT) => {}
                Some(Errno::TOOBIG) => {
                    let cause = "arguments and environment are too large for the kernel, together or one of them";
                    return (ExecFailure::NotExecutable, format!("Cannot execute {}: {cause}", self.name));
                }
                Some(Errno::NOMEM | Errno::AGAIN | Errno::MFILE | Errno::NFILE) => {
                    return (ExecFailure::Other, format!("Cannot execute {}: {error}", self.name));
                }
                _ => return (ExecFailure::NotExecutable, format!("Cannot execute {}: {error}", self.name)),
            }
        }
        if denied {
            (ExecFailure::NotExecutable, format!("Cannot execute {}: permission denied", self.name))
        } else if self.candidates.len() == 1 && self.name.contains('/') {
            (ExecFailure::NotFound, format!("Cannot execute {}: no such file or directory", self.name))
        } else {
            (ExecFailure::NotFound, format!("Cannot find {} in PATH", self.name))
        }
    }
}

/// Refuses to go on if something that is needed is not there.
fn has_all(needs: &[Search]) -> Result<(), Failure> {
    let missing: Vec<&str> = needs.iter().filter(|need| !need.finds()).map(|need| need.name.as_str()).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => {
            let cause = format!("The image has no {}, which the command needs", missing.join(" and no "));
            Err((ExecFailure::NotFound, cause))
        }
    }
}

fn strings(list: &[OsBytes], what: &str) -> Result<Vec<CString>, Failure> {
    list.iter().map(|bytes| c_string(&bytes.0, what)).collect()
}

fn c_string(bytes: &[u8], what: &str) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| (ExecFailure::Other, format!("The {what} has a NUL byte in it")))
}

/// A pipe, both ends close-on-exec, of which the named one does not block.
pub fn pipe(nonblocking: End) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let ours = match nonblocking {
        End::Read => read.as_fd(),
        End::Write => write.as_fd(),
    };
    rustix::io::ioctl_fionbio(ours, true)?;
    Ok((read, write))
}

/// Two ends over which messages go with descriptors, close-on-exec. The first does not block.
fn report_socket() -> io::Result<(OwnedFd, OwnedFd)> {
    let (outcome, report) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&outcome, true)?;
    Ok((outcome, report))
}

/// An end of a pipe.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// What comes out.
    Read,
    /// What goes in.
    Write,
}

#[cfg(test)]
#[path = "spawn_tests.rs"]
mod tests;
