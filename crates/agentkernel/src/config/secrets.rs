//! The secrets that the user has recorded: one file for each, beside the user's configuration, and who may read it.
//!
//! A file begins with a line of JSON, which says where the value comes from and where it may go; in the store's own the
//! value follows, in clear.

use super::{
    ConfigError, HostFacts, credentials,
    environment::Environment,
    follow::{Refusal, follow},
    forms::{parse_secret_name, quoted},
    keyring::{self, Bus, KeyringError},
    nearest, overlap, user,
};
use crate::{SecretSource, SecretUse, Spec, walk::Links};
use egress::{Pattern, Secret};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};
use wire::OsBytes;

/// The longest value, in bytes.
pub const MAX_SECRET: usize = 64 << 10;
/// What stands before it is shorter.
const MAX_HEAD: usize = 64 << 10;
/// The format of the files. Another one is refused, never guessed at.
const FORMAT: u32 = 1;
/// Begins the name of a file that is being written.
const TEMPORARY: &str = ".new-";

/// A secret as it is recorded, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// What the user calls it.
    pub name: String,
    /// Where its value comes from.
    pub source: SecretSource,
    /// Where it may go.
    pub hosts: Vec<Pattern>,
    /// The variable inside that holds the placeholder; none: the one of its name.
    pub env: Option<String>,
}

impl Recorded {
    /// Whether its value was put into the keyring by [`Secrets::record`].
    fn is_in_keyring(&self) -> bool {
        self.source == Self::in_keyring(&self.name)
    }

    /// Where [`Secrets::record`] puts a value into the desktop's keyring.
    #[must_use]
    pub fn in_keyring(name: &str) -> SecretSource {
        SecretSource::Keyring(keyring::ours(name))
    }
}

/// The line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    source: SecretSource,
    hosts: Vec<Pattern>,
    env: Option<String>,
}

/// What became of the value of a secret that is recorded no longer.
#[derive(Debug)]
pub enum Forgotten {
    /// It is nowhere.
    All,
    /// It lies in the keyring still; in words.
    ButKeyring(ConfigError),
}

/// Where a user's secrets are recorded.
#[derive(Clone, Debug)]
pub struct Secrets {
    path: PathBuf,
    uid: u32,
    bus: Bus,
}

