//! Hides the life of one flow: judged by its name, looked up, admitted by its addresses, dialled, recognised by its
//! first bytes, then carried or refused.

use crate::{
    CheckedAddr, Denial, Grant, Host, Reason, Target,
    control::{Event, What},
    dial,
    first::{self, Speech, Version},
    inspect::{self, Wrapping},
    meter::{Direction, Meter},
    relay,
    resolver::LookupError,
    server::{Rules, Shared, reset_at_close},
};
use std::{io, net::IpAddr, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
};

/// How long a refused program has to show that it speaks HTTP.
const FIRST_BYTES: Duration = Duration::from_millis(200);
/// How long a refused program has to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a client may be silent where it has to speak first.
const SILENCE: Duration = Duration::from_secs(60);

/// Turns that others get before a flow's totals are told.
const TURNS: usize = 4;
/// How long it takes to hear of other servers that are to be asked for names, if there are any.
const NEWS: Duration = Duration::from_millis(100);

/// Serves a flow to its end.
pub(crate) async fn serve(shared: &Rc<Shared>, number: u64, target: Target, client: TcpStream, revoked: &Notify) {
    let rules = shared.rules();
    let meter = Arc::new(Meter::new(shared.bucket()));
    let mut flow = Flow {
        shared,
        number,
        target,
        rules,
        client: Some(client),
        buffer: Vec::new(),
        meter: meter.clone(),
        open: false,
    };
    let result = tokio::select! {
        biased;
        () = revoked.notified() => match shared.is_ending() {
            true => Ok(()),
            false => Err(Denial::new(Reason::Revoked, &flow.target)),
        },
        result = flow.carry() => result,
    };
    let Flow { target, client, buffer, open, .. } = flow;
    if let Err(denial) = result {
        farewell(shared, number, client, buffer, &denial).await;
    }
    if open {
        // The last of what was read is counted when those who carried it let go of it.
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        shared.tell(number, &target, What::Closed(meter.totals()));
    }
}

/// Refuses a flow that was not even begun.
pub(crate) async fn refuse(shared: Rc<Shared>, number: u64, client: TcpStream, denial: Denial) {
    farewell(&shared, number, Some(client), Vec::new(), &denial).await;
}

struct Flow<'a> {
    shared: &'a Rc<Shared>,
    number: u64,
    target: Target,
    rules: Rc<Rules>,
    /// The program's side, until somebody else has it.
    client: Option<TcpStream>,
    /// What the client has said first, and nobody has had yet.
    buffer: Vec<u8>,
    meter: Arc<Meter>,
    /// Whether the supervisor was told that it is connected.
    open: bool,
}

