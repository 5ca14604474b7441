use super::*;
use crate::{
    bucket::Bucket,
    server::{reset_at_close, urgent_in_line},
    testing::{hello, passage, run},
};
use rustix::net::SendFlags;
use std::{fs, net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::{JoinHandle, spawn_local},
};

/// Two ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// A program and a server with a relay between them.
struct Relayed {
    program: TcpStream,
    server: TcpStream,
    meter: Arc<Meter>,
    relay: JoinHandle<io::Result<()>>,
}

async fn relayed(pipes: &Pipes, bucket: Option<Arc<Bucket>>) -> Relayed {
    watched(pipes, bucket, Watch::default()).await
}

async fn watched(pipes: &Pipes, bucket: Option<Arc<Bucket>>, mut watch: Watch) -> Relayed {
    let ((program, near), (far, server)) = tokio::join!(pair(), pair());
    let meter = Arc::new(Meter::new(bucket));
    let (own, counted) = (pipes.clone(), meter.clone());
    // As those are that a flow has.
    for socket in [&near, &far] {
        urgent_in_line(socket);
        reset_at_close(socket, true);
    }
    let relay = spawn_local(async move {
        let result = relay(&near, &far, std::future::ready(true), &mut watch, &counted, &own).await;
        if result.is_ok() {
            reset_at_close(&near, false);
            reset_at_close(&far, false);
        }
        result
    });
    Relayed { program, server, meter, relay }
}

/// Bytes none of which is where another could be.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

async fn rest(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.map(|_| bytes)
}

/// The ends of pipes that this process has: each pipe has two.
fn open_pipes() -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("pipe:")).count()
}

#[test]
fn bytes_pass_both_ways_at_once_and_unchanged() {
    run(async {
        let Relayed { program, server, meter, relay, .. } = relayed(&Pipes::default(), None).await;
        let (mut from_program, mut to_program) = program.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let (up, down) = (bytes(5_000_001), bytes(3_000_003));
        let (sent, answered) = (up.clone(), down.clone());
        spawn_local(async move { to_program.write_all(&sent).await.unwrap() });
        spawn_local(async move { to_server.write_all(&answered).await.unwrap() });
        let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
        let (one, two) = tokio::join!(from_server.read_to_end(&mut got_up), from_program.read_to_end(&mut got_down));
        one.unwrap();
        two.unwrap();
        assert!(got_up == up && got_down == down);
        relay.await.unwrap().unwrap();
        let totals = meter.totals();
        assert_eq!((totals.sent, totals.received), (up.len() as u64, down.len() as u64));
    });
}

