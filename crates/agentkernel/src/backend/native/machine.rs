//! Hides a running sandbox as a process: its pidfd, and what is left on the host when it is gone.

use super::{
    super::{LaunchError, Machine, Place},
    failure::Context as _,
    ids, limits,
    masks::{self, Masks},
};
use crate::Spec;
use jail::{cgroup::Cgroup, process};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    process::{Pid, Signal},
};
use std::io;

/// Init, seen from the host.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    /// Its own, because a machine may outlive the value that launched it. `None` once released.
    place: Option<Place>,
    keep: bool,
    cgroup: Option<Cgroup>,
    masks: Masks,
    /// See [`super::plan::Plan::lease`].
    _image: Vec<OwnedFd>,
}

impl Process {
    pub fn new(
        pid: Pid,
        pidfd: OwnedFd,
        spec: &Spec,
        place: &Place,
        cgroup: Option<Cgroup>,
        masks: Masks,
        image: Vec<OwnedFd>,
    ) -> Result<Self, LaunchError> {
        let again = |fd: &OwnedFd| fd.try_clone().wall("process", "Cannot duplicate a descriptor", "");
        let place = Place { dir: again(&place.dir)?, cache: again(&place.cache)? };
        Ok(Self { pid, pidfd, place: Some(place), keep: spec.keep, cgroup, masks, _image: image })
    }
}

impl Machine for Process {
    fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get() as u32
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn kill(&self) -> io::Result<()> {
        // The kernel ends every process of a pid namespace with its first.
        process::signal_pidfd(&self.pidfd, Signal::KILL).map(drop)
    }

    fn is_deserted(&self) -> bool {
        // Whoever loses his parent in there becomes a child of init, so without children init is alone; and who has to
        // die can't fork any more (fork(2)). Nobody else can wait for it, so the number is still its own.
        let pid = self.pid.as_raw_nonzero();
        std::fs::read(format!("/proc/{pid}/task/{pid}/children")).is_ok_and(|children| children.is_empty())
    }

    fn settle(&mut self) -> Option<String> {
        // The kernel has ended it whole.
        None
    }

    fn withdraw(&mut self) -> io::Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        masks::release(place, std::mem::take(&mut self.masks))
    }

    fn oom_kills(&self) -> u64 {
        self.cgroup.as_ref().map_or(0, Cgroup::oom_kills)
    }

    fn usage(&self) -> Option<wire::link::Usage> {
        let (resident, processes, cpu_us) = self.cgroup.as_ref()?.usage()?;
        Some(wire::link::Usage { processes: u32::try_from(processes).unwrap_or(u32::MAX), resident, cpu_us })
    }

    fn release(&mut self) -> io::Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        // Somebody may have removed the state directory, and what it remembers.
        self.cgroup.as_ref().map_or(Ok(()), Cgroup::remove)?;
        limits::release(place)?;
        masks::release(place, std::mem::take(&mut self.masks))?;
        if !self.keep {
            ids::release(place)?;
        }
        self.place = None;
        Ok(())
    }
}
