//! What a configuration depends on besides itself: the caller and the machine, looked at once.

use super::{
    ConfigError,
    forms::quoted,
    passwd::{self, Who},
};
use rustix::{
    fs::{MemfdFlags, XattrFlags},
    io::Errno,
    process::Resource,
    system,
};
use std::{
    ffi::{OsStr, OsString},
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// In the place of a working directory that is gone: nobody can make this one, nor anything below it.
const GONE: &str = "/proc/self/cwd (deleted)";

/// The caller and the machine.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// The working directory, absolute and without links. If it is [lost](Self::lost), nothing can be found below it.
    pub cwd: PathBuf,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Whether sandboxes have more ids than one: root's have, unless root's own namespace has one alone.
    pub many_ids: bool,
    /// The caller's name.
    pub user: String,
    /// The caller's home directory.
    pub home: PathBuf,
    /// The caller's environment.
    pub env: Vec<(OsString, OsString)>,
    /// The machine's memory in bytes.
    pub ram: u64,
    /// Whether files in memory can have attributes of a user's making, in which an overlay notes what it hides.
    pub memory_attributes: bool,
    /// The hard limit of open files; none: unlimited.
    pub max_nofile: Option<u64>,
    /// The hard limit of processes; none: unlimited.
    pub max_nproc: Option<u64>,
    /// The hard limit of a file's size in bytes; none: unlimited.
    pub max_fsize: Option<u64>,
}

impl HostFacts {
    /// Looks at this process and this machine.
    ///
    /// # Errors
    /// If the system does not tell the working directory.
    pub fn read() -> Result<Self, ConfigError> {
        let cwd = match std::env::current_dir() {
            Err(error) if error.kind() == ErrorKind::NotFound => PathBuf::from(GONE),
            found => found.map_err(|error| ConfigError::io(Path::new("."), error))?,
        };
        let uid = rustix::process::geteuid().as_raw();
        let account = std::fs::read("/etc/passwd").ok().and_then(|file| passwd::find(&file, &Who::Uid(uid)).ok()?);
        let variable = |name| std::env::var(name).ok();
        let user = account.as_ref().map(|account| account.name.clone());
        let user = user.or_else(|| variable("USER").filter(|name| passwd::valid_name(name)));
        let home = account.map(|account| account.home);
        let home = home.or_else(|| variable("HOME").map(PathBuf::from).filter(|home| home.is_absolute()));
        let info = system::sysinfo();
        let hard = |resource| rustix::process::getrlimit(resource).maximum;
        Ok(Self {
            cwd,
            uid,
            gid: rustix::process::getegid().as_raw(),
            many_ids: uid == 0 && has_many_ids(),
            user: user.unwrap_or_else(|| if uid == 0 { "root".into() } else { "user".into() }),
            home: home.unwrap_or_else(|| if uid == 0 { "/root".into() } else { "/".into() }),
            env: std::env::vars_os().collect(),
            ram: (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)),
            memory_attributes: memory_attributes(),
            max_nofile: hard(Resource::Nofile),
            max_nproc: hard(Resource::Nproc),
            max_fsize: hard(Resource::Fsize),
        })
    }

    /// Why nothing can be looked up in the working directory: it is gone, or closed to the caller.
    #[must_use]
    pub fn lost(&self) -> Option<ConfigError> {
        const HINT: &str = "Go to a directory that exists, or use `--workspace none`";
        let place = quoted(self.cwd.as_os_str());
        match rustix::fs::stat(self.cwd.join(".")) {
            Ok(_) => None,
            Err(Errno::NOENT) => Some(ConfigError::value("The working directory is gone", HINT)),
            Err(errno) => Some(ConfigError::value(format!("Can't enter the working directory {place}: {errno}"), HINT)),
        }
    }

    /// A variable of the caller's environment.
    #[must_use]
    pub fn var(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.env.iter().find(|(key, _)| key == name.as_ref()).map(|(_, value)| value.as_os_str())
    }

    /// Where the caller's programs keep what is his: `$HOME`, or what the user database says.
    #[must_use]
    pub fn own_home(&self) -> PathBuf {
        let set = self.var("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        set.unwrap_or_else(|| self.home.clone())
    }

    /// The directories that the caller may call home: the user database's and `$HOME`, which sudo may leave as it was.
    pub(crate) fn homes(&self) -> impl Iterator<Item = &Path> {
        [Some(self.home.as_path()), self.var("HOME").map(Path::new)]
            .into_iter()
            .flatten()
            .filter(|home| home.is_absolute() && *home != Path::new("/"))
    }
}

/// Whether this process's namespace has more user ids than one.
fn has_many_ids() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let counts = map.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok());
    counts.sum::<u64>() > 1
}

/// Tries it: tmpfs(5) has user attributes from Linux 6.6 on, and some older kernels got them from their distributions.
fn memory_attributes() -> bool {
    let Ok(file) = rustix::fs::memfd_create("attributes", MemfdFlags::CLOEXEC) else { return false };
    rustix::fs::fsetxattr(file, "user.agentkernel", b"y", XattrFlags::empty()).is_ok()
}
