//! Hides how protected paths are kept as they are: what stage must cover, and how one that does not exist is kept
//! from being made.
//!
//! What is missing gets a placeholder on the host, which is covered like everything else: a socket that nobody listens
//! on. Git neither shows nor commits one, nothing can be read from it, and removing one, for which whoever waits for a
//! command's end waits too, costs a tenth of what a directory does, which serves where the file system has no sockets.
//! All of a start are one socket with many names where the file system can: a name costs much less than a file.
//! Only for [`COMMON`], which git itself reads, it is a file that says what git takes for granted without it. A
//! placeholder is known by its time of modification, too. Which ones a sandbox has is written to the file `masks` of its
//! directory before they are made.
//!
//! In the place of what agents read of a project, programs in a sandbox find nothing: some of them fail where a file is none, or a
//! directory is. On the native backend a link that leads nowhere is mounted over those sockets, which is not there to whoever
//! opens it, and cannot be made either. An engine mounts no links: of these, what is to be a directory is an empty one on the
//! host, and what is to be a file is covered with one that says nothing, in an agent's sandbox.
//!
//! To remove a file detaches what is mounted on it in every mount namespace, so each sandbox holds a shared lock
//! (flock(2)) on the project's directory, and only who gets an exclusive one removes placeholders. Who does not leaves them to the
//! last one, in a file for each project, for sandboxes that are started in different directories of it have different ones.

use super::{
    super::{LaunchError, Place},
    channel,
    failure::{self, Context as _},
    plan::{self, Role},
};
use crate::{BackendKind, Spec, Workspace};
use jail::{fd::open_beneath, process::FileOwner};
use rustix::{
    fd::{AsRawFd as _, OwnedFd},
    fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat, Timespec, Timestamps},
    io::Errno,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use wire::{OsBytes, link::Covered};

const WALL: &str = "protected paths";
/// The file that remembers them: the project's path and each placeholder's below it, each ended by a NUL.
const RECORD: &str = "masks";
/// The time of modification of a placeholder, in seconds.
const MARK: i64 = archive::PLACEHOLDER;
/// Where a worktree's directory says, by a path from there, which directory has the repository's configuration.
const COMMON: &str = ".git/commondir";
/// That directory itself.
const COMMON_HERE: &[u8] = b".\n";
/// What a directory has that git takes for a bare repository, whose `config` may name programs. With one of them
/// missing, and kept so, it is none. `HEAD` last: a file of that name would make `git diff HEAD` ambiguous.
const BARE: [&str; 3] = ["refs", "objects", "HEAD"];
/// The same as [`COMMON`] at the top: could lead to another directory that has the first two.
const BARE_COMMON: &str = "commondir";
/// What a bare repository has that is obeyed.
const BARE_OBEYED: [&str; 3] = ["config", "config.worktree", "hooks"];
/// How often a project is looked at that changes under our eyes, and how long a lock is waited for in all: longer than `plugin install` holds
/// one.
const ROUNDS: u32 = 250;
const PAUSE: Duration = Duration::from_millis(2);

/// What agents read of a project, by the names at its top, or in the directory where they are started.
const OF_AGENTS: [&str; 19] = [
    ".agents",
    ".aider.conf.yml",
    ".aider.model.metadata.json",
    ".aider.model.settings.yml",
    ".amp",
    ".claude",
    ".codex",
    ".crush",
    ".crush.json",
    ".crushrc",
    ".gemini",
    ".mcp.json",
    ".opencode",
    ".qwen",
    "crush.json",
    "crushrc",
    "opencode.json",
    "tui.json",
    "tui.jsonc",
];
/// The same, beside another.
const OF_AGENTS_TOO: &str = "opencode.jsonc";
/// A directory of an agent's, and the file that it writes there first, or ends. With one it only reads.
const WANTED: (&str, &str) = (".opencode", ".gitignore");

