//! Bad input: one clear line, the hint, the right exit status, and nothing lost.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener, process::ExitStatusExt},
    path::PathBuf,
    process::{Command, Output, Stdio},
};
use support::{Who, World, eventually, stdout, told};

/// Status, the line with the cause, and the line with the hint; the project's path is written `PROJECT`.
fn outcome(world: &World, output: &Output) -> (i32, String, String) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let text = text.replace(world.project().to_str().unwrap(), "PROJECT");
    let mut lines = text.lines();
    let cause = lines.next().and_then(|line| line.strip_prefix("agentkernel: ")).map(str::to_owned);
    let hint = lines.next().map(|line| line.strip_prefix("  hint: ").unwrap_or("(not a hint)").to_owned());
    assert!(cause.is_some() && lines.next().is_none() && output.stdout.is_empty(), "{}", told(output));
    (output.status.code().unwrap(), cause.unwrap(), hint.unwrap_or_default())
}

#[track_caller]
fn check(world: &World, arguments: &[&str], status: i32, cause: &str, hint: &str) {
    let output = world.agentkernel(arguments).output().unwrap();
    let wanted = (status, cause.to_owned(), hint.to_owned());
    assert_eq!(outcome(world, &output), wanted, "{arguments:?}");
}

const HELP_CREATE: &str = "'agentkernel help create' lists what it takes";
const TWICE: &str = "Leave one out, or give it another target: `--mount SOURCE:TARGET`, `--tmpfs TARGET`";
const HELP_LOGS: &str = "'agentkernel help logs' lists what it takes";
const OPTIONS_RUN: &str =
    "'agentkernel help run' lists what it takes; options of the program itself come after '--' and its name";
const MARK: &str = "Leave it out: programs know by it in which sandbox they are";
const HELP_RUN: &str = "'agentkernel help run' lists what it takes";

