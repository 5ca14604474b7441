//! A full disk and a read-only one, where the state lies: one clear line, and nothing lost or left.

use std::process::Stdio;
use support::{
    Who, World,
    disk::{self, Disk},
    eventually, told,
};

/// A world whose state directory is a file system of its own.
struct Tiny {
    world: World,
    disk: Disk,
}

/// Room for the cached layer and a few sandboxes.
const SIZE: &str = "8M";

impl Tiny {
    fn new(who: Who) -> Self {
        let world = World::new(who);
        let disk = Disk::new(&world, SIZE);
        Self { world, disk }
    }

    fn fill(&self) {
        self.disk.fill();
    }

    fn free(&self) {
        self.disk.free();
    }

    fn read_only(&self, yes: bool) {
        self.disk.remount(if yes { "ro" } else { "rw" });
    }

    /// Runs agentkernel in there: its status and both outputs.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.disk.agentkernel(&self.world, arguments).stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let (status, stdout, stderr) = self.run(arguments);
        assert_eq!(status, 0, "{arguments:?}: {stdout}{stderr}");
        stdout
    }

    /// One line with the cause, one with the hint, nothing else.
    #[track_caller]
    fn fails(&self, status: i32, cause: &str, arguments: &[&str]) {
        let (found, stdout, stderr) = self.run(arguments);
        assert_eq!((found, stdout.as_str()), (status, ""), "{arguments:?}: {stderr}");
        let lines: Vec<_> = stderr.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with("agentkernel: "), "{arguments:?}: {stderr}");
        assert!(lines[0].contains(cause), "{arguments:?}: {stderr}");
        assert!(lines[1].starts_with("  hint: ") && lines[1].contains("AGENTKERNEL_STATE_DIR"), "{stderr}");
    }
}

#[test]
fn nothing_is_lost_on_a_full_disk() {
    for who in disk::everyone() {
        let tiny = Tiny::new(who);
        tiny.succeeds(&["create", "--name", "box", "--", "sh", "-c", "echo ran > ~/file; sleep 600"]);
        // The very first start makes the cached layer: half of it would be in the way for ever.
        tiny.fill();
        tiny.fails(1, "No space left on device", &["start", "box"]);
        tiny.free();
        tiny.succeeds(&["start", "box"]);
        let ran = || tiny.run(&["exec", "box", "sh", "-c", "grep ran ~/file"]).0 == 0;
        eventually("it ran", ran);
        tiny.fill();
        let before = tiny.succeeds(&["ps", "-aq"]);
        tiny.fails(125, "No space left on device", &["run", "--", "true"]);
        tiny.fails(125, "No space left on device", &["run", "--keep", "--name", "other", "--", "true"]);
        tiny.fails(125, "No space left on device", &["run", "-d", "--", "true"]);
        tiny.fails(1, "No space left on device", &["create"]);
        assert_eq!(tiny.succeeds(&["ps", "-aq"]), before);
        // What runs goes on, and can be used and stopped.
        assert_eq!(tiny.succeeds(&["exec", "box", "sh", "-c", "cat ~/file"]), "ran\n");
        tiny.succeeds(&["inspect", "box"]);
        tiny.succeeds(&["stop", "-t", "1", "box"]);
        let ended = tiny.succeeds(&["ps", "-a", "--format", "{status}"]);
        assert!(ended.starts_with("exited ("), "{ended}");
        tiny.succeeds(&["gc", "--dry-run"]);
        tiny.free();
        // Its files are there, and it starts again.
        tiny.succeeds(&["gc"]);
        tiny.succeeds(&["start", "box"]);
        eventually("it ran again", ran);
        assert_eq!(tiny.succeeds(&["run", "--", "echo", "works"]), "works\n");
        tiny.fill();
        // Removing needs no space, and makes some.
        tiny.succeeds(&["rm", "-f", "box"]);
        eventually("both are gone", || tiny.succeeds(&["ps", "-aq"]).is_empty());
        eventually("nothing is left", || tiny.world.leftovers().is_empty());
    }
}

