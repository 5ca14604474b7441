//! Hides how files are copied in and out: a child with the user's rights does the work, so that a slow disk never
//! holds up the loop, and bytes go through a pipe.

use crate::{
    activity::{Activity, Step},
    link::LinkError,
    poll::{self, Event, Token},
    pump::{AtEof, Cx, Sink, Source},
    spawn::{End, Spawner, pipe},
};
use archive::UnpackOptions;
use jail::process::Fork;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{CWD, Mode, OFlags},
    io::Errno,
    process::Pid,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
    rc::Rc,
};
use wire::{
    Channel, Exit, Failure,
    link::{FilesReport, Get, Open, Put},
};

const DATA: u8 = 0;
/// The longest report: twice a thousand characters, and what goes around them.
const MAX_REPORT: u64 = 16 * 1024;

/// The way of the bytes.
enum Data {
    In(Sink),
    Out(Source),
}

/// One running transfer.
pub struct Transfer {
    pid: Pid,
    data: Data,
    /// Where the child says how it went.
    report: OwnedFd,
    exit: Option<Exit>,
    /// The supervisor has lost interest.
    abandoned: bool,
}

impl Transfer {
    /// Starts a transfer. The second value is its process.
    ///
    /// # Errors
    /// The cause, for the supervisor.
    pub fn start(cx: &Cx<'_>, open: Open, spawner: &Spawner) -> Result<(Self, Pid), String> {
        let user = match &open {
            Open::Put(put) => put.user.clone(),
            Open::Get(get) => get.user.clone(),
            Open::Exec(_) => return Err("Not a transfer".to_owned()),
        };
        spawner.check_user(&user)?;
        let failed = |error: io::Error| format!("Cannot start a transfer: {error}");
        let incoming = matches!(open, Open::Put(_));
        let (read, write) = pipe(if incoming { End::Write } else { End::Read }).map_err(failed)?;
        let (report, reporter) = pipe(End::Read).map_err(failed)?;
        match spawner.fork().map_err(failed)? {
            Fork::Child => {
                // Data is descriptor 0, the report goes to 1; nothing else of init stays open, the link least of all.
                let data = if incoming { read } else { write };
                let settled = jail::process::set_stdio(data.as_fd(), reporter.as_fd(), reporter.as_fd())
                    .and_then(|()| jail::process::close_fds_from(3, &[]));
                let result = settled.map_err(|error| failed(error).into()).and_then(|()| work(&open, &user, spawner));
                let cut = |words: String| words.chars().take(1000).collect();
                let report = match result {
                    Ok(left_out) => FilesReport::Done { left_out: cut(left_out) },
                    Err(Failure { cause, hint }) => FilesReport::Failed(Failure { cause: cut(cause), hint: cut(hint) }),
                };
                if let Ok(bytes) = wire::encode(&report) {
                    // If init does not listen any more, it is gone, and so are we.
                    let _ = io::stdout().write_all(&bytes).and_then(|()| io::stdout().flush());
                }
                std::process::exit(0)
            }
            Fork::Parent(pid) => {
                let token = Token { stream: cx.stream, slot: DATA };
                let data = if incoming {
                    cx.poll.add(&write, token, poll::WRITE).map_err(failed)?;
                    Data::In(Sink::new(Rc::new(write), AtEof::Close))
                } else {
                    cx.poll.add(&read, token, poll::READ).map_err(failed)?;
                    Data::Out(Source::new(Rc::new(read), Channel::Stdout))
                };
                Ok((Self { pid, data, report, exit: None, abandoned: false }, pid))
            }
        }
    }

    /// What the child has said, now that it has ended.
    fn outcome(&self, exit: Exit) -> FilesReport {
        let mut bytes = Vec::new();
        // The child is gone, so the pipe holds all it ever will.
        let told =
            self.report.try_clone().map(File::from).and_then(|report| report.take(MAX_REPORT).read_to_end(&mut bytes));
        match told.ok().and_then(|_| wire::decode(&bytes).ok()) {
            Some(report) => report,
            None => FilesReport::Failed(format!("The transfer {exit}").into()),
        }
    }
}

impl Activity for Transfer {
    fn data(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        match &mut self.data {
            Data::In(sink) => sink.push(cx, bytes),
            Data::Out(_) => cx.mux.consumed(cx.stream, bytes.len()),
        }
    }

    fn eof(&mut self, _channel: Channel) {
        if let Data::In(sink) = &mut self.data {
            sink.eof();
        }
    }

    fn control(&mut self, _cx: &mut Cx<'_>, _payload: &[u8]) -> Result<(), LinkError> {
        Err(LinkError::Order("control of a transfer"))
    }

    fn closed(&mut self, cx: &mut Cx<'_>) {
        self.abandoned = true;
        cx.mux.close(cx.stream);
        if self.exit.is_none() {
            // Half of an archive is of no use. It fails only if the child has ended already.
            let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
        }
    }

    fn ready(&mut self, event: Event) {
        match &mut self.data {
            Data::In(sink) if event.writable() => sink.wake(),
            Data::Out(source) if event.readable() => source.wake(),
            _ => {}
        }
    }

