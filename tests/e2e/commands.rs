//! Each command's own promises, where no other module tests them.

use std::{fs, io::Read as _, os::unix::fs::symlink, process::Stdio};
use support::{Who, World, eventually, stdout, told};

/// A sandbox called `box` that has written five lines and waits.
fn five_lines(world: &World) {
    let script = "for n in 1 2 3 4 5; do echo line $n; done; echo complaint >&2; exec sleep 600";
    let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "box", "--", "sh", "-c", script]));
    eventually("it has written", || {
        String::from_utf8_lossy(&world.agentkernel(["logs", "box"]).output().unwrap().stderr).contains("complaint")
    });
}

fn remove(world: &World) {
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}

#[test]
fn stats() {
    for who in Who::all() {
        let world = World::new(who);
        five_lines(&world);
        let table = stdout(&mut world.agentkernel(["stats"]));
        assert!(table.starts_with("ID ") && table.contains("box"), "{table}");
        for arguments in [&["stats", "--json"][..], &["stats", "--json", "box"]] {
            let rows: serde_json::Value = serde_json::from_str(&stdout(&mut world.agentkernel(arguments))).unwrap();
            let row = &rows[0];
            assert_eq!(row["name"], "box");
            assert!(row["processes"].as_u64().unwrap() >= 1 && row["memory_bytes"].as_u64().unwrap() > 4096, "{rows}");
        }
        remove(&world);
        assert_eq!(stdout(&mut world.agentkernel(["stats", "--json"])), "[]\n");
    }
}

#[test]
fn logs() {
    let world = World::new(Who::Me);
    five_lines(&world);
    assert_eq!(stdout(&mut world.agentkernel(["logs", "box"])).lines().count(), 5);
    let output = world.agentkernel(["logs", "--tail", "2", "box"]).output().unwrap();
    // The last two of both streams, each where it belongs.
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"line 5\n"[..], &b"complaint\n"[..]), "{}", told(&output));
    assert_eq!(stdout(&mut world.agentkernel(["logs", "-n", "0", "box"])), "");
    assert_eq!(stdout(&mut world.agentkernel(["logs", "--tail", "all", "box"])).lines().count(), 5);
    let stamped = stdout(&mut world.agentkernel(["logs", "-t", "box"]));
    assert!(stamped.lines().all(|line| line.contains("Z line ") && line.starts_with("20")), "{stamped}");
    // Following shows what comes, and ends with the sandbox.
    let follower = world
        .agentkernel(["logs", "-f", "-n", "1", "box"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = stdout(&mut world.agentkernel(["exec", "-d", "box", "sh", "-c", "echo from an exec"]));
    eventually("the log has it", || stdout(&mut world.agentkernel(["logs", "box"])).contains("from an exec"));
    let _ = stdout(&mut world.agentkernel(["stop", "-t", "1", "box"]));
    let output = follower.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "from an exec\n", "{}", told(&output));
    remove(&world);
}

#[test]
fn ps_and_inspect() {
    for who in Who::all() {
        let world = World::new(who);
        five_lines(&world);
        let id = stdout(&mut world.agentkernel(["ps", "-q"]));
        let id = id.trim();
        let rows: serde_json::Value = serde_json::from_str(&stdout(&mut world.agentkernel(["ps", "--json"]))).unwrap();
        assert_eq!((&rows[0]["id"], &rows[0]["backend"]), (&id.into(), &"native".into()), "{rows}");
        assert_eq!(
            stdout(&mut world.agentkernel(["ps", "--format", "json"])),
            stdout(&mut world.agentkernel(["ps", "--json"]))
        );
        let line = stdout(&mut world.agentkernel(["ps", "--format", "{id}|{{.Names}}|{workspace}"]));
        assert_eq!(line, format!("{id}|box|direct:{}\n", world.project().display()));
        let line =
            stdout(&mut world.agentkernel(["inspect", "--format", "{name} {spec.image} {spec.limits.memory}", "box"]));
        assert_eq!(line, "box host \n");
        let documents = stdout(&mut world.agentkernel(["inspect", "--json", "box", id]));
        assert_eq!(documents.lines().count(), 1);
        let documents: serde_json::Value = serde_json::from_str(&documents).unwrap();
        assert_eq!(documents[0]["spec"], documents[1]["spec"]);
        // Which walls hold stands there, with a name each.
        let walls = documents[0]["running"]["walls"].as_array().unwrap();
        assert!(walls.len() >= 8 && walls.iter().all(|wall| wall["name"].is_string()), "{walls:?}");
        for command in [&["inspect", "--format", "{nothing}", "box"][..], &["ps", "--format", "{nothing}"]] {
            let output = world.agentkernel(command).output().unwrap();
            assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{}", told(&output));
            assert!(String::from_utf8_lossy(&output.stderr).contains("No field 'nothing'"), "{}", told(&output));
        }
        remove(&world);
    }
}