#[test]
fn a_start_that_cannot_be_recorded_is_told_and_undone() {
    for who in disk::everyone() {
        let tiny = Tiny::new(who);
        tiny.succeeds(&[
            "create",
            "--name",
            "box",
            "--workspace",
            "none",
            "--",
            "sh",
            "-c",
            "echo ran >> ~/file; sleep 600",
        ]);
        tiny.succeeds(&["start", "box"]);
        let runs = |times: &str| tiny.run(&["exec", "box", "sh", "-c", "grep -c ran ~/file"]).1 == times;
        eventually("it ran", || runs("1\n"));
        tiny.succeeds(&["stop", "-t", "1", "box"]);
        let gone = || tiny.world.leftovers().iter().all(|left| left.starts_with("sandbox "));
        eventually("it ended", gone);
        let before = tiny.succeeds(&["inspect", "-f", "{state}", "box"]);
        tiny.fill();
        // Everything that a start needs is in the cache by now: the first to need space is the record that it runs.
        for arguments in [&["start", "box"][..], &["start", "--attach", "box"]] {
            tiny.fails(1, "state.json", arguments);
            // The supervisor that has told it ends.
            eventually("nothing is left of it", gone);
            assert_eq!(tiny.succeeds(&["inspect", "-f", "{state}", "box"]), before);
        }
        tiny.free();
        tiny.succeeds(&["start", "box"]);
        eventually("it ran once more", || runs("2\n"));
        tiny.succeeds(&["rm", "-f", "box"]);
        eventually("nothing is left", || tiny.world.leftovers().is_empty());
    }
}

#[test]
fn a_log_on_a_full_disk_holds_nobody_up() {
    for who in disk::everyone() {
        let tiny = Tiny::new(who);
        // Long ones: what is left of the log's last page must not be enough for them.
        let script = "n=0; while n=$((n+1)); do printf 'line %d\n%04000d\n' $n 0; sleep 0.02; done";
        tiny.succeeds(&["run", "-d", "--name", "box", "--", "sh", "-c", script]);
        eventually("it writes", || tiny.succeeds(&["logs", "box"]).contains("line 5\n"));
        tiny.fill();
        // It goes on behind the full log, and so does an exec whose output is logged as well.
        assert_eq!(tiny.succeeds(&["exec", "box", "echo", "on"]), "on\n");
        tiny.succeeds(&["exec", "-d", "box", "sh", "-c", "head -c 300000 /dev/zero; touch /tmp/done"]);
        eventually("the exec ends", || tiny.run(&["exec", "box", "test", "-e", "/tmp/done"]).0 == 0);
        tiny.free();
        // As soon as there is room, the log says what it lacks, and goes on.
        eventually("the log goes on", || {
            let (_, _, stderr) = tiny.run(&["logs", "box"]);
            stderr.contains("bytes could not be written to the log")
        });
        let log = tiny.succeeds(&["logs", "box"]);
        assert!(log.contains("line 1\n") && log.trim_matches('\0').ends_with('\n'), "{log}");
        tiny.succeeds(&["rm", "-f", "box"]);
    }
}

#[test]
fn no_half_of_an_image_on_a_full_disk() {
    for who in disk::everyone() {
        let tiny = Tiny::new(who);
        let archive = support::pack(&tiny.world, "one", "[]", "head -c 300000 /dev/urandom > file");
        let import = ["image", "import", archive.to_str().unwrap()];
        // Once the directories of the store are there.
        tiny.succeeds(&["image", "list"]);
        tiny.fill();
        tiny.fails(1, "No space left on device", &import);
        assert_eq!(tiny.succeeds(&["image", "list", "-q"]), "");
        tiny.free();
        tiny.succeeds(&import);
        eventually("nothing is left", || tiny.world.leftovers().is_empty());
    }
}

