//! What may be reached, before anything is: rules from flags, the project and the user, and who decides.

use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::PathBuf,
    process::{Output, Stdio},
};
use support::{NOBODY, Who, World, eventually, stdout, told};

/// The user's own limits.
fn limits(world: &World, text: &str) -> PathBuf {
    let dir = world.home().join(".config/agentkernel");
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("config.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}

fn project(world: &World, text: &str) {
    fs::write(world.project().join("agentkernel.toml"), text).unwrap();
    let _ = stdout(&mut world.agentkernel(["trust"]));
}

/// Status and standard output, with the paths of project and home made short.
fn net_check(world: &World, arguments: &[&str]) -> (i32, String) {
    let output = world.agentkernel(["net", "check"]).args(arguments).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", told(&output));
    (output.status.code().unwrap(), short(world, &output.stdout))
}

fn short(world: &World, text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).replace(world.project().to_str().unwrap(), "PROJECT");
    text.replace(world.home().to_str().unwrap(), "HOME")
}

fn refused(world: &World, output: &Output, status: i32) -> String {
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(status), &b""[..]), "{}", told(output));
    short(world, &output.stderr)
}

#[test]
fn check_tells_what_decides() {
    for who in Who::all() {
        let world = World::new(who);
        let none = "example.org:443: refused by 'mode none' (the default): the network mode is 'none' [network-none]\n  \
                    `--allow example.org:443` would allow it by name\n";
        assert_eq!(net_check(&world, &["example.org"]), (1, none.into()));
        let flag = "example.org:22: allowed by '*.org:*' (a flag)\n";
        let asked = ["example.org:22", "--allow", "*.org:*", "--no-lookup"];
        assert_eq!(net_check(&world, &asked), (0, flag.into()));
        let found = net_check(&world, &["10.11.12.13:80", "--net", "open"]);
        let address = "\n  10.11.12.13: refused: 10.11.12.13 is a private address [private-address]\n";
        assert!(found.0 == 1 && found.1.contains(address), "{found:?}");
        let json: Value =
            serde_json::from_str(&net_check(&world, &["10.11.12.13:80", "--net", "open", "--json"]).1).unwrap();
        assert_eq!(json["reason"], "private-address");
        assert_eq!(json["addresses"][0]["allowed"], false);

        // An address needs no looking up to be judged.
        for address in ["169.254.169.254", "[::ffff:169.254.169.254]", "10.1.2.3:22", "[fd00::1]", "[::ffff:10.1.2.3]"]
        {
            let found = net_check(&world, &[address, "--net", "open", "--no-lookup"]);
            assert!(found.0 == 1 && found.1.contains("[private-address]"), "{found:?}");
        }
        // The rule that names an address is the one that decides.
        let rules = ["--allow", "*", "--allow", "10.0.0.0/8:80"];
        let found = net_check(&world, &[&["10.1.2.3:80"], &rules[..]].concat());
        assert!(found.0 == 0 && found.1.contains("10.1.2.3:80: allowed by '10.0.0.0/8:80' (a flag)\n"), "{found:?}");

        let file = "[network]
allow = ['*.example.org', { host = 'api.example.net', methods = ['GET'], paths = ['/v1/'] }]
deny = ['bad.example.org']
host_services = ['localhost:5432']
[secrets]
TOKEN = ['api.example.net']
";
        project(&world, file);
        for (asked, status, told) in [
            ("www.example.org", 0, "allowed by '*.example.org' (PROJECT/agentkernel.toml:2)"),
            ("bad.example.org", 1, "refused by 'bad.example.org' (PROJECT/agentkernel.toml:3): a rule denies it"),
            ("exmple.org", 1, "refused by 'mode allow' (PROJECT/agentkernel.toml:2): no rule allows it [not-allowed]"),
            ("api.example.net", 0, "\n  these requests only: GET on /v1/\n  with secrets: TOKEN\n"),
        ] {
            let found = net_check(&world, &[asked, "--no-lookup"]);
            assert!(found.0 == status && found.1.contains(told), "{found:?}");
        }
        // Names are looked up, and addresses looked at.
        let found = net_check(&world, &["host.agentkernel.internal:5432"]);
        assert!(found.0 == 0 && found.1.contains("\n  127.0.0.1: allowed\n"), "{found:?}");
        let found = net_check(&world, &["nothing.invalid", "--net", "open"]);
        let failed = found.1.contains("[no-such-host]") || found.1.contains("[lookup-failed]");
        assert!(found.0 == 1 && found.1.contains(": would fail: ") && failed, "{found:?}");

        let json = net_check(&world, &["www.example.org", "--no-lookup", "--json"]).1;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["allowed"], &json["decision"]["origin"]), (&Value::Bool(true), &"project".into()));

        // What `run` would not do is not judged.
        fs::write(world.project().join("agentkernel.toml"), "[network]\nmode = 'open'\n").unwrap();
        let output = world.agentkernel(["net", "check", "example.org"]).output().unwrap();
        let words = refused(&world, &output, 125);
        assert!(words.contains("asks for more than a project gets by itself: mode = open"), "{words}");
        let (status, _) = net_check(&world, &["example.org", "--net", "none"]);
        assert_eq!(status, 1);
    }
}

