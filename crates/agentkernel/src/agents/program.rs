//! Hides how a program of the user's is asked what it knows.

use jail::process::{self, Fork, Program};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{Mode, OFlags},
    pipe::PipeFlags,
    process::{WaitId, WaitIdOptions},
};
use std::{
    env,
    ffi::{CString, OsStr},
    fs::File,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

/// The longest answer that is read.
const LONGEST: u64 = 1 << 20;

/// What the program of this name prints, if it is there and succeeds.
pub(super) fn answer(name: &str, arguments: &[&str]) -> Option<String> {
    let path = env::var_os("PATH")?;
    let mut places = env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
    let program = places.find(|place| place.is_file())?;
    run(&program, arguments).ok()
}

/// Runs it where no project's configuration is.
fn run(program: &Path, arguments: &[&str]) -> io::Result<String> {
    let text = |bytes: &OsStr| CString::new(bytes.as_bytes()).map_err(io::Error::from);
    let arguments = std::iter::once(program.as_os_str()).chain(arguments.iter().map(OsStr::new));
    let arguments: Vec<CString> = arguments.map(text).collect::<io::Result<_>>()?;
    let variables: io::Result<Vec<CString>> = env::vars_os()
        .map(|(name, value)| Ok(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?))
        .collect();
    let variables = variables?;
    let (from, stdout): (OwnedFd, OwnedFd) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let pid = match process::fork()? {
        Fork::Child => {
            let begin = || -> io::Result<()> {
                rustix::process::chdir("/")?;
                process::set_stdio(null.as_fd(), stdout.as_fd(), null.as_fd())
            };
            if begin().is_ok() {
                let _ = process::exec(Program::Path(&arguments[0]), &arguments, &variables);
            }
            process::exit_now(127);
        }
        Fork::Parent(pid) => pid,
    };
    drop(stdout);
    let mut answer = String::new();
    let read = File::from(from).take(LONGEST).read_to_string(&mut answer);
    let ended = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED))?;
    read?;
    match ended.and_then(|status| status.exit_status()) {
        Some(0) => Ok(answer),
        _ => Err(io::ErrorKind::Other.into()),
    }
}
