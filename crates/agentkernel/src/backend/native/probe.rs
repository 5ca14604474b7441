//! Hides how it is found out what this host lets the native backend do: each step of a start is tried, alone, in a
//! short-lived child, and fails in the words of a start.

use super::{
    super::{Finding, LaunchError, Place, State},
    dev, end,
    failure::{self, Context as _},
    ids::{self, Ids},
    pair, prepare, stage,
};
use jail::{
    cgroup::{Cgroup, Limits},
    landlock,
    mount::{self, Attr, Param},
    namespace::{self, Clone, Namespaces},
    process, seccomp,
};
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    net::SocketType,
};

/// Tries everything.
pub fn probe(place: &Place) -> Vec<Finding> {
    let ids = ids::to_try();
    let mut findings = vec![needed("user namespace", ids.as_ref().map(|ids| ids.describe()).map_err(copy))];
    let Ok(ids) = ids else { return findings };
    findings[0] = needed("user namespace", in_namespaces(&ids, || Ok(())).map(|()| ids.describe()));
    if findings[0].state != State::Works {
        // Everything below needs it, and would only say the same again.
        return findings;
    }
    let mut try_it = |name: &'static str, works: &str, step: fn() -> Result<(), LaunchError>| {
        findings.push(needed(name, in_namespaces(&ids, step).map(|()| works.to_owned())));
    };
    try_it("mount namespace", "file systems can be mounted in it", mounts);
    try_it("network", "an own network; every address is local", network);
    try_it("image", "overlays can be mounted", || overlay(None));
    try_it("proc", "an own /proc can be mounted", own_proc);
    try_it("dev", "own terminals can be mounted", terminals);
    try_it("keyring", "an own keyring", || {
        process::new_session_keyring().wall("keyring", "Cannot join a new session keyring", "")
    });
    try_it("seccomp", "system calls can be filtered", filter);
    findings.push(match (in_namespaces(&ids, || overlay(Some("/usr"))), ids) {
        // A start goes on without it then.
        (Err(error), Ids::One { .. }) => Finding { state: State::Missing, ..needed("writable /usr", Err(error)) },
        (result, _) => needed("writable /usr", result.map(|()| "programs can be installed in a sandbox".into())),
    });
    if let Ids::Range { .. } = ids {
        let mapped = map_owners(place).map(|()| "owners of files can be mapped".to_owned());
        findings.push(needed("idmapped mounts", mapped));
    }
    findings.push(match landlock::version() {
        Some(version) => Finding::works("landlock", format!("version {version}")),
        None => Finding {
            name: "landlock",
            state: State::Missing,
            detail: "This kernel has none, or too old a one: hardening, without which a sandbox starts".into(),
            hint: "Use Linux 5.19 or newer, and add landlock to the lsm= parameter of its command line".into(),
        },
    });
    let one = Limits { cpu_milli: None, memory: None, pids: None };
    for (name, limits) in [
        ("limit of memory", Limits { memory: Some(64 << 20), ..one }),
        ("limit of processes", Limits { pids: Some(64), ..one }),
        ("limit of processors", Limits { cpu_milli: Some(1000), ..one }),
    ] {
        findings.push(limit(name, &limits));
    }
    findings
}

fn needed(name: &'static str, result: Result<String, LaunchError>) -> Finding {
    match result {
        Ok(detail) => Finding::works(name, detail),
        Err(LaunchError { cause, hint, .. }) => Finding { name, state: State::Fails, detail: cause, hint },
    }
}

fn copy(error: &LaunchError) -> LaunchError {
    LaunchError { wall: error.wall.clone(), cause: error.cause.clone(), hint: error.hint.clone() }
}

