//! Hides how keys of the user's ssh-agent are lent: by which host keys a server is known, and which key signs for git.

use super::{ConfigError, HostFacts, file::read_own, forms::FormError, git_identity, resolve::Resolver};
use egress::{
    Host, Rule, Target,
    ssh::{LentKeys, Server, agent_keys, known_keys},
};
use std::{
    io::ErrorKind,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};
use wire::flow::AGENT;

/// The port of SSH.
const PORT: u16 = 22;
/// The longest file of known hosts that is read, in bytes: some have ten thousands of them.
const MAX: u64 = 32 << 20;
/// What everybody on the host trusts.
const SYSTEM: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
/// The same of the user's, in his home.
const OWN: [&str; 2] = [".ssh/known_hosts", ".ssh/known_hosts2"];

/// A server of SSH: `HOST`, or `HOST:PORT` for another port than 22.
///
/// # Errors
/// If it is none.
pub fn parse_ssh_server(text: &str) -> Result<Target, FormError> {
    match text.split_once('@') {
        Some((_, host)) => Err(FormError {
            cause: format!("'{text}': a user is nobody that keys are lent for"),
            hint: if host.is_empty() {
                "Write HOST or HOST:PORT"
            } else {
                "Leave the user out: write HOST or HOST:PORT"
            },
        }),
        None => Ok(Target::parse(text, Some(PORT))?),
    }
}

/// The rule by which a server is reached.
pub(super) fn rule(server: &Target) -> Result<Rule, ConfigError> {
    Rule::parse(&server.to_string()).map_err(|error| {
        let FormError { cause, hint } = FormError::from(error);
        ConfigError::value(cause, hint)
    })
}

impl Resolver<'_> {
    /// What keys are lent for, if for anything: to log in to these servers, and to sign for git.
    pub(super) fn lent_keys(&self, servers: Vec<Target>, sign: bool) -> Result<Option<LentKeys>, ConfigError> {
        if servers.is_empty() && !sign {
            return Ok(None);
        }
        let known = known_hosts(self.host)?;
        let server = |target: Target| {
            let keys = known_keys(&known, &target);
            match keys.is_empty() {
                false => Ok(Server { target, keys }),
                true => Err(unknown(&target)),
            }
        };
        let mut servers = servers.into_iter().map(server).collect::<Result<Vec<_>, _>>()?;
        servers.sort_by(|one, other| one.target.cmp(&other.target));
        servers.dedup();
        let signing = if sign { vec![git_identity::signing_key(self.project, self.host)?] } else { Vec::new() };
        Ok(Some(LentKeys { servers, signing }))
    }
}

/// All that is known of hosts, as one file: what one revokes, another may have. So none that is there is left out.
fn known_hosts(host: &HostFacts) -> Result<String, ConfigError> {
    let home = host.own_home();
    let mut known = String::new();
    for file in SYSTEM.map(PathBuf::from).into_iter().chain(OWN.map(|file| home.join(file))) {
        match read_own(&file, MAX) {
            Ok(text) => known += &(String::from_utf8_lossy(&text) + "\n"),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(ConfigError::io(&file, error)),
        }
    }
    Ok(known)
}

fn unknown(Target { host, port }: &Target) -> ConfigError {
    let port = if *port == PORT { String::new() } else { format!(" -p {port}") };
    let host = match host {
        Host::Address(address) => address.to_string(),
        Host::Name(name) => name.to_string(),
    };
    let cause =
        format!("No host key of {host} is known, by which a key of yours would be lent to it and to nobody else");
    ConfigError::value(cause, format!("Connect to it once, and compare the fingerprint: ssh{port} {host}"))
}

/// The variables by which programs find what they are lent.
pub(super) fn variables(lent: &LentKeys) -> Vec<(String, String)> {
    let signing = lent.signing.iter().flat_map(git_identity::signing);
    [("SSH_AUTH_SOCK".to_owned(), AGENT.to_owned())].into_iter().chain(signing).collect()
}

/// Where the user's agent listens, which has what is to be lent.
///
/// # Errors
/// If he has none, it does not answer, or it has no such keys.
pub fn ssh_agent(host: &HostFacts, lent: &LentKeys) -> Result<PathBuf, ConfigError> {
    let none = |cause: String| ConfigError::value(cause, "Start one that has your key: eval \"$(ssh-agent)\"; ssh-add");
    let Some(path) = host.var("SSH_AUTH_SOCK").filter(|path| !path.is_empty()) else {
        return Err(none("No ssh-agent, whose keys could be lent: SSH_AUTH_SOCK is not set".to_owned()));
    };
    let path = Path::new(path);
    let keys = UnixStream::connect(path).and_then(agent_keys).map_err(|error| {
        none(format!("The ssh-agent at {}, SSH_AUTH_SOCK, does not answer: {error}", path.display()))
    })?;
    let lacks = |cause: &str| Err(ConfigError::value(cause, "Add it: ssh-add, with the file that has it"));
    match lent.signing.iter().find(|key| !keys.contains(key)) {
        Some(_) => lacks("Your ssh-agent does not have the key that git signs with, user.signingKey"),
        None if keys.is_empty() => lacks("Your ssh-agent has no key that could be lent, or it is locked"),
        None => Ok(path.to_owned()),
    }
}

#[cfg(test)]
#[path = "ssh_tests.rs"]
mod tests;
