//! What a kill -9 of any process leaves behind, and what clears it.

use rustix::process::{Pid, Signal, kill_process};
use std::{process::Stdio, time::Duration};
use support::{Who, World, eventually, inspected, stdout, told};

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

/// A number in the JSON of `inspect`.
fn field(world: &World, name: &str) -> u32 {
    inspected(world, "box", name)
}

fn start(world: &World) {
    let _ = stdout(&mut world.agentkernel(["create", "--name", "box", "--", "sleep", "600"]));
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
}

/// As long as a killed supervisor dies, it holds its lock, and `gc` leaves its sandbox alone.
#[track_caller]
fn cleared_by_gc(world: &World) {
    eventually("gc clears it", || {
        let _ = stdout(&mut world.agentkernel(["gc"]));
        stdout(&mut world.agentkernel(["ps", "-aq"])).is_empty()
    });
}

fn cleared_by_gc_or_rm(world: &World) {
    eventually("it can be removed", || world.agentkernel(["rm", "-f", "box"]).output().unwrap().status.success());
    eventually("nothing is left", || world.leftovers().is_empty());
}

#[test]
fn the_name_of_a_killed_run_is_free() {
    for who in Who::all() {
        let world = World::new(who);
        let mut run = world.agentkernel(["run", "--name", "box", "--", "sleep", "600"]).spawn().unwrap();
        eventually("it runs", || world.agentkernel(["exec", "box", "true"]).output().unwrap().status.success());
        let pid = support::inspected(&world, "box", "supervisor_pid").cast_signed();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
        let _ = run.wait();
        assert_eq!(stdout(&mut world.agentkernel(["run", "--name", "box", "--", "echo", "again"])), "again\n");
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn of_the_supervisor() {
    for who in Who::all() {
        let world = World::new(who);
        start(&world);
        let init = field(&world, "init_pid");
        kill(field(&world, "supervisor_pid"));
        eventually("init follows", || !std::path::Path::new(&format!("/proc/{init}/cmdline")).exists());
        eventually("it is lost", || stdout(&mut world.agentkernel(["ps", "-a"])).contains("lost"));
        let _ = stdout(&mut world.agentkernel(["gc"]));
        // Its files are there still, and it starts again.
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let _ = stdout(&mut world.agentkernel(["exec", "box", "true"]));
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// Init sees the end of its link, too; but a stopped one, or one that somebody has taken over, would not care.
#[test]
fn of_the_supervisor_takes_a_stopped_init_along() {
    for who in Who::all() {
        let world = World::new(who);
        start(&world);
        let init = field(&world, "init_pid");
        kill_process(Pid::from_raw(init.cast_signed()).unwrap(), Signal::STOP).unwrap();
        kill(field(&world, "supervisor_pid"));
        eventually("init follows", || !std::path::Path::new(&format!("/proc/{init}/cmdline")).exists());
        cleared_by_gc_or_rm(&world);
    }
}

/// An init that does not answer holds nobody up.
#[test]
fn of_clients_that_wait_for_a_stopped_init() {
    for who in Who::all() {
        let world = World::new(who);
        start(&world);
        let init = field(&world, "init_pid");
        kill_process(Pid::from_raw(init.cast_signed()).unwrap(), Signal::STOP).unwrap();
        let client = world.agentkernel(["exec", "box", "true"]).stderr(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&client);
        // Its signals are read once it has asked; before, they end it as well.
        eventually("it has asked", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", client.id())).unwrap();
            status.lines().any(|line| line.starts_with("SigBlk:") && !line.ends_with("0000000000000000"))
        });
        kill_process(pid, Signal::TERM).unwrap();
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(143), "{}", told(&output));
        assert!(stdout(&mut world.agentkernel(["ps"])).contains("box"));
        let output = world.agentkernel(["stats", "box"]).output().unwrap();
        assert!(told(&output).contains("does not answer") || output.status.success(), "{}", told(&output));
        cleared_by_gc_or_rm(&world);
    }
}

/// A client whose output nobody takes is ended by the third signal, and takes the command along.
#[test]
fn of_clients_whose_output_nobody_takes() {
    let world = World::new(Who::Me);
    start(&world);
    let mut client = world.agentkernel(["exec", "box", "yes"]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("it runs", || stdout(&mut world.agentkernel(["inspect", "box"])).contains("yes"));
    let pid = Pid::from_child(&client);
    eventually("it has ended", || {
        let _ = kill_process(pid, Signal::INT);
        client.try_wait().unwrap().is_some()
    });
    eventually("so has the command", || !stdout(&mut world.agentkernel(["inspect", "box"])).contains("yes"));
    cleared_by_gc_or_rm(&world);
}

#[test]
fn of_init() {
    for who in Who::all() {
        let world = World::new(who);
        start(&world);
        kill(field(&world, "init_pid"));
        eventually("it has ended", || stdout(&mut world.agentkernel(["ps", "-a"])).contains("exited (137)"));
        let _ = stdout(&mut world.agentkernel(["rm", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn of_the_client_leaves_the_command_running() {
    let world = World::new(Who::Me);
    let mut client = world
        .agentkernel(["run", "-i", "--name", "box", "--", "sh", "-c", "echo ready; cat; echo end > done; sleep 600"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(client.stdout.as_mut().unwrap(), &mut ready).unwrap();
    kill(client.id());
    client.wait().unwrap();
    // Its input is at its end now, and it goes on.
    eventually("it goes on", || world.project().join("done").is_file());
    assert!(stdout(&mut world.agentkernel(["ps"])).contains("box"));
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}

#[test]
fn of_an_ephemeral_sandboxs_supervisor_is_cleared_by_gc() {
    for who in Who::all() {
        let world = World::new(who);
        let mut client = world
            .agentkernel(["run", "--name", "box", "--", "sh", "-c", "echo ready; sleep 600"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(client.stdout.as_mut().unwrap(), &mut ready).unwrap();
        kill(field(&world, "supervisor_pid"));
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
        cleared_by_gc(&world);
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn at_every_stage_of_a_start() {
    let world = World::new(Who::Me);
    // Whatever is killed after whatever time: the next command clears it, and the next start works.
    for delay in 0..40u64 {
        let mut client =
            world.agentkernel(["run", "--name", "box", "--", "sleep", "600"]).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(delay * 400));
        for (pid, _) in world.processes() {
            let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
        }
        client.wait().unwrap();
        // One that was forked while we looked is an orphan that goes on, as it should.
        eventually("all processes are gone", || {
            for (pid, _) in world.processes() {
                let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
            }
            world.processes().is_empty()
        });
        cleared_by_gc(&world);
    }
    assert_eq!(stdout(&mut world.agentkernel(["run", "--name", "box", "--", "echo", "works"])), "works\n");
    eventually("nothing is left", || world.leftovers().is_empty());
}

/// What a sandbox has put into the project, and the host, it takes away itself.
#[test]
fn of_the_state_directory() {
    for who in Who::all() {
        let world = World::new(who);
        let listing = || stdout(world.command("find").args([".", "-mindepth", "1"]));
        let limits: &[&str] = if support::may_limit(who) { &["--pids", "40"] } else { &[] };
        let mut create = world.agentkernel(["create", "--name", "box"]);
        let id = stdout(create.args(limits).args(["--", "sleep", "600"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        assert!(!listing().is_empty(), "{who:?}: no placeholder");
        let supervisor = field(&world, "supervisor_pid");
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", field(&world, "init_pid"))).unwrap();
        let _ = stdout(world.command("rm").arg("-rf").arg(world.state()));
        kill_process(Pid::from_raw(supervisor.cast_signed()).unwrap(), Signal::TERM).unwrap();
        eventually("nothing is left in the project", || listing().is_empty());
        eventually("nothing runs", || world.processes().is_empty());
        for path in groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).filter(|path| path.contains(id.trim()))
        {
            let left = stdout(world.command("find").args(["/sys/fs/cgroup", "-path", &format!("*{path}")]));
            assert_eq!(left, "", "{who:?}");
        }
    }
}
