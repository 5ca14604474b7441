//! Hides the few sentences of HTTP/2, TLS and DNS that attempts are made of, and how canaries know them again.
//!
//! Whatever an attempt sends that must not arrive has a sign in it: the name of a host that nothing else has.

/// Characters to which HPACK gives five bits each, in the order of their codes (RFC 7541, appendix B).
const FIVE_BITS: &[u8; 10] = b"012aceiost";
/// What a client of HTTP/2 begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Kinds of frames (RFC 9113, 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
const SETTINGS: u8 = 4;
pub const GO_AWAY: u8 = 7;
/// A frame is its stream's last.
pub const END: u8 = 1;
/// A head goes on in no other frame.
const WHOLE: u8 = 4;

/// The sign of a token: sixteen characters, eighty bits in HPACK's code, so that they are whole bytes there as well.
#[must_use]
pub fn sign(token: &str) -> String {
    let digits = token.chars().filter_map(|char| char.to_digit(16)).take(16);
    digits.map(|digit| char::from(FIVE_BITS[digit as usize % FIVE_BITS.len()])).collect()
}

/// A sign at the beginning of a text in HPACK's code.
#[must_use]
pub fn packed(sign: &str) -> Vec<u8> {
    let code = |byte| FIVE_BITS.iter().position(|own| *own == byte).unwrap_or(0) as u128;
    let bits = sign.bytes().fold(0, |bits, byte| bits << 5 | code(byte));
    bits.to_be_bytes()[16 - 10..].to_vec()
}

/// The name of the host that is nowhere, and may not be asked for.
#[must_use]
pub fn elsewhere(token: &str) -> String {
    format!("{}.test", sign(token))
}

/// What the canary of requests says when it hears what it may hear.
#[must_use]
pub fn welcome(token: &str) -> String {
    format!("welcome, {}", &sign(token)[..8])
}

/// Whether bytes have others among them.
#[must_use]
pub fn contains(bytes: &[u8], sought: &[u8]) -> bool {
    bytes.windows(sought.len()).any(|window| window == sought)
}

/// A frame of HTTP/2.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Settings that leave everything as it is.
#[must_use]
pub fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

/// A whole request in HTTP/2, by the authority alone and as a client's first words.
#[must_use]
pub fn request_in_frames(authority: &[u8], headers: &[(&str, &str)]) -> Vec<u8> {
    // GET, http and / are in the static table; so is the name of the authority, but not its value.
    let mut head = vec![0x82, 0x86, 0x84, 0x01, authority.len() as u8];
    head.extend_from_slice(authority);
    for (name, value) in headers {
        head.push(0);
        for text in [name, value] {
            head.push(text.len() as u8);
            head.extend_from_slice(text.as_bytes());
        }
    }
    [PREFACE, &settings(), &frame(HEADERS, END | WHOLE, 1, &head)].concat()
}

/// An answer in HTTP/2: 200, and this body.
#[must_use]
pub fn answer_in_frames(stream: u32, body: &str) -> Vec<u8> {
    [frame(HEADERS, WHOLE, stream, &[0x88]), frame(DATA, END, stream, body.as_bytes())].concat()
}

/// The whole frames of what was heard: kind, flags and stream.
pub fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (u8, u8, u32)> {
    std::iter::from_fn(move || {
        let &[a, b, c, kind, flags, s0, s1, s2, s3] = bytes.first_chunk::<9>()?;
        let end = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
        bytes = bytes.get(end..)?;
        Some((kind, flags, u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff))
    })
}

/// The first message of TLS, for these servers, with so many protocols to go on with, which make it long.
#[must_use]
pub fn client_hello(names: Option<&[&[u8]]>, random: &[u8], protocols: usize) -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut extension = |kind: u16, content: Vec<u8>| {
        extensions.extend_from_slice(&kind.to_be_bytes());
        extensions.extend(counted(&content));
    };
    if protocols > 0 {
        let names = (0..protocols).map(|number| format!("protocol-{number:020}"));
        let list = names.flat_map(|name| [&[name.len() as u8], name.as_bytes()].concat());
        extension(16, counted(&list.collect::<Vec<_>>()));
    }
    if let Some(names) = names {
        let list = names.iter().flat_map(|name| [&[0], counted(name).as_slice()].concat());
        extension(0, counted(&list.collect::<Vec<_>>()));
    }
    // Groups, the formats of points, signatures, versions: one or two of each.
    extension(10, counted(&[0, 0x1d, 0, 0x17]));
    extension(11, vec![1, 0]);
    extension(13, counted(&[4, 3, 8, 4, 4, 1]));
    extension(43, vec![2, 3, 3]);
    let mut body = vec![3, 3];
    body.extend(random.iter().copied().chain(std::iter::repeat(0)).take(32));
    body.push(0);
    body.extend(counted(&[0xc0, 0x2b, 0xc0, 0x2f, 0, 0x9c]));
    body.extend([1, 0]);
    body.extend(counted(&extensions));
    let length = (body.len() as u32).to_be_bytes();
    [&[1], &length[1..], &body].concat()
}

/// A message of TLS, in records of at most so many bytes.
#[must_use]
pub fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[0x16, 3, 1], counted(part).as_slice()].concat()).collect()
}

/// Bytes after their number, in two bytes.
#[must_use]
pub fn counted(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// A question to a name server.
#[must_use]
pub fn question(labels: &[&[u8]], kind: u16) -> Vec<u8> {
    // An id, "recursion desired", one question.
    let mut message = vec![0x61, 0x6b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        message.push(label.len() as u8);
        message.extend_from_slice(label);
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

/// What a name server has answered: a code, how many records, and the last four bytes, which are the address if there
/// is one record of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u8,
    pub records: u16,
    pub last: [u8; 4],
}

impl Reply {
    /// Reads one; `None` if it is none.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        let &[_, _, _, flags, _, _, high, low, ..] = message.first_chunk::<12>()?;
        Some(Self { code: flags & 15, records: u16::from_be_bytes([high, low]), last: *message.last_chunk()? })
    }
}

#[cfg(test)]
#[path = "speech_tests.rs"]
mod tests;
