//! The native backend: hides how namespaces, mounts, ids, limits and init become a machine on this kernel.
//!
//! The parent (the supervisor, one thread) prepares what needs the host's view, clones once into all namespaces,
//! and waits until init runs. The child, *stage*, builds the sandbox around itself in ordinary Rust, which is legal
//! because the process that was cloned had one thread, and then becomes init by executing a sealed memory file.
//! Nothing else is executed.

mod cache;
mod channel;
pub(super) mod dev;
pub(super) mod etc;
pub(super) mod failure;
mod ids;
mod limits;
mod machine;
pub(super) mod masks;
pub(super) mod plan;
mod probe;
mod program;
mod root;
mod skeleton;
mod stack;
mod stage;
pub(super) mod trust;
pub(super) mod walls;

use super::{Backend, Finding, LaunchError, Launched, Place};
use crate::{SandboxId, Spec, Workspace, guest::Program};
use failure::Context as _;
use ids::Ids;
use jail::{
    cgroup::Cgroup,
    namespace::{self, Clone, Namespaces},
    process,
};
use rustix::{
    fd::{AsRawFd as _, OwnedFd},
    net::{AddressFamily, SocketFlags, SocketType},
    process::{Pid, WaitId, WaitIdOptions},
};

/// The descriptor at which init finds the link.
pub const LINK_FD: i32 = 3;
/// The descriptor over which init hands connections over.
pub const FLOWS_FD: i32 = 4;

/// The native backend.
#[derive(Clone, Copy, Debug)]
pub struct Native {
    /// The init program: a static executable.
    pub init: Program,
}

/// What the programs of a kept sandbox have written, once it has ended: an overlay's upper directory; and the id on the
/// host that is the sandbox's 0, if it has a range.
///
/// # Errors
/// If it cannot be opened.
pub fn written(place: &Place) -> std::io::Result<(OwnedFd, Option<u32>)> {
    let path = format!("root/{}/upper", plan::upper_name(""));
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    let upper = jail::fd::open_beneath(&place.dir, path, flags, rustix::fs::Mode::empty())?;
    Ok((upper, ids::base(place)?))
}

impl Backend for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn probe(&self, place: &Place) -> Vec<Finding> {
        probe::probe(place)
    }

    fn launch(&self, spec: &Spec, place: &Place, authority: Option<&str>) -> Result<Launched, LaunchError> {
        process::require_single_thread().wall("process", "The launching process must have one thread", "")?;
        let ids = ids::claim(spec, place)?;
        // From here on, what was claimed is given back if the launch fails.
        launch(&self.init, spec, place, authority, &ids).inspect_err(|_| {
            // The launch error is the one to report; what stays behind is found by `gc`.
            let _ = self.release_leftovers(place, spec.keep);
        })
    }

    fn release_leftovers(&self, place: &Place, keep: bool) -> std::io::Result<()> {
        limits::release(place)?;
        masks::release(place, masks::Masks::default())?;
        if keep { Ok(()) } else { ids::release(place) }
    }

    fn sweep(
        &self,
        cache: &OwnedFd,
        exists: &dyn Fn(&SandboxId) -> bool,
        dry_run: bool,
    ) -> std::io::Result<Vec<String>> {
        let [link, image] = skeleton::current()?;
        let mut swept = cache::sweep(cache, &[link, image, program::name(&self.init)], exists, dry_run)?;
        swept.extend(masks::sweep(cache, dry_run)?);
        Ok(swept)
    }
}

fn launch(
    init: &Program,
    spec: &Spec,
    place: &Place,
    authority: Option<&str>,
    ids: &Ids,
) -> Result<Launched, LaunchError> {
    let init = failure::state(program::prepare(&place.cache, init), "init", "Cannot put init into the cache")?;
    let mut cgroup = limits::make(spec, place)?;
    let outside = namespace::Identity::own().wall("namespaces", "Cannot tell the host's", "")?;

    for proved in [false, true] {
        let init = init.again().wall("init", "Cannot duplicate a descriptor", "")?;
        if let Some(launched) = attempt(spec, place, authority, ids, init, &mut cgroup, &outside, proved)? {
            return Ok(launched);
        }
    }
    Err(failure::new("image", "The host's files change too fast", ""))
}

