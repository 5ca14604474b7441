//! Hides which host directories a sandbox is built from, and how they reach its mount namespace with the right owners.
//!
//! A descriptor of the host's mount namespace is no use in another one. An ordinary user's stage opens every source
//! again by its path, as the same user, through no symbolic link. Root's stage cannot (its ids own nothing on the
//! host), so the parent makes detached copies, maps their owners, and sends them over.

use super::{
    super::{LaunchError, Place},
    channel,
    failure::{self, Context as _},
    ids::Ids,
    program::Location,
    skeleton, stack,
};
use crate::{Image, Spec, Workspace};
use jail::{
    fd::open_beneath,
    mount::{self, Attr},
    namespace,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Gid, Mode, OFlags, ResolveFlags, Uid},
    io::Errno,
    process::Pid,
};
use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// Init's program, if it is a memory file.
const IN_MEMORY: u8 = b'I';
/// Ends the last message.
const LAST: u8 = b'.';

/// The part that a source plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Init's program.
    Init,
    /// The read-only layer of the overlay at this place below the root; empty: of the root itself.
    Lower(&'static str),
    /// The directory that holds the upper layers of a sandbox on disk.
    Kept,
    /// The project, as a layer or as itself.
    Workspace,
    /// One of all that is mounted in it.
    Mount(usize),
    /// An entry of what a build is lent.
    Lent(usize),
}

impl Role {
    /// Layers are used where they are, binds are attached; only binds take the mounts below them along.
    fn is_bind(&self, spec: &Spec) -> bool {
        match self {
            Self::Init | Self::Lower(_) | Self::Kept => false,
            Self::Workspace => matches!(spec.workspace, Workspace::Direct { .. }),
            Self::Mount(_) | Self::Lent(_) => true,
        }
    }

    /// The place below the root of an overlay's read-only layer.
    pub fn layer(&self) -> Option<&'static str> {
        match self {
            Self::Lower(place) => Some(place),
            _ => None,
        }
    }

    /// How it is called in messages. Mounts and what is lent come in the order of their numbers.
    fn tag(&self, in_memory: bool) -> u8 {
        match self {
            Self::Init if in_memory => IN_MEMORY,
            Self::Init => b'i',
            Self::Kept => b'k',
            Self::Workspace => b'w',
            Self::Mount(_) => b'm',
            Self::Lent(_) => b'l',
            Self::Lower("") => b'/',
            // There are few, and all are in the list.
            Self::Lower(place) => Image::PROGRAMS.iter().position(|name| name == place).unwrap_or(0) as u8,
        }
    }

    fn from_tag(
        tag: u8,
        mounts: &mut impl Iterator<Item = usize>,
        lent: &mut impl Iterator<Item = usize>,
    ) -> Option<Self> {
        Some(match tag {
            b'i' | IN_MEMORY => Self::Init,
            b'k' => Self::Kept,
            b'w' => Self::Workspace,
            b'm' => Self::Mount(mounts.next()?),
            b'l' => Self::Lent(lent.next()?),
            b'/' => Self::Lower(""),
            place => Self::Lower(Image::PROGRAMS.get(usize::from(place))?),
        })
    }

    /// The wall to name when it fails.
    fn wall(&self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Lower(_) => "image",
            Self::Kept => "files",
            Self::Workspace => "workspace",
            Self::Mount(_) | Self::Lent(_) => "mounts",
        }
    }
}

/// Where a source is on the host.
#[derive(Debug)]
pub enum Source {
    /// An absolute path without symbolic links.
    Path(PathBuf),
    /// A directory or file that the parent holds open.
    Fd(OwnedFd),
    /// A layer of the store of images, or a directory in it.
    Layer(OwnedFd),
    /// A file that belongs to no file system of the host's, and is the same in every mount namespace.
    Memory(OwnedFd),
}

impl Source {
    fn open(&self, role: &Role) -> Result<OwnedFd, LaunchError> {
        match self {
            Self::Path(path) => open_source(role, path),
            Self::Fd(fd) | Self::Layer(fd) | Self::Memory(fd) => {
                fd.try_clone().wall("init", "Cannot duplicate a descriptor", "")
            }
        }
    }
}

/// All sources of a sandbox.
#[derive(Debug)]
pub struct Plan {
    sources: Vec<(Role, Source)>,
    unproved: Option<skeleton::Unproved>,
}

