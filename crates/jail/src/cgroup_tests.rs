//! What mountinfo and /proc/self/cgroup say, on hosts of each kind; and a real group where this host lets us.
#![allow(clippy::disallowed_methods)] // tests start programs and look at files

use super::{
    hierarchy::{own_path, parse},
    *,
};

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
38 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw
39 31 0:39 / /home/a\\134b rw - ext4 /dev/sda rw
";

#[test]
fn finds_the_hierarchies_of_a_hybrid_host() {
    let found = parse(HYBRID.as_bytes());
    assert_eq!(found.len(), 4);
    assert_eq!(find(&found, Controller::Cpu).unwrap().mount_point, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
    assert_eq!(find(&found, Controller::Memory).unwrap().root, "/docker/abc");
    assert!(find(&found, Controller::Pids).is_none());
    assert_eq!(found[3].mount_point, Path::new("/sys/fs/cgroup/uni fied"));
}

#[test]
fn finds_the_own_group() {
    let found = parse(HYBRID.as_bytes());
    let own = "4:memory:/docker/abc/inner\n3:cpu,cpuacct:/user\n1:name=systemd:/x\n0::/init.scope\n";
    assert_eq!(own_path(&found[0], own).unwrap(), Path::new("/sys/fs/cgroup/cpu,cpuacct/user"));
    assert_eq!(own_path(&found[1], own).unwrap(), Path::new("/sys/fs/cgroup/memory/inner"));
    assert_eq!(own_path(&found[3], own).unwrap(), Path::new("/sys/fs/cgroup/uni fied/init.scope"));
}

#[test]
fn reads_fields_by_their_whole_name() {
    assert_eq!(field("oom 3\noom_kill 2\noom_kill_disable 1\n", "oom_kill"), Some(2));
    assert_eq!(field("oom_kill_disable 1\n", "oom_kill"), None);
}

#[test]
fn leaves_directories_alone_that_are_no_cgroup() {
    let dir = tempfile::tempdir().unwrap();
    remove(dir.path()).unwrap();
    assert!(dir.path().exists());
    remove(&dir.path().join("missing")).unwrap();
}

/// Either the limits stand, or it is said which does not.
#[test]
fn limits_stand_or_are_an_error() {
    let limits = Limits { cpu_milli: Some(500), memory: Some(64 << 20), pids: Some(50) };
    let name = format!("test-{}", std::process::id());
    let mut remembered = Vec::new();
    let made = Cgroup::make(&name, &limits, |path| {
        remembered.push(path.to_owned());
        Ok(())
    });
    match made {
        Ok(cgroup) => {
            assert!(!remembered.is_empty() && remembered.iter().all(|path| path.exists()));
            assert_eq!(cgroup.oom_kills(), 0);
            cgroup.remove().unwrap();
            cgroup.remove().unwrap();
        }
        Err(error) => assert!(!error.hint.is_empty(), "{error}"),
    }
    assert!(remembered.iter().all(|path| !path.exists()));
}
