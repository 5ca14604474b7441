//! Hides the life of one flow: judged by its name, looked up, admitted by its addresses, dialled, recognised by its
//! first bytes, then carried or refused.

use crate::{
    Denial, Grant, Host, Reason,
    account::Account,
    control::Event,
    dial,
    first::{self, Expected, Speech, Version},
    heard::Gate,
    inspect::{self, Wrapping},
    later::Watch,
    logins::Logins,
    meter::Metered,
    opening, relay,
    resolver::LookupError,
    server::{Rules, reset_at_close},
    socket::Socket,
};
use std::{io, net::IpAddr, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
    time::timeout,
};

/// How long a refused program has to show that it speaks HTTP.
const FIRST_BYTES: Duration = Duration::from_millis(200);
/// How long a refused program has to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long it takes to hear of other servers that are to be asked for names, if there are any.
const NEWS: Duration = Duration::from_millis(100);

/// Serves a flow to its end.
pub(crate) async fn serve(account: Rc<Account>, client: Socket, revoked: Rc<Notify>) {
    let shared = &account.shared;
    let mut flow = Flow { account: &account, rules: shared.rules(), client: Some(client), buffer: Vec::new() };
    let result = tokio::select! {
        biased;
        () = revoked.notified() => match shared.is_ending() {
            true => {
                account.ended();
                Ok(())
            }
            false => Err(flow.denial(Reason::Revoked)),
        },
        result = flow.carry() => result,
    };
    let Flow { client, buffer, .. } = flow;
    if let Err(denial) = result {
        farewell(&account, client, buffer, &denial).await;
    }
}

/// Refuses a flow that was not even begun.
pub(crate) async fn refuse(account: Rc<Account>, client: Socket, denial: Denial) {
    farewell(&account, Some(client), Vec::new(), &denial).await;
}

/// Connects a flow to where it goes, by the rules that hold: they may change while others are waited for.
pub(crate) async fn connect(account: &Account, rules: &mut Rc<Rules>) -> Result<(Socket, Grant), Denial> {
    let Account { shared, target, .. } = account;
    let mut admit = |addresses: &[IpAddr]| {
        *rules = shared.rules();
        rules.policy.admit(target, addresses, |address| shared.own.has(address))
    };
    shared.rules().policy.judge(target)?;
    account.begun();
    shared.permit_one().await;
    let addresses = admit(&look_up(account).await?)?;
    let (server, address) = dial::dial(target, &addresses).await?;
    admit(&[address.ip()])?;
    shared.connected(account.number(), address.ip());
    let grant = rules.policy.judge(target)?;
    let _ = server.set_nodelay(true);
    reset_at_close(&server, true);
    let namer = rules.policy.namer(target, address.ip(), |address| shared.own.has(address));
    account.opened(&grant, namer.filter(|rule| rule.to_string() != grant.rule), address);
    Ok((server, grant))
}

async fn look_up(account: &Account) -> Result<Vec<IpAddr>, Denial> {
    let Account { shared, target, .. } = account;
    let name = match shared.rules().policy.outside(target).host {
        Host::Address(address) => return Ok(vec![address]),
        Host::Name(name) => name,
    };
    let resolver = &shared.resolver;
    let mut found = resolver.lookup(&name).await;
    if found.is_err() {
        // Others may have to be asked by now.
        let changed = resolver.changed();
        shared.channel.tell(&Event::StaleResolver);
        if timeout(NEWS, changed).await.is_ok() {
            found = resolver.lookup(&name).await;
        }
    }
    found.map_err(|error| match error {
        LookupError::NoSuchHost => Denial::new(Reason::NoSuchHost, target),
        LookupError::NoAnswer => Denial::new(Reason::LookupFailed, target).because("no server answers"),
    })
}

struct Flow<'a> {
    account: &'a Rc<Account>,
    rules: Rc<Rules>,
    /// The program's side, until somebody else has it.
    client: Option<Socket>,
    /// What the client has said first, and nobody has had yet.
    buffer: Vec<u8>,
}

