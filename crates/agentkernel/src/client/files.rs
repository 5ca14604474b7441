//! Files and trees over the control socket, as tar archives.
//!
//! What comes out of a sandbox is untrusted: it is unpacked by a short-lived child that may write below the
//! destination and do nothing else.

use super::{Client, ClientError};
use crate::{
    connection::{Filled, Incoming},
    walk::{Entry, Links, WalkError, Writable},
};
use archive::Summary;
use jail::process::Fork;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
    process::{WaitOptions, waitpid},
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};
use wire::{
    Channel, Failure, OsBytes, User, api,
    link::{FilesReport, Get, Put},
};

/// The host's side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// A file or directory. No symbolic link is followed in the directories that the sandbox can write.
    Path {
        /// As the user named it.
        path: PathBuf,
        /// What the sandbox can write on the host.
        writable: Vec<PathBuf>,
    },
    /// A tar archive on standard input or output.
    Archive,
}

/// Puts an executable file that is nowhere but in memory into a sandbox's directory.
///
/// # Errors
/// [`CopyError`]
pub fn put_program(client: &mut Client, program: &[u8], dir: OsBytes, name: &str, user: User) -> Result<(), CopyError> {
    let packed = upload(client, dir, user, |out| {
        let packed = archive::pack_bytes(program, 0o755, (0, 0), OsStr::new(name), out);
        packed.map_err(|source| CopyError::Pack { path: name.into(), source })
    });
    packed.map(drop)
}

