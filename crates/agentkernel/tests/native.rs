//! The native backend with real sandboxes, seen from inside: as root (where the tests run as root) and as an ordinary
//! user. Each launch is a process of its own, `examples/native-launch.rs`, because a launch needs a process with one
//! thread.

// The helpers of tests are tests: what they cannot do is a failure.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use agentkernel::{BackendKind, Identity, Image, Limits, Mount, Network, SandboxId, Spec, Tmpfs, Workspace};
use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// An ordinary user without an account.
const USER: u32 = 65_533;
/// The owner of the project where root launches: neither root nor the sandbox's identity.
const OWNER: u32 = 65_532;

/// A host directory with a project, and who launches.
struct World {
    dir: TempDir,
    /// The ordinary user, if this process is root and must become one.
    user: Option<u32>,
    root: bool,
    launcher: PathBuf,
}

/// Runs a test in every world that this process can make.
fn worlds(test: impl Fn(&World)) {
    if rustix::process::geteuid().is_root() {
        test(&World::new(true, None));
        test(&World::new(false, Some(USER)));
    } else {
        test(&World::new(false, None));
    }
}

impl World {
    fn new(root: bool, user: Option<u32>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let built = std::env::current_exe().unwrap();
        let built = built.parent().unwrap().parent().unwrap().join("examples/native-launch");
        // The build directory need not be readable for the ordinary user.
        let launcher = dir.path().join("launch");
        fs::copy(built, &launcher).unwrap();
        let world = Self { dir, user, root, launcher };
        world.host_directory("state", user);
        world.host_directory("project", if root { Some(OWNER) } else { user });
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn host_directory(&self, name: impl AsRef<Path>, owner: Option<u32>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        if owner.is_some() {
            chown(&path, owner, owner).unwrap();
        }
        path
    }

    /// Who owns the project on the host.
    fn owner(&self) -> u32 {
        fs::metadata(self.path("project")).unwrap().uid()
    }

    fn spec(&self) -> Spec {
        let uid = 1234;
        Spec {
            id: SandboxId::random().unwrap(),
            name: None,
            keep: false,
            backend: BackendKind::Native,
            engine: None,
            image: Image::Host,
            layers: Vec::new(),
            workspace: Workspace::Direct { path: self.path("project"), protected: Vec::new() },
            agent: None,
            mounts: Vec::new(),
            tmpfs: Vec::new(),
            read_only: false,
            log_refused: false,
            network: Network::default(),
            identity: Identity { uid, gid: uid, groups: vec![], name: "agent".into(), home: "/home/agent".into() },
            limits: Limits {
                cpu_milli: None,
                memory: None,
                pids: None,
                disk: Some(64 << 20),
                rlimits: Vec::new(),
                nofile_is_named: false,
            },
            hostname: "box".into(),
            command: None,
            env: Vec::new(),
            workdir: "/".into(),
            timeout_ms: None,
            build: None,
        }
    }

    /// As [`spec`](Self::spec), but its user is the one that init is: root where root launches.
    fn spec_as_init(&self) -> Spec {
        let mut spec = self.spec();
        if self.root {
            (spec.identity.uid, spec.identity.gid) = (0, 0);
        }
        spec
    }

    fn launch(&self, spec: &Spec, script: &str) -> Output {
        let file = self.path(spec.id.as_str());
        fs::write(&file, serde_json::to_vec(spec).unwrap()).unwrap();
        let mut command = Command::new(&self.launcher);
        command.arg(self.path("state")).arg(file).args(["/bin/sh", "-c", script]);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.output().unwrap()
    }

    /// What a script prints in a sandbox; the script must succeed.
    fn run(&self, spec: &Spec, script: &str) -> String {
        let output = self.launch(spec, script);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "root: {}: {text}\n{errors}", self.root);
        text
    }