/// The same for files that are read as soon as anything has their name, a link too.
const READ_BY_NAME: [&str; 3] = [".aider.conf.yml", ".aider.model.metadata.json", ".aider.model.settings.yml"];
/// A directory that programs make themselves, in which only some is protected: it is there while they run, and goes with that unless
/// they have put something in it.
const OPEN: &str = ".github";

/// How a path is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// It is on the way to another one, and stays writable; but a mount on it keeps it where it is: the kernel does not care
    /// what is mounted below something that is renamed.
    Passage,
    /// It is read-only.
    ReadOnly,
    /// It is a placeholder, and programs are to find nothing there.
    Nothing,
    /// It is a placeholder, and programs are to find a file there with [`archive::SAYS_NOTHING`].
    Blank,
}

/// What is to be covered.
#[derive(Debug, Default)]
pub struct Masks {
    /// Paths below the project that all exist, what is in a directory after it, and how each is covered.
    pub paths: BTreeMap<PathBuf, Cover>,
    /// The project, with a lock that keeps others from removing placeholders.
    lock: Option<OwnedFd>,
    /// What remembers the placeholders, even if somebody removes the state directory.
    record: Option<OwnedFd>,
}

impl Masks {
    /// Where the sandbox sees them, for init, as many as one message has room for: in a project whose own path has thousands of
    /// bytes, init looks after some only. All are covered.
    pub fn places(&self, spec: &Spec) -> Vec<Covered> {
        /// Bytes of their paths.
        const ROOM: usize = 24 << 10;
        let mut room = ROOM;
        let mut has_room = |covered: &Covered| {
            let cost = covered.path.0.len() + 8;
            let fits = cost <= room;
            room = room.saturating_sub(cost);
            fits
        };
        let place = |path: &Path, (below, cover): (&PathBuf, &Cover)| Covered {
            path: OsBytes::from(&*path.join(below)),
            read_only: *cover != Cover::Passage,
        };
        spec.workspace
            .path()
            .into_iter()
            .flat_map(|path| self.paths.iter().map(|mask| place(path, mask)))
            .take_while(|one| has_room(one))
            .collect()
    }
}

/// Where a protected path ends for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing is there.
    Missing,
    /// A placeholder.
    Placeholder,
    /// A directory.
    Directory,
    /// A file or link: itself protected, or where a directory on the way should be (`.git` of a worktree).
    Other,
}

/// Something changed while it was looked at: once more.
struct Again;

/// Makes the placeholders.
pub fn prepare(spec: &Spec, place: &Place) -> Result<Masks, LaunchError> {
    let Workspace::Direct { path, protected } = &spec.workspace else { return Ok(Masks::default()) };
    release(place, Masks::default()).wall(WALL, "Cannot remove an earlier start's placeholders", "")?;
    let project = plan::open_source(&Role::Workspace, path)?;
    let project = open(&project, OsStr::new(".")).wall(WALL, "Cannot open the project", "")?;
    for _ in 0..ROUNDS {
        match attempt(spec, &project, path, protected, place)? {
            Ok(masks) => return Ok(masks),
            Err(Again) => std::thread::sleep(PAUSE),
        }
    }
    let cause = format!("{} changes too fast, or somebody holds a lock in it", path.display());
    Err(failure::new(WALL, cause, "Try again, or use `--workspace overlay`"))
}

