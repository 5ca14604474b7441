//! Init's program, from the host's side.

use std::path::Path;
use support::{Who, World, eventually, inspected, stdout};

/// Whoever gets at it by /proc/PID/exe must not be able to change it (CVE-2019-5736): other sandboxes run it, too.
#[test]
fn runs_from_a_read_only_mount() {
    if !rustix::process::getuid().is_root() {
        return support::skipped("the mount of init's program", "only root may look at it");
    }
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let program = format!("/proc/{}/exe", inspected(&world, "box", "init_pid"));
        let flags = rustix::fs::statvfs(Path::new(&program)).unwrap().f_flag;
        assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{who:?}: {flags:?}");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}
