//! What a sandbox may leave in a direct workspace for the host, and what not.

use std::{fs, os::unix::fs::PermissionsExt};
use support::{Who, World, stdout, told};

#[test]
fn no_set_user_id_file_is_made_in_a_workspace() {
    // Each must leave a file without the bits, whether the program takes the refusal as its end or not.
    let ways = [
        "touch f && chmod u+s f",
        "touch f && chmod 6755 f",
        "touch f && chmod g+s f",
        "install -m 4755 /bin/true f",
        "cp -a --no-preserve=ownership /usr/bin/su f",
        "umask 0; perl -e 'use Fcntl; sysopen(F, \"f\", O_WRONLY | O_CREAT, 04777) or die $!'",
        "mkdir d && chmod g+s d",
    ];
    for who in Who::all() {
        for mode in ["direct", "overlay"] {
            let world = World::new(who);
            for way in ways {
                let script =
                    format!("({way}) 2>refused; find . -perm /6000 | grep . && exit 9; grep -i permitted refused");
                let told = stdout(&mut world.agentkernel(["run", "--workspace", mode, "--", "sh", "-c", &script]));
                assert!(told.contains("not permitted"), "{way}: {told}");
                let _ = stdout(world.command("sh").args(["-c", "test -z \"$(find . -perm /6000)\" && rm -rf ./*"]));
            }
        }
    }
}

#[test]
fn copies_lose_set_user_id_bits_both_ways() {
    for who in Who::all() {
        let world = World::new(who);
        let run = |arguments: &[&str]| stdout(&mut world.agentkernel(arguments));
        let box_of = |command: &[&str]| run(&[&["exec", "box"], command].concat());
        run(&["create", "--name", "box"]);
        run(&["start", "box"]);
        let outside = world.home().join("tool");
        let _ = stdout(world.command("cp").args([std::path::Path::new("/bin/true"), &outside]));
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o6755)).unwrap();
        // Into the workspace, where the host sees it again.
        let target = format!("box:{}/in", world.project().display());
        run(&["cp", outside.to_str().unwrap(), &target]);
        assert_eq!(box_of(&["stat", "-c", "%a", "in"]), "755\n");
        let mode = |name: &str| fs::metadata(world.project().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("in"), 0o755);
        // Out of it: the host's own set-user-id program, which the image has.
        let image = "/usr/bin/su";
        assert_eq!(box_of(&["stat", "-c", "%a", image]), "4755\n");
        run(&["cp", &format!("box:{image}"), "out"]);
        assert_eq!(mode("out"), 0o755);
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

#[test]
fn a_program_sees_no_openat2_and_its_filters() {
    let world = World::new(Who::Me);
    let output =
        world.agentkernel(["run", "--", "sh", "-c", "grep Seccomp_filters /proc/self/status"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Seccomp_filters:\t2\n", "{}", told(&output));
}
