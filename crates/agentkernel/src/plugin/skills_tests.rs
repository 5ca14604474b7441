use super::*;
use std::{fs, os::unix::fs::symlink};

/// A home directory with a project in it.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(home.path("project/.git/refs")).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn is_known(&self, cwd: &str, name: &str) -> bool {
        let mut host = HostFacts::read().unwrap();
        host.env = vec![("HOME".into(), self.path("").into_os_string())];
        host.cwd = self.path("project");
        let told = doubt(&host, Some(&self.path(cwd)), name);
        assert!(
            told.as_ref().is_none_or(|told| told.contains(&format!("The rule Skill({name}) allows it"))),
            "{told:?}"
        );
        told.is_none()
    }
}

#[test]
fn skills_are_known_where_no_sandbox_writes() {
    let home = Home::new();
    home.put(".claude/skills/mine/SKILL.md", "---\nname: mine\n---\npaths: are named like that\n");
    home.put(".claude/commands/old.md", "");
    home.put(".claude/commands/git/sum.md", "");
    home.put("project/.claude/skills/its/SKILL.md", "");
    home.put("project/sub/.claude/skills/evil/SKILL.md", "");
    home.put("project/sub/.claude/commands/bad.md", "");
    for name in ["mine", "old", "git:sum", "its"] {
        assert!(home.is_known("project", name), "{name}");
        assert!(home.is_known("project/sub", name), "{name}");
    }
    let others = [
        "evil",
        "bad",
        "sub:evil",
        "simplify",
        "",
        "..",
        "../skills/mine",
        "mine/..",
        "mine:",
        ":mine",
        "git/sum",
        "mine/",
        "./mine",
        "late",
        "flow",
        "odd",
        "hidden",
    ];
    home.put(".claude/skills/late/SKILL.md", "---\npaths: 'src/**'\n---\n");
    home.put(".claude/skills/flow/SKILL.md", "---\n{name: flow, paths: [\"zz/**\"]}\n---\n");
    home.put(".claude/skills/odd/SKILL.md", "---\n? paths\n: [\"zz/**\"]\n---\n");
    home.put(".claude/skills/hidden/SKILL.md", "---\ndisable-model-invocation: true\n---\n");
    for name in others {
        assert!(!home.is_known("project", name) && !home.is_known("project/sub", name), "{name}");
    }
    // Above it, Claude Code does not look; nor for a part of a name.
    home.put("above/.claude/skills/far/SKILL.md", "");
    home.put("above/project/.git/HEAD", "");
    assert!(!home.is_known("above/project", "far") && !home.is_known("project", "mine evil"));
    // By its name it may be used.
    home.put(
        "project/.claude/settings.json",
        r#"{"permissions": {"allow": ["Skill(simplify)", "Skill", "Skill(*)"]}}"#,
    );
    assert!(home.is_known("project", "simplify") && !home.is_known("project", "evil"));
}

#[test]
fn a_link_is_where_it_leads() {
    let home = Home::new();
    home.put("project/tools/evil/SKILL.md", "");
    home.put("dotfiles/good/SKILL.md", "");
    for place in [".claude/skills", "project/.claude/skills"] {
        fs::create_dir_all(home.path(place)).unwrap();
        symlink(home.path("project/tools/evil"), home.path(place).join("evil")).unwrap();
        symlink(home.path("dotfiles/good"), home.path(place).join("good")).unwrap();
        assert!(home.is_known("project", "good") && !home.is_known("project", "evil"), "{place}");
    }
}

#[test]
fn plugins_have_what_lies_in_them() {
    let home = Home::new();
    let installed =
        format!(r#"{{"version": 2, "plugins": {{"far@m": [{{"installPath": "{}"}}]}}}}"#, home.path("far").display());
    home.put(".claude/plugins/installed_plugins.json", &installed);
    let markets = format!(r#"{{"here": {{"installLocation": "{}"}}}}"#, home.path("market").display());
    home.put(".claude/plugins/known_marketplaces.json", &markets);
    home.put("market/.claude-plugin/marketplace.json", r#"{"plugins": [{"name": "near", "source": "./near"}]}"#);
    for plugin in ["far", "market/near"] {
        home.put(&format!("{plugin}/skills/one/SKILL.md"), "");
        home.put(&format!("{plugin}/commands/two.md"), "");
    }
    let names = ["far:one", "far:two", "near:one", "near:two"];
    assert!(!names.iter().any(|name| home.is_known("project", name)));
    home.put(".claude/settings.json", r#"{"enabledPlugins": {"far@m": true, "near@here": true, "near@else": true}}"#);
    for name in names {
        assert!(home.is_known("project", name), "{name}");
    }
    // What a directory is called in the project is nobody's plugin.
    home.put("project/far/.claude/skills/three/SKILL.md", "");
    for name in ["far:three", "other:one", "far", "one", "far:one:two", "near:../one"] {
        assert!(!home.is_known("project", name), "{name}");
    }
    // One that may not be loaded leaves its names to others.
    for (description, is_known) in [
        (r#"{"name":"far","version":"1.0.0","description":"d","author":{"name":"n"},"keywords":["k"]}"#, true),
        (r#"{"name":"far","dependencies":["zz@m"]}"#, false),
        (r#"{"name":"far","version":1}"#, false),
        (r#"{"name":"far","hooks":5}"#, false),
        (r#"{"version":"1.0.0"}"#, false),
        (r#"{"name":"no rm x"}"#, false),
        ("[]", false),
        ("{", false),
    ] {
        home.put("far/.claude-plugin/plugin.json", description);
        assert_eq!(home.is_known("project", "far:one"), is_known, "{description}");
    }
    home.put("far/.claude-plugin/plugin.json", r#"{"name":"far"}"#);
    home.put("project/.claude/settings.local.json", r#"{"enabledPlugins": {"far@m": false}}"#);
    assert!(!home.is_known("project", "far:one") && home.is_known("project", "near:one"));
    home.put("project/.claude/settings.local.json", "{}");
    // Whether it is or not, another file that may have the name is asked about.
    assert!(home.is_known("project", "far:one"));
    home.put("project/far/.claude/skills/three/SKILL.md", "---\nname: \"far:one\"\n---\n");
    assert!(!home.is_known("project", "far:one") && home.is_known("project", "near:two"));
}
