//! The ground that the other tests stand on.

use support::{Who, World, stdout};

#[test]
fn a_world_belongs_to_its_user() {
    for who in Who::all() {
        let world = World::new(who);
        let uid = stdout(world.command("id").arg("-u"));
        let expected = if who == Who::Nobody { support::NOBODY } else { rustix::process::getuid().as_raw() };
        assert_eq!(uid.trim(), expected.to_string());
        let _ = stdout(world.command("sh").args(["-c", "touch ~/a ./b && test -z \"$SSH_AUTH_SOCK$USER\""]));
        assert!(world.project().join("b").is_file() && world.home().join("a").is_file());
    }
}

#[test]
fn a_world_goes_away() {
    let world = World::new(Who::Me);
    let project = world.project();
    drop(world);
    assert!(!project.is_dir());
}
