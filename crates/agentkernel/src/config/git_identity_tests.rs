use super::{super::identity::tests::host as facts, *};
use std::fs;

/// What git would know in project `p` of a caller whose files and variables are these.
fn identity(files: &[(&str, &str)], variables: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let mut host = facts(1000);
    host.home = folder.path().join("home");
    host.env = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let said = git_identity(&folder.path().join("p"), &host);
    said.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

const ME: &str = "[user]\n\tname = Me Too\n\temail = me@example.org # work\n";

#[test]
fn git_knows_the_caller_by_his_own_configuration() {
    let expected = "GIT_AUTHOR_NAME=Me Too GIT_COMMITTER_NAME=Me Too GIT_AUTHOR_EMAIL=me@example.org GIT_COMMITTER_EMAIL=me@example.org";
    assert_eq!(identity(&[("home/.gitconfig", ME)], &[]), expected);
    assert_eq!(identity(&[("home/.config/git/config", ME)], &[]), expected);
    let includes = "[user]\nname = Other\n[include]\npath = ~/mine\n[user]\nemail = me@example.org";
    assert_eq!(identity(&[("home/.gitconfig", includes), ("home/mine", "[user]\nname = Me Too")], &[]), expected);
    // The file in the home directory counts before the other.
    let files = [("home/.gitconfig", "[user]\nname = Me Too"), ("home/.config/git/config", "[user]\nname = Other")];
    assert_eq!(identity(&files, &[]), "GIT_AUTHOR_NAME=Me Too GIT_COMMITTER_NAME=Me Too");
}

#[test]
fn what_the_repository_says_itself_is_left_to_it() {
    let own = "[core]\nbare = false\n[user]\n\temail = other@example.org\n";
    let files = [("home/.gitconfig", ME), ("p/.git/config", own)];
    assert_eq!(identity(&files, &[]), "GIT_AUTHOR_NAME=Me Too GIT_COMMITTER_NAME=Me Too");
    // But not what the caller says for this once.
    let set = [("GIT_AUTHOR_EMAIL", "once@example.org")];
    let said = identity(&files, &set);
    assert!(said.ends_with("GIT_AUTHOR_EMAIL=once@example.org"), "{said}");
}

#[test]
fn where_nobody_says_anything_nothing_is_said() {
    assert_eq!(identity(&[], &[]), "");
    assert_eq!(identity(&[("home/.gitconfig", "[user]\nname =\n[include]\npath = .gitconfig\n")], &[]), "");
    assert_eq!(identity(&[("home/.gitconfig", "[includeIf \"gitdir:~/src/\"]\npath = x\n"), ("home/x", ME)], &[]), "");
}

/// A project's file may include itself, many times.
#[test]
fn includes_come_to_an_end() {
    let include = "[include]\n\tpath = config\n".repeat(1000);
    assert_eq!(
        identity(&[("p/.git/config", &include), ("home/.gitconfig", "[user]\nname = Me")], &[]),
        "GIT_AUTHOR_NAME=Me GIT_COMMITTER_NAME=Me"
    );
}
