//! `run`: what a newcomer types first.

use std::{
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::MetadataExt, process::ExitStatusExt},
    process::Stdio,
};
use support::{NOBODY, Who, World, eventually, scaled, stdout, told};

#[test]
fn what_is_placed_in_another_is_seen() {
    for who in Who::all() {
        let world = World::new(who);
        let project = world.project().display().to_string();
        let _ = stdout(
            world
                .command("sh")
                .args(["-c", "mkdir -p have ~/own/a ~/deep; echo mine > have/file; echo own > ~/own/file"]),
        );
        let own = world.home().join("own").display().to_string();
        let deep = world.home().join("deep").display().to_string();
        for mode in ["direct", "overlay"] {
            let script = "ls have; echo x > have/y; echo x > new/y; echo x > /data/a/y; ls /in/out; df -t tmpfs have new /data/a | wc -l";
            let mut run = world.agentkernel(["run", "--workspace", mode, "--tmpfs", &format!("{project}/have")]);
            run.args(["--tmpfs", &format!("{project}/new"), "--tmpfs", "/data/a", "--mount", &format!("{own}:/data")]);
            run.args([
                "--mount",
                &format!("{own}:/in/out"),
                "--mount",
                &format!("{deep}:/in"),
                "--",
                "sh",
                "-c",
                script,
            ]);
            assert_eq!(stdout(&mut run), "a\nfile\n4\n", "{mode}");
            let left = stdout(world.command("sh").args(["-c", "ls have new ~/own/a 2>/dev/null"]));
            assert!(left.lines().all(|line| line != "y") && left.contains("file"), "{left}");
        }
        let home = ["run", "--workspace", "none", "--tmpfs", "/home", "--", "sh", "-c", "touch ~/x && echo fine"];
        assert_eq!(stdout(&mut world.agentkernel(home)), "fine\n");
        // What the user has mounted there is his: nothing is made in it.
        let mount = format!("{deep}:/home");
        let _ =
            stdout(&mut world.agentkernel(["run", "--workspace", "none", "--mount", &mount, "-w", "/", "--", "true"]));
        let made: Vec<_> = std::fs::read_dir(&deep).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(made, ["out"], "the mount point from above, and no more");
        let output = world.agentkernel(["run", "--tmpfs", &project, "--", "true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
        assert!(told(&output).contains("would hide the workspace"), "{}", told(&output));
    }
}

#[test]
fn nobody_sees_a_sandbox_whose_run_is_over() {
    for who in Who::all() {
        let world = World::new(who);
        for _ in 0..20 {
            let _ = stdout(&mut world.agentkernel(["run", "--", "true"]));
            assert_eq!(stdout(&mut world.agentkernel(["ps", "-aq"])), "");
        }
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn the_readme_command_runs_and_leaves_its_file_with_the_right_owner() {
    for who in Who::all() {
        let world = World::new(who);
        let script = "id -u; hostname; pwd; echo hello > hello.txt; test ! -e /etc/shadow && cat hello.txt";
        let text = stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script]));
        let uid = if who == Who::Nobody { NOBODY } else { rustix::process::getuid().as_raw() };
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], uid.to_string());
        assert_eq!(lines[2], world.project().to_str().unwrap());
        assert_eq!(lines[3], "hello");
        let file = fs::metadata(world.project().join("hello.txt")).unwrap();
        let project = fs::metadata(world.project()).unwrap();
        assert_eq!((file.uid(), file.gid()), (project.uid(), project.gid()));
    }
}

