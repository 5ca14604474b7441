//! Hides what it takes to read a conversation: secrets, a sandbox's own authority, and whom this machine trusts. Most
//! conversations are not read: only HTTP in clear, and TLS to hosts that have a secret or whose requests are restricted.

use crate::{
    Authority, Budget, Denial, Grant, Host, Reason, Secrets, Target,
    account::Account,
    control::{Config, Event},
    first::{Replay, Version},
    http::{self, Report, Stream},
    meter::Metered,
    reason::UNREAD,
    server::{Rules, reset_at_close},
    socket::Socket,
    tls::{self, Roots},
};
use std::{cell::Cell, io, rc::Rc};

/// What it takes to read conversations.
pub(crate) struct Inspector {
    secrets: Rc<Secrets>,
    tls: Option<Rc<Tls>>,
    budget: Rc<Budget>,
}

/// What it takes to read inside of TLS.
struct Tls {
    authority: Authority,
    roots: Roots,
}

impl Inspector {
    /// What this configuration wants, with what does not change from `old`. Without that, whom this machine trusts is read
    /// from files.
    pub(crate) fn new(config: &Config, old: Option<&Self>) -> Self {
        let tls = match old {
            Some(old) => old.tls.clone(),
            // Without either, whatever would have to be read is refused.
            None => config.authority.as_ref().and_then(|key| {
                Some(Rc::new(Tls { authority: Authority::load(key).ok()?, roots: Roots::load().ok()? }))
            }),
        };
        // What is used is counted here: what the supervisor knows of it may be older.
        let budget =
            old.map_or_else(|| Rc::new(Budget::new(config.max_tokens, config.used_tokens)), |old| old.budget.clone());
        // What has been renewed is known here first.
        let secrets = old.map_or_else(|| Rc::new(Secrets::new(&config.secrets)), |old| old.secrets.clone());
        Self { secrets, tls, budget }
    }

    pub(crate) fn secrets(&self) -> &Rc<Secrets> {
        &self.secrets
    }

    /// Speaks TLS with a server of which egress itself wants something.
    pub(crate) async fn connect(&self, server: impl Stream, target: &Target) -> Result<impl Stream, Denial> {
        match &self.tls {
            Some(tls) => tls::connect(&tls.roots, target, vec![b"http/1.1".to_vec()], server).await,
            None => Err(Denial::new(Reason::Unreachable, target).because("TLS cannot be spoken in this sandbox")),
        }
    }

    /// Whether there is anything that requests must be read for, wherever they go.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.secrets.is_empty() || self.budget.is_limited()
    }

    /// Whether TLS to this host is read, though nothing of it is restricted.
    pub(crate) fn intercepts(&self, host: &Host) -> bool {
        // Tokens are told inside of TLS.
        self.secrets.is_for(host) || self.budget.is_limited()
    }
}

/// One conversation.
pub(crate) struct Passage {
    pub(crate) account: Rc<Account>,
    pub(crate) rules: Rc<Rules>,
    pub(crate) grant: Grant,
}

/// How what is said is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrapping {
    /// Not at all.
    Clear(Version),
    /// In TLS.
    Tls,
}

/// Whoever has one carries the flow: requests may go on for a moment after the connection that they came by.
struct Reporter {
    account: Rc<Account>,
    broken: Cell<bool>,
}

impl Report for Reporter {
    fn broken(&self) {
        self.broken.set(true);
    }

    fn request(&self) {
        self.account.meter.request();
    }

    fn refused(&self, denial: &Denial, request: &str) {
        self.account.refused(denial, Some(request));
    }

    fn tokens(&self, tokens: u64) {
        self.account.meter.tokens(tokens);
        self.account.shared.channel.tell(&Event::Tokens(tokens));
    }
}

/// Serves a conversation to its end. The client has said `first` already.
///
/// # Errors
/// Why the whole of it failed; single requests that did were answered.
pub(crate) async fn serve(
    passage: Passage,
    client: Socket,
    first: Vec<u8>,
    server: Socket,
    wrapping: Wrapping,
) -> Result<(), Denial> {
    let Passage { account, rules, grant } = passage;
    let inspector = &rules.inspector;
    // They stay open after those who speak have let go of them: then it is known how it ended.
    let both = [duplicate(&client), duplicate(&server)];
    let server = Metered::new(server, account.meter.clone());
    let (target, logins) = (account.target.clone(), account.shared.logins.clone());
    let room = account.shared.room.clone();
    let Some(_held) = room.take(1) else { return Err(http::full(&target)) };
    let reporter = Rc::new(Reporter { account, broken: Cell::new(false) });
    let passage = http::Passage {
        target,
        grant,
        secrets: inspector.secrets.clone(),
        logins,
        budget: inspector.budget.clone(),
        room,
        sandbox: rules.sandbox.clone(),
        report: reporter.clone(),
    };
    let client = Replay::new(first, client);
    let result = match (wrapping, &inspector.tls) {
        (Wrapping::Clear(version), _) => http::clear(client, server, version, passage).await,
        (Wrapping::Tls, Some(tls)) => tls::intercept(client, server, &tls.authority, &tls.roots, passage).await,
        (Wrapping::Tls, None) => Err(Denial::new(Reason::RequestNotAllowed, &passage.target).because(UNREAD)),
    };
    // A failed handshake has been told to the client in TLS; what was broken off has not.
    for socket in both.into_iter().flatten() {
        reset_at_close(&socket, reporter.broken.get());
    }
    result
}

fn duplicate(socket: &Socket) -> io::Result<rustix::fd::OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(socket, 0)?)
}