/// What scripts that were written for Docker ask.
#[test]
fn one_word_says_how_a_sandbox_is() {
    let world = World::new(Who::Me);
    let id = stdout(&mut world.agentkernel(["create", "--name", "box", "--", "sh", "-c", "read x; exit 3"]));
    let id = id.trim();
    let shows = |format: &str| stdout(&mut world.agentkernel(["inspect", "-f", format, "box"])).trim_end().to_owned();
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&stdout(&mut world.agentkernel(arguments))).unwrap()
    };
    const ALL: &str = "{{.Id}} {{.Name}} {{.State.Status}} [{{.State.ExitCode}}]";
    assert_eq!(shows(ALL), format!("{id} box created [0]"));
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    assert_eq!(stdout(&mut world.agentkernel(["wait", "box"])), "3\n");
    assert_eq!(shows(ALL), format!("{id} box exited [3]"));
    let row = &json(&["ps", "-a", "--json"])[0];
    assert_eq!((&row["status"], &row["state"]["exited"]["exit"]["code"]), (&"exited".into(), &3.into()), "{row}");
    let whole = &json(&["inspect", "box"])[0];
    assert_eq!((&whole["id"], &whole["name"], &whole["status"]), (&id.into(), &"box".into(), &"exited".into()));
    assert_eq!(shows("{{json .}}"), whole.to_string());
    let line = stdout(&mut world.agentkernel(["ps", "-a", "--format", "{{json .}}"]));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), *row);
    for (field, hint) in [
        ("{config}", "There are created_ms, directory, exit_status, id, name,"),
        ("{{.HostConfig.Memory}}", "There are Config, Created, Id, Mounts, Name, State"),
        ("{{.State.Health}}", "There are ExitCode, FinishedAt, OOMKilled, Pid, Running, StartedAt, Status"),
        ("{{.State.Runing}}", "Did you mean 'Running'?"),
        ("{running.init_pid}", "'running' is null"),
    ] {
        let output = world.agentkernel(["inspect", "-f", field, "box"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{field}: {}", told(&output));
        assert!(text.contains(&format!("hint: {hint}")), "{field}: {text}");
    }
    remove(&world);

    five_lines(&world);
    assert_eq!(shows("{{.State.Status}}"), "running");
    let pid: u32 = shows("{{.State.Pid}}").parse().unwrap();
    assert_eq!(pid, support::inspected(&world, "box", "init_pid"));
    assert_eq!(json(&["ps", "--json"])[0]["status"], "running");
    remove(&world);
}

/// Templates as they stand in scripts that were written for Docker.
#[test]
fn templates_by_dockers_names() {
    for who in Who::all() {
        let world = World::new(who);
        let project = world.project();
        let project = project.display();
        let shows =
            |format: &str| stdout(&mut world.agentkernel(["inspect", "-f", format, "box"])).trim_end().to_owned();
        let json = |format: &str| serde_json::from_str::<serde_json::Value>(&shows(format)).unwrap();
        let mut create = world.agentkernel(["create", "--name", "box", "-e", "A=1", "-w", "/tmp", "--"]);
        let id = stdout(create.args(["sh", "-c", "read x; sleep 600"]));
        let id = id.trim();
        const STATE: &str =
            "{{.State.Status}} {{.State.Running}} {{.State.Pid}} {{.State.ExitCode}} {{.State.OOMKilled}}";
        const NEVER: &str = "0001-01-01T00:00:00Z";
        assert_eq!(shows(STATE), "created false 0 0 false");
        assert_eq!(shows(r"{{.State.StartedAt}}\n{{.State.FinishedAt}}"), format!("{NEVER}\n{NEVER}"));
        assert_eq!(shows("{{.Config.Image}} {{.Config.WorkingDir}} {{.Config.Hostname}}"), "host /tmp box");
        assert_eq!(shows("{{json .Config.Cmd}}"), r#"["sh","-c","read x; sleep 600"]"#);
        assert!(json("{{json .Config.Env}}").as_array().unwrap().contains(&"A=1".into()));
        let user = shows("{spec.identity.uid}:{spec.identity.gid}");
        assert_eq!(shows("{{.Config.User}}"), user);
        let mounts = format!(r#"[{{"Destination":"{project}","RW":true,"Source":"{project}","Type":"bind"}}]"#);
        assert_eq!(shows("{{json .Mounts}}"), mounts);
        let line =
            stdout(&mut world.agentkernel(["ps", "-a", "--format", r"{{.ID}}\t{{.Names}}\t{{.State}}\t{{.Mounts}}"]));
        assert_eq!(line, format!("{id}\tbox\tcreated\t{project}\n"));
        let created = stdout(&mut world.agentkernel(["ps", "-a", "--format", "{{.CreatedAt}}"]));
        assert!(created.starts_with("20") && created.trim() == shows("{{.Created}}"), "{created}");

        let _ = stdout(&mut world.agentkernel(["rm", "box"]));
        let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "box", "--", "sleep", "600"]));
        let pid = support::inspected(&world, "box", "init_pid");
        assert_eq!(shows(STATE), format!("running true {pid} 0 false"));
        assert!(shows("{{.State.StartedAt}}").starts_with("20") && shows("{{.State.FinishedAt}}") == NEVER);
        let table = stdout(&mut world.agentkernel([
            "ps",
            "--format",
            r"table {{.Names}}\t{{.Image}}\t{{.RunningFor}}\t{{.Command}}",
        ]));
        let (heading, row) = table.split_once('\n').unwrap();
        assert_eq!(heading.find("IMAGE"), row.find("host"), "{table}");
        let age = heading.find("RUNNING FOR").map(|at| &row[at..]);
        assert!(age.is_some_and(|age| age.starts_with(|c: char| c.is_ascii_digit())), "{table}");
        assert_eq!(heading.find("COMMAND"), row.find("sleep 600"), "{table}");
        let _ = stdout(&mut world.agentkernel(["kill", "box"]));
        let _ = stdout(&mut world.agentkernel(["wait", "box"]));
        let state = json("{{json .State}}");
        assert_eq!((&state["Running"], &state["Pid"], &state["ExitCode"]), (&false.into(), &0.into(), &137.into()));
        assert!(state["FinishedAt"].as_str().unwrap() > state["StartedAt"].as_str().unwrap(), "{state}");
        // A heading is all there is of nothing, and what is not known is told even then.
        remove(&world);
        assert_eq!(stdout(&mut world.agentkernel(["ps", "--format", r"table {{.ID}}\t{{.Status}}"])), "ID   STATUS\n");
        let output = world.agentkernel(["ps", "--format", "{{.Ports}}"]).output().unwrap();
        assert!(told(&output).contains("hint: There are id, name, names, status, state,"), "{}", told(&output));
    }
}

