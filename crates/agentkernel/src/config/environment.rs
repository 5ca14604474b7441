//! The environment inside: made anew. Of the caller's, only the locale, the time zone and what was asked for by name.

use super::{
    ConfigError, HostFacts,
    follow::follow,
    forms::{EnvVar, RESERVED, parse_env_file, quoted},
    identity::image_has,
    image::FoundImage,
    secrets::Secrets,
};
use crate::{Identity, Image, SandboxId, SecretSource, SecretUse, trust, walk::Links};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::OwnedFd,
    fs::{self, FileType, OFlags},
};
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::Read,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};
use wire::OsBytes;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// As long as what execve(2) would take at most, by default.
const MAX_LEN: u64 = 2 << 20;

/// An environment in which every name stands once.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    list: Vec<(OsString, OsString)>,
    /// Where each name stands.
    places: HashMap<OsString, usize>,
}

impl Environment {
    /// What every program finds.
    pub(super) fn base(identity: &Identity, image: &Image, found: Option<&FoundImage>, host: &HostFacts) -> Self {
        let mut env = Self::default();
        let has_bash = found.map_or_else(|| image_has(image, "bin/bash"), |found| found.has_bash);
        let shell = if has_bash { "/bin/bash" } else { "/bin/sh" };
        env.set("PATH", PATH);
        env.set("HOME", &identity.home);
        env.set("USER", &identity.name);
        env.set("LOGNAME", &identity.name);
        env.set("SHELL", shell);
        for (name, value) in &host.env {
            if name == "LANG" || name == "TZ" || name.as_bytes().starts_with(b"LC_") {
                env.set(name, value);
            }
        }
        for (name, value) in found.iter().flat_map(|found| &found.env).filter_map(|entry| entry.split_once('=')) {
            env.set(name, value);
        }
        env
    }

    /// Adds what a layer over the image says: variables that are missing, and what its PATH has and this one has not, in
    /// front.
    pub(super) fn lay(&mut self, variables: &[String]) {
        for (name, value) in variables.iter().filter_map(|entry| entry.split_once('=')) {
            match self.get(name) {
                None => self.set(name, value),
                Some(own) if name == "PATH" => {
                    let own = own.to_owned();
                    let has = |dir: &&str| own.as_bytes().split(|byte| *byte == b':').any(|one| one == dir.as_bytes());
                    let more = value.split(':').filter(|dir| !dir.is_empty() && !has(dir));
                    let mut path = OsString::from(more.map(|dir| format!("{dir}:")).collect::<String>());
                    path.push(&own);
                    self.set(name, path);
                }
                Some(_) => {}
            }
        }
    }