/// What cannot be put on record is refused nevertheless, holds nobody up, and is on record later.
#[test]
fn connections_on_a_full_disk() {
    for who in disk::everyone() {
        let tiny = Tiny::new(who);
        tiny.succeeds(&["create", "--name", "box", "--allow", "www.example.com", "--workspace", "none"]);
        tiny.succeeds(&["start", "box"]);
        let connect = |host: &str, times: u32| {
            let once =
                format!("exec 3<>/dev/tcp/{host}/25 && printf '\\0' >&3 && timeout 30 head -c 1 <&3; test $? != 124");
            let script = format!("for n in $(seq {times}); do {once} || exit; done; echo over");
            let (_, stdout, stderr) = tiny.run(&["exec", "box", "bash", "-c", &script]);
            assert!(stdout.ends_with("over\n"), "{stdout}{stderr}");
            assert!(stderr.contains("refused") && stderr.contains("no rule allows it"), "{stderr}");
        };
        let logged = |host: &str| tiny.succeeds(&["net", "log", "--json", "box"]).contains(host);
        connect("first.example.org", 1);
        assert!(logged("first.example.org"));
        tiny.fill();
        // What is left of the last page is soon full as well.
        connect("second.example.org", 40);
        connect("third.example.org", 1);
        assert!(!logged("third.example.org"));
        tiny.free();
        connect("fourth.example.org", 1);
        assert!(logged("first.example.org"));
        // What could not be written is there in sum, and so is what came after it.
        eventually("all is on record", || {
            ["second", "third", "fourth"].iter().all(|name| logged(&format!("{name}.example.org")))
        });
        tiny.succeeds(&["rm", "-f", "box"]);
        eventually("nothing is left", || tiny.world.leftovers().is_empty());
    }
}

#[test]
fn a_read_only_state_directory_is_told_and_keeps_what_runs() {
    for who in disk::everyone() {
        let tiny = Tiny::new(who);
        tiny.succeeds(&["create", "--name", "box", "--", "sh", "-c", "echo ran > ~/file; sleep 600"]);
        tiny.succeeds(&["start", "box"]);
        let ran = || tiny.run(&["exec", "box", "sh", "-c", "grep ran ~/file"]).0 == 0;
        eventually("it ran", ran);
        tiny.succeeds(&["stop", "-t", "1", "box"]);
        tiny.read_only(true);
        tiny.fails(125, "Read-only file system", &["run", "--", "true"]);
        tiny.fails(125, "Read-only file system", &["run", "-d", "--", "true"]);
        tiny.fails(1, "Read-only file system", &["create"]);
        tiny.fails(1, "Read-only file system", &["start", "box"]);
        tiny.fails(1, "Read-only file system", &["rename", "box", "other"]);
        tiny.fails(1, "Read-only file system", &["rm", "box"]);
        // Looking needs no writing.
        assert!(tiny.succeeds(&["ps", "-a"]).contains("box"));
        tiny.succeeds(&["inspect", "box"]);
        tiny.succeeds(&["logs", "box"]);
        tiny.read_only(false);
        tiny.succeeds(&["start", "box"]);
        eventually("it ran again", ran);
        tiny.succeeds(&["rm", "-f", "box"]);
        eventually("nothing is left", || tiny.world.leftovers().is_empty());
    }
}

#[test]
fn a_state_directory_that_cannot_be_made_is_told() {
    let world = World::new(Who::Me);
    std::fs::write(world.project().join("file"), "").unwrap();
    for place in ["file", "file/below"] {
        let path = world.project().join(place);
        let output = world.agentkernel(["run", "true"]).env("AGENTKERNEL_STATE_DIR", &path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
        assert!(text.contains(path.to_str().unwrap()) && text.contains("Not a directory"), "{text}");
        assert!(text.contains("hint: "), "{text}");
    }
}
