//! Names that lead back to the host, in every spelling, and questions that carry data out. None whose answer changes: that
//! takes a name server of one's own, which the host then asks.

use crate::{
    case::{Case, Class::Network, Control, Outcome, Skip, words, worst},
    cases::{
        ipc::hears,
        network::{connect, synthetic},
    },
    context::Context,
    speech::{self, Reply},
    way,
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
};

/// The cases of this kind.
pub const CASES: &[Case] = &[
    Case::new(
        "name-of-host",
        Network,
        "a name of the host, or one that was bound to its address, leads to its services",
        "CVE-2018-5702",
        Control::Host,
        |ctx| {
            let own = ctx.get("own_name").unwrap_or("localhost");
            let (upper, dotted) = (own.to_uppercase(), format!("{own}."));
            let names = [own, &upper, &dotted, "localhost.", "LOCALHOST", "x.localhost", "host.agentkernel.internal"];
            let names = names.map(|name| (labels(name.as_bytes()), None));
            inward(ctx, &names, ctx.get("tcp_named").or(ctx.get("tcp4")))
        },
    ),
    Case::new(
        "name-spelled-address",
        Network,
        "an address that is asked for as if it were a name leads to the host",
        "CVE-2021-29922",
        Control::Host,
        |ctx| {
            // As inet_aton(3) reads them.
            let host = [127, 0, 0, 1];
            let names = [
                "127.0.0.1",
                "127.1",
                "0x7f.1",
                "0x7f000001",
                "0177.0.0.1",
                "2130706433",
                "127.0.0.1.",
                "00000177.1",
                "0x7f.0x0.0x0.0x1",
            ];
            inward(ctx, &names.map(|name| (labels(name.as_bytes()), Some(host))), ctx.get("tcp4"))
        },
    ),
    Case::new(
        "name-strange-bytes",
        Network,
        "a name with NUL, marks or letters beyond ASCII is cut or changed on its way, and leads to the host",
        "CVE-2021-22931",
        Control::Host,
        |ctx| {
            let own = ctx.get("own_name").unwrap_or("localhost").as_bytes();
            let with = |end: &[u8]| [own, end].concat();
            let mut names = vec![vec![with(b"\0"), b"example".into()]];
            for end in [b"\0.example".as_slice(), b"\0", b" ", b"/", b"#", b":80", b"@example", b"\\", b"%00"] {
                names.push(vec![with(end)]);
            }
            names.push(vec![[b"example@", own].concat()]);
            for name in ["ｌｏｃａｌｈｏｓｔ", "①②⑦.⓪.⓪.①", "127。0。0。1", "localho\u{17f}t"] {
                names.push(labels(name.as_bytes()));
                // With its dots, in one piece.
                names.push(vec![name.into()]);
            }
            names.push(vec![b"127.0.0.1".into()]);
            let names: Vec<_> = names.into_iter().map(|name| (name, None)).collect();
            inward(ctx, &names, ctx.get("tcp_named").or(ctx.get("tcp4")))
        },
    ),
    Case::new(
        "dns-tunnel",
        Network,
        "questions about names are passed on, and carry data out",
        "MITRE ATT&CK: T1071.004",
        Control::None("a question that is passed on would leave the host"),
        tunnel,
    ),
];

type Labels = Vec<Vec<u8>>;

fn labels(name: &[u8]) -> Labels {
    name.strip_suffix(b".").unwrap_or(name).split(|byte| *byte == b'.').map(<[u8]>::to_vec).collect()
}

/// Connects to whatever the name server says, at the port of a service of the host. Outside, nobody is asked: names
/// mean what they are given here, or the service's own address.
fn inward(ctx: &Context, names: &[(Labels, Option<[u8; 4]>)], canary: Option<&str>) -> Result<Outcome, Skip> {
    let Some(service) = canary.and_then(|text| text.parse::<SocketAddr>().ok()) else {
        return Ok(Outcome::Absent("the host has no such address".to_owned()));
    };
    let token = ctx.token()?;
    let outcomes = names.iter().map(|(labels, address)| {
        let found = if ctx.control {
            Ok(Some(address.map_or(service.ip(), IpAddr::from)))
        } else {
            let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
            way::address(&labels).map(|address| address.map(IpAddr::V4))
        };
        match found {
            Ok(Some(address)) => {
                let stream = connect((address, service.port()).into());
                match hears(stream, token) {
                    Outcome::Escaped(_) => Outcome::Escaped(format!(
                        "the runner's service answered as '{}'",
                        labels.join(&b'.').escape_ascii()
                    )),
                    other => other,
                }
            }
            Ok(None) => Outcome::Held("there is no such name".to_owned()),
            Err(error) => Outcome::Held(format!("no name server answers: {}", words(&error))),
        }
    });
    Ok(worst(outcomes))
}

/// Whoever gives an address to a name that nobody has, and nothing else to anybody, has asked nobody.
fn tunnel(ctx: &Context) -> Result<Outcome, Skip> {
    let token = ctx.token()?;
    let parent = speech::elsewhere(token);
    let parent = labels(parent.as_bytes());
    let mut outcomes = Vec::new();
    // A, NS, CNAME, SOA, NULL, PTR, HINFO, MX, TXT, AAAA, SRV, NAPTR, HTTPS, ANY, CAA, one that nobody has.
    for kind in [1, 2, 5, 6, 10, 12, 13, 15, 16, 28, 33, 35, 65, 255, 257, 65280] {
        // Data in a label, in many, and in the case of letters.
        let data = format!("{token}{kind:x}");
        let spread = data.as_bytes().chunks(4).map(<[u8]>::to_vec).collect();
        for front in [vec![data.clone().into_bytes()], vec![data.to_uppercase().into_bytes()], spread] {
            let name: Vec<&[u8]> = front.iter().chain(&parent).map(Vec::as_slice).collect();
            outcomes.push(invented(kind, way::look_up(&name, kind)));
        }
        let data = data.into_bytes();
        let name: Vec<&[u8]> = std::iter::once(&data).chain(&parent).map(Vec::as_slice).collect();
        outcomes.push(invented(kind, way::look_up_over_tcp(&name, kind)));
    }
    Ok(worst(outcomes))
}

fn invented(kind: u16, reply: io::Result<Reply>) -> Outcome {
    match (kind, reply) {
        (_, Err(error)) => Outcome::Held(format!("no name server answers: {}", words(&error))),
        (1 | 255, Ok(Reply { code: 0, records: 1, last })) if synthetic(last.into()) => {
            Outcome::Held("the answer is made up".to_owned())
        }
        (1 | 255, Ok(reply)) => Outcome::Escaped(format!("a name that nobody has was looked up: {reply:?}")),
        (_, Ok(Reply { records: 0, .. })) => Outcome::Held("the answer is empty".to_owned()),
        (_, Ok(reply)) => Outcome::Escaped(format!("there are records of type {kind}: {reply:?}")),
    }
}
