//! Hides how the registry of npm's packages is found: its own configuration says, or npm itself.

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
    path::{Path, PathBuf},
};

/// The longest file and answer that is read.
const LONGEST: u64 = 1 << 20;
/// Where everybody's configuration is.
const GLOBAL: [&str; 3] = ["/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc"];

/// Nobody says where npm's packages are.
#[derive(Debug, thiserror::Error)]
#[error("It is not known where npm's packages are: there is no npm, and none of its files says")]
pub struct RegistryUnknown;

/// The registry that npm would use for a package, ending with a slash. What a project says does not count.
///
/// # Errors
/// [`RegistryUnknown`]
pub fn registry(package: &str) -> Result<String, RegistryUnknown> {
    let scope = package.split_once('/').map(|(scope, _)| format!("{scope}:registry"));
    let files = files();
    let of_scope = scope.as_ref().and_then(|key| files.iter().find_map(|text| value(text, key)));
    let set = || {
        let name =
            |(name, _): &(std::ffi::OsString, _)| name.to_string_lossy().eq_ignore_ascii_case("npm_config_registry");
        env::vars_os().find(name).and_then(|(_, value)| value.into_string().ok())
    };
    let found = of_scope.or_else(set).or_else(|| files.iter().find_map(|text| value(text, "registry")));
    let found = found.or_else(ask).filter(|found| found.starts_with("https://") || found.starts_with("http://"));
    found.map(|found| format!("{}/", found.trim_end_matches('/'))).ok_or(RegistryUnknown)
}

/// The user's configuration, and then everybody's.
fn files() -> Vec<String> {
    let set = env::vars_os().find(|(name, _)| name.to_string_lossy().eq_ignore_ascii_case("npm_config_userconfig"));
    let own =
        set.map(|(_, path)| PathBuf::from(path)).or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".npmrc")));
    let read = |path: PathBuf| {
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)).ok().map(|_| text)
    };
    own.into_iter().chain(GLOBAL.map(PathBuf::from)).filter_map(read).collect()
}

/// The last value of a key (npmrc(5)).
fn value(text: &str, key: &str) -> Option<String> {
    let line = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        (name.trim() == key && !value.is_empty()).then(|| value.to_owned())
    };
    text.lines().filter_map(line).next_back()
}

/// What npm itself says, if it is there.
fn ask() -> Option<String> {
    let path = env::var_os("PATH")?;
    let mut places = env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("npm"));
    let program = places.find(|place| place.is_file())?;
    let answer = run(&program).ok()?;
    let answer = answer.trim();
    (!answer.contains(char::is_whitespace)).then(|| answer.to_owned())
}

/// Runs npm where no project's configuration is.
fn run(program: &Path) -> io::Result<String> {
    let text = |bytes: &OsStr| CString::new(bytes.as_bytes()).map_err(io::Error::from);
    let arguments = [program.as_os_str(), OsStr::new("config"), OsStr::new("get"), OsStr::new("registry")];
    let arguments: Vec<CString> = arguments.into_iter().map(text).collect::<io::Result<_>>()?;
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

#[cfg(test)]
#[path = "npm_tests.rs"]
mod tests;