/// What is dialled at a loopback address never leaves the sandbox, whatever is allowed.
#[test]
fn the_sandbox_itself_is_no_host_to_allow() {
    for who in Who::all() {
        let world = World::new(who);
        let words = "inside, this is the sandbox itself, and nothing of the host";
        let closed = "`--open localhost:80` would let it be reached, as host.agentkernel.internal:80";
        let open = "The host's is reached as host.agentkernel.internal:80";
        for (asked, flag) in [
            ("127.0.0.1:80", ["--allow", "127.0.0.1:80"]),
            ("localhost:80", ["--open", "localhost:80"]),
            ("app.localhost:80", ["--net", "open"]),
            ("[::1]:80", ["--allow", "[::1]:80"]),
        ] {
            let hint = if flag[0] == "--open" { open } else { closed };
            let (status, told) = net_check(&world, &[asked, flag[0], flag[1]]);
            assert!(status == 1 && told.contains(words) && told.contains(hint), "{asked}: {told}");
            let json = net_check(&world, &[asked, flag[0], flag[1], "--json"]).1;
            let json: Value = serde_json::from_str(&json).unwrap();
            assert_eq!((&json["allowed"], &json["cause"]), (&Value::Bool(false), &words.into()), "{json}");
        }
        for (flags, expected) in [
            (&["--allow", "127.0.0.1:80"][..], true),
            (&["--allow", "127.0.0.1:80", "--allow", "app.example.org"], false),
            (&["--open", "localhost:80"], false),
        ] {
            let output = world.agentkernel(["run"]).args(flags).args(["--", "true"]).output().unwrap();
            assert!(output.status.success(), "{}", told(&output));
            assert_eq!(
                told(&output).contains(&format!("'127.0.0.1:80' allows nothing: {words}")),
                expected,
                "{flags:?}"
            );
        }
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        let output = world.agentkernel(["net", "allow", "box", "localhost:80"]).output().unwrap();
        assert!(refused(&world, &output, 1).contains(&format!("'localhost:80' allows nothing: {words}")));
    }
}

