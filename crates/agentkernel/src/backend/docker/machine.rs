//! Hides a running container as a machine: the adapter's pidfd, and what is left on the host when it is gone.

use super::{
    super::{
        LaunchError, Machine, Place,
        native::{
            failure::Context as _,
            masks::{self, Masks},
        },
    },
    record,
};
use crate::Spec;
use jail::process;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    net::SendFlags,
    process::{Pid, Signal, WaitId, WaitIdOptions},
};
use std::{cell::Cell, io, time::Duration};

/// What an adapter is told.
pub const KILL: &[u8] = b"kill";
/// What it tells before it ends.
pub const OOM: &[u8] = b"oom";

/// How long an adapter may take to end a container before it is ended itself, which ends init.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container, seen from the supervisor.
#[derive(Debug)]
pub struct Container {
    pid: Pid,
    pidfd: OwnedFd,
    orders: OwnedFd,
    place: Option<Place>,
    keep: bool,
    masks: Masks,
    oom: Cell<bool>,
}

impl Container {
    pub fn new(
        pid: Pid,
        pidfd: OwnedFd,
        orders: OwnedFd,
        spec: &Spec,
        place: &Place,
        masks: Masks,
    ) -> Result<Self, LaunchError> {
        let again = |fd: &OwnedFd| fd.try_clone().wall("process", "Cannot duplicate a descriptor", "");
        let place = Some(Place { dir: again(&place.dir)?, cache: again(&place.cache)? });
        rustix::io::ioctl_fionbio(&orders, true).wall("engine", "Cannot talk to what speaks to the engine", "")?;
        Ok(Self { pid, pidfd, orders, place, keep: spec.keep, masks, oom: Cell::new(false) })
    }

    /// Fails if the adapter has ended without a word.
    pub fn started(&mut self) -> Result<(), LaunchError> {
        let gone = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        match gone {
            Ok(0) => Ok(()),
            _ => Err(super::failure::new("engine", "What speaks to the engine has ended", "")),
        }
    }

    /// Ends and reaps the adapter of a start that failed.
    pub fn abandon(&mut self) {
        let _ = process::signal_pidfd(&self.pidfd, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED);
    }
}

impl Machine for Container {
    fn pid(&self) -> u32 {
        0
    }

    fn gone(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn kill(&self) -> io::Result<()> {
        match rustix::net::send(&self.orders, KILL, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            // It takes no orders any more: without it, init ends.
            Err(_) => process::signal_pidfd(&self.pidfd, Signal::KILL).map(drop),
        }
    }

    fn is_deserted(&self) -> bool {
        // Only the engine could tell.
        false
    }

    fn withdraw(&mut self) -> io::Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        masks::release(place, std::mem::take(&mut self.masks))
    }

    fn oom_kills(&self) -> u64 {
        // Init counts them; this is for when it was init, or nobody is left to tell.
        let mut bytes = [0; 16];
        while let Ok((length, _)) = jail::fd::receive(&self.orders, 0, &mut bytes) {
            if length == 0 {
                break;
            }
            self.oom.set(self.oom.get() || bytes.starts_with(OOM));
        }
        u64::from(self.oom.get())
    }

    fn usage(&self) -> Option<wire::link::Usage> {
        None
    }

    fn release(&mut self) -> io::Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let limit = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        if !matches!(poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&limit)), Ok(1..)) {
            let _ = process::signal_pidfd(&self.pidfd, Signal::KILL);
        }
        let ended = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        masks::release(place, std::mem::take(&mut self.masks))?;
        // An adapter that has ended well leaves nothing but what is kept.
        let well = matches!(ended, Ok(Some(status)) if status.exit_status() == Some(0));
        if !well && let Some(record) = record::read(place)? {
            record.release(self.keep)?;
        }
        self.place = None;
        Ok(())
    }
}
