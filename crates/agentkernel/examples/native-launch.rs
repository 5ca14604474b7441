//! Launches a native sandbox from a specification and runs one command in it: the helper of the native backend's
//! tests and measurements, with one thread, as the backend demands.
//!
//! `native-launch STATE SPEC.json COMMAND...`: STATE is a directory that exists, for the sandbox and the cache. With
//! the name `init`, inside, it is the program that runs the command.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)] // a helper of tests

use agentkernel::{
    Spec,
    backend::{
        Backend as _, Place,
        native::{LINK_FD, Native},
    },
    guest::Program,
};
use rustix::fs::{Mode, OFlags};
use std::{
    error::Error,
    ffi::OsString,
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{Read as _, Write as _},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    process::{Command, ExitCode},
};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args_os();
    if args.next().is_some_and(|name| name == "init") {
        return init();
    }
    let state = args.next().ok_or("No state directory")?;
    let spec: Spec = serde_json::from_slice(&std::fs::read(args.next().ok_or("No specification")?)?)?;
    let command: Vec<u8> = args.map(OsString::into_vec).collect::<Vec<_>>().join(&0);
    let open = |name: &str| -> rustix::io::Result<_> {
        let path = std::path::Path::new(&state).join(name);
        let _ = rustix::fs::mkdir(&path, Mode::RWXU);
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let place = Place { dir: open(spec.id.as_str())?, cache: open("cache")? };
    let bytes = std::fs::read("/proc/self/exe")?.leak();
    let mut hash = DefaultHasher::new();
    bytes.hash(&mut hash);
    let init = Program { id: format!("example-{:016x}", hash.finish()).leak(), bytes };
    let started = std::time::Instant::now();
    let mut launched = Native { init }.launch(&spec, &place, None).inspect_err(|error| {
        eprintln!("wall: {}\ncause: {}\nhint: {}", error.wall, error.cause, error.hint);
    })?;
    let elapsed = started.elapsed();
    rustix::io::ioctl_fionbio(&launched.link, false)?;
    let mut link = File::from(launched.link);
    link.write_all(&(command.len() as u32).to_ne_bytes())?;
    link.write_all(&command)?;
    let mut answer = Vec::new();
    link.read_to_end(&mut answer)?;
    let status = answer.pop().unwrap_or(125);
    std::io::stdout().write_all(&answer)?;
    launched.machine.kill()?;
    rustix::process::waitid(
        rustix::process::WaitId::PidFd(launched.machine.gone()),
        rustix::process::WaitIdOptions::EXITED,
    )?;
    eprintln!("launch: {elapsed:?}\noom kills: {}", launched.machine.oom_kills());
    launched.machine.release()?;
    Ok(ExitCode::from(status))
}

fn init() -> Result<ExitCode, Box<dyn Error>> {
    // Its own descriptor 3, taken through a pidfd because there is no safe way to adopt a number.
    let me = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())?;
    let link = rustix::process::pidfd_getfd(me, LINK_FD, rustix::process::PidfdGetfdFlags::empty())?;
    jail::process::close_on_exec_from(LINK_FD, &[])?;
    let mut link = File::from(link);
    let mut length = [0u8; 4];
    link.read_exact(&mut length)?;
    let mut command = vec![0u8; u32::from_ne_bytes(length) as usize];
    link.read_exact(&mut command)?;
    let mut words = command.split(|byte| *byte == 0).map(std::ffi::OsStr::from_bytes);
    let output = Command::new(words.next().unwrap_or_default())
        .args(words)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .output();
    match output {
        Ok(output) => {
            link.write_all(&output.stdout)?;
            link.write_all(&output.stderr)?;
            link.write_all(&[output.status.code().unwrap_or(125) as u8])?;
        }
        Err(error) => write!(link, "{error}\x7f")?,
    }
    Ok(ExitCode::SUCCESS)
}
