use super::*;
use std::path::PathBuf;

const GOOD: &str = "name = 'mine'\ntitle = 'Mine'\nversion = '1.0'\ncommand = ['/opt/mine']\n";
const SHA: &str = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

fn parse(text: &str) -> Result<Adapter, ConfigError> {
    Adapter::parse(Path::new("x.toml"), text)
}

#[test]
fn mistakes_are_told_with_their_place_and_the_nearest_key() {
    let package =
        format!("dockerfile = 'FROM scratch'\n[[packages]]\nfile = 'a.tgz'\nnpm = '@a/b'\nintegrity = '{SHA}'\n");
    let with = |from: &str, to: &str| format!("{GOOD}{}", package.replace(from, to));
    for (text, expected, hint) in [
        (format!("{GOOD}comand = 1\n"), "x.toml:5:1: unknown key 'comand'", "Did you mean `command`?"),
        (format!("{GOOD}model = ['x']\n"), "x.toml:5:1: unknown key 'model'", "`model` belongs into [interactive]"),
        (
            format!("{GOOD}[headless]\npromt = ['{{}}']"),
            "x.toml:6:1: `headless`: unknown key 'promt'",
            "Did you mean `prompt`?",
        ),
        (format!("{GOOD}[headless]\nprompt = ['-p']"), "x.toml:6:10: `prompt`: it has 0 of `{}`, not 1", ""),
        (format!("{GOOD}[headless]\narguments = ['{{}}']"), "x.toml:6:13: `arguments`: it has 1 of `{}`, not 0", ""),
        (format!("{GOOD}headless = 3"), "x.toml:5:12: `headless` must be a table, not a whole number", ""),
        (GOOD.replace("title = 'Mine'\n", ""), "x.toml:1:1: `title` is missing", ""),
        (GOOD.replace("'1.0'", "1.0"), "x.toml:3:11: `version` must be a text, not a floating-point number", ""),
        (GOOD.replace("'mine'", "'Mine Too'"), "x.toml:1:8: `name`: 'Mine Too' is no name of an agent", ""),
        (GOOD.replace("'1.0'", "'1 0'"), "x.toml:3:11: `version`: '1 0' is no version that can be", ""),
        (GOOD.replace("'1.0'", "'latest'"), "x.toml:3:11: `version`: 'latest' is no version", ""),
        (GOOD.replace("'/opt/mine'", "'mine/x'"), "x.toml:4:12: `command`: 'mine/x' is no absolute path", ""),
        (with(SHA, "sha1-x"), "x.toml:9:13: `integrity`: 'sha1-x' is no 'sha512-'", ""),
        (with("@a/b", "@a/../b"), "x.toml:8:7: `npm`: '@a/../b' is no name of a package", ""),
        (with("a.tgz", "../a"), "x.toml:7:8: `file`: '../a' is no plain name", ""),
        (with("file = 'a.tgz'\n", ""), "x.toml:6:1: `packages`: `file` is missing", ""),
        (with("npm = '@a/b'\n", ""), "x.toml:6:1: `packages`: it has either `npm`, `url` or `wheels`", ""),
        (
            with("npm = '@a/b'", &format!("wheels = ['a-1-py3-none-any.whl 1 {SHA}']")),
            "x.toml:6:1: `packages`: each of `wheels` has a size and a hash",
            "",
        ),
        (
            with("npm = '@a/b'", "wheels = ['../a-1.whl 1 x']"),
            "x.toml:8:11: `wheels`: '../a-1.whl 1 x' is no wheel",
            "",
        ),
        (with("npm = '@a/b'", "url = 'ftp://a'"), "x.toml:8:7: `url`: 'ftp://a' is no address", ""),
        (with(&format!("integrity = '{SHA}'"), ""), "x.toml:6:1: `packages`: `integrity` is missing", ""),
        (with("FROM scratch", "FORM scratch"), "x.toml:5:14: `dockerfile`: ", ""),
        (with("dockerfile = 'FROM scratch'\n", ""), "x.toml:1:1: `dockerfile` and [[packages]]", ""),
        (
            format!(
                "{GOOD}home = {{ state = ['a'] }}\n[[presets]]\nfile = 'a/b'\nkey = ['c']\nvalue = '1'\nlogin = 'KEY'"
            ),
            "x.toml:1:1: `login` of [[presets]] is none of the [[credentials]]: 'KEY'",
            "",
        ),
        (GOOD.replace("'/opt/mine'", "\"/opt\\u0000\""), "x.toml:4:11: `command` has a NUL character", ""),
        (GOOD.replace("'/opt/mine'", "['/opt', \"\\u0000\"]"), "x.toml:4:11: `command` has a NUL character", ""),
        (format!("{GOOD}[home]\nstate = [\"a\\u0000\"]"), "x.toml:6:9: `state` has a NUL character", ""),
        (format!("{GOOD}[environment]\nA = \"\\u0000\""), "x.toml:6:1: `environment`: 'A=\\0': has a NUL byte", ""),
        (
            format!("{GOOD}[[beneath]]\nfile = '.a/b'\nplace = '/etc/b'"),
            "x.toml:1:1: '.a/b' in [[beneath]] is none of `config` in [home]",
            "",
        ),
        (format!("{GOOD}[[beneath]]\nplace = '/../b'"), "x.toml:6:9: `place`: '/../b' is no absolute path", ""),
        (format!("{GOOD}packages = 'x'"), "x.toml:5:12: `packages` is written as [[packages]], not as a text", ""),
        (format!("{GOOD}[[credentials]]\nvariable = 'A'"), "x.toml:5:1: `credentials`: `hosts` is missing", ""),
        (
            format!("{GOOD}[[credentials]]\nhosts = ['a.b']"),
            "x.toml:5:1: `credentials`: it has either `variable` or",
            "",
        ),
        (
            format!("{GOOD}[[credentials]]\nfile = 'a'\nhosts = ['a.b']"),
            "x.toml:5:1: `credentials`: `field` stands with",
            "",
        ),
        (
            format!("{GOOD}[[credentials]]\nvariable = 'PATH'"),
            "x.toml:6:12: `variable`: 'PATH'",
            "Name another variable",
        ),
        (format!("{GOOD}[home]\nstate = ['/etc']"), "x.toml:6:10: `state`: '/etc' is no path below the home", ""),
        (
            format!("{GOOD}[home]\nstate = ['.x']\n[[files]]\npath = '.y/z'\ntext = 'x'"),
            "x.toml:1:1: '.y/z' is written for it, and lies in no directory of `state`",
            "",
        ),
        (
            format!("{GOOD}[[credentials]]\nfile = 'a/b'\nfield = ['c']\nhosts = ['a.b']"),
            "x.toml:1:1: 'a/b' is written for it",
            "",
        ),
        (format!("{GOOD}[home]\nstate = ['../x']"), "x.toml:6:10: `state`: '../x' is no path below the home", ""),
        (format!("{GOOD}[needs]\nmemory = 'x'"), "x.toml:6:10: `memory`: 'x': not a size", ""),
        (format!("{GOOD}[environment]\nAGENTKERNEL = 'x'"), "x.toml:6:1: `environment`: 'AGENTKERNEL", "Leave it out"),
        ("name = ".to_owned(), "x.toml:1:", ""),
        (String::new(), "x.toml:1:1: `name` is missing", ""),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{text}\n{error}\n{expected}");
        assert!(error.hint().starts_with(hint), "{text}\n{}", error.hint());
    }
}

