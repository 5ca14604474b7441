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
    most_resident, resident,
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

/// A sandbox for which what is said to one server is read, and what is said to another port of it is not.
fn reads_one_and_splices_one(ground: &Ground) -> Kept<'_> {
    std::fs::write(
        ground.world.project().join("agentkernel.toml"),
        "[network]\nallow = [{ host = 'www.example.com', methods = ['GET'] }, 'www.example.com:7000']\n",
    )
    .unwrap();
    let _ = ground.agentkernel(&["trust"]);
    Kept::new(ground, &["--workspace", "none"])
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
        let kept = reads_one_and_splices_one(&ground);
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

/// What many who do not read are sent, in the ways of which requests are read, stays within what egress may have: those who
/// come when all of that is taken are refused, and nobody else's connection ends for it.
#[test]
fn many_slow_readers() {
    for ground in Ground::all().into_iter().take(1) {
        ground.internet.big_file(WEB, 1 << 30);
        ground.internet.serve(&format!("{WEB_V4}:7000"), echo);
        ground.internet.serve(&format!("{WEB_V4}:7001"), |mut stream| {
            let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
        });
        let allow =
            "[network]\nallow = [{ host = 'www.example.com', methods = ['GET'] }, 'www.example.com:7000-7001']\n";
        std::fs::write(ground.world.project().join("agentkernel.toml"), allow).unwrap();
        let _ = ground.agentkernel(&["trust"]);
        let kept = Kept::new(&ground, &["--workspace", "none"]);
        let mut talk = kept.talk(
            r#"
import resource, struct
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
other = socket.create_connection((WEB, 7000), 60)
def plain():
    one = socket.create_connection((WEB, 7001), 60)
    one.sendall(get(WEB + ":7001"))
    return one
def secured(protocol):
    context = ssl.create_default_context()
    context.set_alpn_protocols([protocol])
    one = context.wrap_socket(socket.create_connection((WEB, 443), 60), server_hostname=WEB)
    assert one.selected_alpn_protocol() == protocol
    return one
def single():
    one = secured("http/1.1")
    one.sendall(get(WEB, "/big"))
    return one
def field(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
def frame(kind, flags, stream, data=b""):
    return struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data
def many():
    one = secured("h2")
    # Windows as large as they can be.
    one.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, struct.pack(">HI", 4, 2**31 - 1)))
    one.sendall(frame(8, 0, 0, struct.pack(">I", 2**31 - 2**16)))
    asked = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", WEB.encode()), (b":path", b"/big")]
    for stream in range(1, 100, 2):
        one.sendall(frame(1, 5, stream, b"".join(field(*each) for each in asked)))
    return one
slow = [way() for _ in range(350) for way in (plain, single)] + [many() for _ in range(15)]
time.sleep(2)
print("slow")
time.sleep(4)
slow += [plain() for _ in range(300)]
time.sleep(1)
other.sendall(b"still")
assert other.recv(9) == b"still"
slow.clear()
time.sleep(1)
works()
print("done")
time.sleep(600)
"#,
        );
        assert_eq!(talk.line(), "slow");
        let egress = kept.running_egress();
        let used = resident(egress);
        assert!(used < 400 << 20, "{used} bytes for 700 slow readers, and 15 of 50 answers at once");
        assert_eq!(talk.line(), "done");
        assert_eq!(kept.egress(), Some(egress));
        ground.told("too-many");
    }
}

/// However much passes, no more of it is held at once: neither where it is spliced, nor where it is read.
#[test]
fn memory_does_not_grow_with_what_passes() {
    const MIB: u64 = 1 << 20;
    const WAYS: [&str; 3] = ["spliced", "read_as_http1", "read_as_http2"];
    /// How many bytes pass, and then how many more at once.
    const SIZES: [u64; 2] = [32 * MIB, 256 * MIB];
    /// What the second may take more: a hundredth of what it is longer by. They differ by some 100 KiB, in either direction.
    const MORE: u64 = (SIZES[1] - SIZES[0]) / 100;
    for ground in Ground::all().into_iter().take(1) {
        ground.internet.big_file(WEB, SIZES[1]);
        ground.internet.serve(&format!("{WEB_V4}:7000"), |mut stream| {
            let mut size = [0; 8];
            let _ = stream.read_exact(&mut size);
            let size = u64::from_be_bytes(size);
            let _ = std::io::copy(&mut (&stream).take(size), &mut std::io::sink());
            let _ = std::io::copy(&mut std::io::repeat(b'x').take(size), &mut stream);
        });
        let kept = reads_one_and_splices_one(&ground);
        let script = r#"
def spliced(size):
    chunk, got = b"x" * 2**20, 0
    with socket.create_connection((WEB, 7000), 60) as one:
        one.sendall(struct.pack(">Q", size))
        for _ in range(size // 2**20):
            one.sendall(chunk)
        while part := one.recv(2**20):
            got += len(part)
    assert got == size, got
def read(size, version):
    command = ["curl", "-sS", f"--http{version}", "-o", "/dev/null", "-w", "%{size_download} %{http_version}"]
    got = subprocess.check_output(command + ["-r", f"0-{size - 1}", f"https://{WEB}/big"])
    assert got == b"%d %s" % (size, version.encode()), got
def read_as_http1(size):
    read(size, "1.1")
def read_as_http2(size):
    read(size, "2")
"#;
        for way in WAYS {
            let [before, after] = SIZES.map(|size| {
                let _ = kept.works(&format!("{script}\n{way}({size})"));
                most_resident(kept.running_egress())
            });
            assert!(after < before + MORE, "{way}: {before} bytes at most, then {after}");
        }
    }
}