fn attempt(
    spec: &Spec,
    project: &OwnedFd,
    path: &Path,
    protected: &[PathBuf],
    place: &Place,
) -> Result<Result<Masks, Again>, LaunchError> {
    if lock(project, FlockOperation::NonBlockingLockShared) == Lock::Taken {
        return Ok(Err(Again));
    }
    let mut ends = BTreeMap::new();
    for path in protected {
        let (path, end) = locate(project, path).wall(WALL, format_args!("Cannot examine {}", path.display()), "")?;
        ends.insert(path, end);
    }
    let mut bare = false;
    if protected.iter().any(|path| path.starts_with(".git")) {
        let look = |name: &str| locate(project, Path::new(name)).wall(WALL, format_args!("Cannot examine {name}"), "");
        let pieces = BARE.iter().map(|name| look(name)).collect::<Result<Vec<_>, _>>()?;
        let missing = pieces.into_iter().find(|(_, end)| matches!(end, End::Missing | End::Placeholder));
        bare = missing.is_none();
        ends.extend(missing);
        let obeyed: &[&str] = if bare { &BARE_OBEYED } else { &[] };
        for name in [BARE_COMMON].iter().chain(obeyed) {
            ends.extend([look(name)?]);
        }
    }
    let engine = spec.backend == BackendKind::Docker;
    let wanting: Vec<PathBuf> = protected.iter().filter(|path| path.ends_with(WANTED.0)).cloned().collect();
    let wanted: Vec<(&Path, PathBuf)> = wanting.iter().map(|path| (path.as_path(), path.join(WANTED.1))).collect();
    for (directory, file) in &wanted {
        match ends.get(*directory) {
            Some(End::Directory) => {
                let found = locate(project, file);
                ends.extend([found.wall(WALL, format_args!("Cannot examine {}", file.display()), "")?]);
            }
            Some(End::Missing) if engine => drop(ends.insert(file.clone(), End::Missing)),
            _ => {}
        }
    }
    let in_open = |path: &&PathBuf| path.starts_with(OPEN) && path.as_path() != Path::new(OPEN);
    // Unless all of it is protected.
    let open = !protected.iter().any(|path| path == Path::new(OPEN));
    if open && ends.get(Path::new(OPEN)) == Some(&End::Missing) {
        ends.extend(protected.iter().filter(in_open).map(|path| (path.clone(), End::Missing)));
    }
    let mut ours: Vec<&Path> = ends
        .iter()
        .filter(|(_, end)| matches!(end, End::Missing | End::Placeholder))
        .map(|(path, _)| path.as_path())
        .collect();
    // Another sandbox may have made it a directory, with this in it: whoever ends last removes both.
    let halfway = wanted.iter().filter(|(directory, _)| ends.get(*directory) == Some(&End::Placeholder));
    ours.extend(halfway.map(|(_, file)| file.as_path()));
    if ends.keys().any(|path| path.starts_with(OPEN)) {
        // Likewise: another one may have made it.
        ours.push(Path::new(OPEN));
    }
    ours.sort_unstable();
    ours.dedup();
    // Also where nothing is ours: what others have left may be removed by it.
    let record = failure::state(remember(place, path, &ours), WALL, "Cannot note placeholders")?;
    let lock = project.try_clone().wall(WALL, "Cannot duplicate a descriptor", "")?;
    let mut masks = Masks { paths: BTreeMap::new(), lock: Some(lock), record: Some(record) };
    let mut needless = false;
    let mut maker = Maker::new(project).wall(WALL, "Cannot act as the project's owner", "")?;
    for (path, end) in ends {
        let tried = format_args!("Cannot keep {} from being made", path.display());
        let hint = "Make it yourself, name it with `--unprotect`, or use `--workspace overlay`";
        // Nobody can make what it is in.
        if needless && path.starts_with(OPEN) {
            continue;
        }
        if end == End::Missing {
            let (Ok(parent), Some(name)) = (open_parent(project, &path), path.file_name()) else {
                return Ok(Err(Again));
            };
            let kind = if path == Path::new(COMMON) || bare && path == Path::new(BARE_COMMON) {
                Kind::Common
            } else if open && path == Path::new(OPEN)
                || engine && cover_of(&path, engine) == Cover::ReadOnly && is_of_agents(&path)
            {
                Kind::Directory
            } else {
                Kind::Socket
            };
            match maker.make(parent.as_ref().unwrap_or(project), name, kind) {
                Ok(Made::Placeholder) => {}
                Ok(Made::Needless) => {
                    needless |= path == Path::new(OPEN);
                    continue;
                }
                Err(Errno::EXIST) => return Ok(Err(Again)),
                Err(Errno::ACCESS) => {
                    let hint = "The directory is not writable, but its owner could make it so inside: do it first (`chmod u+w`), or use `--workspace overlay`";
                    return Err(Errno::ACCESS).wall(WALL, tried, hint);
                }
                Err(error) => return Err(error).wall(WALL, tried, hint),
            }
        }
        let directories = path.ancestors().skip(1).filter(|directory| !directory.as_os_str().is_empty());
        for directory in directories {
            masks.paths.entry(directory.to_owned()).or_insert(Cover::Passage);
        }
        let placeholder = matches!(end, End::Missing | End::Placeholder);
        let cover = match placeholder {
            true if open && path == Path::new(OPEN) => Cover::Passage,
            true => cover_of(&path, engine),
            false => Cover::ReadOnly,
        };
        masks.paths.insert(path, cover);
    }
    Ok(Ok(masks))
}

