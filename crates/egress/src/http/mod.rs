//! Hides HTTP: every request of a connection is read, judged, and written anew for the server, and every answer for the
//! client.
//!
//! What one program reads as one request and another as two can't pass: what was read is never sent on as it came. A
//! request with which that could still be tried is refused.

mod answer;
mod asked;
mod head;
mod lengths;
mod login;
mod one;
mod resets;
mod sides;
mod two;
mod websocket;

pub use head::{Flaw, check};
pub(crate) use websocket::Messages;

use crate::{
    Budget, Denial, Grant, Lift, Misplaced, Reason, Secrets, Target,
    first::Version,
    logins::Logins,
    room::{MANY, Room},
};
use ::http::{Method, StatusCode, request::Parts};
use std::{cell::Cell, fmt, rc::Rc, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};

/// How long a client may take for the head of a request, and be silent between two.
const HEAD_TIME: Duration = Duration::from_secs(60);
/// The longest head.
const MAX_HEAD: usize = 64 * 1024;
/// The most headers of a request.
const MAX_HEADERS: usize = 128;
/// The most headers of an answer.
pub(crate) const MAX_ANSWER_HEADERS: usize = 1024;
/// How long a server has to take leave of us.
const LEAVE: Duration = Duration::from_secs(1);

/// What both sides of a connection can be: anything that is read and written.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// What is told of requests while they pass.
pub trait Report {
    /// A request was read.
    fn request(&self);
    /// A request was refused, or failed: `GET /path`, or nothing if it could not even be read. No query is told, since
    /// that may have secrets in it.
    fn refused(&self, denial: &Denial, request: &str);
    /// An answer told of so many tokens more.
    fn tokens(&self, tokens: u64);
    /// What was said last is not all of it, or is refused: the connection must be broken off that carries it.
    fn broken(&self) {}
}

/// What holds for the requests of one connection.
#[derive(Clone)]
pub struct Passage {
    /// Where it goes: every request must be for it.
    pub target: Target,
    /// What of it is allowed.
    pub grant: Grant,
    /// What is put into requests.
    pub secrets: Rc<Secrets>,
    /// What keeps those valid that are logins, if there are any.
    pub logins: Option<Rc<Logins>>,
    /// How many tokens may be used.
    pub budget: Rc<Budget>,
    /// What is left for connections that hold much.
    pub(crate) room: Room,
    /// The sandbox's name or id, for commands in messages.
    pub sandbox: Rc<str>,
    /// Who is told.
    pub report: Rc<dyn Report>,
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passage").field("target", &self.target).field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// Carries requests in clear from a client to a server until one of them ends. Dropping it ends both.
///
/// With [`Version::Two`] it must run in a [`tokio::task::LocalSet`].
///
/// # Errors
/// Why the whole connection failed. Requests that were refused have been reported, and answered.
pub async fn clear(client: impl Stream, server: impl Stream, version: Version, passage: Passage) -> Result<(), Denial> {
    carry(client, server, version, Exchange::new(passage, false)).await
}

/// The same for what TLS was taken off from.
pub(crate) async fn inside_tls(
    client: impl Stream,
    server: impl Stream,
    version: Version,
    passage: Passage,
) -> Result<(), Denial> {
    carry(client, server, version, Exchange::new(passage, true)).await
}

async fn carry(
    client: impl Stream,
    server: impl Stream,
    version: Version,
    exchange: Rc<Exchange>,
) -> Result<(), Denial> {
    match version {
        Version::One => one::carry(client, server, exchange).await,
        Version::Two => {
            let Some(_held) = exchange.passage.room.take(MANY) else { return Err(full(&exchange.passage.target)) };
            two::carry(client, server, exchange).await
        }
    }
}

/// There is no more room for what would wait in here.
pub(crate) fn full(target: &Target) -> Denial {
    Denial::new(Reason::TooMany, target).because("whose requests are read")
}

/// A connection's requests: what both versions of HTTP have in common.
struct Exchange {
    passage: Passage,
    tls: bool,
    /// The server has answered once.
    answered: Cell<bool>,
    /// A body was not read to its end.
    unread: Cell<bool>,
}

/// A request that does not pass.
struct Refusal {
    denial: Denial,
    status: StatusCode,
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let status = match denial.reason {
            Reason::BadRequest => StatusCode::BAD_REQUEST,
            reason if reason.is_denial() => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self { denial, status }
    }
}

impl Exchange {
    fn new(passage: Passage, tls: bool) -> Rc<Self> {
        Rc::new(Self { passage, tls, answered: Cell::new(false), unread: Cell::new(false) })
    }