    fn exited(&mut self, exit: Exit) {
        self.exit = Some(exit);
    }

    fn step(&mut self, cx: &mut Cx<'_>) -> Step {
        let (again, drained) = match &mut self.data {
            Data::In(sink) => {
                sink.flush(cx);
                (false, true)
            }
            Data::Out(source) => (source.pump(cx, self.abandoned), source.ended()),
        };
        match self.exit {
            Some(exit) if drained => {
                if let Data::Out(_) = self.data {
                    cx.mux.eof(cx.stream, Channel::Stdout);
                }
                let outcome = self.outcome(exit);
                finish(cx, &outcome);
                Step::Done
            }
            _ if again => Step::Again,
            _ => Step::Wait,
        }
    }
}

/// Tells the supervisor that nothing was started, and ends the stream.
pub fn fail(cx: &mut Cx<'_>, cause: String) {
    finish(cx, &FilesReport::Failed(cause.into()));
}

fn finish(cx: &mut Cx<'_>, report: &FilesReport) {
    // A cause is cut to a line where it is made, so it fits.
    if let Ok(bytes) = wire::encode(report) {
        cx.mux.control(cx.stream, &bytes);
    }
    cx.mux.close(cx.stream);
}

/// The child's part. Gives what was left out, in words.
fn work(open: &Open, user: &wire::User, spawner: &Spawner) -> Result<String, Failure> {
    rustix::process::umask(Mode::empty());
    spawner.become_user(user).map_err(|error| format!("Cannot become user {}:{}: {error}", user.uid, user.gid))?;
    match open {
        Open::Put(put) => put_files(put),
        Open::Get(get) => get_files(get),
        Open::Exec(_) => Err("Not a transfer".to_owned().into()),
    }
}

/// Unpacks into the directory that the path names; or else below its parent, under its last name.
fn put_files(put: &Put) -> Result<String, Failure> {
    let path = absolute(put.path.as_path())?;
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let (dest, rename) = match rustix::fs::openat(CWD, path, directory, Mode::empty()) {
        Ok(dest) => (dest, None),
        Err(error) if names_directory(path) => {
            let path = path.components().as_path().display();
            return Err(match error {
                Errno::NOENT => Failure {
                    cause: format!("{path}: no such directory"),
                    hint: "Make it first, for example with `agentkernel exec SANDBOX mkdir -p DIR`".into(),
                },
                error => format!("{path}: {}", io::Error::from(error)).into(),
            });
        }
        Err(_) => {
            let (parent, name) = split(path)?;
            let dest = rustix::fs::openat(CWD, parent, directory, Mode::empty())
                .map_err(|error| format!("{}: {}", parent.display(), io::Error::from(error)))?;
            (dest, Some(name))
        }
    };
    archive::unpack(dest.as_fd(), rename, &UnpackOptions::default(), io::stdin().lock())
        .map(|summary| summary.left_out.to_string())
        .map_err(|error| Failure { cause: wire::cause(&error), hint: error.hint() })
}

/// Packs what the path names, under its last name.
fn get_files(get: &Get) -> Result<String, Failure> {
    let path = absolute(get.path.as_path())?;
    let describe = |error: io::Error| format!("{}: {error}", path.display());
    let (parent, name, as_name): (PathBuf, OsString, OsString) = if path.file_name().is_none() || ends_in_dot(path) {
        // The root, or the contents of a directory.
        (path.to_owned(), ".".into(), ".".into())
    } else {
        let (parent, name) = split(path)?;
        if get.follow || names_directory(path) {
            let real = path.canonicalize().map_err(describe)?;
            match (real.parent(), real.file_name()) {
                (Some(parent), Some(real_name)) => (parent.to_owned(), real_name.to_owned(), name.to_owned()),
                _ => (real, ".".into(), name.to_owned()),
            }
        } else {
            (parent.to_owned(), name.to_owned(), name.to_owned())
        }
    };
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, &parent, directory, Mode::empty()).map_err(|error| describe(error.into()))?;
    // Descriptor 0 is the pipe, open for writing.
    let out = io::stdin().as_fd().try_clone_to_owned().map_err(describe)?;
    archive::pack(dir.as_fd(), &name, &as_name, File::from(out)).map(|summary| summary.left_out.to_string()).map_err(
        |error| Failure {
            cause: format!("Cannot pack {}: {}", path.display(), wire::cause(&error)),
            hint: error.hint().into(),
        },
    )
}

fn absolute(path: &Path) -> Result<&Path, String> {
    if path.is_absolute() { Ok(path) } else { Err(format!("{}: the path is not absolute", path.display())) }
}

/// A slash or a dot at the end says that a directory is meant.
fn names_directory(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/") || ends_in_dot(path)
}

fn ends_in_dot(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/.")
}

fn split(path: &Path) -> Result<(&Path, &OsStr), String> {
    match (path.parent(), path.components().next_back()) {
        (Some(parent), Some(Component::Normal(name))) => Ok((parent, name)),
        _ => Err(format!("{}: the path does not end in a name", path.display())),
    }
}
