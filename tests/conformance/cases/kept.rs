//! Sandboxes that go on: their life, their execs, what is told of them.

use super::Row;
use crate::bench::BOX;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::Stdio,
};
use support::{eventually, told};

pub const CASES: &[Row] = &[
    ("files outlive stop and start", "", |b| {
        b.kept(&["--workspace", "none"], &[]);
        let _ = b.exec("echo kept > /tmp/file; cd && echo home > file");
        for _ in 0..2 {
            let _ = b.says(&["stop", BOX]);
            let _ = b.says(&["start", BOX]);
            assert_eq!(b.exec("cat /tmp/file $HOME/file"), "kept\nhome\n");
        }
    }),
    ("a sandbox that is made is not started", "", |b| {
        let _ = b.says(&["create", "--backend", b.backend, "--image", crate::bench::IMAGE, "--name", BOX]);
        assert!(b.says(&["ps", "-a"]).contains("created"));
        b.refuses(&["exec", BOX, "true"], BOX);
    }),
    ("a detached command has a log and a status", "", |b| {
        let _ = b.says(&[
            "run",
            "-d",
            "--backend",
            b.backend,
            "--image",
            crate::bench::IMAGE,
            "--name",
            BOX,
            "--",
            "sh",
            "-c",
            "echo out; echo err >&2; exit 6",
        ]);
        let _ = b.agentkernel(&["wait", BOX]).output();
        let log = b.agentkernel(&["logs", BOX]).output().unwrap();
        assert_eq!((&log.stdout[..], &log.stderr[..]), (&b"out\n"[..], &b"err\n"[..]), "{}", told(&log));
        assert!(b.says(&["ps", "-a"]).contains("exited (6)"));
    }),
    ("wait gives the status", "", |b| {
        let _ = b.says(&[
            "run",
            "-d",
            "--backend",
            b.backend,
            "--image",
            crate::bench::IMAGE,
            "--name",
            BOX,
            "--",
            "sh",
            "-c",
            "sleep 0.3; exit 9",
        ]);
        let output = b.agentkernel(&["wait", BOX]).output().unwrap();
        assert!(told(&output).contains('9'), "{}", told(&output));
    }),
    ("exec gives status, output and errors", "", |b| {
        b.kept(&[], &[]);
        let output = b.agentkernel(&["exec", BOX, "sh", "-c", "echo out; echo err >&2; exit 7"]).output().unwrap();
        assert_eq!(
            (output.status.code(), &output.stdout[..], &output.stderr[..]),
            (Some(7), &b"out\n"[..], &b"err\n"[..])
        );
        let output = b.agentkernel(&["exec", BOX, "no-such"]).output().unwrap();
        assert_eq!(output.status.code(), Some(127));
    }),
    ("exec takes input", "", |b| {
        b.kept(&[], &[]);
        let output = b.with_input(&mut b.agentkernel(&["exec", "-i", BOX, "wc", "-c"]), &[b'x'; 300_000]);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "300000");
    }),
    ("exec has a terminal of its own", "", |b| {
        b.kept(&[], &[]);
        assert!(b.says(&["exec", "-t", BOX, "tty"]).starts_with("/dev/pts/"));
    }),
    ("exec as another user, elsewhere, with variables", "", |b| {
        b.kept(&["--workspace", "none", "-u", "7:8"], &[]);
        let text = b.says(&["exec", "-w", "/srv", "-e", "A=b", BOX, "sh", "-c", "pwd; echo $A; id -u"]);
        assert_eq!(text, "/srv\nb\n7\n");
        if b.world.who() == support::Who::Nobody && b.backend == "native" {
            // An ordinary user's sandbox has one id.
            return;
        }
        assert_eq!(b.says(&["exec", "-u", "app", BOX, "id", "-un"]), "app\n");
    }),
    ("sixteen execs at once", "", |b| {
        b.kept(&[], &[]);
        let children: Vec<_> = (0..16)
            .map(|n| {
                let script = format!("sleep 0.2; echo {n}");
                b.agentkernel(&["exec", BOX, "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for (n, child) in children.into_iter().enumerate() {
            assert_eq!(child.wait_with_output().unwrap().stdout, format!("{n}\n").into_bytes());
        }
    }),
    ("a hundred execs one after the other", "", |b| {
        b.kept(&[], &[]);
        let count = "set -- /proc/[0-9]*; echo $#";
        let before = b.exec(count);
        for _ in 0..support::scaled(100) {
            let _ = b.says(&["exec", BOX, "true"]);
        }
        assert_eq!(b.exec(count), before);
    }),
    ("a detached exec goes on", "", |b| {
        b.kept(&[], &[]);
        let _ = b.says(&["exec", "-d", BOX, "sh", "-c", "sleep 0.2; echo done > /tmp/done"]);
        eventually("it has gone on", || {
            b.agentkernel(&["exec", BOX, "cat", "/tmp/done"]).output().unwrap().stdout == b"done\n"
        });
    }),
    ("stop ends with the grace that was given", "", |b| {
        b.kept(&[], &["sh", "-c", "trap 'echo ended; exit 0' TERM; echo up; while :; do sleep 0.1; done"]);
        eventually("it is up", || b.says(&["logs", BOX]).contains("up"));
        let _ = b.says(&["stop", BOX]);
        assert!(b.says(&["logs", BOX]).contains("ended"));
        assert!(b.says(&["ps", "-a"]).contains("exited (0)"));
    }),
    ("stop kills who does not listen", "", |b| {
        b.kept(&[], &["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"]);
        eventually("it is up", || b.says(&["logs", BOX]).contains("up"));
        let _ = b.says(&["stop", "-t", "0", BOX]);
        assert!(b.says(&["ps", "-a"]).contains("exited (137)"), "{}", b.says(&["ps", "-a"]));
    }),
    ("kill sends a signal to the command", "", |b| {
        b.kept(&[], &["sh", "-c", "trap 'echo usr1' USR1; echo up; while :; do sleep 0.1; done"]);
        eventually("it is up", || b.says(&["logs", BOX]).contains("up"));
        let _ = b.says(&["kill", "-s", "USR1", BOX]);
        eventually("it has heard it", || b.says(&["logs", BOX]).contains("usr1"));
    }),
    ("restart", "", |b| {
        b.kept(&["--workspace", "none"], &["sh", "-c", "echo up >> /tmp/ups; sleep 600"]);
        eventually("it is up", || b.agentkernel(&["exec", BOX, "cat", "/tmp/ups"]).output().unwrap().stdout == b"up\n");
        let _ = b.says(&["restart", "-t", "0", BOX]);
        eventually("it is up again", || {
            b.agentkernel(&["exec", BOX, "cat", "/tmp/ups"]).output().unwrap().stdout == b"up\nup\n"
        });
    }),
    ("a running sandbox is not removed unless by force", "", |b| {
        b.kept(&[], &[]);
        b.refuses(&["rm", BOX], "is running");
        let _ = b.says(&["rm", "-f", BOX]);
        b.refuses(&["start", BOX], "No sandbox");
    }),
    ("ps and inspect tell of it", "", |b| {
        b.kept(&[], &["sleep", "600"]);
        let line = b.says(&["ps"]).lines().nth(1).unwrap().to_owned();
        assert!(line.contains(BOX) && line.contains(b.backend) && line.contains("up "), "{line}");
        let told = b.inspect();
        assert_eq!((&told["spec"]["backend"], &told["spec"]["name"]), (&b.backend.into(), &BOX.into()), "{told:#}");
    }),
    ("every wall that is told of holds", "", |b| {
        b.kept(&[], &[]);
        let told = b.inspect();
        let walls = told["running"]["walls"].as_array().unwrap();
        assert!(walls.len() >= 9, "{walls:#?}");
        let fallen: Vec<_> = walls.iter().filter(|wall| wall["holds"] != true && wall["name"] != "landlock").collect();
        assert!(fallen.is_empty(), "{fallen:#?}");
    }),
    ("stats tell what it uses", "", |b| {
        b.kept(&[], &["sh", "-c", "sleep 600 & sleep 600 & while :; do :; done"]);
        eventually("all is used", || {
            let text = b.says(&["stats", "--json", BOX]);
            let stats = &serde_json::from_str::<serde_json::Value>(&text).unwrap()[0];
            let used = |what: &str| stats[what].as_u64().unwrap();
            // init, a shell, and two that sleep.
            assert!(stats["name"] == BOX && used("processes") <= 4, "{text}");
            used("processes") == 4 && used("memory_bytes") > 200_000 && used("cpu_us") > 300_000
        });
        assert!(b.says(&["stats", BOX]).contains(BOX));
    }),
    ("attach joins the command, and sees its end", "", |b| {
        let _ = b.says(&[
            "run",
            "-d",
            "-i",
            "--backend",
            b.backend,
            "--image",
            crate::bench::IMAGE,
            "--name",
            BOX,
            "--",
            "sh",
            "-c",
            "read line; echo got $line; exit 5",
        ]);
        let output = b.with_input(&mut b.agentkernel(&["attach", BOX]), b"hello\n");
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(5), &b"got hello\n"[..]), "{}", told(&output));
    }),
    ("who attaches gets what nobody has seen", "", |b| {
        let _ = b.says(&[
            "run",
            "-d",
            "-i",
            "--backend",
            b.backend,
            "--image",
            crate::bench::IMAGE,
            "--name",
            BOX,
            "--",
            "sh",
            "-c",
            "echo before; read line; echo $line",
        ]);
        std::thread::sleep(std::time::Duration::from_millis(300));
        let mut child = b.agentkernel(&["attach", BOX]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "before");
        child.stdin.take().unwrap().write_all(b"after\n").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "after");
        assert!(child.wait().unwrap().success());
    }),
    ("a killed client takes nothing along", "", |b| {
        b.kept(&[], &[]);
        let mut child = b
            .agentkernel(&["exec", BOX, "sh", "-c", "echo up; sleep 1; echo on > /tmp/on"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 3];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        eventually("the program has gone on", || {
            b.agentkernel(&["exec", BOX, "cat", "/tmp/on"]).output().unwrap().stdout == b"on\n"
        });
    }),
    ("a killed supervisor takes the machine along", "", |b| {
        b.kept(&["--workspace", "none"], &[]);
        let pid = b.inspect()["running"]["supervisor_pid"].as_u64();
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid.unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        eventually("nothing of it runs", || b.world.processes().is_empty());
        if let Some(engine) = &b.engine {
            eventually("its container has ended", || engine.says(&["ps", "-q"]).is_empty());
        }
        assert!(b.says(&["ps", "-a"]).contains("lost"));
        let _ = b.says(&["gc"]);
        assert!(b.says(&["ps", "-a"]).contains("lost"));
        // And yet it is there.
        let _ = b.says(&["start", BOX]);
        assert_eq!(b.exec("echo back"), "back\n");
    }),
    ("a sandbox whose supervisor was killed starts again at once", "", |b| {
        b.kept(&["--workspace", "none"], &["sh", "-c", "echo up >> /tmp/ups; trap '' TERM HUP; sleep 600"]);
        for ups in 1..4 {
            eventually("it is up", || {
                b.agentkernel(&["exec", BOX, "cat", "/tmp/ups"]).output().unwrap().stdout
                    == "up\n".repeat(ups).as_bytes()
            });
            let pid = b.inspect()["running"]["supervisor_pid"].as_u64();
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid.unwrap()).unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            // Docker's way: what `start` is for is that it runs then.
            let _ = b.says(&["start", BOX]);
        }
        if let Some(engine) = &b.engine {
            assert_eq!(engine.says(&["ps", "-q"]).lines().count(), 1);
        }
    }),
    ("names are one's own", "", |b| {
        b.kept(&[], &[]);
        b.refuses(
            &["create", "--backend", b.backend, "--image", crate::bench::IMAGE, "--name", BOX],
            "belongs to sandbox",
        );
    }),
    ("logs follow until the end", "", |b| {
        let _ = b.says(&[
            "run",
            "-d",
            "--backend",
            b.backend,
            "--image",
            crate::bench::IMAGE,
            "--name",
            BOX,
            "--",
            "sh",
            "-c",
            "echo one; sleep 0.3; echo two",
        ]);
        assert_eq!(b.says(&["logs", "-f", BOX]), "one\ntwo\n");
    }),
    ("events tell of its life", "", |b| {
        b.kept(&[], &[]);
        let mut child = b.agentkernel(&["events", "--json", BOX]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let _ = b.exec("true");
        let _ = b.says(&["stop", BOX]);
        let all: Vec<String> = lines.by_ref().map_while(Result::ok).collect();
        child.wait().unwrap();
        let text = all.join("\n");
        assert!(text.contains("exec") && text.contains("stop"), "{text}");
    }),
];
