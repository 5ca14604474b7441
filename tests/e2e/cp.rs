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
