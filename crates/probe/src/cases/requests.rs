//! Requests that mean another host than the one that was dialled, or that programs read differently. They are sent to a
//! service of the host that the sandbox may reach, which tells when it hears what is not for it.

use crate::{
    case::{Case, Class::Network, Control, Outcome, Skip},
    context::Context,
    speech,
    way::{self, Message, Way},
};

/// More than is read of a head.
const LONG: usize = 80 << 10;

/// The cases of this kind.
pub const CASES: &[Case] = &[
    Case::new(
        "request-host",
        Network,
        "a request for another host goes to the one that was dialled: domain fronting",
        "MITRE ATT&CK: T1090.004",
        Control::Host,
        |ctx| {
            clear(ctx, |_, there| {
                vec![
                    get(there, ""),
                    get(&there.to_uppercase(), ""),
                    get(&format!("{there}."), ""),
                    get(&format!("{there}:80"), ""),
                    format!("GET / HTTP/1.0\r\nHost: {there}\r\n\r\n"),
                    format!("\r\n\r\nGET / HTTP/1.1\r\nHost: {there}\r\n\r\n"),
                    format!("GET  /  HTTP/1.1\r\nHost: {there}\r\n\r\n"),
                ]
            })
        },
    ),
    Case::new(
        "request-two-hosts",
        Network,
        "a request has a host that is read by policy, and another that is read by servers",
        "RFC 9112: 3.2",
        Control::Host,
        |ctx| {
            clear(ctx, |here, there| {
                vec![
                    get(here, &format!("Host: {there}\r\n")),
                    get(there, &format!("Host: {here}\r\n")),
                    get(here, &format!("host: {there}\r\n")),
                    get(&format!("{here}, {there}"), ""),
                    get(&format!("{here} {there}"), ""),
                    get(&format!("{here}\t{there}"), ""),
                    get(&format!("{there}\0{here}"), ""),
                ]
            })
        },
    ),
    Case::new(
        "request-absolute-form",
        Network,
        "the target of a request names another host than its header",
        "RFC 9112: 3.2.2",
        Control::Host,
        |ctx| {
            clear(ctx, |here, there| {
                vec![
                    to(&format!("http://{there}/"), here),
                    to(&format!("HTTP://{there}/"), here),
                    to(&format!("http://{here}/"), there),
                    to(&format!("https://{there}/"), here),
                    to(&format!("http:/{there}/"), here),
                    to(&format!("ftp://{there}/"), here),
                    to("x:y", there),
                    to(here, there),
                ]
            })
        },
    ),
    Case::new(
        "request-userinfo",
        Network,
        "a host behind what looks like one is read by servers alone",
        "RFC 9110: 4.2.4",
        Control::Host,
        |ctx| {
            clear(ctx, |here, there| {
                vec![
                    get(&format!("{here}@{there}"), ""),
                    get(&format!("{there}@{here}"), ""),
                    get(&format!("{there}#{here}"), ""),
                    get(&format!("{there}/{here}"), ""),
                    to(&format!("http://{here}@{there}/"), here),
                    to(&format!("http://{there}\\@{here}/"), here),
                    to(&format!("http://{there}#@{here}/"), here),
                ]
            })
        },
    ),
    Case::new(
        "request-unclear",
        Network,
        "a header that programs read differently names another host",
        "CVE-2019-16276",
        Control::Host,
        |ctx| {
            clear(ctx, |here, there| {
                [
                    format!("Host : {there}\r\nHost: {here}\r\n"),
                    format!(" Host: {there}\r\nHost: {here}\r\n"),
                    format!("Host: {here}\r\n {there}\r\n"),
                    format!("Host:\r\n {there}\r\n"),
                    format!("Host: {here}\nHost: {there}\r\n"),
                    format!("Host: {here}\rHost: {there}\r\n"),
                    format!("Host:\x0b{there}\r\nHost: {here}\r\n"),
                    format!("X-\0: y\r\nHost: {there}\r\n"),
                ]
                .map(|headers| format!("GET / HTTP/1.1\r\n{headers}\r\n"))
                .into_iter()
                // And lines that only some servers take for the first one of a request.
                .chain(
                    [" GET / ", "GET\x0b/ ", "GET\r/ ", "GET x\x0b"]
                        .map(|line| format!("{line}HTTP/1.1\r\nHost: {there}\r\n\r\n")),
                )
                .collect()
            })
        },
    ),
    Case::new(
        "request-long-head",
        Network,
        "a request's host comes after more than 64 KiB, where nobody looks for it any more",
        "RFC 9110: 5.4",
        Control::Host,
        |ctx| {
            clear(ctx, |here, there| {
                let (long, many) = ("x".repeat(LONG), "X: y\r\n".repeat(LONG / 6));
                let late = |first: &str| format!("GET / HTTP/1.1\r\n{first}X: {long}\r\nHost: {there}\r\n\r\n");
                let here_first = format!("Host: {here}\r\n");
                vec![
                    late(""),
                    late(&here_first),
                    get(here, "") + &late(&here_first),
                    format!("GET / HTTP/1.1\r\n{many}Host: {there}\r\n\r\n"),
                    format!("GET / HTTP/1.1\r\n{here_first}{many}Host: {there}\r\n\r\n"),
                    to(&format!("/{long}"), there),
                    "\r\n".repeat(LONG / 2) + &get(there, ""),
                ]
            })
        },
    ),
    Case::new(
        "request-connect",
        Network,
        "a request makes a tunnel to another host",
        "RFC 9110: 9.3.6",
        Control::Host,
        |ctx| {
            clear(ctx, |here, there| {
                vec![
                    format!("CONNECT {there}:443 HTTP/1.1\r\nHost: {there}:443\r\n\r\n"),
                    format!("CONNECT {there}:443 HTTP/1.1\r\nHost: {here}\r\n\r\n"),
                    format!("connect {there}:443 HTTP/1.1\r\nHost: {here}\r\n\r\n"),
                    format!("CONNECT {here}@{there}:443 HTTP/1.1\r\nHost: {here}\r\n\r\n"),
                    format!("CONNECT {here} HTTP/1.1\r\nHost: {here}\r\n\r\n{}", get(there, "")),
                ]
            })
        },
    ),
    Case::new(
        "request-pipelined",
        Network,
        "the second request of a connection is for another host",
        "RFC 9112: 9.3.2",
        Control::Host,
        |ctx| {
            clear(ctx, |here, there| {
                let second = get(there, "");
                vec![
                    get(here, "") + &second,
                    format!("HEAD / HTTP/1.1\r\nHost: {here}\r\n\r\n{second}"),
                    format!("POST / HTTP/1.1\r\nHost: {here}\r\nContent-Length: 2\r\n\r\nab{second}"),
                    get(here, "Connection: close\r\n") + &second,
                ]
            })
        },
    ),
    Case::new(
        "request-smuggled",
        Network,
        "a request hides in another one's body",
        "CVE-2019-18277",
        Control::Host,
        |ctx| clear(ctx, smuggled),
    ),
    Case::new(
        "request-h2-authority",
        Network,
        "a request in HTTP/2 is for another authority",
        "RFC 9113: 8.3.1",
        Control::Host,
        |ctx| {
            let Some(way) = Way::all(ctx).into_iter().next() else { return Err(nowhere()) };
            let (here, there) = (way.authority(), speech::elsewhere(ctx.token()?));
            let of = |authority: &str, headers: &[(&str, &str)]| {
                Message::in_frames(speech::request_in_frames(authority.as_bytes(), headers))
            };
            let attempts = [
                of(&there, &[]),
                of(&format!("{there}:80"), &[]),
                of(&format!("{there}@{here}"), &[]),
                of(&here, &[("host", &there)]),
                of(&there, &[("host", &here)]),
            ];
            way::attempt(ctx, &way, &of(&here, &[]), attempts)
        },
    ),
    Case::new(
        "request-upgrade",
        Network,
        "a connection becomes a WebSocket that is none, and carries a request for another host",
        "RFC 6455: 4.2.2",
        Control::Host,
        |ctx| {
            clear(ctx, |here, there| {
                let switch = |more: &str| {
                    let begin = format!("GET /switch HTTP/1.1\r\nHost: {here}\r\nUpgrade: websocket\r\n");
                    format!("{begin}Connection: Upgrade\r\n{more}\r\n{}", get(there, ""))
                };
                ["", "Sec-WebSocket-Key: eA==\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"]
                    .map(switch)
                    .into()
            })
        },
    ),
    Case::new(
        "request-redirect",
        Network,
        "an answer sends whoever asked on to another service of the host",
        "RFC 9110: 15.4",
        Control::Host,
        |ctx| {
            let Some(way) = Way::all(ctx).into_iter().next() else { return Err(nowhere()) };
            way::redirected(ctx, &way, &to("/redirect", &way.authority()))
        },
    ),
];