/// A copy did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The sandbox's side.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file on the host.
    #[error("Cannot read or write {path}")]
    Host {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path on the host leads through the sandbox's hands.
    #[error("Cannot use {path}: {cause}")]
    Untrusted {
        /// Which one.
        path: PathBuf,
        /// The cause, in one line.
        cause: String,
    },
    /// What is at the destination is neither a file nor a directory.
    #[error("Cannot replace {path}: it is a {kind}")]
    Special {
        /// Which one.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The host's files could not be packed.
    #[error("Cannot pack {path}")]
    Pack {
        /// Which tree.
        path: PathBuf,
        /// Why.
        source: archive::PackError,
    },
    /// The sandbox could not read or write its files.
    #[error("In the sandbox: {0}")]
    Sandbox(Failure),
    /// Nobody reads the archive on standard output any more.
    #[error("Nobody reads standard output")]
    Unread,
    /// The archive from the sandbox was refused, or could not be written.
    #[error("Cannot unpack into {path}: {cause}")]
    Unpack {
        /// Where to.
        path: PathBuf,
        /// The cause, in one line.
        cause: String,
    },
}

fn host(path: &Path) -> impl FnOnce(Errno) -> CopyError {
    let path = path.to_owned();
    move |errno| CopyError::Host { path, source: errno.into() }
}

fn lost(path: &Path) -> impl FnOnce(WalkError) -> CopyError {
    let path = path.to_owned();
    move |error| match error {
        WalkError::Io(source) => CopyError::Host { path, source },
        WalkError::Link { .. } | WalkError::Out { .. } | WalkError::Foreign { .. } => {
            CopyError::Untrusted { path, cause: error.to_string() }
        }
    }
}

/// Copies from the host into a sandbox. Gives what was left out, in words; empty if nothing.
///
/// # Errors
/// [`CopyError`]; what had arrived by then stays.
pub fn send(client: &mut Client, from: Local, follow: bool, mut to: OsBytes, user: User) -> Result<String, CopyError> {
    match &from {
        Local::Archive => {
            // What is in it keeps its names, so this must be a directory: a slash says so.
            to.0.push(b'/');
            let (_, left_out) = upload(client, to, user, |out| {
                let mut input = io::stdin().lock();
                let copied = match io::copy(&mut input, out) {
                    // What fills up the last record after the end mark: taken, so that whoever writes it does not fail.
                    Err(_) if matches!(out.verdict, Some(FilesReport::Done { .. })) => {
                        io::copy(&mut input, &mut io::sink())
                    }
                    copied => copied,
                };
                copied.map_err(|source| CopyError::Host { path: "standard input".into(), source })
            })?;
            Ok(left_out)
        }
        Local::Path { path, writable } => {
            let (packed, _) =
                upload(client, to, user, |out| pack(path, follow, &Writable::of(writable, Links::Refused), out))?;
            Ok(packed.left_out.to_string())
        }
    }
}

/// Sends the archive that `write` writes, and hears what became of it. Gives what `write` gives, and what the sandbox
/// has left out.
fn upload<T>(
    client: &mut Client,
    to: OsBytes,
    user: User,
    write: impl FnOnce(&mut Upload<'_>) -> Result<T, CopyError>,
) -> Result<(T, String), CopyError> {
    let stream = client.open(&api::Open::Put(Put { path: to, user }))?;
    let mut pipe = Upload { client, stream, verdict: None };
    let packed = write(&mut pipe);
    // The sandbox's own word explains a cut stream better than the cut does.
    if pipe.verdict.is_none() && packed.is_ok() {
        pipe.client.connection.mux.eof(stream, Channel::Stdin);
        while pipe.verdict.is_none() {
            pipe.turn()?;
        }
    }
    let verdict = pipe.verdict.take();
    client.connection.mux.close(stream);
    match verdict {
        Some(FilesReport::Failed(failure)) => Err(CopyError::Sandbox(failure)),
        Some(FilesReport::Done { left_out }) => Ok((packed?, left_out)),
        None => Ok((packed?, String::new())),
    }
}

/// Packs a path of the host. `DIR/.` is what is in DIR.
fn pack(path: &Path, follow: bool, writable: &Writable, out: &mut Upload<'_>) -> Result<Summary, CopyError> {
    let contents = path.as_os_str().as_bytes().ends_with(b"/.");
    let (dir, name) = if contents || path.file_name().is_none() {
        (writable.directory(path).map_err(lost(path))?, ".".into())
    } else {
        let Entry { dir, name, .. } = writable.entry(path, follow).map_err(lost(path))?;
        (dir, name)
    };
    // Named as it was typed: the link's name, not its target's; and what has no name of its own as the system calls it.
    let real;
    let as_name = match path.file_name() {
        _ if contents => OsStr::new("."),
        Some(typed) => typed,
        None => {
            real = std::fs::canonicalize(path).unwrap_or_default();
            real.file_name().unwrap_or(OsStr::new("."))
        }
    };
    archive::pack(dir.as_fd(), &name, as_name, out).map_err(|source| CopyError::Pack { path: path.to_owned(), source })
}

/// Copies from a sandbox to the host. Gives what was left out, in words; empty if nothing.
///
/// # Errors
/// [`CopyError`]; what had arrived by then stays.
pub fn fetch(client: &mut Client, from: OsBytes, user: User, follow: bool, to: Local) -> Result<String, CopyError> {
    let contents = from.0.ends_with(b"/.");
    let name: OsString = from.as_path().file_name().map_or_else(|| OsString::from("root"), OsStr::to_owned);
    let target = match &to {
        Local::Archive => None,
        Local::Path { path, writable } => {
            Some(Target::find(path, &name, contents, &Writable::of(writable, Links::Refused))?)
        }
    };
    let stream = client.open(&api::Open::Get(Get { path: from, user, follow }))?;
    let result = match target {
        None => download(client, stream, &mut io::stdout().lock())
            .map_err(|cut| match cut {
                Cut::Client(error) => error.into(),
                Cut::Sink(source) if source.kind() == io::ErrorKind::BrokenPipe => CopyError::Unread,
                Cut::Sink(source) => CopyError::Host { path: "standard output".into(), source },
            })
            .and_then(settle),
        Some(target) => unpack(client, stream, target),
    };
    client.connection.mux.close(stream);
    result
}

fn settle(report: FilesReport) -> Result<String, CopyError> {
    match report {
        FilesReport::Done { left_out } => Ok(left_out),
        FilesReport::Failed(failure) => Err(CopyError::Sandbox(failure)),
    }
}

/// Where on the host files from a sandbox go.
struct Target {
    dir: OwnedFd,
    /// The name of the archive's single top entry, if not its own.
    rename: Option<OsString>,
    path: PathBuf,
}

impl Target {
    /// Follows a link that the user named, to what is to be replaced, entered or made.
    fn find(path: &Path, name: &OsStr, contents: bool, writable: &Writable) -> Result<Self, CopyError> {
        let Entry { dir, name: last, .. } = writable.entry(path, true).map_err(lost(path))?;
        let open = |name: &OsStr| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&dir, name, flags, Mode::empty()).map_err(host(path))
        };
        let target =
            |dir, rename: Option<&OsStr>| Ok(Self { dir, rename: rename.map(OsStr::to_owned), path: path.to_owned() });
        let bytes = path.as_os_str().as_bytes();
        let directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
        match kind(&dir, &last, path).map_err(host(path))? {
            Some(FileType::Directory) => target(open(&last)?, (!contents).then_some(name)),
            None if directory => Err(host(path)(Errno::NOENT)),
            None if contents => {
                rustix::fs::mkdirat(&dir, &last, Mode::from(0o777)).map_err(host(path))?;
                target(open(&last)?, None)
            }
            Some(FileType::RegularFile) if directory || contents => Err(host(path)(Errno::NOTDIR)),
            None | Some(FileType::RegularFile) => target(open(OsStr::new("."))?, Some(&last)),
            Some(kind) => {
                let kind = match kind {
                    // One that was put there just now.
                    FileType::Symlink => "symbolic link",
                    kind => archive::special(kind),
                };
                Err(CopyError::Special { path: path.to_owned(), kind })
            }
        }
    }
}

/// What is at the end of a path that was walked; `None` if nothing is.
fn kind(dir: &OwnedFd, name: &OsStr, path: &Path) -> rustix::io::Result<Option<FileType>> {
    let of = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode);
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        // A link such as /dev/stdout's can lead to a pipe, which has no name to walk to.
        Err(Errno::NOENT) => {
            let kind = rustix::fs::stat(path).ok().map(of);
            Ok(kind.filter(|kind| !matches!(kind, FileType::RegularFile | FileType::Directory)))
        }
        found => found.map(of).map(Some),
    }
}

