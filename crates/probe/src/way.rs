//! Hides the ways by which a sandbox reaches the one service of the host that it was given, and what is said on them.

use crate::{
    case::{Outcome, Skip, words, worst},
    context::Context,
    speech::{self, Reply, contains},
};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

/// How long anybody is waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Where a sandbox's programs ask for names.
const NAME_SERVER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);
/// How long an answer may be.
const MAX_ANSWER: usize = 256 << 10;

/// A way to the canary of requests.
pub struct Way {
    /// The host, as it was given: an address or a name.
    pub host: String,
    /// Where it listens.
    pub address: SocketAddr,
    named: bool,
    control: bool,
}

impl Way {
    /// By the host's own address, as such.
    pub fn by_address(ctx: &Context) -> Option<Self> {
        let address: SocketAddr = ctx.get("requests_host")?.parse().ok()?;
        Some(Self { host: address.ip().to_string(), address, named: false, control: ctx.control })
    }

    /// By a name that only the host's own list of hosts knows.
    pub fn by_name(ctx: &Context) -> Option<Self> {
        let address = ctx.get("requests_named")?.parse().ok()?;
        Some(Self { host: ctx.get("own_name")?.to_owned(), address, named: true, control: ctx.control })
    }

    /// Those that this host has.
    pub fn all(ctx: &Context) -> Vec<Self> {
        [Self::by_address(ctx), Self::by_name(ctx)].into_iter().flatten().collect()
    }

    /// The host and its port, as a request has it.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.address.port())
    }

    /// The name that TLS is asked for: none of an address.
    pub fn server_name(&self) -> Option<&[u8]> {
        self.named.then_some(self.host.as_bytes())
    }

    fn connect(&self) -> io::Result<TcpStream> {
        match self.named && !self.control {
            true => connect_by_name(&self.host, self.address.port()),
            false => connect(self.address),
        }
    }

    /// What is answered to a message, and perhaps no more of it.
    fn ask(&self, message: &Message) -> io::Result<Vec<u8>> {
        let mut stream = self.connect()?;
        stream.set_nodelay(true)?;
        // Whoever refuses it need not read it to its end.
        let _ = message.pieces.iter().try_for_each(|piece| {
            stream.write_all(piece)?;
            if message.pieces.len() > 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok::<_, io::Error>(())
        });
        if !message.frames {
            let _ = stream.shutdown(Shutdown::Write);
        }
        Ok(hear(stream, |heard| message.frames && ended(heard)))
    }
}

/// The first request of HTTP/2 is done with, or all of them are.
fn ended(heard: &[u8]) -> bool {
    speech::frames(heard).any(|(kind, flags, _)| match kind {
        speech::DATA | speech::HEADERS => flags & speech::END != 0,
        kind => kind == speech::RESET || kind == speech::GO_AWAY,
    })
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Connects to whatever address a name has inside.
pub fn connect_by_name(name: &str, port: u16) -> io::Result<TcpStream> {
    let labels: Vec<&[u8]> = name.trim_end_matches('.').split('.').map(str::as_bytes).collect();
    let address = address(&labels)?.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "the name has no address"))?;
    connect((address, port).into())
}

/// The address of a name that is made of these labels.
pub fn address(labels: &[&[u8]]) -> io::Result<Option<Ipv4Addr>> {
    let reply = look_up(labels, 1)?;
    Ok((reply.code == 0 && reply.records > 0).then(|| reply.last.into()))
}

/// What the name server says.
pub fn look_up(labels: &[&[u8]], kind: u16) -> io::Result<Reply> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(NAME_SERVER)?;
    socket.send(&speech::question(labels, kind))?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer)?;
    Reply::parse(&buffer[..length]).ok_or_else(|| ErrorKind::InvalidData.into())
}

/// The same over TCP.
pub fn look_up_over_tcp(labels: &[&[u8]], kind: u16) -> io::Result<Reply> {
    let mut stream = connect(NAME_SERVER.into())?;
    stream.write_all(&speech::counted(&speech::question(labels, kind)))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Reply::parse(&message).ok_or_else(|| ErrorKind::InvalidData.into())
}

