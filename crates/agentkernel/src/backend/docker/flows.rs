//! Hides how connections travel between egress, which takes sockets, and an init that has none to give: each is an even
//! stream of the link here, and one end of a pair of sockets there.

use super::pair::pair;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    net::sockopt,
};
use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc, time::Duration};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpStream,
    sync::{Mutex, Notify},
};
use wire::{
    Channel,
    flow::Handed,
    frame::Frame,
    mux::{Event, Mux, MuxError, Side},
};

/// How long nothing is handed over after descriptors ran out.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections of a sandbox.
pub struct Flows {
    /// The even half of the link.
    mux: RefCell<Mux>,
    open: RefCell<BTreeMap<u32, Rc<Flow>>>,
    /// Where egress takes them, when it comes to it.
    egress: Rc<AsyncFd<OwnedFd>>,
    /// Whose turn it is to be handed over: the others wait, in their order.
    turn: Mutex<()>,
    /// Something is to be sent to init.
    pub news: Rc<Notify>,
}

/// One connection.
#[derive(Default)]
struct Flow {
    state: RefCell<State>,
    /// Its state is another.
    news: Notify,
}

#[derive(Default)]
struct State {
    /// For the socket.
    queue: Vec<u8>,
    /// Nothing more comes from init.
    eof: bool,
    /// Init is done with it.
    closed: bool,
}

impl Flows {
    pub fn new(egress: Rc<AsyncFd<OwnedFd>>, news: Rc<Notify>) -> Rc<Self> {
        let mux = RefCell::new(Mux::between(Side::Odd));
        Rc::new(Self { mux, open: RefCell::default(), egress, turn: Mutex::default(), news })
    }

    /// Takes what is queued for init: whole frames.
    pub fn take_output(&self, to: &mut Vec<u8>) {
        let mut mux = self.mux.borrow_mut();
        to.extend_from_slice(mux.output());
        let count = mux.output().len();
        mux.advance(count);
    }

    /// Takes a frame of an even stream.
    ///
    /// # Errors
    /// [`MuxError`] if init breaks a rule.
    pub fn receive(self: &Rc<Self>, frame: Frame<'_>) -> Result<(), MuxError> {
        let event = self.mux.borrow_mut().receive(frame)?;
        match event {
            Event::Opened { stream, payload } => match wire::decode::<Handed>(&payload) {
                Ok(handed) => self.begin(stream, handed),
                Err(_) => self.mux.borrow_mut().close(stream),
            },
            Event::Data { stream, bytes, .. } => self.change(stream, |state| state.queue.extend_from_slice(bytes)),
            Event::Eof { stream, channel: Channel::Stdin } => self.change(stream, |state| state.eof = true),
            Event::Writable { stream } => self.change(stream, |_| ()),
            Event::Closed { stream } => {
                self.change(stream, |state| state.closed = true);
                // If it is closed here already, or never was carried, that was the last of it.
                if !self.open.borrow().contains_key(&stream) {
                    self.mux.borrow_mut().close(stream);
                }
            }
            // Nobody says anything else about a connection.
            _ => {}
        }
        self.news.notify_one();
        Ok(())
    }

    /// Lets a connection know of something. One that is closed here already wants to know nothing.
    fn change(&self, stream: u32, change: impl FnOnce(&mut State)) {
        if let Some(flow) = self.open.borrow().get(&stream) {
            change(&mut flow.state.borrow_mut());
            flow.news.notify_one();
        }
    }

    /// Takes a connection, which is carried once it is handed over.
    fn begin(self: &Rc<Self>, stream: u32, handed: Handed) {
        let flow = Rc::new(Flow::default());
        self.open.borrow_mut().insert(stream, flow.clone());
        let flows = self.clone();
        tokio::task::spawn_local(async move {
            if let Ok(Some(socket)) = flows.hand_over(&handed).await
                && flows.carry(stream, &flow, &socket).await.is_ok()
            {
                // It has ended in good order; if that cannot be set, it is gone already.
                let _ = sockopt::set_socket_linger(&socket, None);
            }
            flows.open.borrow_mut().remove(&stream);
            flows.mux.borrow_mut().close(stream);
            flows.news.notify_one();
        });
    }

    /// Hands a connection over as the socket that it would have been, once there is room for it, and gives its other end.
    /// What was not dialled has none.
    async fn hand_over(&self, handed: &Handed) -> io::Result<Option<TcpStream>> {
        let bytes = wire::encode(handed).map_err(io::Error::other)?;
        let _turn = self.turn.lock().await;
        loop {
            match self.send(&bytes, !matches!(handed, Handed::NotDialled { .. })).await {
                Err(error) if jail::fd::is_exhausted(&error) => tokio::time::sleep(PAUSE).await,
                sent => return sent,
            }
        }
    }

    async fn send(&self, bytes: &[u8], dialled: bool) -> io::Result<Option<TcpStream>> {
        let (ours, theirs) = dialled.then(pair).transpose()?.unzip();
        let fds: Vec<_> = theirs.iter().map(|theirs| theirs.as_fd()).collect();
        self.egress.async_io(Interest::WRITABLE, |egress| jail::fd::send(egress, bytes, &fds)).await?;
        ours.map(TcpStream::from_std).transpose()
    }

    /// Carries bytes until both directions have ended.
    ///
    /// # Errors
    /// If it breaks off.
    async fn carry(&self, stream: u32, flow: &Flow, socket: &TcpStream) -> io::Result<()> {
        let mut scratch = vec![0; 64 * 1024];
        let (mut read_all, mut written_all) = (false, false);
        loop {
            let (pending, eof, closed) = {
                let state = flow.state.borrow();
                (!state.queue.is_empty(), state.eof, state.closed)
            };
            if eof && !pending && !written_all {
                rustix::net::shutdown(socket, rustix::net::Shutdown::Write)?;
                written_all = true;
            }
            if read_all && written_all {
                return Ok(());
            }
            if closed && !(read_all && eof) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let credit = self.mux.borrow().credit(stream).min(scratch.len());
            tokio::select! {
                () = flow.news.notified() => {}
                ready = socket.readable(), if !read_all && credit > 0 => {
                    ready?;
                    match socket.try_read(&mut scratch[..credit]) {
                        Ok(0) => {
                            read_all = true;
                            self.mux.borrow_mut().eof(stream, Channel::Stdout);
                            self.news.notify_one();
                        }
                        Ok(count) => {
                            // There was credit for all of it.
                            let _ = self.mux.borrow_mut().data(stream, Channel::Stdout, &scratch[..count]);
                            self.news.notify_one();
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
                ready = socket.writable(), if pending => {
                    ready?;
                    let mut state = flow.state.borrow_mut();
                    match socket.try_write(&state.queue) {
                        Ok(count) => {
                            state.queue.drain(..count);
                            self.mux.borrow_mut().consumed(stream, count);
                            self.news.notify_one();
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "flows_tests.rs"]
mod tests;
