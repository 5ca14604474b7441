//! What the host looks like from outside, so that the inside can be told from it. Names, sizes, times and hashes
//! only: no content of a file and no value of a variable.

use crate::{print, syscall};
use std::{
    env,
    ffi::{CString, OsStr},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// Below the caller's home: what an agent must never see.
const CREDENTIALS: &[&str] = &[
    ".ssh/id_rsa",
    ".ssh/id_ed25519",
    ".ssh/id_ecdsa",
    ".ssh/config",
    ".ssh/known_hosts",
    ".ssh/authorized_keys",
    ".gnupg/pubring.kbx",
    ".gnupg/trustdb.gpg",
    ".aws/credentials",
    ".azure/azureProfile.json",
    ".config/gcloud/credentials.db",
    ".config/gh/hosts.yml",
    ".kube/config",
    ".docker/config.json",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".cargo/credentials.toml",
    ".git-credentials",
    ".gitconfig",
    ".bash_history",
    ".zsh_history",
    ".python_history",
    ".psql_history",
    ".claude/.credentials.json",
    ".claude.json",
    ".codex/auth.json",
    ".gemini/oauth_creds.json",
    ".local/share/opencode/auth.json",
    ".mozilla",
    ".config/google-chrome",
    ".local/share/keyrings",
    ".password-store",
    ".bashrc",
    ".profile",
];

/// Parameters about the host.
pub fn host() -> Vec<(String, String)> {
    let mut params = Vec::new();
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            params.push((key.to_owned(), value));
        }
    };
    for kind in ["user", "mnt", "net", "pid", "ipc", "uts", "cgroup"] {
        add(
            &format!("ns_{kind}"),
            fs::read_link(format!("/proc/self/ns/{kind}"))
                .map_or_else(|_| String::new(), |link| link.display().to_string()),
        );
    }
    let home = env::var_os("HOME").map(PathBuf::from);
    if let Some(home) = &home {
        add("print_home", prints(CREDENTIALS.iter().map(|name| home.join(name))));
    }
    add("print_shadow", prints(["/etc/shadow", "/etc/gshadow", "/etc/shadow-"].map(PathBuf::from)));
    let keys = entries("/etc/ssh").into_iter().filter(|path| {
        path.extension() == Some(OsStr::new(""))
            || path
                .file_name()
                .is_some_and(|name| name.as_bytes().starts_with(b"ssh_host_") && name.as_bytes().ends_with(b"_key"))
    });
    add("print_keys", prints(keys.chain(entries("/etc/ssl/private"))));
    add("print_sudoers", prints(["/etc/sudoers", "/etc/sudoers.d/README"].map(PathBuf::from)));
    let homes = entries("/home").into_iter().chain([PathBuf::from("/root")]);
    add("print_homes", prints(homes.filter(|path| Some(path) != home.as_ref() && fs::read_dir(path).is_ok())));
    add("print_shell", prints([PathBuf::from("/bin/sh")]));
    add("environment", environment());
    add("ssh_agent", env::var("SSH_AUTH_SOCK").unwrap_or_default());
    add("devpts", fs::metadata("/dev/pts").map_or_else(|_| String::new(), |meta| meta.dev().to_string()));
    add("tty", tty_number().unwrap_or_default());
    add("root_device", root_device().unwrap_or_default());
    add("name_servers", name_servers());
    params
}

fn prints(paths: impl IntoIterator<Item = PathBuf>) -> String {
    paths.into_iter().filter_map(|path| print::format(&path)).collect::<Vec<_>>().join(" ")
}

fn entries(dir: &str) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Variables that say nothing, or that a sandbox sets itself.
fn plain(name: &OsStr) -> bool {
    let plain = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "TERM",
        "LANG",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "TZ",
        "COLORTERM",
        "HOSTNAME",
        "TMPDIR",
        "LANGUAGE",
        "NO_COLOR",
        "CLICOLOR",
    ];
    name.as_bytes().starts_with(b"LC_") || plain.iter().any(|known| name == *known)
}

fn environment() -> String {
    let hashes = env::vars_os()
        .filter(|(name, _)| !plain(name) && name != super::TOKEN)
        .map(|(name, value)| hash(&name, &value));
    hashes.collect::<Vec<_>>().join(",")
}

/// FNV-1a of `NAME=value`, 64 bits: enough to recognise a value, not to be mistaken for a secret's keeper.
#[must_use]
pub fn hash(name: &OsStr, value: &OsStr) -> String {
    let bytes = name.as_bytes().iter().chain(b"=").chain(value.as_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

/// The device number of the controlling terminal: field 7 of proc_pid_stat(5).
#[must_use]
pub fn tty_number() -> Option<String> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // Field 2 may hold anything, parentheses too, so fields are counted from its end.
    let number = stat.rsplit_once(')')?.1.split_whitespace().nth(4)?;
    (number != "0").then(|| number.to_owned())
}

/// `major:minor` of the file system at `/`, if it is mounted whole.
fn root_device() -> Option<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let root = fields.rfind(|fields| fields.len() > 4 && fields[3] == "/" && fields[4] == "/")?;
    Some(root[2].to_owned())
}

fn name_servers() -> String {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver")).map(str::trim);
    servers
        .filter(|text| text.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback()))
        .collect::<Vec<_>>()
        .join(",")
}

/// The host's address towards a place in the world: the routing table's answer, no packet is sent.
pub fn own_address(place: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if place.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(place).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Names in a hosts(5), each with its address, that mean something beyond the sandbox: every sandbox has a localhost.
pub fn own_names(hosts: &str) -> impl Iterator<Item = (IpAddr, &str)> {
    let lines = hosts.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        Some((words.next()?.parse::<IpAddr>().ok()?, words))
    });
    let plain = |name: &str| {
        let end = name.rsplit('.').next().unwrap_or_default();
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
            && !name.starts_with(['-', '.'])
            && !end.is_empty()
            && !end.starts_with(|first: char| first.is_ascii_digit())
            && !["localhost", "invalid", "arpa"].contains(&end)
    };
    let own = lines.filter(|(address, _)| !address.is_unspecified());
    own.flat_map(|(address, words)| words.map(move |word| (address, word))).filter(move |(_, name)| plain(name))
}

/// Takes off every mount whose source is `name`, and gives where it was.
pub fn unmount(name: &str) -> impl Iterator<Item = String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points: Vec<String> = table
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .filter(|(_, kind)| kind.split(' ').nth(1) == Some(name))
        .filter_map(|(mount, _)| mount.split(' ').nth(4).map(str::to_owned))
        .collect();
    points.into_iter().inspect(|point| {
        if let Ok(point) = CString::new(Path::new(point).as_os_str().as_bytes()) {
            let _ = syscall!(libc::SYS_umount2, point.as_c_str(), libc::MNT_DETACH);
        }
    })
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