/// All that comes until the end, however that comes, or until it is enough.
pub fn hear(mut stream: impl Read, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while heard.len() < MAX_ANSWER && !enough(&heard) {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
        }
    }
    heard
}

/// Bytes for the canary.
pub struct Message {
    pieces: Vec<Vec<u8>>,
    frames: bool,
}

impl Message {
    /// In one piece.
    pub fn whole(bytes: impl Into<Vec<u8>>) -> Self {
        Self { pieces: vec![bytes.into()], frames: false }
    }

    /// In several.
    pub fn in_pieces(bytes: &[u8], size: usize) -> Self {
        Self { pieces: bytes.chunks(size).map(<[u8]>::to_vec).collect(), frames: false }
    }

    /// In HTTP/2, where the connection goes on after an answer.
    pub fn in_frames(bytes: Vec<u8>) -> Self {
        Self { pieces: vec![bytes], frames: true }
    }
}

/// Sends the canary what it may hear, and then what it may not: as long as the first does not arrive, nothing is shown
/// by the others.
pub fn attempt(
    ctx: &Context,
    way: &Way,
    allowed: &Message,
    attempts: impl IntoIterator<Item = Message>,
) -> Result<Outcome, Skip> {
    let token = ctx.token()?;
    match way.ask(allowed) {
        Err(error) => return Ok(Outcome::Held(format!("no way out: {}: {}", way.authority(), words(&error)))),
        Ok(answer) if !contains(&answer, speech::welcome(token).as_bytes()) => {
            return Err(Skip(format!("what is allowed does not arrive at {}: {}", way.authority(), told(&answer))));
        }
        Ok(_) => {}
    }
    Ok(worst(attempts.into_iter().map(|message| match way.ask(&message) {
        Ok(answer) if contains(&answer, token.as_bytes()) => {
            Outcome::Escaped(format!("it arrived at {}: {}", way.authority(), shown(&message)))
        }
        Ok(answer) => Outcome::Held(told(&answer)),
        Err(error) => Outcome::Held(words(&error)),
    })))
}

/// The beginning of an answer.
fn told(answer: &[u8]) -> String {
    let line = answer.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let reason = answer.windows(22).position(|window| window.eq_ignore_ascii_case(b"x-agentkernel-reason: "));
    let reason = reason.and_then(|at| answer[at + 22..].split(|byte| *byte == b'\r').next());
    match (answer.is_empty(), reason) {
        (true, _) => "no answer".to_owned(),
        (_, Some(reason)) => format!("refused: {}", plain(reason)),
        _ if !line.is_ascii() || line.contains(&0) => format!("answered with {} bytes", answer.len()),
        _ => format!("answered '{}'", plain(line)),
    }
}

fn shown(message: &Message) -> String {
    plain(&message.pieces.concat())
}

fn plain(bytes: &[u8]) -> String {
    bytes.iter().take(160).flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
}

/// Asks for what is elsewhere, and follows.
pub fn redirected(ctx: &Context, way: &Way, request: &str) -> Result<Outcome, Skip> {
    let token = ctx.token()?;
    let answer = match way.ask(&Message::whole(request)) {
        Err(error) => return Ok(Outcome::Held(format!("no way out: {}: {}", way.authority(), words(&error)))),
        Ok(answer) => String::from_utf8_lossy(&answer).into_owned(),
    };
    if answer.contains(token) {
        return Ok(Outcome::Escaped("it was followed outside".to_owned()));
    }
    let place = answer.split("http://").nth(1).and_then(|rest| rest.split('/').next());
    let Some(place) = place.and_then(|place| place.parse().ok()) else {
        return Err(Skip(format!("nothing is redirected: {}", told(answer.as_bytes()))));
    };
    let heard = connect(place).map(|stream| hear(stream, |_| false));
    Ok(match heard {
        Ok(heard) if contains(&heard, token.as_bytes()) => Outcome::Escaped(format!("{place} answered")),
        Ok(heard) => Outcome::Held(told(&heard)),
        Err(error) => Outcome::Held(words(&error)),
    })
}
