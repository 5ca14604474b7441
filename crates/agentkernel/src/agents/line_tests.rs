use super::super::tests::embedded;
use super::*;

fn headless<'a>() -> Ask<'a> {
    Ask {
        way: Way::Headless,
        session: Session::New,
        unattended: true,
        telemetry: true,
        updates: true,
        model: None,
        output: Output::Text,
        prompt: Some("fix -- it {} {workspace}"),
        workspace: Path::new("/home/me/\"p\" {}"),
        servers: None,
        arguments: &[],
    }
}

fn line(name: &str, ask: &Ask<'_>) -> String {
    let line = embedded(name).command_line(ask).unwrap();
    let program = embedded(name).command.len();
    line[program..].join(" ")
}

#[test]
fn a_task_is_given_as_each_agent_takes_it() {
    for (name, expected) in [
        (
            "claude",
            r#"-p --settings {"sandbox":{"enabled":false}} --dangerously-skip-permissions -- fix -- it {} {workspace}"#,
        ),
        (
            "codex",
            r#"-c projects={"/home/me/\"p\" {}"={trust_level="trusted"}} exec --dangerously-bypass-approvals-and-sandbox --skip-git-repo-check -- fix -- it {} {workspace}"#,
        ),
        ("gemini", "--yolo --prompt=fix -- it {} {workspace}"),
        ("opencode", "run --auto -- fix -- it {} {workspace}"),
        ("shell", "-c fix -- it {} {workspace}"),
    ] {
        assert_eq!(line(name, &headless()), expected);
    }
}

#[test]
fn all_that_is_asked_stands_in_one_order() {
    let arguments = ["--extra".to_owned(), "{}".to_owned()];
    let ask = Ask {
        session: Session::Named("s{}1"),
        model: Some("m"),
        output: Output::StreamJson,
        arguments: &arguments,
        prompt: Some("go"),
        telemetry: false,
        updates: false,
        ..headless()
    };
    assert_eq!(
        line("claude", &ask),
        r#"-p --settings {"sandbox":{"enabled":false}} --resume s{}1 --dangerously-skip-permissions --model m --output-format stream-json --verbose --extra {} -- go"#
    );
    let codex = line("codex", &ask);
    assert!(codex.starts_with("-c analytics.enabled=false -c "), "{codex}");
    assert!(codex.contains("-c check_for_update_on_startup=false "), "{codex}");
    assert!(codex.contains(" exec resume s{}1 --dangerously"), "{codex}");
    let attended = Ask { way: Way::Interactive, unattended: false, prompt: None, ..headless() };
    let trust = r#"-c projects={"/home/me/\"p\" {}"={trust_level="trusted"}}"#;
    assert_eq!(line("codex", &attended), format!("{trust} --sandbox danger-full-access"));
    assert_eq!(line("opencode", &Ask { way: Way::Acp, unattended: false, prompt: None, ..headless() }), "acp");
    let last = Ask { way: Way::Interactive, session: Session::Last, prompt: None, ..headless() };
    assert_eq!(line("gemini", &last), "--resume latest --yolo");
}

#[test]
fn what_an_agent_cannot_is_told_with_the_key_that_would() {
    let cannot = |name: &str, ask: &Ask<'_>| {
        let error = embedded(name).command_line(ask).unwrap_err();
        (error.to_string(), error.hint)
    };
    let (cause, hint) = cannot("codex", &Ask { output: Output::Json, ..headless() });
    assert_eq!(cause, "Codex can't answer in JSON");
    assert_eq!(hint, "Its adapter has no `json` in [headless]: 'agentkernel agents show codex' prints it");
    let (cause, hint) = cannot("shell", &Ask { way: Way::Acp, ..headless() });
    assert_eq!(cause, "Shell can't speak the Agent Client Protocol");
    assert!(hint.starts_with("Its adapter has no [acp]:"));
    assert_eq!(
        cannot("shell", &Ask { session: Session::Last, ..headless() }).0,
        "Shell can't go on with its last session"
    );
}

#[test]
fn telemetry_and_updates_are_off_unless_asked_for() {
    let names = |name: &str, telemetry, updates| {
        let ask = Ask { telemetry, updates, ..headless() };
        let variables = embedded(name).variables(&ask);
        variables.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names("claude", true, true), ["CLAUDE_CODE_EXECUTABLE", "IS_SANDBOX", "CLAUDE_CONFIG_DIR"]);
    assert!(names("claude", true, false).contains(&"DISABLE_AUTOUPDATER".to_owned()));
    assert!(names("claude", false, true).contains(&"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC".to_owned()));
}

