//! What the server and its workers say to each other.

use super::roots::Root;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    io::{self, Read, Write},
    path::PathBuf,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use wire::Failure;

/// The most bytes of one frame. What comes from a client is less, and so is what a tool gives back.
const MOST: u32 = 64 << 20;

/// What a worker is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The name of the tool.
    pub(super) tool: String,
    /// What the client gave it.
    pub(super) arguments: Value,
    /// The client's roots.
    pub(super) roots: Vec<Root>,
    /// Whether output is told as it comes.
    pub(super) follow: bool,
    /// What a human has agreed to.
    pub(super) agreed: Option<Question>,
}

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// A program runs, in a sandbox of this project.
    Started(Option<PathBuf>),
    /// It is done, and something is made that stays if the server still wants it: the worker waits for its word, and takes it
    /// back without.
    Made(Value),
    /// It has written this.
    Output(String),
    /// A human must agree to this first. Nothing is done yet.
    Asks(Question),
    /// It is done, with this result.
    Done(Value),
    /// It is not.
    Failed(Failure),
}

/// What a human is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Question {
    /// In words.
    pub(super) text: String,
    /// What a human types who does it without being asked.
    pub(super) command: String,
    /// What it is about: the id of a sandbox, which never is another one's as a name may be, or a project.
    pub(super) about: String,
}

impl Question {
    /// What tells it from every other one. The words may change, as a count of files does.
    pub(super) fn key(&self) -> String {
        format!("{} ({})", self.command, self.about)
    }
}

/// Whether the other side is gone.
fn gone() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn packed<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).ok().filter(|length| *length <= MOST);
    let length = length.ok_or_else(|| io::Error::other("Too much to be told at once"))?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

fn length(header: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(header);
    if length > MOST { Err(gone()) } else { Ok(length as usize) }
}

/// Sends one frame.
pub(super) fn send<T: Serialize>(mut socket: impl Write, message: &T) -> io::Result<()> {
    socket.write_all(&packed(message)?)
}

/// Waits for one frame.
pub(super) fn receive<T: DeserializeOwned>(mut socket: impl Read) -> io::Result<T> {
    let mut header = [0; 4];
    socket.read_exact(&mut header)?;
    let mut frame = vec![0; length(header)?];
    socket.read_exact(&mut frame)?;
    Ok(serde_json::from_slice(&frame)?)
}

/// Sends one frame.
pub(super) async fn tell<T: Serialize>(socket: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    socket.write_all(&packed(message)?).await
}

/// Reads frames; what has come of one is kept if nobody waits for the rest just now.
#[derive(Debug)]
pub(super) struct Frames<R> {
    source: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, buffer: Vec::new() }
    }

    /// Waits for one.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        loop {
            if let Some(header) = self.buffer.first_chunk() {
                let end = 4 + length(*header)?;
                if self.buffer.len() >= end {
                    let message = serde_json::from_slice(&self.buffer[4..end]);
                    self.buffer.drain(..end);
                    return Ok(message?);
                }
            }
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Err(gone());
            }
        }
    }
}