#[test]
fn each_side_may_end_while_the_other_goes_on() {
    run(async {
        for program_first in [true, false] {
            let Relayed { program, server, relay, .. } = relayed(&Pipes::default(), None).await;
            let (mut first, mut second) = if program_first { (program, server) } else { (server, program) };
            first.write_all(b"that is all").await.unwrap();
            first.shutdown().await.unwrap();
            assert_eq!(rest(&mut second).await.unwrap(), b"that is all");
            // Long after it has said nothing more, it hears.
            for _ in 0..3 {
                second.write_all(b"and ").await.unwrap();
                let mut heard = [0; 4];
                first.read_exact(&mut heard).await.unwrap();
                assert_eq!(&heard, b"and ");
            }
            assert!(!relay.is_finished());
            second.write_all(b"so on").await.unwrap();
            second.shutdown().await.unwrap();
            assert_eq!(rest(&mut first).await.unwrap(), b"so on");
            relay.await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_side_that_breaks_off_breaks_off_the_other() {
    run(async {
        for program_breaks in [true, false] {
            let Relayed { program, server, relay, .. } = relayed(&Pipes::default(), None).await;
            let (mut breaks, mut other) = if program_breaks { (program, server) } else { (server, program) };
            breaks.write_all(b"half of").await.unwrap();
            let mut heard = [0; 7];
            other.read_exact(&mut heard).await.unwrap();
            reset_at_close(&breaks, true);
            drop(breaks);
            let error = rest(&mut other).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert!(relay.await.unwrap().is_err());
        }
    });
}

/// TLS for another server that begins after anything else does not arrive; what the server says is none of a client's.
#[test]
fn tls_for_another_server_breaks_off() {
    run(async {
        let (passage, _) = passage("db.example.org:5432", &[]);
        let watch = || Watch::of(&passage.target, &passage.grant);
        let (own, other) = (hello("db.example.org", &[]), hello("hidden.example.net", &[]));
        for before in [0, 8, 100_000, 3_000_000] {
            let Relayed { mut program, mut server, relay, meter } = watched(&Pipes::default(), None, watch()).await;
            let mut heard = vec![1; other.len()];
            server.write_all(&other).await.unwrap();
            program.read_exact(&mut heard).await.unwrap();
            assert!(heard == other);
            let said = [vec![0; before], own.clone()].concat();
            let sent = said.clone();
            let (mut from_server, mut to_server) = program.into_split();
            let writing = spawn_local(async move { to_server.write_all(&sent).await.map(|()| to_server) });
            let mut heard = vec![1; said.len()];
            server.read_exact(&mut heard).await.unwrap();
            assert!(heard == said);
            let mut to_server = writing.await.unwrap().unwrap();
            to_server.write_all(&other).await.unwrap();
            to_server.shutdown().await.unwrap();
            // It is not looked for without end.
            if before > 1 << 20 {
                assert!(rest(&mut server).await.unwrap() == other);
                continue;
            }
            assert!(relay.await.unwrap().is_err());
            assert!(rest(&mut server).await.is_err());
            assert_eq!(from_server.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(meter.totals().sent, said.len() as u64);
        }
    });
}

fn say_urgently(stream: &TcpStream, byte: u8) {
    assert_eq!(rustix::net::send(stream, &[byte], SendFlags::OOB).unwrap(), 1);
}

/// Urgent data is a part of the stream: whether it comes before all, in the midst or last, alone or with more behind it.
#[test]
fn urgent_data_and_what_comes_behind_it_pass() {
    run(async {
        let (passage, _) = passage("db.example.org:5432", &[]);
        let looked_at = || Watch::of(&passage.target, &passage.grant);
        for (client_sends, watch) in [(true, looked_at()), (true, Watch::default()), (false, Watch::default())] {
            let Relayed { program, server, relay, meter } = watched(&Pipes::default(), None, watch).await;
            let (mut from, mut to) = if client_sends { (program, server) } else { (server, program) };
            // All of it waits at once, or in pieces.
            for waits in [true, false] {
                for piece in [&b""[..], b"before", b"", b"behind", &bytes(100_000)] {
                    from.write_all(piece).await.unwrap();
                    say_urgently(&from, b'!');
                    if !waits {
                        let mut heard = vec![0; piece.len() + 1];
                        to.read_exact(&mut heard).await.unwrap();
                        assert!(heard == [piece, b"!"].concat());
                    }
                }
                if waits {
                    let mut heard = vec![0; 100_017];
                    to.read_exact(&mut heard).await.unwrap();
                    assert!(heard == [b"!before!!behind!", &bytes(100_000)[..], b"!"].concat());
                }
            }
            from.write_all(b"and so on").await.unwrap();
            say_urgently(&from, b'!');
            from.shutdown().await.unwrap();
            assert_eq!(rest(&mut to).await.unwrap(), b"and so on!");
            drop(to);
            relay.await.unwrap().unwrap();
            let totals = meter.totals();
            assert_eq!(totals.sent + totals.received, 2 * 100_017 + 10);
        }
    });
}

#[test]
fn a_slow_reader_holds_back_the_writer() {
    run(async {
        let Relayed { program, mut server, meter, relay, .. } = relayed(&Pipes::default(), None).await;
        let whole = bytes(1 << 20).repeat(64);
        let sent = whole.clone();
        let (mut from_program, mut to_program) = program.into_split();
        let writing = spawn_local(async move { to_program.write_all(&sent).await.unwrap() });
        // What is on its way is what sockets and one pipe hold, and no more as time goes on.
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = meter.totals().sent;
            if now == before && now > 0 {
                break;
            }
            before = now;
        }
        assert!(!writing.is_finished());
        assert!(before < (48 << 20), "{before} bytes are held");
        // What goes the other way does not wait for it.
        server.write_all(b"slowly").await.unwrap();
        let mut heard = [0; 6];
        from_program.read_exact(&mut heard).await.unwrap();
        assert!(rest(&mut server).await.unwrap() == whole);
        drop(server);
        writing.await.unwrap();
        relay.await.unwrap().unwrap();
    });
}

/// Runs a test that counts what its process has in a process of its own: whoever runs tests as threads of one has more.
#[allow(clippy::disallowed_methods)] // no program but this one
fn alone(name: &str, test: impl Future<Output = ()>) {
    const ALONE: &str = "AGENTKERNEL_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return run(test);
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", &format!("relay::tests::{name}")]).env(ALONE, "1").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
fn pipes_are_kept_for_the_next_and_not_for_those_who_wait() {
    alone("pipes_are_kept_for_the_next_and_not_for_those_who_wait", async {
        let (pipes, before) = (Pipes::default(), open_pipes());
        for _ in 0..3 {
            let mut all = Vec::new();
            for _ in 0..40 {
                all.push(relayed(&pipes, None).await);
            }
            for one in &mut all {
                one.program.write_all(b"hello").await.unwrap();
                let mut heard = [0; 5];
                one.server.read_exact(&mut heard).await.unwrap();
            }
            // All of them wait, and none has a pipe.
            assert!(open_pipes() - before <= 2 * SPARE, "{}", open_pipes() - before);
            for Relayed { program, server, relay, .. } in all {
                drop((program, server));
                let _ = relay.await.unwrap();
            }
        }
        assert_eq!(open_pipes() - before, 2 * pipes.spare.borrow().len());
        assert!((1..=SPARE).contains(&pipes.spare.borrow().len()));
        drop(pipes);
        assert_eq!(open_pipes(), before);
    });
}

#[test]
fn a_pipe_in_which_something_is_left_is_not_used_again() {
    alone("a_pipe_in_which_something_is_left_is_not_used_again", async {
        let pipes = Pipes::default();
        let before = open_pipes();
        // Stuck in the middle: the server does not read.
        let Relayed { program, server, relay, .. } = relayed(&pipes, None).await;
        let writing = spawn_local(async move {
            let mut program = program;
            let _ = program.write_all(&bytes(1 << 20).repeat(64)).await;
        });
        while open_pipes() == before || pipes.spare.borrow().len() == open_pipes() / 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        relay.abort();
        assert!(relay.await.unwrap_err().is_cancelled());
        writing.await.unwrap();
        drop(server);
        assert_eq!(open_pipes() - before, 2 * pipes.spare.borrow().len());
        // Whoever comes next gets its own bytes alone.
        let Relayed { mut program, mut server, .. } = relayed(&pipes, None).await;
        program.write_all(b"mine").await.unwrap();
        program.shutdown().await.unwrap();
        assert_eq!(rest(&mut server).await.unwrap(), b"mine");
    });
}

#[test]
fn a_relay_that_is_dropped_breaks_both_sides_off() {
    run(async {
        let Relayed { mut program, mut server, relay, .. } = relayed(&Pipes::default(), None).await;
        program.write_all(b"half of").await.unwrap();
        let mut heard = [0; 7];
        server.read_exact(&mut heard).await.unwrap();
        relay.abort();
        for side in [&mut program, &mut server] {
            assert_eq!(rest(side).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn no_more_passes_than_the_rate_permits() {
    run(async {
        let bucket = Some(Arc::new(Bucket::new(1 << 20)));
        let Relayed { mut program, mut server, relay, .. } = relayed(&Pipes::default(), bucket).await;
        let begun = tokio::time::Instant::now();
        // A second's worth is there at once, and half of it comes later.
        let whole = bytes(3 << 19);
        let sent = whole.clone();
        spawn_local(async move {
            program.write_all(&sent).await.unwrap();
            program.shutdown().await.unwrap();
            rest(&mut program).await
        });
        assert!(rest(&mut server).await.unwrap() == whole);
        assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
        drop(server);
        relay.await.unwrap().unwrap();
    });
}

#[test]
fn a_thousand_at_once() {
    // Each has four sockets here, of which egress has two.
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limits.maximum, maximum: limits.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    run(async {
        let pipes = Pipes::default();
        let mut all = Vec::new();
        for _ in 0..1000 {
            all.push(relayed(&pipes, None).await);
        }
        let each = all.into_iter().enumerate().map(|(number, relayed)| {
            spawn_local(async move {
                let Relayed { mut program, mut server, relay, .. } = relayed;
                let own = bytes(10_000 + number);
                let sent = own.clone();
                let talking = spawn_local(async move {
                    program.write_all(&sent).await.unwrap();
                    program.shutdown().await.unwrap();
                    rest(&mut program).await.unwrap()
                });
                assert!(rest(&mut server).await.unwrap() == own);
                server.write_all(&own).await.unwrap();
                drop(server);
                assert!(talking.await.unwrap() == own);
                relay.await.unwrap().unwrap();
            })
        });
        for one in each.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        assert!(pipes.spare.borrow().len() <= SPARE);
    });
}
