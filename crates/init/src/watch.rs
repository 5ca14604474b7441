//! Hides how init hears of what programs are refused to change: each call that would change a path waits until init has
//! looked where that leads. The kernel refuses it then, by the mounts; what is heard is for the record.
//!
//! Where the mount is gone ([`Covers`]) init refuses what it heard. That is no wall: a program can change the path between
//! init's look and the kernel's.

use crate::{
    covers::{self, Covers},
    poll::{Event, Flags, Poll, Token},
    spawn::Spawner,
};
use jail::seccomp::listener::{Listener, Notice, Place};
use rustix::{
    fd::OwnedFd,
    fs::{FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::{Component, Path, PathBuf},
};
use wire::{
    OsBytes,
    link::{Change, FromInit, Refused},
};

/// The slot of every listener, under the stream of its exec.
pub const SLOT: u8 = 5;

/// Who listens to what programs change.
pub struct Watch {
    covers: Covers,
    /// By the stream of their exec, which its background processes outlive.
    listeners: BTreeMap<u32, Listener>,
    /// Too much is queued for the link: who changes something waits.
    paused: bool,
    /// Why nothing is heard, until that is told; and whether it was.
    deaf: Option<String>,
    told_deaf: bool,
}

impl Watch {
    /// Of what is protected.
    pub fn new(covers: Covers) -> Self {
        Self { covers, listeners: BTreeMap::new(), paused: false, deaf: None, told_deaf: false }
    }

    /// What is protected.
    pub fn covers(&self) -> &Covers {
        &self.covers
    }

    /// Hears one more exec and all that it starts.
    pub fn add(&mut self, poll: &Poll, stream: u32, listener: Listener) -> io::Result<()> {
        poll.add(&listener, Token { stream, slot: SLOT }, Self::flags(self.paused))?;
        self.listeners.insert(stream, listener);
        Ok(())
    }

    /// An exec is not heard.
    pub fn cannot(&mut self, cause: String) {
        if !self.told_deaf {
            self.deaf = Some(cause);
        }
    }

    /// What is to be told of that, once.
    pub fn deafness(&mut self) -> Option<FromInit> {
        let cause = self.deaf.take()?;
        self.told_deaf = true;
        Some(FromInit::Unheard { cause })
    }

    /// Lets changes wait, or go on.
    pub fn pause(&mut self, poll: &Poll, paused: bool) -> io::Result<()> {
        self.paused = paused;
        self.listeners.iter().try_for_each(|(&stream, listener)| {
            poll.modify(listener, Token { stream, slot: SLOT }, Self::flags(paused))
        })
    }

    fn flags(paused: bool) -> Flags {
        if paused { Flags::empty() } else { Flags::IN }
    }

    /// Somebody waits, or nobody is left. What is returned is to be told.
    pub fn ready(&mut self, event: Event, spawner: &Spawner) -> Option<FromInit> {
        let stream = event.token.stream;
        if event.broken() {
            self.listeners.remove(&stream);
            return None;
        }
        let listener = self.listeners.get(&stream)?;
        let notice = listener.next().ok().flatten()?;
        let found = spawner.as_peer(notice.caller, || self.refused(&notice)).ok().flatten();
        let found = found.filter(|_| listener.waits(&notice));
        // Who is gone meanwhile is not let go.
        let _ = match &found {
            Some((_, false)) => listener.refuse(&notice, Errno::ROFS),
            _ => listener.let_go(&notice),
        };
        found.map(|(refused, _)| FromInit::Refused(refused))
    }

    /// What is to be told of a call, and whether the kernel will refuse it.
    fn refused(&self, notice: &Notice) -> Option<(Refused, bool)> {
        // Who lets nobody see its memory (PR_SET_DUMPABLE) is not heard.
        let memory = notice.memory().ok()?;
        let change = change(notice.call);
        let protected = |place: &Place| self.protected(&Asked::of(notice, *place, &memory)?, change, notice.flags);
        let (path, covered) = notice.paths.iter().find_map(protected)?;
        Some((Refused { path: OsBytes::from(path.as_path()), change, program: program(notice) }, covered))
    }

    /// Where that leads, if it is protected and the change is none that is allowed there; and whether the mounts refuse it.
    fn protected(&self, asked: &Asked, change: Change, flags: Option<OFlags>) -> Option<(PathBuf, bool)> {
        // What is made, removed or renamed is the link itself.
        let follow = if change == Change::Write { OFlags::empty() } else { OFlags::NOFOLLOW };
        let open = |path: &Path, flags| rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty());
        let (there, place, path) = match open(&asked.path, follow) {
            Ok(target) => {
                let path = real(&target)?;
                (true, target, path)
            }
            // It is to be made; or something stands on the way, as what stands in for a directory does. Each look may take
            // long: there are few, however long the path is.
            Err(Errno::NOENT | Errno::NOTDIR) => match open(asked.path.parent()?, OFlags::DIRECTORY) {
                Ok(dir) => {
                    let path = real(&dir)?.join(asked.path.file_name()?);
                    (false, dir, path)
                }
                Err(_) => {
                    let path = asked.plain()?;
                    let cover = open(self.covers.around(&path)?, OFlags::NOFOLLOW).ok()?;
                    (false, cover, path)
                }
            },
            Err(_) => return None,
        };
        let moves = matches!(change, Change::Remove | Change::Rename);
        let is_read_only = covers::is_read_only(&place);
        let covered = match self.covers.place(&path) {
            // What the kernel finds there, or does not, it tells before it refuses.
            covers::Place::ReadOnly if flags.is_some_and(|flags| !changes(flags, there, &place)) => return None,
            covers::Place::ReadOnly if change == Change::Make && there && is_read_only => return None,
            covers::Place::ReadOnly if change == Change::Remove && !there => return None,
            covers::Place::ReadOnly => is_read_only || moves && there && covers::is_mounted(&place),
            covers::Place::Kept if moves && there => covers::is_mounted(&place),
            covers::Place::Kept | covers::Place::Open => return None,
        };
        Some((path, covered))
    }
}

