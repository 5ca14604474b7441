//! Memory, processes and disk without end. Every attempt stops shortly beyond the sandbox's limit.

use crate::{
    case::{Case, Class::Resources, Control, Outcome, Skip, said, words},
    context::Context,
    sys::{End, exit, fork_sleepers, in_child},
};
use rustix::{
    fs::FallocateFlags,
    process::{Resource, getrlimit},
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "memory-bomb",
        Resources,
        "the sandbox can take all memory of the host",
        "cgroups(7)",
        Control::Host,
        memory,
    )
    .may_die(),
    Case::new(
        "fork-bomb",
        Resources,
        "the sandbox can take all process numbers of the host",
        "cgroups(7)",
        Control::Host,
        forks,
    )
    .may_die(),
    Case::new(
        "disk-fill-home",
        Resources,
        "the sandbox can fill the host's disk through its home",
        "tmpfs(5)",
        Control::Host,
        |ctx| disk(ctx, "home"),
    ),
    Case::new(
        "disk-fill-tmp",
        Resources,
        "the sandbox can fill the host's disk or memory through /tmp",
        "tmpfs(5)",
        Control::Host,
        |ctx| disk(ctx, "tmp"),
    )
    .may_die(),
    Case::new(
        "disk-fill-shm",
        Resources,
        "the sandbox can fill the host's memory through /dev/shm",
        "tmpfs(5)",
        Control::Host,
        |ctx| disk(ctx, "shm"),
    )
    .may_die(),
    Case::new(
        "core-dump",
        Resources,
        "crashes fill the disk with core files",
        "core(5)",
        Control::None("the caller's own limit may be 0"),
        |_| Ok(core()),
    ),
];

const MIB: u64 = 1 << 20;
/// Above these a limit is too large to be tried without harm.
const MOST_MEMORY: u64 = 4096 * MIB;
const MOST_PROCESSES: u64 = 8192;

fn limit(ctx: &Context, key: &str, most: u64) -> Result<u64, Skip> {
    if let Some(reason) = ctx.get("unlimited").filter(|_| ctx.get(key).is_none()) {
        return Err(Skip(reason.to_owned()));
    }
    let limit = ctx.number(key)?;
    if limit > most {
        return Err(Skip(format!("a {key} of {limit} is too large to try")));
    }
    Ok(limit)
}

fn memory(ctx: &Context) -> Result<Outcome, Skip> {
    let goal = limit(ctx, "limit_memory", MOST_MEMORY)? + 64 * MIB;
    if ctx.control && free_memory() < goal + 512 * MIB {
        return Ok(Outcome::Absent("the host has too little memory to prove it".to_owned()));
    }
    let end = in_child(Duration::from_secs(40), |pipe| {
        let mut kept = Vec::new();
        // Every page written; never with zeros, which need no page of their own.
        let written = vec![1u8; MIB as usize];
        for _ in 0..goal / MIB {
            let mut block: Vec<u8> = Vec::new();
            if block.try_reserve_exact(MIB as usize).is_err() {
                return 1;
            }
            block.extend_from_slice(&written);
            kept.push(block);
        }
        let _ = pipe.write_all(b"all\n");
        std::hint::black_box(&kept);
        exit(0)
    });
    match end {
        Ok((text, _)) if text == "all\n" => Ok(Outcome::Escaped(format!("took {} MiB", goal / MIB))),
        Ok((_, End::Late)) => Err(Skip("it did not end".to_owned())),
        Ok((_, end)) => Ok(Outcome::Held(format!("{end:?}"))),
        Err(errno) => Err(Skip(said(errno))),
    }
}

fn free_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn forks(ctx: &Context) -> Result<Outcome, Skip> {
    let goal = limit(ctx, "limit_pids", MOST_PROCESSES)? + 16;
    let own = getrlimit(Resource::Nproc).current;
    if ctx.control && own.is_some_and(|own| own < goal + 256) {
        return Ok(Outcome::Absent("the caller's own limit is as low".to_owned()));
    }
    let made = in_child(Duration::from_secs(40), |pipe| {
        let made = fork_sleepers(goal);
        let _ = writeln!(pipe, "{made}");
        exit(0)
    });
    match made {
        Ok((text, _)) => match text.trim().parse::<u64>() {
            Ok(made) if made >= goal => Ok(Outcome::Escaped(format!("made {made} processes"))),
            Ok(made) => Ok(Outcome::Held(format!("stopped at {made} processes"))),
            Err(_) => Err(Skip("the count was lost".to_owned())),
        },
        Err(errno) => Ok(Outcome::Held(said(errno))),
    }
}

/// Reserves space beyond the limit, in steps, and gives it back.
fn disk(ctx: &Context, place: &str) -> Result<Outcome, Skip> {
    let goal = limit(ctx, "limit_disk", MOST_MEMORY)? + 16 * MIB;
    let dir: PathBuf = match place {
        "tmp" => "/tmp".into(),
        "shm" => "/dev/shm".into(),
        // Outside, the caller's home isn't ours to fill.
        _ if ctx.control => ctx.need("plant_dir")?.into(),
        _ => std::env::var_os("HOME").map_or_else(|| "/root".into(), Into::into),
    };
    let free = rustix::fs::statvfs(&dir).map(|stat| stat.f_bavail * stat.f_frsize).unwrap_or(0);
    if ctx.control && (free < goal * 2 || place == "shm" && free_memory() < goal * 2) {
        return Ok(Outcome::Absent("the host has too little space to prove it".to_owned()));
    }
    let path = dir.join(format!(".probe-fill-{}", std::process::id()));
    let outcome = fill(&path, goal);
    let _ = fs::remove_file(&path);
    Ok(outcome)
}

fn fill(path: &Path, goal: u64) -> Outcome {
    let file = match fs::File::create(path) {
        Ok(file) => file,
        Err(error) => return Outcome::Held(words(&error)),
    };
    for at in (0..goal).step_by(16 * MIB as usize) {
        if let Err(errno) = rustix::fs::fallocate(&file, FallocateFlags::empty(), at, 16 * MIB) {
            return Outcome::Held(format!("stopped at {} MiB ({})", at / MIB, said(errno)));
        }
    }
    Outcome::Escaped(format!("took {} MiB at {}", goal / MIB, path.display()))
}

fn core() -> Outcome {
    match getrlimit(Resource::Core).current {
        Some(0) => Outcome::Held("RLIMIT_CORE is 0".to_owned()),
        Some(limit) => Outcome::Escaped(format!("RLIMIT_CORE is {limit}")),
        None => Outcome::Escaped("RLIMIT_CORE is unlimited".to_owned()),
    }
}
