//! How programs are started, what they have, and how they end.

use super::Row;
use crate::bench::{BOX, IMAGE};
use serde_json::json;
use std::{fs, process::Stdio};
use support::{eventually, rpc, told};

/// An agent that has its editor write the file that a prompt names, and tells what became of it.
const AGENT: &str = r#"
while read -r line; do
    id=${line#*\"id\":}
    id=${id%%[,\}]*}
    case $line in
        *'"initialize"'*) result='{"protocolVersion": 1}' ;;
        *'"session/new"'*) result='{"sessionId": "s"}' ;;
        *'"session/prompt"'*)
            name=${line#*\"text\":\"}
            text='"sessionId": "s", "path": "'$PWD/${name%%\"*}'", "content": "by it\n"'
            printf '%s\n' '{"jsonrpc": "2.0", "id": "w", "method": "fs/write_text_file", "params": {'"$text"'}}'
            read -r answer
            printf '%s\n' '{"jsonrpc": "2.0", "method": "_told", "params": {"answer": '"$answer"'}}'
            result='{"stopReason": "end_turn"}' ;;
        *) continue ;;
    esac
    printf '%s\n' '{"jsonrpc": "2.0", "id": '"$id"', "result": '"$result"'}'
done"#;

pub const CASES: &[Row] = &[
    ("the status of a command is run's", "", |b| {
        for status in [0, 1, 7, 125, 255] {
            assert_eq!(b.sh(&[], &format!("exit {status}")).status.code(), Some(status));
        }
    }),
    ("a signal is 128 and its number", "", |b| {
        for signal in [1, 9, 15] {
            assert_eq!(b.sh(&[], &format!("kill -{signal} $$")).status.code(), Some(128 + signal));
        }
    }),
    ("a command that is not there is 127", "", |b| {
        let output = b.run(&[], &["no-such-command"]).output().unwrap();
        assert_eq!(output.status.code(), Some(127), "{}", told(&output));
        assert!(told(&output).contains("Cannot find no-such-command in PATH"), "{}", told(&output));
    }),
    ("a command that cannot be executed is 126", "", |b| {
        let output = b.run(&[], &["/etc/passwd"]).output().unwrap();
        assert_eq!(output.status.code(), Some(126), "{}", told(&output));
    }),
    ("standard output and standard error stay apart", "", |b| {
        let output = b.sh(&[], "echo out; echo err >&2");
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    }),
    ("standard input is empty unless it is asked for", "", |b| {
        let output = b.with_input(&mut b.run(&[], &["cat"]), b"unwanted");
        assert_eq!(output.stdout, b"");
    }),
    ("standard input arrives, and its end", "", |b| {
        let output = b.with_input(&mut b.run(&["-i"], &["cat"]), b"one\ntwo");
        assert_eq!(output.stdout, b"one\ntwo");
    }),
    ("eight mebibytes pass unchanged both ways", "", |b| {
        let bytes: Vec<u8> = (0..8u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let output = b.with_input(&mut b.run(&["-i"], &["cat"]), &bytes);
        assert!(output.status.success() && output.stdout == bytes, "{} bytes", output.stdout.len());
    }),
    ("a reader that leaves ends the command", "", |b| {
        let mut child = b.run(&[], &["yes"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        assert!(!child.wait().unwrap().success());
    }),
    ("a signal to run reaches the command", "", |b| {
        let script = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
        let mut child = b.run(&[], &["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "caught");
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }),
    ("the environment is the image's and what was asked for", "", |b| {
        let text = b.works(&["-e", "MINE=1"], "echo $COLOR $MINE $AGENTKERNEL ${DOCKER_HOST-none} ${container-none}");
        assert_eq!(text, "blue 1 1 none none\n");
    }),
    ("arguments arrive as they were given", "", |b| {
        let text = support::stdout(&mut b.run(&[], &["printf", "%s|", "a b", "", "$HOME", "*", "\n", "ü"]));
        assert_eq!(text, "a b||$HOME|*|\n|ü|");
    }),
    ("large arguments arrive", "", |b| {
        let large = "x".repeat(100_000);
        let text = support::stdout(&mut b.run(&[], &["sh", "-c", "echo ${#1} ${#2}", "sh", &large, &large]));
        assert_eq!(text, "100000 100000\n");
    }),
    ("a terminal is one, with its size", "", |b| {
        let text = b.works(&["-t"], "test -t 0 && test -t 1 && tty && stty size");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.starts_with("/dev/pts/0\r\n"), "{text}");
    }),
    ("without a terminal there is none", "", |b| {
        assert_eq!(b.works(&["-T"], "test -t 1 || echo none"), "none\n");
    }),
    ("the working directory is the one that was named", "", |b| {
        assert_eq!(b.works(&["-w", "/srv", "--workspace", "none"], "pwd; cat file"), "/srv\noriginal\n");
    }),
    ("the image's working directory holds where there is no project", "", |b| {
        assert_eq!(b.works(&["--workspace", "none"], "pwd"), "/srv\n");
    }),
    ("in a project, commands start in it", "", |b| {
        assert_eq!(b.works(&[], "pwd"), format!("{}\n", b.world.project().display()));
    }),
    ("a user of the image by name, with his home", "", |b| {
        let text = b.works(
            &["-u", "app", "--workspace", "none"],
            "id -u; id -g; id -un; echo $HOME; cd; echo x > own; cat own",
        );
        assert_eq!(text, "7\n8\napp\n/home/app\nx\n");
    }),
    ("a user by number is known by a name", "", |b| {
        let text =
            b.works(&["-u", "1234:1234", "--workspace", "none"], "id -u; id -g; whoami; cd && echo x > own && cat own");
        assert_eq!(text, "1234\n1234\nuser\nx\n");
    }),
    ("a user by number is known by a name where nothing can be written", "", |b| {
        let options = ["--read-only", "-u", "1234:1235", "--workspace", "none"];
        let script = "whoami; id -gn; grep -c root: /etc/passwd; (echo x >> /etc/passwd) 2>/dev/null || echo refused";
        let text = "user\nuser\n1\nrefused\n";
        assert_eq!(b.works(&options, script), text);
        // Whom the image knows stays who he is.
        assert_eq!(b.works(&["--read-only", "-u", "app", "--workspace", "none"], "whoami; id -gn"), "app\napp\n");
        b.kept(&options, &[]);
        assert_eq!(b.exec(script), text);
        let _ = b.says(&["restart", "-t", "0", BOX]);
        assert_eq!(b.exec(script), text);
    }),
    ("a user of the image is in the groups that name him", "", |b| {
        // One id has no groups.
        let many_ids = b.backend != "native" || b.caller() == 0;
        let all = if many_ids { "8 50\n" } else { "8\n" };
        for (user, groups) in [("app", all), ("7", all), ("7:8", "8\n")] {
            assert_eq!(b.works(&["-u", user, "--workspace", "none"], "id -G"), groups, "{user}");
        }
        b.kept(&["-u", "app", "--workspace", "none"], &[]);
        assert_eq!(b.exec("id -G"), all);
        for (user, groups) in [("app", all), ("app:8", "8\n")] {
            assert_eq!(b.says(&["exec", "-u", user, BOX, "id", "-G"]), groups, "{user}");
        }
    }),
    ("an unknown user is refused", "", |b| {
        let output = b.run(&["-u", "nobody-knows"], &["true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(told(&output).contains("not known"), "{}", told(&output));
    }),
    ("a program can become nobody else", "", |b| {
        let text = b.works(&["-u", "1234", "--workspace", "none"], "setuidgid root id -u 2>/dev/null || echo refused");
        assert_eq!(text, "refused\n");
    }),
    ("an entrypoint stands before the command", "", |b| {
        let text = support::stdout(&mut b.run(&["--entrypoint", "echo"], &["said"]));
        assert_eq!(text, "said\n");
    }),
    ("the time limit is told, with status 124", "", |b| {
        let output = b.run(&["--timeout", "300ms"], &["sleep", "600"]).output().unwrap();
        assert_eq!(output.status.code(), Some(124));
        assert!(told(&output).contains("time limit"), "{}", told(&output));
    }),
    ("orphans are reaped", "", |b| {
        let script =
            "for n in 1 2 3 4 5 6 7 8; do (sleep 0.05 &) ; done; sleep 0.5; ps -o stat,comm | grep -c '^Z'; true";
        assert_eq!(b.works(&[], script), "0\n");
    }),
    ("what a command leaves running ends with it", "", |b| {
        // Some time that nobody else sleeps.
        let time = format!("{}", 1_000_000 + std::process::id());
        let id = b.works(&[], &format!("sleep {time} & echo $AGENTKERNEL_SANDBOX"));
        eventually("the sandbox is gone", || !b.says(&["ps", "-a", "-q"]).contains(id.trim()));
        let sleeps = || {
            let lines = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
            lines.filter_map(|path| fs::read_to_string(path).ok()).any(|line| line.split('\0').any(|word| word == time))
        };
        eventually("what it left is gone", || !sleeps());
    }),
    ("the outcome as JSON", "", |b| {
        let output = b.run(&["--json"], &["sh", "-c", "exit 4"]).output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        let value: serde_json::Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
        assert_eq!((value["status"].as_u64(), &value["exit"]["code"]), (Some(4), &serde_json::json!(4)), "{value}");
    }),
    ("the host name is the sandbox's", "", |b| {
        assert_eq!(b.works(&["--name", "called", "--keep"], "hostname; echo $(cat /etc/hostname)"), "called\ncalled\n");
    }),
    ("its own name leads to itself", "", |b| {
        let text =
            b.works(&["--name", "called", "--keep"], "ping -c1 -w1 called >/dev/null 2>&1; grep -c called /etc/hosts");
        assert_eq!(text, "1\n");
    }),
    ("no name of the host is known", "", |b| {
        let own = [
            "localhost",
            "ip6-localhost",
            "ip6-loopback",
            "ip6-localnet",
            "ip6-mcastprefix",
            "ip6-allnodes",
            "ip6-allrouters",
            "called",
        ];
        for extra in [&[][..], &["--read-only"]] {
            let text = b.works(&[&["--name", "called"], extra].concat(), "cat /etc/hosts");
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
            let names: Vec<&str> = lines.flat_map(|line| line.split_whitespace().skip(1)).collect();
            assert!(names.contains(&"called") && names.iter().all(|name| own.contains(name)), "{extra:?}: {text}");
        }
    }),
    ("init is the first process, and no other of the host is seen", "", |b| {
        let text = b.works(&[], "ps -o pid,comm | sort -n | awk '$1 == 1 {print $2}'; ps -o pid | wc -l");
        let (first, count) = text.split_once('\n').unwrap();
        assert!(first == "ak-init" && count.trim().parse::<u32>().unwrap() < 12, "{text}");
    }),
    ("an agent in it works for an editor", "", |b| {
        b.write(".git/config", "[core]\n");
        let adapter =
            format!("name = 'mine'\ntitle = 'Mine'\nversion = '1'\ncommand = ['/bin/sh', '-c', {AGENT:?}]\n[acp]\n");
        b.write("../home/.config/agentkernel/agents/mine.toml", &adapter);
        let arguments = ["acp", "mine", "--backend", b.backend, "--image", IMAGE, "--no-checkpoint"];
        let mut editor = rpc::Client::new(&mut b.agentkernel(&arguments));
        let capabilities = json!({"fs": {"readTextFile": true, "writeTextFile": true}});
        let hello = editor.request("initialize", json!({"protocolVersion": 1, "clientCapabilities": capabilities}));
        assert_eq!(hello["result"]["protocolVersion"], 1, "{hello}");
        let session = editor.request("session/new", json!({"cwd": b.world.project(), "mcpServers": []}));
        assert_eq!(session["result"]["sessionId"], "s", "{session}");
        for (name, told) in [("made by an agent", "result"), (".git/config", "error")] {
            let prompt = json!([{"type": "text", "text": name}]);
            let turn = editor.request("session/prompt", json!({"sessionId": "s", "prompt": prompt}));
            assert_eq!(turn["result"]["stopReason"], "end_turn", "{turn}");
            let answer = editor.notifications().pop().unwrap();
            assert!(answer["params"]["answer"].get(told).is_some(), "{answer}");
        }
        assert_eq!((b.read("made by an agent"), b.read(".git/config")), ("by it\n".into(), "[core]\n".into()));
        assert_eq!(b.owner("made by an agent"), b.caller());
        assert!(editor.close().success());
    }),
    ("what writes much in the background harms nobody", "", |b| {
        assert_eq!(b.works(&[], "(yes | head -c 3000000) & wait; echo end").lines().last(), Some("end"));
    }),
];
