//! Limits: each holds, is told as such when it is reached, and is an error where nothing could enforce it.

use std::{
    io::{Read, Write},
    process::Output,
};
use support::{Who, World, eventually, stdout, told};

/// Whether this user may set limits through cgroups here. Root may; for others it depends on the host, and the product
/// is not asked: a group of one's own is delegated or it is not.
fn may_limit(who: Who) -> bool {
    who == Who::Me && rustix::process::getuid().is_root()
}

/// Those who may, and a word about those who may not.
fn limiters() -> Vec<Who> {
    let (may, may_not): (Vec<_>, Vec<_>) = Who::all().into_iter().partition(|&who| may_limit(who));
    if may.is_empty() {
        support::skipped("limits through cgroups", &format!("{may_not:?} may set none"));
    }
    may
}

/// Runs what needs far more memory than it gets, as the main command itself.
const HUNGRY: [&str; 3] = ["sh", "-c", "exec tail /dev/zero"];

#[test]
fn out_of_memory_is_told_as_such() {
    for who in limiters() {
        let world = World::new(who);
        for command in [HUNGRY, ["sh", "-c", "head -c 200M /dev/zero | tail"]] {
            let output = world.agentkernel(["run", "--memory", "64M", "--"]).args(command).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(137), "{}", told(&output));
            assert!(text.contains("memory limit was reached") && text.contains("--memory"), "{}", told(&output));
        }
        let output = world.agentkernel(["run", "--json", "--memory", "64M", "--"]).args(HUNGRY).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&line["exit"], &line["status"]), (&"oom".into(), &137.into()), "{line}");
        // A kept one has it on record.
        let _ = world.agentkernel(["run", "--name", "box", "--keep", "--memory", "64M", "--"]).args(HUNGRY).output();
        assert!(stdout(&mut world.agentkernel(["ps", "-a", "--json"])).contains("\"oom\""));
        let _ = stdout(&mut world.agentkernel(["rm", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn a_command_that_survives_the_death_of_its_child_is_told_of_it() {
    for who in limiters() {
        let world = World::new(who);
        let script = "head -c 200M /dev/zero | tail >/dev/null; exit 2";
        let output = world.agentkernel(["run", "--memory", "64M", "--", "sh", "-c", script]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("1 process was killed: the sandbox's memory limit was reached"), "{}", told(&output));
    }
}

#[test]
fn an_exec_that_runs_out_of_memory_leaves_the_others() {
    for who in limiters() {
        let world = World::new(who);
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box", "--memory", "64M"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let output = world.agentkernel(["exec", "box"]).args(HUNGRY).output().unwrap();
        assert_eq!(output.status.code(), Some(137), "{}", told(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains("memory limit was reached"), "{}", told(&output));
        assert_eq!(stdout(&mut world.agentkernel(["exec", "box", "echo", "on"])), "on\n");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

#[test]
fn a_fork_bomb_is_contained() {
    for who in limiters() {
        let world = World::new(who);
        // Each child forks two more, without end; the sandbox goes on and can be stopped.
        let bomb = "bomb() { bomb | bomb & }; bomb 2>/dev/null; echo lit; exec sleep 600";
        let _ =
            stdout(&mut world.agentkernel(["run", "-d", "--name", "box", "--pids", "40", "--", "bash", "-c", bomb]));
        eventually("it is lit", || stdout(&mut world.agentkernel(["logs", "box"])).contains("lit"));
        let rows = stdout(&mut world.agentkernel(["stats", "--json", "box"]));
        let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
        let processes = rows[0]["processes"].as_u64().unwrap();
        assert!((1..=40).contains(&processes), "{rows}");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
        // And the number itself: so many, and not one more.
        let count = "n=0; while sleep 600 & do n=$((n+1)); [ $n -lt 100 ] || break; done; echo $n";
        let output = world.agentkernel(["run", "--pids", "40", "--", "sh", "-c", count]).output().unwrap();
        assert_ne!(output.status.code(), Some(0), "{}", told(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains("fork"), "{}", told(&output));
    }
}

#[test]
fn processors_stand_in_the_kernels_own_books() {
    for who in limiters() {
        let world = World::new(who);
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box", "--cpus", "0.5", "--", "sleep", "600"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let inspected: serde_json::Value =
            serde_json::from_str(&stdout(&mut world.agentkernel(["inspect", "box"]))).unwrap();
        let init = inspected[0]["running"]["init_pid"].as_u64().unwrap();
        assert_eq!(quota(init), (50_000, 100_000));
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

/// Quota and period of the group that a process is in, of either version.
fn quota(pid: u64) -> (u64, u64) {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let groups = read(&format!("/proc/{pid}/cgroup")).unwrap();
    for line in groups.lines() {
        let path = line.splitn(3, ':').nth(2).unwrap();
        for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/unified"] {
            if let Some(text) = read(&format!("{mount}{path}/cpu.max")) {
                let numbers: Vec<u64> = text.split_whitespace().flat_map(str::parse).collect();
                if let [quota, period] = numbers[..] {
                    return (quota, period);
                }
            }
            let number = |file| read(&format!("{mount}{path}/{file}"))?.trim().parse::<u64>().ok();
            if let (Some(quota), Some(period)) = (number("cpu.cfs_quota_us"), number("cpu.cfs_period_us")) {
                return (quota, period);
            }
        }
    }
    panic!("no processor limit in {groups}");
}

#[test]
fn time_is_up() {
    for who in Who::all() {
        let world = World::new(who);
        // One that ignores the polite signal ends as well, once the grace is over.
        let stubborn = (who == Who::Me).then_some("trap '' TERM; while :; do sleep 600; done");
        for script in ["sleep 600"].into_iter().chain(stubborn) {
            let mut run = world.agentkernel(["run", "--json", "--timeout", "300ms", "--", "sh", "-c", script]);
            let output = run.output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(124), "{}", told(&output));
            assert!(text.contains("time limit was reached") && text.contains("--timeout"), "{}", told(&output));
            assert!(text.contains("\"exit\":\"deadline\""), "{}", told(&output));
        }
        let output = world.agentkernel(["run", "--timeout", "1h", "--", "sh", "-c", "exit 3"]).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", told(&output));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn what_an_ephemeral_sandbox_writes_is_limited() {
    for who in Who::all() {
        let world = World::new(who);
        let script = "for file in /tmp/x ~/x /var/tmp/x /usr/x; do head -c 5M /dev/zero > $file 2>&1; wc -c < $file; \
                      rm -f $file; done; echo on > /tmp/small && cat /tmp/small";
        let output = world.agentkernel(["run", "--disk", "2M", "--", "sh", "-c", script]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let sizes: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(!sizes.is_empty() && sizes.iter().all(|&size| size <= 2 << 20), "{}", told(&output));
        assert!(text.ends_with("on\n"), "{}", told(&output));

        let script = "head -c 5M /dev/zero > /scratch/x; wc -c < /scratch/x";
        let output = world.agentkernel(["run", "--tmpfs", "/scratch:1M", "--", "sh", "-c", script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1048576\n", "{}", told(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{}", told(&output));
    }
}

#[test]
fn a_limit_that_nothing_could_enforce_is_an_error() {
    for who in Who::all() {
        let world = World::new(who);
        for flags in [["--keep", "--disk"], ["-d", "--disk"]] {
            let output = world.agentkernel(["run"]).args(flags).args(["2M", "true"]).output().unwrap();
            assert_eq!(output.status.code(), Some(125), "{}", told(&output));
            assert_eq!(
                String::from_utf8_lossy(&output.stderr),
                "agentkernel: --disk: the disk of a kept sandbox cannot be limited\n  \
                 hint: Run it without --keep and -d, or leave the limit out; its files lie in the state directory\n"
            );
        }
        if may_limit(who) {
            continue;
        }
        for (flag, value, controller) in
            [("--memory", "64M", "memory"), ("--pids", "40", "pids"), ("--cpus", "1", "cpu")]
        {
            let output = world.agentkernel(["run", flag, value, "--", "echo", "ran"]).output().unwrap();
            if output.status.success() {
                support::skipped("limits that cannot be enforced", "cgroups are delegated to this user");
                continue;
            }
            assert_eq!(output.status.code(), Some(125), "{}", told(&output));
            assert!(output.stdout.is_empty(), "{}", told(&output));
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let lines: Vec<_> = text.lines().collect();
            let start = format!("agentkernel: limits: The limit on {controller} cannot be enforced: ");
            assert!(lines[0].starts_with(&start) && lines[0].contains("/sys/fs/cgroup"), "{text}");
            assert!(lines[1].starts_with("  hint: ") && lines[1].contains("as root"), "{text}");
            assert_eq!(lines.len(), 2, "{text}");
        }
        assert_eq!(stdout(&mut world.agentkernel(["ps", "-aq"])), "");
    }
}

#[test]
fn files_that_may_not_grow_are_told() {
    for who in Who::all() {
        let world = World::new(who);
        let limited = |arguments: &str| {
            let script = format!("ulimit -f 0; exec \"$0\" {arguments}");
            world.command("sh").args(["-c", &script]).arg(world.binary()).output().unwrap()
        };
        let hint = "hint: Raise the limit on the size of files: `ulimit -f unlimited`\n";
        let told_of = |output: &Output, status: i32| {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(status), "{who:?}: {}", told(output));
            assert!(text.contains("File too large") && text.ends_with(hint), "{who:?}: {}", told(output));
            assert_eq!(text.lines().count(), 2, "{who:?}: {}", told(output));
        };
        // Where there is no state yet, and where there is.
        told_of(&limited("run -d -- true"), 125);
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        told_of(&limited("run -d -- true"), 125);
        told_of(&limited("create"), 1);
        told_of(&limited("start box"), 1);
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let _ = stdout(&mut world.agentkernel(["stop", "-t", "1", "box"]));
        // With all in the cache it is the supervisor that has to write.
        told_of(&limited("start box"), 1);
        assert_eq!(stdout(&mut world.agentkernel(["gc"])), "Nothing to clear\n");
        let _ = stdout(&mut world.agentkernel(["rm", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
        // What we ignore, programs do not.
        let script = "ulimit -f 0; exec head -c 1 /dev/zero > /tmp/file";
        let output = world.agentkernel(["run", "--", "sh", "-c", script]).output().unwrap();
        assert_eq!(output.status.code(), Some(128 + 25), "{who:?}: {}", told(&output));
    }
}

/// Sends what a client sends first, and `parts` pieces of 64 KiB of a request that has no end yet.
fn begin_request(socket: &std::path::Path, parts: usize) -> std::os::unix::net::UnixStream {
    let mut bytes = Vec::new();
    wire::frame::Hello::own().write(&mut bytes);
    for _ in 0..parts {
        wire::frame::write(&mut bytes, wire::frame::Kind::Part, 0, 1, &[b'x'; wire::frame::MAX_PAYLOAD]);
    }
    let mut client = std::os::unix::net::UnixStream::connect(socket).unwrap();
    client.write_all(&bytes).unwrap();
    client
}

#[test]
fn requests_that_are_under_way_are_bounded_over_all_clients() {
    for who in Who::all() {
        let world = World::new(who);
        let id = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let socket = world.state().join("sandboxes").join(id.trim()).join("sock");
        let mut clients: Vec<_> = (0..60).map(|_| begin_request(&socket, 60)).collect();
        let supervisor = support::inspected(&world, "box", "supervisor_pid");
        let kept = support::resident(supervisor);
        assert!(kept < 100 << 20, "{who:?}: {kept} bytes");
        // Small ones go through; a large one has to wait for its turn, and those that were too many are told.
        assert_eq!(stdout(&mut world.agentkernel(["exec", "box", "echo", "on"])), "on\n");
        let mut bytes = Vec::new();
        wire::frame::write(&mut bytes, wire::frame::Kind::Open, 0, 1, b"x");
        let last = clients.last_mut().unwrap();
        last.write_all(&bytes).unwrap();
        last.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let mut answer = Vec::new();
        let told = b"The sandbox is sent too many large commands at once";
        while !answer.windows(told.len()).any(|window| window == told) {
            let mut some = [0; 1024];
            let count = last.read(&mut some).unwrap();
            assert_ne!(count, 0, "{who:?}: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&some[..count]);
        }
        // Once the others are gone there is room again.
        drop(clients);
        let big = "x".repeat(120_000);
        let count = ["exec", "box", "sh", "-c", "printf %s \"$1$2\" | wc -c", "sh", &big, &big];
        assert_eq!(stdout(&mut world.agentkernel(count)), "240000\n");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// A program that loses its child to the kernel.
const LOSES_A_CHILD: &str = "head -c 200M /dev/zero | tail >/dev/null";
const NOTICE: &str = "agentkernel: 1 process was killed: the sandbox's memory limit was reached\n";

#[test]
fn a_detached_sandbox_has_on_record_that_memory_ran_out() {
    for who in limiters() {
        let world = World::new(who);
        let script = format!("{LOSES_A_CHILD}; echo on; exit 2");
        let _ = stdout(
            &mut world.agentkernel(["run", "-d", "--name", "box", "--memory", "64M", "--", "sh", "-c", &script]),
        );
        assert_eq!(stdout(&mut world.agentkernel(["wait", "box"])), "2\n");
        let logs = world.agentkernel(["logs", "box"]).output().unwrap();
        assert_eq!(logs.stdout, b"on\n", "{}", told(&logs));
        let text = String::from_utf8_lossy(&logs.stderr).into_owned();
        assert!(text.contains("Killed\n") || text == NOTICE, "{}", told(&logs));
        assert!(text.ends_with(NOTICE) && text.matches(NOTICE).count() == 1, "{}", told(&logs));
        let inspected = |format: &str| stdout(&mut world.agentkernel(["inspect", "--format", format, "box"]));
        assert_eq!(
            inspected("{oom_killed} {{.State.OOMKilled}} {exit_status} {state.exited.oom_kills}"),
            "true true 2 1\n"
        );
        // The next run is another one.
        let _ = stdout(&mut world.agentkernel(["rm", "box"]));
        let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "box", "--memory", "64M", "--", "sleep", "600"]));
        assert_eq!(inspected("{oom_killed}"), "false\n");
        // Of a running one, and of an exec that nobody watches.
        let _ = stdout(&mut world.agentkernel(["exec", "-d", "box", "sh", "-c", LOSES_A_CHILD]));
        eventually("it is told", || inspected("{oom_killed}") == "true\n");
        eventually("it is in the log", || {
            String::from_utf8_lossy(&world.agentkernel(["logs", "box"]).output().unwrap().stderr).ends_with(NOTICE)
        });
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn a_death_that_may_have_had_another_cause_is_not_told_as_out_of_memory() {
    for who in limiters() {
        let world = World::new(who);
        let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "box", "--memory", "64M", "--", "sleep", "600"]));
        let exec = |script: &str| {
            let output = world.agentkernel(["exec", "box", "sh", "-c", script]).output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned(), told(&output))
        };
        // Beside another one, nobody knows whose the process was that the kernel killed.
        let (status, text, all) = exec(&format!("{LOSES_A_CHILD}; kill -9 $$"));
        assert!(status == Some(137) && text.ends_with(NOTICE) && !text.contains("agentkernel: Killed"), "{all}");
        // What was before it an exec does not hear.
        let (status, text, all) = exec("kill -9 $$");
        assert!(status == Some(137) && text.is_empty(), "{all}");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        // Alone, but killed by its user.
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box", "--memory", "64M"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let mut exec = world.agentkernel(["exec", "box", "sh", "-c", &format!("{LOSES_A_CHILD}; sleep 600")]);
        let exec = exec.stderr(std::process::Stdio::piped()).spawn().unwrap();
        eventually("memory ran out", || {
            stdout(&mut world.agentkernel(["inspect", "--format", "{oom_killed}", "box"])) == "true\n"
        });
        let _ = stdout(&mut world.agentkernel(["kill", "--exec", "1", "box"]));
        let output = exec.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(137), "{}", told(&output));
        assert!(text.ends_with(NOTICE) && !text.contains("agentkernel: Killed"), "{}", told(&output));
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}
