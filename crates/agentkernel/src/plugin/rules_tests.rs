use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::fs;

fn is_matched(rule: &str, command: &str) -> bool {
    matching(&json!([rule]), "Bash", command).is_some()
}

#[test]
fn commands_that_a_rule_is_about_are_known() {
    for (rule, commands) in [
        ("Bash", &["ls", ""][..]),
        ("Bash(*)", &["ls", ""]),
        (
            "Bash(touch:*)",
            &["touch", "touch a", "cd x && touch a", "/usr/bin/touch a", "A=1 touch a", "(touch a)", "$(touch a)"],
        ),
        (
            "Bash(touch *)",
            &["touch", "touch a", "x;touch", "`touch a`", "xargs touch", "'touch' a", "t\\ouch a", "to''uch a"],
        ),
        (
            "Bash(git push:*)",
            &["git push", "git  push\n", "git \\\n push", "'git' \\\n push", "true; git\tpush -f", "\"git\" 'push'"],
        ),
        (
            "Bash(npm publish)",
            &[
                "npm publish",
                "npm publish; x",
                "npm publish > log",
                "npm publish 2>&1",
                "npm publish 10</dev/null",
                "cd a && npm publish",
                "npm publish\nx",
                "npm publish|x",
            ],
        ),
        ("Bash(git * main)", &["git push origin main", "x; git checkout  main"]),
        ("Bash(* install)", &["npm install", "x && apt install"]),
        ("Bash(rm*)", &["rm", "rmdir x", "rm -rf x"]),
        ("Bash(git commit -m \"x\":*)", &["git commit -m \"x\"", "git commit -m x"]),
        ("Bash(a a)", &["b-a a a"]),
        (
            "Read(./secret.txt)",
            &["cat secret.txt", "cd a; grep x ./secret.txt", "cat 'secret'.txt", "base64 <secret.txt"],
        ),
        ("Read(~/.ssh/**)", &["cat ~/.ssh/id", "tar c /home/me/.ssh"]),
        ("Read(**/*.pem)", &["cat a/key.pem"]),
        (
            "Edit(./locked.txt)",
            &["echo over > locked.txt", "sed -i s/a/b/ locked.txt", "cat x; tee locked.txt", "cat a>locked.txt"],
        ),
        ("Write(/locked/**)", &["touch locked/a"]),
        ("Bash(é:*)", &["x é y"]),
    ] {
        for command in commands {
            assert!(is_matched(rule, command), "{rule}: {command}");
        }
    }
    for (rule, commands) in [
        ("Bash(touch:*)", &["ls", "touchy a", "re-touch", "cat .touch", "notouch"][..]),
        ("Bash(npm publish)", &["npm publish-x", "npm publish --dry-run", "npm publisher"]),
        ("Bash(git * main)", &["git push origin", "main git"]),
        ("Bash(git push:*)", &["git-git push", "git pull"]),
        ("Read(*)", &["touch"]),
        ("Read(./secret.txt)", &["cat mysecret.txt", "cat secret.txts", "ls"]),
        ("Edit(./locked.txt)", &["cat locked.txt", "grep -n a locked.txt | head", "echo a > other.txt"]),
        ("Read", &["cat a"]),
        ("BashOutput", &["ls"]),
    ] {
        for command in commands {
            assert!(!is_matched(rule, command), "{rule}: {command}");
        }
    }
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn verdict(&self, more: &[(&str, &str)]) -> Option<Verdict> {
        let mut host = HostFacts::read().unwrap();
        let at = |path: &str| self.0.path().join(path);
        host.env = vec![("HOME".into(), at("home").into())];
        host.env.extend(more.iter().map(|(name, path)| ((*name).into(), at(path).into())));
        verdict(&host, Some(&at("project/src")), "Bash", "touch a")
    }
}

#[test]
fn rules_of_every_file_hold_and_those_that_deny_come_first() {
    let deny = r#"{ /* mine */ "permissions": { "deny": ["Read(x)", "Bash(touch:*)"], } }"#;
    let ask = r#"{ "permissions": { "ask": ["Bash(touch *)"], "allow": ["Bash(touch:*)"] } }"#;
    for path in ["home/.claude", "project/.claude", "project/src/.claude", "other/.claude", "config"] {
        for name in ["settings.json", "settings.local.json"] {
            if name == "settings.local.json" && matches!(path, "home/.claude" | "config") {
                continue;
            }
            let home = Home::new();
            let more = [("CLAUDE_CONFIG_DIR", "config"), ("CLAUDE_PROJECT_DIR", "other/deep")];
            assert_eq!(home.verdict(&more), None);
            home.put("project/.claude/settings.json", ask);
            assert!(matches!(home.verdict(&more), Some(Verdict::Ask(reason)) if reason.contains("Bash(touch *)")));
            let path = format!("{path}/{name}");
            home.put(&path, deny);
            let verdict = home.verdict(&more);
            assert!(matches!(&verdict, Some(Verdict::Deny(reason)) if reason.contains(&path)), "{path}: {verdict:?}");
        }
    }
}

#[test]
fn rules_that_cannot_be_read_are_asked_about() {
    for text in [
        "{",
        "[",
        "{\"permissions\":{\"deny\":\"Bash\"}}",
        "{\"permissions\":{\"ask\":[1]}}",
        "\u{0}",
        &"[".repeat(1 << 20),
    ] {
        let home = Home::new();
        home.put("home/.claude/settings.json", text);
        let verdict = home.verdict(&[]);
        assert!(
            matches!(&verdict, Some(Verdict::Ask(reason)) if reason.contains("can't be read")),
            "{text}: {verdict:?}"
        );
        home.put("project/.claude/settings.json", r#"{"permissions":{"deny":["Bash"]}}"#);
        assert!(matches!(home.verdict(&[]), Some(Verdict::Deny(_))), "{text}");
    }
    for text in ["", "{}", "[]", "{\"permissions\":null}", "\u{feff}{\r\n// nothing\r\n}"] {
        let home = Home::new();
        home.put("home/.claude/settings.json", text);
        assert_eq!(home.verdict(&[]), None, "{text}");
    }
    let home = Home::new();
    home.put("home/.claude/settings.json/x", "");
    assert!(matches!(home.verdict(&[]), Some(Verdict::Ask(_))));
    // While a sandbox runs, such a one keeps the place of a file that is missing.
    let home = Home::new();
    home.put("project/.claude/settings.json", "{}");
    let place = home.0.path().join("project/.claude/settings.local.json");
    let _keeper = std::os::unix::net::UnixListener::bind(place).unwrap();
    assert_eq!(home.verdict(&[]), None);
}

proptest! {
    #[test]
    fn any_rule_and_any_command_are_survived(rule in "(Bash)?[( ]?[ab*: é\\\\'\"]{0,12}[)]?", command in "[ab .;|é\\\\'\"\n-]{0,30}") {
        let _ = is_matched(&rule, &command);
    }

    #[test]
    fn what_begins_with_the_words_is_matched(words in "[a-z]{1,5}( [a-z-]{1,5})?", before in "[a-z ]{0,9}[;|&( /]", rest in "( [a-z ]{0,9})?") {
        let (rule, command) = (format!("Bash({words}:*)"), format!("{before}{words}{rest}"));
        prop_assert!(is_matched(&rule, &command));
    }
}
