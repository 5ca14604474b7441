//! Hides how logins are renewed by one sandbox at a time, and how their files are brought up to date. What the program
//! whose file it is has renewed itself is taken from there.

use super::{deadline::Deadline, server::Server};
use crate::{
    LoginFields, LoginUse,
    credentials::{Document, FileError, Held},
};
use egress::{
    Secret,
    control::{Leave, Login, MAX_TOKEN, Renewal, Tokens},
    token_expiry,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::ErrorKind,
    time::{Duration, Instant},
};

/// How often it is looked whether another sandbox has ended what it renews, and for how long.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(50);
/// How often a file is tried that could not be written.
const AGAIN: Duration = Duration::from_secs(2);

/// The logins of a sandbox.
pub(super) struct Logins {
    uses: Vec<LoginUse>,
    /// What is under way, by the number of the login.
    under_way: BTreeMap<u32, UnderWay>,
    /// When it is seen to again.
    pub(super) due: Deadline,
}

enum UnderWay {
    /// Another sandbox renews something in that file, since then.
    Waiting(Instant),
    /// Egress asks for new tokens with this refresh token.
    Asking(Held, Secret),
    /// The new tokens are not in the file yet, where this refresh token was.
    Unwritten(Held, Secret, Tokens),
}

/// What a file says of a login.
struct Said {
    access: String,
    refresh: String,
    expires_ms: Option<u64>,
}

impl Logins {
    pub(super) fn new(uses: &[LoginUse]) -> Self {
        Self { uses: uses.to_vec(), under_way: BTreeMap::new(), due: Deadline::default() }
    }

    /// What egress is told of them. When they expire, their files say now.
    pub(super) fn told(&self) -> Vec<Login> {
        let told = |LoginUse { login, file, fields }: &LoginUse| {
            // One that can't be read can't be renewed either, and it is told why when it is to be.
            let document = Document::read(file).ok();
            Login { expires_ms: document.and_then(|document| document.number(&fields.expires)), ..login.clone() }
        };
        self.uses.iter().map(told).collect()
    }

    /// Whether tokens may be on their way that exist nowhere else.
    pub(super) fn are_asked_for(&self) -> bool {
        self.under_way.values().any(|under_way| matches!(under_way, UnderWay::Asking(..)))
    }

    /// There is no egress any more that waits for something.
    pub(super) fn forget(&mut self) {
        self.under_way.retain(|_, under_way| matches!(under_way, UnderWay::Unwritten(..)));
    }

    /// Whether egress, which has this access token, may renew a login; `None`: somebody else does at this moment.
    fn leave(&mut self, number: u32, own: &Secret) -> Result<Option<Leave>, FileError> {
        let Some(LoginUse { file, fields, .. }) = self.uses.get(number as usize) else { return Ok(None) };
        let Some(mut held) = Held::try_hold(file)? else { return Ok(None) };
        let document = held.read()?;
        let Some(said) = said(&document, fields) else {
            return Ok(Some(Leave::Refused(format!("{} has no login any more", file.display()))));
        };
        if said.access.as_bytes() != own.expose() && said.expires_ms.is_none_or(|end| end > now_ms()) {
            let tokens = Tokens {
                access: Secret::new(said.access.into_bytes()),
                refresh: None,
                id: None,
                expires_ms: said.expires_ms,
            };
            return Ok(Some(Leave::Renewed(tokens)));
        }
        // While there is nothing to lose.
        held.reserve()?;
        let refresh = Secret::new(said.refresh.into_bytes());
        self.under_way.insert(number, UnderWay::Asking(held, refresh.clone()));
        Ok(Some(Leave::Renew(refresh)))
    }

    /// Puts new tokens into their file. What cannot be written now is tried again.
    fn keep(&mut self, number: u32, mut held: Held, refresh: Secret, tokens: Tokens) {
        let Some(LoginUse { fields, .. }) = self.uses.get(number as usize) else { return };
        if write(&mut held, fields, &refresh, &tokens).is_err() {
            self.under_way.insert(number, UnderWay::Unwritten(held, refresh, tokens));
            self.due = self.due.min(Deadline::after(AGAIN));
        }
    }

    /// Tries to write what could not be written.
    pub(super) fn keep_again(&mut self) {
        for (number, under_way) in std::mem::take(&mut self.under_way) {
            match under_way {
                UnderWay::Unwritten(held, refresh, tokens) => self.keep(number, held, refresh, tokens),
                other => drop(self.under_way.insert(number, other)),
            }
        }
    }
}

