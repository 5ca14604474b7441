//! `doctor`, and the walls that `ps` counts.

use support::{Who, World, eventually, stdout, told};

#[test]
fn where_everything_works_it_says_so_and_leaves_nothing() {
    for who in Who::all() {
        let world = World::new(who);
        let text = stdout(&mut world.agentkernel(["doctor"]));
        assert!(text.contains("Backend native works") && text.contains("a sandbox has started"), "{text}");
        // Whether there is an engine is another matter.
        let native = text.split("\nBackend docker").next().unwrap();
        assert!(!native.contains("FAILS"), "{text}");
        let report: serde_json::Value =
            serde_json::from_str(&stdout(&mut world.agentkernel(["doctor", "--json"]))).unwrap();
        assert_eq!(report["backends"][0]["works"], true);
        let findings = report["backends"][0]["findings"].as_array().unwrap();
        for finding in findings {
            let missing = finding["state"] == "missing";
            assert!(missing || finding["state"] == "works", "{finding}");
            assert!(!missing || !finding["hint"].as_str().unwrap().is_empty(), "{finding}");
        }
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn where_a_wall_cannot_be_raised_it_says_what_a_start_says() {
    for who in Who::all() {
        let world = World::new(who);
        let without_namespaces = |arguments: &str| {
            let script = format!("echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" {arguments}");
            let mut command = world.command("unshare");
            command.args(["--user", "--map-root-user", "sh", "-c", &script]).arg(world.binary()).output().unwrap()
        };
        let doctor = without_namespaces("doctor");
        assert_eq!(doctor.status.code(), Some(1), "{who:?}: {}", told(&doctor));
        let text = String::from_utf8(doctor.stdout).unwrap();
        assert!(text.contains("Backend native does not work"), "{text}");
        let run = without_namespaces("run -- true");
        assert_eq!(run.status.code(), Some(125), "{who:?}: {}", told(&run));
        let said = String::from_utf8(run.stderr).unwrap();
        let (cause, hint) = said.trim_end().split_once("\n  ").unwrap();
        let cause = cause.strip_prefix("agentkernel: user namespace: ").unwrap_or_else(|| panic!("{said}"));
        assert!(text.contains(cause) && text.contains(hint), "{text}\n{said}");
    }
}

#[test]
fn ps_counts_the_walls() {
    let world = World::new(Who::Me);
    let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
    let walls = |world: &World| stdout(&mut world.agentkernel(["ps", "-a", "--format", "{backend} {walls}"]));
    assert_eq!(walls(&world), "native \n");
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    let counted = walls(&world);
    let (held, all) = counted.trim().strip_prefix("native ").unwrap().split_once('/').unwrap();
    let inspect = stdout(&mut world.agentkernel(["inspect", "box"]));
    assert_eq!(held.parse(), Ok(inspect.matches("\"holds\": true").count()));
    assert_eq!(all.parse(), Ok(inspect.matches("\"holds\": ").count()));
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}
