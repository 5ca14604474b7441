//! Hides which version of control groups a host has, and for which controller: limits are asked for once, and stand
//! or are an error.
//!
//! Own code, small on purpose. Of the kept crates, `cgroups-rs` 0.5 always builds a D-Bus client, and `libcgroups` 0.7
//! joins every hierarchy it finds (all must be writable), switches on every controller in all ancestors, knows
//! neither delegation nor `CLONE_INTO_CGROUP`, and brings sixty further crates; what is needed here is to make a
//! directory and to write three numbers.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

mod hierarchy;

use crate::fd::open_beneath;
use hierarchy::{Place, find, hierarchies, place};

/// Microseconds over which processor time is counted; the kernel's default.
const PERIOD: u64 = 100_000;
/// Where our processes go when a delegated cgroup must be emptied before it can have children with limits.
const LEAF: &str = "agentkernel.main";
const PROCESSES: &str = "cgroup.procs";
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What a group of processes may use. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processors, in thousandths.
    pub cpu_milli: Option<u64>,
    /// Memory in bytes, swap included.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Limits {
    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn controllers(&self) -> impl Iterator<Item = (Controller, u64)> {
        [(Controller::Cpu, self.cpu_milli), (Controller::Memory, self.memory), (Controller::Pids, self.pids)]
            .into_iter()
            .filter_map(|(controller, limit)| Some((controller, limit?)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Cpu,
    Memory,
    Pids,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

/// A limit cannot be enforced here.
#[derive(Debug, thiserror::Error)]
#[error("The limit on {controller} cannot be enforced: {cause}")]
pub struct Error {
    /// The controller.
    pub controller: &'static str,
    /// Why not.
    pub cause: String,
    /// What can be done; empty if nothing is known.
    pub hint: &'static str,
}

const DELEGATE: &str = "As a user of systemd: systemd-run --user --scope -p Delegate=yes agentkernel ...; or run agentkernel as root, or without the limit";
/// Systemd hands out cgroups of version 1 to nobody, because the kernel does not make that safe.
const VERSION_1: &str = "Run agentkernel as root, or without the limit, or boot with systemd.unified_cgroup_hierarchy=1: cgroup version 2 can be handed to users";
const MISSING: &str = "Mount a cgroup hierarchy with this controller, or run without the limit";

/// One directory in one hierarchy.
#[derive(Debug)]
struct Group {
    unified: bool,
    controllers: Vec<Controller>,
    path: PathBuf,
    /// What it is in.
    parent: OwnedFd,
    fd: OwnedFd,
}

/// A control group with limits, in as many hierarchies as they need.
#[derive(Debug)]
pub struct Cgroup {
    groups: Vec<Group>,
}

impl Cgroup {
    /// Makes a group of this name, with these limits, of which at least one is given. `remember` is called with each
    /// path before it is made, so that it can be removed after a crash by [`remove`].
    ///
    /// Root gets `agentkernel/NAME` at the top of each hierarchy; anybody else `agentkernel-NAME` below the group of
    /// the calling process, which must be delegated to that user. There (version 2) the processes of that group are
    /// moved to a leaf of it first, because a group cannot have both processes and limited children.
    ///
    /// # Errors
    /// [`Error`]. Groups that were made until then are removed.
    pub fn make(name: &str, limits: &Limits, mut remember: impl FnMut(&Path) -> io::Result<()>) -> Result<Self, Error> {
        let mut cgroup = Self { groups: Vec::new() };
        let result = cgroup.fill(name, limits, &mut remember);
        if let Err(error) = result {
            // The first error is the one to report.
            let _ = cgroup.remove();
            return Err(error);
        }
        Ok(cgroup)
    }

    fn fill(
        &mut self,
        name: &str,
        limits: &Limits,
        remember: &mut impl FnMut(&Path) -> io::Result<()>,
    ) -> Result<(), Error> {
        let fail = |controller: Controller, what: &str, error: io::Error, hint| Error {
            controller: controller.name(),
            cause: format!("{what}: {error}"),
            hint,
        };
        for (controller, limit) in limits.controllers() {
            let hierarchies = hierarchies().map_err(|e| fail(controller, "Cannot read /proc/self/mountinfo", e, ""))?;
            let Some(hierarchy) = find(&hierarchies, controller) else {
                return Err(Error {
                    controller: controller.name(),
                    cause: "No mounted hierarchy has this controller".into(),
                    hint: MISSING,
                });
            };
            let remedy = if hierarchy.unified { DELEGATE } else { VERSION_1 };
            let place = place(hierarchy, name)
                .map_err(|e| fail(controller, "Cannot find the cgroup of this process", e, remedy))?;
            let made = make(hierarchy.unified, controller, &place, remember).map_err(|e| match e.kind() {
                io::ErrorKind::PermissionDenied => Error {
                    controller: controller.name(),
                    cause: format!("{} is not delegated to this user", place.given.display()),
                    hint: remedy,
                },
                _ => fail(controller, &format!("Cannot make the cgroup {}", place.path.display()), e, remedy),
            })?;
            let at = self.groups.iter().position(|group| group.path == made.path).unwrap_or_else(|| {
                self.groups.push(made);
                self.groups.len() - 1
            });
            let group = &mut self.groups[at];
            group.controllers.push(controller);
            set(group, controller, limit).map_err(|e| fail(controller, "Cannot set it", e, remedy))?;
        }
        Ok(())
    }

    /// The group that a process can be cloned into: of version 2.
    #[must_use]
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.groups.iter().find(|group| group.unified).map(|group| group.fd.as_fd())
    }

    /// Whether there are groups that a process can't be cloned into, and must [`join`](Self::join).
    #[must_use]
    pub fn has_legacy(&self) -> bool {
        self.groups.iter().any(|group| !group.unified)
    }

    /// Moves a process into the groups that it cannot be cloned into: those of version 1.
    ///
    /// # Errors
    /// As write(2) on cgroup.procs.
    pub fn join(&self, pid: rustix::process::Pid) -> io::Result<()> {
        for group in self.groups.iter().filter(|group| !group.unified) {
            write(&group.fd, PROCESSES, &pid.as_raw_nonzero().to_string())?;
        }
        Ok(())
    }

    /// How many processes the kernel has killed in this group for lack of memory.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let count = |group: &Group| {
            let file = if group.unified { "memory.events" } else { "memory.oom_control" };
            field(&read(&group.fd, file).ok()?, "oom_kill")
        };
        self.groups.iter().filter(|group| group.controllers.contains(&Controller::Memory)).find_map(count).unwrap_or(0)
    }

    /// Memory in bytes, processes, and processor time in microseconds, if one group counts them all: version 2 with
    /// limits on memory and processes.
    #[must_use]
    pub fn usage(&self) -> Option<(u64, u64, u64)> {
        let group = self.groups.iter().find(|group| group.unified)?;
        let number = |file: &str| read(&group.fd, file).ok()?.trim().parse().ok();
        let cpu = field(&read(&group.fd, "cpu.stat").ok()?, "usage_usec")?;
        Some((number("memory.current")?, number("pids.current")?, cpu))
    }

    /// Removes the groups, whose processes must have ended. Idempotent.
    ///
    /// # Errors
    /// As rmdir(2): `EBUSY` if there are processes left.
    pub fn remove(&self) -> io::Result<()> {
        let names = self.groups.iter().map(|group| (&group.parent, group.path.file_name().unwrap_or_default()));
        names.map(|(parent, name)| remove_from(parent, name)).fold(Ok(()), io::Result::and)
    }
}

