//! Hides how connections travel between egress, which takes sockets, and an init that has none to give: each is an even
//! stream of the link here, and one end of a pair of sockets there.

use super::pair::pair;
use rustix::{fd::AsFd as _, fd::OwnedFd, net::sockopt};
use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc};
use tokio::{net::TcpStream, sync::Notify};
use wire::{
    Channel,
    flow::Handed,
    frame::Frame,
    mux::{Event, Mux, MuxError, Side},
};

/// The connections of a sandbox.
pub struct Flows {
    /// The even half of the link.
    mux: RefCell<Mux>,
    open: RefCell<BTreeMap<u32, Rc<Flow>>>,
    /// Where egress takes them.
    egress: OwnedFd,
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
    pub fn new(egress: OwnedFd, news: Rc<Notify>) -> Rc<Self> {
        let mux = RefCell::new(Mux::between(Side::Odd));
        Rc::new(Self { mux, open: RefCell::default(), egress, news })
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
            Event::Opened { stream, payload } => {
                let begun =
                    wire::decode(&payload).map_err(io::Error::other).and_then(|handed| self.begin(stream, &handed));
                if begun.is_err() {
                    self.mux.borrow_mut().close(stream);
                }
            }
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

    /// Hands a connection over as the socket that it would have been.
    fn begin(self: &Rc<Self>, stream: u32, handed: &Handed) -> io::Result<()> {
        let bytes = wire::encode(handed).map_err(io::Error::other)?;
        if let Handed::NotDialled { .. } = handed {
            jail::fd::send(&self.egress, &bytes, &[])?;
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = pair()?;
        jail::fd::send(&self.egress, &bytes, &[theirs.as_fd()])?;
        let socket = TcpStream::from_std(ours)?;
        let flow = Rc::new(Flow::default());
        self.open.borrow_mut().insert(stream, flow.clone());
        let flows = self.clone();
        tokio::task::spawn_local(async move {
            if flows.carry(stream, &flow, &socket).await.is_ok() {
                // It has ended in good order; if that cannot be set, it is gone already.
                let _ = sockopt::set_socket_linger(&socket, None);
            }
            flows.open.borrow_mut().remove(&stream);
            flows.mux.borrow_mut().close(stream);
            flows.news.notify_one();
        });
        Ok(())
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
