//! Connections are handed over, however many come while nobody takes them.

use super::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io::{Read as _, Write as _};
use wire::{flow::Flow as Outgoing, frame::Decoder};

/// More than any flow socket has room for.
const MANY: u16 = 600;

/// Init's end, whose frames `flows` takes at once.
struct Init {
    mux: Mux,
    decoder: Decoder,
}

impl Init {
    fn open(&mut self, handed: &Handed) -> u32 {
        self.mux.open(&wire::encode(handed).unwrap())
    }

    fn deliver(&mut self, flows: &Rc<Flows>) {
        self.decoder.push(self.mux.output());
        self.mux.advance(self.mux.output().len());
        while let Some(frame) = self.decoder.next().unwrap() {
            flows.receive(frame).unwrap();
        }
    }
}

/// Runs what is there to run.
async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

fn flow(port: u16) -> Handed {
    Handed::Flow(Outgoing { host: "example.com".into(), port })
}

fn with_flows(test: impl AsyncFnOnce(Rc<Flows>, Init, OwnedFd)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let flows = Flows::new(Rc::new(super::super::adapter::watched(ours).unwrap()), Rc::default());
        test(flows, Init { mux: Mux::between(Side::Even), decoder: Decoder::default() }, theirs).await;
    });
}

async fn take(egress: &OwnedFd) -> (Handed, Option<OwnedFd>) {
    let mut bytes = [0; wire::flow::MAX_DATAGRAM];
    loop {
        match jail::fd::receive(egress, 1, &mut bytes) {
            Ok((length, mut fds)) => return (wire::decode(&bytes[..length]).unwrap(), fds.pop()),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn more_than_the_socket_has_room_for_wait_their_turn() {
    with_flows(async |flows, mut init, egress| {
        for port in 1..=MANY {
            init.open(&flow(port));
            init.deliver(&flows);
        }
        init.open(&Handed::NotDialled { request: 7, errno: 111 });
        init.deliver(&flows);
        settle().await;
        for port in 1..=MANY {
            let (handed, socket) = take(&egress).await;
            assert_eq!(handed, flow(port));
            assert!(socket.is_some());
        }
        assert!(matches!(take(&egress).await, (Handed::NotDialled { request: 7, errno: 111 }, None)));
    });
}

#[test]
fn what_is_said_while_it_waits_is_not_lost() {
    with_flows(async |flows, mut init, egress| {
        // Nothing more goes in.
        while jail::fd::send(&*flows.egress, &[0; 512], &[]).is_ok() {}
        let stream = init.open(&flow(80));
        assert_eq!(init.mux.data(stream, Channel::Stdin, b"hello"), 5);
        init.mux.eof(stream, Channel::Stdin);
        init.deliver(&flows);
        settle().await;
        let mut bytes = [0; 512];
        while jail::fd::receive(&egress, 0, &mut bytes).is_ok() {}
        let (handed, socket) = take(&egress).await;
        assert_eq!(handed, flow(80));
        let mut socket = std::net::TcpStream::from(socket.unwrap());
        socket.write_all(b"and back").unwrap();
        let mut heard = Vec::new();
        loop {
            let mut bytes = [0; 16];
            match socket.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => heard.extend_from_slice(&bytes[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(heard, b"hello");
    });
}