/// Why nothing is shown where there is no way that could be tried.
pub fn nowhere() -> Skip {
    Skip("the host has neither an address nor a name but localhost: a line in /etc/hosts gives it one".to_owned())
}

fn get(host: &str, headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n")
}

fn to(target: &str, host: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Attempts in HTTP without TLS, made of the host that is allowed and the one that is not.
fn clear(ctx: &Context, requests: impl Fn(&str, &str) -> Vec<String>) -> Result<Outcome, Skip> {
    let Some(way) = Way::all(ctx).into_iter().next() else { return Err(nowhere()) };
    let here = way.authority();
    let attempts = requests(&here, &speech::elsewhere(ctx.token()?)).into_iter().map(Message::whole);
    way::attempt(ctx, &way, &Message::whole(get(&here, "")), attempts)
}

fn smuggled(here: &str, there: &str) -> Vec<String> {
    let hidden = get(there, "");
    let framings = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 200",
        "Content-Length: 5\r\nContent-Length: 200",
        "Content-Length: 5, 200",
        "Content-Length: +5",
        "Content-Length : 5",
        "Content-Length: 18446744073709551621",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding:\r\n chunked",
        "X: y\nTransfer-Encoding: chunked",
    ];
    let chunks = ["0x1\r\na\r\n0\r\n\r\n", "1\na\n0\n\n", "1\r\nabc\r\n0\r\n\r\n", "FFFFFFFFFFFFFFFFF\r\n"];
    let post =
        |framing: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: {here}\r\n{framing}\r\n\r\n{body}{hidden}");
    let framings = framings.iter().map(|framing| post(framing, "0\r\n\r\n"));
    framings.chain(chunks.iter().map(|chunks| post("Transfer-Encoding: chunked", chunks))).collect()
}