/// Removes one group, by a path that was remembered. One that is gone is no error; neither is what is no cgroup, which
/// is left alone.
///
/// # Errors
/// As rmdir(2).
pub fn remove(path: &Path) -> io::Result<()> {
    const CGROUP: u64 = 0x0027_e0eb;
    const CGROUP2: u64 = 0x6367_7270;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = match rustix::fs::open(parent, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        result => result?,
    };
    match rustix::fs::fstatfs(&parent)?.f_type as u64 {
        CGROUP | CGROUP2 => remove_from(&parent, name),
        _ => Ok(()),
    }
}

fn remove_from(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    // The last process is gone before its group notices, and killed ones take their time to go.
    for _ in 0..1000 {
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::BUSY) => std::thread::sleep(Duration::from_millis(5)),
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::BUSY.into())
}

/// Makes a group where it is missing, and what it is in.
fn make(
    unified: bool,
    controller: Controller,
    place: &Place,
    remember: &mut impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<Group> {
    let prepare = |dir: &OwnedFd| if unified { enable(dir, controller) } else { Ok(()) };
    let mut parent = open_beneath(&place.top, &place.below, DIRECTORY, Mode::empty())?;
    prepare(&parent)?;
    if let Some(ours) = place.ours {
        parent = make_directory(&parent, ours.as_ref())?;
        prepare(&parent)?;
    }
    let name = place.path.file_name().unwrap_or_default();
    if rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
        remember(&place.path)?;
    }
    let fd = make_directory(&parent, name)?;
    Ok(Group { unified, controllers: Vec::new(), path: place.path.clone(), parent, fd })
}