/// Whether agents read it.
fn is_of_agents(path: &Path) -> bool {
    path.iter().any(|part| OF_AGENTS.iter().chain([&OF_AGENTS_TOO]).any(|name| part == *name))
}

fn is_wanted(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with(WANTED.0)) && path.ends_with(WANTED.1)
}

/// How a placeholder is covered; by an engine, only with what is a file.
fn cover_of(path: &Path, engine: bool) -> Cover {
    let is_file = || path.extension().is_some_and(|extension| extension == "json" || extension == "jsonc");
    match is_of_agents(path) {
        true if READ_BY_NAME.iter().any(|one| path.ends_with(one)) || is_wanted(path) => Cover::Blank,
        true if !engine || is_file() => Cover::Nothing,
        _ => Cover::ReadOnly,
    }
}

/// Follows a path through directories to its end, or to where it goes on no further.
fn locate(project: &OwnedFd, path: &Path) -> io::Result<(PathBuf, End)> {
    let mut below = None;
    let mut here = PathBuf::new();
    for name in path {
        here.push(name);
        let dir = below.as_ref().unwrap_or(project);
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok((here, End::Missing)),
            result => result?,
        };
        if is_placeholder(&stat, &here) && here.as_path() != Path::new(OPEN) {
            return Ok((here, End::Placeholder));
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok((here, End::Other));
        }
        if here.as_path() != path {
            below = Some(open_beneath(dir, name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?);
        }
    }
    Ok((here, End::Directory))
}

/// What a placeholder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Socket,
    Directory,
    /// A file with [`COMMON_HERE`].
    Common,
}

/// What came of the wish for a placeholder.
enum Made {
    Placeholder,
    /// Nobody in a sandbox could make anything there either.
    Needless,
}

/// Makes the placeholders of one start, as whom the project belongs to: they are to be his, and in his directories he
/// may have put another file, root's perhaps, in a placeholder's place at any time.
struct Maker {
    owner: u32,
    _owner: Option<FileOwner>,
    /// The first socket that was made.
    socket: Option<OwnedFd>,
}

impl Maker {
    fn new(project: &OwnedFd) -> io::Result<Self> {
        let us = rustix::process::geteuid();
        let stat = rustix::fs::fstat(project)?;
        let other = us.is_root() && (stat.st_uid, stat.st_gid) != (0, 0);
        let owner = if other { stat.st_uid } else { us.as_raw() };
        let assumed = other.then(|| FileOwner::assume(stat.st_uid, stat.st_gid)).transpose()?;
        Ok(Self { owner, _owner: assumed, socket: None })
    }