    /// What the launch fails with.
    fn refusal(&self, spec: &Spec) -> String {
        let output = self.launch(spec, "true");
        assert!(!output.status.success(), "root: {}: launched", self.root);
        // Nothing is left behind.
        let ids = fs::read_dir(self.path("state/cache/ids")).map_or(0, Iterator::count);
        assert_eq!(ids, 0);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// Runs as the identity where init is root, so that what it may is what a program may.
fn as_identity(script: &str) -> String {
    format!(
        "if [ $(id -u) = 0 ]; then setpriv --reuid 1234 --regid 1234 --clear-groups sh -c '{script}'; else sh -c '{script}'; fi"
    )
}

#[test]
fn maps_no_id_of_the_host_but_the_callers() {
    worlds(|world| {
        let map = world.run(&world.spec(), "cat /proc/self/uid_map");
        let numbers: Vec<u32> = map.split_whitespace().map(|n| n.parse().unwrap()).collect();
        if world.root {
            assert_eq!((numbers[0], numbers[2]), (0, 65_536));
            assert!(numbers[1] >= 0x4000_0000 && numbers[1].is_multiple_of(65_536));
        } else {
            // The outer side reads as the reader's own namespace sees it: from inside, as itself.
            assert_eq!(numbers, [1234, world.owner(), 1]);
        }
    });
}

#[test]
fn leaves_init_no_capability_that_it_does_not_need() {
    worlds(|world| {
        let status = world.run(&world.spec(), "cat /proc/self/status");
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        // NET_ADMIN, until the capture is open; SETUID, SETGID, KILL.
        let expected = if world.root { "00000000000010e0" } else { "0000000000001000" };
        assert_eq!(value("CapBnd"), "0000000000000000");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(value(set), expected, "{set}");
        }
        assert_eq!(value("NoNewPrivs"), "1");
    });
}

#[test]
fn shows_only_its_own_mounts_and_processes() {
    worlds(|world| {
        let text = world.run(&world.spec(), "cut -d \" \" -f 5 /proc/self/mountinfo; ls -di / /..");
        let project = world.path("project");
        let (mounts, inodes): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('/'));
        for point in &mounts {
            let own = ["/", "/usr", "/opt", "/proc", "/dev"].contains(point)
                || point.starts_with("/proc/")
                || point.starts_with("/dev/")
                || Path::new(point) == project;
            assert!(own, "{point}");
        }
        assert_eq!(mounts.iter().filter(|point| **point == "/").count(), 1);
        let inode = |line: &str| line.split_whitespace().next().map(str::to_owned);
        assert_eq!(inode(inodes[0]), inode(inodes[1]), "/.. leads out");
        let processes = world.run(&world.spec(), "ls /proc | grep -c \"^[0-9]*$\"");
        assert!(processes.trim().parse::<u32>().unwrap() <= 4, "{processes}");
    });
}

#[test]
fn masks_what_proc_tells_and_takes() {
    worlds(|world| {
        let spec = world.spec();
        for file in ["sys/kernel/core_pattern", "sys/vm/drop_caches", "fs", "irq", "bus"] {
            let output = world.launch(&spec, &format!("echo x > /proc/{file}"));
            assert!(!output.status.success(), "{file}");
        }
        // Whoever may write there on this host or another: nobody may here.
        let table = world.run(&spec, "cat /proc/self/mountinfo");
        let options = |path: &str| {
            let mut fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            fields.find(|fields| fields[4] == path).map(|fields| fields[5].to_owned()).unwrap_or_default()
        };
        for name in ["sys", "sysrq-trigger", "irq", "bus", "fs"] {
            let path = format!("/proc/{name}");
            assert!(!Path::new(&path).exists() || options(&path).starts_with("ro,"), "{path}: {table}");
        }
        for name in
            ["kcore", "keys", "key-users", "timer_list", "sched_debug", "latency_stats", "acpi", "asound", "scsi"]
        {
            let path = format!("/proc/{name}");
            assert!(!Path::new(&path).exists() || options(&path).starts_with("ro,"), "{path} is shown: {table}");
        }
        let hidden = world.run(&spec, "cat /proc/timer_list /proc/keys /proc/key-users /proc/kcore 2>/dev/null | wc -c; ls -A /sys /proc/acpi /proc/scsi /proc/asound 2>/dev/null | grep -v : | tr -d \"\\n\"; true");
        assert_eq!(hidden.trim(), "0", "{hidden}");
    });
}

