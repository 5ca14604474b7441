use super::*;
use crate::{
    Host, Reason, Target,
    control::{FlowEvent, What},
};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use std::{io::Read, os::unix::net::UnixStream as Peer, time::Duration};

/// More than a socket holds.
const MANY: u64 = 20_000;

/// A channel, with the supervisor's end.
fn channel() -> (Channel, Peer) {
    let flags = SocketFlags::CLOEXEC;
    let (own, peer) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    (Channel::new(own).unwrap(), peer.into())
}

fn tell_much(channel: &Channel) {
    for flow in 0..MANY {
        let target = Target { host: Host::Name("example.com".into()), port: 443 };
        let what = What::Refused { reason: Reason::NotAllowed, detail: String::new(), request: None };
        channel.tell(&Event::Flow(FlowEvent { flow, target, what }));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap()
}

/// What is told while an order is waited for is heard without a further word, however slowly.
#[test]
fn nothing_waits_for_the_next_event() {
    let (done, told) = runtime().block_on(async {
        let (channel, mut peer) = channel();
        let supervisor = std::thread::spawn(move || {
            peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let (mut told, mut bytes) = (Vec::new(), [0; 64 * 1024]);
            while events(&told) < MANY {
                let count = peer.read(&mut bytes).expect("the rest is not sent");
                told.extend_from_slice(&bytes[..count]);
            }
            told
        });
        let tell = async {
            // After the other waits.
            tokio::task::yield_now().await;
            tell_much(&channel);
            std::future::pending::<()>().await;
        };
        let done = tokio::select! {
            biased;
            ordered = channel.next() => ordered.is_none(),
            () = tell => false,
        };
        (done, supervisor.join().unwrap())
    });
    assert!(done && events(&told) == MANY);
}

/// How many events these bytes are.
fn events(bytes: &[u8]) -> u64 {
    let (mut decoder, mut mux, mut rest, mut count) = (Decoder::default(), Mux::new(Side::Odd), bytes, 0);
    while !rest.is_empty() {
        let space = decoder.space();
        let length = space.len().min(rest.len());
        space[..length].copy_from_slice(&rest[..length]);
        decoder.filled(length);
        rest = &rest[length..];
        while let Some(frame) = decoder.next().unwrap() {
            count += u64::from(matches!(mux.receive(frame).unwrap(), mux::Event::Message(_)));
        }
    }
    count
}

/// What was told is heard, though the supervisor reads it only after it has said goodbye.
#[test]
fn a_slow_supervisor_hears_all() {
    let told = runtime().block_on(async {
        let (channel, mut peer) = channel();
        tell_much(&channel);
        rustix::net::shutdown(&peer, Shutdown::Write).unwrap();
        assert!(channel.next().await.is_none());
        let supervisor = std::thread::spawn(move || {
            let mut told = Vec::new();
            peer.read_to_end(&mut told).unwrap();
            told
        });
        channel.settle().await;
        drop(channel);
        supervisor.join().unwrap()
    });
    assert_eq!(events(&told), MANY);
}

/// Nobody waits for a supervisor that is gone.
#[test]
fn a_supervisor_that_is_gone() {
    runtime().block_on(async {
        let (channel, peer) = channel();
        tell_much(&channel);
        drop(peer);
        channel.settle().await;
    });
}
