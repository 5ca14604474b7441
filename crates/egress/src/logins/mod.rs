//! Hides how logins stay valid: an access token that is about to expire, or that is not taken any more, is renewed once
//! for all who need it, and put into requests from then on. What the sandbox has in its place stays the same.

mod outside;
mod token;

pub(crate) use outside::Leaves;
pub use token::{Refusal, expiry, tokens};

use crate::{
    Denial, Host, Secret, Secrets, Target,
    control::{Encoding, Leave, Login, Renewal, TokenEndpoint, Tokens},
    rule::may_mean,
};
use ::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::Mutex,
    task::spawn_local,
    time::{Instant, timeout},
};
use zeroize::Zeroizing;

/// How long before its end an access token is renewed, at most; never sooner than in its last tenth.
const AHEAD: Duration = Duration::from_secs(5 * 60);
/// How long it may take until nobody else renews it.
const LEAVE: Duration = Duration::from_secs(60);
/// How long the endpoint may take. An answer that nobody waits for could be the only one with the next refresh token.
const ENDPOINT: Duration = Duration::from_secs(60);
/// How long after a failure nobody tries again.
const PAUSE: Duration = Duration::from_secs(2);
/// A token that is refused so soon after it was renewed is not refused for its age.
const FRESH: Duration = Duration::from_secs(60);
/// How long what the sandbox has is said to be valid, in seconds: less than timers of JavaScript can hold.
const LIFETIME: u64 = 20 * 24 * 60 * 60;

type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What logins need of the world.
pub(crate) trait Outside {
    /// Asks whether the login of this number may be renewed.
    fn leave(&self, login: u32) -> Later<'_, Leave>;
    /// Tells how that went on. What was told is out of this process when this returns.
    fn tell(&self, login: u32, renewal: Renewal);
    /// Sends a request to an endpoint, and gives its answer, which is no longer than [`token::MAX_ANSWER`].
    fn post<'a>(&'a self, endpoint: &'a TokenEndpoint, body: Bytes) -> Later<'a, Result<Answered, Denial>>;
}

/// What an endpoint has said.
pub(crate) type Answered = (StatusCode, Zeroizing<Vec<u8>>);

/// Why a login was not renewed, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRenewed {
    /// It never will be.
    #[error("{0}")]
    Expired(String),
    /// It could not be, this time.
    #[error("{0}")]
    Failed(String),
}

/// The logins of a sandbox.
pub struct Logins {
    list: Vec<Entry>,
    secrets: Rc<Secrets>,
    outside: Box<dyn Outside>,
    /// How many are being renewed.
    busy: Cell<usize>,
}

struct Entry {
    login: Login,
    state: RefCell<State>,
    /// Whose turn it is to renew it.
    turn: Mutex<()>,
}

struct State {
    /// How often its tokens have changed.
    generation: u64,
    expires_ms: Option<u64>,
    ahead: Duration,
    /// Its server has refused the access token.
    doubted: bool,
    renewed: Option<Instant>,
    failed: Option<(Instant, NotRenewed)>,
    /// The refresh token that was refused.
    refused: Option<(Secret, NotRenewed)>,
}

/// A login that a request uses, as it was then.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Used {
    number: usize,
    generation: u64,
}

impl Logins {
    /// These, whose access tokens are among the secrets.
    #[must_use]
    pub(crate) fn new(logins: &[Login], secrets: Rc<Secrets>, outside: Box<dyn Outside>) -> Self {
        let entry = |login: &Login| {
            let told = || secrets.look(&login.placeholders.access, expiry).flatten();
            let state = State {
                generation: 0,
                expires_ms: login.expires_ms.or_else(told),
                ahead: AHEAD,
                doubted: false,
                renewed: None,
                failed: None,
                refused: None,
            };
            Entry { login: login.clone(), state: RefCell::new(state), turn: Mutex::default() }
        };
        Self { list: logins.iter().map(entry).collect(), secrets, outside, busy: Cell::new(0) }
    }

    /// Whether one of them is renewed at this host.
    #[must_use]
    pub(crate) fn is_for(&self, host: &Host) -> bool {
        self.list.iter().any(|entry| entry.login.endpoint.target.host == *host)
    }

    /// Whether one of them is renewed there.
    #[must_use]
    pub(crate) fn is_endpoint(&self, target: &Target, path: &str) -> bool {
        self.endpoints(target).any(|endpoint| endpoint.path == path)
    }

    /// Whether a server could take a path for one where one of them is renewed, or below that.
    #[must_use]
    pub(crate) fn may_be_endpoint(&self, target: &Target, path: &str) -> bool {
        self.endpoints(target).any(|endpoint| may_mean(path, &endpoint.path))
    }