#[test]
fn has_a_minimal_dev_with_own_terminals() {
    worlds(|world| {
        let script = "ls /dev; ls /dev/pts; echo gone > /dev/null; head -c 3 /dev/zero | wc -c; touch /dev/shm/x; touch /dev/y 2>&1; true";
        let text = world.run(&world.spec(), script);
        let expected = "core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ptmx 3";
        assert!(text.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(expected), "{text}");
        assert!(text.contains("Read-only file system"), "{text}");
        // One sandbox must not have all the terminals of the host.
        let table = world.run(&world.spec(), "cat /proc/self/mountinfo");
        let terminals = table.lines().find(|line| line.contains(" /dev/pts ")).unwrap();
        assert!(terminals.contains("max=256"), "{terminals}");
    });
}

#[test]
fn answers_every_address_from_inside() {
    worlds(|world| {
        // Refused: somebody local was asked. Unreachable would be the answer of a box without routes.
        for address in ["192.0.2.7", "2001:db8::7"] {
            let script = format!("bash -c 'exec 3<>/dev/tcp/{address}/80' 2>&1; true");
            let text = world.run(&world.spec(), &script);
            assert!(text.contains("Connection refused"), "{address}: {text}");
        }
        let script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; grep : /proc/net/dev | cut -d : -f 1";
        let text = world.run(&world.spec(), script);
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!((words[0], words[1]), ("0", "lo"));
        assert!(!text.contains("eth"), "{text}");
    });
}

#[test]
fn gives_an_own_home_and_nobody_elses() {
    worlds(|world| {
        let script = "stat -c %u:%g /home/agent; ls -A /home/agent; ls /home; cat /etc/shadow /etc/ssh/* 2>&1; hostname; cat /etc/resolv.conf; getent passwd 1234; getent hosts localhost";
        let text = world.run(&world.spec(), script);
        assert!(text.starts_with("1234:1234\nagent\n"), "{text}");
        assert!(text.contains("/etc/shadow: No such file"), "{text}");
        assert!(text.contains("\nbox\nnameserver 127.0.0.1\n"), "{text}");
        assert!(text.contains("agent:x:1234:1234::/home/agent:"), "{text}");
        world.run(&world.spec(), &as_identity("touch /home/agent/x && touch /tmp/y"));
    });
}

#[test]
fn writes_the_project_as_its_owner() {
    worlds(|world| {
        let project = world.path("project");
        let script = as_identity(&format!("cd {} && echo hello > hello.txt && stat -c %u:%g .", project.display()));
        assert_eq!(world.run(&world.spec(), &script), "1234:1234\n");
        let file = fs::metadata(project.join("hello.txt")).unwrap();
        assert_eq!((file.uid(), file.gid()), (world.owner(), world.owner()));
    });
}

#[test]
fn takes_any_project_path() {
    worlds(|world| {
        let mut deep = PathBuf::from("project/with:colon, comma, back\\slash, sp ace, ünïcode 字, \"quote\"");
        while deep.as_os_str().len() + world.dir.path().as_os_str().len() < 3_700 {
            deep.push("d".repeat(240));
        }
        deep.push("e".repeat(3_999 - world.dir.path().join(&deep).as_os_str().len()));
        let owner = world.owner();
        let path = world.host_directory(&deep, Some(owner));
        assert_eq!(path.as_os_str().len(), 4_000);
        fs::write(path.join("old"), "old").unwrap();
        let text = path.to_str().unwrap().to_owned();
        for overlay in [false, true] {
            let mut spec = world.spec();
            spec.workspace = if overlay {
                Workspace::Overlay { path: path.clone() }
            } else {
                Workspace::Direct { path: path.clone(), protected: Vec::new() }
            };
            // The shell takes the path as a here document: no quoting.
            let script =
                format!("read -r d <<'END'\n{text}\nEND\ncat \"$d/old\" && echo new > \"$d/new\" && cat \"$d/new\"");
            let script = script.replace("'END'", "\"END\"");
            let output = world.run(&spec, &as_identity(&script));
            assert_eq!(output, "oldnew\n");
            assert_eq!(path.join("new").exists(), !overlay);
            let _ = fs::remove_file(path.join("new"));
        }
    });
}