/// What a file says, if it has a login that can be sent.
fn said(document: &Document, fields: &LoginFields) -> Option<Said> {
    let token = |keys: &[String]| document.text(keys).filter(|text| is_token(text.as_bytes()));
    let (access, refresh) = (token(&fields.access)?, token(&fields.refresh)?);
    let expires_ms = document.number(&fields.expires).or_else(|| token_expiry(access.as_bytes()));
    Some(Said { access, refresh, expires_ms })
}

fn is_token(bytes: &[u8]) -> bool {
    (1..=MAX_TOKEN).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// Puts new tokens into their file, in the place of those that they were got for. Others that are there by now are newer.
fn write(held: &mut Held, fields: &LoginFields, refresh: &Secret, tokens: &Tokens) -> Result<(), FileError> {
    let mut document = match held.read() {
        // Whoever has logged out wants none.
        Err(FileError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(()),
        document => document?,
    };
    if document.text(&fields.refresh).is_none_or(|text| text.as_bytes() != refresh.expose()) {
        return Ok(());
    }
    let text = |secret: &Secret| Value::from(String::from_utf8_lossy(secret.expose()));
    document.put(&fields.access, &text(&tokens.access));
    if let Some(refresh) = &tokens.refresh {
        document.put(&fields.refresh, &text(refresh));
    }
    if let Some(id) = &tokens.id {
        document.put(&fields.id, &text(id));
    }
    if let Some(expires_ms) = tokens.expires_ms {
        document.put(&fields.expires, &Value::from(expires_ms));
    }
    document.put(&fields.renewed, &Value::from(wire::rfc3339((now_ms() / 1000) as i64)));
    held.write(&document)
}

fn now_ms() -> u64 {
    super::verdict::now_ms()
}

impl Server<'_> {
    /// Egress says how it goes with the renewal of a login.
    pub(super) fn on_renewal(&mut self, number: u32, renewal: Renewal) {
        if self.egress.access(number).is_none() {
            return self.end_egress();
        }
        let under_way = self.egress.logins.under_way.remove(&number);
        match (renewal, under_way) {
            (Renewal::Begin, None) => self.begin(number),
            (Renewal::Begin, Some(UnderWay::Unwritten(held, refresh, tokens))) => {
                self.egress.logins.keep(number, held, refresh, tokens);
                match self.egress.logins.under_way.contains_key(&number) {
                    true => self.egress.leave(number, Leave::Refused("its file cannot be written".to_owned())),
                    false => self.begin(number),
                }
            }
            (Renewal::Failed, Some(UnderWay::Asking(..))) => {}
            (Renewal::Done(tokens), Some(UnderWay::Asking(held, refresh))) if are_tokens(&tokens) => {
                self.egress.renewed(number, &tokens);
                self.egress.logins.keep(number, held, refresh, tokens);
            }
            // It is not our egress any more.
            _ => self.end_egress(),
        }
    }

    fn begin(&mut self, number: u32) {
        self.egress.logins.under_way.insert(number, UnderWay::Waiting(Instant::now()));
        self.see_to_logins();
    }

    /// Sees to logins that wait for another sandbox, and to files that could not be written.
    pub(super) fn see_to_logins(&mut self) {
        self.egress.logins.keep_again();
        let waiting = self.egress.logins.under_way.iter().filter_map(|(number, under_way)| match under_way {
            UnderWay::Waiting(since) => Some((*number, *since)),
            _ => None,
        });
        for (number, since) in waiting.collect::<Vec<_>>() {
            let Some(own) = self.egress.access(number).cloned() else { continue };
            let logins = &mut self.egress.logins;
            let leave = match logins.leave(number, &own) {
                Ok(None) if since.elapsed() < PATIENCE => {
                    logins.due = logins.due.min(Deadline::after(LOOK));
                    continue;
                }
                Ok(None) => Leave::Refused("another sandbox renews it, and does not come to an end".to_owned()),
                Ok(Some(leave)) => leave,
                Err(error) => Leave::Refused(wire::cause(&error)),
            };
            if matches!(logins.under_way.get(&number), Some(UnderWay::Waiting(_))) {
                logins.under_way.remove(&number);
            }
            self.egress.leave(number, leave);
        }
    }
}

fn are_tokens(tokens: &Tokens) -> bool {
    let Tokens { access, refresh, id, .. } = tokens;
    [Some(access), refresh.as_ref(), id.as_ref()].into_iter().flatten().all(|token| is_token(token.expose()))
}