/// Unpacks in a child that can reach nothing but the destination.
fn unpack(client: &mut Client, stream: u32, target: Target) -> Result<String, CopyError> {
    let refused = |source: io::Error| CopyError::Host { path: target.path.clone(), source };
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|errno| refused(errno.into()));
    let ((bytes_out, bytes_in), (words_out, words_in)) = (pipe()?, pipe()?);
    match jail::process::fork().map_err(refused)? {
        Fork::Child => {
            drop((bytes_in, words_out));
            let result = confine(&target).map_err(|error| error.to_string()).and_then(|()| {
                archive::unpack(
                    target.dir.as_fd(),
                    target.rename.as_deref(),
                    &archive::UnpackOptions::default(),
                    File::from(bytes_out),
                )
                .map_err(|error| wire::cause(&error))
            });
            if let Err(cause) = &result {
                let _ = File::from(words_in).write_all(cause.as_bytes());
            }
            std::process::exit(i32::from(result.is_err()));
        }
        Fork::Parent(child) => {
            drop((bytes_out, words_in));
            let mut sink = File::from(bytes_in);
            let report = download(client, stream, &mut sink);
            drop(sink);
            let mut cause = String::new();
            let _ = File::from(words_out).take(4096).read_to_string(&mut cause);
            let status = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
            // The sandbox's word first: a failure there cuts the archive short here.
            let left_out = match report {
                Ok(report) => settle(report)?,
                Err(Cut::Client(error)) => return Err(error.into()),
                Err(Cut::Sink(_)) => String::new(),
            };
            match status {
                Ok(Some((_, status))) if status.exit_status() == Some(0) => Ok(left_out),
                _ => {
                    if cause.is_empty() {
                        cause = "the unpacking process died".into();
                    }
                    Err(CopyError::Unpack { path: target.path, cause })
                }
            }
        }
    }
}

/// Takes away what unpacking does not need.
fn confine(target: &Target) -> io::Result<()> {
    use rustix::thread::CapabilitySet;
    jail::process::set_no_new_privs()?;
    // Root may copy into other people's directories; that is the one privilege it needs here.
    let keep = CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER | CapabilitySet::CHOWN;
    jail::caps::keep_only(keep & jail::caps::current()?)?;
    jail::landlock::restrict(&[target.dir.as_fd()]).map_err(io::Error::other)?;
    jail::seccomp::install(jail::seccomp::Profile::Default).map_err(io::Error::other)
}

/// Why a download stopped.
enum Cut {
    Client(ClientError),
    Sink(io::Error),
}

/// Passes an archive from a stream on to `sink`, to its end.
fn download(client: &mut Client, stream: u32, sink: &mut impl Write) -> Result<FilesReport, Cut> {
    loop {
        match client.next().map_err(Cut::Client)? {
            Incoming::Data(from, _, bytes) if from == stream => {
                sink.write_all(&bytes).map_err(Cut::Sink)?;
                client.connection.mux.consumed(stream, bytes.len());
            }
            Incoming::Control(from, payload) if from == stream => {
                sink.flush().map_err(Cut::Sink)?;
                return verdict(&payload).map_err(Cut::Client);
            }
            Incoming::Closed(from) if from == stream => return Err(Cut::Client(ClientError::Gone)),
            _ => {}
        }
    }
}

fn verdict(payload: &[u8]) -> Result<FilesReport, ClientError> {
    match wire::decode(payload) {
        Ok(api::Report::Files(report)) => Ok(report),
        Ok(api::Report::Failed(failure)) => Err(failure.into()),
        _ => Err(ClientError::Nonsense),
    }
}

/// A stream to the sandbox as a writer.
struct Upload<'a> {
    client: &'a mut Client,
    stream: u32,
    verdict: Option<FilesReport>,
}

impl Upload<'_> {
    /// Waits for one event.
    fn turn(&mut self) -> Result<(), ClientError> {
        match self.client.next()? {
            Incoming::Control(from, payload) if from == self.stream => self.verdict = Some(verdict(&payload)?),
            Incoming::Closed(from) if from == self.stream && self.verdict.is_none() => return Err(ClientError::Gone),
            _ => {}
        }
        Ok(())
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if self.verdict.is_some() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let connection = &mut self.client.connection;
            let sent = connection.mux.data(self.stream, Channel::Stdin, bytes);
            if sent > 0 || bytes.is_empty() {
                let flushed = connection.flush()?;
                // An early end is noticed before the last byte.
                let ready = poll(
                    &mut [PollFd::new(&*connection, PollFlags::IN)],
                    Some(&super::timespec(std::time::Duration::ZERO)),
                );
                if flushed && matches!(ready, Ok(1..)) && connection.fill().map_err(io::Error::other)? == Filled::End {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                return Ok(sent);
            }
            self.turn().map_err(io::Error::other)?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
