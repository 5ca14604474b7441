//! Handshakes of TLS for another server than the one that was dialled, however they are cut into pieces. They are sent
//! to a service of the host that the sandbox may reach, which tells when it hears what is not for it.

use super::requests::nowhere;
use crate::{
    case::{Case, Class::Network, Control, Outcome, Skip, worst},
    context::Context,
    speech,
    way::{self, Message, Way},
};

/// So many protocols make a first message of four kilobytes.
const MANY: usize = 150;
/// A record that holds every message here.
const WHOLE: usize = 1 << 14;

/// The cases of this kind.
pub const CASES: &[Case] = &[
    Case::new(
        "tls-other-name",
        Network,
        "TLS asks for another server than the one that was dialled: domain fronting",
        "MITRE ATT&CK: T1090.004",
        Control::Host,
        |ctx| {
            every_way(ctx, |hello, name, there| {
                let dotted = [there, b"."].concat();
                let cut = [name, b"\0.", there].concat();
                [&[there] as &[&[u8]], &[name, there], &[there, name], &[&dotted], &[&cut], &[b"*"]]
                    .map(|names| Message::whole(speech::records(&hello(Some(names), 0), WHOLE)))
                    .into()
            })
        },
    ),
    Case::new(
        "tls-no-name",
        Network,
        "TLS to a host that was dialled by its name does not say for whom it is",
        "RFC 6066: 3",
        Control::Host,
        |ctx| {
            let Some(way) = Way::by_name(ctx) else {
                return Err(Skip(
                    "/etc/hosts has no name of this host but localhost: a line there gives it one".to_owned(),
                ));
            };
            let address = way.address.ip().to_string();
            let names: [Option<&[&[u8]]>; 4] = [None, Some(&[]), Some(&[b""]), Some(&[address.as_bytes()])];
            shaken(ctx, &way, 0, |hello, _, _| {
                names.map(|names| Message::whole(speech::records(&hello(names, 0), WHOLE))).into()
            })
        },
    ),
    Case::new(
        "tls-long-hello",
        Network,
        "the server's name comes after more than 2 KiB, or in pieces, where nobody looks for it any more",
        "RFC 8446: 5.1",
        Control::Host,
        |ctx| {
            worst_way(ctx, MANY, |hello, _, there| {
                let (short, long) = (hello(Some(&[there]), 0), hello(Some(&[there]), MANY));
                let record = speech::records(&long, WHOLE);
                vec![
                    Message::whole(record.clone()),
                    Message::in_pieces(&record, 1000),
                    Message::whole(speech::records(&long, 100)),
                    Message::in_pieces(&speech::records(&long, 700), 1100),
                    Message::in_pieces(&speech::records(&short, 7), 11),
                    Message::in_pieces(&speech::records(&short, WHOLE), 3),
                ]
            })
        },
    ),
    Case::new(
        "tls-among-others",
        Network,
        "TLS or a request for another server comes after what looks like another language",
        "HAProxy: the PROXY protocol, 2",
        Control::Host,
        |ctx| {
            let Some(way) = Way::all(ctx).into_iter().next() else { return Err(nowhere()) };
            shaken(ctx, &way, 0, |hello, _, there| {
                let (here, there) = (way.authority(), String::from_utf8_lossy(there));
                let hello = speech::records(&hello(Some(&[there.as_bytes()]), 0), WHOLE);
                let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
                let upgrade =
                    format!("GET / HTTP/1.1\r\nHost: {here}\r\nUpgrade: TLS/1.2\r\nConnection: Upgrade\r\n\r\n");
                let told = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x50";
                let (proxy, there) = ("PROXY TCP4 127.0.0.1 127.0.0.1 1 80\r\n", get(&there));
                [
                    [get(&here).as_bytes(), &hello].concat(),
                    [upgrade.as_bytes(), &hello].concat(),
                    // Messages that some servers pass over: an alert, and a change of ciphers.
                    [b"\x15\x03\x01\0\x02\x01\0".as_slice(), &hello].concat(),
                    [b"\x14\x03\x01\0\x01\x01".as_slice(), &hello].concat(),
                    // Whom a proxy speaks for.
                    [proxy.as_bytes(), &hello].concat(),
                    [proxy.as_bytes(), there.as_bytes()].concat(),
                    [told.as_slice(), there.as_bytes()].concat(),
                ]
                .map(Message::whole)
                .into()
            })
        },
    ),
    Case::new(
        "tls-later",
        Network,
        "TLS for another server begins after another protocol's own word for it",
        "RFC 3207: 5",
        Control::Host,
        |ctx| {
            every_way(ctx, |hello, name, there| {
                let [own, other] = [name, there].map(|name| speech::records(&hello(Some(&[name]), 0), WHOLE));
                let pieces = speech::records(&hello(Some(&[there]), 0), 100);
                let behind = speech::records(&[hello(Some(&[name]), 0), hello(Some(&[there]), 0)].concat(), WHOLE);
                // What some servers take all the same: bytes behind the extensions, and any version and length of a record.
                let longer = |more: usize| {
                    let mut message = hello(Some(&[there]), 0);
                    message.resize(message.len() + more, 0);
                    let length = (message.len() as u32 - 4).to_be_bytes();
                    message[1..4].copy_from_slice(&length[1..]);
                    speech::records(&message, usize::from(u16::MAX))
                };
                let mut hellos = vec![pieces, behind, longer(1), longer(20_000)];
                for version in [[3, 1], [0, 0], [0, 2], [2, 0], [4, 1], [0x0f, 0xff], [0xff, 1]] {
                    let mut record = other.clone();
                    record[1..3].copy_from_slice(&version);
                    hellos.push(record);
                }
                [
                    // PostgreSQL, mail, XMPP and LDAP (its OID is 1.3.6.1.4.1.1466.20037).
                    b"\0\0\0\x08\x04\xd2\x16\x2f".as_slice(),
                    b"EHLO a\r\nSTARTTLS\r\n",
                    b"a STARTTLS\r\n",
                    b"<stream:stream><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\n",
                    b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037",
                    // What no server would take for more than a mistake.
                    b"SSH-2.0-a\r\nSTARTTLS\r\n",
                    &[b"a\r\n", &own[..7], b"\r\nSTARTTLS\r\n"].concat(),
                ]
                .into_iter()
                .flat_map(|word| hellos.iter().map(move |hello| [word, hello.as_slice()].concat()))
                .map(Message::whole)
                .collect()
            })
        },
    ),
];

