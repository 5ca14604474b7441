//! Limits of somebody to whom a cgroup is delegated, and of somebody to whom none is.

use rustix::process::{Pid, Signal, kill_process};
use std::{fs, path::Path};
use support::{Who, World, eventually, may_limit, stdout, told};

const LIMITS: [&str; 6] = ["--memory", "64M", "--pids", "64", "--cpus", "0.5"];

#[test]
fn limits_hold_or_are_refused_with_the_way_to_have_them() {
    for who in Who::all() {
        let world = World::new(who);
        let output = world.agentkernel(["run"]).args(LIMITS).args(["--", "tail", "/dev/zero"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if may_limit(who) {
            assert_eq!(output.status.code(), Some(137), "{who:?}: {}", told(&output));
            assert!(text.contains("memory limit was reached"), "{who:?}: {}", told(&output));
        } else {
            assert_eq!(output.status.code(), Some(125), "{who:?}: {}", told(&output));
            assert!(text.contains("is not delegated to this user"), "{who:?}: {}", told(&output));
            // Version 1 has no delegation that could be asked for.
            let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").is_file();
            let remedy = if unified { "systemd-run --user --scope -p Delegate=yes" } else { "hint: " };
            assert!(text.contains(remedy), "{who:?}: {}", told(&output));
        }
    }
}

#[test]
fn a_group_has_the_limits_and_is_cleared_after_a_crash() {
    for who in Who::all().into_iter().filter(|who| may_limit(*who)) {
        let world = World::new(who);
        let _ = stdout(world.agentkernel(["create", "--name", "box"]).args(LIMITS).args(["--", "sleep", "600"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let inspected = stdout(&mut world.agentkernel(["inspect", "box"]));
        let number = |name: &str| {
            let text = inspected.split_once(&format!("\"{name}\": ")).unwrap().1;
            text[..text.find(|c: char| !c.is_ascii_digit()).unwrap()].parse::<u32>().unwrap()
        };
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", number("init_pid"))).unwrap();
        let unified = Path::new("/sys/fs/cgroup")
            .join(groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("none"));
        // Version 1 has these in other files, with other names.
        let is_unified = unified.join("memory.max").is_file();
        if is_unified {
            let read = |file: &str| fs::read_to_string(unified.join(file)).unwrap().trim().to_owned();
            assert_eq!([read("memory.max"), read("memory.swap.max")], ["67108864", "0"]);
            assert_eq!([read("pids.max"), read("cpu.max")], ["64", "50000 100000"]);
        }
        assert!(world.leftovers().iter().any(|left| left.starts_with("cgroup ")), "{:?}", world.leftovers());
        let supervisor = Pid::from_raw(number("supervisor_pid").cast_signed()).unwrap();
        kill_process(supervisor, Signal::KILL).unwrap();
        // As long as it dies, it holds its lock, and `gc` leaves it alone.
        eventually("gc clears it", || {
            let _ = stdout(&mut world.agentkernel(["gc"]));
            !world.leftovers().iter().any(|left| left.starts_with("cgroup "))
        });
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
        assert!(!is_unified || !unified.exists(), "{who:?}: {} is left", unified.display());
    }
}
