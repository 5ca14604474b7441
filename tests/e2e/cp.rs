//! `cp`: files and trees both ways.

use std::{
    fs,
    io::Write,
    os::unix::{
        fs::{FileTypeExt, symlink},
        net::UnixListener,
    },
    process::Stdio,
};
use support::{Who, World, stdout, told};

fn with_box(who: Who) -> World {
    let world = World::new(who);
    let _ = stdout(&mut world.agentkernel(["create", "--name", "box", "--workspace", "none"]));
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    world
}

fn end(world: &World) {
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}

#[test]
fn a_tree_goes_in_and_comes_back_the_same() {
    for who in Who::all() {
        let world = with_box(who);
        let make = "mkdir -p tree/sub/empty && cd tree && head -c 3000000 /dev/urandom > big && ln -s ../big sub/link && ln big hard && echo x > 'a b' && chmod 751 sub && chmod 600 big && touch -d 2020-01-02 'a b'";
        let _ = stdout(world.command("sh").args(["-c", make]));
        let run = |arguments: &[&str]| stdout(&mut world.agentkernel(arguments));
        run(&["cp", "tree", "box:/tmp/in"]);
        run(&["cp", "tree", "box:/tmp"]);
        run(&["cp", "tree/.", "box:/tmp/in/sub/empty"]);
        run(&["cp", "box:/tmp/in", "out"]);
        run(&["exec", "box", "sh", "-c", "cmp /tmp/in/big /tmp/tree/big && cmp /tmp/in/big /tmp/in/sub/empty/big"]);
        let look = "cd \"$1\" && rm -rf sub/empty/* && find . -printf '%P %y %m %l %s %TY-%Tm-%Td\\n' | grep -v '^ \\|^sub/empty\\|^sub ' | sort; md5sum big; stat -c %h hard";
        let tree = stdout(world.command("sh").args(["-c", look, "sh", "tree"]));
        let out = stdout(world.command("sh").args(["-c", look, "sh", "out"]));
        assert_eq!(tree, out);
        end(&world);
    }
}

