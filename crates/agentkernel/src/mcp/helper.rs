//! Where workers come from: a process that was split off before the server had threads, and splits itself for each call.

use super::{
    Starter,
    frames::{self, Frames, Order, Word},
    worker,
};
use crate::client;
use jail::process::{Fork, fork};
use rustix::{
    fd::{AsFd, OwnedFd},
    io::{Errno, retry_on_intr},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{WaitOptions, waitpid},
};
use std::{io, os::unix::net::UnixStream as Socket, process::exit};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// The way to it.
#[derive(Debug)]
pub(super) struct Workers(OwnedFd);

/// A worker at work. It ends when this goes.
#[derive(Debug)]
pub(super) struct Working {
    words: Frames<OwnedReadHalf>,
    leash: Option<OwnedWriteHalf>,
}

impl Workers {
    /// Waits until it has ended, which it does by force alone while there is a way to it. Another can't be split off.
    #[expect(deprecated, reason = "what is unsound are descriptors that are closed early, which an OwnedFd is not")]
    pub(super) fn ended(&self) -> io::Result<impl Future<Output = io::Error> + use<>> {
        // It says nothing by this socket: there is only its end to be read.
        let socket = AsyncFd::with_interest(self.0.try_clone()?, Interest::READABLE)?;
        Ok(async move {
            match socket.readable().await {
                Ok(_) => io::Error::other("The process that does what tools ask for was killed"),
                Err(error) => error,
            }
        })
    }

    /// Has something done.
    pub(super) async fn begin(&self, order: &Order) -> io::Result<Working> {
        let (ours, theirs) = Socket::pair()?;
        jail::fd::send(&self.0, b"!", &[theirs.as_fd()])?;
        drop(theirs);
        ours.set_nonblocking(true)?;
        let (words, mut leash) = UnixStream::from_std(ours)?.into_split();
        frames::tell(&mut leash, order).await?;
        Ok(Working { words: Frames::new(words), leash: Some(leash) })
    }
}

impl Working {
    /// Waits for what it says. Nothing is lost if that is given up.
    pub(super) async fn next(&mut self) -> io::Result<Word> {
        self.words.next().await
    }

    /// Lets what it has made stay.
    pub(super) async fn keep(&mut self) -> io::Result<()> {
        match &mut self.leash {
            Some(leash) => frames::tell(leash, &()).await,
            None => Ok(()),
        }
    }

    /// Has it end what it runs. It still says how that ended.
    pub(super) fn cut(&mut self) {
        // What is not written any more is at its end for who reads.
        self.leash = None;
    }
}

/// Splits the helper off.
pub(super) fn begin(starter: &dyn Starter) -> io::Result<Workers> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    match fork()? {
        Fork::Parent(_) => Ok(Workers(ours)),
        Fork::Child => {
            drop(ours);
            // If that fails, the server sees it with the first call.
            let _ = help(theirs, starter);
            exit(0);
        }
    }
}

fn help(server: OwnedFd, starter: &dyn Starter) -> io::Result<()> {
    // A signal from the server's terminal is the server's: what runs ends with that, and in order.
    jail::process::setsid()?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // Standard output is the protocol's alone.
    jail::process::set_stdio(null.as_fd(), null.as_fd(), io::stderr().as_fd())?;
    drop(null);
    loop {
        let socket = match jail::fd::receive(&server, 1, &mut [0]) {
            Ok((_, mut fds)) => fds.pop(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let Some(socket) = socket else { continue };
        // Twice, so that nobody has to wait for a worker. Without one, its socket ends.
        match fork() {
            Ok(Fork::Parent(between)) => {
                drop(socket);
                match retry_on_intr(|| waitpid(Some(between), WaitOptions::empty())) {
                    Ok(_) | Err(Errno::CHILD) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Ok(Fork::Child) => {
                if let Ok(Fork::Child) = fork() {
                    drop(server);
                    work(socket, starter);
                }
                exit(0);
            }
            Err(_) => {}
        }
    }
}

/// Does what is asked for over a socket.
fn work(socket: OwnedFd, starter: &dyn Starter) {
    let socket = Socket::from(socket);
    // No sandbox holds it.
    client::withhold_descriptors();
    if let Ok(order) = frames::receive::<Order>(&socket) {
        let word = match worker::work(starter, &socket, order) {
            Ok(word) => word,
            Err(failure) => Word::Failed(failure),
        };
        // Nobody may be there to hear it.
        let _ = frames::send(&socket, &word);
    }
}