#[test]
fn ids_by_prefix() {
    let world = World::new(Who::Me);
    // With seventeen of them, two begin with the same digit.
    let ids: Vec<String> = (0..17).map(|_| stdout(&mut world.agentkernel(["create"])).trim().to_owned()).collect();
    let digit = |id: &String| id[..1].to_owned();
    let shared = ids.iter().find(|id| ids.iter().filter(|other| digit(other) == digit(id)).count() > 1).unwrap();
    let output = world.agentkernel(["inspect", &digit(shared)]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(text.contains(&format!("'{}' fits ", digit(shared))) && text.contains(shared.as_str()), "{text}");
    assert!(text.contains("hint: Give more digits"), "{text}");
    // Nothing is removed on a guess.
    let output = world.agentkernel(["rm", &digit(shared)]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    for id in &ids {
        assert_eq!(stdout(&mut world.agentkernel(["inspect", "--format", "{spec.id}", &id[..11]])).trim(), id);
    }
    // A name wins over a prefix.
    let _ = stdout(&mut world.agentkernel(["rename", &ids[0], &digit(&ids[1])]));
    assert_eq!(
        stdout(&mut world.agentkernel(["inspect", "--format", "{spec.id}", &digit(&ids[1])])).trim(),
        ids[0].as_str()
    );
}

#[test]
fn wait_and_restart_for_several() {
    let world = World::new(Who::Me);
    let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "one", "--", "sleep", "600"]));
    let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "two", "--", "sh", "-c", "exit 5"]));
    let waiter = world.agentkernel(["wait", "one", "two"]).stdout(Stdio::piped()).spawn().unwrap();
    let _ = stdout(&mut world.agentkernel(["kill", "-s", "TERM", "one"]));
    let statuses = waiter.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&statuses.stdout), "143\n5\n");
    assert_eq!(stdout(&mut world.agentkernel(["restart", "one", "two"])), "one\ntwo\n");
    assert_eq!(stdout(&mut world.agentkernel(["wait", "two"])), "5\n");
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "one", "two"]));
    eventually("nothing is left", || world.leftovers().is_empty());
}

