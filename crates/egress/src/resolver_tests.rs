use super::*;
use crate::answer::tests::reply;
use simple_dns::{Packet, QTYPE, RCODE, TYPE};
use std::sync::atomic::AtomicUsize;
use tokio::net::TcpListener;

/// A question that a server was asked.
struct Asked {
    id: u16,
    name: String,
    family: Family,
    tcp: bool,
    message: Vec<u8>,
}

impl Asked {
    fn read(message: &[u8], tcp: bool) -> Self {
        let packet = Packet::parse(message).unwrap();
        let [question] = &packet.questions[..] else { panic!() };
        let family = if question.qtype == QTYPE::TYPE(TYPE::A) { Family::V4 } else { Family::V6 };
        Self { id: packet.id(), name: question.qname.to_string(), family, tcp, message: message.to_vec() }
    }

    fn reply(&self, code: RCODE, records: &[&str]) -> Vec<u8> {
        let records: Vec<String> = records.iter().map(ToString::to_string).collect();
        reply(self.id, &self.name, self.family, code, &records)
    }

    /// These records of its family, for its name.
    fn found(&self, seconds: u32, addresses: &[&str]) -> Vec<u8> {
        let ours = addresses.iter().filter(|address| address.contains(':') == (self.family == Family::V6));
        let records: Vec<String> = ours.map(|address| format!("{} {seconds} {address}", self.name)).collect();
        reply(self.id, &self.name, self.family, RCODE::NoError, &records)
    }
}

/// A name server on the loopback address, and how many questions it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// One that says these messages to each question.
    async fn start(says: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let (asked, says) = (Arc::new(AtomicUsize::new(0)), Arc::new(says));
        let (count, say) = (asked.clone(), says.clone());
        tokio::spawn(async move {
            // What another socket sends does not even arrive, even if it knows all.
            let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let mut buffer = [0; 1024];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                count.fetch_add(1, Relaxed);
                let asked = Asked::read(&buffer[..length], false);
                stranger.send_to(&asked.found(60, &["6.6.6.6", "2001:db8::6"]), from).await.unwrap();
                for message in say(&asked) {
                    udp.send_to(&message, from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let mut message = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut message).await.unwrap();
                for message in says(&Asked::read(&message, true)) {
                    let length = u16::try_from(message.len()).unwrap();
                    stream.write_all(&[&length.to_be_bytes(), &message[..]].concat()).await.unwrap();
                }
            }
        });
        Self { address, asked }
    }

    /// One that knows these addresses of every name.
    async fn with(seconds: u32, addresses: &'static [&'static str]) -> Self {
        Self::start(move |asked| vec![asked.found(seconds, addresses)]).await
    }

    async fn saying(code: RCODE) -> Self {
        Self::start(move |asked| vec![asked.reply(code, &[])]).await
    }

    async fn silent() -> Self {
        Self::start(|_| Vec::new()).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }
}

fn resolver(servers: &[&Server]) -> Resolver {
    let servers = servers.iter().map(|server| server.address).collect();
    Resolver { patience: Duration::from_millis(400), ..Resolver::new(control::Resolver { servers, hosts: Vec::new() }) }
}