impl Flow<'_> {
    async fn carry(&mut self) -> Result<(), Denial> {
        self.rules.policy.judge(&self.target)?;
        self.shared.permit_one().await;
        let addresses = self.look_up().await?;
        let addresses = self.admit(&addresses)?;
        let (server, address) = dial::dial(&self.target, &addresses).await?;
        self.admit(&[address.ip()])?;
        self.shared.connected(self.number, address.ip());
        let grant = self.rules.policy.judge(&self.target)?;
        let _ = server.set_nodelay(true);
        reset_at_close(&server, true);
        self.open = true;
        self.shared.tell(self.number, &self.target, What::Opened { rule: grant.rule.clone(), address });
        self.converse(&grant, server).await
    }

    /// Admits by the rules that hold now: they may have changed while others were waited for.
    fn admit(&mut self, addresses: &[IpAddr]) -> Result<Vec<CheckedAddr>, Denial> {
        self.rules = self.shared.rules();
        self.rules.policy.admit(&self.target, addresses, |address| self.shared.own.has(address))
    }

    async fn look_up(&self) -> Result<Vec<IpAddr>, Denial> {
        let outside = self.rules.policy.outside(&self.target);
        let name = match outside.host {
            Host::Address(address) => return Ok(vec![address]),
            Host::Name(name) => name,
        };
        let resolver = &self.shared.resolver;
        let mut found = resolver.lookup(&name).await;
        if found.is_err() {
            // Others may have to be asked by now.
            let changed = resolver.changed();
            self.shared.channel.tell(&Event::StaleResolver);
            if tokio::time::timeout(NEWS, changed).await.is_ok() {
                found = resolver.lookup(&name).await;
            }
        }
        found.map_err(|error| match error {
            LookupError::NoSuchHost => Denial::new(Reason::NoSuchHost, &self.target),
            LookupError::NoAnswer => Denial::new(Reason::LookupFailed, &self.target).because("no server answers"),
        })
    }

    /// Carries what is said, once it is known what language that is.
    async fn converse(&mut self, grant: &Grant, server: TcpStream) -> Result<(), Denial> {
        // A service of the host was named by its port: what it speaks is its own business.
        let Some(mut client) = self.client.take() else { return Ok(()) };
        if grant.service && grant.any_protocol && !grant.is_restricted() {
            return self.splice(client, server).await;
        }
        // Where the web is spoken nobody waits for the server to begin.
        let web = !grant.any_protocol || grant.is_restricted();
        let deny = |reason| Denial::new(reason, &self.target);
        let speech = tokio::select! {
            biased;
            // Whoever has gone before saying what he wants is not told of, and does not hear.
            speech = first::first(&mut client, &mut self.buffer) => speech.unwrap_or(Speech::Nothing),
            _ = server.readable(), if !web => Speech::Other,
            () = tokio::time::sleep(SILENCE), if web => return Err(deny(Reason::TimedOut)),
        };
        let wrapping = match self.recognise(grant, &speech, web) {
            Ok(wrapping) => wrapping,
            Err(denial) => {
                self.client = Some(client);
                return Err(denial);
            }
        };
        match wrapping {
            _ if speech == Speech::Nothing => Ok(()),
            None => self.splice(client, server).await,
            Some(wrapping) => {
                let passage = inspect::Passage {
                    shared: self.shared.clone(),
                    rules: self.rules.clone(),
                    number: self.number,
                    target: self.target.clone(),
                    grant: grant.clone(),
                    meter: self.meter.clone(),
                };
                inspect::serve(passage, client, std::mem::take(&mut self.buffer), server, wrapping).await
            }
        }
    }

    /// Whether what the client speaks may be spoken there, and is to be read: how it is wrapped then.
    fn recognise(&self, grant: &Grant, speech: &Speech, web: bool) -> Result<Option<Wrapping>, Denial> {
        let deny = |reason| Denial::new(reason, &self.target);
        match speech {
            Speech::Tls(hello) => {
                match (&hello.server_name, &self.target.host) {
                    (Some(name), expected) if name == expected => {}
                    (Some(name), _) => return Err(deny(Reason::SniMismatch).because(name.to_string())),
                    // Clients send no name for an address. Which server it is for only its inside would tell.
                    (None, Host::Address(_)) if !grant.named && self.rules.policy.minds_names() => {
                        return Err(deny(Reason::SniMissing));
                    }
                    (None, Host::Address(_)) => {}
                    (None, Host::Name(_)) => return Err(deny(Reason::SniMissing)),
                }
                let read = grant.is_restricted() || self.rules.inspector.intercepts(&self.target.host);
                Ok(read.then_some(Wrapping::Tls))
            }
            Speech::Http(version) => Ok(Some(Wrapping::Clear(*version))),
            Speech::BadTls(why) => Err(deny(Reason::BadTls).because(why.clone())),
            // A client that has only connected, and is gone, did no harm.
            Speech::Nothing => Ok(None),
            Speech::Other if web => Err(deny(Reason::NotHttp)),
            Speech::Other => Ok(None),
        }
    }

    /// Passes on what was said, and whatever will be.
    async fn splice(&mut self, client: TcpStream, mut server: TcpStream) -> Result<(), Denial> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let permitted = self.meter.permit(rest.len()).await;
            let sent = server.write(&rest[..permitted]).await.unwrap_or(0);
            self.meter.count(Direction::Out, permitted, sent);
            if sent == 0 {
                return Ok(());
            }
            rest = &rest[sent..];
        }
        if relay::relay(&client, &server, &self.meter, &self.shared.pipes).await.is_ok() {
            reset_at_close(&client, false);
            reset_at_close(&server, false);
        }
        Ok(())
    }
}

/// Tells of a refusal: the supervisor first, then the program, in words if it speaks HTTP in clear. Anything else is
/// reset.
async fn farewell(shared: &Rc<Shared>, number: u64, client: Option<TcpStream>, mut buffer: Vec<u8>, denial: &Denial) {
    shared.tell_refusal(number, denial, None);
    let Some(mut client) = client.filter(|_| denial.reason != Reason::Revoked) else { return };
    let speech = tokio::time::timeout(FIRST_BYTES, first::first(&mut client, &mut buffer)).await;
    if !matches!(speech, Ok(Ok(Speech::Http(Version::One)))) {
        return;
    }
    let words = denial.words(&shared.rules().sandbox);
    let _ = tokio::time::timeout(FAREWELL, tell(&mut client, denial.reason, &words)).await;
    reset_at_close(&client, false);
}

/// Answers in HTTP, and reads on until the program has gone: closing with unread bytes would reset the connection, and
/// take the answer back before it was read.
async fn tell(client: &mut TcpStream, reason: Reason, words: &str) -> io::Result<()> {
    client.write_all(forbidden(reason, words).as_bytes()).await?;
    client.shutdown().await?;
    let mut scratch = [0; 4096];
    while client.read(&mut scratch).await? > 0 {}
    Ok(())
}

fn forbidden(reason: Reason, words: &str) -> String {
    let status = if reason.is_denial() { "403 Forbidden" } else { "502 Bad Gateway" };
    let body = format!("{}\n", words.trim_end());
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         X-Agentkernel-Reason: {reason}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