impl Secrets {
    /// The caller's.
    #[must_use]
    pub fn of(host: &HostFacts) -> Self {
        Self { path: user::dir(host).join("secrets"), uid: host.uid, bus: Bus::of(host) }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records a secret in place of another of its name, which is whole if this fails. `value` is for the store and the
    /// keyring alone. Gives what became of the value before, if that lay in the keyring and this does not.
    ///
    /// # Errors
    /// If the value is not one that could be sent, or it can't be written.
    pub fn record(&self, recorded: &Recorded, value: Option<&Secret>) -> Result<Forgotten, ConfigError> {
        let Recorded { name, source, hosts, env } = recorded.clone();
        if let Some(value) = value {
            check(&name, value.expose())?;
        }
        let before = self.find(&name).ok().flatten();
        let in_keyring = source == SecretSource::Keyring(keyring::ours(&name));
        let value = match value {
            Some(value) if in_keyring => {
                keyring::store(&self.bus, &name, value).map_err(|error| without_keyring(&name, &error))?;
                None
            }
            value => value,
        };
        // ~/.config itself is made as the base directory specification wants it.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|error| failed("make", &self.path, error))?;
        let dir = self.open()?.ok_or_else(|| failed("open", &self.path, Errno::NOENT))?;
        let path = self.path.join(&name);
        let mut head = serde_json::to_vec(&Head { format: FORMAT, source, hosts, env })
            .map_err(|error| failed("write", &path, error))?;
        head.push(b'\n');
        if head.len() > MAX_HEAD {
            return Err(ConfigError::value(
                format!("Secret '{name}' has too many hosts"),
                "Use '*.example.org' for many",
            ));
        }
        let temporary = format!("{TEMPORARY}{}", rustix::process::getpid().as_raw_nonzero());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write = || {
            let mut file = File::from(fs::openat(&dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(&head)?;
            if let Some(value) = value {
                file.write_all(value.expose())?;
                file.write_all(b"\n")?;
            }
            fs::fsync(&file)?;
            fs::renameat(&dir, &temporary, &dir, &name)?;
            Ok(fs::fsync(&dir)?)
        };
        write().map_err(|error: std::io::Error| {
            // The error that counts is the first one.
            let _ = fs::unlinkat(&dir, &temporary, AtFlags::empty());
            failed("write", &path, error)
        })?;
        Ok(self.clear_keyring(&name, before.filter(|_| !in_keyring)))
    }

    /// Every secret that is recorded, by name, and why some can't be read.
    ///
    /// # Errors
    /// If none can be, or others could.
    pub fn list(&self) -> Result<(Vec<Recorded>, Vec<ConfigError>), ConfigError> {
        let Some(dir) = self.open()? else { return Ok(Default::default()) };
        let unread = |errno| failed("read", &self.path, errno);
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        for entry in fs::Dir::read_from(&dir).map_err(unread)? {
            let name = entry.map_err(unread)?.file_name().to_string_lossy().into_owned();
            // What else lies there is not ours.
            if parse_secret_name(&name).is_ok() {
                match self.find(&name) {
                    Ok(recorded) => found.extend(recorded),
                    Err(error) => unreadable.push(error),
                }
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok((found, unreadable))
    }

    /// One that is recorded; `None` if it is not.
    ///
    /// # Errors
    /// If it can't be read, or others could.
    pub fn find(&self, name: &str) -> Result<Option<Recorded>, ConfigError> {
        Ok(self.read(name)?.map(|(recorded, _)| recorded))
    }

    /// Why there is none of this name, with the one that may be meant.
    ///
    /// # Errors
    /// If the others can't be read.
    pub fn unknown(&self, name: &str) -> Result<ConfigError, ConfigError> {
        let names: Vec<(String, String)> =
            self.list()?.0.into_iter().map(|recorded| (recorded.name.to_lowercase(), recorded.name)).collect();
        let near = nearest(name, names.iter().map(|(lower, _)| lower.as_str()));
        let hint = match names.iter().find(|(lower, _)| Some(lower.as_str()) == near) {
            Some((_, name)) => format!("Did you mean '{name}'?"),
            None => format!("`agentkernel secret set {name} --host HOST` records it"),
        };
        Ok(ConfigError::value(format!("No secret '{name}' is recorded"), hint))
    }

    /// Removes one. `None`: there was none.
    ///
    /// # Errors
    /// If it can't be removed.
    pub fn forget(&self, name: &str) -> Result<Option<Forgotten>, ConfigError> {
        let Some(dir) = self.open()? else { return Ok(None) };
        // A record that can't be read can be removed all the same.
        let recorded = self.find(name).ok().flatten();
        match fs::unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) => fs::fsync(&dir).map_err(|errno| failed("write", &self.path, errno))?,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("remove", &self.path.join(name), errno)),
        }
        Ok(Some(self.clear_keyring(name, recorded)))
    }

    /// Removes a value from the keyring, if it lies there. Nothing uses it any more: a keyring that is not to be had is no
    /// reason to keep what does.
    fn clear_keyring(&self, name: &str, before: Option<Recorded>) -> Forgotten {
        if !before.is_some_and(|before| before.is_in_keyring()) {
            return Forgotten::All;
        }
        match keyring::forget(&self.bus, &keyring::ours(name)) {
            Ok(()) => Forgotten::All,
            Err(error) => Forgotten::ButKeyring(left_in_keyring(name, &error)),
        }
    }

    /// The record of a secret, and its value if it is in the store.
    ///
    /// # Errors
    /// If it can't be read, or others could.
    pub fn read(&self, name: &str) -> Result<Option<(Recorded, Secret)>, ConfigError> {
        let Some(dir) = self.open()? else { return Ok(None) };
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match fs::openat(&dir, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(ConfigError::value(
                    format!("{} is a symbolic link", path.display()),
                    "Put the file itself there",
                ));
            }
            Err(errno) => return Err(failed("read", &path, errno)),
        };
        private(file.as_fd(), &path, FileType::RegularFile, self.uid)?;
        let mut bytes = Vec::with_capacity(MAX_HEAD + MAX_SECRET + 8);
        let read = File::from(file).take((MAX_HEAD + MAX_SECRET + 4) as u64).read_to_end(&mut bytes);
        let bytes = Secret::new(bytes);
        read.map_err(|error| failed("read", &path, error))?;
        let bytes = bytes.expose();
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
        let (head, rest) = bytes.split_at(end);
        let damaged = || {
            let hint = format!("`agentkernel secret set {name}` writes it anew");
            ConfigError::value(format!("{} is no secret that this version knows", path.display()), hint)
        };
        let head: Head = serde_json::from_slice(head).map_err(|_| damaged())?;
        let Head { format: FORMAT, source, hosts, env } = head else { return Err(damaged()) };
        let value = rest.strip_prefix(b"\n").unwrap_or(rest);
        let value = Secret::new(value.strip_suffix(b"\n").unwrap_or(value).to_vec());
        Ok(Some((Recorded { name: name.to_owned(), source, hosts, env }, value)))
    }

    /// Opens the directory; `None` if there is none.
    fn open(&self) -> Result<Option<OwnedFd>, ConfigError> {
        let path = self.path.as_path();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::open(path, flags, Mode::empty()) {
            Ok(dir) => {
                private(dir.as_fd(), path, FileType::Directory, self.uid)?;
                Ok(Some(dir))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) if fs::lstat(path).is_ok() => Err(ConfigError::value(
                format!("{} is not a directory", path.display()),
                "Put a directory of your own there",
            )),
            Err(Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(failed("read", path, errno)),
        }
    }
}

/// The values of the secrets that a sandbox uses, from where each comes.
///
/// # Errors
/// If one is not there, could not be sent, or is in a variable or file that the sandbox reads, or could have chosen. The error
/// names the secret, and never shows it.
pub fn gather(uses: &[SecretUse], seen: &Seen, host: &HostFacts) -> Result<Vec<(SecretUse, Secret)>, ConfigError> {
    let secrets = Secrets::of(host);
    Environment::from(seen.env.as_slice()).refuse_values(uses, host)?;
    let gathered = uses.iter().map(|wanted| {
        let value = value(&wanted.name, &wanted.source, &secrets, seen, host)?;
        if wanted.source == SecretSource::Store {
            still_for(wanted, &secrets)?;
        }
        check(&wanted.name, value.expose())?;
        Ok((wanted.clone(), value))
    });
    gathered.collect()
}

/// What a sandbox has of the host.
#[derive(Debug, Default)]
pub struct Seen {
    /// Its variables.
    env: Vec<OsBytes>,
    /// Where it reads, with everything below.
    visible: Vec<PathBuf>,
    /// Where it writes.
    writable: Vec<PathBuf>,
}

impl Seen {
    /// One of this description.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        let writable = places(spec);
        let mounts = spec.all_mounts().map(|mount| mount.source.clone());
        let visible = mounts.chain(writable.iter().cloned()).chain(spec.image.seen_on_host()).collect();
        Self { env: spec.env.clone(), visible, writable }
    }

    /// Opens the file that a secret's value is in, if the sandbox neither sees it nor can choose another.
    fn open(&self, name: &str, path: &Path) -> Result<OwnedFd, Refusal> {
        let what = format!("Secret '{name}': {}", quoted(path.as_os_str()));
        let entry = follow(path, true, &what, &self.writable, Links::Inside)?;
        let real = entry.path().map_err(Refusal::Io)?;
        match self.visible.iter().find(|place| real.starts_with(place)) {
            None => entry.open().map_err(Refusal::Io),
            Some(place) => Err(Refusal::Link(ConfigError::value(
                format!("{what} is in {}, which the sandbox reads", quoted(place.as_os_str())),
                format!("Keep it elsewhere, or in the store: agentkernel secret set {name} --stdin"),
            ))),
        }
    }
}

/// Where a sandbox, and others of its project, write on the host.
pub(super) fn places(spec: &Spec) -> Vec<PathBuf> {
    spec.project().map(Path::to_owned).into_iter().chain(spec.writable_on_host()).collect()
}

/// Refuses a secret for a host that it was taken from since.
fn still_for(wanted: &SecretUse, secrets: &Secrets) -> Result<(), ConfigError> {
    let Some(Recorded { hosts, .. }) = secrets.find(&wanted.name)? else { return Ok(()) };
    let lost = wanted.hosts.iter().find(|host| !hosts.iter().any(|recorded| overlap::covers(recorded, host)));
    match lost {
        // Only a project names hosts for one that is recorded without any.
        Some(host) if !hosts.is_empty() => {
            let cause = format!("Secret '{}' may not go to {host} any more", wanted.name);
            let hint = "Make the sandbox anew, or `agentkernel secret set` it with that --host";
            Err(ConfigError::value(cause, hint))
        }
        _ => Ok(()),
    }
}

fn value(
    name: &str,
    source: &SecretSource,
    secrets: &Secrets,
    seen: &Seen,
    host: &HostFacts,
) -> Result<Secret, ConfigError> {
    let again = |flags: &str| format!("`agentkernel secret set {name}{flags}` records it");
    match source {
        SecretSource::Store => match secrets.read(name)? {
            Some((Recorded { source: SecretSource::Store, .. }, value)) => Ok(value),
            Some((Recorded { source, .. }, _)) => value(name, &source, secrets, seen, host),
            None => Err(ConfigError::value(format!("Secret '{name}' is not recorded"), again(""))),
        },
        SecretSource::Env(variable) => match host.var(variable) {
            Some(value) => Ok(line(value.as_encoded_bytes())),
            None => {
                let cause = format!("Secret '{name}': the variable {variable} is not set");
                Err(ConfigError::value(cause, format!("Set it, or {}", again(""))))
            }
        },
        SecretSource::File(path) => {
            let wrong = |error: std::io::Error| {
                let cause = format!("Secret '{name}': can't read {}: {error}", path.display());
                ConfigError::value(cause, again(" --from-file PATH"))
            };
            let file = seen.open(name, path).map_err(|refusal| match refusal {
                Refusal::Io(error) => wrong(error),
                Refusal::Link(error) => error,
            })?;
            let stat = fs::fstat(&file).map_err(|errno| wrong(errno.into()))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                let cause = format!("Secret '{name}': {} is not a file", path.display());
                return Err(ConfigError::value(cause, again(" --from-file PATH")));
            }
            read_secret(File::from(file)).map_err(wrong)
        }
        SecretSource::Field { file, keys } => {
            match seen.open(name, file) {
                // What is not there is told below.
                Ok(_) | Err(Refusal::Io(_)) => {}
                Err(Refusal::Link(error)) => return Err(error),
            }
            let document = credentials::read_document(file)?;
            let text = document.as_ref().and_then(|document| document.text(keys));
            text.map(|text| line(Secret::new(text.into_bytes()).expose())).ok_or_else(|| {
                let cause = format!("Secret '{name}': {} has no `{}`", file.display(), keys.join("."));
                ConfigError::value(cause, "Log in again with the program whose file that is")
            })
        }
        SecretSource::Keyring(attributes) => {
            match keyring::lookup(&secrets.bus, attributes).map_err(|error| without_keyring(name, &error))? {
                Some(value) => Ok(line(value.expose())),
                None => {
                    let cause =
                        format!("Secret '{name}': the desktop's keyring has nothing with {}", joined(attributes));
                    Err(ConfigError::value(cause, again(" --keyring")))
                }
            }
        }
    }
}