/// What is denied is allowed again by the same words, also what no rule could allow; and by them alone.
#[test]
fn what_was_denied_can_be_taken_back() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(&mut world.agentkernel(["create", "--name", "idle", "--allow", "www.example.org:8443"]));
        let running = ["run", "-d", "--name", "running", "--allow", "www.example.org:8443", "--", "sleep", "600"];
        let _ = stdout(&mut world.agentkernel(running));
        let net = |what: &str, name: &str, rule: &str| world.agentkernel(["net", what, name, rule]).output().unwrap();
        for name in ["idle", "running"] {
            let denied = || {
                let spec = stdout(&mut world.agentkernel(["inspect", name]));
                serde_json::from_str::<Value>(&spec).unwrap()[0]["running"]["denied"].clone()
            };
            for rule in ["host.agentkernel.internal", "localhost", "localhost:80", "127.0.0.1", "[::1]:80"] {
                assert!(net("deny", name, rule).status.success());
                assert!(name == "idle" || denied() == serde_json::json!([rule]), "{}", denied());
                // Another spelling is another rule.
                let output = net("allow", name, "localhost:9999");
                assert!(refused(&world, &output, 1).contains("'localhost:9999' allows nothing: "));
                let words = refused(&world, &net("allow", name, rule), 0);
                assert!(words.contains(&format!("'{rule}' is denied no more, and allows nothing else: ")), "{words}");
                assert!(name == "idle" || denied() == serde_json::json!([]), "{}", denied());
                assert!(refused(&world, &net("allow", name, rule), 1).contains(&format!("'{rule}' allows nothing: ")));
            }
        }
        // Without a port it was denied on every one: what the limits leave of that is allowed again.
        limits(&world, "[network]\nallow = ['www.example.org:8443']\n");
        let _ = stdout(&mut world.agentkernel(["create", "--name", "wide", "--allow", "www.example.org:8443"]));
        assert!(net("deny", "wide", "www.example.org").status.success());
        let words = refused(&world, &net("allow", "wide", "www.example.org"), 0);
        assert!(words.contains("A part of 'www.example.org' is still refused by your own limits"), "{words}");
        let words = refused(&world, &net("allow", "wide", "www.example.org"), 1);
        assert!(words.contains("All of 'www.example.org' is still refused by your own limits"), "{words}");
        // Whoever is to be cut off is so, whatever is wrong with the limits, which stay what they were.
        let path = limits(&world, "[network]\nalow = []\n");
        for name in ["wide", "running"] {
            let words = refused(&world, &net("deny", name, "bad.example.org"), 0);
            let mistake = "config.toml:2:1: unknown key 'alow' in [network]\n  hint: Did you mean `allow`?\n";
            assert!(words.contains("It is denied, but your own limits stay as they were: "), "{words}");
            assert!(words.contains(mistake), "{words}");
            assert_eq!(net("allow", name, "bad.example.org").status.code(), Some(1));
        }
        fs::remove_file(path).unwrap();
        let spec: Value = serde_json::from_str(&stdout(&mut world.agentkernel(["inspect", "wide"]))).unwrap();
        let policy = &spec[0]["spec"]["network"]["policy"];
        assert_eq!(policy["rules"]["deny"][0]["to"], "bad.example.org");
        assert_eq!(policy["ceiling"]["allow"][0]["to"], "www.example.org:8443");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "running"]));
    }
}