    fn endpoints(&self, target: &Target) -> impl Iterator<Item = &TokenEndpoint> {
        let endpoints = self.list.iter().map(|entry| &entry.login.endpoint);
        endpoints.filter(move |endpoint| endpoint.target == *target)
    }

    /// The login that a request to this host uses.
    #[must_use]
    pub(crate) fn used(&self, host: &Host, headers: &HeaderMap) -> Option<Used> {
        let number = self
            .list
            .iter()
            .position(|Entry { login, .. }| self.secrets.is_used(&login.placeholders.access, host, headers))?;
        Some(Used { number, generation: self.list[number].state.borrow().generation })
    }

    /// Sees to it that a login can be used.
    ///
    /// # Errors
    /// [`NotRenewed`] if it can't.
    pub(crate) async fn ready(self: &Rc<Self>, used: &mut Used) -> Result<(), NotRenewed> {
        let entry = &self.list[used.number];
        if !entry.is_stale() {
            return Ok(());
        }
        let renewed = self.renew(used.number, used.generation).await;
        let State { generation, doubted, .. } = &*entry.state.borrow();
        used.generation = *generation;
        match renewed {
            // As long as it is taken, it is used.
            Err(_) if !doubted && !entry.is_over(Duration::ZERO) => Ok(()),
            // Whether it is taken, its server says.
            Err(NotRenewed::Failed(_)) if !entry.is_over(Duration::ZERO) => Ok(()),
            result => result,
        }
    }

    /// A server has refused what was put in for a login: it is renewed for the next request.
    ///
    /// # Errors
    /// [`NotRenewed::Expired`] if there will be none that succeeds.
    pub(crate) async fn refused(self: &Rc<Self>, used: &Used) -> Result<(), NotRenewed> {
        {
            let mut state = self.list[used.number].state.borrow_mut();
            if state.generation != used.generation || state.renewed.is_some_and(|then| then.elapsed() < FRESH) {
                return Ok(());
            }
            state.doubted = true;
        }
        match self.renew(used.number, used.generation).await {
            Err(NotRenewed::Failed(_)) => Ok(()),
            result => result,
        }
    }

    /// The login that is to be renewed by a request to its endpoint with this body, as the sandbox knows it.
    #[must_use]
    pub(crate) fn asked(&self, body: &[u8]) -> Option<Used> {
        let has = |entry: &Entry| {
            let sought = entry.login.placeholders.refresh.as_bytes();
            !sought.is_empty() && body.windows(sought.len()).any(|window| window == sought)
        };
        let number = self.list.iter().position(has)?;
        Some(Used { number, generation: self.list[number].state.borrow().generation })
    }

    /// What the sandbox is told instead of what an endpoint would say.
    #[must_use]
    pub(crate) fn told(&self, used: &Used) -> String {
        let Login { placeholders, scope, .. } = &self.list[used.number].login;
        let mut told = serde_json::json!({
            "access_token": placeholders.access,
            "refresh_token": placeholders.refresh,
            "token_type": "Bearer",
            "expires_in": LIFETIME,
        });
        if let Some(id) = &placeholders.id {
            told["id_token"] = id.as_str().into();
        }
        if let Some(scope) = scope {
            told["scope"] = scope.as_str().into();
        }
        told.to_string()
    }