#[test]
fn no_text_is_a_crash() {
    for (_, text) in super::super::EMBEDDED {
        // As often in a long one as in the others.
        for (at, _) in text.char_indices().step_by(7.max(text.len() / 500)) {
            let _ = parse(&text[..at]);
            let _ = parse(&format!("{}{}", &text[..at], &text[(at + 3).min(text.len() - 1)..]));
        }
    }
}

/// Every key's example is one, and has an effect.
fn try_examples<T>(keys: &[Key<T>], written: &dyn Fn(&str) -> String, skip: &[&str]) {
    let plain = parse(&written("")).unwrap();
    for key in keys.iter().filter(|key| !key.example.is_empty() && !skip.contains(&key.name)) {
        let text = written(&format!("{} = {}\n", key.name, key.example));
        let parsed = parse(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert_ne!(parsed, plain, "{text} has no effect");
    }
}

#[test]
fn every_example_can_be_written() {
    for key in KEYS.iter().filter(|key| !key.example.is_empty()) {
        let lines: String =
            GOOD.lines().filter(|line| !line.starts_with(key.name)).map(|line| format!("{line}\n")).collect();
        let package = format!("[[packages]]\nfile = 'a'\nnpm = 'b'\nintegrity = '{SHA}'\n");
        let package = if key.name == "dockerfile" { package } else { String::new() };
        let text = format!("{lines}{} = {}\n{package}", key.name, key.example);
        parse(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    }
    let table = |name: &'static str| move |line: &str| format!("{GOOD}[{name}]\n{line}");
    for name in ["interactive", "headless", "acp"] {
        try_examples(MODE, &table(name), &[]);
    }
    try_examples(SWITCH, &table("no_telemetry"), &[]);
    try_examples(SWITCH, &table("no_updates"), &[]);
    try_examples(HOME, &table("home"), &[]);
    try_examples(REACHED, &table("network"), &[]);
    try_examples(MCP, &table("mcp"), &[]);
    try_examples(NEEDS, &table("needs"), &[]);
    let package = |line: &str| {
        let others: String = [("file", "'x'"), ("npm", "'y'"), ("integrity", &format!("'{SHA}'"))]
            .iter()
            .filter(|(name, _)| !(line.starts_with(name) || *name == "npm" && line.starts_with("url")))
            .filter(|(name, _)| !line.starts_with("wheels") || *name == "file")
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect();
        format!("{GOOD}dockerfile = 'FROM scratch'\n[[packages]]\n{others}{line}")
    };
    try_examples(PACKAGE, &package, &[]);
    let credential = |line: &str| {
        let others = match line.split(' ').next() {
            Some("env") => "variable = 'X'\nhosts = ['x.example.org']\n",
            Some("variable") => "hosts = ['x.example.org']\n",
            Some("file") => "field = ['x']\nhosts = ['x.example.org']\n",
            Some("field") => "file = '.agent/x'\nhosts = ['x.example.org']\n",
            Some("hosts") => "variable = 'X'\n",
            Some("address_arguments") => "variable = 'X'\nhosts = ['x.example.org']\naddress = 'Y'\n",
            _ => "variable = 'X'\nhosts = ['x.example.org']\n",
        };
        format!("{GOOD}home = {{ state = ['.agent'] }}\n[[credentials]]\n{others}{line}")
    };
    try_examples(CREDENTIAL, &credential, &[]);
    let file = TEMPLATE.iter().map(|key| format!("{} = {}\n", key.name, key.example)).collect::<String>();
    assert_eq!(parse(&format!("{GOOD}home = {{ state = ['.agent'] }}\n[[files]]\n{file}")).unwrap().files.len(), 1);
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../docs/reference/agents.md"].iter().collect();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page == reference(), "UPDATE_DOCS=1 rewrites it");
}
