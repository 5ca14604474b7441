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
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// Microseconds over which processor time is counted; the kernel's default.
const PERIOD: u64 = 100_000;
/// Where our processes go when a delegated cgroup must be emptied before it can have children with limits.
const LEAF: &str = "agentkernel.main";

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

/// A hierarchy of this host.
struct Hierarchy {
    /// Version 2; otherwise 1.
    unified: bool,
    /// Version 1: controllers, and named ones; version 2: nothing.
    options: String,
    mount_point: PathBuf,
    /// What of the hierarchy is at the mount point.
    root: String,
}

/// One directory in one hierarchy.
#[derive(Debug)]
struct Group {
    unified: bool,
    controllers: Vec<Controller>,
    path: PathBuf,
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
            let path = open_group(hierarchy, controller, &place, remember).map_err(|e| match e.kind() {
                io::ErrorKind::PermissionDenied => Error {
                    controller: controller.name(),
                    cause: format!("{} is not delegated to this user", place.parents[0].display()),
                    hint: remedy,
                },
                _ => fail(controller, &format!("Cannot make the cgroup {}", place.path.display()), e, remedy),
            })?;
            let group = match self.groups.iter_mut().find(|group| group.path == path) {
                Some(group) => group,
                None => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let fd = rustix::fs::open(&path, flags, Mode::empty())
                        .map_err(|e| fail(controller, "Cannot open the cgroup", e.into(), ""))?;
                    self.groups.push(Group { unified: hierarchy.unified, controllers: Vec::new(), path, fd });
                    let last = self.groups.len() - 1;
                    &mut self.groups[last]
                }
            };
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
            write(&group.fd, "cgroup.procs", &pid.as_raw_nonzero().to_string())?;
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
        self.groups.iter().map(|group| remove(&group.path)).fold(Ok(()), io::Result::and)
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
    match rustix::fs::statfs(path) {
        Ok(stat) if matches!(stat.f_type as u64, CGROUP | CGROUP2) => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    // The last process is gone before its group notices, and killed ones take their time to go.
    for _ in 0..1000 {
        match rustix::fs::unlinkat(rustix::fs::CWD, path, AtFlags::REMOVEDIR) {
            Err(Errno::BUSY) => std::thread::sleep(Duration::from_millis(5)),
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::BUSY.into())
}

fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// The cgroup mounts in a mountinfo (proc_pid_mountinfo(5)).
fn parse(mountinfo: &[u8]) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let Some(dash) = fields.iter().position(|field| *field == b"-") else { continue };
        let (Some(root), Some(mount_point)) = (fields.get(3), fields.get(4)) else { continue };
        let unified = match fields.get(dash + 1) {
            Some(&b"cgroup2") => true,
            Some(&b"cgroup") => false,
            _ => continue,
        };
        let options = fields.get(dash + 3).copied().unwrap_or_default();
        found.push(Hierarchy {
            unified,
            options: String::from_utf8_lossy(options).into_owned(),
            mount_point: PathBuf::from(OsString::from_vec(unescape(mount_point))),
            root: String::from_utf8_lossy(root).into_owned(),
        });
    }
    found
}

/// Undoes the octal escapes of mountinfo.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [byte, tail @ ..] = rest {
        let code = tail.get(..3).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        match (byte, code) {
            (b'\\', Some(code)) => {
                plain.push(code);
                rest = &tail[3..];
            }
            _ => {
                plain.push(*byte);
                rest = tail;
            }
        }
    }
    plain
}

/// The hierarchy that has a controller: a controller is in one only.
fn find(hierarchies: &[Hierarchy], controller: Controller) -> Option<&Hierarchy> {
    let v1 = |h: &&Hierarchy| !h.unified && h.options.split(',').any(|option| option == controller.name());
    let v2 = |h: &&Hierarchy| {
        let available = || fs::read_to_string(h.mount_point.join("cgroup.controllers"));
        h.unified && available().is_ok_and(|text| text.split_whitespace().any(|word| word == controller.name()))
    };
    hierarchies.iter().find(v1).or_else(|| hierarchies.iter().find(v2))
}

/// The parents (to be made where missing) and the path of a new group.
struct Place {
    parents: Vec<PathBuf>,
    path: PathBuf,
}

fn place(hierarchy: &Hierarchy, name: &str) -> io::Result<Place> {
    if rustix::process::geteuid().is_root() {
        let parent = hierarchy.mount_point.join("agentkernel");
        return Ok(Place { path: parent.join(name), parents: vec![hierarchy.mount_point.clone(), parent] });
    }
    let own = own_path(hierarchy, &fs::read_to_string("/proc/self/cgroup")?).ok_or(io::ErrorKind::NotFound)?;
    // A second sandbox of the same caller: the leaf's parent is the delegated group.
    let own = if own.file_name().is_some_and(|name| name == LEAF) { own.parent().unwrap_or(&own).into() } else { own };
    Ok(Place { path: own.join(format!("agentkernel-{name}")), parents: vec![own] })
}

/// Where the calling process is in a hierarchy, by /proc/self/cgroup.
fn own_path(hierarchy: &Hierarchy, cgroups: &str) -> Option<PathBuf> {
    let options: Vec<&str> = hierarchy.options.split(',').collect();
    let path = cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let same = if hierarchy.unified {
            controllers.is_empty()
        } else {
            !controllers.is_empty() && controllers.split(',').all(|controller| options.contains(&controller))
        };
        same.then_some(path)
    })?;
    // The mount shows what is below its root.
    let below = path.strip_prefix(hierarchy.root.trim_end_matches('/')).unwrap_or(path);
    Some(hierarchy.mount_point.join(below.trim_start_matches('/')))
}

fn open_group(
    hierarchy: &Hierarchy,
    controller: Controller,
    place: &Place,
    remember: &mut impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    for parent in &place.parents {
        make_directory(parent)?;
        if hierarchy.unified {
            enable(parent, controller)?;
        }
    }
    if !place.path.is_dir() {
        remember(&place.path)?;
    }
    make_directory(&place.path)?;
    Ok(place.path.clone())
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Lets the children of a group (version 2) have limits of a controller.
fn enable(path: &Path, controller: Controller) -> io::Result<()> {
    let control = path.join("cgroup.subtree_control");
    let enabled = |text: &str| text.split_whitespace().any(|word| word == controller.name());
    if enabled(&fs::read_to_string(&control)?) {
        return Ok(());
    }
    // The root of all, which has no type, may have processes and limited children.
    if path.join("cgroup.type").try_exists()? {
        clear(path)?;
    }
    fs::write(&control, format!("+{}", controller.name()))
}

/// Moves the processes of a group (ours, when it is delegated to us) to a leaf of it. The kernel asks for that before
/// some controllers are switched on; for the others (cpu, pids) it makes a threaded domain of a group with processes, in
/// which there are no limits on memory any more (cgroups(7), "threaded mode").
fn clear(path: &Path) -> io::Result<()> {
    let leaf = path.join(LEAF);
    // Those that are forked meanwhile are met in the next round.
    for _ in 0..100 {
        let processes = fs::read_to_string(path.join("cgroup.procs"))?;
        if processes.is_empty() {
            return Ok(());
        }
        make_directory(&leaf)?;
        for pid in processes.lines() {
            match fs::write(leaf.join("cgroup.procs"), pid) {
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
    let file = rustix::fs::openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

fn read(dir: &OwnedFd, file: &str) -> io::Result<String> {
    let file = rustix::fs::openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    io::read_to_string(fs::File::from(file))
}

/// A number in `key value` lines.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
