//! Hides how bytes pass between two sockets: by splice(2), from socket to pipe to socket, so that they are never copied
//! into this process. A pipe is held only while something is in it.

use crate::{
    later::{GLANCE, Watch},
    meter::{Direction, Meter},
};
use rustix::{
    fd::OwnedFd,
    io::{Errno, retry_on_intr},
    net::{RecvFlags, Shutdown},
    pipe::{PipeFlags, SpliceFlags},
};
use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
};
use tokio::{io::Interest, net::TcpStream};

/// Bytes that pass at once: what a pipe holds.
const CHUNK: usize = 256 * 1024;
/// Bytes that are read where splice(2) stops: fewer than any pipe takes at once.
const PAST: usize = 512;
/// Chunks after which others get their turn.
const TURN: u32 = 16;
/// Empty pipes that are kept for the next who needs one.
const SPARE: usize = 16;
/// Pipes that may be large at once: what is more has the kernel's own size, since all of a user's share one quota.
const LARGE: usize = 32;

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// How many are large, if this one is.
    large: Option<Rc<Cell<usize>>>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(large) = &self.large {
            large.set(large.get() - 1);
        }
    }
}

/// Pipes that nobody uses at the moment.
#[derive(Clone, Default)]
pub(crate) struct Pipes {
    spare: Rc<RefCell<Vec<Pipe>>>,
    large: Rc<Cell<usize>>,
}

impl Pipes {
    fn take(&self) -> io::Result<Pipe> {
        if let Some(pipe) = self.spare.borrow_mut().pop() {
            return Ok(pipe);
        }
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user who has many large pipes may be refused: then it is a small one.
        let large = self.large.get() < LARGE && rustix::pipe::fcntl_setpipe_size(&write, CHUNK).is_ok();
        let large = large.then(|| {
            self.large.set(self.large.get() + 1);
            self.large.clone()
        });
        Ok(Pipe { read, write, large })
    }

    /// Takes back one that is empty.
    fn put(&self, pipe: Pipe) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE {
            spare.push(pipe);
        }
    }
}

/// Passes bytes in both directions until both have ended, each in its own time; those of the server once `gate` says that
/// they may pass, and the client's as long as `watch` says so.
///
/// # Errors
/// If a side broke off, or bytes may not pass.
pub(crate) async fn relay(
    client: &TcpStream,
    server: &TcpStream,
    gate: impl Future<Output = bool>,
    watch: &mut Watch,
    meter: &Meter,
    pipes: &Pipes,
) -> io::Result<()> {
    let out = pass(client, server, Direction::Out, watch, meter, pipes);
    let back = async {
        match gate.await {
            true => pass(server, client, Direction::In, &mut Watch::default(), meter, pipes).await,
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    };
    tokio::try_join!(out, back).map(drop)
}

async fn pass(
    from: &TcpStream,
    to: &TcpStream,
    direction: Direction,
    watch: &mut Watch,
    meter: &Meter,
    pipes: &Pipes,
) -> io::Result<()> {
    let mut turns = 0;
    loop {
        from.readable().await?;
        let permitted = meter.permit(CHUNK).await;
        let pipe = pipes.take()?;
        let filled = from.try_io(Interest::READABLE, || match watch.goes_on() {
            true => look(from, &pipe.write, permitted, watch),
            false => fill(from, &pipe.write, permitted),
        });
        let count = match filled {
            Ok(count) => count,
            Err(error) => {
                meter.count(direction, permitted, 0);
                if error.kind() != io::ErrorKind::WouldBlock {
                    return Err(error);
                }
                pipes.put(pipe);
                continue;
            }
        };
        meter.count(direction, permitted, count);
        if count == 0 {
            pipes.put(pipe);
            // The other side may have gone already, and then nobody needs to be told.
            let _ = rustix::net::shutdown(to, Shutdown::Write);
            return Ok(());
        }
        let mut left = count;
        while left > 0 {
            match to.try_io(Interest::WRITABLE, || splice(&pipe.read, to, left)) {
                Ok(count) => left -= count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                Err(error) => return Err(error),
            }
        }
        pipes.put(pipe);
        turns += 1;
        if turns == TURN {
            turns = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// The same for bytes that are looked at; if they may not pass, they stay in the pipe.
fn look(from: &TcpStream, to: &OwnedFd, most: usize, watch: &mut Watch) -> io::Result<usize> {
    let mut seen = [0; GLANCE];
    let most = most.min(GLANCE);
    let (count, _) = rustix::net::recv(from, &mut seen[..most], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    // None of them is an end.
    let count = if count == 0 { 0 } else { fill(from, to, count)? };
    watch.hear(&seen[..count])?;
    Ok(count)
}

/// Fills an empty pipe with what is there. Where urgent data is next, splice(2) stops as if nothing were there, or all had
/// ended: some bytes are read then, which takes it past them, and only they tell an end.
fn fill(from: &TcpStream, to: &OwnedFd, most: usize) -> io::Result<usize> {
    match splice(from, to, most) {
        Ok(0) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        result => return result,
    }
    let mut next = [0; PAST];
    let most = most.min(PAST);
    let (count, _) = retry_on_intr(|| rustix::net::recv(from, &mut next[..most], RecvFlags::DONTWAIT))?;
    if count > 0 {
        retry_on_intr(|| rustix::io::write(to, &next[..count]))?;
    }
    Ok(count)
}

fn splice(from: impl rustix::fd::AsFd, to: impl rustix::fd::AsFd, most: usize) -> io::Result<usize> {
    loop {
        match rustix::pipe::splice(&from, None, &to, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
