//! Why a connection or request was refused: a stable code for programs, and words that its user can act on.

use crate::{CERTIFICATE, HOST_NAME, Host, Target, address};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr};
use wire::shell_word;

/// Where the user's own limits stand.
const LIMITS: &str = "[network] in ${XDG_CONFIG_HOME:-~/.config}/agentkernel/config.toml";
/// Why no request is allowed in a sandbox that began where none had to be read.
pub(crate) const UNREAD: &str = "requests inside of TLS cannot be read in this sandbox";

/// The stable code of a denial, or of a failure on the way. New ones may come; none changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The network mode is `none`.
    NetworkNone,
    /// No rule allows it.
    NotAllowed,
    /// A rule denies it.
    Denied,
    /// An address that no rule names, where rules are about names: it could be one of theirs.
    UnnamedAddress,
    /// The user's own limits for every project do not allow it.
    Ceiling,
    /// What was dialled is no host.
    BadName,
    /// The host has addresses that must be named to be reached, and no others.
    PrivateAddress,
    /// There is no such host.
    NoSuchHost,
    /// Nobody could say which addresses the host has.
    LookupFailed,
    /// None of its addresses answered.
    Unreachable,
    /// TLS without the name of a server.
    SniMissing,
    /// TLS for another server than the one that was dialled.
    SniMismatch,
    /// What began as TLS was none.
    BadTls,
    /// A client that does not trust the sandbox's own authority.
    AuthorityUntrusted,
    /// A connection to a port of the web that speaks neither TLS nor HTTP, or to a place whose requests are restricted.
    NotHttp,
    /// A request that different programs could read differently.
    BadRequest,
    /// A request for another host than the one that was dialled.
    HostMismatch,
    /// A request that would make a tunnel.
    Tunnel,
    /// No rule allows this method or path.
    RequestNotAllowed,
    /// A secret's placeholder on the way to a host that the secret is not for.
    SecretElsewhere,
    /// A secret's placeholder on its way without TLS.
    SecretInClear,
    /// A key of the user's ssh-agent, for something that it is not lent for.
    SshKey,
    /// What the sandbox has logged in with is not taken any more, and is not renewed.
    LoginExpired,
    /// What the sandbox has logged in with is over, and could not be renewed now.
    RenewalFailed,
    /// The server's certificate could not be verified.
    BadCertificate,
    /// The sandbox has used up the tokens that it was given.
    TokenLimit,
    /// Too many connections at once.
    TooMany,
    /// Nothing came for too long.
    TimedOut,
    /// A rule was made meanwhile that denies it.
    Revoked,
    /// Egress ended; the next connection starts it anew.
    Lost,
}

impl Reason {
    /// Every one, for the reference page.
    pub const ALL: [Self; 30] = [
        Self::NetworkNone,
        Self::NotAllowed,
        Self::Denied,
        Self::UnnamedAddress,
        Self::Ceiling,
        Self::BadName,
        Self::PrivateAddress,
        Self::NoSuchHost,
        Self::LookupFailed,
        Self::Unreachable,
        Self::SniMissing,
        Self::SniMismatch,
        Self::BadTls,
        Self::AuthorityUntrusted,
        Self::NotHttp,
        Self::BadRequest,
        Self::HostMismatch,
        Self::Tunnel,
        Self::RequestNotAllowed,
        Self::SecretElsewhere,
        Self::SecretInClear,
        Self::SshKey,
        Self::LoginExpired,
        Self::RenewalFailed,
        Self::BadCertificate,
        Self::TokenLimit,
        Self::TooMany,
        Self::TimedOut,
        Self::Revoked,
        Self::Lost,
    ];

    /// The code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NetworkNone => "network-none",
            Self::NotAllowed => "not-allowed",
            Self::Denied => "denied",
            Self::UnnamedAddress => "unnamed-address",
            Self::Ceiling => "ceiling",
            Self::BadName => "bad-name",
            Self::PrivateAddress => "private-address",
            Self::NoSuchHost => "no-such-host",
            Self::LookupFailed => "lookup-failed",
            Self::Unreachable => "unreachable",
            Self::SniMissing => "sni-missing",
            Self::SniMismatch => "sni-mismatch",
            Self::BadTls => "bad-tls",
            Self::AuthorityUntrusted => "authority-untrusted",
            Self::NotHttp => "not-http",
            Self::BadRequest => "bad-request",
            Self::HostMismatch => "host-mismatch",
            Self::Tunnel => "tunnel",
            Self::RequestNotAllowed => "request-not-allowed",
            Self::SecretElsewhere => "secret-elsewhere",
            Self::SecretInClear => "secret-in-clear",
            Self::SshKey => "ssh-key",
            Self::LoginExpired => "login-expired",
            Self::RenewalFailed => "renewal-failed",
            Self::BadCertificate => "bad-certificate",
            Self::TokenLimit => "token-limit",
            Self::TooMany => "too-many",
            Self::TimedOut => "timed-out",
            Self::Revoked => "revoked",
            Self::Lost => "lost",
        }
    }

    /// Whether a rule refused it: otherwise it was allowed, and failed.
    #[must_use]
    pub fn is_denial(self) -> bool {
        !matches!(
            self,
            Self::NoSuchHost
                | Self::LookupFailed
                | Self::Unreachable
                | Self::RenewalFailed
                | Self::BadCertificate
                | Self::TimedOut
                | Self::Lost
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A refusal: what, why, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The code.
    pub reason: Reason,
    /// Where it was going.
    pub target: Target,
    /// The rule that decided, or other details, for people; empty if there is nothing to add.
    pub detail: String,
    /// The allowed thing that is most like it.
    pub nearest: Option<String>,
    /// Who could let it through.
    pub lift: Lift,
}

/// Who could let through what was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lift {
    /// A rule of the sandbox's own, or whatever else its [reason](Reason) asks for.
    #[default]
    Own,
    /// The same, within limits of the user's that let it through, and perhaps no more than it.
    Within,
    /// The user's limits alone, since rules of the sandbox's own would change nothing; with their rule, if one denies it.
    Limits(Option<String>),
    /// Nobody.
    Never,
}