#[test]
fn completions_manual_and_version() {
    let world = World::new(Who::Me);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = stdout(&mut world.agentkernel(["completions", shell]));
        for word in ["agentkernel", "inspect", "workspace"] {
            assert!(script.contains(word), "no {word} for {shell}");
        }
    }
    std::fs::write(world.project().join("script"), stdout(&mut world.agentkernel(["completions", "bash"]))).unwrap();
    let complete = "source ./script; COMP_WORDS=(agentkernel rena); COMP_CWORD=1; _agentkernel agentkernel rena agentkernel; \
                    echo ${COMPREPLY[@]}";
    assert_eq!(stdout(world.command("bash").args(["-c", complete])), "rename\n");

    let _ = stdout(&mut world.agentkernel(["create", "--name", "alpha"]));
    let path = format!("{}:/usr/bin:/bin", world.binary().parent().unwrap().display());
    let takers = "attach cp exec inspect kill logs port rename restart rm start stats stop wait";
    let complete = format!(
        "source ./script; for command in {takers} create; do COMP_WORDS=(agentkernel $command al); COMP_CWORD=2; \
         _agentkernel agentkernel al $command; echo $command ${{COMPREPLY[@]}}; done"
    );
    let names: String = takers.split(' ').map(|command| format!("{command} alpha\n")).collect();
    let names = names.replace("cp alpha", "cp alpha:") + "create\n";
    assert_eq!(stdout(world.command("bash").args(["-c", &complete]).env("PATH", path)), names);
    let path = format!("{}:/usr/bin:/bin", world.binary().parent().unwrap().display());
    let complete = "source ./script; for command in log allow deny check; do COMP_WORDS=(agentkernel net $command al); \
                    COMP_CWORD=3; _agentkernel agentkernel al $command; echo $command ${COMPREPLY[@]}; done";
    let names = "log alpha\nallow alpha\ndeny alpha\ncheck\n";
    assert_eq!(stdout(world.command("bash").args(["-c", complete]).env("PATH", path)), names);
    let _ = stdout(&mut world.agentkernel(["rm", "alpha"]));

    for (option, values) in [("--workspace", "direct overlay none\n"), ("--net", "none allow open\n")] {
        let complete = format!(
            "source ./script; COMP_WORDS=(agentkernel run {option} ''); COMP_CWORD=3; \
             _agentkernel agentkernel '' {option}; echo ${{COMPREPLY[@]}}"
        );
        assert_eq!(stdout(world.command("bash").args(["-c", &complete])), values);
    }

    let page = stdout(&mut world.agentkernel(["man"]));
    assert!(page.contains(".TH agentkernel 1") && page.contains("AGENTKERNEL_STATE_DIR"), "{page}");
    // It refers to what there is: commands, not pages that nobody has installed.
    assert!(page.contains("\nagentkernel run\n") && !page.contains("(1)"), "{page}");
    for command in ["run", "create", "exec", "cp", "gc"] {
        let page = stdout(&mut world.agentkernel(["man", command]));
        assert!(page.contains(&format!("agentkernel\\-{command}")), "{page}");
    }
    let page = stdout(&mut world.agentkernel(["man", "net", "check"]));
    assert!(page.contains("agentkernel\\-net\\-check") && page.contains("\\-\\-no\\-lookup"), "{page}");
    assert!(stdout(&mut world.agentkernel(["man", "net"])).contains("\nagentkernel net check\n"));
    let version = stdout(&mut world.agentkernel(["version"]));
    assert!(version.starts_with("agentkernel 0."), "{version}");
    assert!(stdout(&mut world.agentkernel(["version", "--json"])).contains("\"protocol\":"));
}

