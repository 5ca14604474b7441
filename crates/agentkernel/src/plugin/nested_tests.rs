use super::*;
use std::os::unix::fs::symlink;

/// A project, and a home beside it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(place.path("project/sub")).unwrap();
        fs::create_dir_all(place.path("home/skills")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, name: &str, to: &Path) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        let _ = fs::remove_file(self.path(name));
        symlink(to, self.path(name)).unwrap();
    }

    /// What may be called so.
    fn namesake(&self, name: &str) -> Option<String> {
        namesake(&[self.path("project")], &[self.path("home"), self.path("project/.claude")], name)
    }
}

#[test]
fn what_is_called_so_or_says_so_is_found() {
    for (file, name) in [
        ("sub/.claude/skills/mine/SKILL.md", "mine"),
        ("sub/deep/.claude/skills/Mine/SKILL.md", "mine"),
        ("node_modules/x/.claude/skills/mine/SKILL.md", "mine"),
        ("sub/.claude/worktrees/x/.claude/skills/mine/SKILL.md", "mine"),
        ("sub/.claude/skills/mine /SKILL.md", "mine"),
        ("sub/.claude/skills/mi_ne/SKILL.md", "mi-ne"),
        ("sub/.claude/skills/ｍine/SKILL.md", "mine"),
        ("sub/.claude/skills/norm:plain/SKILL.md", "norm:plain"),
        ("norm/.claude/skills/plain/SKILL.md", "norm:plain"),
        ("sub/.claude/skills/x:mine/SKILL.md", "mine"),
        ("sub/.claude/commands/mine.md", "mine"),
        ("sub/.claude/commands/git/sum.md", "git:sum"),
        ("sub/.claude/commands/mine.MD", "mine"),
    ] {
        let place = Place::new();
        place.put(&format!("project/{file}"), "");
        let path = place.path("project").join(file);
        assert_eq!(place.namesake(name), Some(format!("Of {},", path.display())), "{file}");
        assert_eq!(place.namesake("other").is_some(), file.contains('ｍ'), "{file}");
    }
}

#[test]
fn only_a_plain_head_says_that_it_is_another() {
    let said = |text: &str| {
        let place = Place::new();
        place.put("project/sub/.claude/skills/np/SKILL.md", text);
        (place.namesake("norm:plain").is_some(), place.namesake("mine").is_some())
    };
    for another in [
        "",
        "A text\nname: mine\n",
        "---\nname: np\ndescription: Does it (all of it), well\nallowed-tools: Read, Bash(ls)\n---\nname: mine\n",
        "---\r\nname: 'np'\r\ndescription: \"Something\"\r\n---\r\n",
        "---\ndescription:\n---\n",
        "---\nname: np\nhooks:\n  PreToolUse:\n    - matcher: \"*\"\n      command: \"x --y: z\"\n- a\nlicense: MIT\n---\n",
    ] {
        assert_eq!(said(another), (false, false), "{another}");
    }
    for (text, told) in [
        ("---\nname: mine\n---\n", (false, true)),
        ("---\nname: \"norm:plain\"\n---\n", (true, false)),
        ("---\nname: plain\n---\n", (true, false)),
        ("---\nname: 'Norm:plain '\n---\n", (true, false)),
        ("---\nalias: mine\n---\n", (false, true)),
    ] {
        assert_eq!(said(text), told, "{text}");
    }
    for unclear in [
        "---\n{name: mine}\n---\n",
        "---\nname: np\nx:\n  name: mine\n---\n",
        "---\nname: np\nx:\n- {\"name\": mine}\n---\n",
        "---\nname: np\n  mine\n---\n",
        "---\nname: np\nx:\n  y\n\tname: mine\n---\n",
        "---\n? name\n: mine\n---\n",
        "---\n\"name\": mine\n---\n",
        "---\n\"n\\u0061me\": mine\n---\n",
        "---\nname: \"m\\x69ne\"\n---\n",
        "---\nname: mine # a note\n---\n",
        "---\nname: np\nname: mine\n---\n",
        "---\nname: np\nName: mine\n---\n",
        "---\nname:\n  mine\n---\n",
        "---\nname: >\n  mine\n---\n",
        "---\nname: |\n  mine\n---\n",
        "---\nname: *x\n---\n",
        "---\nname: &x mine\n---\n",
        "---\nname: !!str mine\n---\n",
        "---\nname: [mine]\n---\n",
        "---\nname:\tmine\n---\n",
        "---\nname: np\rname: mine\n---\n",
        "---\nx: np\u{2028}name: mine\n---\n",
        "---\nx: y --- z\n---\n",
        "---\nx: y: z\n---\n",
        "---\n<<: x\n---\n",
        "---\nname: np\n",
        "--- \nname: mine\n---\n",
        "\u{feff}---\nname: mine\n---\n",
        "\n---\nname: mine\n---\n",
    ] {
        assert_eq!(said(unclear), (true, true), "{unclear:?}");
    }
}

