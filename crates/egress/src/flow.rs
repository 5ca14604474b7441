//! Hides the life of one flow: judged by its name, looked up, admitted by its addresses, dialled, recognised by its
//! first bytes, then carried or refused.

use crate::{
    Denial, Grant, Host, Reason, Target,
    control::What,
    dial,
    first::{self, Speech, Version},
    inspect,
    meter::{Direction, Meter},
    relay,
    resolver::LookupError,
    server::{Rules, Shared, reset_at_close},
};
use std::{io, net::IpAddr, rc::Rc, time::Duration};
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

/// Serves a flow to its end.
pub(crate) async fn serve(shared: &Rc<Shared>, number: u64, target: Target, client: TcpStream, revoked: &Notify) {
    let rules = shared.rules();
    let meter = Rc::new(Meter::new(shared.bucket()));
    let mut flow =
        Flow { shared, number, target, rules, client, buffer: Vec::new(), meter: meter.clone(), open: false };
    let result = tokio::select! {
        biased;
        () = revoked.notified() => Err(Denial::new(Reason::Revoked, &flow.target)),
        result = flow.carry() => result,
    };
    let Flow { target, client, buffer, open, .. } = flow;
    if let Err(denial) = result {
        farewell(shared, number, client, buffer, &denial).await;
    }
    if open {
        shared.tell(number, &target, What::Closed(meter.totals()));
    }
}

/// Refuses a flow that was not even begun.
pub(crate) async fn refuse(shared: Rc<Shared>, number: u64, client: TcpStream, denial: Denial) {
    farewell(&shared, number, client, Vec::new(), &denial).await;
}

struct Flow<'a> {
    shared: &'a Rc<Shared>,
    number: u64,
    target: Target,
    rules: Rc<Rules>,
    client: TcpStream,
    /// What the client has said first, and nobody has had yet.
    buffer: Vec<u8>,
    meter: Rc<Meter>,
    /// Whether the supervisor was told that it is connected.
    open: bool,
}

impl Flow<'_> {
    async fn carry(&mut self) -> Result<(), Denial> {
        let grant = self.rules.policy.judge(&self.target)?;
        let addresses = self.look_up().await?;
        let addresses = self.rules.policy.admit(&self.target, &addresses)?;
        // While the connection is being made, the client may begin.
        let (server, address) = {
            let dial = dial::dial(&self.target, &addresses);
            tokio::pin!(dial);
            loop {
                let speaking = self.buffer.is_empty();
                tokio::select! {
                    result = &mut dial => break result?,
                    _ = self.client.readable(), if speaking => {
                        // Only as far as it is there: what it means is decided below.
                        if self.client.try_read_buf(&mut self.buffer).is_ok_and(|count| count == 0) {
                            break dial.await?;
                        }
                    }
                }
            }
        };
        let _ = server.set_nodelay(true);
        reset_at_close(&server, true);
        self.open = true;
        self.shared.tell(self.number, &self.target, What::Opened { rule: grant.rule.clone(), address });
        self.converse(&grant, server).await
    }

    async fn look_up(&self) -> Result<Vec<IpAddr>, Denial> {
        let outside = self.rules.policy.outside(&self.target);
        let name = match outside.host {
            Host::Address(address) => return Ok(vec![address]),
            Host::Name(name) => name,
        };
        match self.shared.resolver.lookup(&name).await {
            Ok(addresses) => Ok(addresses),
            Err(LookupError::NoSuchHost) => Err(Denial::new(Reason::NoSuchHost, &self.target)),
            Err(LookupError::NoAnswer) => {
                self.shared.channel.tell(&crate::control::Event::StaleResolver);
                Err(Denial::new(Reason::LookupFailed, &self.target).because("no server answers"))
            }
        }
    }

    /// Carries what is said, once it is known what language that is.
    async fn converse(&mut self, grant: &Grant, server: TcpStream) -> Result<(), Denial> {
        // A service of the host was named by its port: what it speaks is its own business.
        if grant.service {
            return self.splice(server).await;
        }
        // Where the web is spoken nobody waits for the server to begin.
        let web = !grant.any_protocol || grant.is_restricted();
        let deny = |reason| Denial::new(reason, &self.target);
        let speech = tokio::select! {
            biased;
            speech = first::first(&mut self.client, &mut self.buffer) => {
                speech.map_err(|_| deny(Reason::NotHttp))?
            }
            _ = server.readable(), if !web => Speech::Other,
            () = tokio::time::sleep(SILENCE), if web => return Err(deny(Reason::TimedOut)),
        };
        match speech {
            Speech::Tls(hello) => {
                let name = hello.server_name.ok_or_else(|| deny(Reason::SniMissing));
                let expected = &self.target.host;
                match (name, expected) {
                    (Ok(name), _) if name == *expected => {}
                    (Ok(name), _) => return Err(deny(Reason::SniMismatch).because(name.to_string())),
                    // Clients send no name for an address.
                    (Err(_), Host::Address(_)) if !grant.is_restricted() => {}
                    (Err(denial), _) => return Err(denial),
                }
                if grant.is_restricted() || self.rules.inspector.intercepts(&self.target.host) {
                    self.inspect(grant, server, true).await
                } else {
                    self.splice(server).await
                }
            }
            Speech::Http(_) => self.inspect(grant, server, false).await,
            Speech::BadTls(why) => Err(deny(Reason::BadTls).because(why)),
            // A client that has only connected, and is gone, did no harm.
            Speech::Nothing => Ok(()),
            Speech::Other if web => Err(deny(Reason::NotHttp)),
            Speech::Other => self.splice(server).await,
        }
    }

    async fn inspect(&mut self, grant: &Grant, server: TcpStream, tls: bool) -> Result<(), Denial> {
        let passage = inspect::Passage {
            shared: self.shared.clone(),
            rules: self.rules.clone(),
            number: self.number,
            target: self.target.clone(),
            grant: grant.clone(),
            meter: self.meter.clone(),
        };
        inspect::serve(passage, &mut self.client, std::mem::take(&mut self.buffer), server, tls).await
    }

    /// Passes on what was said, and whatever will be.
    async fn splice(&mut self, mut server: TcpStream) -> Result<(), Denial> {
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
        if relay::relay(&self.client, &server, &self.meter, &self.shared.pipes).await.is_ok() {
            reset_at_close(&self.client, false);
            reset_at_close(&server, false);
        }
        Ok(())
    }
}

/// Tells of a refusal: the supervisor first, then the program, in words if it speaks HTTP in clear. Anything else is
/// reset.
async fn farewell(shared: &Rc<Shared>, number: u64, mut client: TcpStream, mut buffer: Vec<u8>, denial: &Denial) {
    shared.tell_refusal(number, denial, None);
    if denial.reason == Reason::Revoked {
        return;
    }
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