#[test]
fn a_signal_for_no_command() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        for (arguments, cause, hint) in [
            (&["-s", "TERM"][..], "no main command to send a signal to", "'agentkernel stop' ends"),
            (&["--exec", "5"], "Exec 5 is not running", "'agentkernel inspect' lists"),
        ] {
            let output = world.agentkernel(["kill", "box"]).args(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{}", told(&output));
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains(cause) && text.contains(&format!("hint: {hint}")), "{text}");
        }
        let _ = stdout(&mut world.agentkernel(["kill", "box"]));
        remove(&world);
    }
}

/// Its reader would see an error, and the command an empty input.
#[test]
fn a_directory_is_no_input() {
    let world = World::new(Who::Me);
    let _ = stdout(&mut world.agentkernel(["create", "-i", "--name", "box", "--", "cat"]));
    let refused = |arguments: &[&str]| {
        let folder = std::fs::File::open(world.project()).unwrap();
        let output = world.agentkernel(arguments).stdin(folder).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}: {}", told(&output));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with("agentkernel: Standard input is a directory\n  hint: Name a file"), "{text}");
    };
    refused(&["run", "-i", "--", "cat"]);
    refused(&["start", "-a", "box"]);
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    refused(&["attach", "box"]);
    refused(&["exec", "-i", "box", "cat"]);
    // Who takes no input does not look at it.
    let folder = std::fs::File::open(world.project()).unwrap();
    assert_eq!(stdout(world.agentkernel(["exec", "box", "echo", "fine"]).stdin(folder)), "fine\n");
    remove(&world);
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    let world = World::new(Who::Me);
    for arguments in [&["--help"][..], &["help", "run"], &["--version"], &["version"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = world.agentkernel(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", told(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{}", told(&output));
    }
}

#[test]
fn a_link_called_ak() {
    let world = World::new(Who::Me);
    let link = world.project().join("ak");
    symlink(world.binary(), &link).unwrap();
    assert_eq!(
        stdout(world.command(&link).args(["run", "echo", "short"]).env("AGENTKERNEL_STATE_DIR", world.state())),
        "short\n"
    );
    assert!(stdout(world.command(&link).args(["completions", "bash"])).contains("_ak()"));
}

#[test]
fn losses_beside_each_other_are_told_in_one_line() {
    let world = World::new(Who::Me);
    let id = stdout(&mut world.agentkernel(["create", "--name", "box"]));
    let mut log = Vec::new();
    for (second, channel, bytes) in [
        (1_u64, 1, &b"before\n"[..]),
        (2, 255, &8192_u64.to_le_bytes()),
        (3, 255, &8192_u64.to_le_bytes()),
        (4, 255, &1_u64.to_le_bytes()),
        (5, 1, b"between\n"),
        (6, 255, &u64::MAX.to_le_bytes()),
        (7, 255, &5_u64.to_le_bytes()),
    ] {
        log.extend((second * 1_000_000_000).to_le_bytes());
        log.push(channel);
        log.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        log.extend(bytes);
    }
    std::fs::write(world.state().join("sandboxes").join(id.trim()).join("log"), log).unwrap();
    let output = world.agentkernel(["logs", "-t", "box"]).output().unwrap();
    let note = |second: u64, bytes: u64| {
        format!("1970-01-01T00:00:0{second}.000000000Z [agentkernel: {bytes} bytes could not be written to the log]\n")
    };
    // Before it, that the sandbox never ran.
    assert!(String::from_utf8(output.stderr).unwrap().ends_with(&(note(4, 16385) + &note(7, u64::MAX))));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
}