/// Whether open(2) with these flags would change what is there, or make what is not.
fn changes(flags: OFlags, there: bool, place: &OwnedFd) -> bool {
    let is_dir = || rustix::fs::fstat(place).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
    match there {
        // `O_TMPFILE` is about a directory.
        true if flags.contains(OFlags::TMPFILE) => true,
        true => {
            flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::TRUNC)
                && !flags.contains(OFlags::CREATE | OFlags::EXCL)
                && !is_dir()
        }
        false => flags.contains(OFlags::CREATE),
    }
}

/// The path of a call, as init can open it.
struct Asked {
    path: PathBuf,
    /// Where it begins, in /proc, if it is relative.
    begins: Option<PathBuf>,
}

impl Asked {
    fn of(notice: &Notice, place: Place, memory: &OwnedFd) -> Option<Self> {
        let path = place.path(memory);
        let path = Path::new(OsStr::from_bytes(&path));
        if path.as_os_str().is_empty() {
            return None;
        }
        if path.is_absolute() {
            return Some(Self { path: of_caller(path, notice), begins: None });
        }
        let begins = PathBuf::from(place.begins(notice.caller));
        Some(Self { path: begins.join(path), begins: Some(begins) })
    }

    /// The same without a look at what is on the way.
    fn plain(&self) -> Option<PathBuf> {
        let mut plain = PathBuf::from("/");
        let mut rest = self.path.as_path();
        if let Some(begins) = &self.begins {
            plain = std::fs::read_link(begins).ok()?;
            rest = rest.strip_prefix(begins).ok()?;
        }
        for part in rest.components() {
            match part {
                Component::Normal(name) => plain.push(name),
                Component::ParentDir => drop(plain.pop()),
                _ => {}
            }
        }
        Some(plain)
    }
}

/// What a path says of whoever uses it is said of the caller, and not of init.
fn of_caller(path: &Path, notice: &Notice) -> PathBuf {
    let caller = format!("/proc/{}", notice.caller.as_raw_nonzero());
    for own in ["/proc/self", "/proc/thread-self"] {
        if let Ok(rest) = path.strip_prefix(own) {
            return Path::new(&caller).join(rest);
        }
    }
    match path.strip_prefix("/dev/fd") {
        Ok(rest) => Path::new(&caller).join("fd").join(rest),
        Err(_) => path.to_owned(),
    }
}

fn real(fd: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

/// The file name of the program that called.
fn program(notice: &Notice) -> OsBytes {
    let exe = std::fs::read_link(format!("/proc/{}/exe", notice.caller.as_raw_nonzero()));
    OsBytes(exe.ok().and_then(|exe| Some(exe.file_name()?.as_bytes().to_vec())).unwrap_or_default())
}

fn change(call: &str) -> Change {
    match call {
        "unlink" | "unlinkat" | "rmdir" => Change::Remove,
        "rename" | "renameat" | "renameat2" => Change::Rename,
        "open" | "openat" | "creat" | "truncate" => Change::Write,
        _ => Change::Make,
    }
}
