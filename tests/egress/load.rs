//! Many at once, and slow ones: nobody is left waiting for them, and all that they need is given back.

use crate::{
    ground::Ground,
    kept::{Kept, descriptors},
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};
use support::{
    eventually,
    internet::{WEB, WEB_V4},
    resident,
};

/// Says what it is told, and begins.
fn echo(mut stream: TcpStream) {
    let mut copy = stream.try_clone().unwrap();
    let _ = std::io::copy(&mut stream, &mut copy);
}

#[test]
fn many_connections() {
    for ground in Ground::all() {
        ground.internet.serve(&format!("{WEB_V4}:7000"), echo);
        ground.internet.serve(&format!("{WEB_V4}:7001"), |mut stream| {
            let _ = stream.write_all(b"hello");
        });
        let allow = ["--allow", WEB, "--allow", "www.example.com:7000-7001", "--workspace", "none"];
        let kept = Kept::new(&ground, &allow);
        let _ = kept.works("works()\nassert ask(WEB, 7001, b'') == b'hello'");
        let (egress, supervisor, init) = (kept.running_egress(), kept.supervisor(), kept.init());
        let open = || [egress, supervisor, init].map(descriptors);
        let before = open();
        let _ = kept.works(
            r#"
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
many = [socket.create_connection((WEB, 7000), 60) for _ in range(1000)]
for turn in range(2):
    for number, one in enumerate(many):
        one.sendall(b"\0%d" % (number + 1000))
    for number, one in enumerate(many):
        assert one.recv(99) == b"\0%d" % (number + 1000)
works()
# The same number that never say anything, where they would have to speak first.
silent = [socket.create_connection((WEB, 443), 60) for _ in range(1000)]
works()
"#,
        );
        let _ = kept.works(
            r#"
from concurrent.futures import ThreadPoolExecutor
def quick(number):
    with socket.create_connection((WEB, 7001), 60) as one:
        return one.recv(99)
with ThreadPoolExecutor(8) as pool:
    assert set(pool.map(quick, range(3000))) == {b"hello"}
works()
"#,
        );
        assert_eq!(kept.egress(), Some(egress));
        // Some pipes are kept for those who come.
        eventually("all is closed", || {
            let now = open();
            now[0] <= before[0] + 32 && now[1] <= before[1] && now[2] <= before[2]
        });
    }
}

/// Who reads slowly, or not at all, is waited for; what waits is with the kernel, or the server.
#[test]
fn a_slow_reader() {
    for ground in Ground::all() {
        ground.internet.big_file(WEB, 1 << 30);
        ground.internet.serve(&format!("{WEB_V4}:7000"), |mut stream| {
            let _ = stream.read(&mut [0]);
            let chunk = [b'x'; 1 << 16];
            while stream.write_all(&chunk).is_ok() {}
        });
        std::fs::write(
            ground.world.project().join("agentkernel.toml"),
            "[network]\nallow = [{ host = 'www.example.com', methods = ['GET'] }, 'www.example.com:7000']\n",
        )
        .unwrap();
        let _ = ground.agentkernel(&["trust"]);
        let kept = Kept::new(&ground, &["--workspace", "none"]);
        let _ = kept.works("works()");
        let mut talk = kept.talk(
            r#"
context = ssl.create_default_context()
slow = []
for _ in range(20):
    plain = socket.create_connection((WEB, 80))
    plain.sendall(get(WEB, "/big"))
    raw = socket.create_connection((WEB, 7000))
    raw.sendall(b"\0")
    tls = context.wrap_socket(socket.create_connection((WEB, 443)), server_hostname=WEB)
    tls.sendall(get(WEB, "/big"))
    slow += plain, raw, tls
http2 = [subprocess.Popen(["curl", "-sS", "--http2", "https://www.example.com/big"], stdout=subprocess.PIPE) for _ in range(5)]
for one in slow:
    one.settimeout(60)
    assert one.recv(9)
for one in http2:
    assert one.stdout.read(9)
time.sleep(1)
print("slow")
sys.stdin.read(1)
time.sleep(600)
"#,
        );
        assert_eq!(talk.line(), "slow");
        let used = resident(kept.running_egress());
        assert!(used < 160 << 20, "{used} bytes for 65 slow readers");
        let _ = kept.works("works()");
    }
}
