use super::*;
use std::fs;

#[test]
fn what_sandboxes_can_write_is_found_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let mut host = HostFacts::read().unwrap();
    host.env = vec![("HOME".into(), "/nowhere".into())];
    let found = |at: &str| open_to_sandboxes(&host, Some(&root.join(at))).unwrap();
    for made in [".git/objects", ".claude/skills/a/.claude/skills", ".claude/commands", "a/.claude/agents", "b/c/d"] {
        fs::create_dir_all(root.join(made)).unwrap();
    }
    assert_eq!(found(""), None);
    for nested in [
        "a/.claude/skills",
        "b/c/d/.claude/commands",
        "node_modules/x/.claude/skills",
        ".git/x/.claude/skills",
        ".claude/x/.claude/skills",
        "a/.claude/x/.claude/skills",
    ] {
        fs::create_dir_all(root.join(nested)).unwrap();
        let expected = Path::new(nested).parent().map(Path::to_owned);
        assert_eq!((found(""), found("b/c")), (expected.clone(), expected));
        fs::remove_dir_all(root.join(nested)).unwrap();
    }
    // A link is one too.
    fs::create_dir_all(root.join("elsewhere/skills")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", root.join("b/.claude")).unwrap();
    assert_eq!(found(""), Some("b/.claude".into()));
    // What the project protects no sandbox can write.
    fs::write(root.join("agentkernel.toml"), "[workspace]\nprotect = ['b/.claude', 'elsewhere']\n").unwrap();
    assert_eq!(found(""), None);
    fs::write(root.join("agentkernel.toml"), "[").unwrap();
    assert!(open_to_sandboxes(&host, Some(&root)).is_err());
}
