//! Hides how the registry of npm's packages is found, and what logs in there: its own configuration says, or npm itself.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jail::process::{self, Fork, Program};
use oci::credentials::{Credentials, Secret};
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

/// A registry of npm's packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Its address, ending with a slash.
    pub address: String,
    /// What logs in there, as npm's configuration has it.
    pub credentials: Credentials,
}

impl Registry {
    /// Its `HOST[:PORT]`, without the usual port.
    #[must_use]
    pub fn host(&self) -> String {
        let (scheme, rest) = self.address.split_once("://").unwrap_or_default();
        let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let usual = if scheme == "https" { ":443" } else { ":80" };
        host.strip_suffix(usual).map(str::to_owned).unwrap_or(host)
    }
}

/// The registry that npm would use for a package. What a project says does not count.
///
/// # Errors
/// [`RegistryUnknown`]
pub fn registry(package: &str) -> Result<Registry, RegistryUnknown> {
    let files = files();
    let variable = |name: &str| env::var(name).ok();
    let named =
        |(name, _): &(std::ffi::OsString, _)| name.to_string_lossy().eq_ignore_ascii_case("npm_config_registry");
    let set = env::vars_os().find(named).and_then(|(_, value)| value.into_string().ok());
    let found = address(package, set, &files, variable).or_else(ask);
    let found = found.filter(|found| found.starts_with("https://") || found.starts_with("http://"));
    let address = format!("{}/", found.ok_or(RegistryUnknown)?.trim_end_matches('/'));
    let credentials = credentials(&address, &files, variable);
    Ok(Registry { address, credentials })
}

/// What is set: for the package's scope, in the environment, for all.
fn address(
    package: &str,
    set: Option<String>,
    files: &[String],
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let in_files = |key: &str| Some(expanded(&files.iter().find_map(|text| value(text, key))?, &variable));
    let of_scope = package.split_once('/').and_then(|(scope, _)| in_files(&format!("{scope}:registry")));
    of_scope.or(set).or_else(|| in_files("registry"))
}

/// What logs in to a registry: npm looks for it by the address without its scheme, and then by what that begins with, up to
/// the host (npm-registry-fetch).
fn credentials(address: &str, files: &[String], variable: impl Fn(&str) -> Option<String>) -> Credentials {
    let Some((_, place)) = address.split_once(':') else { return Credentials::None };
    let mut place = place;
    loop {
        let of = |key: &str| {
            let found = files.iter().find_map(|text| value(text, &format!("{place}:{key}")))?;
            Some(expanded(&found, &variable))
        };
        if let Some(token) = of("_authToken") {
            return Credentials::RegistryToken(Secret::new(token));
        }
        let both = of("_auth").and_then(|both| {
            decoded(&both)?.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
        });
        let apart = || Some((of("username")?, decoded(&of("_password")?)?));
        if let Some((user, password)) = both.or_else(apart) {
            return Credentials::Basic { user, password: Secret::new(password) };
        }
        // `//host/path/` is below `//host/`, and that below nothing.
        match place.trim_end_matches('/').rsplit_once('/') {
            Some((above, _)) if above.len() > 2 => place = &place[..=above.len()],
            _ => return Credentials::None,
        }
    }
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

/// A value with `${NAME}` in it. What is not set stays as it is, as with npm.
fn expanded(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((name, after)) = behind.split_once('}') else { break };
        filled.push_str(before);
        filled.push_str(&variable(name).unwrap_or_else(|| format!("${{{name}}}")));
        rest = after;
    }
    filled + rest
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
        // The value may have more of them: base64 ends with some.
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