/// All of it that the limits refuse is no part.
#[test]
fn limits_of_services_alone_leave_nothing_open() {
    for who in Who::all() {
        let world = World::new(who);
        limits(&world, "[network]\nmode = 'none'\nhost_services = ['localhost:5432']\n");
        let output = world.agentkernel(["run", "--net", "open", "--", "true"]).output().unwrap();
        assert!(refused(&world, &output, 125).contains("`--net open` is beyond your own limits: no rule allows it"));
        let output = world.agentkernel(["run", "--open", "localhost:5432", "--", "true"]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", told(&output));
    }
}

/// By its name inside, the host is its services and nothing else.
#[test]
fn the_host_is_no_host_to_allow() {
    const HOST: &str = "host.agentkernel.internal:11434";
    for who in Who::all() {
        let world = World::new(who);
        let void = format!("'{HOST}' allows nothing: this is the host, where only services are reached\n");
        let hint = "reached by '--open localhost:PORT'";
        for allow in [&["--allow", HOST][..], &["--net", "open", "--allow", HOST]] {
            let output = world.agentkernel(["run"]).args(allow).args(["--", "true"]).output().unwrap();
            assert!(output.status.success() && told(&output).contains(&void), "{}", told(&output));
            assert!(told(&output).contains(hint), "{}", told(&output));
        }
        project(&world, &format!("[network]\nallow = ['{HOST}']\n"));
        let output = world.agentkernel(["create", "--name", "box"]).output().unwrap();
        assert!(output.status.success() && told(&output).contains(&void), "{}", told(&output));
        let output = world.agentkernel(["net", "allow", "box", HOST]).output().unwrap();
        assert!(refused(&world, &output, 1).contains(&void));
        let (status, text) = net_check(&world, &[HOST]);
        let advice = "\n  `--open localhost:11434` would allow it: it is the host\n";
        assert!(status == 1 && text.contains(advice) && !text.contains("allowed is"), "{text}");
        // It may be opened by that name as well.
        project(&world, &format!("[network]\nhost_services = ['{HOST}']\n"));
        let (status, text) = net_check(&world, &[HOST]);
        assert!(status == 0 && text.contains("allowed by 'service localhost:11434'"), "{text}");
        let output = world.agentkernel(["run", "--open", HOST, "--", "true"]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", told(&output));
        let file = world.project().join("agentkernel.toml");
        for service in ["foo.localhost:80", "0.0.0.0:80", "[::]:80"] {
            fs::remove_file(&file).unwrap();
            let output = world.agentkernel(["run", "--open", service, "--", "true"]).output().unwrap();
            assert!(refused(&world, &output, 125).contains("hint: Write HOST:PORT, such as localhost:5432"));
            fs::write(&file, format!("[network]\nhost_services = ['{service}']\n")).unwrap();
            let output = world.agentkernel(["run", "--", "true"]).output().unwrap();
            assert!(refused(&world, &output, 125).contains("agentkernel.toml:2:18: `host_services`: '"));
        }
    }
}

#[test]
fn the_user_limits_projects_and_flags() {
    for who in Who::all() {
        let world = World::new(who);
        limits(&world, "[network]\nallow = ['*.example.org']\ndeny = ['bad.example.org']\nbandwidth = '1M'\n");
        project(&world, "[network]\nmode = 'open'\nbandwidth = '2M'\n");
        let file = "HOME/.config/agentkernel/config.toml";
        let mine = format!("your own limits, {file}");
        // Nobody is told of a flag that would be refused.
        for (asked, told) in [
            (
                "example.net",
                format!("\n  refused as well by 'mode allow' ({mine})\n  [network] in {file} must allow it first\n"),
            ),
            ("10.0.0.1:80", format!("\n  [network] in {file} must allow it first\n")),
            ("host.agentkernel.internal:80", format!("\n  [network] in {file} must allow it first\n")),
            ("www.example.org", "\n  `--allow www.example.org:443` would allow it by name\n".to_owned()),
            ("bad.example.org", format!("refused by 'bad.example.org' ({mine}:3): a rule denies it")),
        ] {
            let found = net_check(&world, &[asked, "--net", "allow", "--no-lookup"]);
            assert!(found.0 == 1 && found.1.contains(&told), "{found:?}\n{told}");
            assert_eq!(found.1.contains("would allow"), told.contains("would allow"), "{found:?}");
        }
        for (asked, status, told) in [
            ("www.example.org", 0, format!("\n  allowed by '*.example.org' ({mine}:2)\n")),
            ("bad.example.org", 1, format!("refused by 'bad.example.org' ({mine}:3)")),
            ("example.net", 1, format!("refused by 'mode allow' ({mine}): the limits in the user's own")),
            ("localhost:5432", 1, format!("[network] in {file} must allow it first\n")),
        ] {
            let found = net_check(&world, &[asked, "--no-lookup"]);
            assert!(found.0 == status && found.1.contains(&told), "{found:?}\n{told}");
        }
        for flag in [["--allow", "example.net"], ["--open", "localhost:5432"]] {
            for command in [&["run"][..], &["create"]] {
                let output = world.agentkernel(command).args(flag).args(["--", "true"]).output().unwrap();
                let status = if command == ["run"] { 125 } else { 1 };
                let flag = flag.join(" ");
                let hint = "They stand in HOME/.config/agentkernel/config.toml: [network]";
                let why = if flag.starts_with("--allow") { ": no rule allows it" } else { "" };
                let expected = format!("agentkernel: `{flag}` is beyond your own limits{why}\n  hint: {hint}\n");
                assert_eq!(refused(&world, &output, status), expected);
            }
        }
        for (flag, what) in [(["--allow", "*"], "'*'"), (["--net", "open"], "`--net open`")] {
            let output = world.agentkernel(["run"]).args(flag).args(["--", "true"]).output().unwrap();
            let part = format!(
                "agentkernel: A part of {what} is beyond your own limits: no rule allows it\n  \
                 hint: They stand in HOME/.config/agentkernel/config.toml: [network]\n"
            );
            assert!(output.status.success() && short(&world, &output.stderr) == part, "{}", told(&output));
        }
        let output =
            world.agentkernel(["run", "--bandwidth", "2M", "--connections", "9", "--", "true"]).output().unwrap();
        let part = "agentkernel: `--bandwidth` is beyond your own limits: 1048576 bytes per second\n  \
                    hint: They stand in HOME/.config/agentkernel/config.toml: [network]\n";
        assert!(output.status.success() && short(&world, &output.stderr) == part, "{}", told(&output));
        let none = net_check(&world, &["www.example.org", "--net", "none"]).1;
        assert!(none.contains("\n  Without `--net none`, `--allow www.example.org:443` would"), "{none}");
        let create = ["create", "--name", "box", "--allow", "www.example.org"];
        let output = world.agentkernel(create).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", told(&output));
        let spec: Value = serde_json::from_str(&stdout(&mut world.agentkernel(["inspect", "box"]))).unwrap();
        let network = &spec[0]["spec"]["network"];
        assert_eq!(network["bandwidth"], 1 << 20);
        assert_eq!(network["policy"]["ceiling"]["allow"][0]["to"], "*.example.org");
        assert_eq!(network["policy"]["rules"]["mode"], "open");
        let row: Value = serde_json::from_str(&stdout(&mut world.agentkernel(["ps", "-a", "--json"]))).unwrap();
        assert_eq!(row[0]["net"], "open");
        // XDG_CONFIG_HOME says where it lies.
        let elsewhere = world
            .agentkernel(["net", "check", "example.net", "--no-lookup"])
            .env("XDG_CONFIG_HOME", world.project())
            .output()
            .unwrap();
        assert_eq!(elsewhere.status.code(), Some(0), "{}", told(&elsewhere));
    }
}

#[test]
fn limits_that_cannot_be_relied_on() {
    for who in Who::all() {
        let world = World::new(who);
        let run = |world: &World| refused(world, &world.agentkernel(["run", "true"]).output().unwrap(), 125);
        let path = limits(&world, "[network]\nalow = []\n");
        let mistake = "agentkernel: HOME/.config/agentkernel/config.toml:2:1: unknown key 'alow' in [network]\n  \
                       hint: Did you mean `allow`?\n";
        assert_eq!(run(&world), mistake);
        limits(&world, "[secrets]\nA = ['b.c']\n");
        assert!(run(&world).contains(":1:2: unknown table 'secrets'"));

        limits(&world, "");
        let _ = stdout(&mut world.agentkernel(["run", "true"]));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        let words = run(&world);
        assert!(words.contains("config.toml is your configuration, but everybody can write it\n  hint: "), "{words}");
        if rustix::process::getuid().is_root() {
            let stranger = if who == Who::Nobody { NOBODY + 1 } else { NOBODY };
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            chown(&path, Some(stranger), None).unwrap();
            assert!(run(&world).contains(&format!("but user {stranger} can write it")));
        }
        fs::remove_file(&path).unwrap();
        symlink("nowhere", &path).unwrap();
        assert!(run(&world).contains("is a symbolic link to nothing"));
        fs::write(path.with_file_name("nowhere"), "").unwrap();
        fs::set_permissions(path.with_file_name("nowhere"), fs::Permissions::from_mode(0o644)).unwrap();
        let _ = stdout(&mut world.agentkernel(["run", "true"]));
    }
}

/// What was set, and does nothing or less than nothing, is told in one line, and is no reason not to run.
#[test]
fn secrets_and_variables_that_lead_astray() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(&mut world.agentkernel(["secret", "set", "KEY", "--from-env", "V", "--host", "*.example.org"]));
        let told_of = |flags: &[&str]| {
            let mut run = world.agentkernel(["run"]);
            let output = run.args(flags).args(["--", "true"]).env("V", "value").output().unwrap();
            assert!(output.status.success(), "{}", told(&output));
            short(&world, &output.stderr)
        };
        let nowhere = "agentkernel: Secret 'KEY' is put in nowhere: none of its hosts is allowed";
        let secret = ["--secret", "KEY", "--allow", "example.net"];
        assert_eq!(
            told_of(&secret),
            format!("{nowhere}, *.example.org\n  hint: `--allow '*.example.org'` would allow it\n")
        );
        let denied = [&secret[..], &["--net", "open", "--deny", "*.example.org"]].concat();
        assert_eq!(
            told_of(&denied),
            format!("{nowhere}, *.example.org\n  hint: Of *.example.org, '*.example.org' denies it\n")
        );
        let read = ["--secret", "KEY", "--allow", "a.example.org"];
        assert_eq!(told_of(&read), "");
        let astray = "agentkernel: SSL_CERT_FILE names other certificates: TLS whose requests are read fails for programs \
                      that obey it\n  hint: Leave that out, or add /etc/agentkernel/ca.pem to what is named\n";
        assert_eq!(told_of(&[&read[..], &["-e", "SSL_CERT_FILE=/own.pem"]].concat()), astray);
        assert_eq!(told_of(&["--allow", "a.example.org", "-e", "SSL_CERT_FILE=/own.pem"]), "");
        limits(&world, "[network]\nallow = ['example.net']\n");
        let limited = told_of(&["--secret", "KEY", "--net", "open"]);
        assert!(limited.contains(&format!("{nowhere} by your own limits, *.example.org\n")), "{limited}");
    }
}

