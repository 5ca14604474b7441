use super::*;
use crate::{Mode, Policy, Rules, testing::run};
use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, SocketType, bind, connect, listen, socket},
};
use std::net::{IpAddr, TcpListener};
use tokio::time::Instant;

/// These addresses, as a policy admits them for a service at this port.
fn checked(addresses: &[&str], port: u16) -> (Target, Vec<CheckedAddr>) {
    let target = Target::parse(&format!("db.lan:{port}"), None).unwrap();
    let rules = Rules { mode: Mode::Allow, services: vec![target.clone()], ..Rules::default() };
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let admitted = Policy { rules, ceiling: None }.admit(&target, &addresses, |_| false).unwrap();
    assert_eq!(admitted.len(), addresses.len());
    (target, admitted)
}

/// Somebody who answers there, at a port that is free.
fn listener(address: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind((address.parse::<IpAddr>().unwrap(), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Somebody there who answers nobody any more, because too many wait already.
fn silent(address: &str, port: u16) -> Vec<OwnedFd> {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    let own = || socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let full = own();
    bind(&full, &address).unwrap();
    listen(&full, 0).unwrap();
    let waiting = own();
    connect(&waiting, &address).unwrap();
    vec![full, waiting]
}

fn ports(addresses: &[CheckedAddr]) -> Vec<String> {
    addresses.iter().map(|address| address.addr().ip().to_string()).collect()
}

#[test]
fn both_families_are_tried_in_turn_and_the_first_answer_is_first() {
    let mixed = ["2606:4700::1", "2606:4700::2", "2606:4700::3", "1.1.1.1", "1.1.1.2"];
    let order = ["2606:4700::1", "1.1.1.1", "2606:4700::2", "1.1.1.2", "2606:4700::3"];
    assert_eq!(ports(&alternate(&checked(&mixed, 1).1)), order);
    let order = ["1.1.1.1", "2606:4700::1", "2606:4700::2"];
    assert_eq!(ports(&alternate(&checked(&["1.1.1.1", "2606:4700::1", "2606:4700::2"], 1).1)), order);
    assert_eq!(alternate(&[]), []);
    // Of many there are only some, and the other family is among them.
    let many: Vec<String> = (1..=20).map(|last| format!("1.1.1.{last}")).chain(["2606:4700::1".into()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let order = ports(&alternate(&checked(&many, 1).1));
    assert_eq!((order.len(), order[1].as_str()), (MOST, "2606:4700::1"));
}

#[test]
fn an_address_that_refuses_is_passed_over_at_once() {
    run(async {
        let (_listener, port) = listener("127.0.0.1");
        let (target, addresses) = checked(&["127.0.0.2", "127.0.0.3", "127.0.0.1"], port);
        let begun = Instant::now();
        let (stream, address) = dial(&target, &addresses).await.unwrap();
        assert_eq!(address, SocketAddr::new("127.0.0.1".parse().unwrap(), port));
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(begun.elapsed() < STAGGER, "{:?}", begun.elapsed());
    });
}

#[test]
fn an_address_that_is_slow_does_not_keep_the_next_waiting() {
    run(async {
        let (_listener, port) = listener("127.0.0.1");
        let _silent = silent("127.0.0.2", port);
        let (target, addresses) = checked(&["127.0.0.2", "127.0.0.1"], port);
        let begun = Instant::now();
        let (_, address) = dial(&target, &addresses).await.unwrap();
        assert_eq!(address.ip().to_string(), "127.0.0.1");
        assert!(begun.elapsed() >= STAGGER, "the first has its time: {:?}", begun.elapsed());
        // The first that answers is the one, whichever comes after it.
        let (target, addresses) = checked(&["127.0.0.1", "127.0.0.2"], port);
        assert_eq!(dial(&target, &addresses).await.unwrap().1.ip().to_string(), "127.0.0.1");
    });
}

#[test]
fn a_peer_that_is_gone_without_a_word_is_noticed() {
    run(async {
        let (_listener, port) = listener("127.0.0.1");
        let (target, addresses) = checked(&["127.0.0.1"], port);
        let (stream, _) = dial(&target, &addresses).await.unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), AGAIN);
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), UNANSWERED);
    });
}

#[test]
fn where_nobody_answers_it_is_said_why() {
    run(async {
        // A port that was free a moment ago.
        let (listener, port) = listener("127.0.0.1");
        drop(listener);
        let (target, addresses) = checked(&["127.0.0.1", "127.0.0.2"], port);
        let denial = dial(&target, &addresses).await.unwrap_err();
        assert_eq!((denial.reason, denial.detail.as_str()), (Reason::Unreachable, "nothing listens there"));
        assert_eq!(denial.target, target);

        // Not all of very many are tried.
        let many: Vec<String> = (1..=20).map(|last| format!("127.0.0.{last}")).collect();
        let (target, addresses) = checked(&many.iter().map(String::as_str).collect::<Vec<_>>(), port);
        let denial = dial(&target, &addresses).await.unwrap_err();
        assert_eq!(denial.detail, "nothing listens there; 8 of its 20 addresses were tried");

        let _silent = silent("127.0.0.2", port);
        let (target, addresses) = checked(&["127.0.0.2"], port);
        // Whoever waits for nothing else gets to see the end of it.
        tokio::time::pause();
        let begun = Instant::now();
        let denial = dial(&target, &addresses).await.unwrap_err();
        assert_eq!((denial.reason, denial.detail.as_str()), (Reason::Unreachable, "it does not answer"));
        assert!(begun.elapsed() >= PATIENCE);
        assert!(dial(&target, &[]).await.is_err());
    });
}