impl Denial {
    /// One without more to say.
    #[must_use]
    pub fn new(reason: Reason, target: &Target) -> Self {
        Self { reason, target: target.clone(), detail: String::new(), nearest: None, lift: Lift::Own }
    }

    /// The same with details.
    #[must_use]
    pub fn because(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Why, in one sentence without a full stop: `no rule allows it`.
    #[must_use]
    pub fn cause(&self) -> String {
        let Self { detail, target: Target { host, .. }, .. } = self;
        let with = |words: String| if detail.is_empty() { words } else { format!("{words} ({detail})") };
        match self.reason {
            Reason::NetworkNone => "the network mode is 'none'".to_owned(),
            Reason::NotAllowed => "no rule allows it".to_owned(),
            Reason::Denied => with("a rule denies it".to_owned()),
            Reason::UnnamedAddress => format!("no rule names this address, which could be one of '{detail}'"),
            Reason::Ceiling => with("the limits in the user's own configuration do not allow it".to_owned()),
            Reason::BadName => with("this is not the name of a host".to_owned()),
            Reason::PrivateAddress => match host {
                Host::Address(_) => with("it can only be reached if a rule names it".to_owned()),
                Host::Name(_) => with(format!("{host} has no address that may be reached without being named")),
            },
            Reason::NoSuchHost => "there is no such host".to_owned(),
            Reason::LookupFailed => with("its addresses could not be found out".to_owned()),
            Reason::Unreachable => with("it could not be reached".to_owned()),
            Reason::SniMissing => "the TLS connection does not say for which server it is".to_owned(),
            Reason::SniMismatch => with("the TLS connection is for another server".to_owned()),
            Reason::BadTls => with("it does not begin as TLS should".to_owned()),
            Reason::AuthorityUntrusted => {
                with(format!("its client does not trust the sandbox's own authority, {CERTIFICATE}"))
            }
            Reason::NotHttp => with("only TLS and HTTP may be spoken there".to_owned()),
            Reason::BadRequest => with("the request is malformed".to_owned()),
            Reason::HostMismatch => with("the request is for another host".to_owned()),
            Reason::Tunnel => "a tunnel could carry anything".to_owned(),
            Reason::RequestNotAllowed => with("no rule allows this request".to_owned()),
            Reason::SecretElsewhere => {
                with("it carries the placeholder of a secret that is not for this host".to_owned())
            }
            Reason::SecretInClear => with("it carries the placeholder of a secret without TLS".to_owned()),
            Reason::SshKey => with("no key of the ssh-agent is lent for that".to_owned()),
            Reason::LoginExpired if detail.is_empty() => "the login has expired".to_owned(),
            Reason::RenewalFailed if detail.is_empty() => "the login could not be renewed".to_owned(),
            Reason::LoginExpired | Reason::RenewalFailed => detail.clone(),
            Reason::BadCertificate => with("the server's certificate could not be verified".to_owned()),
            Reason::TokenLimit => with("the sandbox has used up its tokens".to_owned()),
            Reason::TooMany => with("there are too many connections at once".to_owned()),
            Reason::TimedOut => with("nothing came for too long".to_owned()),
            Reason::Revoked => "a rule was made that denies it".to_owned(),
            Reason::Lost if detail.is_empty() => "egress ended".to_owned(),
            Reason::Lost => detail.clone(),
        }
    }

    /// What would help: what a human can do, as a command if there is one, or what the program can. Empty for what
    /// [failed](Reason::is_denial). `sandbox` is its name or id.
    #[must_use]
    pub fn remedy(&self, sandbox: &str) -> String {
        let Self { reason, target, detail, lift, .. } = self;
        if let Some(words) = self.address().filter(|_| self.reason.is_denial()).and_then(address::instead) {
            return match target.host {
                Host::Address(_) => words.to_owned(),
                Host::Name(_) => "Have who gives out the name correct its address: it is no host's".to_owned(),
            };
        }
        match (reason, lift) {
            (_, Lift::Never) => return "No rule allows that.".to_owned(),
            (_, Lift::Limits(Some(rule))) => {
                return format!("A human can take '{rule}' out of 'deny' in the user's own limits: {LIMITS}");
            }
            (_, Lift::Limits(None)) => {
                return format!("A human can widen the user's own limits, which don't allow it: {LIMITS}");
            }
            // More than this target would be allowed, which they may not let.
            (Reason::Denied, Lift::Within) => {
                let check = format!("agentkernel net check {}", shell_word(&target.to_string()));
                return format!("A human can take '{detail}' out of 'deny': {check} tells where it stands");
            }
            (_, Lift::Own | Lift::Within) => {}
        }
        let allow = |what: &str, target: &Target| {
            format!("A human can allow {what}: agentkernel net allow {sandbox} {}", shell_word(&target.to_string()))
        };
        match reason {
            // Only a service answers by this name.
            Reason::NetworkNone | Reason::NotAllowed if target.host.name() == Some(HOST_NAME) => {
                format!("A human can open it at the start: --open localhost:{}", target.port)
            }
            Reason::NetworkNone | Reason::NotAllowed | Reason::Revoked | Reason::UnnamedAddress => {
                format!("{} (or --allow {} at the start)", allow("it", target), shell_word(&target.to_string()))
            }
            // The very rule takes itself back.
            Reason::Denied => format!(
                "A human can take the rule back, and so allow all that it is about: agentkernel net allow {sandbox} {}",
                shell_word(detail)
            ),
            Reason::PrivateAddress => match &target.host {
                Host::Address(_) => allow("it", target),
                Host::Name(_) => {
                    let Some(address) = self.address() else { return String::new() };
                    allow("the address itself", &Target { host: Host::from(address), port: target.port })
                }
            },
            Reason::NotHttp => allow("any protocol there", target),
            Reason::Ceiling => format!("A human can widen the user's own limits: {LIMITS}"),
            Reason::RequestNotAllowed if detail == UNREAD => {
                format!("A human can start it anew, and it can read them: agentkernel restart {sandbox}")
            }
            Reason::RequestNotAllowed => {
                let command = format!("agentkernel net allow {sandbox} {}", shell_word(&target.to_string()));
                format!("A human can lift the sandbox's own restriction: {command}")
            }
            Reason::TokenLimit => {
                "A human can start it again, or another one with more by --max-tokens, as far as the user's own limits let them"
                    .to_owned()
            }
            Reason::SecretElsewhere => format!(
                "If it belongs there, a human can name all of the secret's hosts anew, with {}: agentkernel secret set {detail} \
                 --host ..., and in [secrets] of agentkernel.toml",
                target.host
            ),
            Reason::SshKey => {
                "A human can lend keys at the start: --ssh HOST to log in there, --sign for git's signatures".to_owned()
            }
            Reason::LoginExpired => "Once a human has logged in again, requests go through".to_owned(),
            Reason::SecretInClear if target.port == 80 => format!("Use TLS: https://{}", target.host),
            Reason::SecretInClear => format!("Use TLS: https://{target}"),
            Reason::HostMismatch => "Connect to the host that is meant".to_owned(),
            Reason::BadName => "Correct the name".to_owned(),
            Reason::SniMissing => {
                "Use a client that names its server in clear, without Encrypted Client Hello".to_owned()
            }
            Reason::SniMismatch => "Connect to the server that is meant".to_owned(),
            Reason::BadTls => "Use a client that speaks TLS 1.2 or 1.3".to_owned(),
            Reason::AuthorityUntrusted => format!(
                "Have the client trust {CERTIFICATE} as well, by the option or variable in which it takes certificates"
            ),
            Reason::BadRequest => "Correct the client: no rule allows such requests".to_owned(),
            Reason::Tunnel => "Connect to the host itself: no proxy is needed".to_owned(),
            Reason::TooMany => "Close some of them".to_owned(),
            Reason::NoSuchHost
            | Reason::LookupFailed
            | Reason::Unreachable
            | Reason::RenewalFailed
            | Reason::BadCertificate
            | Reason::TimedOut
            | Reason::Lost => String::new(),
        }
    }

    /// The address that was refused, by itself or as a name's.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.target.host {
            Host::Address(address) => Some(address),
            // The detail begins with it.
            Host::Name(_) if matches!(self.reason, Reason::PrivateAddress | Reason::Ceiling) => {
                self.detail.split(' ').next()?.parse().ok()
            }
            Host::Name(_) => None,
        }
    }

    /// All of it, in lines that a program's user, an agent too, can act on.
    #[must_use]
    pub fn words(&self, sandbox: &str) -> String {
        let mut words = format!("agentkernel: {} refused: {} [{}].", self.target, self.cause(), self.reason);
        if let Some(nearest) = &self.nearest {
            words += &format!("\nAllowed is: {nearest}.");
        }
        let remedy = self.remedy(sandbox);
        if !remedy.is_empty() {
            words += &format!("\n{remedy}");
        }
        words
    }
}

#[cfg(test)]
#[path = "reason_tests.rs"]
mod tests;