/// Reads a value to its end, without the newline that ends a line. One that is too long is cut, and still too long.
///
/// # Errors
/// If it can't be read.
pub fn read_secret(from: impl Read) -> std::io::Result<Secret> {
    // At once, so that no part of it stays where a buffer was before it grew.
    let mut bytes = Vec::with_capacity(MAX_SECRET + 8);
    let read = from.take(MAX_SECRET as u64 + 3).read_to_end(&mut bytes);
    let bytes = Secret::new(bytes);
    read?;
    Ok(line(bytes.expose()))
}

/// A value without the newline that ends a line, wherever it comes from.
fn line(bytes: &[u8]) -> Secret {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    Secret::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

/// Refuses a value that no HTTP header can carry (RFC 9110, 5.5).
fn check(name: &str, value: &[u8]) -> Result<(), ConfigError> {
    let cause = if value.is_empty() {
        "it is empty".to_owned()
    } else if value.len() > MAX_SECRET {
        format!("it is longer than {MAX_SECRET} bytes")
    } else if value.contains(&b'\n') || value.contains(&b'\r') {
        "it has more than one line, which no HTTP header can carry".to_owned()
    } else if value.iter().any(|&byte| byte != b'\t' && (byte < b' ' || byte == 0x7f)) {
        "it has a control character, which no HTTP header can carry".to_owned()
    } else if value.first().is_some_and(u8::is_ascii_whitespace) || value.last().is_some_and(u8::is_ascii_whitespace) {
        "it begins or ends with a blank, which no HTTP header can carry".to_owned()
    } else {
        return Ok(());
    };
    let hint = "It is sent in the headers of requests: give the value alone, on one line";
    Err(ConfigError::value(format!("Secret '{name}' can't be used: {cause}"), hint))
}

/// Attributes as they are written.
fn joined(attributes: &BTreeMap<String, String>) -> String {
    attributes.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn left_in_keyring(name: &str, error: &KeyringError) -> ConfigError {
    let cause = format!("The value of secret '{name}' stays in the keyring: {}", wire::cause(error));
    let hint = format!("It has the attributes {}: remove it there", joined(&keyring::ours(name)));
    ConfigError::value(cause, hint)
}

fn without_keyring(name: &str, error: &KeyringError) -> ConfigError {
    let hint = match error {
        KeyringError::Locked => "Unlock the keyring, and try again",
        KeyringError::Ambiguous(_) => "Name more of its attributes: `secret-tool search` shows them",
        _ => "A keyring is a desktop's: elsewhere use --stdin, --from-env or --from-file",
    };
    ConfigError::value(format!("Secret '{name}': {}", wire::cause(error)), hint)
}

/// Refuses what others may read or write.
fn private(file: BorrowedFd<'_>, path: &Path, kind: FileType, uid: u32) -> Result<(), ConfigError> {
    let stat = fs::fstat(file).map_err(|errno| failed("read", path, errno))?;
    let shown = quoted(path.as_os_str());
    let typed = || wire::shell_word(&path.to_string_lossy());
    if FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(ConfigError::value(format!("{shown} is not a file"), "Remove it"));
    }
    if stat.st_uid != uid {
        let cause = format!("{shown} holds secrets, but belongs to user {}", stat.st_uid);
        return Err(ConfigError::value(cause, format!("`chown {uid} {}` makes it yours", typed())));
    }
    if stat.st_mode & 0o077 != 0 {
        let cause = format!("{shown} holds secrets, and is open to others (mode {:o})", stat.st_mode & 0o777);
        return Err(ConfigError::value(
            cause,
            format!("`chmod go= {}`; if others could read it, change the secrets", typed()),
        ));
    }
    Ok(())
}

fn failed(verb: &str, path: &Path, error: impl Into<std::io::Error>) -> ConfigError {
    let cause = format!("Can't {verb} {}: {}", path.display(), error.into());
    ConfigError::value(cause, "")
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