#[test]
fn exit_statuses_are_dockers() {
    for who in Who::all() {
        let world = World::new(who);
        for (command, status) in [
            (vec!["true"], 0),
            (vec!["sh", "-c", "exit 42"], 42),
            (vec!["sh", "-c", "kill -TERM $$"], 143),
            (vec!["sh", "-c", "kill -KILL $$"], 137),
            (vec!["/nowhere/at/all"], 127),
            (vec!["no-such-program"], 127),
            (vec!["/etc/passwd"], 126),
            (vec!["/usr"], 126),
        ] {
            let output = world.agentkernel(["run", "--"]).args(&command).output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{command:?}: {}", told(&output));
            let told_why = !output.stderr.is_empty();
            assert_eq!(told_why, matches!(status, 125..=127), "{command:?}: {}", told(&output));
        }
        let output = world.agentkernel(["run", "--no-such-flag", "true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    }
}

#[test]
fn streams_stay_apart_and_live() {
    let world = World::new(Who::Me);
    let script = "echo out; echo err >&2; read line; echo got $line";
    let mut child = world
        .agentkernel(["run", "-i", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first line must arrive while the command still waits for its input.
    let mut first = [0; 4];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!(&first, b"out\n");
    child.stdin.take().unwrap().write_all(b"this\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"got this\n", "{}", told(&output));
    assert_eq!(output.stderr, b"err\n");
}

#[test]
fn standard_input_is_empty_unless_asked_for() {
    let world = World::new(Who::Me);
    let output = world.agentkernel(["run", "--", "cat"]).stdin(Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", told(&output));
}

#[test]
fn sixty_four_mebibytes_pass_unchanged_both_ways() {
    for who in Who::all() {
        let world = World::new(who);
        let bytes: Vec<u8> = (0..scaled(64 << 20)).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let mut child =
            world.agentkernel(["run", "-i", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let sent = bytes.clone();
        let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success(), "{}", output.status);
        assert!(output.stdout == bytes, "{} bytes came back, of {}", output.stdout.len(), bytes.len());
    }
}

#[test]
fn a_reader_that_leaves_ends_the_command() {
    let world = World::new(Who::Me);
    let mut child = world.agentkernel(["run", "--", "yes"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut two = [0; 2];
    let mut out = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut out, &mut two).unwrap();
    drop(out);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(141), "{status}");
}

#[test]
fn signals_reach_the_command() {
    let world = World::new(Who::Me);
    let script = "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = world.agentkernel(["run", "--", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.status.signal()), (Some(7), None));
    assert_eq!(output.stdout, b"caught\n");
}

#[test]
fn environment_is_only_what_was_asked_for() {
    let world = World::new(Who::Me);
    fs::write(world.project().join("vars"), "# comment\nFROM_FILE=a=b \nTAKEN\n").unwrap();
    let mut command =
        world.agentkernel(["run", "-e", "GIVEN=x y", "--env-file", "vars", "-e", "CALLERS", "--", "env", "-0"]);
    command.env("CALLERS", "theirs").env("TAKEN", "too").env("SECRET_TOKEN", "no").env("SSH_AUTH_SOCK", "/run/x");
    let text = stdout(&mut command);
    let vars: Vec<_> = text.split('\0').collect();
    for wanted in ["GIVEN=x y", "FROM_FILE=a=b ", "TAKEN=too", "CALLERS=theirs"] {
        assert!(vars.contains(&wanted), "{wanted} is missing in {vars:?}");
    }
    for name in ["SECRET_TOKEN=", "SSH_AUTH_SOCK=", "XDG_RUNTIME_DIR="] {
        assert!(!vars.iter().any(|var| var.starts_with(name)), "{name} is in {vars:?}");
    }
}

#[test]
fn any_project_path_will_do() {
    for who in Who::all() {
        let world = World::new(who);
        let deep = "d".repeat(190);
        let mut long = String::new();
        while long.len() + deep.len() + 1 < 3_800 {
            long.push_str(&deep);
            long.push('/');
        }
        for name in
            ["with space", "ünï-©ode", "co:lon,comma\\back'\"quote$(x)", "new\nline", long.trim_end_matches('/')]
        {
            // One step at a time: the whole path may be longer than a path may be.
            let path = world.project().join(name);
            let _ = stdout(world.command("mkdir").arg("-p").arg(&path));
            let mut command = world.agentkernel(["run", "--", "sh", "-c", "pwd; echo x > made"]);
            let text = stdout(command.current_dir(&path));
            assert_eq!(text.trim_end_matches('\n').as_bytes(), path.as_os_str().as_bytes());
            assert!(path.join("made").is_file());
        }
    }
}

#[test]
fn the_callers_home_is_not_there_and_the_sandboxs_own_is() {
    for who in Who::all() {
        let world = World::new(who);
        fs::write(world.home().join("canary"), "private").unwrap();
        let script = "test -w \"$HOME\" && touch \"$HOME/x\" && ls -A \"$HOME\"; cat \"$1\" 2>&1";
        let canary = world.home().join("canary");
        let mut command = world.agentkernel(["run", "--", "sh", "-c", script, "sh"]);
        let output = command.arg(&canary).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.starts_with("x\n") && !text.contains("private"), "{}", told(&output));
        assert!(!world.home().join("x").exists());
    }
}

#[test]
fn workspace_modes() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(world.command("sh").args(["-c", "printf before > file"]));
        let script = "cat file; echo after > file; rm -f other; cat file";
        let text = stdout(&mut world.agentkernel(["run", "--workspace", "overlay", "--", "sh", "-c", script]));
        assert_eq!(text, "beforeafter\n");
        assert_eq!(fs::read_to_string(world.project().join("file")).unwrap(), "before");
        let text =
            stdout(&mut world.agentkernel(["run", "--workspace", "none", "--", "sh", "-c", "pwd; ls file 2>&1; true"]));
        assert!(!text.contains(world.project().to_str().unwrap()) && text.contains("No such file"), "{text}");
    }
}

#[test]
fn directories_of_lower_layers_go_and_come_back() {
    for who in Who::all() {
        let world = World::new(who);
        let _ =
            stdout(world.command("sh").args(["-c", "mkdir -p full/sub empty move; touch full/sub/a full/b move/c"]));
        let workspace = "rm -r full; mkdir full; rmdir empty; mkdir empty; mv move moved; ls -R";
        let expected = ".:\nempty\nfull\nmoved\n\n./empty:\n\n./full:\n\n./moved:\nc\n";
        // Of the image: what the sandbox's own user may change of it, in any mode.
        let image = "mkdir -p /etc/x/y && rm -r /etc/x; rm -r /etc/skel && mkdir /etc/skel && ls -A /etc/skel";
        for keep in [false, true] {
            let mut command = world.agentkernel(["run", "--workspace", "overlay"]);
            command.args(keep.then_some("--keep"));
            let output = command.args(["--", "sh", "-ec", &format!("{workspace}; {image}")]).output().unwrap();
            assert!(output.status.success() && output.stdout == expected.as_bytes(), "{who:?}: {}", told(&output));
        }
        assert!(world.project().join("full/sub/a").is_file());
    }
}

#[test]
fn mounts_tmpfs_and_read_only() {
    for who in Who::all() {
        let world = World::new(who);
        let data = world.home().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("in"), "in").unwrap();
        if who == Who::Nobody {
            std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mount = |suffix: &str| format!("{}:/mnt/data{suffix}", data.display());
        let script = "cat /mnt/data/in; echo x > /mnt/data/out";
        let _ = stdout(&mut world.agentkernel(["run", "--mount", &mount(""), "--", "sh", "-c", script]));
        let owner = fs::metadata(&data).unwrap();
        let out = fs::metadata(data.join("out")).unwrap();
        assert_eq!((out.uid(), out.gid()), (owner.uid(), owner.gid()));
        let output = world
            .agentkernel(["run", "--mount", &mount(":ro"), "--", "sh", "-c", "echo y > /mnt/data/out"])
            .output()
            .unwrap();
        assert!(!output.status.success() && fs::read(data.join("out")).unwrap() == b"x\n", "{}", told(&output));

        let script = "df -k --output=size /scratch | tail -1; head -c 3000000 /dev/zero > /scratch/big";
        let output = world.agentkernel(["run", "--tmpfs", "/scratch:1M", "--", "sh", "-c", script]).output().unwrap();
        assert!(!output.status.success(), "{}", told(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1024");

        let script = "touch /usr/x 2>/dev/null && echo usr; touch /x 2>/dev/null && echo root; touch /tmp/x $HOME/x w && echo rest";
        let text = stdout(&mut world.agentkernel(["run", "--read-only", "--", "sh", "-c", script]));
        assert_eq!(text, "rest\n");
    }
}

#[test]
fn a_time_limit_is_told() {
    let world = World::new(Who::Me);
    let output = world.agentkernel(["run", "--timeout", "300ms", "--", "sleep", "60"]).output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("time limit"), "{}", told(&output));
    // One that only serves execs has an end as well.
    let _ = stdout(&mut world.agentkernel(["create", "--timeout", "300ms", "--name", "box"]));
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    eventually("its time is up", || stdout(&mut world.agentkernel(["ps", "-a"])).contains("exited (124)"));
}

#[test]
fn an_outcome_as_json() {
    let world = World::new(Who::Me);
    let output = world.agentkernel(["run", "--json", "--", "sh", "-c", "echo out; exit 3"]).output().unwrap();
    assert_eq!(output.stdout, b"out\n");
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.contains("\"status\":3") && line.contains("\"id\":\""), "{line}");
}

/// Whoever reads the last line gets it whole, whatever the command wrote before.
#[test]
fn the_line_of_json_stands_alone() {
    for who in Who::all() {
        let world = World::new(who);
        let run = |redirect: &str, script: &str| {
            let line = format!("\"$0\" run --json -- sh -c '{script}' {redirect}");
            world.command("sh").args(["-c", &line]).arg(world.binary()).output().unwrap()
        };
        let check = |output: &[u8], before: &str| {
            let text = String::from_utf8(output.to_vec()).unwrap();
            let line = text.strip_prefix(before).unwrap_or_else(|| panic!("{text}"));
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(line["status"], 3, "{text}");
        };
        let output = run("", "printf out; printf err >&2; exit 3");
        assert_eq!(output.stdout, b"out", "nothing is added to what is another stream's");
        check(&output.stderr, "err\n");
        check(&run("", "printf out; echo err >&2; exit 3").stderr, "err\n");
        check(&run("", "printf out; exit 3").stderr, "");
        check(&run("2>&1", "printf out; exit 3").stdout, "out\n");
        check(&run("2>&1", "echo out; exit 3").stdout, "out\n");
        // What is told in words stands alone too, and nothing is added where nothing is told.
        let mut late = world.agentkernel(["run", "--timeout", "300ms", "--", "sh", "-c", "printf err >&2; sleep 60"]);
        let text = String::from_utf8(late.output().unwrap().stderr).unwrap();
        assert!(text.starts_with("err\nagentkernel: Killed"), "{text}");
        let output = world.agentkernel(["run", "--", "sh", "-c", "printf err >&2"]).output().unwrap();
        assert_eq!(output.stderr, b"err");
    }
}

#[test]
fn a_failure_as_json() {
    for who in Who::all() {
        let world = World::new(who);
        // What is told, and the line that is always the last.
        let run = |arguments: &[&str]| {
            let output = world.agentkernel(["run", "--json"]).args(arguments).output().unwrap();
            assert!(output.stdout.is_empty(), "{}", told(&output));
            let text = String::from_utf8(output.stderr).unwrap();
            let (told, line) = text.trim_end().rsplit_once('\n').unwrap();
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["status"], output.status.code().unwrap(), "{line}");
            (told.to_owned(), line)
        };
        let (text, line) = run(&["--", "nonexist"]);
        assert_eq!(text, "agentkernel: Cannot find nonexist in PATH");
        assert_eq!((&line["status"], &line["error"]), (&127.into(), &"Cannot find nonexist in PATH".into()));
        assert!(line["id"].is_string(), "{line}");
        let (_, line) = run(&["--timeout", "100ms", "--", "sleep", "60"]);
        assert_eq!((&line["status"], &line["exit"]), (&124.into(), &"deadline".into()));
        // What a kept one leaves is named.
        for how in ["-d", "--keep"] {
            let (text, line) = run(&[how, "--", "nonexist"]);
            let id = line["id"].as_str().unwrap();
            let hint = format!("hint: Sandbox {id} is kept: 'agentkernel rm {id}' removes it");
            assert!(line["status"] == 127 && text.ends_with(&hint), "{text}\n{line}");
            let _ = stdout(&mut world.agentkernel(["rm", id]));
        }
        let (text, line) = run(&["-w", "../x", "true"]);
        assert!(text.contains("'..'") && line["status"] == 125 && line["id"].is_null(), "{text}\n{line}");
        assert!(line["error"].as_str().is_some_and(|error| text.contains(error)), "{text}\n{line}");
        // And what is wrong with the arguments.
        for (arguments, cause) in [
            (&["--memroy", "1G", "true"][..], "No option '--memroy'"),
            (&[], "COMMAND is missing"),
            (&["--memory", "1Q", "true"], "--memory: '1Q': not a size: use a number and K, M, G or T, such as 512M"),
            (&["--rm", "--keep", "true"], "--rm can't be used together with --keep"),
        ] {
            let (text, line) = run(arguments);
            assert!(text.starts_with(&format!("agentkernel: {cause}\n  hint: ")), "{text}");
            let nothing = serde_json::Value::Null;
            assert_eq!(
                (&line["error"], &line["status"], &line["id"]),
                (&cause.into(), &125.into(), &nothing),
                "{line}"
            );
        }
        let theirs = world.agentkernel(["run", "--nonsense=1", "jq", "--json"]).output().unwrap();
        assert!(theirs.status.code() == Some(125) && !told(&theirs).contains('{'), "{}", told(&theirs));
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        let (_, line) = run(&["-d", "--name", "box", "true"]);
        assert!(line["error"].as_str().unwrap().starts_with("Name 'box' belongs to"), "{line}");
        let _ = stdout(&mut world.agentkernel(["rm", "box"]));
        assert_eq!(stdout(&mut world.agentkernel(["ps", "-aq"])), "");
    }
}

#[test]
fn connections_are_refused_at_once_and_told_why() {
    let script = r#"
import socket, sys, time
start = time.monotonic()
s = socket.create_connection(("example.org", 80), timeout=20)
s.sendall(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
print(s.recv(4096).decode())
for address, port, said in (("192.0.2.1", 8081, b"GET /"), ("192.0.2.1", 25, b""), ("2001:db8::1", 5432, b"x")):
    try:
        s = socket.create_connection((address, port), timeout=20)
        s.sendall(said)
        print(s.recv(12).decode())
    except OSError as error:
        print(type(error).__name__)
print("slow" if time.monotonic() - start > 15 else "quick")
"#;
    for who in Who::all() {
        let world = World::new(who);
        let output = world.agentkernel(["run", "--", "python3", "-c", script]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.starts_with("HTTP/1.1 403") && text.contains("network mode is 'none'"), "{}", told(&output));
        let caught = ["HTTP/1.1 403", "ConnectionResetError", "ConnectionResetError", "quick\n"].join("\n");
        assert!(text.ends_with(&caught), "{}", told(&output));
        let told = String::from_utf8_lossy(&output.stderr);
        for target in ["example.org:80", "192.0.2.1:8081", "192.0.2.1:25", "[2001:db8::1]:5432"] {
            assert!(told.contains(target), "{told}");
        }
    }
}

/// Whatever is caught is on its way out: programs have every port to themselves, and talk over loopback.
#[test]
fn programs_have_every_port() {
    let script = r#"
import socket
for port in (22, 80, 443, 3000, 8080, 5432):
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        listener = socket.create_server((address, port), family=family)
        client = socket.create_connection((address, port), 5)
        server, _ = listener.accept()
        server.sendall(b"x")
        assert client.recv(1) == b"x"
        for s in (client, server, listener): s.close()
    try: socket.create_connection(("localhost", port), 5); print("who answers?")
    except ConnectionRefusedError: pass
for flag in (0, 1):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, flag)
    try: s.bind(("127.0.0.1", 53)); print("who answers names?")
    except OSError: pass
print("done")
"#;
    for who in Who::all() {
        let world = World::new(who);
        assert_eq!(stdout(&mut world.agentkernel(["run", "--", "python3", "-c", script])), "done\n");
    }
}

/// As much as Linux takes: agents get whole documents as an argument, and environments grow.
#[test]
fn large_arguments_and_environment_arrive_and_larger_ones_are_refused() {
    for who in Who::all() {
        let world = World::new(who);
        let script = "printf %s \"$1$2$3$4\" | wc -c; printf %s \"$A$B\" | wc -c";
        let big = "x".repeat(120_000);
        let variables = [format!("A={big}"), format!("B={big}")];
        let mut run =
            world.agentkernel(["run", "-e", &variables[0], "-e", &variables[1], "--", "sh", "-c", script, "sh"]);
        assert_eq!(stdout(run.args([&big; 4])), "480000\n240000\n");
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let mut exec =
            world.agentkernel(["exec", "-e", &variables[0], "-e", &variables[1], "box", "sh", "-c", script, "sh"]);
        assert_eq!(stdout(exec.args([&big; 4])), "480000\n240000\n");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        let files: Vec<_> = (0..5).map(|file| world.project().join(format!("env{file}"))).collect();
        for (number, file) in files.iter().enumerate() {
            let text: String = (0..10).map(|i| format!("V{number}_{i}={big}\n")).collect();
            fs::write(file, text).unwrap();
        }
        for (count, cause, status) in [
            (5, "too large", 125),
            (2, "Cannot execute true: arguments and environment are too large for the kernel", 126),
        ] {
            let mut run = world.agentkernel(["run"]);
            files[..count].iter().for_each(|file| {
                run.arg("--env-file").arg(file);
            });
            let output = run.args(["--", "true"]).output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{}", told(&output));
            assert!(told(&output).contains(cause), "{}", told(&output));
            eventually("nothing is left", || world.leftovers().is_empty());
        }
    }
}
