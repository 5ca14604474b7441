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
/// What it tells before it ends: that memory ran out; that the engine went, or was gone.
pub const OOM: &[u8] = b"oom";
pub const LOST: &[u8] = b"lost";
/// How it ends: the engine has said that nothing of the container runs; or it has not, and nothing can run all the same.
pub const ENDED: i32 = 0;
pub const UNCONFIRMED: i32 = 2;

/// How long an adapter may take to end a container before it is ended itself, which ends init.
const PATIENCE: Duration = Duration::from_secs(20);

/// A container, seen from the supervisor.
#[derive(Debug)]
pub struct Container {
    pid: Pid,
    pidfd: OwnedFd,
    orders: OwnedFd,
    place: Option<Place>,
    keep: bool,
    masks: Masks,
    /// Where its engine is, for people.
    engine: String,
    oom: Cell<bool>,
    lost: Cell<bool>,
    /// Whether the engine has said that nothing of it runs, once nothing does.
    settled: Option<io::Result<()>>,
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
        let engine = spec.engine.as_ref().map(|engine| engine.endpoint.to_string()).unwrap_or_default();
        let (oom, lost) = (Cell::new(false), Cell::new(false));
        Ok(Self { pid, pidfd, orders, place, keep: spec.keep, masks, engine, oom, lost, settled: None })
    }

    /// Fails if the adapter has ended without a word.
    pub fn started(&mut self) -> Result<(), LaunchError> {
        let gone = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        match gone {
            Ok(0) => Ok(()),
            _ => Err(super::failure::new("engine", "What speaks to the engine has ended", "")),
        }
    }

    /// Takes what the adapter has told.
    fn hear(&self) {
        let mut bytes = [0; 16];
        loop {
            match jail::fd::receive(&self.orders, 0, &mut bytes) {
                Ok((1.., _)) => {
                    self.oom.set(self.oom.get() || bytes.starts_with(OOM));
                    self.lost.set(self.lost.get() || bytes.starts_with(LOST));
                }
                // It has ended with an order unread, which is told once, before what it said.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Ends and reaps the adapter of a start that failed, and lets go of what it held.
    pub fn abandon(self) {
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
        self.hear();
        u64::from(self.oom.get())
    }

    fn usage(&self) -> Option<wire::link::Usage> {
        None
    }

    fn settle(&mut self) -> Option<String> {
        let Some(place) = &self.place else { return None };
        let limit = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        if !matches!(poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&limit)), Ok(1..)) {
            let _ = process::signal_pidfd(&self.pidfd, Signal::KILL);
        }
        let ended = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        self.hear();
        let status = ended.ok().flatten().and_then(|status| status.exit_status());
        let mut killed = false;
        let settled = record::claim(place).and_then(|claim| match (claim, status) {
            (None, _) => Ok(()),
            (Some(mut claim), Some(ENDED)) => {
                claim.ended();
                Ok(())
            }
            (Some(_), Some(UNCONFIRMED)) => Err(io::ErrorKind::NotConnected.into()),
            (Some(claim), _) => {
                killed = true;
                claim.release(self.keep, true)
            }
        });
        let clears = "the engine is silent: `agentkernel gc` removes what it has left once it answers";
        let and = if settled.is_ok() { String::new() } else { format!("; {clears}") };
        self.settled = Some(settled);
        let engine = &self.engine;
        if killed {
            return Some(format!(
                "The process that speaks to the engine at {engine} was killed, which ends the sandbox{and}"
            ));
        }
        self.lost
            .get()
            .then(|| format!("The connection to the engine at {engine} was lost, which ends the sandbox{and}"))
    }

    fn release(&mut self) -> io::Result<()> {
        if self.settled.is_none() {
            let _ = self.settle();
        }
        let Some(place) = &self.place else { return Ok(()) };
        masks::release(place, std::mem::take(&mut self.masks))?;
        self.settled.take().unwrap_or(Ok(()))?;
        self.place = None;
        Ok(())
    }
}