/// Makes a first message that must not arrive, of names and of a number of protocols.
type Hello<'a> = &'a dyn Fn(Option<&[&[u8]]>, usize) -> Vec<u8>;

fn every_way(ctx: &Context, hellos: impl Fn(Hello<'_>, &[u8], &[u8]) -> Vec<Message>) -> Result<Outcome, Skip> {
    worst_way(ctx, 0, hellos)
}

fn worst_way(
    ctx: &Context,
    protocols: usize,
    hellos: impl Fn(Hello<'_>, &[u8], &[u8]) -> Vec<Message>,
) -> Result<Outcome, Skip> {
    let ways = Way::all(ctx);
    if ways.is_empty() {
        return Err(nowhere());
    }
    let outcomes: Result<Vec<_>, _> = ways.iter().map(|way| shaken(ctx, way, protocols, &hellos)).collect();
    outcomes.map(worst)
}

fn shaken(
    ctx: &Context,
    way: &Way,
    protocols: usize,
    hellos: impl Fn(Hello<'_>, &[u8], &[u8]) -> Vec<Message>,
) -> Result<Outcome, Skip> {
    let there = speech::elsewhere(ctx.token()?);
    let hello = |names: Option<&[&[u8]]>, protocols: usize| {
        // What is random has the sign in it, since a message without a name has no other place for it.
        speech::client_hello(names, &there.as_bytes()[..16], protocols)
    };
    let name = way.server_name();
    let allowed = speech::client_hello(name.as_ref().map(std::slice::from_ref), b"allowed", protocols);
    let attempts = hellos(&hello, name.unwrap_or(b"localhost"), there.as_bytes());
    way::attempt(ctx, way, &Message::whole(speech::records(&allowed, WHOLE)), attempts)
}