/// `None` if what it was to be made of proved to be out of date, which cannot be with `proved`.
#[allow(clippy::too_many_arguments)] // what it takes, each from somewhere else
fn attempt(
    spec: &Spec,
    place: &Place,
    authority: Option<&str>,
    ids: &Ids,
    init: program::Location,
    cgroup: &mut Option<Cgroup>,
    outside: &namespace::Identity,
    proved: bool,
) -> Result<Option<Launched>, LaunchError> {
    let (link, init_link) = pair(SocketType::STREAM)?;
    let (flows, init_flows) = pair(SocketType::SEQPACKET)?;
    let (report, stage_report) = pair(SocketType::SEQPACKET)?;
    // Stage puts the two at their numbers, and needs these until the very end.
    let (init_flows, stage_report) = (beyond_reserved(init_flows)?, beyond_reserved(stage_report)?);
    // Stage makes the network's namespace, the dearest, while this process does its part.
    let child = namespace::clone(Namespaces::all_but_network(), cgroup.as_ref().and_then(Cgroup::unified));
    let (pid, pidfd) = match child.map_err(failure::namespaces)? {
        Clone::Child => {
            drop((link, flows, report));
            stage::run(&stage::Stage {
                spec,
                authority,
                ids,
                waits: stage::waits(ids, cgroup.as_ref()),
                moved: cgroup.as_ref().is_some_and(Cgroup::has_legacy),
                outside,
                link: init_link,
                flows: init_flows,
                report: stage_report,
            })
        }
        Clone::Parent(pid, pidfd) => (pid, pidfd),
    };
    drop((init_link, init_flows, stage_report));
    let build = || {
        prepare(pid, cgroup.as_ref(), &report, ids)?;
        let mut plan = plan::make(spec, place, ids, init, proved)?;
        plan.send(spec, &report, pid, ids)?;
        // Making placeholders takes its time, and stage needs them last.
        let masks = masks::prepare(spec, place)?;
        if let Workspace::Direct { .. } = spec.workspace {
            masks.send(&report)?;
        }
        if !plan.is_current()? {
            return Ok(None);
        }
        failure::wait(&report)?;
        Ok(Some((masks, plan.lease())))
    };
    let Some((masks, image)) = build().inspect_err(|_| end(pid, &pidfd))? else {
        end(pid, &pidfd);
        return Ok(None);
    };
    for socket in [&link, &flows] {
        rustix::io::ioctl_fionbio(socket, true).wall("link", "Cannot make the link non-blocking", "")?;
    }
    let (walls, setup) = (walls::list(spec, ids, &masks), walls::setup(spec, ids, &masks));
    Ok(Some(Launched {
        machine: Box::new(machine::Process::new(pid, pidfd, spec, place, cgroup.take(), masks, image)?),
        link,
        flows,
        setup,
        walls,
    }))
}

/// Does for stage what it cannot do itself, and wakes it.
fn prepare(pid: Pid, cgroup: Option<&Cgroup>, report: &OwnedFd, ids: &Ids) -> Result<(), LaunchError> {
    if let Some(cgroup) = cgroup {
        cgroup.join(pid).wall("limits", "Cannot put the sandbox into its cgroups", "")?;
    }
    if let Ids::Range { base } = *ids {
        let map = format!("0 {base} {}", ids::COUNT);
        namespace::write_maps(pid, &map, &map).wall("user namespace", "Cannot map ids", "")?;
    }
    if stage::waits(ids, cgroup) {
        channel::send(report, b"go", &[])?;
    }
    Ok(())
}

/// Kills and reaps a child that must not go on.
fn end(pid: Pid, pidfd: &OwnedFd) {
    // Both can only fail because it is gone.
    let _ = process::signal_pidfd(pidfd, rustix::process::Signal::KILL);
    let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
}

/// The same descriptor at a number that none of init's has.
fn beyond_reserved(fd: OwnedFd) -> Result<OwnedFd, LaunchError> {
    if fd.as_raw_fd() > FLOWS_FD {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, FLOWS_FD + 1).wall("descriptors", "Cannot duplicate a descriptor", "")
}

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), LaunchError> {
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).wall(
        "link",
        "Cannot make a socket pair",
        "",
    )
}