/// Decides on the sources, and makes those that the sandbox keeps. With `proved`, none of them is out of date.
pub fn make(spec: &Spec, place: &Place, ids: &Ids, init: Location, proved: bool) -> Result<Plan, LaunchError> {
    let init = match init {
        Location::Cache(file) => Source::Fd(file),
        Location::Memory(file) => Source::Memory(file),
    };
    let mut sources = vec![(Role::Init, init)];
    let unproved = stack::make(spec, place, proved, &mut sources)?;
    match &spec.workspace {
        Workspace::None => {}
        Workspace::Direct { path, .. } | Workspace::Overlay { path } => {
            sources.push((Role::Workspace, Source::Path(path.clone())));
        }
    }
    for (index, mount) in spec.all_mounts().enumerate() {
        sources.push((Role::Mount(index), Source::Path(mount.source.clone())));
    }
    for (index, lent) in spec.build.iter().flat_map(|build| &build.mounts).enumerate() {
        let fd = open_beneath(&place.cache, &lent.source, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty());
        sources
            .push((Role::Lent(index), Source::Fd(failure::state(fd, "mounts", "Cannot open what a build is lent")?)));
    }
    keep_out_of_state(spec, &sources, place)?;
    let mut plan = Plan { sources, unproved };
    if spec.is_on_disk() {
        let kept = failure::state(keep(&plan, spec, place, ids), "files", "Cannot make the sandbox's directory")?;
        plan.sources.push((Role::Kept, Source::Fd(kept)));
    }
    Ok(plan)
}

/// Refuses what is, contains, or lies in the directory where the sandboxes' records are: who writes there says what the
/// next one is made of, and who reads there reaches the sockets of their supervisors. What an agent keeps has a place there.
fn keep_out_of_state(spec: &Spec, sources: &[(Role, Source)], place: &Place) -> Result<(), LaunchError> {
    let state = parent(&place.cache).and_then(|state| Ok((path_of(&state)?, ancestors(state)?)));
    let (state_path, above) = state.wall("image", "Cannot examine the state directory", "")?;
    for (role, source) in sources {
        let Source::Path(path) = source else { continue };
        if matches!(role, Role::Mount(index) if *index >= spec.mounts.len()) {
            continue;
        }
        let id = identity(&open_source(role, path)?);
        // By what it is, and not only by its path: it may be mounted in two places.
        let contains = state_path.starts_with(path)
            || above.contains(&id.wall(role.wall(), format_args!("Cannot examine {}", path.display()), "")?);
        if contains || path.starts_with(&state_path) {
            let how = if contains { "has the state directory in it" } else { "lies in the state directory" };
            let cause = format!("{} {how}, which no sandbox may see", path.display());
            let hint = "Name another directory, or put the state elsewhere with AGENTKERNEL_STATE_DIR";
            return Err(failure::new(role.wall(), cause, hint));
        }
    }
    Ok(())
}

/// What a directory and all above it are.
fn ancestors(mut dir: OwnedFd) -> io::Result<Vec<(u64, u64)>> {
    let mut above = vec![identity(&dir)?];
    loop {
        dir = parent(&dir)?;
        let here = identity(&dir)?;
        if above.last() == Some(&here) {
            return Ok(above);
        }
        above.push(here);
    }
}