/// Opens a directory, made if it is missing.
fn make_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => open_beneath(parent, name, DIRECTORY, Mode::empty()),
        Err(error) => Err(error.into()),
    }
}

/// Lets the children of a group (version 2) have limits of a controller.
fn enable(dir: &OwnedFd, controller: Controller) -> io::Result<()> {
    const CONTROL: &str = "cgroup.subtree_control";
    if read(dir, CONTROL)?.split_whitespace().any(|word| word == controller.name()) {
        return Ok(());
    }
    // The root of all, which has no type, may have processes and limited children.
    match rustix::fs::statat(dir, "cgroup.type", AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        result => {
            result?;
            clear(dir)?;
        }
    }
    write(dir, CONTROL, &format!("+{}", controller.name()))
}

/// Moves the processes of a group (ours, when it is delegated to us) to a leaf of it. The kernel asks for that before
/// some controllers are switched on; for the others (cpu, pids) it makes a threaded domain of a group with processes, in
/// which there are no limits on memory any more (cgroups(7), "threaded mode").
fn clear(dir: &OwnedFd) -> io::Result<()> {
    // Those that are forked meanwhile are met in the next round.
    for _ in 0..100 {
        let processes = read(dir, PROCESSES)?;
        if processes.is_empty() {
            return Ok(());
        }
        let leaf = make_directory(dir, LEAF.as_ref())?;
        for pid in processes.lines() {
            match write(&leaf, PROCESSES, pid) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                result => result?,
            }
        }
    }
    Err(Errno::BUSY.into())
}

/// Writes a limit, and reads it back: what does not stand is an error.
fn set(group: &Group, controller: Controller, limit: u64) -> io::Result<()> {
    let Group { fd, unified, .. } = group;
    match (controller, unified) {
        (Controller::Cpu, true) => {
            let quota = limit.saturating_mul(PERIOD) / 1000;
            put(fd, "cpu.max", &format!("{quota} {PERIOD}"), &format!("{quota} {PERIOD}"))
        }
        (Controller::Cpu, false) => {
            let quota = (limit.saturating_mul(PERIOD) / 1000).to_string();
            put(fd, "cpu.cfs_period_us", &PERIOD.to_string(), &PERIOD.to_string())?;
            put(fd, "cpu.cfs_quota_us", &quota, &quota)
        }
        (Controller::Memory, _) => {
            // The kernel counts in pages and rounds down.
            let page = crate::sys::page_size();
            let (text, stands) = (limit.to_string(), (limit / page * page).to_string());
            if *unified {
                put(fd, "memory.max", &text, &stands)?;
                swap(put(fd, "memory.swap.max", "0", "0"))
            } else {
                put(fd, "memory.limit_in_bytes", &text, &stands)?;
                swap(put(fd, "memory.memsw.limit_in_bytes", &text, &stands))
            }
        }
        (Controller::Pids, _) => put(fd, "pids.max", &limit.to_string(), &limit.to_string()),
    }
}

/// A file that a kernel without swap accounting does not have. Without swap nothing can leave the limit's sight; with
/// swap, everything could.
fn swap(result: io::Result<()>) -> io::Result<()> {
    match result {
        // Below one line of headings, a line for each device.
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_to_string("/proc/swaps") {
            Ok(swaps) if swaps.lines().count() > 1 => {
                Err(io::Error::other("this kernel does not count what is swapped out (boot with swapaccount=1)"))
            }
            _ => Ok(()),
        },
        result => result,
    }
}

fn put(dir: &OwnedFd, file: &str, text: &str, stands: &str) -> io::Result<()> {
    write(dir, file, text)?;
    let found = read(dir, file)?;
    if found.trim() == stands {
        return Ok(());
    }
    Err(io::Error::other(format!("{file} says '{}' instead of '{stands}'", found.trim().escape_debug())))
}

fn write(dir: &OwnedFd, file: &str, text: &str) -> io::Result<()> {
    let file = open_beneath(dir, file, OFlags::WRONLY, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

fn read(dir: &OwnedFd, file: &str) -> io::Result<String> {
    let file = open_beneath(dir, file, OFlags::RDONLY, Mode::empty())?;
    io::read_to_string(fs::File::from(file))
}

/// A number in `key value` lines.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
