//! What keeps a sandbox in, as a program inside sees it.

use super::Row;
use support::told;

pub const CASES: &[Row] = &[
    ("no capability, no new privilege, a filter", "", |b| {
        for user in ["0", "1234"] {
            let script =
                "grep -E '^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs|Seccomp):' /proc/self/status | awk '{print $1 $2}'";
            let text = b.works(&["-u", user, "--workspace", "none"], script);
            let zeros = "0000000000000000";
            let expected =
                format!("CapInh:{zeros}\nCapPrm:{zeros}\nCapEff:{zeros}\nCapAmb:{zeros}\nNoNewPrivs:1\nSeccomp:2\n");
            let lines = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
            assert_eq!(lines(&text), lines(&expected), "as user {user}");
        }
    }),
    ("nothing can be mounted, also by root", "", |b| {
        for command in [
            "mount -t tmpfs none /mnt",
            "mount --bind / /mnt",
            "umount /proc",
            "chroot / true",
            "mknod /tmp/d b 8 0",
            "swapoff -a",
        ] {
            let output = b.sh(&["-u", "0", "--workspace", "none"], &format!("mkdir -p /mnt; {command}"));
            assert!(!output.status.success(), "{command}: {}", told(&output));
        }
    }),
    ("the kernel's settings cannot be written", "", |b| {
        let script = "for file in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/power/state /proc/sys/net/ipv4/ip_forward; do \
                      (echo x > $file) 2>/dev/null && echo wrote $file; done; echo end";
        assert_eq!(b.works(&["-u", "0", "--workspace", "none"], script), "end\n");
    }),
    ("the network cannot be changed", "", |b| {
        let script = "ip link add d type dummy 2>/dev/null && echo added; ip route del local default dev lo table local 2>/dev/null && echo removed; echo end";
        assert_eq!(b.works(&["-u", "0", "--workspace", "none"], script), "end\n");
    }),
    ("no namespace can be made", "", |b| {
        let script = "for kind in U m p n u i; do unshare -$kind true 2>/dev/null && echo made $kind; done; echo end";
        assert_eq!(b.works(&["-u", "0", "--workspace", "none"], script), "end\n");
    }),
    ("no file becomes set-user-id", "", |b| {
        let script = "cp /bin/busybox /tmp/x; chmod u+s /tmp/x 2>/dev/null && echo set; test -u /tmp/x || echo not";
        assert_eq!(b.works(&["-u", "0", "--workspace", "none"], script), "not\n");
    }),
    ("init is out of reach", "", |b| {
        let script = "kill -9 1; kill -STOP 1; cat /proc/1/environ >/dev/null 2>&1 && echo read; readlink /proc/1/fd/0 /proc/1/exe /proc/1/cwd; (: > /proc/1/fd/0) 2>/dev/null && echo opened; \
                      cat /proc/1/mem >/dev/null 2>&1 && echo mem; echo alive";
        assert_eq!(b.works(&["--workspace", "none"], script), "alive\n");
    }),
    ("init's program cannot be changed", "", |b| {
        let script = "for file in /proc/1/exe /.agentkernel/init; do [ -e $file ] && (echo x > $file) 2>/dev/null && echo wrote; rm -rf $file 2>/dev/null; done; mv /.agentkernel /moved 2>/dev/null && echo moved; echo end";
        b.kept(&["-u", "0", "--workspace", "none"], &[]);
        assert_eq!(b.exec(script), "end\n");
        let _ = b.says(&["restart", "-t", "0", crate::bench::BOX]);
        assert_eq!(b.exec("echo up"), "up\n");
    }),
    ("killing everybody ends the command and not the sandbox", "", |b| {
        b.kept(&[], &[]);
        let _ = b.agentkernel(&["exec", crate::bench::BOX, "sh", "-c", "kill -9 -1"]).output();
        assert_eq!(b.exec("echo alive"), "alive\n");
    }),
    ("no device but harmless ones", "", |b| {
        let text = b.works(
            &["-u", "0", "--workspace", "none"],
            "find /dev -type b; for d in kmsg mem port kvm fuse sda vda; do test -e /dev/$d && echo $d; done; echo end",
        );
        assert_eq!(text, "end\n");
    }),
    ("what the kernel tells of the host is masked", "", |b| {
        let script = "for file in /proc/kcore /proc/keys /proc/key-users /proc/timer_list /proc/interrupts /proc/slabinfo /sys/firmware/acpi/tables/DSDT; do head -c1 $file 2>/dev/null | wc -c | grep -v '^0$'; done; echo end";
        assert_eq!(b.works(&["-u", "0", "--workspace", "none"], script), "end\n");
    }),
    ("root inside is nobody outside", "own ids", |b| {
        b.kept(&["-u", "0", "--workspace", "none"], &["sleep", "600"]);
        let init = b.inspect()["running"]["init_pid"].as_u64().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap();
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned();
        assert_ne!(uid, "0");
    }),
    ("devices of an image would not work", "nodev root", |b| {
        let text = b.works(&["--workspace", "none"], "awk '$5 == \"/\" {print $6}' /proc/self/mountinfo");
        assert!(text.contains("nodev") && text.contains("nosuid"), "{text}");
    }),
    ("the place in the host's cgroups is hidden", "cgroup namespace", |b| {
        assert_eq!(b.works(&[], "cut -d: -f3 /proc/self/cgroup | sort -u"), "/\n");
    }),
    ("a project that is not trusted gets nothing that it asks for", "", |b| {
        b.write("agentkernel.toml", "[network]\nmode = \"open\"\n");
        let output = b.run(&[], &["true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    }),
    ("a project cannot choose the backend unasked", "", |b| {
        let text = format!("[sandbox]\nbackend = \"{}\"\nimage = \"{}\"\n", b.backend, crate::bench::IMAGE);
        b.write("agentkernel.toml", &text);
        let output = b.agentkernel(&["run", "--", "true"]).output().unwrap();
        assert!(!output.status.success() && told(&output).contains("trust"), "{}", told(&output));
        let _ = b.says(&["trust"]);
        assert_eq!(b.says(&["run", "--", "sh", "-c", "echo $COLOR"]), "blue\n");
    }),
    ("a backend that the user has not allowed is refused", "", |b| {
        let other = if b.backend == "native" { "docker" } else { "native" };
        let dir = b.world.home().join(".config/agentkernel");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.toml"), format!("[sandbox]\nbackends = [\"{other}\"]\n")).unwrap();
        if b.world.who() == support::Who::Nobody {
            let owner = support::NOBODY.to_string();
            assert!(
                std::process::Command::new("chown")
                    .args(["-R", &owner])
                    .arg(b.world.home().join(".config"))
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let output = b.run(&[], &["true"]).output().unwrap();
        assert!(!output.status.success() && told(&output).contains("not among those"), "{}", told(&output));
    }),
];