#[test]
fn protects_paths_of_the_project() {
    worlds(|world| {
        let owner = Some(world.owner());
        let project = world.path("project");
        world.host_directory("project/.git", owner);
        world.host_directory("project/.git/hooks", owner);
        world.host_directory("project/elsewhere", owner);
        fs::write(project.join(".git/config"), "kept").unwrap();
        chown(project.join(".git/config"), owner, owner).unwrap();
        symlink("elsewhere", project.join("link")).unwrap();
        std::os::unix::fs::lchown(project.join("link"), owner, owner).unwrap();
        let mut spec = world.spec();
        let protected = [".git/config", ".git/hooks", "link/inner", "missing/x"].map(PathBuf::from).to_vec();
        spec.workspace = Workspace::Direct { path: project.clone(), protected };
        let script = as_identity(&format!(
            "cd {} && exec 2>&1; echo bad > .git/config; rm -f .git/config; mv .git/config .git/c; touch .git/hooks/h; rm -rf .git; rm -f link; mv link l2; ln -sfn / link; touch .git/fine; true",
            project.display()
        ));
        let text = world.run(&spec, &script);
        assert_eq!(fs::read_to_string(project.join(".git/config")).unwrap(), "kept", "{text}");
        assert_eq!(fs::read_dir(project.join(".git/hooks")).unwrap().count(), 0);
        assert_eq!(fs::read_link(project.join("link")).unwrap(), Path::new("elsewhere"), "{text}");
        assert!(project.join(".git/fine").exists(), "{text}");
    });
}

/// An image with a static busybox as its only program.
fn image(world: &World) -> PathBuf {
    let owner = world.user;
    let image = world.host_directory("image", owner);
    world.host_directory("image/bin", owner);
    fs::copy("/bin/busybox", image.join("bin/busybox")).unwrap();
    for name in ["sh", "ls", "cat", "id", "touch"] {
        symlink("busybox", image.join("bin").join(name)).unwrap();
    }
    image
}

#[test]
fn a_link_in_an_image_does_not_lead_out() {
    worlds(|world| {
        let image = image(world);
        let victim = world.host_directory("victim", world.user);
        let up = PathBuf::from("../../../../../../../../").join(victim.strip_prefix("/").unwrap());
        for (name, target) in
            [("dev", &victim), ("etc", &up), ("proc", &up), ("home", &PathBuf::from("/proc/self/root"))]
        {
            let link = image.join(name);
            symlink(target, &link).unwrap();
            let mut spec = world.spec();
            spec.image = Image::Dir(image.clone());
            spec.workspace = Workspace::None;
            let output = world.launch(&spec, "true");
            let error = String::from_utf8_lossy(&output.stderr);
            // Where the link leads does not exist inside, or it is refused as a link; and outside, nothing happened.
            assert!(error.contains("wall: "), "{name}: {error}");
            assert!(error.contains("in the sandbox") || error.contains("of the image"), "{name}: {error}");
            assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "{name}");
            fs::remove_file(link).unwrap();
        }
    });
}

#[test]
fn starts_from_a_directory_as_image() {
    worlds(|world| {
        let image = image(world);
        world.host_directory("image/etc", world.user);
        symlink("/victim", image.join("etc/resolv.conf")).unwrap();
        fs::write(image.join("etc/passwd"), "other:x:5:5::/:/bin/sh").unwrap();
        let mut spec = world.spec();
        spec.image = Image::Dir(image.clone());
        let text = world.run(&spec, "cat /etc/resolv.conf /etc/passwd; touch /new /bin/new; ls /");
        assert!(text.starts_with("nameserver 127.0.0.1"), "{text}");
        assert!(text.contains("agent:x:1234:1234::/home/agent:") && text.contains("\nother:x:5:5"), "{text}");
        assert!(!image.join("new").exists() && !image.join("bin/new").exists());
        assert_eq!(fs::read_link(image.join("etc/resolv.conf")).unwrap(), Path::new("/victim"));
    });
}

