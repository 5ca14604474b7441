use super::*;
use std::fs;

fn found(file: &str, text: &str, scope: &Scope, dir: &Path) -> Option<String> {
    let mut host = HostFacts::read().unwrap();
    host.env = vec![("HOME".into(), dir.join("home").into())];
    host.cwd = dir.join("project/sub");
    fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
    fs::write(dir.join(file), text).unwrap();
    let switches = toml_edit::de::from_str("any = ['disableAllHooks']\nmanaged = ['allowManagedHooksOnly']").unwrap();
    let found = find(&switches, &host, &dir.join("home/.claude"), scope);
    fs::remove_file(dir.join(file)).unwrap();
    assert!(found.as_ref().is_none_or(|off| off.path == dir.join(file) && !off.managed), "{found:?}");
    found.map(|off| off.cause)
}

#[test]
fn what_turns_hooks_off_is_found_where_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let project = Scope::Project(dir.join("project"));
    let on = r#"{"disableAllHooks": true}"#;
    for (file, is_users) in [
        ("home/.claude/settings.json", true),
        ("project/.claude/settings.json", false),
        ("project/.claude/settings.local.json", false),
        ("project/sub/.claude/settings.local.json", false),
    ] {
        let cause = format!("'disableAllHooks' in {} turns off its hook", dir.join(file).display());
        assert_eq!(found(file, on, &project, dir), Some(cause), "{file}");
        assert_eq!(found(file, on, &Scope::User, dir).is_some(), is_users, "{file}");
        for other in ["{}", r#"{"disableAllHooks": false}"#, r#"{"allowManagedHooksOnly": true}"#] {
            assert_eq!(found(file, other, &project, dir), None, "{file} {other}");
        }
        assert!(found(file, "{", &project, dir).unwrap().contains("it is no JSON"), "{file}");
    }
}

#[test]
fn a_switch_may_be_about_some_kinds() {
    let is_on = |text: &str| super::is_on(&serde_json::from_str(text).unwrap());
    for on in ["true", "1", r#""true""#, r#"["skills", "hooks"]"#] {
        assert!(is_on(on), "{on}");
    }
    for off in ["null", "false", "[]", r#"["skills"]"#] {
        assert!(!is_on(off), "{off}");
    }
}

/// As Claude Code 2.1.330 was seen to do it.
#[test]
fn settings_of_which_nothing_is_loaded() {
    let of = |text: &str| not_loaded(&serde_json::from_str(text).unwrap());
    for (text, key) in [
        (r#"{"permissions": {"allow": "x"}}"#, "permissions.allow"),
        (r#"{"permissions": null}"#, "permissions"),
        (r#"{"permissions": {"deny": [1]}}"#, "permissions.deny"),
        (r#"{"permissions": {"additionalDirectories": "x"}}"#, "permissions.additionalDirectories"),
        (r#"{"model": 5}"#, "model"),
        (r#"{"env": []}"#, "env"),
        (r#"{"cleanupPeriodDays": "x"}"#, "cleanupPeriodDays"),
        (r#"{"hooks": {"PreToolUse": [{"bogus": 1}]}}"#, "hooks.PreToolUse"),
    ] {
        assert!(of(text).unwrap().contains(&format!("`{key}`")), "{text}");
    }
    for text in [
        "{}",
        "[]",
        r#"{"permissions": {"deny": ["Bash(("]}, "model": "opus", "whatever": {"a": 1}, "env": {"A": 1}}"#,
        r#"{"hooks": {"PostToolUse": {"x": 1}, "Bogus": [{"hooks": []}]}, "extraKnownMarketplaces": {"o": {"source": "x"}}}"#,
    ] {
        assert_eq!(of(text), None);
    }
}
