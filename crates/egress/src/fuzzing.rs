//! What fuzz targets call, and nobody else: a whole connection as a function of bytes, the readers of what answers and
//! WebSockets tell of tokens, the reader of DNS answers, and what becomes of requests to an ssh-agent.

use crate::{
    Budget, Denial, Grant, Host, Secrets, Target,
    first::Version,
    http::{Messages, Passage, Report, clear},
    room::Room,
    usage::{Meter, spend_message},
};
pub use crate::{
    answer::{Answer, Family, Query},
    logins::{Refusal, tokens},
    ssh::fate as fate_of_ssh_agent_requests,
};
use std::{io, net::Ipv4Addr, rc::Rc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    runtime::Builder,
};

/// What a server gets from a client of HTTP/1 that says this and closes its side, if every request is allowed that is for
/// `target`, and the server never answers.
///
/// # Errors
/// If there is no runtime to be had.
pub fn passed(client_says: &[u8], target: &Target) -> io::Result<Vec<u8>> {
    let passage = Passage {
        target: target.clone(),
        grant: Grant {
            rule: String::new(),
            service: false,
            named: true,
            any_protocol: false,
            requests: Vec::new(),
            limited: false,
            web_by_limits: false,
        },
        secrets: Rc::new(Secrets::new(&[])),
        logins: None,
        budget: Rc::new(Budget::default()),
        room: Room::default(),
        sandbox: "fuzz".into(),
        report: Rc::new(Nobody),
    };
    let mut runtime = Builder::new_current_thread();
    runtime.enable_time();
    // In tests it passes when nobody has anything to do, however busy the machine is.
    #[cfg(test)]
    runtime.start_paused(true);
    runtime.build()?.block_on(async {
        let (mut client, near) = duplex(client_says.len().max(1));
        let (far, mut server) = duplex(64 * 1024);
        client.write_all(client_says).await?;
        client.shutdown().await?;
        let mut got = Vec::new();
        let read = async {
            // Until it is plain that nothing more comes: a client of which all is read has nothing more to say.
            while let Ok(Ok(1..)) =
                tokio::time::timeout(std::time::Duration::from_millis(5), server.read_buf(&mut got)).await
            {}
        };
        tokio::select! {
            biased;
            () = read => {}
            _ = clear(near, far, Version::One, passage) => {}
        }
        // What was written last may not have been read.
        while let Ok(Ok(1..)) =
            tokio::time::timeout(std::time::Duration::from_millis(1), server.read_buf(&mut got)).await
        {}
        Ok(got)
    })
}

/// How many tokens an answer of this type and coding tells of, if it comes in pieces of this size; `None` if it is not read.
#[must_use]
pub fn told(kind: &str, coding: &str, answer: &[u8], piece: usize) -> Option<u64> {
    let (budget, host) = (Budget::default(), Host::from(Ipv4Addr::LOCALHOST));
    let mut meter = Meter::new(kind)?.coded(coding)?;
    for piece in answer.chunks(piece.max(1)) {
        meter.read(piece, &budget, &host);
    }
    meter.end(&budget, &host);
    Some(budget.spent())
}

/// The same for what a server says in a WebSocket, in how many messages.
#[must_use]
pub fn told_by_socket(said: &[u8], piece: usize) -> (u64, usize) {
    let (budget, host) = (Budget::default(), Host::from(Ipv4Addr::LOCALHOST));
    let (mut messages, mut count) = (Messages::default(), 0);
    for piece in said.chunks(piece.max(1)) {
        messages.read(piece, |message| {
            spend_message(message, &budget, &host);
            count += 1;
            false
        });
    }
    (budget.spent(), count)
}

struct Nobody;

impl Report for Nobody {
    fn request(&self) {}

    fn refused(&self, _: &Denial, _: &str) {}

    fn tokens(&self, _: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that sees nothing would find nothing.
    #[test]
    fn what_is_allowed_is_seen() {
        let target = Target::parse("a.example:80", None).unwrap();
        let plain = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_eq!(passed(plain, &target).unwrap(), plain);
        let chunked = b"POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert!(passed(chunked, &target).unwrap().ends_with(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
        assert_eq!(passed(b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", &target).unwrap(), b"");
    }
}