/// Tries a step as a starting sandbox would: in all namespaces, with its ids.
fn in_namespaces(ids: &Ids, step: impl FnOnce() -> Result<(), LaunchError>) -> Result<(), LaunchError> {
    let (report, childs) = pair(SocketType::SEQPACKET)?;
    match namespace::clone(Namespaces::all_but_network(), None).map_err(failure::namespaces)? {
        Clone::Child => {
            drop(report);
            let result = stage::wait(&childs, stage::waits(ids, None))
                .and_then(|()| stage::take_ids(ids))
                .and_then(|()| mount::isolate().wall("mount namespace", "Cannot cut mounts off from the host's", ""))
                .and_then(|()| step())
                .map_err(failure::mounts_denied);
            if let Err(error) = result {
                failure::send(&childs, &error);
            }
            process::exit_now(0)
        }
        Clone::Parent(pid, pidfd) => {
            drop(childs);
            let result = prepare(pid, None, &report, ids).and_then(|()| failure::wait(&report));
            end(pid, &pidfd);
            result
        }
    }
}

fn memory() -> Result<OwnedFd, LaunchError> {
    mount::new("tmpfs", &[Param::Value("size", "1m")], Attr::MOUNT_ATTR_NODEV).wall(
        "mount namespace",
        "Cannot mount a file system in memory",
        "",
    )
}

fn mounts() -> Result<(), LaunchError> {
    memory().map(drop)
}

fn network() -> Result<(), LaunchError> {
    namespace::enter_network().map_err(failure::namespaces)?;
    stage::network()
}

/// Over a directory of the host, or over one in memory.
fn overlay(lower: Option<&str>) -> Result<(), LaunchError> {
    const WALL: &str = "image";
    const TRIED: &str = "Cannot prepare an overlay";
    let open = |path: &str| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).wall(WALL, format_args!("Cannot open {path}"), "")
    };
    let scratch = memory()?;
    mount::attach(&scratch, open("/sys")?).wall(WALL, TRIED, "")?;
    let make = |name| stage::make_directory(&scratch, name);
    let lower = lower.map_or_else(|| make("lower"), open)?;
    stage::overlay("usr", &[lower], &(make("upper")?, make("work")?)).map(drop)
}

fn own_proc() -> Result<(), LaunchError> {
    dev::new_proc().map(drop)
}

fn terminals() -> Result<(), LaunchError> {
    dev::new_terminals().map(drop)
}

fn filter() -> Result<(), LaunchError> {
    process::set_no_new_privs().wall("no-new-privileges", "Cannot set it", "")?;
    seccomp::install(seccomp::Profile::Default).wall("seccomp", "Cannot filter system calls", "")
}

/// For root: whether the files of the working directory can be given to a sandbox's ids.
fn map_owners(place: &Place) -> Result<(), LaunchError> {
    const WALL: &str = "workspace";
    let userns = namespace::user_with_maps("0 0 1", "0 0 1").wall(WALL, "Cannot map its owner", "")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let here = rustix::fs::open(".", flags, Mode::empty()).wall(WALL, "Cannot open the working directory", "")?;
    for (dir, name) in [(&here, "the working directory"), (&place.cache, "the state directory")] {
        let copy = mount::copy(dir, false).wall(WALL, format_args!("Cannot copy the mount of {name}"), "")?;
        mount::map_ids(&copy, false, &userns).wall(
            WALL,
            format_args!("The file system of {name} cannot map owners"),
            failure::MAP_OWNERS,
        )?;
    }
    Ok(())
}

/// A limit that can't be set is no wall that has fallen: whoever asks for it is refused.
fn limit(name: &'static str, limits: &Limits) -> Finding {
    match Cgroup::make(&format!("doctor-{}", std::process::id()), limits, |_| Ok(())) {
        Ok(cgroup) => {
            let version = if cgroup.has_legacy() { 1 } else { 2 };
            match cgroup.remove() {
                Ok(()) => Finding::works(name, format!("by cgroup v{version}")),
                Err(error) => needed(name, Err(error).wall("limits", "Cannot remove a cgroup", "")),
            }
        }
        Err(error) => Finding { name, state: State::Missing, detail: error.to_string(), hint: error.hint.into() },
    }
}
