use super::*;
use crate::config::identity::tests::host;
use std::os::unix::fs::symlink;

/// What of the project `dot` in a home directory with these links and variables is led to.
fn led(links: &[(&str, &str)], variables: &[(&str, &str)]) -> (Vec<String>, Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().canonicalize().unwrap();
    for dir in ["dot/claude/skills/x", "dot/worktrees/a", ".claude/skills", ".claude/todos", ".config/opencode"] {
        fs::create_dir_all(home.join(dir)).unwrap();
    }
    fs::write(home.join("dot/bashrc"), "").unwrap();
    for (from, to) in links {
        symlink(to.replace('@', home.to_str().unwrap()), home.join(from)).unwrap();
    }
    let env = variables.iter().map(|(name, dir)| ((*name).into(), home.join(dir).into())).collect();
    let facts = HostFacts { env, ..host(1000) };
    let people = [Person { home: home.clone(), config: None }];
    let Leads { within, around } = leads(&home.join("dot"), &people, &facts);
    let below = |path: PathBuf| path.strip_prefix(&home).unwrap_or(&path).display().to_string();
    (within.into_iter().map(|path| path.display().to_string()).collect(), around.map(below))
}

#[test]
fn what_links_lead_to_in_a_project_is_found() {
    let found = |links: &[(&str, &str)]| match led(links, &[]) {
        (found, None) => found,
        (_, Some(around)) => panic!("{around}"),
    };
    assert_eq!(found(&[(".bashrc", "dot/bashrc"), (".profile", "@/dot/../dot/bashrc")]), ["bashrc"]);
    // What is not there yet could be made.
    assert_eq!(found(&[(".claude/CLAUDE.md", "../dot/new/CLAUDE.md")]), ["new/CLAUDE.md"]);
    assert_eq!(found(&[(".claude/skills/x", "../../dot/claude/skills/x")]), ["claude/skills/x"]);
    assert_eq!(found(&[(".config/fish", "../dot/fish"), (".config/opencode/agent", "@/dot/agent")]), ["agent", "fish"]);
    // Each link on the way decides.
    let links =
        [("dot/now", "claude"), ("dot/rc", "/etc/hosts"), (".hosts", "dot/rc"), (".claude/rules", "../dot/now/r")];
    assert_eq!(found(&links), ["claude/r", "now", "rc"]);
    // Not what nobody obeys, nor what has nothing to do with it, nor what leads nowhere.
    let links =
        [("app", "dot/bashrc"), (".claude/todos/x", "../../dot/bashrc"), (".x", "/etc"), (".y", ".y"), (".z", ".y/z")];
    assert_eq!(found(&links), [""; 0]);
    // A project is not all of what somebody obeys.
    assert_eq!(found(&[(".vim", "dot"), (".config/nvim", "../dot")]), [""; 0]);
}

#[test]
fn where_agents_keep_what_they_obey_is_no_project() {
    let around = |links: &[(&str, &str)], variables: &[(&str, &str)]| led(links, variables).1;
    assert_eq!(around(&[(".claude/commands", "../dot")], &[]).as_deref(), Some(".claude/commands"));
    assert_eq!(around(&[(".claude/skills/y", "@")], &[]).as_deref(), Some(".claude/skills/y"));
    assert_eq!(around(&[], &[("CLAUDE_CONFIG_DIR", "dot")]).as_deref(), Some("dot"));
    assert_eq!(around(&[("config", "dot")], &[("CODEX_HOME", "config")]).as_deref(), Some("config"));
    // One in the project is protected, and its links are looked at as well.
    let (found, around) = led(&[("dot/claude/skills/l", "@/dot/bashrc")], &[("CLAUDE_CONFIG_DIR", "dot/claude")]);
    assert_eq!((found, around), (vec!["bashrc".into(), "claude".into(), "claude/skills/l".into()], None));
    assert_eq!(led(&[], &[("GEMINI_CLI_HOME", "other"), ("CODEX_HOME", "elsewhere")]), (vec![], None));
}

#[test]
fn worktrees_of_an_agents_are_projects() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().canonicalize().unwrap();
    let project = home.join("codex/worktrees/ab12/app");
    fs::create_dir_all(&project).unwrap();
    let facts = HostFacts { env: vec![("CODEX_HOME".into(), home.join("codex").into())], ..host(1000) };
    assert_eq!(leads(&project, &[], &facts), Leads::default());
    assert_eq!(leads(&home.join("codex/worktrees"), &[], &facts).around, Some(home.join("codex")));
    assert_eq!(leads(&home.join("codex/skills"), &[], &facts).around, Some(home.join("codex")));
}
