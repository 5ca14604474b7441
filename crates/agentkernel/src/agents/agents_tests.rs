use super::*;
use oci::Platform;

fn embedded() -> Vec<Adapter> {
    all(Path::new("/nowhere")).unwrap()
}

#[test]
fn every_adapter_that_comes_with_the_program_is_one() {
    let adapters = embedded();
    let names: Vec<&str> = adapters.iter().map(|adapter| adapter.name.as_str()).collect();
    assert_eq!(names, ["claude", "codex", "copilot", "gemini", "opencode", "qwen"]);
    for adapter in &adapters {
        // Whoever adds one is told of what can't be built.
        dockerfile::parse(&adapter.dockerfile).unwrap();
        let platform: Platform = "linux/amd64".parse().unwrap();
        for package in adapter.packages_for(&platform).unwrap() {
            assert!(adapter.dockerfile.contains(&format!("ADD {} /", package.file)), "{}", adapter.name);
        }
        let program = adapter.command.first().unwrap();
        assert!(program.starts_with(&format!("/opt/agentkernel/agents/{}/", adapter.name)), "{program}");
        let reference = adapter.reference().unwrap().to_string();
        assert_eq!(Adapter::of_image(&reference), Some((adapter.name.as_str(), adapter.version.as_str())));
    }
    let arm: Platform = "linux/arm64".parse().unwrap();
    let found = |name: &str| adapters.iter().find(|adapter| adapter.name == name).unwrap();
    assert_eq!(found("gemini").packages_for(&arm).unwrap().len(), 2);
    let error = found("opencode").packages_for(&arm).unwrap_err().to_string();
    assert_eq!(error, "OpenCode 1.18.33 has no package for linux/arm64");
}

const GOOD: &str =
    "name = 'mine'\ntitle = 'Mine'\nversion = '1.0'\ncommand = ['/opt/mine']\ndockerfile = 'FROM scratch'\n";

#[test]
fn mistakes_are_told_with_their_line() {
    let package = "[[packages]]\nfile = 'a.tgz'\nnpm = '@a/b'\nversion = '1'\nsize = 1\n";
    for (text, expected) in [
        (format!("{GOOD}comand = 1\n"), "x.toml:6: unknown field `comand`"),
        (GOOD.replace("title = 'Mine'\n", ""), "x.toml:1: missing field `title`"),
        (GOOD.replace("'1.0'", "1.0"), "x.toml:3: invalid type: floating point"),
        (GOOD.replace("'mine'", "'Mine Too'"), "x.toml:1: `name` has a-z, 0-9 and '-' only, not 'Mine Too'"),
        (GOOD.replace("'1.0'", "'1 0'"), "x.toml:3: `version` is no tag: '1 0'"),
        (GOOD.replace("'/opt/mine'", "'mine/x'"), "x.toml:4: `command` begins with an absolute path"),
        (format!("{GOOD}{package}integrity = 'sha1-x'\n"), "x.toml:11: `integrity` is no 'sha512-'"),
        (format!("{GOOD}{}integrity = 'sha512-eA=='\n", package.replace("@a/b", "@a/../b")), "x.toml:8: `npm` is no"),
        (
            format!("{GOOD}{}integrity = 'sha512-eA=='\n", package.replace("'a.tgz'", "'../a'")),
            "x.toml:7: `file` is no",
        ),
        ("name = ".to_owned(), "x.toml:1: "),
    ] {
        let error = Adapter::parse(&text, Path::new("x.toml")).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}\n{error}");
    }
}

#[test]
fn an_unknown_name_has_the_nearest_as_hint() {
    let error = find("claud", Path::new("/nowhere")).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.hint().as_str()),
        ("No agent is called 'claud'", "Did you mean 'claude'? 'agentkernel agents' lists them")
    );
    assert!(find("zzzzzzzz", Path::new("/nowhere")).unwrap_err().hint().starts_with("Known are claude, codex,"));
}

/// His own adapters, also in place of one that comes with the program.
#[test]
fn a_users_own_adapters_count() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine.toml"), GOOD).unwrap();
    std::fs::write(folder.path().join("claude.toml"), GOOD.replace("'mine'", "'claude'")).unwrap();
    let adapters = all(folder.path()).unwrap();
    assert_eq!(adapters.len(), embedded().len() + 1);
    assert_eq!(find("claude", folder.path()).unwrap().version, "1.0");
    let path = folder.path().join("mine.toml");
    assert_eq!(find(path.to_str().unwrap(), Path::new("/nowhere")).unwrap().name, "mine");
    std::fs::write(&path, "x").unwrap();
    assert!(all(folder.path()).unwrap_err().to_string().contains("mine.toml:1: "));
}

#[test]
fn the_address_of_a_package_is_that_of_npm() {
    let claude = find("claude", Path::new("/nowhere")).unwrap();
    let address = claude.packages[0].address("https://npm.example.org/");
    let expected = "https://npm.example.org/@anthropic-ai/claude-code-linux-x64/-/claude-code-linux-x64-2.1.330.tgz";
    assert_eq!(address, expected);
    assert_eq!(claude.packages[0].digest().unwrap().hex().len(), 128);
}
