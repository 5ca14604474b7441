//! An engine that dies or hangs: no program goes on where nobody keeps its walls, and whoever waits is told.

use crate::{
    DOCKERD, PODMAN,
    bench::{BOX, Bench, Maker},
};
use rustix::process::Signal;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::{Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};
use support::{Who, eventually, internet::WEB, told};

/// Says that it lives, and tries what only walls keep it from.
const PROGRAM: &str = "i=0; while :; do i=$((i+1)); echo $i > alive; for f in .envrc .git/hooks/post-checkout; do echo x > $f; done; \
                       sleep 0.1; done 2> /dev/null";
/// No command takes longer, whatever the engine does.
const BOUND: Duration = Duration::from_secs(100);

fn project(bench: &Bench) {
    bench.write(".git/config", "[core]\n");
    bench.write(".git/hooks/given", "x\n");
}

/// What it says, which takes no longer than it may.
fn within(bench: &Bench, arguments: &[&str]) -> Output {
    let begin = Instant::now();
    let output = bench.agentkernel(arguments).output().unwrap();
    assert!(begin.elapsed() < BOUND, "{arguments:?} took {:?}: {}", begin.elapsed(), told(&output));
    output
}

/// The program has ended, and the project is as it was.
#[track_caller]
fn ended(bench: &Bench) {
    let last = bench.read("alive");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(bench.read("alive"), last, "the program goes on");
    let names = |dir: &str| {
        let mut names: Vec<_> = fs::read_dir(bench.world.project().join(dir))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!((names("."), names(".git/hooks")), (vec![".git".into(), "alive".into()], vec!["given".to_owned()]));
}

/// It says no, what to do, and keeps the record.
#[track_caller]
fn refused(bench: &Bench, arguments: &[&str]) {
    let output = within(bench, arguments);
    let text = told(&output);
    assert!(!output.status.success() && text.contains("engine") && text.contains("hint: "), "{text}");
    assert!(bench.says(&["ps", "-a"]).contains(BOX));
}

#[test]
fn an_engine_that_dies_leaves_no_program_behind() {
    dies(DOCKERD);
}

#[test]
fn podman_that_dies_leaves_no_program_behind() {
    dies(PODMAN);
}

fn dies(maker: Maker) {
    let Some(mut bench) = Bench::new(maker, Who::Me) else { return };
    project(&bench);
    let run = bench.run(&[], &["sh", "-c", PROGRAM]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it runs", || bench.world.project().join("alive").exists());
    bench.engine.as_mut().unwrap().kill();
    let output = run.wait_with_output().unwrap();
    ended(&bench);
    let text = told(&output);
    let host = bench.engine.as_ref().unwrap().host();
    assert_eq!(output.status.code(), Some(125), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("agentkernel: ")).collect();
    assert!(lines.len() == 1 && lines[0].contains("was lost") && lines[0].contains(&host), "{text}");
    // What it has left is not forgotten.
    let text = told(&within(&bench, &["gc"]));
    assert!(text.contains("can't be cleared away") && text.contains(&host), "{text}");
    bench.engine.as_mut().unwrap().revive();
    let text = told(&within(&bench, &["gc"]));
    assert!(text.contains("finish its removal: done"), "{text}");
    // A kept one stays on record, too, until the engine says that its container is gone.
    bench.kept(&[], &["sh", "-c", PROGRAM]);
    eventually("it runs", || bench.agentkernel(&["exec", BOX, "true"]).output().unwrap().status.success());
    bench.engine.as_mut().unwrap().kill();
    refused(&bench, &["rm", "-f", BOX]);
    ended(&bench);
    bench.engine.as_mut().unwrap().revive();
    let _ = bench.says(&["rm", BOX]);
    bench.clear();
    bench.leaves_nothing();
}

#[test]
fn an_engine_that_hangs_keeps_nobody_waiting() {
    hangs(DOCKERD);
}

#[test]
fn podman_that_hangs_keeps_nobody_waiting() {
    hangs(PODMAN);
}

fn hangs(maker: Maker) {
    let Some(bench) = Bench::new(maker, Who::Me) else { return };
    project(&bench);
    bench.kept(&[], &["sh", "-c", PROGRAM]);
    eventually("it runs", || bench.world.project().join("alive").exists());
    let wait = bench.agentkernel(&["wait", BOX]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut events = bench.agentkernel(&["events", BOX]);
    let events = events.stdout(Stdio::piped()).spawn().unwrap();
    // Both have asked by then.
    let _ = bench.exec("true");
    bench.engine.as_ref().unwrap().signal(Signal::STOP);
    let text = told(&within(&bench, &["exec", BOX, "true"]));
    assert!(text.contains("was lost"), "{text}");
    ended(&bench);
    let text = told(&wait.wait_with_output().unwrap());
    assert!(text.contains("125") && text.contains("was lost"), "{text}");
    let text = told(&events.wait_with_output().unwrap());
    assert!(text.contains("lost  The connection"), "{text}");
    assert!(bench.says(&["ps", "-a"]).contains("lost"));
    assert!(bench.says(&["logs", BOX]).is_empty());
    refused(&bench, &["rm", "-f", BOX]);
    refused(&bench, &["start", BOX]);
    bench.engine.as_ref().unwrap().signal(Signal::CONT);
    // It is there as it was.
    let _ = bench.says(&["start", BOX]);
    assert_eq!(bench.exec("echo back"), "back\n");
    // A stop that the engine does not carry ends the program all the same.
    bench.engine.as_ref().unwrap().signal(Signal::STOP);
    let _ = within(&bench, &["stop", "-t", "1", BOX]);
    ended(&bench);
    bench.engine.as_ref().unwrap().signal(Signal::CONT);
    let _ = bench.says(&["rm", "-f", BOX]);
    bench.clear();
    bench.leaves_nothing();
}

/// Between the command and an engine: hears when a container is to be started, and keeps that to itself.
fn obstacle(bench: &Bench) -> (PathBuf, mpsc::Receiver<()>) {
    let socket = bench.world.home().join("obstacle");
    let listener = UnixListener::bind(&socket).unwrap();
    let engine = bench.engine.as_ref().unwrap().socket();
    let (tell, started) = mpsc::channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut head = vec![0; 64 * 1024];
            let length = client.read(&mut head).unwrap();
            head.truncate(length);
            if head.windows(12).any(|bytes| bytes == b"/start HTTP/") {
                held.push(client);
                tell.send(()).unwrap();
                continue;
            }
            let mut engine = UnixStream::connect(&engine).unwrap();
            engine.write_all(&head).unwrap();
            for (mut from, mut to) in [(client.try_clone().unwrap(), engine.try_clone().unwrap()), (engine, client)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (socket, started)
}

#[test]
fn a_start_that_hangs_can_be_ended() {
    let Some(bench) = Bench::new(DOCKERD, Who::Me) else { return };
    let (socket, started) = obstacle(&bench);
    let through = format!("unix://{}", socket.display());
    let command = |arguments: &[&str]| {
        let mut command = bench.agentkernel(arguments);
        command.env("DOCKER_HOST", &through);
        command
    };
    let create = ["create", "--backend", "docker", "--image", crate::bench::IMAGE, "--name", BOX];
    let _ = support::stdout(&mut command(&create));
    for end in [&["stop", BOX][..], &["kill", BOX], &["rm", "-f", BOX]] {
        let start = command(&["start", BOX]).stderr(Stdio::piped()).spawn().unwrap();
        started.recv_timeout(Duration::from_secs(60)).unwrap();
        let output = within(&bench, end);
        assert!(output.status.success(), "{end:?}: {}", told(&output));
        assert!(!start.wait_with_output().unwrap().status.success());
    }
    assert!(bench.engine.as_ref().unwrap().containers().is_empty());
    assert!(bench.says(&["ps", "-aq"]).is_empty());
    bench.leaves_nothing();
}

/// A container whose record is gone is removed; whatever is another's is not touched.
#[test]
fn gc_asks_engines_for_what_nobody_has_on_record() {
    for bench in [DOCKERD, PODMAN].into_iter().filter_map(|maker| Bench::new(maker, Who::Me)) {
        let engine = bench.engine.as_ref().unwrap();
        let set = ["secret", "set", "KEY", "--stdin", "--host", WEB];
        assert!(bench.with_input(&mut bench.agentkernel(&set), b"value-value-value").status.success());
        bench.kept(&["--workspace", "none", "--read-only", "--allow", WEB, "--secret", "KEY"], &[]);
        let _ = bench.says(&["stop", BOX]);
        let others = ["agentkernel.owner=0", "agentkernel.id=0123456789ab", "agentkernel.state=another"];
        let labels: Vec<&str> = others.iter().flat_map(|label| ["--label", label]).collect();
        let create = ["create", "--name", "agentkernel-0123456789ab"];
        let _ = engine.says(&[&create[..], &labels, &["--network", "none", crate::bench::IMAGE, "true"]].concat());
        assert_eq!(engine.containers().len(), 2);
        let name = format!("agentkernel-{}", bench.inspect()["spec"]["id"].as_str().unwrap());
        assert_eq!(bench.says(&["gc"]), "Nothing to clear\n");
        // What others make of ours has our labels, and a name of its own.
        let labels = engine.says(&["inspect", "--format", "{{json .Config.Labels}}", &name]);
        let labels: BTreeMap<String, String> = serde_json::from_str(&labels).unwrap();
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("--label={name}={value}")).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let create = ["create", "--name", "others", "--network", "none"];
        let _ = engine.says(&[&create[..], &labels, &[crate::bench::IMAGE, "true"]].concat());
        fs::remove_dir_all(bench.world.state().join("sandboxes")).unwrap();
        let text = bench.says(&["gc", "--dry-run"]);
        assert!(text.contains(&format!("remove container {name} of {}", engine.host())), "{text}");
        assert_eq!(engine.containers().len(), 3);
        assert!(bench.says(&["gc"]).contains(&name));
        let left: BTreeSet<String> = engine.containers().into_iter().collect();
        assert!(left.iter().eq(["agentkernel-0123456789ab", "others"]), "{left:?}");
        assert_eq!(bench.says(&["gc"]), "Nothing to clear\n");
        let _ = engine.says(&["rm", "agentkernel-0123456789ab", "others"]);
        bench.leaves_nothing();
    }
}