impl Flow<'_> {
    async fn carry(&mut self) -> Result<(), Denial> {
        let (server, grant) = connect(self.account, &mut self.rules).await?;
        self.converse(&grant, server).await
    }

    fn denial(&self, reason: Reason) -> Denial {
        Denial::new(reason, &self.account.target)
    }

    /// Carries what is said, once it is known what language that is.
    async fn converse(&mut self, grant: &Grant, mut server: Socket) -> Result<(), Denial> {
        let Some(mut client) = self.client.take() else { return Ok(()) };
        // A service of the host was named by its port: what it speaks is its own business, as long as there is nothing that
        // must be put in, kept back or counted.
        let free = grant.service && grant.any_protocol && !grant.is_restricted();
        if free && !self.rules.inspector.is_wanted() {
            return self.splice(client, server, &Gate::default(), Watch::default()).await;
        }
        let Account { target, meter, .. } = &**self.account;
        let web = opening::is_web(grant);
        let mut watch = Watch::of(target, grant);
        let (speech, gate) = match web {
            true => (opening::web(&mut client, &mut self.buffer, target).await?, Gate::default()),
            false => {
                let mut server = Metered::new(&mut server, meter.clone());
                opening::any(&mut client, &mut self.buffer, &mut server, target, &mut watch).await?
            }
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
            None => {
                let watch = if speech == Speech::Other { watch } else { Watch::default() };
                self.splice(client, server, &gate, watch).await
            }
            Some(wrapping) => {
                let (account, rules) = (self.account.clone(), self.rules.clone());
                let passage = inspect::Passage { account, rules, grant: grant.clone() };
                inspect::serve(passage, client, std::mem::take(&mut self.buffer), server, wrapping).await
            }
        }
    }

    /// Whether what the client speaks may be spoken there, and is to be read: how it is wrapped then.
    fn recognise(&self, grant: &Grant, speech: &Speech, web: bool) -> Result<Option<Wrapping>, Denial> {
        let target = &self.account.target;
        match speech {
            Speech::Tls(hello) => {
                let renews = |logins: &Rc<Logins>| logins.is_for(&target.host);
                let read = grant.is_restricted()
                    || self.rules.inspector.intercepts(&target.host)
                    || self.account.shared.logins.as_ref().is_some_and(renews);
                if grant.service && !read {
                    return Ok(None);
                }
                match (&hello.server_name, &target.host) {
                    (Some(name), expected) if name == expected => {}
                    (Some(name), _) => return Err(self.denial(Reason::SniMismatch).because(name.to_string())),
                    // Clients send no name for an address.
                    (None, Host::Address(_)) => {}
                    (None, Host::Name(_)) => return Err(self.denial(Reason::SniMissing)),
                }
                Ok(read.then_some(Wrapping::Tls))
            }
            Speech::Http(version) => Ok(Some(Wrapping::Clear(*version))),
            Speech::BadTls(why) => Err(self.denial(Reason::BadTls).because(why.clone())),
            // A client that has only connected, and is gone, did no harm.
            Speech::Nothing => Ok(None),
            Speech::Other if web => Err(opening::not_http(target, grant)),
            Speech::Other => Ok(None),
        }
    }

    /// Passes on what was said, and whatever will be. If it is not known what that is, the server's first bytes tell what it
    /// took it for; what is to be read, and can't be, gets no answer. TLS that begins later is held to the flow's host.
    async fn splice(
        &mut self,
        client: Socket,
        mut server: Socket,
        gate: &Gate,
        mut watch: Watch,
    ) -> Result<(), Denial> {
        let Account { shared, target, meter, .. } = &**self.account;
        let said = std::mem::take(&mut self.buffer);
        if watch.hear(&said).is_err() {
            return watch.verdict();
        }
        if opening::pass(&mut Metered::new(&mut server, meter.clone()), &said).await.is_err() {
            return Ok(());
        }
        let opens = async { gate.opens(&mut &server).await };
        if relay::relay(&client, &server, opens, &mut watch, meter, &shared.pipes).await.is_ok() {
            reset_at_close(&client, false);
            reset_at_close(&server, false);
        }
        watch.verdict()?;
        gate.verdict(target)
    }
}

/// Tells of a refusal: the supervisor first, then the program, in words if it speaks HTTP in clear. Anything else is
/// reset.
async fn farewell(account: &Account, client: Option<Socket>, mut buffer: Vec<u8>, denial: &Denial) {
    account.refused(denial, None);
    let Some(mut client) = client.filter(|_| denial.reason != Reason::Revoked) else { return };
    let speech = timeout(FIRST_BYTES, first::first(&mut client, &mut buffer, Expected::Web)).await;
    if !matches!(speech, Ok(Ok(Speech::Http(Version::One)))) {
        return;
    }
    let words = denial.words(&account.shared.rules().sandbox);
    let _ = timeout(FAREWELL, tell(&mut client, denial.reason, &words)).await;
    reset_at_close(&client, false);
}

/// Answers in HTTP, and reads on until the program has gone: closing with unread bytes would reset the connection, and
/// take the answer back before it was read.
async fn tell(client: &mut Socket, reason: Reason, words: &str) -> io::Result<()> {
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