/// What a human is told to type is about the sandbox that asked, whatever it was called when it was started.
#[test]
fn a_new_name_is_told_at_once() {
    let world = World::new(Who::Me);
    let ask = |name: &str| {
        let script = r"exec 3<>/dev/tcp/192.0.2.1/80; printf 'GET / HTTP/1.1\r\nHost: 192.0.2.1\r\nConnection: close\r\n\r\n' >&3; cat <&3";
        stdout(&mut world.agentkernel(["exec", name, "--", "bash", "-c", script]))
    };
    let recorded = |name: &str| {
        let log = stdout(&mut world.agentkernel(["net", "log", name, "--json"]));
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        last["name"].as_str().unwrap().to_owned()
    };
    let _ = stdout(&mut world.agentkernel(["create", "--name", "first", "--allow", "example.com"]));
    let _ = stdout(&mut world.agentkernel(["start", "first"]));
    assert!(ask("first").contains("agentkernel net allow first 192.0.2.1"), "{}", ask("first"));
    assert_eq!(recorded("first"), "first");
    let mut events = world.agentkernel(["events", "--json", "first"]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("somebody listens", || stdout(&mut world.agentkernel(["inspect", "first"])).contains("first"));
    let _ = stdout(&mut world.agentkernel(["rename", "first", "second"]));
    assert!(ask("second").contains("agentkernel net allow second 192.0.2.1"), "{}", ask("second"));
    assert_eq!(recorded("second"), "second");
    // Egress that is started anew knows it as well, and so does the next start.
    let _ = stdout(&mut world.agentkernel(["restart", "second"]));
    assert!(ask("second").contains("agentkernel net allow second 192.0.2.1"));
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "second"]));
    let mut told = String::new();
    std::io::Read::read_to_string(&mut events.stdout.take().unwrap(), &mut told).unwrap();
    events.wait().unwrap();
    assert!(told.contains(r#""name":"second""#), "{told}");
}
