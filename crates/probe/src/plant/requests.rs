//! The canary of requests: what it hears must be for it. It answers in the language that it is spoken to.

use crate::speech::{self, PREFACE, contains};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd},
};

/// Connections at once, and bytes of each: more is not meant for it.
const MAX_PEERS: usize = 64;
const MAX_BYTES: usize = 256 << 10;

/// One canary with several addresses.
pub struct Requests {
    listeners: Vec<TcpListener>,
    peers: Vec<Peer>,
    words: Words,
    heard: bool,
}

struct Words {
    /// The sign of what it must not hear, plain and packed.
    signs: [Vec<u8>; 2],
    welcome: String,
    token: String,
    /// Where a request for `/redirect` is sent.
    elsewhere: String,
}

impl Requests {
    pub fn new(token: &str) -> Self {
        let sign = speech::sign(token);
        let words = Words {
            signs: [sign.clone().into_bytes(), speech::packed(&sign)],
            welcome: speech::welcome(token),
            token: token.to_owned(),
            elsewhere: String::new(),
        };
        Self { listeners: Vec::new(), peers: Vec::new(), words, heard: false }
    }

    /// Listens at one more address, on any port.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        self.listeners.push(listener);
        Ok(bound)
    }

    /// Whether requests for `/redirect` lead anywhere.
    pub fn redirects(&self) -> bool {
        !self.words.elsewhere.is_empty()
    }

    /// Sends requests for `/redirect` on to this address.
    pub fn redirect(&mut self, to: SocketAddr) {
        self.words.elsewhere = to.to_string();
    }

    /// What tells that there is something to hear.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().map(AsFd::as_fd).chain(self.peers.iter().map(|peer| peer.stream.as_fd()))
    }

    /// Hears and answers whoever has something to say.
    pub fn serve(&mut self) {
        for listener in &self.listeners {
            while let Ok((stream, _)) = listener.accept() {
                if stream.set_nonblocking(true).is_err() {
                    continue;
                }
                if self.peers.len() >= MAX_PEERS {
                    self.peers.remove(0);
                }
                self.peers.push(Peer { stream, said: Vec::new(), greeted: false, answered: 0, told: false });
            }
        }
        let words = &self.words;
        self.peers.retain_mut(|peer| {
            let told = peer.told;
            let open = peer.hear();
            let answer = peer.answer(words);
            let written = peer.stream.write_all(&answer).is_ok();
            self.heard |= peer.told && !told;
            open && written
        });
    }

    /// Whether it has heard what it must not hear, since the last time.
    pub fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }
}

struct Peer {
    stream: TcpStream,
    said: Vec<u8>,
    /// Settings were sent.
    greeted: bool,
    answered: usize,
    /// The token was sent.
    told: bool,
}

impl Peer {
    /// Reads what there is; whether more may come.
    fn hear(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.said.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock && self.said.len() < MAX_BYTES,
            }
        }
    }

    /// What there is to say now.
    fn answer(&mut self, words: &Words) -> Vec<u8> {
        let found = words.signs.iter().any(|sign| contains(&self.said, sign));
        let word = if found { &words.token } else { &words.welcome };
        let mut answer = Vec::new();
        let mut due = 0;
        match self.said.strip_prefix(PREFACE) {
            Some(rest) => {
                if !self.greeted {
                    self.greeted = true;
                    answer.extend(speech::settings());
                }
                for (_, _, stream) in speech::frames(rest).filter(|(kind, ..)| *kind == speech::HEADERS) {
                    due += 1;
                    if due > self.answered {
                        answer.extend(speech::answer_in_frames(stream, word));
                    }
                }
            }
            // TLS: the word alone, as it is.
            None if self.said.first() == Some(&0x16) => {
                due = 1;
                if self.answered == 0 {
                    answer.extend_from_slice(word.as_bytes());
                }
            }
            None if PREFACE.starts_with(&self.said) => {}
            None => {
                due = self.said.windows(4).filter(|window| window == b"\r\n\r\n").count();
                // One that servers would still take for the end of a request, if they were lenient.
                due = due.max(usize::from(found));
                for _ in self.answered..due {
                    answer.extend(in_clear(word, &self.said, words));
                }
            }
        }
        // Of a message that was answered before it was heard whole.
        if found && !self.told && !answer.windows(words.token.len()).any(|window| window == words.token.as_bytes()) {
            answer.extend(in_clear(&words.token, &[], words));
        }
        self.told |= found;
        self.answered = self.answered.max(due);
        answer
    }
}

fn in_clear(word: &str, said: &[u8], words: &Words) -> Vec<u8> {
    let line = if contains(said, b"GET /redirect ") {
        format!("302 Found\r\nLocation: http://{}/", words.elsewhere)
    } else if contains(said, b"GET /switch ") {
        // As a server may that gives any status that it is asked for.
        return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_vec();
    } else {
        "200 OK".to_owned()
    };
    format!("HTTP/1.1 {line}\r\nContent-Length: {}\r\n\r\n{word}", word.len()).into_bytes()
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