    /// Waits until none is being renewed.
    pub(crate) async fn settle(&self) {
        let settled = async {
            while self.busy.get() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = timeout(ENDPOINT, settled).await;
    }

    /// Renews a login, unless somebody has since.
    async fn renew(self: &Rc<Self>, number: usize, seen: u64) -> Result<(), NotRenewed> {
        let own = self.clone();
        // Whoever waits for it may go: what has been asked for must be heard.
        let task = spawn_local(async move { own.renew_in_turn(number, seen).await });
        task.await.unwrap_or_else(|_| Err(NotRenewed::Failed("egress ends".to_owned())))
    }

    async fn renew_in_turn(&self, number: usize, seen: u64) -> Result<(), NotRenewed> {
        let entry = &self.list[number];
        let _turn = entry.turn.lock().await;
        {
            let state = entry.state.borrow();
            if state.generation != seen && !entry.is_stale() {
                return Ok(());
            }
            if let Some((_, why)) = state.failed.as_ref().filter(|(then, _)| then.elapsed() < PAUSE) {
                return Err(why.clone());
            }
        }
        self.busy.set(self.busy.get() + 1);
        let result = self.attempt(number).await;
        self.busy.set(self.busy.get() - 1);
        entry.state.borrow_mut().failed = result.as_ref().err().map(|why| (Instant::now(), why.clone()));
        result
    }

    async fn attempt(&self, number: usize) -> Result<(), NotRenewed> {
        let entry = &self.list[number];
        let wire = number as u32;
        let Login { name, endpoint, scope, remedy, .. } = &entry.login;
        let failed = |why: String| NotRenewed::Failed(format!("{name} could not be renewed: {why}"));
        let leave = timeout(LEAVE, self.outside.leave(wire)).await;
        let refresh = match leave.unwrap_or_else(|_| Leave::Refused("nobody allows it".to_owned())) {
            Leave::Renew(refresh) => refresh,
            Leave::Renewed(tokens) => {
                self.adopt(entry, &tokens);
                return Ok(());
            }
            Leave::Refused(why) => return Err(failed(why)),
        };
        let before = entry.state.borrow().refused.clone();
        let result = match before.filter(|(token, _)| token.expose() == refresh.expose()) {
            Some((_, why)) => Err(why),
            None => {
                let body = request(endpoint, scope.as_deref(), &refresh);
                match timeout(ENDPOINT, self.outside.post(endpoint, body)).await {
                    Err(_) => Err(failed(format!("{} does not answer", endpoint.target))),
                    Ok(Err(denial)) => Err(failed(format!("{}: {}", endpoint.target, denial.cause()))),
                    Ok(Ok((status, answer))) => tokens(status, &answer, now_ms()).map_err(|error| match error {
                        Refusal::Never(why) => NotRenewed::Expired(format!("{name} has expired: {why}; {remedy}")),
                        Refusal::Now(why) => failed(format!("{}: {why}", endpoint.target)),
                    }),
                }
            }
        };
        match result {
            Ok(tokens) => {
                // First of all, so that it outlives this process.
                self.outside.tell(wire, Renewal::Done(tokens.clone()));
                self.adopt(entry, &tokens);
                Ok(())
            }
            Err(why) => {
                self.outside.tell(wire, Renewal::Failed);
                if matches!(why, NotRenewed::Expired(_)) {
                    entry.state.borrow_mut().refused = Some((refresh, why.clone()));
                }
                Err(why)
            }
        }
    }

    fn adopt(&self, entry: &Entry, tokens: &Tokens) {
        self.secrets.renew(&entry.login.placeholders.access, &tokens.access);
        let expires_ms = tokens.expires_ms.or_else(|| expiry(tokens.access.expose()));
        let lifetime = expires_ms.map_or(AHEAD, |end| Duration::from_millis(end.saturating_sub(now_ms())));
        let mut state = entry.state.borrow_mut();
        *state = State {
            generation: state.generation + 1,
            expires_ms,
            ahead: AHEAD.min(lifetime / 10),
            doubted: false,
            renewed: Some(Instant::now()),
            failed: None,
            refused: None,
        };
    }
}

impl Entry {
    fn is_stale(&self) -> bool {
        let State { doubted, ahead, .. } = *self.state.borrow();
        doubted || self.is_over(ahead)
    }

    /// Whether its time is over so long from now.
    fn is_over(&self, ahead: Duration) -> bool {
        let then = now_ms().saturating_add(ahead.as_millis() as u64);
        self.state.borrow().expires_ms.is_some_and(|end| end <= then)
    }
}

/// The body of a request for new tokens (RFC 6749, 6).
fn request(endpoint: &TokenEndpoint, scope: Option<&str>, refresh: &Secret) -> Bytes {
    let refresh = str::from_utf8(refresh.expose()).unwrap_or_default();
    let own = endpoint.parameters.iter().filter_map(|(name, value)| match value.as_str() {
        "{scope}" => Some((name.as_str(), scope?)),
        value => Some((name.as_str(), value)),
    });
    let all = [("grant_type", "refresh_token"), ("refresh_token", refresh)].into_iter().chain(own);
    let body = match endpoint.encoding {
        Encoding::Json => {
            let object: serde_json::Map<String, serde_json::Value> =
                all.map(|(name, value)| (name.to_owned(), value.into())).collect();
            serde_json::Value::Object(object).to_string()
        }
        Encoding::Form => {
            let pairs = all.map(|(name, value)| format!("{}={}", token::escaped(name), token::escaped(value)));
            pairs.collect::<Vec<_>>().join("&")
        }
    };
    Bytes::from_owner(Zeroizing::new(body.into_bytes()))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
#[path = "logins_tests.rs"]
mod tests;