#[test]
fn what_cannot_be_read_may_be_it() {
    let place = Place::new();
    place.put("project/sub/.claude/skills/a/SKILL.md", &" ".repeat(MAX_FILE as usize + 1));
    assert!(place.namesake("mine").is_some());
    place.put("project/sub/.claude/skills/a/SKILL.md", "");
    assert_eq!(place.namesake("mine"), None);
    fs::write(place.path("project/sub/.claude/skills/a/SKILL.md"), b"\xff").unwrap();
    assert!(place.namesake("mine").is_some());
    fs::remove_file(place.path("project/sub/.claude/skills/a/SKILL.md")).unwrap();
    for number in 0..=MOST_FILES {
        place.put(&format!("project/sub/.claude/commands/{number}.md"), "");
    }
    assert!(place.namesake("mine").is_some());
    fs::remove_file(place.path("project/sub/.claude/commands/0.md")).unwrap();
    assert_eq!(place.namesake("mine"), None);
}

#[test]
fn places_where_none_writes_are_another_matter_and_so_are_other_files() {
    let place = Place::new();
    place.put("project/.claude/skills/mine/SKILL.md", "");
    place.put("project/.claude/commands/mine.md", "");
    place.put("home/skills/mine/SKILL.md", "---\n{name: mine}\n---\n");
    place.put("project/sub/skills/mine/SKILL.md", "");
    place.put("project/sub/.claude/agents/mine.md", "");
    place.put("project/sub/.claude/skills/other/mine.sh", "");
    assert_eq!(place.namesake("mine"), None);
    // For a sandbox of the outer one, what the inner one protects is a place like any other.
    place.put("project/sub/.claude/skills/mine/SKILL.md", "");
    let roots = [place.path("project"), place.path("project/sub")];
    assert!(namesake(&roots, &[], "mine").is_some());
    assert_eq!(namesake(&roots[1..], &[], "mine"), None);
}

#[test]
fn a_link_that_a_sandbox_could_have_laid_is_not_followed() {
    let place = Place::new();
    place.put("project/tools/evil/SKILL.md", "");
    place.put("elsewhere/sub/.claude/skills/mine/SKILL.md", "");
    let (evil, elsewhere) = (place.path("project/tools/evil"), place.path("elsewhere"));
    // These are found where they are, lead nowhere, or hold no directories.
    place.link("project/sub/inside", &evil);
    place.link("project/sub/nowhere", Path::new("gone"));
    place.link("project/sub/file", &elsewhere.join("sub/.claude/skills/mine/SKILL.md"));
    assert_eq!(place.namesake("mine"), None);
    for link in ["sub/out", "sub/.claude", "sub/.claude/skills", "sub/.claude/commands/x.md", "sub/.claude/skills/x/y"]
    {
        let place = Place::new();
        let target = if link.ends_with(".md") { evil.join("SKILL.md") } else { elsewhere.clone() };
        place.link(&format!("project/{link}"), &target);
        assert!(place.namesake("mine").unwrap().starts_with("The link "), "{link}");
    }
    // What its user has linked is looked at where it is.
    for link in ["home/skills/x", "project/.claude/skills/x"] {
        place.link(link, &elsewhere.join("sub"));
        assert_eq!(place.namesake("mine"), None, "{link}");
        place.link(link, &evil);
        place.put("project/tools/evil/SKILL.md", "");
        assert_eq!(place.namesake("mine"), None, "{link}");
        assert!(place.namesake("x").is_some(), "{link}");
        place.put("project/tools/evil/SKILL.md", "---\nname: mine\n---\n");
        assert!(place.namesake("mine").is_some(), "{link}");
        fs::remove_file(place.path(link)).unwrap();
    }
    fs::remove_dir_all(place.path("project/.claude")).unwrap();
    place.link("project/.claude", &place.path("project/config"));
    place.put("project/config/skills/mine/SKILL.md", "");
    assert!(place.namesake("mine").is_some());
    place.link("project/.claude", &elsewhere.join("sub/.claude"));
    assert_eq!(place.namesake("mine"), None);
}
