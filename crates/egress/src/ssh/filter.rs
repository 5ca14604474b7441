//! Hides what a program may have of an agent: its public keys, and signatures for what they are lent for.

use super::{
    Key, LentKeys, Server,
    agent::list,
    message::{Reader, put},
};
use crate::{Policy, Target};

pub(super) const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
pub(super) const REQUEST_IDENTITIES: u8 = 11;
pub(super) const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const EXTENSION: u8 = 27;

const BIND: &[u8] = b"session-bind@openssh.com";
/// An RSA key signs with SHA-1 unless one of these is asked for (RFC 8332; draft-ietf-sshm-ssh-agent, 3.6.1).
const SHA_2: u32 = 2 | 4;
/// SSH_MSG_USERAUTH_REQUEST (RFC 4252, 5)
const USERAUTH_REQUEST: u8 = 50;
/// How what is signed for other purposes begins (OpenSSH's PROTOCOL.sshsig).
const SSHSIG: &[u8] = b"SSHSIG";
/// Whose signatures git makes.
const GIT: &[u8] = b"git";

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The agent is asked.
    Forward,
    /// This is the answer.
    Answer(u8),
    /// It may not be: where the signature was to go, if that is known, and why.
    Refused(Option<Target>, String),
}

/// One connection of a program.
#[derive(Default)]
pub(super) struct Connection {
    /// The session that it has said it is for, and the host key that has signed that.
    bound: Option<(Vec<u8>, Key)>,
}

impl Connection {
    /// What becomes of a request, which has no length before it. A key is lent for no server that may not be reached.
    pub fn judge(&mut self, request: &[u8], lent: &LentKeys, policy: &Policy) -> Fate {
        let mut reader = Reader(request);
        match reader.byte() {
            Some(REQUEST_IDENTITIES) => Fate::Forward,
            Some(SIGN_REQUEST) => self.sign(reader, lent, policy).unwrap_or(Fate::Answer(FAILURE)),
            Some(EXTENSION) => self.extend(reader).unwrap_or(Fate::Answer(FAILURE)),
            _ => Fate::Answer(FAILURE),
        }
    }

    fn extend(&mut self, mut reader: Reader<'_>) -> Option<Fate> {
        if reader.string()? != BIND {
            return None;
        }
        let (key, session, signature) = (reader.string()?, reader.string()?, reader.string()?);
        let is_forwarding = reader.boolean()?;
        let key = Key::new(key);
        // A connection is for one session, and for whoever is in here.
        if is_forwarding || self.bound.is_some() || !key.has_signed(session, signature) {
            return None;
        }
        self.bound = Some((session.to_vec(), key));
        Some(Fate::Answer(SUCCESS))
    }

    fn sign(&self, mut reader: Reader<'_>, lent: &LentKeys, policy: &Policy) -> Option<Fate> {
        let (key, data, flags) = (reader.string()?, reader.string()?, reader.number()?);
        if Key::new(key).kind().starts_with("ssh-rsa") && flags & SHA_2 == 0 {
            return Some(Fate::Refused(None, "a signature with SHA-1".to_owned()));
        }
        Some(match data.strip_prefix(SSHSIG) {
            Some(signed) => sign_for_git(key, Reader(signed), lent),
            None => self.sign_in(key, Reader(data), lent, policy),
        })
    }

    /// Whether this is what a login signs (RFC 4252, 7; OpenSSH's PROTOCOL, 3.4), to a server that keys are lent for.
    fn sign_in(&self, key: &[u8], reader: Reader<'_>, lent: &LentKeys, policy: &Policy) -> Fate {
        let refused =
            |target: Option<&Server>, why: &str| Fate::Refused(target.map(|it| it.target.clone()), why.into());
        let Some(login) = Login::read(reader) else { return refused(None, "a signature for something unknown") };
        let Some((session, host)) = &self.bound else {
            return refused(None, "ssh has not proved to which server it is connected");
        };
        let Some(server) = lent.servers.iter().find(|server| server.keys.contains(host)) else {
            return refused(None, "a login at another server");
        };
        let is_it = login.session == session && login.key == key && login.host.is_none_or(|key| key == host.bytes());
        if !is_it {
            return refused(Some(server), "a login that is not the connection's");
        }
        match policy.judge(&server.target) {
            Ok(_) => Fate::Forward,
            Err(denial) => refused(Some(server), &format!("the server may not be reached: {}", denial.cause())),
        }
    }
}

fn sign_for_git(key: &[u8], mut signed: Reader<'_>, lent: &LentKeys) -> Fate {
    let refused = |why: String| Fate::Refused(None, why);
    let namespace = signed.string().unwrap_or_default();
    if namespace != GIT {
        return refused(format!("a signature for {:?}, and not for git", String::from_utf8_lossy(namespace)));
    }
    match lent.signing.iter().any(|signing| signing.bytes() == key) {
        true => Fate::Forward,
        false if lent.signing.is_empty() => refused("a signature for git".to_owned()),
        false => refused("a signature for git with another key than git's own".to_owned()),
    }
}

/// What a program may see of the agent's answer to a request.
pub(super) fn answer(lent: &LentKeys, request: &[u8], answer: &[u8]) -> Vec<u8> {
    match (request.first(), answer.first()) {
        (Some(&REQUEST_IDENTITIES), _) => identities(lent, answer),
        (Some(&SIGN_REQUEST), Some(&SIGN_RESPONSE)) => Some(answer.to_vec()),
        _ => None,
    }
    .unwrap_or_else(|| vec![FAILURE])
}

/// The keys that may be of use, without what the user calls them.
fn identities(lent: &LentKeys, answer: &[u8]) -> Option<Vec<u8>> {
    let (mut count, mut keys) = (0u32, Vec::new());
    for key in list(answer)? {
        if !lent.servers.is_empty() || lent.signing.iter().any(|signing| signing.bytes() == key) {
            put(&mut keys, key);
            put(&mut keys, b"");
            count += 1;
        }
    }
    let mut message = vec![IDENTITIES_ANSWER];
    message.extend_from_slice(&count.to_be_bytes());
    message.extend(keys);
    Some(message)
}

/// Whether the agent would be asked each of these, which come over one connection; with its answer, if it says that to it.
pub fn fate<'a>(
    lent: &LentKeys,
    policy: &Policy,
    requests: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Vec<(bool, Vec<u8>)> {
    let mut connection = Connection::default();
    let fate = |(request, says): (&[u8], &[u8])| {
        (connection.judge(request, lent, policy) == Fate::Forward, answer(lent, request, says))
    };
    requests.map(fate).collect()
}

/// What a client signs to log in.
struct Login<'a> {
    session: &'a [u8],
    key: &'a [u8],
    /// The server's key, where it says that too.
    host: Option<&'a [u8]>,
}

impl<'a> Login<'a> {
    fn read(mut reader: Reader<'a>) -> Option<Self> {
        let session = reader.string()?;
        if reader.byte()? != USERAUTH_REQUEST {
            return None;
        }
        let (_user, service, method) = (reader.string()?, reader.string()?, reader.string()?);
        let (is_signed, _algorithm, key) = (reader.boolean()?, reader.string()?, reader.string()?);
        let host = match method {
            b"publickey" => None,
            b"publickey-hostbound-v00@openssh.com" => Some(reader.string()?),
            _ => return None,
        };
        (is_signed && service == b"ssh-connection" && reader.is_empty()).then_some(Self { session, key, host })
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
