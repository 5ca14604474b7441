//! Both ends of what is measured: a server that gives and takes as many bytes as it is asked for, a client that asks, and
//! a proxy as they are usually written, which copies.

use anyhow::{Context, Result, bail, ensure};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Bytes that are read and written at once.
const PIECE: usize = 256 * 1024;
/// What the proxy copies at once.
const COPIED: usize = 64 * 1024;
/// The longest request, but for its body.
const HEAD: usize = 4096;

/// What is asked in, which decides what egress does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Speech {
    /// Neither TLS nor HTTP: spliced.
    Raw,
    /// What begins as TLS: spliced when its name was read. Nothing is encrypted, so that the client is no slower.
    Tls,
    /// HTTP in clear: read request by request.
    Http,
}

/// Ask the bench's server for bytes, and print the nanoseconds to the first byte and to the last for each connection
#[derive(clap::Args)]
pub struct Client {
    /// Where the server is
    at: SocketAddr,
    /// What it is called
    name: String,
    /// What to speak
    speech: Speech,
    /// How many bytes
    bytes: u64,
    /// Send them, rather than receive
    #[arg(long)]
    up: bool,
    /// How many connections, one after the other
    #[arg(long, default_value_t = 1)]
    times: usize,
    /// A proxy that is asked to CONNECT
    #[arg(long)]
    through: Option<SocketAddr>,
    /// Keep all connections until standard input ends
    #[arg(long)]
    hold: bool,
}

impl Client {
    pub fn run(&self) -> Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut held = Vec::new();
        let mut out = io::stdout().lock();
        for _ in 0..self.times {
            let (stream, first, last) = self.once(&mut buffer)?;
            writeln!(out, "{} {}", first.as_nanos(), last.as_nanos())?;
            held.extend(Some(stream).filter(|_| self.hold));
        }
        if self.hold {
            out.flush()?;
            io::copy(&mut io::stdin(), &mut io::sink())?;
        }
        Ok(())
    }

    fn once(&self, buffer: &mut [u8]) -> Result<(TcpStream, Duration, Duration)> {
        let start = Instant::now();
        let mut stream = TcpStream::connect(self.through.unwrap_or(self.at))?;
        stream.set_nodelay(true)?;
        if self.through.is_some() {
            stream.write_all(format!("CONNECT {} HTTP/1.1\r\nHost: {}\r\n\r\n", self.at, self.at).as_bytes())?;
            let head = read_head(&mut stream, b"\r\n\r\n")?;
            ensure!(head.starts_with(b"HTTP/1.1 200"), "The proxy refuses");
        }
        stream.write_all(&self.request())?;
        if self.up {
            give(&mut stream, self.bytes, buffer)?;
        }
        let mut count = stream.read(buffer)?;
        let first = start.elapsed();
        let mut length = if self.up { 1 } else { self.bytes };
        if self.speech == Speech::Http {
            let head = buffer[..count].windows(4).position(|window| window == b"\r\n\r\n");
            ensure!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..count]));
            length += head.context("The head of the answer came in pieces")? as u64 + 4;
        }
        let mut left = length;
        while left > 0 {
            ensure!(count > 0, "The connection ended {left} bytes early");
            left = left.checked_sub(count as u64).context("More came than was asked for")?;
            if left > 0 {
                count = stream.read(buffer)?;
            }
        }
        Ok((stream, first, start.elapsed()))
    }

    fn request(&self) -> Vec<u8> {
        let (word, method) = if self.up { ("up", "PUT") } else { ("down", "GET") };
        let (bytes, name, port) = (self.bytes, &self.name, self.at.port());
        let line = format!("{word} {bytes}\n").into_bytes();
        match self.speech {
            Speech::Raw => line,
            Speech::Tls => [hello(name), line].concat(),
            Speech::Http => {
                let length = if self.up { format!("Content-Length: {bytes}\r\n") } else { String::new() };
                format!("{method} /{bytes} HTTP/1.1\r\nHost: {name}:{port}\r\n{length}\r\n").into_bytes()
            }
        }
    }
}

