use super::*;
use proptest::prelude::*;

fn found(files: &[(&str, &str)]) -> Vec<String> {
    let world = tempfile::tempdir().unwrap();
    let root = world.path().canonicalize().unwrap();
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = text.replace("@", root.to_str().unwrap());
        match text.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            None => fs::write(path, text).unwrap(),
        }
    }
    let person =
        |home: &str, config: Option<&str>| Person { home: root.join(home), config: config.map(|c| root.join(c)) };
    let people = [person("home", Some("xdg")), person("other", None)];
    leads(&root.join("p"), &people).into_iter().map(|path| path.display().to_string()).collect()
}

#[test]
fn hooks_includes_and_commands_are_found() {
    let config = r#"
# [core] hooksPath = no
[core]
	hooksPath = "tools/my hooks" ; ours
	fsmonitor = ./bin/monitor --fast
	pager = less
[include] path = ../git/shared
[includeIf "onbranch:\"x]y"]
	path = \
		also
[remote "origin"]
	url = ./bin
	fetch = +refs/heads/*:refs/remotes/origin/*
[alias]
	st = status README
	check = "!f() { python3 check.py \"$@\"; }; f"
[filter.old]
	clean = sh -c 'exec ./bin/clean %f'
[commit]
	template = README
[Diff "pdf"]
	TextConv = ./bin/missing
"#;
    let shared = "[core]\nhooksPath=@/p/more/hooks\n[include]\npath = shared\npath = ~/mine\n";
    assert_eq!(
        found(&[
            ("p/.git/config", config),
            ("p/git/shared", shared),
            ("home/mine", "[sequence]\neditor = vim -S tools/vimrc"),
            ("p/tools/vimrc", ""),
            ("p/bin/monitor", ""),
            ("p/bin/clean", ""),
            ("p/README", ""),
            ("p/check.py", ""),
        ]),
        [
            ".git/also",
            "bin/clean",
            "bin/missing",
            "bin/monitor",
            "git/shared",
            "more/hooks",
            "tools/my hooks",
            "tools/vimrc"
        ]
    );
}

#[test]
fn of_a_command_what_it_runs() {
    let found = |name: &str, value: &str| {
        let (section, key) = name.split_once('.').unwrap();
        let config = format!("[{section}]\n{key} = \"{value}\"\n");
        found(&[("p/.git/config", &config), ("p/README", ""), ("p/src/main.c", ""), ("p/status", "")])
    };
    // What is run, and not there yet.
    assert_eq!(found("core.fsmonitor", "./fm"), ["fm"]);
    assert_eq!(found("diff.external", "src/d --x"), ["src/d"]);
    assert_eq!(found("core.pager", "./pg | less"), ["pg"]);
    assert_eq!(found("core.editor", "sh -c './ed.sh x'"), ["ed.sh"]);
    assert_eq!(found("core.sshCommand", "ssh -F ./conf"), ["conf"]);
    assert_eq!(found("credential.helper", "!f() { ./cred.sh; }; f"), ["cred.sh"]);
    assert_eq!(found("gpg.defaultKeyCommand", "./src/key.sh"), ["src/key.sh"]);
    assert_eq!(found("difftool.path", "./src/tool"), ["src/tool"]);
    assert_eq!(found("core.fsmonitor", "sh src/tools.sh"), ["src/tools.sh"]);
    assert_eq!(found("core.fsmonitor", "env A=./a.sh sh -c '. $A'"), ["a.sh"]);
    // Directories can be made, and what is no command or in whose directory nothing is.
    assert!(found("diff.external", "tools/d").is_empty());
    assert!(found("core.fsmonitor", "src").is_empty());
    assert!(found("branch.merge", "refs/heads/main").is_empty());
    assert!(found("core.editor", "code --wait ./").is_empty());
    // What is there.
    assert_eq!(found("core.pager", "less --lesskey-src status README"), ["README", "status"]);
    assert_eq!(found("new.variable", "x src/main.c"), ["src/main.c"]);
    // Who gives an alias asks for what it runs.
    assert!(found("alias.t", "!cat README src/main.c; ./x; vendor/bin/y").is_empty());
}

#[test]
fn hooks_in_the_project_itself() {
    for path in ["@/p", "../p", ".", "../p/"] {
        let config = format!("[core]\nhooksPath = {path}\n");
        let found = found(&[("p/.git/config", &config)]);
        assert!(found.len() == HOOKS.len() && found.contains(&"pre-commit".to_owned()), "{path}: {found:?}");
    }
}

/// Everybody's configuration is about every project: it keeps nothing from being made.
#[test]
fn of_the_user_s_what_is_there() {
    let config = "[core]\npager = ./pg\neditor = ./ed\nhooksPath = .hooks\n[alias]\nx = !./node_modules/.bin/y\n";
    assert_eq!(found(&[("home/.gitconfig", config), ("p/ed", ""), ("p/.git/config", "")]), [".hooks", "ed"]);
}

#[test]
fn the_user_s_and_a_worktree_s_configuration_count() {
    let files = [
        ("home/.gitconfig", "[core]\nhooksPath = .hooks"),
        ("home/.config/git/config", "[include]\npath = @/p/x\n"),
        ("xdg/git/config", "[core] hooksPath = xdg"),
        ("other/.gitconfig", "[core] hooksPath = others"),
        ("p/.git", "gitdir: ../main/.git/worktrees/p\n"),
        ("main/.git/worktrees/p/commondir", "../..\n"),
        ("main/.git/worktrees/p/config.worktree", "[core] hooksPath = w"),
        ("main/.git/config", "[core] hooksPath = ./c/"),
    ];
    assert_eq!(found(&files), [".hooks", "c", "others", "w", "x", "xdg"]);
}

#[test]
fn a_project_below_the_top_and_links() {
    let files = [
        (".git/config", "[core]\nhooksPath = p/hooks\n[diff]\nexternal = p/tool\n[pager]\nlog = other/tool"),
        ("p/hooks", "-> real/../real"),
        ("p/real/x", ""),
        ("p/tool", "-> ../other/tool"),
        ("other/tool", ""),
    ];
    assert_eq!(found(&files), ["hooks", "real", "tool"]);
    assert!(found(&[("p/.git/config", "[core]\nhooksPath = ..\n[include]\npath = ..\npath=")]).is_empty());
    assert!(found(&[]).is_empty());
}

#[test]
fn an_include_of_itself_ends() {
    assert_eq!(found(&[("p/.git/config", "[include]\npath = config\npath = ./config\n")]), [".git/config"]);
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "[\\[\\]\"\\\\=#;a-z \n\t/!.-]{0,200}") {
        let _ = variables(text.as_bytes());
    }

    #[test]
    fn any_value_is_read_as_written(text in "[a-z #;\"\\\\\t]{0,40}") {
        let quoted: String = text.chars().flat_map(|c| match c { '"' | '\\' => vec!['\\', c], c => vec![c] }).collect();
        let file = format!("[core]\n key = \"{quoted}\" # comment\n other = x");
        let expected = [("key", text.as_str()), ("other", "x")]
            .map(|(name, value)| (b"core".to_vec(), name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        prop_assert_eq!(variables(file.as_bytes()), expected);
    }
}
