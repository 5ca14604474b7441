//! What logs agents in: recorded where secrets are, told, and never shown.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};
use support::{Who, World, stdout, told};

const KEY: &str = "k3y-of-an-agent";

fn login(world: &World, arguments: &[&str], input: &str) -> Output {
    let mut command = world.agentkernel(["agents", "login"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(!told(&output).contains(KEY) && !told(&output).contains("real-"), "{}", told(&output));
    output
}

#[track_caller]
fn succeeds(world: &World, arguments: &[&str], input: &str) -> String {
    let output = login(world, arguments, input);
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(world: &World, arguments: &[&str], lines: &str) {
    let output = login(world, arguments, "");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", told(&output));
    assert_eq!(String::from_utf8_lossy(&output.stderr), lines);
}

/// What a program has written there.
fn write(world: &World, path: &str, text: &str) {
    let path = world.home().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    let home = world.home();
    let script = format!("chown -R --reference={0} {0}", home.display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

#[test]
fn a_key_is_a_secret_for_the_agents_hosts() {
    for who in Who::all() {
        let world = World::new(who);
        let secrets = world.home().join(".config/agentkernel/secrets");
        let told = succeeds(&world, &["claude", "--stdin"], &format!("{KEY}\n"));
        assert!(told.contains("It may go to api.anthropic.com"), "{told}");
        let file = secrets.join("ANTHROPIC_API_KEY");
        assert!(fs::read_to_string(&file).unwrap().ends_with(&format!("\n{KEY}\n")));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(succeeds(&world, &["claude", "--check"], ""), "Claude Code: secret ANTHROPIC_API_KEY\n");
        // Another one in its place, and another agent's, which looks for it elsewhere inside.
        let _ = succeeds(&world, &["claude", "--stdin"], "another");
        assert!(fs::read_to_string(&file).unwrap().ends_with("\nanother\n"));
        let _ = succeeds(&world, &["codex", "--variable", "OPENAI_API_KEY", "--from-env", "MINE"], "");
        let list = stdout(&mut world.agentkernel(["secret", "list"]));
        let row = list.lines().find(|line| line.starts_with("OPENAI_API_KEY")).unwrap();
        let columns: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(columns, ["OPENAI_API_KEY", "env:MINE", "CODEX_API_KEY", "api.openai.com"]);
    }
}

#[test]
fn what_logs_in_is_told_with_its_time() {
    for who in Who::all() {
        let world = World::new(who);
        let file = |time: u64, refresh: &str| {
            format!(r#"{{"claudeAiOauth":{{"accessToken":"real-access",{refresh}"expiresAt":{time}}}}}"#)
        };
        write(&world, ".claude/.credentials.json", &file(1_700_000_000_000, "\"refreshToken\":\"real-refresh\","));
        assert_eq!(
            succeeds(&world, &["claude", "--check"], ""),
            "Claude Code: ~/.claude/.credentials.json, valid until 2023-11-14T22:13:20Z, to be renewed when it is used\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&succeeds(&world, &["claude", "--check", "--json"], "")).unwrap();
        let expected = serde_json::json!({
            "agent": "claude",
            "logins": [{"login": "~/.claude/.credentials.json", "valid_until": "2023-11-14T22:13:20Z", "renewed": true}]
        });
        assert_eq!(json, expected);
        // One that nobody renews is over.
        write(&world, ".gemini/oauth_creds.json", r#"{"access_token":"real-access","expiry_date":1700000000000}"#);
        let output = login(&world, &["gemini", "--check"], "");
        assert_eq!(output.status.code(), Some(1));
        let words = "agentkernel: The login of Gemini CLI has expired\n  hint: To go on, log in with `gemini` on the host, \
                     or with a key by `agentkernel agents login gemini`\n";
        assert_eq!(String::from_utf8_lossy(&output.stderr), words);
        let list = stdout(&mut world.agentkernel(["agents"]));
        let row = list.lines().find(|line| line.starts_with("gemini")).unwrap();
        assert!(row.contains("~/.gemini/oauth_creds.json (expired)"), "{list}");
        // Whoever starts it is told before it fails in its own words.
        let adapter = "name = 'mine'\ntitle = 'Mine'\nversion = '1.0'\ncommand = ['/bin/true']\nlogin = 'mine login'\n\
                       interactive = {}\nhome = { state = ['.gemini'] }\n[[credentials]]\nfile = '.gemini/oauth_creds.json'\nfield = ['access_token']\n\
                       hosts = ['api.example.org']\n[[renewals]]\nfile = '.gemini/oauth_creds.json'\naccess = ['access_token']\n\
                       refresh = ['refresh_token']\nexpires = ['expiry_date']\nurl = 'https://api.example.org/token'\n";
        write(&world, ".config/agentkernel/agents/mine.toml", adapter);
        let output = world.agentkernel(["run", "mine"]).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        assert!(told(&output).contains("agentkernel: The login of Mine has expired\n"), "{}", told(&output));
    }
}

#[test]
fn mistakes_are_told_in_a_line() {
    let world = World::new(Who::Me);
    fails(
        &world,
        &["claud", "--stdin"],
        "agentkernel: No agent is called 'claud'\n  hint: Did you mean 'claude'? 'agentkernel agents' lists them\n",
    );
    fails(&world, &["shell", "--stdin"], "agentkernel: Shell takes no key\n");
    fails(
        &world,
        &["gemini", "--stdin", "--variable", "GEMINI"],
        "agentkernel: Gemini CLI takes no key 'GEMINI'\n  hint: It takes: GEMINI_API_KEY\n",
    );
    fails(
        &world,
        &["codex", "--check"],
        "agentkernel: Nothing logs Codex in\n  hint: It takes CODEX_API_KEY, ~/.codex/auth.json, OPENAI_API_KEY; \
         log in with `codex login` on the host, or with a key by `agentkernel agents login codex`\n",
    );
    fails(
        &world,
        &["codex"],
        "agentkernel: Where secret 'CODEX_API_KEY' comes from is not said\n  hint: --stdin reads its value from standard \
         input; --from-env, and what --help tells besides, name where it is kept\n",
    );
    let file = world.home().join(".config/agentkernel/secrets");
    assert!(!file.exists());
}
