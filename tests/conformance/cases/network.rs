//! What is reached, and what is told of it.

use super::Row;
use crate::bench::{BOX, Bench};
use rustix::process::Signal;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::Stdio,
};
use support::{
    SshAgent, eventually,
    internet::{HIDDEN, WEB},
    told,
};

/// Has a site answered?
fn hello(text: &str) -> bool {
    text.contains(&format!("Hello from {WEB}"))
}

const GET: &str = "timeout 20 wget -qO- http://www.example.com/hello";

/// What happened to connections.
fn log(b: &Bench) -> String {
    b.says(&["net", "log", "--json"])
}

/// What a client of the host hears at one of its ports.
fn ask(b: &Bench, port: u16, say: &str) -> String {
    let script = format!("printf '{say}' | timeout 10 nc -w 5 127.0.0.1 {port}");
    let mut command = b.internet.command(&b.world, "/bin/busybox");
    let output = command.args(["sh", "-c", &script]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub const CASES: &[Row] = &[
    ("nothing is reached where nothing was said", "", |b| {
        let output = b.sh(&[], GET);
        assert!(
            !hello(&told(&output)) && told(&output).contains("was refused: the network mode is 'none'"),
            "{}",
            told(&output)
        );
    }),
    ("a host that is allowed is reached", "", |b| {
        assert!(hello(&b.works(&["--allow", WEB], GET)));
    }),
    ("another one is not", "", |b| {
        let output = b.sh(&["--allow", WEB], &format!("timeout 20 wget -qO- http://{HIDDEN}/hello"));
        assert!(!output.status.success() && log(b).contains("\"refused\""), "{}", told(&output));
    }),
    ("everything public is reached where all is open", "", |b| {
        assert!(hello(&b.works(&["--net", "open"], GET)));
    }),
    ("keys of an ssh-agent are lent", "", |b| {
        let agent = SshAgent::start(&b.world);
        let home = b.world.home();
        let host = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
        std::fs::write(home.join(".ssh/known_hosts"), format!("a.example {host}\nb.example {host}\n")).unwrap();
        std::fs::write(home.join(".gitconfig"), "[gpg]\nformat = ssh\n[user]\nsigningKey = ~/.ssh/id\n").unwrap();
        for more in [&[][..], &["--read-only"], &["-u", "7:8"]] {
            let options = [&["--ssh", "a.example", "--sign"], more].concat();
            let script = "ssh-add -l && cat /etc/ssh/ssh_known_hosts2 && echo x > /tmp/x && \
                          echo \"${GIT_CONFIG_VALUE_1#key::}\" > /tmp/key && ssh-keygen -q -Y sign -n git -f /tmp/key /tmp/x && \
                          cat /tmp/x.sig && ! ssh-keygen -q -Y sign -n file -f /tmp/key /tmp/x";
            let mut run = b.run(&options, &["sh", "-c", script]);
            let output = run.env("SSH_AUTH_SOCK", &agent.socket).output().unwrap();
            let text = told(&output);
            assert!(output.status.success() && text.contains("(ED25519)"), "{more:?}: {text}");
            assert!(text.contains(&format!("a.example {host}")) && !text.contains("b.example"), "{text}");
            assert!(text.contains("BEGIN SSH SIGNATURE") && log(b).contains("\"ssh-key\""), "{text}");
        }
    }),
    ("deny wins", "", |b| {
        let output = b.sh(&["--net", "open", "--deny", WEB], GET);
        assert!(!output.status.success(), "{}", told(&output));
    }),
    ("another port of an allowed host is not reached", "", |b| {
        let output = b.sh(&["--allow", &format!("{WEB}:443")], GET);
        assert!(!output.status.success(), "{}", told(&output));
    }),
    ("TLS passes for the server that was dialled", "", |b| {
        let output = b.sh(&["--allow", WEB], "curl -sS -m 20 https://www.example.com/hello");
        assert!(hello(&told(&output)), "{}\n{}", told(&output), log(b));
    }),
    ("TLS for another server than was dialled is refused", "", |b| {
        // Only the name in the hello differs: the address is the allowed one's.
        let script = format!(
            "ip=$(nslookup {WEB} | awk '/^Address/ {{a=$NF}} END {{print a}}'); echo \"$ip {HIDDEN}\" >> /etc/hosts; curl -ksS -m 20 https://{HIDDEN}/hello"
        );
        let output = b.sh(&["--allow", WEB, "-u", "0", "--workspace", "none"], &script);
        assert!(!output.status.success(), "{}", told(&output));
    }),
    ("names are answered without asking anybody", "", |b| {
        let before = b.internet.queries().len();
        let text = b.works(&[], "nslookup anything.example.org | tail -n +3");
        assert!(text.contains("198.1"), "{text}");
        assert_eq!(b.internet.queries().len(), before);
    }),
    ("a private address must be named", "", |b| {
        b.internet.serve("10.1.2.3:8080", |mut stream| {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nprivate");
        });
        let get = "timeout 20 wget -qO- http://10.1.2.3:8080/";
        assert!(!b.sh(&["--net", "open"], get).status.success());
        assert_eq!(b.works(&["--allow", "10.1.2.3:8080"], get), "private");
    }),
    ("a service of the host must be named", "", |b| {
        b.internet.serve("127.0.0.1:9090", |mut stream| {
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nservice");
        });
        let get = "timeout 20 wget -qO- http://host.agentkernel.internal:9090/";
        assert!(!b.sh(&["--net", "open"], get).status.success());
        assert_eq!(b.works(&["--open", "localhost:9090"], get), "service");
    }),
    ("any protocol passes where a rule names its port", "", |b| {
        b.internet.serve("10.1.2.4:7777", |stream| {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let _ = (&stream).write_all(format!("heard {line}").as_bytes());
        });
        let script = "echo hello | nc -w 10 10.1.2.4 7777";
        assert_eq!(b.works(&["--allow", "10.1.2.4:7777"], script), "heard hello\n");
    }),
    ("four mebibytes pass both ways unchanged", "", |b| {
        b.internet.serve("10.1.2.5:7777", |mut stream| {
            // Back as it comes, until the other side has ended.
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            let _ = stream.write_all(&bytes);
        });
        let script = "head -c 4194304 /dev/urandom > /tmp/out; nc -w 20 10.1.2.5 7777 < /tmp/out > /tmp/back; cmp /tmp/out /tmp/back && echo same";
        assert_eq!(b.works(&["--allow", "10.1.2.5:7777"], script), "same\n");
    }),
    ("a connection that breaks off outside is broken off inside", "", |b| {
        b.internet.serve("10.1.2.6:7777", |mut stream| {
            let _ = stream.write_all(b"half");
            let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO));
            let _ = stream.read(&mut [0; 16]);
        });
        // Whoever reads on learns of the reset, or of the end, but does not wait for ever.
        let script = "echo go | timeout 20 nc 10.1.2.6 7777; test $? -ne 143 && test $? -ne 124 && echo ended";
        assert!(b.works(&["--allow", "10.1.2.6:7777"], script).ends_with("ended\n"));
    }),
    ("many connections at once", "", |b| {
        let script = format!("for n in $(seq 40); do ({GET} >> /tmp/all) & done; wait; grep -c 'Hello from' /tmp/all");
        assert_eq!(b.works(&["--allow", WEB], &script), "40\n");
    }),
    ("connections that come while egress is stopped wait for it", "", |b| {
        b.kept(&["--allow", WEB], &[]);
        assert!(hello(&b.exec(GET)));
        let egress = b.world.processes().into_iter().find(|(_, name)| name == "ak-egress").unwrap().0;
        let signal = |signal| {
            rustix::process::kill_process(rustix::process::Pid::from_raw(egress.cast_signed()).unwrap(), signal)
                .unwrap();
        };
        signal(Signal::STOP);
        // More than the way to it has room for.
        let script = format!(
            "echo begun; for n in $(seq 400); do timeout 60 nc {HIDDEN} 7000 < /dev/null & done; sleep 5; echo all; wait"
        );
        let mut many = b.agentkernel(&["exec", BOX, "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(many.stdout.take().unwrap()).lines().map_while(Result::ok);
        let come = lines.by_ref().any(|line| line == "all");
        signal(Signal::CONT);
        assert!(come && many.wait().unwrap().success());
        let denied = || -> u64 {
            let sums = b.says(&["net", "log", "--summary", "--json", BOX]);
            let sums = sums.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            sums.filter(|sum| sum["host"] == HIDDEN).map(|sum| sum["denied"].as_u64().unwrap()).sum()
        };
        eventually("all of them are on record", || denied() == 400);
    }),
    ("programs have every port, and talk among themselves", "", |b| {
        let script = "(echo answer | nc -l -p 80) & sleep 0.3; nc -w 5 127.0.0.1 80 < /dev/null";
        assert_eq!(b.works(&[], script), "answer\n");
    }),
    ("UDP is refused at once", "", |b| {
        for port in [53, 443, 5353] {
            let output = b.sh(&["--net", "open"], &format!("nslookup example.com 10.9.9.9:{port}"));
            let text = told(&output);
            assert!(!output.status.success() && text.contains("Connection refused"), "{port}: {text}");
        }
    }),
    ("there is no device but lo", "", |b| {
        assert_eq!(b.works(&[], "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"), "lo\n");
    }),
    ("the log tells of what was reached and refused", "", |b| {
        let _ = b.sh(&["--allow", WEB], &format!("{GET}; timeout 9 wget -qO- http://{HIDDEN}/"));
        let log = log(b);
        assert!(log.contains("\"opened\"") && log.contains("\"refused\"") && log.contains(HIDDEN), "{log}");
    }),
    ("rules can be changed while it runs", "", |b| {
        b.kept(&[], &[]);
        assert!(!b.agentkernel(&["exec", BOX, "sh", "-c", GET]).output().unwrap().status.success());
        let _ = b.says(&["net", "allow", BOX, WEB]);
        assert!(hello(&b.exec(GET)));
    }),
    ("a port of the sandbox is one of the host", "", |b| {
        let serve = "while :; do echo from inside | nc -l -p 3000; done";
        b.kept(&["-p", "3000:8003"], &["sh", "-c", serve]);
        eventually("it answers", || ask(b, 8003, "x") == "from inside\n");
    }),
    ("a port can be published while it runs", "", |b| {
        b.kept(&[], &["sh", "-c", "while :; do echo later | nc -l -p 3000; done"]);
        let said = b.says(&["port", BOX, "3000:8004"]);
        assert_eq!(said, format!("127.0.0.1:8004 -> {BOX}:3000\n"));
        eventually("it answers", || ask(b, 8004, "x") == "later\n");
        let _ = b.says(&["port", BOX, "--rm", "3000:8004"]);
        assert_eq!(ask(b, 8004, "x"), "");
    }),
    ("where nobody listens inside, nobody answers outside", "", |b| {
        b.kept(&["-p", "3999:8005"], &[]);
        assert_eq!(ask(b, 8005, "x"), "");
    }),
    ("a busy port of the host is told, and there is no sandbox", "", |b| {
        let _busy = b.internet.listen("127.0.0.1:8006");
        let output = b.run(&["-p", "3000:8006"], &["true"]).output().unwrap();
        assert!(told(&output).contains("Port 8006 of this host can't be had"), "{}", told(&output));
        assert_eq!(b.says(&["ps", "-a", "-q"]), "");
    }),
    ("a secret is put in on the way, and never seen inside", "", |b| {
        const VALUE: &str = "recorded-Zx41qwPq8Lmv0T";
        let heard = b.heard();
        let output =
            b.with_input(&mut b.agentkernel(&["secret", "set", "KEY", "--stdin", "--host", WEB]), VALUE.as_bytes());
        assert!(output.status.success(), "{}", told(&output));
        let script = "echo $KEY; curl -sS -m 20 -H \"x-api-key: $KEY\" https://www.example.com/own/x; env; cat /etc/agentkernel/ca.pem | head -1";
        let text = b.works(&["--allow", WEB, "--secret", "KEY"], script);
        assert!(!text.contains(VALUE) && text.contains("ok") && text.contains("BEGIN CERTIFICATE"), "{text}");
        assert!(heard.lock().unwrap().contains(&format!("x-api-key: {VALUE}")), "{:?}", heard.lock());
    }),
    ("a read-only sandbox has its secrets, and trusts its own authority, at every start", "", |b| {
        const VALUE: &str = "recorded-Kq83mVw2Rt5yLp";
        let heard = b.heard();
        let value = b.world.home().join("value");
        std::fs::write(&value, VALUE).unwrap();
        let home = b.works(&["--read-only"], "echo $HOME");
        let places = ["/opt/keys/one", "/run/secrets/two", &format!("{}/.config/tool/three", home.trim())];
        let mut toml = "[network]\nmode = 'allow'\nallow = ['www.example.com']\n[secrets]\n".to_owned();
        for (index, place) in places.iter().enumerate() {
            toml += &format!(
                "S{index} = {{ hosts = ['{WEB}'], file = '{place}', env = 'KEY{index}', from = 'file:{}' }}\n",
                value.display()
            );
        }
        b.write("agentkernel.toml", &toml);
        let _ = b.says(&["trust"]);
        assert_eq!(b.works(&["--read-only"], "test -r /opt/keys/one && test -s $SSL_CERT_FILE && echo once"), "once\n");
        b.kept(&["--read-only"], &[]);
        let mut authorities = Vec::new();
        for _ in 0..2 {
            for place in &places {
                let script = format!(
                    "test -r {place} && curl -sS -m 20 -H \"x-api-key: $(cat {place})\" https://www.example.com/own/x && \
                     stat -c %a {place}"
                );
                assert_eq!(b.exec(&script), "ok600\n", "{place}");
            }
            let script = "for file in /opt/keys/one /etc/agentkernel/ca.pem /etc/x; do (echo x > $file) 2>/dev/null && echo wrote $file; done; \
                          touch ~/.config/tool/x && env | grep -c Kq83";
            let output = b.agentkernel(&["exec", BOX, "sh", "-c", script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "{}", told(&output));
            authorities.push(b.exec("cat /etc/agentkernel/ca.pem; grep -c BEGIN $SSL_CERT_FILE"));
            let _ = b.says(&["stop", BOX]);
            let _ = b.says(&["start", BOX]);
        }
        assert_eq!(heard.lock().unwrap().matches(&format!("x-api-key: {VALUE}")).count(), 6, "{:?}", heard.lock());
        assert_ne!(authorities[0], authorities[1]);
        assert_eq!(authorities[0].lines().last(), authorities[1].lines().last());
    }),
    ("an authority of an earlier start is trusted no longer", "", |b| {
        let output =
            b.with_input(&mut b.agentkernel(&["secret", "set", "KEY", "--stdin", "--host", WEB]), b"value-value-value");
        assert!(output.status.success(), "{}", told(&output));
        b.kept(&["--allow", WEB, "--secret", "KEY", "--workspace", "none"], &[]);
        let first = b.exec("cat /etc/agentkernel/ca.pem; grep -c BEGIN $SSL_CERT_FILE");
        let _ = b.says(&["stop", BOX]);
        let _ = b.says(&["start", BOX]);
        let second = b.exec("cat /etc/agentkernel/ca.pem; grep -c BEGIN $SSL_CERT_FILE");
        assert_ne!(first, second);
        assert_eq!(first.lines().last(), second.lines().last());
    }),
    ("the host's unix sockets are out of reach", "", |b| {
        let text = b.works(&[], "ls /var/run/docker.sock /run/docker.sock /run/dbus 2>/dev/null; echo end");
        assert_eq!(text, "end\n");
    }),
];
