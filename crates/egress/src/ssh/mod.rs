//! Hides how keys of the user's ssh-agent are lent: the agent signs what egress has read, and nothing else. For a login,
//! that is the proof for one server, which has shown that it has the host key that the user knows it by; for git, it is
//! a commit or tag, with the one key for that.
//!
//! The agent's protocol is draft-ietf-sshm-ssh-agent; that a connection says which server it is for is OpenSSH's
//! `session-bind` (PROTOCOL.agent), which its ssh(1) says since 8.9.

mod agent;
mod filter;
mod key;
mod known;
mod message;
mod serve;

pub use agent::agent_keys;
#[doc(hidden)]
pub use filter::fate;
pub use key::{Key, KeyError};
pub use known::known_keys;
pub(crate) use serve::{Lender, adopt};

use crate::Target;
use serde::{Deserialize, Serialize};

/// What keys of the user's ssh-agent may be used for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LentKeys {
    /// To log in there.
    pub servers: Vec<Server>,
    /// Keys that may sign git's commits and tags.
    pub signing: Vec<Key>,
}

impl LentKeys {
    /// A file of known hosts with the servers in it (sshd(8)).
    #[must_use]
    pub fn known_hosts(&self) -> String {
        let lines = self.servers.iter().flat_map(|Server { target, keys }| {
            let name = known::name(target);
            keys.iter().map(move |key| format!("{name} {key}\n"))
        });
        lines.collect()
    }
}

/// A server that programs may log in to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// As the user calls it.
    pub target: Target,
    /// Its host keys, one of which it must show.
    pub keys: Vec<Key>,
}
