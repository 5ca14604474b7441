//! What a command reached, as a patch and in the log.

use std::{fs::File, io::Write as _, net::TcpListener, process::Output, thread};
use support::{Who, World, stdout, told};

/// A service of the host that greets, on a port of its own.
fn service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let _ = client.unwrap().write_all(b"hello\n");
        }
    });
    port
}

#[test]
fn what_a_command_reaches_becomes_a_patch() {
    for who in Who::all() {
        let (world, port) = (World::new(who), service());
        let script = format!(
            "import socket, sys
print(socket.create_connection(('host.agentkernel.internal', {port}), 10).recv(100).decode().strip(), flush=True)
try: socket.create_connection(('10.11.12.13', 81), 10).recv(1)
except OSError: pass
sys.exit(3)"
        );
        let service = format!("localhost:{port}");
        let learn = ["policy", "learn", "--open", &service, "--", "python3", "-c", &script];
        let output = world.agentkernel(learn).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", told(&output));
        let text = String::from_utf8_lossy(&output.stdout);
        let patch = text.strip_prefix("hello\n").unwrap();
        assert!(patch.starts_with("--- /dev/null\n+++ b/agentkernel.toml\n"), "{text}");
        assert!(patch.contains(&format!("+    \"localhost:{port}\",\n")), "{text}");
        let review = "+    # \"10.11.12.13:81\", # refused: 10.11.12.13 is a private address\n";
        assert!(patch.contains(review), "{text}");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(words.contains("Not reached, though the network was open: 10.11.12.13:81"), "{words}");

        // It is a patch that patch(1) and git take, and then the command needs no flag.
        let file = world.project().join("learned.patch");
        std::fs::write(&file, patch).unwrap();
        let applied = world.command("git").args(["apply", "learned.patch"]).output().unwrap();
        assert!(applied.status.success(), "{}", told(&applied));
        let _ = stdout(&mut world.agentkernel(["trust"]));
        let again = world.agentkernel(["run", "--", "python3", "-c", &script]).output().unwrap();
        assert!(String::from_utf8_lossy(&again.stdout).starts_with("hello\n"), "{}", told(&again));
        let known = world.agentkernel(["policy", "learn", "--", "python3", "-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&known.stdout), "hello\n", "{}", told(&known));
        assert!(told(&known).contains("nothing that agentkernel.toml does not allow already"), "{}", told(&known));

        let summary = stdout(&mut world.agentkernel(["net", "log", "--summary", "--json"]));
        let line = |host: &str| {
            let lines = summary.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            lines.into_iter().find(|line| line["host"] == host).unwrap()
        };
        let (reached, refused) = (line("host.agentkernel.internal"), line("10.11.12.13"));
        assert_eq!((&reached["allowed"], &reached["received"]), (&3.into(), &18.into()), "{summary}");
        assert_eq!((&refused["allowed"], &refused["denied"]), (&0.into(), &3.into()), "{summary}");
        let table = stdout(&mut world.agentkernel(["net", "log", "--denied"]));
        assert_eq!(table.matches("10.11.12.13:81").count(), 3, "{table}");
        assert!(!table.contains("host.agentkernel.internal"), "{table}");
    }
}

/// What the user's own limits refuse is told, and nobody is asked for flags that he did not write.
#[test]
fn within_the_users_own_limits() {
    for who in Who::all() {
        let (world, port) = (World::new(who), service());
        let dir = world.home().join(".config/agentkernel");
        std::fs::create_dir_all(&dir).unwrap();
        let limits = format!("[network]\nallow = ['*.example.org']\nhost_services = ['localhost:{port}']\n");
        std::fs::write(dir.join("config.toml"), limits).unwrap();
        let script = format!(
            "import socket
print(socket.create_connection(('host.agentkernel.internal', {port}), 10).recv(100).decode().strip(), flush=True)
for target in ('10.11.12.13', 81), ('www.example.net', 443), ('host.agentkernel.internal', 1):
    try: socket.create_connection(target, 10).recv(1)
    except OSError: pass"
        );
        let service = format!("localhost:{port}");
        let learn = ["policy", "learn", "--open", &service, "--", "python3", "-c", &script];
        let output = world.agentkernel(learn).output().unwrap();
        let (text, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && text.contains(&format!("+    \"{service}\",\n")), "{}", told(&output));
        assert!(words.contains("Refused by your own limits: www.example.net:443, 10.11.12.13:81\n"), "{words}");
        assert!(!text.contains("10.11.12.13") && !text.contains("www.example.net"), "{text}");
        assert!(text.contains("+    # \"localhost:1\", # refused: a service of the host\n"), "{text}");
        // Who asks for more than he has is told so.
        let output = world.agentkernel(["policy", "learn", "--net", "open", "--", "true"]).output().unwrap();
        assert!(told(&output).contains("`--net open` is beyond your own limits"), "{}", told(&output));
    }
}

#[test]
fn nothing_can_be_learned_without_a_network() {
    let world = World::new(Who::Me);
    let output = world.agentkernel(["policy", "learn", "--net", "none", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    assert!(told(&output).contains("Nothing can be learned with the network mode 'none'"), "{}", told(&output));
    let dir = world.home().join(".config/agentkernel");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("config.toml"), "[network]\nmode = \"none\"\n").unwrap();
    let output = world.agentkernel(["policy", "learn", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    let words = "Nothing can be learned: your own limits have the network mode 'none'";
    assert!(told(&output).contains(words) && told(&output).contains("config.toml"), "{}", told(&output));
}

/// Nothing that is there is lost, and the project's own file least of all.
#[test]
fn the_patch_goes_to_a_new_file() {
    for who in Who::all() {
        let (world, port) = (World::new(who), service());
        let service = format!("localhost:{port}");
        let script =
            format!("import socket; socket.create_connection(('host.agentkernel.internal', {port}), 10).recv(1)");
        let learn = |output: &str| {
            let words = ["policy", "learn", "-o", output, "--open", &service, "--", "python3", "-c", &script];
            world.agentkernel(words).output().unwrap()
        };
        let at = |name: &str| world.project().join(name);
        let written = "# ours\n[network]\ndeny = ['x.example']\n";
        std::fs::write(at("agentkernel.toml"), written).unwrap();
        std::fs::write(at("notes"), "mine").unwrap();
        std::os::unix::fs::symlink("elsewhere", at("link")).unwrap();
        std::os::unix::fs::symlink("agentkernel.toml", at("own")).unwrap();
        let own = world.project().join("agentkernel.toml");
        for (output, words) in [
            (
                "agentkernel.toml",
                "The patch can't be agentkernel.toml itself\n  hint: Name another file, such as learned.patch: 'git apply' applies it\n",
            ),
            (own.to_str().unwrap(), "The patch can't be agentkernel.toml itself\n"),
            ("notes", "notes is there already\n  hint: Name a new file, or remove this one\n"),
            ("link", "link is there already\n"),
            ("own", "own is there already\n"),
        ] {
            let refused = learn(output);
            assert!(refused.status.code() == Some(125) && told(&refused).contains(words), "{}", told(&refused));
        }
        assert_eq!(std::fs::read_to_string(at("agentkernel.toml")).unwrap(), written);
        assert!(std::fs::read_to_string(at("notes")).unwrap() == "mine" && !at("elsewhere").exists());
        let records = stdout(&mut world.agentkernel(["net", "log"]));
        assert_eq!(records.lines().count(), 1, "the command ran: {records}");

        let made = learn("learned.patch");
        assert!(made.status.success() && made.stdout.is_empty(), "{}", told(&made));
        let applied = world.command("git").args(["apply", "learned.patch"]).output().unwrap();
        assert!(applied.status.success(), "{}", told(&applied));
        assert!(std::fs::read_to_string(at("agentkernel.toml")).unwrap().starts_with(written));
        // What the command itself puts there, a link too, is not written through.
        let script = "import os; os.symlink('elsewhere', 'late.patch')";
        let words = ["policy", "learn", "-o", "late.patch", "--allow", "a.b", "--", "python3", "-c"];
        std::fs::remove_file(at("agentkernel.toml")).unwrap();
        let connect = format!(
            "{script}; import socket; socket.create_connection(('host.agentkernel.internal', {port}), 10).recv(1)"
        );
        let late = world.agentkernel(words).arg(connect).output().unwrap();
        assert!(!at("elsewhere").exists(), "{}", told(&late));
        assert!(told(&late).contains("late.patch is there already\n"), "{}", told(&late));
    }
}

/// Whoever learns further down in the project is told where the patch belongs, by a command that applies it.
#[test]
fn a_patch_that_belongs_further_up() {
    for who in Who::all() {
        let (world, port) = (World::new(who), service());
        let (file, sub) = (world.project().join("agentkernel.toml"), world.project().join("sub"));
        let _ = stdout(world.command("sh").args(["-c", "git init -q && mkdir sub"]));
        let service = format!("localhost:{port}");
        let script =
            format!("import socket; socket.create_connection(('host.agentkernel.internal', {port}), 10).recv(1)");
        let learn = |output: &[&str]| {
            let words = [&["policy", "learn", "--open", &service], output, &["--", "python3", "-c", &script]].concat();
            world.agentkernel(words).current_dir(&sub).output().unwrap()
        };
        let apply = |output: &Output, patch: Option<&[u8]>| {
            let text = told(output);
            assert!(text.contains(&format!("The patch is for {}\n", file.display())), "{text}");
            let (_, command) = text.split_once("hint: `").unwrap_or_else(|| panic!("{text}"));
            let (command, _) = command.split_once('`').unwrap();
            let input = sub.join("input");
            std::fs::write(&input, patch.unwrap_or_default()).unwrap();
            let mut git = world.command("sh");
            git.args(["-c", command]).current_dir(&sub).stdin(File::open(input).unwrap());
            let _ = stdout(&mut git);
            assert!(std::fs::read_to_string(&file).unwrap().contains(&service));
            std::fs::remove_file(&file).unwrap();
        };
        let printed = learn(&[]);
        apply(&printed, Some(&printed.stdout));
        apply(&learn(&["-o", "learned.patch"]), None);
        assert!(sub.join("learned.patch").exists());
    }
}

/// A sandbox that runs keeps the project's file from being made by anybody: that is told, with what helps.
#[test]
fn a_patch_that_cannot_be_applied_yet() {
    for who in Who::all() {
        let (world, port) = (World::new(who), service());
        let _ = stdout(&mut world.agentkernel(["create", "--name", "one", "--", "sleep", "600"]));
        let _ = stdout(&mut world.agentkernel(["start", "one"]));
        let service = format!("localhost:{port}");
        let script =
            format!("import socket; socket.create_connection(('host.agentkernel.internal', {port}), 10).recv(1)");
        let learn = |output: &str| {
            let words = ["policy", "learn", "-o", output, "--open", &service, "--", "python3", "-c", &script];
            told(&world.agentkernel(words).output().unwrap())
        };
        let apply = |patch: &str| world.command("git").args(["apply", patch]).output().unwrap().status.success();
        let words = |what: &str| format!("a sandbox that runs keeps {what} from being made");
        let hint = "\n  hint: `agentkernel stop one` lets it be made\n";
        let text = learn("first.patch");
        assert!(
            text.contains(&format!("The patch can't be applied yet: {}{hint}", words("agentkernel.toml")))
                && !apply("first.patch"),
            "{text}"
        );
        let text = told(&world.agentkernel(["trust"]).output().unwrap());
        assert!(
            text.contains("There is no agentkernel.toml in ") && text.contains(&format!(": {}{hint}", words("it"))),
            "{text}"
        );
        let _ = stdout(&mut world.agentkernel(["stop", "-t", "0", "one"]));
        let text = learn("second.patch");
        assert!(!text.contains("from being made") && apply("first.patch"), "{text}");
        let _ = stdout(&mut world.agentkernel(["rm", "one"]));
    }
}