    fn denial(&self, reason: Reason) -> Denial {
        Denial::new(reason, &self.passage.target)
    }

    /// Judges a request, and makes its head what goes to the server.
    fn admit(&self, parts: &mut Parts) -> Result<(), Refusal> {
        let Passage { target, grant, secrets, logins, budget, .. } = &self.passage;
        check(parts, target, self.tls).map_err(|flaw| self.flawed(&flaw))?;
        let (method, path) = (parts.method.as_str(), parts.uri.path());
        if !grant.allows(method, path) {
            let line = head::line(parts);
            let detail = match grant.is_ambiguous(path) {
                true => format!("{line}, whose path programs could read as another one"),
                false => line,
            };
            let denial = self.denial(grant.refusal(method, path)).because(detail);
            return Err(Denial { nearest: head::allowed(grant), ..denial }.into());
        }
        // Where a login is renewed not every request passes, whatever is allowed.
        let is_restricted = grant.is_restricted() || logins.as_ref().is_some_and(|logins| logins.is_for(&target.host));
        if let Some(header) = head::means_another(&parts.headers, target).filter(|_| is_restricted) {
            let reason = if grant.limited { Reason::Ceiling } else { Reason::RequestNotAllowed };
            let detail = format!("by {header} it would be another request");
            return Err(self.denial(reason).because(detail).into());
        }
        head::rewrite(parts, target, self.tls);
        let secret = if self.tls {
            secrets.swap(&target.host, &parts.method, &parts.uri, &mut parts.headers)
        } else {
            secrets.refuse(&target.host, &parts.method, &parts.uri, &parts.headers).map(|()| false)
        };
        let secret = secret.map_err(|misplaced| self.misplaced(&misplaced))?;
        if secret && parts.method == Method::TRACE {
            return Err(self.would_come_back().into());
        }
        // What may use tokens: where a key goes, where tokens were told of before, and what asks anybody for an answer of
        // its own, as every model's service is asked.
        if let Some(used) = budget.exhausted()
            && (secret || budget.knows(&target.host) || parts.method == Method::POST)
        {
            return Err(self.denial(Reason::TokenLimit).because(used).into());
        }
        answer::make_readable(&mut parts.headers);
        Ok(())
    }

    fn misplaced(&self, misplaced: &Misplaced) -> Denial {
        self.denial(misplaced.reason()).because(misplaced.to_string())
    }

    fn would_come_back(&self) -> Denial {
        let denial = self.denial(Reason::RequestNotAllowed).because("TRACE would send the secret back");
        Denial { lift: Lift::Never, ..denial }
    }

    fn flawed(&self, flaw: &Flaw) -> Refusal {
        let denial = match flaw {
            Flaw::Bad(why) => self.denial(Reason::BadRequest).because(why.clone()),
            Flaw::Elsewhere(host) => self.denial(Reason::HostMismatch).because(host.clone()),
            Flaw::Tunnel => self.denial(Reason::Tunnel),
            Flaw::TooManyHeaders => {
                let denial = self.denial(Reason::BadRequest).because("it has too many headers");
                return Refusal { denial, status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE };
            }
        };
        denial.into()
    }

    /// A failure of the server, or of the way to it.
    fn failed(&self, error: &hyper::Error) -> Refusal {
        let detail = if error.is_parse() { "the server does not answer in HTTP" } else { "the server has hung up" };
        self.denial(Reason::Unreachable).because(detail).into()
    }

    /// How a client's connection ended: if its last request could not be read, that is told, and given.
    fn ended(&self, result: Result<(), hyper::Error>) -> Option<Denial> {
        let error = result.err()?;
        if error.is_user() {
            // What ends it is the answer that the server has broken off.
            self.passage.report.broken();
        }
        error.is_parse().then(|| {
            // There may be more of it, and of what follows.
            self.unread.set(true);
            let denial = self.denial(Reason::BadRequest).because(error.to_string());
            self.passage.report.refused(&denial, "");
            denial
        })
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "smuggling_tests.rs"]
mod smuggling_tests;