async fn found(resolver: &Resolver, name: &str) -> String {
    match resolver.lookup(name).await {
        Ok(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Err(error) => format!("{error:?}"),
    }
}

#[tokio::test]
async fn both_families_are_asked_for_at_once() {
    let server = Server::with(60, &["2001:db8::1", "192.0.2.1", "192.0.2.2"]).await;
    let resolver = resolver(&[&server]);
    assert_eq!(found(&resolver, "a.example").await, "192.0.2.1 192.0.2.2 2001:db8::1");
    assert_eq!(server.asked(), 2);
    // Remembered, in every spelling.
    assert_eq!(found(&resolver, "A.example.").await, "192.0.2.1 192.0.2.2 2001:db8::1");
    assert_eq!(server.asked(), 2);
    assert_eq!(found(&resolver, "b.example").await, "192.0.2.1 192.0.2.2 2001:db8::1");
    assert_eq!(server.asked(), 4);
}

#[tokio::test]
async fn other_servers_are_asked_from_the_moment_that_they_are_told() {
    let (one, other) = (Server::with(60, &["192.0.2.1"]).await, Server::with(60, &["192.0.2.2"]).await);
    let resolver = resolver(&[&one]);
    assert_eq!(found(&resolver, "a.example").await, "192.0.2.1");
    let config = |server: &Server| control::Resolver { servers: vec![server.address], hosts: Vec::new() };
    // The same again: what is known stays.
    resolver.set(config(&one));
    assert_eq!(found(&resolver, "a.example").await, "192.0.2.1");
    assert_eq!(one.asked(), 2);
    resolver.set(config(&other));
    assert_eq!(found(&resolver, "a.example").await, "192.0.2.2");
}

#[tokio::test]
async fn those_who_ask_for_the_same_name_share_the_answer() {
    let server = Server::with(60, &["192.0.2.1"]).await;
    let resolver = resolver(&[&server]);
    let (one, other, third) =
        tokio::join!(found(&resolver, "a.example"), found(&resolver, "a.example"), found(&resolver, "A.EXAMPLE"));
    assert_eq!([one, other, third], ["192.0.2.1"; 3]);
    assert_eq!(server.asked(), 2);
    // They may live on any thread.
    fn is_send(_: &impl Send) {}
    is_send(&resolver.lookup("c.example"));
    // Who gives up takes nothing from the others.
    let (_, other) =
        tokio::join!(timeout(Duration::ZERO, found(&resolver, "b.example")), found(&resolver, "b.example"));
    assert_eq!(other, "192.0.2.1");
}

#[tokio::test]
async fn answers_are_remembered_for_as_long_as_they_hold() {
    let server = Server::with(0, &["192.0.2.1"]).await;
    let resolver = resolver(&[&server]);
    let until =
        |entry: &Arc<Entry>| entry.get().unwrap().1.saturating_duration_since(Instant::now()).as_secs_f64().ceil();
    for (name, seconds, expected) in [
        ("zero.example", 0, 1.0),
        ("some.example", 20, 20.0),
        ("long.example", 86_400, 60.0),
        ("most.example", u32::MAX, 60.0),
    ] {
        let server = Server::with(seconds, &["192.0.2.1"]).await;
        let resolver = self::resolver(&[&server]);
        found(&resolver, name).await;
        assert_eq!(until(&resolver.entry(name)), expected, "{name}");
    }
    let none = Server::saying(RCODE::NameError).await;
    let none = self::resolver(&[&none]);
    found(&none, "none.example").await;
    assert_eq!(until(&none.entry("none.example")), 1.0);
    found(&resolver, "a.example").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    found(&resolver, "a.example").await;
    assert_eq!(server.asked(), 4);
}

#[tokio::test]
async fn no_more_names_are_remembered_than_there_is_room_for() {
    let server = Server::with(60, &["192.0.2.1"]).await;
    let resolver = resolver(&[&server]);
    found(&resolver, "a.example").await;
    let asked: Vec<_> = (0..3 * MAX_NAMES).map(|number| resolver.entry(&format!("n{number}.example"))).collect();
    assert_eq!(resolver.names.lock().unwrap().len(), MAX_NAMES);
    // Those that are being asked for stay, and a name beyond is looked up all the same.
    assert!(Arc::ptr_eq(&asked[0], &resolver.entry("n0.example")));
    assert_eq!(found(&resolver, "beyond.example").await, "192.0.2.1");
}

#[tokio::test]
async fn what_strangers_say_is_not_believed() {
    let evil = |asked: &Asked| format!("{} 60 6.6.6.6", asked.name);
    let server = Server::start(move |asked| {
        let other = reply(asked.id, "b.example", asked.family, RCODE::NoError, &["b.example 60 6.6.6.6".to_owned()]);
        let family = if asked.family == Family::V4 { Family::V6 } else { Family::V4 };
        vec![
            reply(asked.id.wrapping_add(1), &asked.name, asked.family, RCODE::NoError, &[evil(asked)]),
            reply(asked.id.swap_bytes() ^ 1, &asked.name, asked.family, RCODE::NameError, &[]),
            other,
            reply(asked.id, &asked.name, family, RCODE::NoError, &[evil(asked)]),
            asked.message.clone(),
            b"garbage".to_vec(),
            Vec::new(),
            asked.found(60, &["192.0.2.1"]),
        ]
    })
    .await;
    assert_eq!(found(&resolver(&[&server]), "a.example").await, "192.0.2.1");
}

#[tokio::test]
async fn whoever_guesses_gets_no_further_than_a_few_tries() {
    let server = Server::start(|asked| {
        if asked.tcp {
            return vec![asked.found(60, &["192.0.2.1"])];
        }
        let guess = |id: u16| {
            reply(asked.id ^ id, &asked.name, asked.family, RCODE::NoError, &[format!("{} 60 6.6.6.6", asked.name)])
        };
        (1..=8).chain([0]).map(guess).collect()
    })
    .await;
    assert_eq!(found(&resolver(&[&server]), "a.example").await, "192.0.2.1");
}

#[tokio::test]
async fn what_is_too_long_for_udp_is_asked_by_tcp() {
    let server = Server::start(|asked| {
        if asked.tcp {
            let many: Vec<String> = (0..255).map(|last| format!("192.0.2.{last}")).collect();
            return vec![asked.found(60, &many.iter().map(String::as_str).collect::<Vec<_>>())];
        }
        // Cut within a record, as servers do.
        let mut cut = asked.found(60, &["6.6.6.6"]);
        cut[2] |= 2;
        cut.truncate(30);
        vec![cut]
    })
    .await;
    assert_eq!(resolver(&[&server]).lookup("a.example").await.unwrap().len(), 64);
    // Cut again: the next server.
    let cut = Server::start(move |asked| {
        let mut message = asked.found(60, &["6.6.6.6"]);
        message[2] |= 2;
        vec![message]
    })
    .await;
    let good = Server::with(60, &["192.0.2.1"]).await;
    assert_eq!(found(&resolver(&[&cut, &good]), "a.example").await, "192.0.2.1");
}

#[tokio::test]
async fn garbage_by_tcp_is_no_answer() {
    for garbage in [Vec::new(), vec![0], vec![0xff; 12], vec![0xff; 60_000]] {
        let server = Server::start(move |asked| {
            let mut cut = asked.found(60, &[]);
            cut[2] |= 2;
            vec![if asked.tcp { garbage.clone() } else { cut }]
        })
        .await;
        assert_eq!(found(&resolver(&[&server]), "a.example").await, "NoAnswer");
    }
}

#[tokio::test]
async fn servers_are_asked_in_turn() {
    let good = Server::with(60, &["192.0.2.1"]).await;
    for bad in [
        Server::silent().await,
        Server::saying(RCODE::ServerFailure).await,
        Server::saying(RCODE::Refused).await,
        Server::saying(RCODE::FormatError).await,
        Server::start(|asked| vec![[&asked.id.to_be_bytes()[..], b"\x80\0garbage, garbage"].concat()]).await,
        Server::start(|asked| vec![asked.reply(RCODE::NoError, &[&format!("{0} 1 {0}", asked.name)])]).await,
    ] {
        let resolver = resolver(&[&bad, &good]);
        assert_eq!(found(&resolver, "a.example").await, "192.0.2.1");
        assert!(bad.asked() > 0);
        // Who answered last is asked first.
        let before = bad.asked();
        assert_eq!(found(&resolver, "b.example").await, "192.0.2.1");
        assert_eq!(bad.asked(), before);
    }
    // Nobody listens there: that is told at once.
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let servers = vec![closed, good.address];
    let resolver = Resolver::new(control::Resolver { servers, hosts: Vec::new() });
    let start = Instant::now();
    assert_eq!(found(&resolver, "a.example").await, "192.0.2.1");
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn that_there_is_no_such_host_is_final() {
    let good = Server::with(60, &["192.0.2.1"]).await;
    for none in [Server::saying(RCODE::NameError).await, Server::saying(RCODE::NoError).await] {
        let resolver = resolver(&[&none, &good]);
        assert_eq!(found(&resolver, "a.example").await, "NoSuchHost");
        assert_eq!((none.asked(), good.asked()), (2, 0));
        assert_eq!(found(&resolver, "a.example").await, "NoSuchHost");
        assert_eq!(none.asked(), 2);
    }
    // Some say so of one family alone.
    let half = Server::start(|asked| match asked.family {
        Family::V4 => vec![asked.found(60, &["192.0.2.1"])],
        Family::V6 => vec![asked.reply(RCODE::NameError, &[])],
    })
    .await;
    assert_eq!(found(&resolver(&[&half]), "a.example").await, "192.0.2.1");
}

#[tokio::test]
async fn where_nobody_answers_there_is_no_answer() {
    let servers = [Server::silent().await, Server::saying(RCODE::ServerFailure).await];
    let resolver = resolver(&[&servers[0], &servers[1]]);
    let start = Instant::now();
    assert_eq!(found(&resolver, "a.example").await, "NoAnswer");
    assert!(start.elapsed() < Duration::from_secs(5));
    // Each twice, for both families.
    assert_eq!((servers[0].asked(), servers[1].asked()), (4, 4));
    assert_eq!(found(&self::resolver(&[]), "a.example").await, "NoAnswer");
    // Nothing said of one family says nothing of the other.
    let half = Server::start(|asked| match asked.family {
        Family::V4 => Vec::new(),
        Family::V6 => vec![asked.found(60, &[])],
    })
    .await;
    assert_eq!(found(&self::resolver(&[&half]), "a.example").await, "NoAnswer");
}

#[tokio::test]
async fn a_family_that_nobody_answers_for_holds_nothing_up() {
    let half = Server::start(|asked| match asked.family {
        Family::V4 => vec![asked.found(60, &["192.0.2.1"])],
        Family::V6 => Vec::new(),
    })
    .await;
    let resolver = Resolver { patience: PATIENCE, ..resolver(&[&half]) };
    let start = Instant::now();
    assert_eq!(found(&resolver, "a.example").await, "192.0.2.1");
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn names_that_stand_for_others_are_followed_within_the_answer() {
    let server = Server::start(|asked| {
        let address = if asked.family == Family::V4 { "192.0.2.1" } else { "2001:db8::1" };
        vec![asked.reply(
            RCODE::NoError,
            &[&format!("{} 60 b.example", asked.name), &format!("b.example 60 {address}"), "evil.example 60 6.6.6.6"],
        )]
    })
    .await;
    let resolver = resolver(&[&server]);
    assert_eq!(found(&resolver, "a.example").await, "192.0.2.1 2001:db8::1");
    // What an answer says of other names is not remembered for them.
    let asked = server.asked();
    found(&resolver, "b.example").await;
    assert_eq!(server.asked(), asked + 2);
}

#[tokio::test]
async fn names_of_files_come_first_and_names_of_this_host_before_them() {
    let server = Server::with(60, &["6.6.6.6"]).await;
    let hosts = [("NAS", "192.0.2.1"), ("nas", "2001:db8::1"), ("a.example", "192.0.2.2"), ("localhost", "6.6.6.6")];
    let hosts = hosts.map(|(name, address)| (name.to_owned(), address.parse().unwrap())).to_vec();
    let resolver = Resolver::new(control::Resolver { servers: vec![server.address], hosts });
    assert_eq!(found(&resolver, "nas").await, "192.0.2.1 2001:db8::1");
    assert_eq!(found(&resolver, "A.EXAMPLE.").await, "192.0.2.2");
    for here in ["localhost", "LOCALHOST.", "a.localhost", "a.b.localhost"] {
        assert_eq!(found(&resolver, here).await, "127.0.0.1 ::1");
    }
    for (literal, address) in [("192.0.2.7", "192.0.2.7"), ("[::1]", "::1"), ("::ffff:1.2.3.4", "1.2.3.4")] {
        assert_eq!(found(&resolver, literal).await, address);
    }
    for wrong in ["", "127.1", "a b", "a..b", "é", "-a"] {
        assert_eq!(found(&resolver, wrong).await, "NoSuchHost");
    }
    assert_eq!(server.asked(), 0);
    assert_eq!(found(&resolver, "notlocalhost").await, "6.6.6.6");
    assert_eq!(found(&resolver, "b.a.example").await, "6.6.6.6");
}
