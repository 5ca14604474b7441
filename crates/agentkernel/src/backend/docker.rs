//! The docker backend: hides how a container of the user's engine becomes a machine.
//!
//! One process stands between: the *adapter*, a fork of the supervisor that speaks to the engine. It makes the container,
//! whose first process is our init, and joins its standard input and output. From there on it is what the kernel is on the
//! native backend: it gives the supervisor a link and a flow socket that are no different from a native sandbox's, and
//! while it lives, so does the machine. When it dies in whatever way, the engine closes init's input, and init ends.

mod adapter;
mod container;
mod covers;
mod demultiplex;
mod flows;
mod heartbeat;
mod init;
mod machine;
mod pair;
mod probe;
mod record;
mod sweep;
mod trust;
mod volume;

use super::{
    Backend, Finding, LaunchError, Launched, Place,
    native::{
        failure::{self, Context as _},
        masks,
    },
};
use crate::{SandboxId, Spec, guest::Program};
use jail::process::{self, Fork};
use rustix::{
    fd::{AsRawFd as _, OwnedFd},
    net::{AddressFamily, SocketFlags, SocketType},
};

/// The docker backend.
#[derive(Clone, Copy, Debug)]
pub struct Docker {
    /// The init program: a static executable.
    pub init: Program,
}

impl Backend for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn probe(&self, _place: &Place) -> Vec<Finding> {
        probe::probe()
    }

    fn launch(&self, spec: &Spec, place: &Place, authority: Option<&str>) -> Result<Launched, LaunchError> {
        process::require_single_thread().wall("process", "The launching process must have one thread", "")?;
        self.attempt(spec, place, authority).inspect_err(|_| {
            // The launch error is the one to report; what stays behind is found by `gc`.
            let _ = self.release_leftovers(place, spec.keep);
        })
    }

    fn release_leftovers(&self, place: &Place, keep: bool) -> std::io::Result<()> {
        let released = match record::claim(place)? {
            Some(claim) => claim.release(keep, masks::are_there(place)?),
            None => Ok(()),
        };
        // Nothing can run any more that they keep out.
        masks::release(place, masks::Masks::default())?;
        released
    }

    fn sweep(
        &self,
        cache: &OwnedFd,
        exists: &dyn Fn(&SandboxId) -> bool,
        dry_run: bool,
    ) -> std::io::Result<Vec<String>> {
        sweep::sweep(cache, &self.init, exists, dry_run)
    }
}

impl Docker {
    /// What it holds itself it has let go of if it fails.
    fn attempt(&self, spec: &Spec, place: &Place, authority: Option<&str>) -> Result<Launched, LaunchError> {
        let Some(engine) = &spec.engine else {
            return Err(failure::new("engine", "No engine is on record", "Remove the sandbox, and make another one"));
        };
        let claim = record::begin(place, &spec.id, &engine.endpoint);
        let claim = failure::state(claim, "engine", "Cannot record whose container it is")?;
        let state = failure::state(record::make_state(&place.cache), "engine", "Cannot mark whose container it is")?;
        let masks = masks::prepare(spec, place)?;
        let outline = container::Outline::new(spec, &masks, &state)?;
        let walls = outline.walls();
        let (link, adapters_link) = pair(SocketType::STREAM)?;
        let (flows, adapters_flows) = pair(SocketType::SEQPACKET)?;
        let (report, adapters_report) = pair(SocketType::SEQPACKET)?;
        let (orders, adapters_orders) = pair(SocketType::SEQPACKET)?;
        let adapters_claim = claim.descriptor().wall("engine", "Cannot duplicate a descriptor", "")?;
        let setup = outline.setup.clone();
        let pid = match process::fork().wall("engine", "Cannot start what speaks to the engine", "")? {
            Fork::Parent(pid) => pid,
            Fork::Child => {
                let ours = [
                    &adapters_link,
                    &adapters_flows,
                    &adapters_report,
                    &adapters_orders,
                    &adapters_claim,
                    &place.cache,
                ];
                let ours = ours.map(|fd| fd.as_raw_fd());
                let adapter = adapter::Adapter {
                    spec,
                    authority,
                    outline,
                    state: &state,
                    init: self.init,
                    cache: &place.cache,
                    link: adapters_link,
                    flows: adapters_flows,
                    report: adapters_report,
                    orders: adapters_orders,
                    _claim: adapters_claim,
                };
                let confined = process::close_fds_from(3, &ours).and_then(|()| process::set_dumpable(false));
                process::exit_now(match confined {
                    Ok(()) => adapter.run(),
                    Err(_) => 1,
                })
            }
        };
        drop((adapters_link, adapters_flows, adapters_report, adapters_orders, adapters_claim, claim));
        let pidfd = process::pidfd(pid).wall("engine", "Cannot watch what speaks to the engine", "")?;
        let mut machine = machine::Container::new(pid, pidfd, orders, spec, place, masks)?;
        if let Err(error) = failure::wait(&report).and_then(|()| machine.started()) {
            machine.abandon();
            return Err(error);
        }
        for socket in [&link, &flows] {
            rustix::io::ioctl_fionbio(socket, true).wall("link", "Cannot make the link non-blocking", "")?;
        }
        Ok(Launched { machine: Box::new(machine), link, flows, setup, walls })
    }
}

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), LaunchError> {
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).wall(
        "link",
        "Cannot make a socket pair",
        "",
    )
}