#[test]
fn keeps_files_and_ids_of_a_kept_sandbox() {
    worlds(|world| {
        let mut spec = world.spec_as_init();
        spec.keep = true;
        let make = "echo kept > /usr/local/share/k; echo kept > /home/agent/k; rm /etc/profile && mkdir /etc/profile; cat /proc/self/uid_map";
        let first = world.run(&spec, make);
        let look = "cat /usr/local/share/k /home/agent/k; ls -d /etc/profile; cat /proc/self/uid_map";
        assert_eq!(world.run(&spec, look), format!("kept\nkept\n/etc/profile\n{first}"));
        spec.id = SandboxId::random().unwrap();
        let other = world.run(&spec, "ls /usr/local/share/k 2>/dev/null; cat /proc/self/uid_map");
        assert_eq!(other == first, !world.root);
    });
}

#[test]
fn read_only_is_read_only() {
    worlds(|world| {
        let mut spec = world.spec_as_init();
        spec.read_only = true;
        let script = "for d in / /usr/local /etc /var /opt /tmp /run /var/tmp /home/agent /dev/shm; do touch $d/x 2>/dev/null && echo $d; done; true";
        assert_eq!(world.run(&spec, script), "/tmp\n/run\n/var/tmp\n/home/agent\n/dev/shm\n");
    });
}

#[test]
fn brings_mounts_and_tmpfs() {
    worlds(|world| {
        for name in ["ro", "rw"] {
            let dir = world.host_directory(name, world.user);
            fs::write(dir.join("f"), name).unwrap();
        }
        fs::write(world.path("file"), "single").unwrap();
        let mount =
            |name: &str, target: &str, read_only| Mount { source: world.path(name), target: target.into(), read_only };
        let mut spec = world.spec();
        spec.mounts =
            vec![mount("ro", "/data/ro", true), mount("rw", "/data/rw", false), mount("file", "/etc/single", true)];
        spec.tmpfs = vec![Tmpfs { target: "/scratch".into(), size: 1 << 20 }];
        let script = as_identity(
            "cat /data/ro/f /data/rw/f /etc/single; touch /data/ro/x 2>/dev/null && echo bad; echo new > /data/rw/x; head -c 2000000 /dev/zero > /scratch/x 2>/dev/null || echo full",
        );
        assert_eq!(world.run(&spec, &script), "rorwsinglefull\n");
        let made = fs::metadata(world.path("rw/x")).unwrap();
        assert_eq!(made.uid(), fs::metadata(world.path("rw")).unwrap().uid());
    });
}

#[test]
fn refuses_what_is_not_safe_and_says_why() {
    worlds(|world| {
        symlink(world.path("project"), world.path("alias")).unwrap();
        let mut spec = world.spec();
        spec.workspace = Workspace::Direct { path: world.path("alias"), protected: Vec::new() };
        let text = world.refusal(&spec);
        assert!(text.contains("wall: workspace") && text.contains("hint: Name the real path"), "{text}");

        spec.workspace = Workspace::Direct { path: world.path("nowhere"), protected: Vec::new() };
        assert!(world.refusal(&spec).contains("No such file"));

        for target in ["/", "/proc/1", "/dev/x", "/sys"] {
            spec = world.spec();
            spec.mounts = vec![Mount { source: world.path("project"), target: target.into(), read_only: true }];
            assert!(world.refusal(&spec).contains("Nothing can be mounted at"), "{target}");
        }
    });
}

#[test]
fn limits_hold_or_are_refused_with_a_remedy() {
    worlds(|world| {
        let mut spec = world.spec();
        spec.limits.pids = Some(16);
        spec.limits.memory = Some(96 << 20);
        let script = "exec 2>&1; i=0; while [ $i -lt 40 ]; do sleep 2 & i=$((i+1)); done; true";
        let output = world.launch(&spec, script);
        let error = String::from_utf8_lossy(&output.stderr);
        if error.contains("wall: limits") {
            assert!(!error.contains("hint: \n"), "{error}");
            assert!(!world.root, "root can set limits here: {error}");
            return;
        }
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("fork"), "{text} {error}");
        let output = world.launch(&spec, "head -c 300000000 /dev/zero | tail -n 1 | wc -c");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("oom kills: ") && !error.contains("oom kills: 0"), "{error}");
        assert!(!world.path("state").join(spec.id.as_str()).join("cgroups").exists());
    });
}