    /// Makes one.
    fn make(&mut self, parent: &OwnedFd, name: &OsStr, kind: Kind) -> Result<Made, Errno> {
        let marked = is_marked(parent);
        if kind == Kind::Socket
            && let Some(socket) = &self.socket
            && link(socket, parent, name).is_ok()
        {
            if marked {
                mark(parent, OsStr::new("."))?;
            }
            return Ok(Made::Placeholder);
        }
        let directory = || rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755));
        let made = match kind {
            Kind::Common => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644));
                file.and_then(|file| rustix::io::write(file, COMMON_HERE)).map(drop)
            }
            Kind::Directory => directory(),
            Kind::Socket => match rustix::fs::mknodat(parent, name, FileType::Socket, Mode::from_raw_mode(0o444), 0) {
                // This file system has no sockets (mknod(2)).
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => directory(),
                result => result,
            },
        };
        match made {
            Ok(()) => {}
            Err(Errno::ROFS) => return Ok(Made::Needless),
            // The sandbox's user has no more rights than these; but an owner could give himself what is missing.
            Err(Errno::ACCESS) if rustix::fs::fstat(parent)?.st_uid != self.owner => return Ok(Made::Needless),
            Err(error) => return Err(error),
        }
        mark(parent, name)?;
        if marked {
            mark(parent, OsStr::new("."))?;
        }
        if kind == Kind::Socket && self.socket.is_none() {
            self.socket = socket(parent, name);
        }
        Ok(Made::Placeholder)
    }
}