fn parent(dir: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(dir, "..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// What tells a file from every other.
fn identity(fd: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Where it is, as this process sees it.
fn path_of(fd: &OwnedFd) -> io::Result<PathBuf> {
    use rustix::fd::AsRawFd as _;
    let path = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
    Ok(OsString::from_vec(path.into_bytes()).into())
}

/// The name of the directory with the layer of what a start of a build makes.
pub const START: &str = "start";

/// The name of the directory with an overlay's upper layer.
pub fn upper_name(place: &str) -> &str {
    if place.is_empty() { "root" } else { place }
}

/// Makes the directories for the upper layers of a sandbox on disk, where they are missing.
fn keep(plan: &Plan, spec: &Spec, place: &Place, ids: &Ids) -> io::Result<OwnedFd> {
    let root = directory(&place.dir, "root", None)?;
    let owner = |uid: u32, gid: u32| match ids {
        Ids::One { .. } => None,
        Ids::Range { base } => Some((base + uid, base + gid)),
    };
    for lower in plan.sources.iter().filter_map(|(role, _)| role.layer()) {
        let layer = directory(&root, upper_name(lower), owner(0, 0))?;
        directory(&layer, "upper", owner(0, 0))?;
        directory(&layer, "work", owner(0, 0))?;
    }
    if spec.build.is_some() {
        let layer = directory(&root, START, owner(0, 0))?;
        directory(&layer, "upper", owner(0, 0))?;
        directory(&layer, "work", owner(0, 0))?;
    }
    if let Workspace::Overlay { .. } = spec.workspace {
        let layer = directory(&root, "workspace", owner(0, 0))?;
        directory(&layer, "upper", owner(spec.identity.uid, spec.identity.gid))?;
        directory(&layer, "work", owner(0, 0))?;
    }
    Ok(root)
}

fn directory(dir: &OwnedFd, name: &str, owner: Option<(u32, u32)>) -> io::Result<OwnedFd> {
    let made = match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let fd = open_beneath(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    if let (true, Some((uid, gid))) = (made, owner) {
        rustix::fs::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(fd)
}

impl Plan {
    /// Whether what was taken on trust proves to be right. To be asked once, when there is time.
    pub fn is_current(&mut self) -> Result<bool, LaunchError> {
        let current = self.unproved.take().map_or(Ok(true), skeleton::Unproved::prove);
        current.wall("image", "Cannot examine the host's files", "")
    }

    /// What must stay open while the sandbox runs: the image in the cache, which is not removed that long.
    pub fn lease(self) -> Vec<OwnedFd> {
        let held = self.sources.into_iter().filter_map(|source| match source {
            (Role::Lower(""), Source::Fd(fd) | Source::Layer(fd)) => Some(fd),
            _ => None,
        });
        held.collect()
    }

    /// In the parent: sends stage the sources, each with its part. Root's are what the sandbox will see; an ordinary
    /// user's stage opens them once more.
    pub fn send(&self, spec: &Spec, report: &OwnedFd, pid: Pid, ids: &Ids) -> Result<(), LaunchError> {
        let sandbox = match ids {
            Ids::One { .. } => None,
            Ids::Range { base } => {
                let sandbox = namespace::user_of(pid);
                Some((*base, sandbox.wall("user namespace", "Cannot open the sandbox's user namespace", "")?))
            }
        };
        let mut parts = self.sources.chunks(channel::BATCH).peekable();
        while let Some(part) = parts.next() {
            let mut tags = Vec::with_capacity(part.len() + 1);
            let mut copies = Vec::with_capacity(part.len());
            for (role, source) in part {
                tags.push(role.tag(matches!(source, Source::Memory(_))));
                copies.push(match &sandbox {
                    None => source.open(role)?,
                    Some((base, sandbox)) => copy_for_range(spec, role, source, *base, sandbox)?,
                });
            }
            if parts.peek().is_none() {
                tags.push(LAST);
            }
            let fds: Vec<BorrowedFd<'_>> = copies.iter().map(AsFd::as_fd).collect();
            channel::send(report, &tags, &fds)?;
        }
        Ok(())
    }
}

/// In stage: every source as a descriptor of stage's own mount namespace, or a detached mount.
pub fn take(spec: &Spec, report: &OwnedFd, ids: &Ids) -> Result<Vec<(Role, OwnedFd)>, LaunchError> {
    let mut sources = Vec::new();
    let (mut mounts, mut lent) = (0.., 0..);
    loop {
        let (tags, fds) = channel::receive(report)?;
        for (&tag, fd) in tags.iter().zip(fds) {
            let role = Role::from_tag(tag, &mut mounts, &mut lent)
                .ok_or_else(|| failure::new("init", format!("No source has the part {tag}"), ""))?;
            let fd = match ids {
                Ids::One { .. } if tag != IN_MEMORY => again_here(spec, &role, &fd)?,
                _ => fd,
            };
            sources.push((role, fd));
        }
        if tags.last() == Some(&LAST) {
            return Ok(sources);
        }
    }
}

/// A source of an ordinary user's sandbox, as stage can use it.
fn again_here(spec: &Spec, role: &Role, fd: &OwnedFd) -> Result<OwnedFd, LaunchError> {
    let wall = role.wall();
    let (fd, path) = reopen(fd).wall(wall, "Cannot open a source again", "")?;
    if !role.is_bind(spec) && *role != Role::Init {
        return Ok(fd);
    }
    let copy = mount::copy(&fd, role.is_bind(spec));
    let copy = copy.wall(wall, format_args!("Cannot copy the mount of {}", path.display()), "")?;
    if *role == Role::Init {
        freeze(&copy)?;
    }
    Ok(copy)
}

/// A detached copy of a source whose owners are the ids of a sandbox with a range.
fn copy_for_range(
    spec: &Spec,
    role: &Role,
    source: &Source,
    base: u32,
    sandbox: &OwnedFd,
) -> Result<OwnedFd, LaunchError> {
    let wall = role.wall();
    let fd = source.open(role)?;
    if let Source::Memory(_) = source {
        return Ok(fd);
    }
    let copy = mount::copy(&fd, role.is_bind(spec)).wall(
        wall,
        format_args!("Cannot copy the mount of {}", name(source)),
        "",
    )?;
    let userns;
    let userns = match role {
        // Everybody may execute it, and nobody inside is its owner.
        Role::Init => {
            freeze(&copy)?;
            return Ok(copy);
        }
        // Its owners are the sandbox's ids already.
        Role::Kept => {
            mount::set(&copy, false, Attr::empty()).wall(wall, "Cannot make the sandbox's files private", "")?;
            return Ok(copy);
        }
        Role::Lower(_) | Role::Lent(_) => sandbox,
        Role::Workspace | Role::Mount(_) => {
            let stat = rustix::fs::fstat(&fd).wall(wall, format_args!("Cannot examine {}", name(source)), "")?;
            let identity = &spec.identity;
            if (stat.st_uid, stat.st_gid, identity.uid, identity.gid) == (0, 0, 0, 0) {
                // Root's files for a sandbox whose user is root: every id keeps its number.
                sandbox
            } else {
                let uids = format!("{} {} 1", stat.st_uid, base + identity.uid);
                let gids = format!("{} {} 1", stat.st_gid, base + identity.gid);
                userns = namespace::user_with_maps(&uids, &gids).wall(wall, "Cannot map its owner", "")?;
                &userns
            }
        }
    };
    // Of the host's programs, what cannot be mapped appears as nobody's, and everybody may read it; stage makes what must
    // be written in the upper layer.
    let of_host = matches!(role, Role::Lower(_)) && !matches!(source, Source::Layer(_));
    let optional = of_host && spec.image == Image::Host;
    let plain = || mount::set(&copy, false, Attr::empty()).wall(wall, "Cannot make a layer private", "");
    if !role.is_bind(spec) && !overlay_maps_owners() {
        if optional {
            plain()?;
            return Ok(copy);
        }
        return Err(failure::new(
            wall,
            format!("The overlay of this kernel cannot map the owners of {}", name(source)),
            "Use Linux 5.19 or newer, or run agentkernel as an ordinary user",
        ));
    }
    match mount::map_ids(&copy, role.is_bind(spec), userns) {
        // This file system cannot: mount_setattr(2). One in memory can from Linux 6.3 on.
        Err(error) if optional && error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => plain()?,
        result => result.wall(
            wall,
            format_args!("The file system of {} (or one mounted below it) cannot map owners", name(source)),
            failure::MAP_OWNERS,
        )?,
    }
    Ok(copy)
}

/// Makes the mount of init's program read-only: whoever gets at it by `/proc/1/exe` cannot change it (CVE-2019-5736).
fn freeze(program: &OwnedFd) -> Result<(), LaunchError> {
    let attrs = Attr::MOUNT_ATTR_RDONLY | Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV;
    mount::set(program, false, attrs).wall("init", "Cannot make its program read-only", "")
}

/// Whether overlayfs takes layers whose owners are mapped: from Linux 5.19 on.
fn overlay_maps_owners() -> bool {
    let uname = rustix::system::uname();
    let mut numbers = uname.release().to_str().unwrap_or_default().split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    (number(), number()) >= (5, 19)
}

/// Opens a source by its path, through no symbolic link.
pub fn open_source(role: &Role, path: &Path) -> Result<OwnedFd, LaunchError> {
    open_path(path).map_err(|error| {
        let hint = match Errno::from_io_error(&error) {
            Some(Errno::LOOP) => "Name the real path: symbolic links are not followed here",
            Some(Errno::NOENT) => "Put it back where it was, or make another sandbox",
            _ => "",
        };
        failure::new(role.wall(), format!("Cannot open {}: {error}", path.display()), hint)
    })
}

/// Opens an absolute path, through no symbolic link.
pub fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // Without O_NOFOLLOW: with it, a link in the last place would be opened itself instead of refused.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve)?)
}

/// Opens what `fd` refers to again, in the mount namespace of the caller, and makes sure that it is the same.
fn reopen(fd: &OwnedFd) -> io::Result<(OwnedFd, PathBuf)> {
    let path = path_of(fd)?;
    let again = open_path(&path)?;
    let (old, new) = (rustix::fs::fstat(fd)?, rustix::fs::fstat(&again)?);
    if (old.st_dev, old.st_ino) != (new.st_dev, new.st_ino) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "It was replaced meanwhile"));
    }
    Ok((again, path))
}

fn name(source: &Source) -> String {
    match source {
        Source::Path(path) => path.display().to_string(),
        Source::Fd(_) => "the sandbox's own directory".into(),
        Source::Layer(_) => "a layer of the image".into(),
        Source::Memory(_) => "a file in memory".into(),
    }
}