/// Programs may not ask for keys, so this asks in the place of init, who still may.
#[test]
fn joins_a_new_session_keyring() {
    const ID: &str = "import ctypes; print(ctypes.CDLL(None).syscall(250, 0, ctypes.c_int(-3), 0))";
    const JOIN: &str = "import ctypes, os, sys; print(ctypes.CDLL(None).syscall(250, 1, None), flush=True); os.execv(sys.argv[1], sys.argv[1:])";
    worlds(|world| {
        let spec = world.spec();
        let file = world.path(spec.id.as_str());
        fs::write(&file, serde_json::to_vec(&spec).unwrap()).unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", JOIN]).arg(&world.launcher).arg(world.path("state")).arg(file);
        command.args(["/usr/bin/env", "python3", "-c", ID]);
        if let Some(user) = world.user {
            command.uid(user).gid(user);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let ids: Vec<i64> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(ids.len(), 2, "{}", String::from_utf8_lossy(&output.stderr));
        assert!(ids[0] > 0, "this kernel has no keyrings, or this host forbids them: {ids:?}");
        assert_ne!(ids[0], ids[1]);
    });
}

/// The list of /etc changes what is copied, at any depth: an edit in place, a new mode, a new file.
#[test]
fn shows_etc_as_it_is_now() {
    worlds(|world| {
        let etc = world.host_directory("profile.d", None);
        world.host_directory("profile.d/below", None);
        let spec = world.spec();
        let file = world.path(spec.id.as_str());
        fs::write(&file, serde_json::to_vec(&spec).unwrap()).unwrap();
        if !rustix::process::geteuid().is_root() {
            return support::skipped("changes of the host's /etc", "only root can mount something there first");
        }
        let become_user =
            world.user.map_or(String::new(), |user| format!("setpriv --reuid {user} --regid {user} --clear-groups"));
        let script = format!(
            "mount --bind {} /etc/profile.d && exec {become_user} {} {} {} /bin/sh -c 'cat /etc/profile.d/a.sh /etc/profile.d/below/b.sh 2>&1'",
            etc.display(),
            world.launcher.display(),
            world.path("state").display(),
            file.display()
        );
        let shown = || {
            let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let (a, b) = (etc.join("a.sh"), etc.join("below/b.sh"));
        fs::write(&a, "one\n").unwrap();
        assert!(shown().starts_with("one\ncat: "), "{}", shown());
        fs::write(&b, "two\n").unwrap();
        assert_eq!(shown(), "one\ntwo\n");
        // In place, and of the same length.
        fs::write(&b, "new\n").unwrap();
        assert_eq!(shown(), "one\nnew\n");
        fs::set_permissions(&b, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(shown().starts_with("one\ncat: "), "{}", shown());
        fs::remove_file(&a).unwrap();
        assert!(shown().starts_with("cat: "), "{}", shown());
    });
}

#[test]
fn shows_what_the_host_has_mounted_below_usr() {
    worlds(|world| {
        let spec = world.spec();
        let file = world.path(spec.id.as_str());
        fs::write(&file, serde_json::to_vec(&spec).unwrap()).unwrap();
        if !rustix::process::geteuid().is_root() {
            return support::skipped("what is mounted below /usr", "only root can mount something there first");
        }
        let become_user =
            world.user.map_or(String::new(), |user| format!("setpriv --reuid {user} --regid {user} --clear-groups"));
        let script = format!(
            "mount -t tmpfs below /usr/local/share && exec {become_user} {} {} {} /bin/ls /usr/bin/env",
            world.launcher.display(),
            world.path("state").display(),
            file.display()
        );
        let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "/usr/bin/env\n", "{error}");
    });
}