/// The record with which TLS begins (RFC 8446, 4.1.2), for this server.
fn hello(name: &str) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let extension = |kind: u16, content: &[u8]| [&kind.to_be_bytes()[..], &sized(content)].concat();
    let extensions = [
        extension(0, &sized(&[&[0][..], &sized(name.as_bytes())].concat())),
        extension(10, &sized(&[0, 0x1d])),
        extension(13, &sized(&[4, 3])),
        extension(43, &[2, 3, 4]),
    ];
    let random = [7; 32];
    let body = [&[3, 3][..], &random, &[0], &sized(&[0x13, 1]), &[1, 0], &sized(&extensions.concat())].concat();
    let message = [&[1, 0][..], &sized(&body)].concat();
    [&[0x16, 3, 1][..], &sized(&message)].concat()
}

/// Reads up to an end, and nothing of what follows.
fn read_head(stream: &mut TcpStream, end: &[u8]) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut peeked = [0; HEAD];
    loop {
        let count = stream.peek(&mut peeked)?;
        if count == 0 || head.len() > HEAD {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = head.len();
        head.extend_from_slice(&peeked[..count]);
        let found = head.windows(end.len()).position(|window| window == end).map(|at| at + end.len());
        let taken = found.unwrap_or(head.len()) - before;
        stream.read_exact(&mut peeked[..taken])?;
        if let Some(length) = found {
            head.truncate(length);
            return Ok(head);
        }
    }
}

fn give(stream: &mut TcpStream, mut bytes: u64, buffer: &[u8]) -> io::Result<()> {
    while bytes > 0 {
        let piece = buffer.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        stream.write_all(&buffer[..piece])?;
        bytes -= piece as u64;
    }
    Ok(())
}

/// Serves until this process ends.
pub fn serve(listener: &TcpListener) {
    each(listener, answer);
}

/// Each connection in a thread of its own.
fn each(listener: &TcpListener, serve: fn(TcpStream) -> Result<()>) {
    for stream in listener.incoming().flatten() {
        // Whoever asked sees how it ended.
        thread::spawn(move || serve(stream));
    }
}

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; 5];
    stream.peek(&mut first[..1])?;
    if first[0] == 0x16 {
        stream.read_exact(&mut first)?;
        let mut hello = vec![0; usize::from(u16::from_be_bytes([first[3], first[4]]))];
        stream.read_exact(&mut hello)?;
        stream.peek(&mut first[..1])?;
    }
    let http = first[0].is_ascii_uppercase();
    let head = read_head(&mut stream, if http { b"\r\n\r\n" } else { b"\n" })?;
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    let (Some(word), Some(bytes)) = (words.next(), words.next()) else { bail!("No request") };
    let (up, bytes) = (matches!(word, "up" | "PUT"), bytes.trim_start_matches('/').parse::<u64>()?);
    let mut buffer = vec![0; PIECE.min(usize::try_from(bytes)?).max(1)];
    let mut left = if up { bytes } else { 0 };
    while left > 0 {
        let count = stream.read(&mut buffer)? as u64;
        ensure!(count > 0 && count <= left, "Not what was said");
        left -= count;
    }
    let length = if up { 1 } else { bytes };
    if http {
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
    }
    give(&mut stream, length, &buffer)?;
    // Whoever keeps the connection may have it.
    io::copy(&mut stream, &mut io::sink())?;
    Ok(())
}

/// Serves CONNECT until this process ends: a thread for each direction, which reads and writes.
pub fn proxy(listener: &TcpListener) {
    each(listener, tunnel);
}

fn tunnel(mut client: TcpStream) -> Result<()> {
    let head = read_head(&mut client, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&head);
    let address: SocketAddr = head.split(' ').nth(1).context("No CONNECT")?.parse()?;
    let server = TcpStream::connect(address)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let other = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || copy(other.1, other.0));
    copy(client, server)?;
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    // Not io::copy, which would splice.
    let mut buffer = vec![0; COPIED];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.shutdown(Shutdown::Write),
            count => to.write_all(&buffer[..count])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_speech_is_understood_directly_and_through_the_proxy() {
        let [server, between] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [at, through] = [&server, &between].map(|listener| listener.local_addr().unwrap());
        thread::spawn(move || serve(&server));
        thread::spawn(move || proxy(&between));
        for speech in [Speech::Raw, Speech::Tls, Speech::Http] {
            for (up, through) in [(false, None), (true, None), (false, Some(through)), (true, Some(through))] {
                let name = "bench.example.com".to_owned();
                let client = Client { at, name, speech, bytes: 3_000_001, up, times: 1, through, hold: false };
                let (_, first, last) = client.once(&mut vec![0; PIECE]).unwrap();
                assert!(first <= last && !first.is_zero());
            }
        }
    }
}