#[test]
fn first_files_know_the_project_and_the_end_of_a_placeholder() {
    let claude = embedded("claude");
    let value = |name: &str| (name == "ANTHROPIC_API_KEY").then(|| "agentkernel-KEY-0123456789abcdefghij".to_owned());
    let files = claude.first_files(Path::new("/home/me/a \"b\""), value, |_| false);
    assert_eq!((files[0].path.as_path(), files[0].of_login), (Path::new(".claude/.claude.json"), false));
    let written: serde_json::Value = serde_json::from_str(&files[0].text).unwrap();
    assert_eq!(written["customApiKeyResponses"]["approved"][0], "0123456789abcdefghij");
    assert_eq!(written["projects"]["/home/me/a \"b\""]["hasTrustDialogAccepted"], true);
    let codex = embedded("codex");
    let value = |name: &str| Some(format!("the placeholder of {name}"));
    let lent = codex.first_files(Path::new("/p"), value, |name| name == "CODEX_API_KEY");
    let text = r#"{ "OPENAI_API_KEY": "the placeholder of CODEX_API_KEY" }"#.to_owned();
    assert_eq!(lent, [FirstFile { path: ".codex/auth.json".into(), text, of_login: true }]);
    assert!(codex.first_files(Path::new("/p"), value, |_| false).is_empty());
    let none = claude.first_files(Path::new("/p"), |_| None, |_| false);
    let written: serde_json::Value = serde_json::from_str(&none[0].text).unwrap();
    assert_eq!(written["customApiKeyResponses"]["approved"][0], "");
}

#[test]
fn braces_that_mean_nothing_stay() {
    let said = |word: &str| (word == "x").then(|| "{x}".to_owned());
    for (text, expected) in [
        ("{x}", "{x}"),
        ("{ \"a\": {\"b\": \"{x}\"} }", "{ \"a\": {\"b\": \"{x}\"} }"),
        ("{y}{x}{", "{y}{x}{"),
        ("{{x}}", "{{x}}"),
        ("ü{", "ü{"),
    ] {
        assert_eq!(filled(text, said), expected);
    }
    assert_eq!(filled("{a {last20 X} }", |word| (word == "last20 X").then(|| "y".into())), "{a y }");
    assert_eq!((last("äbc", 2), last("ä", 20), last("", 20)), ("bc".into(), "ä".into(), String::new()));
}

#[test]
fn an_editor_s_agent_asks_unless_it_is_told_not_to() {
    let ask = |unattended| Ask { way: Way::Acp, unattended, prompt: None, telemetry: false, ..headless() };
    let variable = |name: &str, ask: &Ask<'_>, variable: &str| {
        let found = embedded(name).variables(ask).into_iter().find(|(known, _)| known == variable);
        found.map(|(_, value)| value)
    };
    assert_eq!((line("gemini", &ask(false)), line("gemini", &ask(true))), ("--acp".into(), "--acp --yolo".into()));
    assert_eq!((line("opencode", &ask(false)), line("opencode", &ask(true))), ("acp".into(), "acp".into()));
    assert!(variable("opencode", &ask(false), "OPENCODE_PERMISSION").is_some());
    assert!(variable("opencode", &ask(true), "OPENCODE_PERMISSION").is_none());
    // One that is a program of its own knows nothing of the agent's own arguments.
    let codex = embedded("codex");
    assert_eq!(codex.command_line(&ask(false)).unwrap(), embedded("codex-acp").command);
    assert_eq!(variable("codex", &ask(false), "INITIAL_AGENT_MODE").as_deref(), Some("agent-full-access"));
    assert_eq!(embedded("claude").command_line(&ask(false)).unwrap(), embedded("claude-acp").command);
    let error = embedded("claude").command_line(&ask(true)).unwrap_err();
    assert_eq!(error.to_string(), "Claude Code can't be told to ask nobody in an editor");
    let error = embedded("shell").command_line(&ask(false)).unwrap_err();
    assert!(error.to_string().ends_with("can't speak the Agent Client Protocol"), "{error}");
}

#[test]
fn what_only_tells_is_asked_without_more() {
    let ask = |arguments| Ask { way: Way::Interactive, prompt: None, arguments, ..headless() };
    let (version, other) = (["--version".to_owned()], ["--version".to_owned(), "x".to_owned()]);
    for name in ["claude", "gemini", "opencode", "copilot"] {
        let told = line(name, &ask(&version));
        assert_eq!(told, "--version", "{name}");
    }
    assert_eq!(line("gemini", &ask(&other)), "--yolo --version x");
    assert!(only_tells(&["--help".to_owned()]) && !only_tells(&[]) && !only_tells(&["version".to_owned()]));
}