/// Gives something the time of a placeholder.
fn mark(dir: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let mark = Timespec { tv_sec: MARK, tv_nsec: 0 };
    let times = Timestamps { last_access: mark, last_modification: mark };
    rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Whether a directory has the time of a placeholder, which it loses when something in it is made or removed.
fn is_marked(dir: &OwnedFd) -> bool {
    rustix::fs::fstat(dir).is_ok_and(|stat| stat.st_mtime == MARK)
}

/// The placeholder that was just made, unless it is a directory or somebody has put something else in its place.
fn socket(parent: &OwnedFd, name: &OsStr) -> Option<OwnedFd> {
    let socket = open_beneath(parent, name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&socket).ok()?;
    let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
    (is_socket && stat.st_mtime == MARK).then_some(socket)
}

/// Gives a file one more name. It fails where a file may not have several (link(2)), or another file system begins.
fn link(file: &OwnedFd, parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    // The file itself, whatever its first name leads to by now; `AT_EMPTY_PATH` wants a capability.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(rustix::fs::CWD, path, parent, name, AtFlags::SYMLINK_FOLLOW)
}

/// Longer than any path with its prefix.
const LONGEST: usize = 8192;

impl Masks {
    /// In the parent: tells stage what to cover.
    pub fn send(&self, report: &OwnedFd) -> Result<(), LaunchError> {
        let mut batch = Vec::with_capacity(2 * LONGEST);
        for (path, cover) in &self.paths {
            batch.push(match cover {
                Cover::Passage => b'w',
                Cover::ReadOnly => b'r',
                Cover::Nothing => b'n',
                Cover::Blank => b'b',
            });
            batch.extend_from_slice(path.as_os_str().as_bytes());
            batch.push(0);
            if batch.len() > LONGEST {
                channel::send(report, &batch, &[])?;
                batch.clear();
            }
        }
        // A batch without an end of its own is the last.
        batch.push(b'.');
        channel::send(report, &batch, &[])
    }

    /// In stage: each path to cover, and how.
    pub fn receive(report: &OwnedFd) -> Result<Vec<(PathBuf, Cover)>, LaunchError> {
        let mut paths = Vec::new();
        loop {
            let (batch, _) = channel::receive(report)?;
            let mut rest = batch.as_slice();
            while let Some(end) = rest.iter().position(|byte| *byte == 0) {
                if let [kind, path @ ..] = &rest[..end] {
                    let cover = match kind {
                        b'w' => Cover::Passage,
                        b'n' => Cover::Nothing,
                        b'b' => Cover::Blank,
                        _ => Cover::ReadOnly,
                    };
                    paths.push((PathBuf::from(OsStr::from_bytes(path)), cover));
                }
                rest = &rest[end + 1..];
            }
            if !rest.is_empty() {
                return Ok(paths);
            }
        }
    }
}

/// Whether a sandbox remembers placeholders.
pub fn are_there(place: &Place) -> io::Result<bool> {
    match rustix::fs::statat(&place.dir, RECORD, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes the placeholders that a sandbox remembers and nobody uses, and the memory of them. Idempotent. Without what
/// it held itself, the default will do.
pub fn release(place: &Place, held: Masks) -> io::Result<()> {
    let Masks { lock: shared, record, .. } = held;
    drop(shared);
    let file = match (open_beneath(&place.dir, RECORD, OFlags::RDONLY, Mode::empty()), record) {
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        (Err(error), Some(record)) if error.kind() == io::ErrorKind::NotFound => record,
        (result, _) => result?,
    };
    let mut text = Vec::new();
    File::from(file).take(1 << 20).read_to_end(&mut text)?;
    // What has no end was not written to the end; nothing was made then.
    let mut paths = left(&text);
    if let Some(path) = paths.next()
        && let Ok(project) = open_project(path)
    {
        let paths: BTreeSet<&Path> = paths.collect();
        let alone = lock(&project, FlockOperation::NonBlockingLockExclusive);
        match alone {
            Lock::Held => remove_all(&project, &paths)?,
            // Who works there yet may have been started elsewhere in the project, and not know of them.
            Lock::Taken => hand_over(&place.cache, (path, &project), &paths)?,
            Lock::Unknown => {}
        }
        if alone != Lock::Unknown {
            take_over(&place.cache, &project)?;
        }
    }
    match rustix::fs::unlinkat(&place.dir, RECORD, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes placeholders: what is in a directory before that.
fn remove_all(project: &OwnedFd, paths: &BTreeSet<&Path>) -> io::Result<()> {
    paths.iter().rev().try_for_each(|path| remove(project, path))
}

/// Leaves placeholders to whoever is the last to work in a project.
fn hand_over(cache: &OwnedFd, (path, project): (&Path, &OwnedFd), paths: &BTreeSet<&Path>) -> io::Result<()> {
    match rustix::fs::mkdirat(cache, RECORD, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let mut file = loop {
        let file = handed_over(cache, project, OFlags::CREATE)?;
        // Whoever was the last may have taken it away just now.
        if rustix::fs::fstat(&file)?.st_nlink > 0 {
            break file;
        }
    };
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let known: BTreeSet<&[u8]> = text.split(|byte| *byte == 0).collect();
    // Where the project is, for whoever comes by later.
    let new =
        [&path].into_iter().chain(paths).map(|path| path.as_os_str().as_bytes()).filter(|path| !known.contains(path));
    let new: Vec<u8> = new.flat_map(|path| path.iter().copied().chain([0])).collect();
    file.write_all(&new)
}

/// Removes what others have left, where nobody works any more. Whoever hands over looks here afterwards, and whoever was alone
/// after that: so one of both finds it.
fn take_over(cache: &OwnedFd, project: &OwnedFd) -> io::Result<()> {
    loop {
        rustix::fs::flock(project, FlockOperation::Unlock)?;
        let mut file = match handed_over(cache, project, OFlags::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        if lock(project, FlockOperation::NonBlockingLockExclusive) != Lock::Held {
            return Ok(());
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        remove_all(project, &left(&text).filter(|path| path.is_relative()).collect())?;
        match rustix::fs::unlinkat(cache, handed_over_at(project)?, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes what was handed over where nobody works any more, of another state directory either: that one's sandboxes know nothing of
/// it. Tells in which projects; with `dry_run` it only does that.
pub fn sweep(cache: &OwnedFd, dry_run: bool) -> io::Result<Vec<String>> {
    let mut swept = Vec::new();
    let Ok(dir) = open_beneath(cache, RECORD, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) else {
        return Ok(swept);
    };
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        let mut text = Vec::new();
        let file = open_beneath(&dir, name, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
        let Ok(()) = file.and_then(|file| File::from(file).read_to_end(&mut text).map(drop)) else { continue };
        // It may be elsewhere now, and another one there.
        let is_meant = |project: &OwnedFd| handed_over_at(project).is_ok_and(|at| at.file_name() == Some(name));
        let projects = left(&text).filter(|path| path.is_absolute());
        let found = projects.filter_map(|path| Some((path, open_project(path).ok().filter(is_meant)?))).next();
        let Some((path, project)) = found else { continue };
        if lock(&project, FlockOperation::NonBlockingLockExclusive) == Lock::Held {
            if !dry_run {
                take_over(cache, &project)?;
            }
            swept.push(format!("placeholders in {}", path.display()));
        }
    }
    Ok(swept)
}

/// What a file of those says: those that end.
fn left(text: &[u8]) -> impl Iterator<Item = &Path> {
    let paths = text.split_inclusive(|byte| *byte == 0).filter_map(|path| path.strip_suffix(b"\0"));
    paths.map(|path| Path::new(OsStr::from_bytes(path)))
}

fn open_project(path: &Path) -> io::Result<OwnedFd> {
    plan::open_path(path).and_then(|project| open(&project, OsStr::new(".")))
}

/// What was handed over in a project, for one of us alone.
fn handed_over(cache: &OwnedFd, project: &OwnedFd, flags: OFlags) -> io::Result<File> {
    let mode = if flags.is_empty() { Mode::empty() } else { Mode::RUSR | Mode::WUSR };
    let flags = OFlags::RDWR | OFlags::APPEND | flags;
    let file = open_beneath(cache, handed_over_at(project)?, flags, mode)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    Ok(file.into())
}

/// Where that is in the cache.
fn handed_over_at(project: &OwnedFd) -> io::Result<PathBuf> {
    let stat = rustix::fs::fstat(project)?;
    Ok(Path::new(RECORD).join(format!("{:x}-{:x}", stat.st_dev, stat.st_ino)))
}

/// Removes one placeholder; leaves what is none, or cannot be reached any more.
fn remove(project: &OwnedFd, path: &Path) -> io::Result<()> {
    let (Ok(parent), Some(name)) = (open_parent(project, path), path.file_name()) else { return Ok(()) };
    let parent = parent.as_ref().unwrap_or(project);
    let Ok(stat) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
    if !is_placeholder(&stat, path) {
        return Ok(());
    }
    let marked = is_marked(parent);
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match rustix::fs::unlinkat(parent, name, flags) {
        // What it is in may be one, too, and is next.
        Ok(()) if marked => Ok(mark(parent, OsStr::new("."))?),
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Not written to the disk at once: this is for a process that dies, and a machine that dies most likely loses the
/// placeholders with it.
fn remember(place: &Place, project: &Path, paths: &[&Path]) -> io::Result<OwnedFd> {
    let mut text = Vec::new();
    for path in [&project].into_iter().chain(paths) {
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(0);
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
    let mut file = File::from(open_beneath(&place.dir, RECORD, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(&text)?;
    // For whoever reads it by this descriptor.
    file.rewind()?;
    Ok(file.into())
}

/// What became of the wish for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    Held,
    /// Somebody else has one.
    Taken,
    /// This file system has none for directories. Then nobody gets an exclusive one, and nothing is removed.
    Unknown,
}

fn lock(fd: &OwnedFd, operation: FlockOperation) -> Lock {
    match rustix::fs::flock(fd, operation) {
        Ok(()) => Lock::Held,
        Err(Errno::WOULDBLOCK) => Lock::Taken,
        Err(_) => Lock::Unknown,
    }
}

fn is_placeholder(stat: &Stat, path: &Path) -> bool {
    let marked = stat.st_mtime == MARK;
    match FileType::from_raw_mode(stat.st_mode) {
        // Nobody else makes one that nobody may connect to; and who has the project mounted elsewhere can give ours another time.
        FileType::Socket => marked || stat.st_mode & 0o222 == 0,
        FileType::Directory => marked,
        FileType::RegularFile => {
            marked
                && [COMMON, BARE_COMMON].iter().any(|common| path == Path::new(common))
                && stat.st_size == COMMON_HERE.len() as i64
        }
        _ => false,
    }
}

/// The directory that something is in; `None` if that is the project itself, as for most.
fn open_parent(project: &OwnedFd, path: &Path) -> io::Result<Option<OwnedFd>> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map(|parent| open_beneath(project, parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())).transpose()
}

fn open(dir: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    open_beneath(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty())
}