#[test]
fn a_name_cannot_command_the_terminal() {
    for who in Who::all() {
        let world = World::new(who);
        let dir = world.project().join("d\x1b[31mx\ny");
        let _ = stdout(world.command("mkdir").arg(&dir));
        let run = |arguments: &[&str]| {
            let output = world.agentkernel(arguments).current_dir(&dir).output().unwrap();
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
        };
        let safe = |text: &str| {
            let good = text.contains(r"d\u{1b}[31mx\ny") && !text.contains('\x1b') && text.lines().count() <= 2;
            assert!(good, "{who:?}: {text:?}");
        };
        safe(&run(&["trust"]).1);
        let _ = stdout(world.command("touch").arg(dir.join("agentkernel.toml")));
        safe(&run(&["trust"]).0);
        safe(&run(&["trust", "--revoke"]).0);
        let (id, stderr) = run(&["create"]);
        assert_eq!(stderr, "");
        safe(&run(&["ps", "-a"]).0);
        // JSON says what is.
        let rows: serde_json::Value = serde_json::from_str(&run(&["ps", "-a", "--json"]).0).unwrap();
        assert_eq!(rows[0]["workspace"], format!("direct:{}", dir.display()));
        let _ = run(&["rm", id.trim()]);
    }
}

#[test]
fn a_line_is_read_by_bash_where_there_is_bash() {
    for who in Who::all() {
        let world = World::new(who);
        let line = "x=(1 2 3); [[ $(cat) == in ]] && echo \"${x[1]}\" {1..3} \"$0\"; exit 7";
        fs::write(world.project().join("in"), "in\n").unwrap();
        let input = || fs::File::open(world.project().join("in")).unwrap();
        let output = world.agentkernel(["run", "-i", "--shell", "--", line]).stdin(input()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "2 1 2 3 bash\n", "{}", told(&output));
        assert_eq!(output.status.code(), Some(7));
        // Nor is one that begins with a dash an option.
        let output = world.agentkernel(["run", "--shell", "--", "--help 2> none || echo tried"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "tried\n", "{}", told(&output));
        // One that can't be executed is none.
        fs::write(world.project().join("none"), "").unwrap();
        let mount = format!("{}:/usr/bin/bash:ro", world.project().join("none").display());
        let run = ["run", "--mount", &mount, "--shell", "--", "[ -n \"$BASH\" ] || echo \"$0\"; kill -9 $$"];
        let output = world.agentkernel(run).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "sh\n", "{}", told(&output));
        assert_eq!(output.status.code(), Some(137));
        // Without a line it is read from the input, and it is the line that people are shown.
        let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "box", "--shell", "--", "sleep 100; true"]));
        assert_eq!(stdout(&mut world.agentkernel(["ps", "--format", "{command}"])), "sleep 100; true\n");
        fs::write(world.project().join("in"), "echo {1..3}\n").unwrap();
        assert_eq!(stdout(world.agentkernel(["exec", "-i", "--shell", "box"]).stdin(input())), "1 2 3\n");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

#[test]
fn a_sandbox_that_is_tied_to_its_client_ends_with_it() {
    for who in Who::all() {
        let world = World::new(who);
        let run = ["run", "--die-with-client", "--", "sh", "-c", "trap '' TERM; echo up; sleep 1000; sleep 1000"];
        let mut client = world.agentkernel(run).stdout(Stdio::piped()).spawn().unwrap();
        let mut up = [0; 3];
        client.stdout.take().unwrap().read_exact(&mut up).unwrap();
        assert!(!world.leftovers().is_empty());
        client.kill().unwrap();
        client.wait().unwrap();
        eventually("it is gone", || world.leftovers().is_empty());
        // What ends by itself is told as ever.
        let output =
            world.agentkernel(["run", "--die-with-client", "--", "sh", "-c", "echo x; exit 3"]).output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(3), &b"x\n"[..]), "{}", told(&output));
    }
}