#[test]
fn a_run_without_a_supervisor_leaves_nothing() {
    if !rustix::process::getuid().is_root() {
        return support::skipped("a limit of processes", "it is of a user who has others");
    }
    let world = World::new(Who::Nobody);
    let binary = world.agentkernel(["version"]).get_program().to_owned();
    let output = world.command("prlimit").arg("--nproc=1").arg(binary).args(["run", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    assert!(told(&output).contains("Cannot start the sandbox's supervisor"), "{}", told(&output));
    assert_eq!(stdout(&mut world.agentkernel(["ps", "-aq"])), "");
}

#[test]
fn a_umask_that_takes_much() {
    for who in Who::all() {
        let world = World::new(who);
        let binary = world.agentkernel(["version"]).get_program().to_owned();
        let script = "for mask in 0777 077 022; do umask $mask; \"$0\" run -- true || exit; done; echo fine";
        let mut command = world.command("sh");
        assert_eq!(stdout(command.args(["-c", script]).arg(binary)), "fine\n");
    }
}

/// Links that lead to what init relies on.
#[test]
fn an_image_whose_links_lead_to_the_kernel_s_file_systems() {
    for who in Who::all() {
        let world = World::new(who);
        let prepare = "mkdir -p image/usr image/proc/sys image/dev fake && ln -s /proc image/p && ln -s /dev image/d && ln -s / image/r &&
            for d in bin lib lib64 sbin; do ln -s usr/$d image/$d; done && echo forged > fake/status";
        let _ = stdout(world.command("sh").args(["-c", prepare]));
        let run = |mount: &str, read: &str| {
            let run =
                ["run", "--image", "dir:image", "--workspace", "none", "--mount", "/usr:/usr:ro", "--mount", mount];
            world.agentkernel(run).args(["--", "cat", read]).output().unwrap()
        };
        let output = run("./fake:/p:ro", "/proc/self/status");
        assert!(String::from_utf8_lossy(&output.stdout).contains("NoNewPrivs"), "{}", told(&output));
        let output = run("./fake:/p/sys:ro", "/proc/sys/status");
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        let output = run("./fake:/d:ro", "/dev/status");
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        let output = run("./fake:/r:ro", "/status");
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
        assert!(told(&output).contains("it leads to the root"), "{}", told(&output));
        let _ = stdout(world.command("sh").args(["-c", "rm -r image/proc; ln -s usr image/proc"]));
        let output = run("./fake:/mnt:ro", "/status");
        assert!(told(&output).contains("Cannot open /proc of the image"), "{}", told(&output));
    }
}

#[test]
fn arguments() {
    let world = World::new(Who::Me);
    for (arguments, cause, hint) in [
        (&["frobnicate"][..], "No command 'frobnicate'", "'agentkernel help' lists the commands"),
        (&["strat", "box"], "No command 'strat'", "Did you mean 'start'?"),
        (&["run", "--memroy", "1G", "true"], "No option '--memroy'", "Did you mean '--memory'?"),
        (&["run"], "COMMAND is missing", HELP_RUN),
        (&["run", "--rm", "--"], "COMMAND is missing", HELP_RUN),
        (&["exec", "box"], "COMMAND is missing", "'agentkernel help exec' lists what it takes"),
        (&["exec"], "SANDBOX, COMMAND are missing", "'agentkernel help exec' lists what it takes"),
        (&["run", "--rm", "--keep", "true"], "--rm can't be used together with --keep", HELP_RUN),
        (&["run", "--memory"], "--memory <SIZE> needs a value", HELP_RUN),
        (
            &["run", "--memory", "1Q", "true"],
            "--memory: '1Q': not a size: use a number and K, M, G or T, such as 512M",
            HELP_RUN,
        ),
        (&["run", "--memory", "99999999999T", "true"], "--memory: '99999999999T': too large", HELP_RUN),
        (&["run", "--memory", "5", "true"], "--memory: 5 is too little: a sandbox needs 6M of memory", ""),
        (&["run", "--cpus", "0", "true"], "--cpus: '0': not between 0.01 and 4096 processors", HELP_RUN),
        (&["run", "--cpus", "-1", "true"], "--cpus: '-1': must not be negative", HELP_RUN),
        (&["run", "--memory", "-5M", "true"], "--memory: '-5M': must not be negative", HELP_RUN),
        (&["run", "--pids", "-1", "true"], "--pids: '-1': must not be negative", HELP_RUN),
        (&["run", "--timeout", "-1s", "true"], "--timeout: '-1s': must not be negative", HELP_RUN),
        (&["logs", "--tail", "-1", "box"], "--tail: '-1': must not be negative", HELP_LOGS),
        (&["logs", "--tail", "some", "box"], "--tail: 'some': not a number", HELP_LOGS),
        (&["logs", "box", "two"], "Unexpected argument 'two'", HELP_LOGS),
        (&["ps", "nonsense"], "Unexpected argument 'nonsense'", "'agentkernel help ps' lists what it takes"),
        (
            &["ps", "-q", "--json"],
            "--quiet can't be used together with --json",
            "'agentkernel help ps' lists what it takes",
        ),
        (&["run", "--zzzzz", "x", "true"], "No option '--zzzzz'", OPTIONS_RUN),
        (&["run", "-V"], "No option '-V'", OPTIONS_RUN),
        (&["run", "-e", "AGENTKERNEL=", "true"], "--env: 'AGENTKERNEL': agentkernel sets this variable itself", MARK),
        (
            &["exec", "-e", "AGENTKERNEL_SANDBOX", "box", "true"],
            "--env: 'AGENTKERNEL_SANDBOX': agentkernel sets this variable itself",
            MARK,
        ),
        (&["run", "--pids", "x", "true"], "--pids: 'x': not a number", HELP_RUN),
        (
            &["run", "--timeout", "5", "true"],
            "--timeout: '5': not a time: use a number and d, h, m, s or ms, such as 90s or 1h30m",
            HELP_RUN,
        ),
        (&["run", "--timeout", "0s", "true"], "--timeout: '0s': must be longer than nothing", HELP_RUN),
        (&["run", "--timeout", "9999999999999999d", "true"], "--timeout: '9999999999999999d': too long", HELP_RUN),
        (&["run", "--tmpfs", "/x:0", "true"], "--tmpfs: '/x:0': a file system of no size", HELP_RUN),
        (
            &["run", "--net", "bridge", "true"],
            "--net: 'bridge': not a network mode: use 'none', 'allow' or 'open'",
            HELP_RUN,
        ),
        (
            &["run", "--net", "none", "--allow", "example.org", "true"],
            "`--allow example.org` has no use with `--net none`",
            "Leave out `--net none`: `--allow` and `--open` alone allow nothing else",
        ),
        (
            &["run", "--allow", "https://example.org/", "true"],
            "--allow: 'https://example.org/' is a URL",
            "Write the host alone, or HOST:PORT; requests are restricted by `methods` and `paths` in agentkernel.toml",
        ),
        (
            &["run", "--open", "5432", "true"],
            "--open: '5432': the host is missing",
            "Write HOST:PORT, such as localhost:5432 for a service of this host",
        ),
        (
            &["run", "--open", "http://localhost:8080", "true"],
            "--open: 'http://localhost:8080' is a URL",
            "Write the host alone, or HOST:PORT",
        ),
        (
            &["run", "--open", "localhost:8080:9090", "true"],
            "--open: 'localhost:8080:9090' has two ports",
            "Write HOST:PORT",
        ),
        (
            &["run", "--allow", "a.com/x", "true"],
            "--allow: 'a.com/x' has a path",
            "Write the host alone, or HOST:PORT; requests are restricted by `methods` and `paths` in agentkernel.toml",
        ),
        (
            &["run", "-p", "0", "true"],
            "--port: '0': not a port: use SANDBOX or SANDBOX:HOST, such as 3000:8080, each from 1 to 65535",
            HELP_RUN,
        ),
        (
            &["run", "-p", "1:80", "-p", "2:80", "true"],
            "Ports 1 and 2 of the sandbox on one of the host, 80",
            "Give one another: 2:PORT, with a PORT that is free",
        ),
        (
            &["run", "--secret", "TOKEN", "true"],
            "No secret 'TOKEN' is recorded",
            "`agentkernel secret set TOKEN --host HOST` records it",
        ),
        (&["net", "chek"], "No command 'chek'", "Did you mean 'check'?"),
        (&["net", "check"], "HOST[:PORT] is missing", "'agentkernel help net check' lists what it takes"),
        (&["net", "check", "--alow", "a", "b"], "No option '--alow'", "Did you mean '--allow'?"),
        (
            &["net", "check", "https://example.org"],
            "HOST[:PORT]: 'https://example.org' is a URL",
            "Write the host alone, or HOST:PORT",
        ),
        (
            &["secret", "set", "a-b"],
            "NAME: 'a-b': not a name of a secret: use up to 128 letters, digits and '_', no digit first",
            "'agentkernel help secret set' lists what it takes",
        ),
        (
            &["secret", "set", "A", "--host", "*"],
            "--host: '*': a secret for every host would be none",
            "Name the hosts, such as api.example.org",
        ),
        (&["secret", "set", "A", "--host", "http://x.com"], "--host: 'http://x.com' is a URL", "Write the host alone"),
        (
            &["secret", "set", "A", "--stdin", "--from-env", "B"],
            "--stdin can't be used together with --from-env <VARIABLE>",
            "'agentkernel help secret set' lists what it takes",
        ),
        (
            &["run", "--image", "./ubuntu", "true"],
            "--image: './ubuntu': not an image: '.' is not the host of a registry, at character 1; use 'host', 'dir:PATH', or a name such as 'debian:12'",
            HELP_RUN,
        ),
        (
            &["completions", "tcsh"],
            "SHELL: 'tcsh' is none of bash, elvish, fish, powershell, zsh",
            "'agentkernel help completions' lists what it takes",
        ),
        (&["run", "-u", "rot", "true"], "User 'rot': not known", "Did you mean 'root'?"),
        (
            &["run", "-u", "0:staff", "true"],
            "User '0:staff': a group must be a number",
            "Use its number, such as 0:100",
        ),
        (
            &["run", "-w", "../x", "true"],
            "--workdir: 'PROJECT/../x': a path with '..' is not allowed here",
            "A relative path begins where you are, in the project",
        ),
    ] {
        check(&world, arguments, 125, cause, hint);
    }
    // An argument that is no text must not end us either.
    let output = world.agentkernel([OsStr::from_bytes(b"\xff\xfe")]).output().unwrap();
    assert_eq!(outcome(&world, &output).0, 125);
    let flag = [OsStr::new("run"), OsStr::from_bytes(b"--\xff"), OsStr::new("true")];
    assert_eq!(outcome(&world, &world.agentkernel(flag).output().unwrap()).0, 125);
    assert_eq!(stdout(&mut world.agentkernel(["ps", "-aq"])), "");
}

#[test]
fn names() {
    let world = World::new(Who::Me);
    let rule = "use up to 63 of a-z, 0-9, '_', '.', '-', beginning with a letter or digit";
    for (name, shown) in [("", "''"), ("a b", "'a b'"), ("a\nb", "'a\\nb'"), ("../x", "'../x'"), ("Ä", "'Ä'")] {
        check(
            &world,
            &["run", "--name", name, "true"],
            125,
            &format!("--name: {shown} is not a name: {rule}"),
            HELP_RUN,
        );
    }
    let long = "a".repeat(64);
    let cause = format!("--name: '{long}' is not a name: {rule}");
    check(&world, &["create", "--name", &long], 125, &cause, HELP_CREATE);
    let megabyte = "a".repeat(100_000);
    let output = world.agentkernel(["create", "--name", &megabyte]).output().unwrap();
    let (status, cause, _) = outcome(&world, &output);
    assert!(status == 125 && cause.len() < 1000, "{} bytes", cause.len());

    let id = stdout(&mut world.agentkernel(["create", "--name", "box"]));
    let form = format!("'{}' is not a name: it has the form of an id, so put a word before it", id.trim());
    check(&world, &["create", "--name", id.trim()], 125, &format!("--name: {form}"), HELP_CREATE);
    let hint = "'agentkernel help rename' lists what it takes";
    check(&world, &["rename", "box", id.trim()], 125, &format!("NAME: {form}"), hint);
    let path = world.project().join("agentkernel.toml");
    fs::write(&path, format!("[sandbox]\nname = '{}'\n", id.trim())).unwrap();
    check(&world, &["create"], 1, &format!("PROJECT/agentkernel.toml:2:8: `name`: {form}"), "");
    fs::remove_file(&path).unwrap();
    let taken = format!("Name 'box' belongs to sandbox {}", id.trim());
    let hint = "Choose another name, or `agentkernel rm box` first";
    check(&world, &["create", "--name", "box"], 1, &taken, hint);
    check(&world, &["run", "--name", "box", "true"], 125, &taken, hint);
    check(&world, &["run", "-d", "--name", "box", "true"], 125, &taken, hint);
    assert_eq!(stdout(&mut world.agentkernel(["ps", "-aq"])), id);
    // Names of the kind that nobody chose are tried until one is free.
    for _ in 0..100 {
        let _ = stdout(&mut world.agentkernel(["create"]));
    }
    assert_eq!(stdout(&mut world.agentkernel(["ps", "-aq"])).lines().count(), 101);
}

#[test]
fn sandboxes_that_are_gone() {
    let world = World::new(Who::Me);
    let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
    let list = "`agentkernel ps -a` lists them";
    for command in ["start", "stop", "restart", "rm", "kill", "wait", "logs", "attach", "stats"] {
        check(&world, &[command, "gone"], 1, "No sandbox 'gone'", list);
        check(&world, &[command, "bxo"], 1, "No sandbox 'bxo'", "Did you mean 'box'?");
        check(&world, &[command, "a\nb"], 1, "No sandbox 'a\\nb'", list);
    }
    check(&world, &["exec", "gone", "true"], 125, "No sandbox 'gone'", list);
    check(&world, &["rename", "gone", "other"], 1, "No sandbox 'gone'", list);
    check(&world, &["cp", "gone:/x", "."], 1, "No sandbox 'gone'", list);
    // One that is not gone is still served.
    let output = world.agentkernel(["start", "gone", "box"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b"box\n"[..]), "{}", told(&output));
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}

#[test]
fn mounts_and_images() {
    for who in Who::all() {
        let world = World::new(who);
        let project = world.project();
        symlink("/etc", project.join("link")).unwrap();
        symlink("/nowhere", project.join("dangling")).unwrap();
        fs::write(project.join("file"), "").unwrap();
        for (flag, value, cause, hint) in [
            ("--mount", "link:/m", "Mount source 'link' is a symbolic link to '/etc'", "Mount what it points to"),
            (
                "--mount",
                "dangling:/m",
                "Mount source 'dangling' is a symbolic link to '/nowhere'",
                "Mount what it points to",
            ),
            ("--mount", "nope:/m", "Mount source 'nope' doesn't exist", "Nothing is made for a mount: create it first"),
            (
                "--mount",
                "/:/m",
                "Mount source '/' belongs to the system",
                "Mount the directory that is needed, not all",
            ),
            ("--image", "dir:file", "Image 'file' is not a directory", "Unpack it first"),
            ("--image", "dir:nope", "Image 'nope' doesn't exist", "Name the directory that it was unpacked to"),
        ] {
            check(&world, &["run", flag, value, "true"], 125, cause, hint);
        }
        check(&world, &["run", "--mount", "file:/m", "--mount", "file:/m", "true"], 125, "Two mounts at /m", TWICE);
        assert_eq!(stdout(&mut world.agentkernel(["ps", "-aq"])), "");
        assert!(!project.join("nope").exists());
    }
}

#[test]
fn env_files() {
    let world = World::new(Who::Me);
    let hint = "Each line is NAME=value, without quotes";
    for (text, cause) in [
        (&b"A=1\n=x\n"[..], "PROJECT/vars:2:1: '=x': has no name: use NAME=value, or NAME for your own value"),
        (b"# c\n\nA B=1\n", "PROJECT/vars:3:1: 'A B': a name can't have white space"),
        (b"A=\0\n", "PROJECT/vars:1:1: 'A=\\0': has a NUL byte"),
    ] {
        fs::write(world.project().join("vars"), text).unwrap();
        check(&world, &["run", "--env-file", "vars", "true"], 125, cause, hint);
    }
    let missing = "Can't read PROJECT/none: No such file or directory (os error 2)";
    let hint = "Look for a mistake in the path: a relative one begins where you are";
    check(&world, &["run", "--env-file", "none", "true"], 125, missing, hint);
    check(&world, &["run", "--env-file", ".", "true"], 125, "PROJECT/. is not a file", "");
}

#[test]
fn env_files_need_not_be_files() {
    let world = World::new(Who::Me);
    fs::write(world.project().join("vars"), "AGENTKERNEL_SANDBOX=x\n").unwrap();
    let cause = "PROJECT/vars:1:1: 'AGENTKERNEL_SANDBOX': agentkernel sets this variable itself";
    check(&world, &["run", "--env-file", "vars", "true"], 125, cause, MARK);
    let _ = stdout(&mut world.agentkernel(["run", "--env-file", "/dev/null", "true"]));
    // A pipe with a name has its writer only later.
    let script = "\"$0\" run --env-file <(echo A=1) -- sh -c 'echo $A'; mkfifo pipe; (sleep 0.2; echo A=2 > pipe) & \
                  \"$0\" run --env-file pipe -- sh -c 'echo $A'; wait";
    assert_eq!(stdout(world.command("bash").args(["-c", script]).arg(world.binary())), "1\n2\n");
    // The project's own must be one. Until the last sandbox has gone, a socket lies in the file's place.
    eventually("nothing is left", || world.leftovers().is_empty());
    fs::write(world.project().join("agentkernel.toml"), "[sandbox]\nenv_file = 'pipe'\n").unwrap();
    let cause = "PROJECT/agentkernel.toml:2:12: `env_file`: PROJECT/pipe is not a file";
    check(&world, &["run", "true"], 125, cause, "");
}

#[test]
fn an_env_file_outside_the_project_is_not_read_before_it_is_trusted() {
    let world = World::new(Who::Me);
    let secret = world.home().join("secret");
    fs::write(&secret, "not a = variable\n").unwrap();
    let text = format!("[sandbox]\nenv_file = '{}'\n", secret.display());
    fs::write(world.project().join("agentkernel.toml"), text).unwrap();
    let asks = format!(
        "PROJECT/agentkernel.toml asks for more than a project gets by itself: env_file = {}",
        secret.display()
    );
    let hint = "Read the file; if you agree, `agentkernel trust` accepts it as it is";
    check(&world, &["run", "true"], 125, &asks, hint);
    let _ = stdout(&mut world.agentkernel(["trust"]));
    let cause = format!("{}:1:1: 'not a ': a name can't have white space", secret.display());
    check(&world, &["run", "true"], 125, &cause, "Each line is NAME=value, without quotes");
}

#[test]
fn a_working_directory_that_is_gone_or_closed() {
    for who in Who::all() {
        let world = World::new(who);
        let within = |close: &str, arguments: &[&str]| {
            let script = format!("mkdir place && cd place && {close} && exec \"$0\" \"$@\"");
            let output =
                world.command("sh").args(["-c", &script]).arg(world.binary()).args(arguments).output().unwrap();
            let _ = stdout(world.command("sh").args(["-c", "rm -rf place*"]));
            output
        };
        let hint = "Go to a directory that exists, or use `--workspace none`";
        let root = who == Who::Me && rustix::process::getuid().is_root();
        for (close, cause) in [
            ("rmdir ../place", "The working directory is gone"),
            // Another that is called as the kernel then calls it is not meant.
            ("mkdir '../place (deleted)' && rmdir ../place", "The working directory is gone"),
            ("chmod 0 .", "Can't enter the working directory 'PROJECT/place': Permission denied (os error 13)"),
        ] {
            // Nothing is closed to root.
            if close == "chmod 0 ." && root {
                continue;
            }
            for (arguments, status) in [(&["run", "true"][..], 125), (&["create"], 1), (&["trust"], 1)] {
                let output = within(close, arguments);
                assert_eq!(outcome(&world, &output), (status, cause.into(), hint.into()), "{arguments:?}");
            }
            let output = within(close, &["run", "--workspace", "none", "echo", "works"]);
            assert_eq!(output.stdout, b"works\n", "{close}: {}", told(&output));
            let output = within(close, &["doctor"]);
            assert!(output.status.success(), "{close}: {}", told(&output));
        }
        assert_eq!(stdout(&mut world.agentkernel(["ps", "-aq"])), "");
    }
}

#[test]
fn a_state_directory_that_is_no_absolute_path() {
    let world = World::new(Who::Me);
    for place in ["", "state", "./state"] {
        let output = world.agentkernel(["ps"]).env("AGENTKERNEL_STATE_DIR", place).output().unwrap();
        let cause = format!("AGENTKERNEL_STATE_DIR is '{place}', which is no absolute path");
        assert_eq!(outcome(&world, &output), (1, cause, "Set it to an absolute path, or unset it".into()));
    }
}

#[test]
fn sandboxes_that_cannot_start_or_never_did() {
    let world = World::new(Who::Me);
    for name in ["one", "image"] {
        fs::create_dir(world.project().join(name)).unwrap();
    }
    let _ = stdout(world.agentkernel(["create", "--name", "box"]).current_dir(world.project().join("one")));
    let hint = "'agentkernel start box' starts it";
    check(&world, &["wait", "box"], 1, "Sandbox box was never started", hint);
    check(&world, &["logs", "box"], 0, "Sandbox box was never started", hint);
    let _ = stdout(&mut world.agentkernel(["create", "--name", "other", "--image", "dir:image"]));
    fs::remove_dir(world.project().join("one")).unwrap();
    fs::remove_dir(world.project().join("image")).unwrap();
    let hint = "Put it back where it was, or make another sandbox";
    let cause = |wall: &str, place: &str| {
        format!("{wall}: Cannot open PROJECT/{place}: No such file or directory (os error 2)")
    };
    check(&world, &["start", "box"], 1, &cause("workspace", "one"), hint);
    check(&world, &["start", "other"], 1, &cause("image", "image"), hint);
    let cause = "Cannot enter the working directory /nowhere: No such file or directory (os error 2)";
    let hint = "Name one with -w that is in the sandbox, or make it there first";
    check(&world, &["run", "-w", "/nowhere", "true"], 125, cause, hint);
}

#[test]
fn project_files() {
    for who in Who::all() {
        let world = World::new(who);
        let path = world.project().join("agentkernel.toml");
        for (text, cause, hint) in [
            (
                &b"[resources]\nmemroy = '1G'\n"[..],
                ":2:1: unknown key 'memroy' in [resources]",
                "Did you mean `memory`?",
            ),
            (b"[resorces]\n", ":1:2: unknown table 'resorces'", "Did you mean [resources]?"),
            (
                b"\n[sandbox]\n  memory = 1\n",
                ":3:3: unknown key 'memory' in [sandbox]",
                "`memory` belongs into [resources]",
            ),
            (b"[resources\n", ":1:11: unclosed table, expected `]`", ""),
            (
                b"[resources]\nmemory = '1Q'\n",
                ":2:10: `memory`: '1Q': not a size: use a number and K, M, G or T, such as 512M",
                "",
            ),
            (b"# \xc3\xa4\n\xff\n", ":2:1: not UTF-8", ""),
            (b"[resources]\npids = -1\n", ":2:8: `pids` must not be negative", ""),
            (b"[resources]\nmemory = -1\n", ":2:10: `memory` must not be negative", ""),
            (b"[resources]\ncpus = -1\n", ":2:8: `cpus`: '-1': must not be negative", ""),
            (
                b"[sandbox.env]\nAGENTKERNEL = 'x'\n",
                ":2:1: `env`: 'AGENTKERNEL': agentkernel sets this variable itself",
                MARK,
            ),
            (
                b"[workspace]\nmounts = ['/var/log:/log']\n",
                " asks for more than a project gets by itself: mounts = /var/log (writable)",
                "Read the file; if you agree, `agentkernel trust` accepts it as it is",
            ),
        ] {
            fs::write(&path, text).unwrap();
            check(&world, &["run", "true"], 125, &format!("PROJECT/agentkernel.toml{cause}"), hint);
            assert_eq!(fs::read(&path).unwrap(), text);
        }
        fs::write(&path, vec![b'#'; 10 << 20]).unwrap();
        check(&world, &["run", "true"], 125, "PROJECT/agentkernel.toml is longer than 262144 bytes", "");
        fs::remove_file(&path).unwrap();
        for target in ["/etc/passwd", "/nowhere"] {
            symlink(target, &path).unwrap();
            let cause = "PROJECT/agentkernel.toml is a symbolic link";
            check(&world, &["run", "true"], 125, cause, "Put the file itself there");
            fs::remove_file(&path).unwrap();
        }
        // An empty directory is what a sandbox that runs puts there, so that nobody makes the file.
        fs::create_dir_all(path.join("inner")).unwrap();
        check(&world, &["run", "true"], 125, "PROJECT/agentkernel.toml is not a file", "");
        fs::remove_dir_all(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        check(&world, &["run", "true"], 125, "PROJECT/agentkernel.toml is not a file", "");
        fs::remove_file(&path).unwrap();
        assert_eq!(stdout(&mut world.agentkernel(["run", "echo", "fine"])), "fine\n");
    }
}

/// Not a test: what another version's supervisor does, in a process of its own.
#[test]
#[ignore = "started by another test"]
fn another_versions_supervisor() {
    let Some(dir) = std::env::var_os("AGENTKERNEL_TEST_SUPERVISE").map(PathBuf::from) else { return };
    // It ends with the test.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let lock = fs::File::open(dir.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fs::remove_file(dir.join("sock")).unwrap();
    for stream in UnixListener::bind(dir.join("sock")).unwrap().incoming() {
        let mut stream = stream.unwrap();
        let mut hello = Vec::new();
        wire::frame::Hello { protocol: 99, version: "9.9.9".into() }.write(&mut hello);
        stream.write_all(&hello).unwrap();
        let _ = stream.read(&mut [0; 4096]);
    }
}

#[test]
fn a_supervisor_of_another_version() {
    let world = World::new(Who::Me);
    let id = stdout(&mut world.agentkernel([
        "create",
        "--name",
        "box",
        "--",
        "sh",
        "-c",
        "[ -e ~/file ] || echo kept > ~/file; sleep 600",
    ]));
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    eventually("it ran", || {
        world.agentkernel(["exec", "box", "sh", "-c", "grep kept ~/file"]).output().unwrap().status.success()
    });
    // Its supervisor's place is taken by another version's.
    let supervisor = support::inspected(&world, "box", "supervisor_pid").cast_signed();
    kill_process(Pid::from_raw(supervisor).unwrap(), Signal::KILL).unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "bad_input::another_versions_supervisor", "--ignored"])
        .env("AGENTKERNEL_TEST_SUPERVISE", world.state().join("sandboxes").join(id.trim()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it serves", || told(&world.agentkernel(["exec", "box", "true"]).output().unwrap()).contains("9.9.9"));
    let cause = "The sandbox was started by another version of agentkernel: \
                 The peer is version 9.9.9 (protocol 99), this is version 0.1.0 (protocol 10)";
    let hint = "Stop it with the version that started it, or end it: 'agentkernel kill' works across versions";
    check(&world, &["exec", "box", "true"], 125, cause, hint);
    check(&world, &["attach", "box"], 1, cause, hint);
    check(&world, &["kill", "-s", "USR1", "box"], 1, cause, hint);
    check(&world, &["wait", "box"], 1, cause, hint);
    check(&world, &["cp", "box:/etc/hostname", "."], 1, cause, hint);
    // It runs on, and what needs no talking works.
    assert!(stdout(&mut world.agentkernel(["ps"])).contains("up "));
    let _ = stdout(&mut world.agentkernel(["inspect", "box"]));
    let _ = stdout(&mut world.agentkernel(["kill", "box"]));
    assert_eq!(other.wait().unwrap().signal(), Some(15));
    // Nothing is lost: this version starts it again, with its files.
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    assert_eq!(stdout(&mut world.agentkernel(["exec", "box", "sh", "-c", "cat ~/file"])), "kept\n");
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    eventually("nothing is left", || world.leftovers().is_empty());
}