    pub(super) fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        match self.places.get(name).and_then(|&at| self.list.get_mut(at)) {
            Some((_, old)) => value.clone_into(old),
            None => {
                self.places.insert(name.into(), self.list.len());
                self.list.push((name.into(), value.into()));
            }
        }
    }

    /// Sets what nobody has.
    pub(super) fn set_missing(&mut self, name: &str, value: impl AsRef<OsStr>) {
        if !self.has(name) {
            self.set(name, value);
        }
    }

    /// Has Java trust the sandbox's own authority, beside whatever else its options say; not if they name what it trusts.
    pub(super) fn trust_in_java(&mut self) {
        let mut options = self.get(trust::JAVA_OPTIONS).unwrap_or_default().to_owned();
        if has_option(&options, trust::JAVA_OPTION) {
            return;
        }
        if !options.is_empty() {
            options.push(" ");
        }
        options.push(format!("{}{}", trust::JAVA_OPTION, trust::JAVA));
        self.set(trust::JAVA_OPTIONS, options);
    }

    /// Which variables have programs trust something else than a sandbox's own authority.
    fn misleading(&self) -> Vec<&'static str> {
        let has_it =
            |path: &OsStr| [trust::CERTIFICATE, trust::BUNDLE].iter().chain(&trust::SYSTEM).any(|own| path == *own);
        let others = trust::VARIABLES.into_iter().filter(|(name, _)| !self.get(name).is_some_and(has_it));
        let java = self.get(trust::JAVA_OPTIONS).unwrap_or_default();
        let java = !has_option(java, &format!("{}{}", trust::JAVA_OPTION, trust::JAVA));
        others.map(|(name, _)| name).chain(java.then_some(trust::JAVA_OPTIONS)).collect()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Refuses what stands in the place of a secret's placeholder, and the variable that its value comes from.
    pub(super) fn refuse_values(&self, secrets: &[SecretUse], host: &HostFacts) -> Result<(), ConfigError> {
        for SecretUse { name, env, placeholder, source, .. } in secrets {
            let env = env.as_deref().unwrap_or_default();
            if self.get(env).is_some_and(|value| value != OsStr::new(placeholder)) {
                let cause = format!("Secret '{name}' would be in variable {env}, which is set already");
                return Err(ConfigError::value(cause, "Leave the variable out, or give the secret another one: `env`"));
            }
            let recorded = match source {
                SecretSource::Store => Secrets::of(host).find(name)?.map(|recorded| recorded.source),
                _ => None,
            };
            if let SecretSource::Env(from) = recorded.as_ref().unwrap_or(source)
                && self.get(from).is_some_and(|value| Some(value) == host.var(from))
            {
                let cause = format!("Variable {from} holds the value of secret '{name}'");
                return Err(ConfigError::value(cause, "Leave it out: the secret's own variable has a placeholder"));
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        self.places.get(OsStr::new(name)).and_then(|&at| self.list.get(at)).map(|(_, value)| value.as_os_str())
    }

    pub(super) fn apply(&mut self, variables: &[EnvVar], host: &HostFacts) {
        for variable in variables {
            match variable {
                EnvVar::Set(name, value) => self.set(name, value),
                EnvVar::Inherit(name) => {
                    if let Some(value) = host.var(name) {
                        self.set(name, value);
                    }
                }
            }
        }
    }

    /// By which a program knows where it is. Set last: nothing that a project says may hide it.
    pub(super) fn mark(&mut self, id: &SandboxId) {
        for (name, value) in RESERVED.into_iter().zip(["1", id.as_str()]) {
            self.set(name, value);
        }
    }

    /// The kind of the caller's terminal.
    pub(super) fn terminal(&mut self, host: &HostFacts) {
        let term = host.var("TERM").filter(|term| !term.is_empty());
        self.set("TERM", term.unwrap_or(OsStr::new("xterm-256color")));
    }

    pub(super) fn entries(&self) -> Vec<OsBytes> {
        let entry = |(name, value): &(OsString, OsString)| {
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            OsBytes::from(entry)
        };
        self.list.iter().map(entry).collect()
    }
}

impl From<&[OsBytes]> for Environment {
    fn from(entries: &[OsBytes]) -> Self {
        let mut env = Self::default();
        for OsBytes(entry) in entries {
            let at = entry.iter().position(|&byte| byte == b'=').unwrap_or(entry.len());
            let value = entry.get(at + 1..).unwrap_or_default();
            env.set(OsStr::from_bytes(&entry[..at]), OsString::from_vec(value.to_vec()));
        }
        env
    }
}

/// Whether one of Java's options begins so.
fn has_option(options: &OsStr, option: &str) -> bool {
    options.as_bytes().split(u8::is_ascii_whitespace).any(|word| word.starts_with(option.as_bytes()))
}

/// That variables of this environment have programs trust something else than the authority of a sandbox which has one, in
/// words; `None` if they don't.
#[must_use]
pub fn misled(env: &[OsBytes]) -> Option<String> {
    let names = Environment::from(env).misleading();
    let (verb, them) = if names.len() == 1 { ("names", "it") } else { ("name", "them") };
    let cause = "TLS whose requests are read fails for programs that obey";
    (!names.is_empty()).then(|| format!("{} {verb} other certificates: {cause} {them}", names.join(", ")))
}

/// The environment of an exec in an existing sandbox: the sandbox's own, `TERM` if there is a terminal, then the
/// files' variables, then the others. No link leads to a file out of the places where sandboxes write.
///
/// # Errors
/// If a file can't be read or parsed.
pub fn exec_env(
    sandbox: &[OsBytes],
    files: &[impl AsRef<Path>],
    places: &[PathBuf],
    variables: &[EnvVar],
    terminal: bool,
    host: &HostFacts,
) -> Result<Vec<OsBytes>, ConfigError> {
    let mut env = Environment::from(sandbox);
    let trusts = !env.misleading().contains(&trust::JAVA_OPTIONS);
    if terminal {
        env.terminal(host);
    }
    for file in files {
        env.apply(&read_env_file(&host.cwd.join(file), places)?, host);
    }
    env.apply(variables, host);
    if trusts {
        env.trust_in_java();
    }
    Ok(env.entries())
}

/// Reads a file of variables, to which no link leads out of the places where sandboxes write.
pub(super) fn read_env_file(path: &Path, places: &[PathBuf]) -> Result<Vec<EnvVar>, ConfigError> {
    let what = format!("The file of variables {}", quoted(path.as_os_str()));
    let entry = follow(path, true, &what, places, Links::Inside).map_err(|refusal| refusal.at(path))?;
    read_variables(entry.open().map_err(|error| ConfigError::io(path, error))?, path)
}

/// The same of one that is open.
pub(super) fn read_variables(file: OwnedFd, path: &Path) -> Result<Vec<EnvVar>, ConfigError> {
    let failed = |errno| ConfigError::io(path, errno);
    let mut file = File::from(file);
    let kind = FileType::from_raw_mode(fs::fstat(&file).map_err(failed)?.st_mode);
    match kind {
        FileType::RegularFile | FileType::CharacterDevice => {}
        // A pipe is welcome (`--env-file <(...)`). One with a name has no end before it has had a writer.
        FileType::Fifo => {
            poll(&mut [PollFd::new(&file, PollFlags::IN)], None).map_err(failed)?;
            fs::fcntl_setfl(&file, OFlags::empty()).map_err(failed)?;
        }
        _ => return Err(ConfigError::value(format!("{} is not a file", path.display()), "")),
    }
    let mut bytes = Vec::new();
    (&mut file).take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(|error| ConfigError::io(path, error))?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(ConfigError::value(format!("{} is longer than {MAX_LEN} bytes", path.display()), ""));
    }
    parse_env_file(&bytes).map_err(|(line, error)| ConfigError::File {
        path: path.into(),
        line,
        column: 1,
        hint: if error.hint.is_empty() { "Each line is NAME=value, without quotes" } else { error.hint }.into(),
        cause: error.cause,
    })
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