#[test]
fn destinations_are_dockers() {
    let world = with_box(Who::Me);
    let run = |arguments: &[&str]| stdout(&mut world.agentkernel(arguments));
    fs::write(world.project().join("file"), "one").unwrap();
    run(&["cp", "file", "box:/tmp/new"]);
    run(&["cp", "file", "box:/tmp"]);
    assert_eq!(run(&["exec", "box", "cat", "/tmp/new", "/tmp/file"]), "oneone");
    fs::write(world.project().join("file"), "two").unwrap();
    run(&["cp", "file", "box:/tmp/new"]);
    run(&["cp", "box:/tmp/new", "."]);
    run(&["cp", "box:/tmp/new", "renamed"]);
    assert_eq!(fs::read_to_string(world.project().join("new")).unwrap(), "two");
    assert_eq!(fs::read_to_string(world.project().join("renamed")).unwrap(), "two");
    for (from, to) in [
        ("missing", "box:/tmp"),
        ("file", "box:/no/such/dir/x"),
        ("box:/missing", "."),
        ("box:/tmp/new", "no/such/x"),
        ("file", "renamed"),
    ] {
        let output = world.agentkernel(["cp", from, to]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{from} {to}: {}", told(&output));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("agentkernel: "), "{from} {to}: {}", told(&output));
    }
    end(&world);
}

#[test]
fn archives_on_standard_streams() {
    let world = with_box(Who::Me);
    fs::write(world.project().join("file"), "content").unwrap();
    let tar = world.command("tar").args(["c", "file"]).output().unwrap().stdout;
    let mut child = world.agentkernel(["cp", "-", "box:/tmp"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&tar).unwrap();
    assert!(child.wait().unwrap().success());
    // What fills up the last record is taken as well, however much it is.
    let script = "set -o pipefail; { tar c file; head -c 10000000 /dev/zero; } | \"$0\" cp - box:/tmp";
    assert_eq!(stdout(world.command("bash").args(["-c", script]).arg(world.binary())), "");
    let back = world.agentkernel(["cp", "box:/tmp/file", "-"]).output().unwrap().stdout;
    let mut list = world.command("tar").args(["xO"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    list.stdin.take().unwrap().write_all(&back).unwrap();
    assert_eq!(list.wait_with_output().unwrap().stdout, b"content");
    end(&world);
}

#[test]
fn a_hostile_tree_stays_where_it_was_put() {
    for who in Who::all() {
        let world = with_box(who);
        // A link and a file behind it, a link out.
        let script = "mkdir /tmp/t && cd /tmp/t && ln -s / root && ln -s ../../outside.txt out && mkfifo pipe";
        let _ = stdout(&mut world.agentkernel(["exec", "box", "sh", "-c", script]));
        let _ = stdout(&mut world.agentkernel(["cp", "box:/tmp/t", "t"]));
        let t = world.project().join("t");
        assert!(fs::symlink_metadata(t.join("root")).unwrap().is_symlink());
        assert!(!t.join("pipe").exists() && !world.project().join("outside.txt").exists());
        // Over a link that is there already: the link is replaced, never followed.
        symlink(world.home(), world.project().join("swap")).unwrap();
        let _ = stdout(&mut world.agentkernel([
            "exec",
            "box",
            "sh",
            "-c",
            "mkdir -p /tmp/d/swap && echo x > /tmp/d/swap/file",
        ]));
        let _ = world.agentkernel(["cp", "box:/tmp/d/.", "."]).output().unwrap();
        assert!(!world.home().join("file").exists());
        end(&world);
    }
}

#[test]
fn what_is_no_file_on_the_host_stays() {
    for who in Who::all() {
        let world = with_box(who);
        let at = |name: &str| world.project().join(name);
        let _ =
            stdout(world.command("sh").args(["-c", "mkfifo fifo; ln -s fifo link; mkdir -p sub/t; mkfifo sub/t/fifo"]));
        let _listener = UnixListener::bind(at("socket")).unwrap();
        let _ = stdout(&mut world.agentkernel([
            "exec",
            "box",
            "sh",
            "-c",
            "mkdir /tmp/t; echo x | tee /tmp/f > /tmp/t/fifo",
        ]));
        let mut named = vec![("fifo", "fifo"), ("link", "fifo"), ("socket", "socket"), ("/dev/stdout", "fifo")];
        // As a node of root's own: nobody dares to try the host's.
        if who == Who::Me && rustix::process::getuid().is_root() {
            let _ = stdout(world.command("mknod").args(["nul", "c", "1", "3"]));
            named.push(("nul", "device"));
        }
        for (to, kind) in named {
            for from in ["box:/tmp/f", "box:/tmp/t"] {
                let output = world.agentkernel(["cp", from, to]).output().unwrap();
                let wanted = format!(
                    "agentkernel: Cannot replace {to}: it is a {kind}\n  hint: Name a file or a directory, or '-' for a \
                     tar archive on standard output, as docker cp has it\n"
                );
                assert_eq!(output.status.code(), Some(1), "{who:?} {from} {to}: {}", told(&output));
                assert_eq!(String::from_utf8_lossy(&output.stderr), wanted, "{who:?} {from} {to}");
            }
        }
        // In a tree that joins one that is there.
        let output = world.agentkernel(["cp", "box:/tmp/t", "sub"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{who:?}: {}", told(&output));
        let cause = "agentkernel: Cannot unpack into sub: Cannot unpack t/fifo: A fifo is in the way\n";
        assert_eq!(String::from_utf8_lossy(&output.stderr), cause, "{who:?}");
        let is =
            |name: &str, kind: fn(&fs::FileType) -> bool| kind(&fs::symlink_metadata(at(name)).unwrap().file_type());
        assert!(is("fifo", FileTypeExt::is_fifo) && is("sub/t/fifo", FileTypeExt::is_fifo), "{who:?}");
        assert!(is("socket", FileTypeExt::is_socket) && is("link", fs::FileType::is_symlink), "{who:?}");
        assert!(!at("nul").exists() || is("nul", FileTypeExt::is_char_device), "{who:?}");
        end(&world);
    }
}

#[test]
fn a_link_that_the_user_names_is_followed() {
    for who in Who::all() {
        let world = with_box(who);
        let at = |name: &str| world.project().join(name);
        let _ = stdout(&mut world.agentkernel([
            "exec",
            "box",
            "sh",
            "-c",
            "mkdir /tmp/t; echo new | tee /tmp/f > /tmp/t/in",
        ]));
        let make = "mkdir dir; echo old > file; ln file second; ln -s file to-file; ln -s dir to-dir; ln -s dir/new to-new; \
                    ln -s missing/x to-nowhere; ln -s to-file to-link; ln -s ../file dir/f";
        let _ = stdout(world.command("sh").args(["-c", make]));
        let cp = |from: &str, to: &str| {
            let _ = stdout(&mut world.agentkernel(["cp", from, to]));
        };
        let read = |name: &str| fs::read_to_string(at(name)).unwrap();
        cp("box:/tmp/f", "to-link");
        assert_eq!((read("file"), read("second")), ("new\n".into(), "old\n".into()), "{who:?}: the file is replaced");
        cp("box:/tmp/f", "to-new");
        assert_eq!(read("dir/new"), "new\n");
        cp("box:/tmp/t", "to-dir");
        assert_eq!(read("dir/t/in"), "new\n");
        // A link that nobody named is replaced.
        fs::write(at("file"), "old").unwrap();
        cp("box:/tmp/f", "to-dir");
        assert_eq!((read("file"), read("dir/f")), ("old".into(), "new\n".into()));
        for link in ["to-file", "to-dir", "to-new", "to-link"] {
            assert!(at(link).is_symlink(), "{who:?} {link}");
        }
        for to in ["to-nowhere", "to-file/", "to-file/.", "missing/", "missing/."] {
            let output = world.agentkernel(["cp", "box:/tmp/f", to]).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{who:?} {to}: {}", told(&output));
        }
        assert!(at("to-nowhere").is_symlink() && !at("missing").exists(), "{who:?}");
        end(&world);
    }
}

/// Exit status and standard error of a copy; `input` goes to its standard input.
fn copy(world: &World, from: &str, to: &str, input: &[u8]) -> (i32, String) {
    let mut child = world
        .agentkernel(["cp", from, to])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_be_copied_is_told() {
    let hint = "  hint: Only files, directories and symbolic links can be copied\n";
    for who in Who::all() {
        let world = with_box(who);
        let make = "mkdir -p t/sub && mkfifo t/pipe t/sub/pipe && echo x > t/z";
        let _ = stdout(world.command("sh").args(["-c", make]));
        let _listener = UnixListener::bind(world.project().join("t/sub/socket")).unwrap();
        let _ = stdout(&mut world.agentkernel(["exec", "box", "sh", "-c", &format!("cd /tmp && {make}")]));
        for (from, to, line) in [
            ("t", "box:/tmp/in", "2 fifos and 1 socket: the first is t/pipe"),
            ("t/.", "box:/tmp/in", "2 fifos and 1 socket: the first is pipe"),
            ("t/sub", "box:/tmp/sub", "1 fifo and 1 socket: the first is sub/pipe"),
            ("box:/tmp/t", "out", "2 fifos: the first is t/pipe"),
            ("box:/tmp/t/sub", "-", "1 fifo: sub/pipe"),
            ("box:/tmp/t/z", "out", ""),
        ] {
            let line = if line.is_empty() { String::new() } else { format!("agentkernel: Left out {line}\n") };
            assert_eq!(copy(&world, from, to, b""), (0, line), "{who:?} {from}");
        }
        let _ = stdout(&mut world.agentkernel(["exec", "box", "test", "-f", "/tmp/in/z", "-a", "-d", "/tmp/in/sub"]));
        assert!(world.project().join("out/sub").is_dir(), "{who:?}");
        let tar = world.command("tar").args(["c", "t/pipe", "t/z"]).output().unwrap().stdout;
        let line = "agentkernel: Left out 1 fifo: t/pipe\n".into();
        assert_eq!(copy(&world, "-", "box:/tmp", &tar), (0, line), "{who:?}");
        for (from, to, cause) in [
            ("t/pipe", "box:/tmp", "Cannot pack t/pipe: It is a fifo"),
            ("t/sub/socket", "box:/tmp", "Cannot pack t/sub/socket: It is a socket"),
            ("/dev/null", "box:/tmp", "Cannot pack /dev/null: It is a device"),
            ("box:/tmp/t/pipe", "x", "In the sandbox: Cannot pack /tmp/t/pipe: It is a fifo"),
            ("box:/dev/null", "-", "In the sandbox: Cannot pack /dev/null: It is a device"),
        ] {
            let wanted = (1, format!("agentkernel: {cause}\n{hint}"));
            assert_eq!(copy(&world, from, to, b""), wanted, "{who:?} {from}");
        }
        assert!(!world.project().join("x").exists(), "{who:?}");
        end(&world);
    }
}

#[test]
fn placeholders_of_protected_paths_are_left_out_without_a_word() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let place = fs::symlink_metadata(world.project().join(".envrc")).unwrap();
        assert!(place.file_type().is_socket(), "{who:?}");
        let project = format!("box:{}", world.project().display());
        for (from, to) in [(".", "box:/tmp/copy"), (&*project, "copy")] {
            assert_eq!(copy(&world, from, to, b""), (0, String::new()), "{who:?} {from}");
        }
        end(&world);
    }
}

#[test]
fn files_of_the_kernels_have_what_is_read_from_them() {
    for who in Who::all() {
        let world = with_box(who);
        let run = |arguments: &[&str]| stdout(&mut world.agentkernel(arguments));
        run(&["cp", "/proc/version", "box:/tmp/version"]);
        let version = fs::read_to_string("/proc/version").unwrap();
        assert_eq!(run(&["exec", "box", "cat", "/tmp/version"]), version, "{who:?}");
        run(&["cp", "box:/proc/version", "version"]);
        assert_eq!(fs::read_to_string(world.project().join("version")).unwrap(), version, "{who:?}");
        let script = "\"$0\" cp box:/proc/self/status - | tar xO";
        let status = stdout(world.command("sh").args(["-c", script]).arg(world.binary()));
        assert!(status.starts_with("Name:") && status.contains("\nPid:"), "{who:?} {status}");
        end(&world);
    }
}

/// Like `tar --one-file-system`, but only for file systems that are not files: what somebody has put there is wanted.
#[test]
fn all_of_a_sandbox_can_be_copied() {
    for who in Who::all() {
        let world = World::new(who);
        let make = "mkdir -p image/etc && echo image > image/etc/own && echo work > own";
        let _ = stdout(world.command("sh").args(["-c", make]));
        let run = |arguments: &[&str]| stdout(&mut world.agentkernel(arguments));
        run(&["create", "--name", "box", "--image", "dir:image", "--tmpfs", "/scratch"]);
        run(&["start", "box"]);
        fs::write(world.project().join("own"), "work\n").unwrap();
        run(&["cp", "own", "box:/scratch"]);
        let line = "agentkernel: Left out 6 devices and 2 kernel file systems: the first is dev/full\n";
        let root = world.home().join("root");
        assert_eq!(copy(&world, "box:/", root.to_str().unwrap(), b""), (0, line.into()), "{who:?}");
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        assert_eq!((read("etc/own"), read("scratch/own")), ("image\n".into(), "work\n".into()), "{who:?}");
        assert_eq!(read(world.project().join("own").to_str().unwrap().trim_start_matches('/')), "work\n", "{who:?}");
        for empty in ["proc", "dev/pts"] {
            assert_eq!(fs::read_dir(root.join(empty)).unwrap().count(), 0, "{who:?} {empty}");
        }
        end(&world);
    }
}

#[test]
fn archives_that_are_none_or_have_no_place() {
    for who in Who::all() {
        let world = with_box(who);
        fs::write(world.project().join("file"), "content").unwrap();
        let made = |flags: &str| world.command("tar").args([flags, "file"]).output().unwrap().stdout;
        let make = "Make it first, for example with `agentkernel exec SANDBOX mkdir -p DIR`";
        let zcat = "Decompress it first, for example with `zcat FILE | agentkernel cp - SANDBOX:DIR`";
        let place = format!("/absent: no such directory\n  hint: {make}");
        let gzip = format!("Cannot unpack the archive: It is compressed (gzip)\n  hint: {zcat}");
        let junk = "Cannot unpack the archive: It is not a tar archive";
        let _ = stdout(&mut world.agentkernel(["cp", "file", "box:/tmp/file"]));
        for (input, to, cause) in [
            (made("c"), "box:/absent", &*place),
            (made("c"), "box:/tmp/file", "/tmp/file: Not a directory (os error 20)"),
            (made("cz"), "box:/tmp", &*gzip),
            (b"junk\n".to_vec(), "box:/tmp", junk),
            (b"junk\n".repeat(10_000), "box:/tmp", junk),
        ] {
            let wanted = (1, format!("agentkernel: In the sandbox: {cause}\n"));
            assert_eq!(copy(&world, "-", to, &input), wanted, "{who:?} {to}");
        }
        assert!(!world.agentkernel(["exec", "box", "test", "-e", "/absent"]).output().unwrap().status.success());
        end(&world);
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let world = with_box(Who::Me);
    let _ = stdout(&mut world.agentkernel(["exec", "box", "sh", "-c", "head -c 3000000 /dev/zero > /tmp/big"]));
    let script = "\"$0\" cp box:/tmp/big - | head -c 1 > /dev/null; echo \"${PIPESTATUS[@]}\"";
    let output = world.command("bash").args(["-c", script]).arg(world.binary()).output().unwrap();
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"141 0\n"[..], &b""[..]), "{}", told(&output));
    end(&world);
}
