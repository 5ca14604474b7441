//! What is asked of any agent: one of a test's own, which is a shell that does what its task says.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Output};
use support::{Who, World, internet::installed, stdout, told};

/// It notes how it was called, and does its last argument.
const ADAPTER: &str = r#"
name = "mine"
title = "Mine"
version = "1.0"
command = ["/bin/sh", "-c", 'printf "%s\n" "$@" > called; for last; do :; done; eval "$last"', "mine"]
environment = { MINE_HOME = "{home}/.mine" }

[interactive]
unattended = ["--yes"]
attended = ["--ask-me"]

[headless]
arguments = ["--task"]
continue = ["--last"]
resume = ["--session", "{}"]
unattended = ["--yes"]
model = ["--model={}"]
json = ["--json"]
prompt = ["{}"]

[no_telemetry]
environment = { MINE_QUIET = "1" }

[network]
telemetry = ["makers.example.org:443"]

[home]
config = [".mine/settings"]
skills = [".mine/skills", ".config/mine"]
state = [".mine", ".local/share/mine"]

[needs]
memory = "200M"

[[files]]
path = ".mine/first"
text = "{workspace} {value MINE_KEY}"

[[credentials]]
variable = "MINE_KEY"
address = "MINE_BASE_URL"
hosts = ["api.example.org"]

[[credentials]]
file = ".mine/login.json"
field = ["token"]
hosts = ["login.example.org"]

[[plain]]
file = ".mine/login.json"
field = ["user"]
"#;

const RENEWAL: &str = "[[renewals]]
file = '.mine/login.json'
access = ['token']
refresh = ['refresh']
url = 'https://login.example.org/token'
";

struct Scene {
    world: World,
}

impl Scene {
    fn new(who: Who) -> Self {
        let scene = Self { world: World::new(who) };
        scene.write("../home/.config/agentkernel/agents/mine.toml", ADAPTER);
        scene
    }

    /// Writes a file below the project, as its user.
    fn write(&self, name: &str, text: &str) {
        let script = "mkdir -p \"$(dirname \"$1\")\" && printf %s \"$2\" > \"$1\"";
        let _ = stdout(self.world.command("sh").args(["-ec", script, "sh", name, text]));
    }

    /// Runs a script in the project, as its user.
    fn sh(&self, script: &str) {
        let _ = stdout(self.world.command("sh").args(["-ec", script]));
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.world.project().join(name)).unwrap()
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.world.agentkernel(arguments).env("MINE_KEY", "the-real-key").output().unwrap()
    }

    /// Has it do something, and gives what that printed.
    #[track_caller]
    fn does(&self, task: &str) -> String {
        let output = self.output(&["run", "mine", "-p", task]);
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], expected: &[&str]) {
        let output = self.world.agentkernel(arguments).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
        assert!(expected.iter().all(|text| words.contains(text)), "{expected:?}: {words}");
        assert_eq!(words.lines().filter(|line| line.starts_with("agentkernel: ")).count(), 1, "{words}");
    }
}

#[test]
fn what_is_asked_comes_as_the_agent_takes_it() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let called = |arguments: &[&str]| {
            let output = scene.output(arguments);
            assert_eq!(output.status.code(), Some(3), "{}", told(&output));
            assert_eq!(String::from_utf8_lossy(&output.stdout), "out\n");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
            scene.read("called").lines().collect::<Vec<_>>().join(" ")
        };
        const TASK: &str = "echo out; echo err >&2; exit 3";
        assert_eq!(called(&["run", "mine", "-p", TASK]), format!("--task --yes {TASK}"));
        assert_eq!(
            called(&["run", "--name", "box", "mine", "--timeout", "60s", "--prompt", TASK]),
            format!("--task --yes {TASK}")
        );
        assert_eq!(
            called(&[
                "run",
                "mine",
                "--continue",
                "--model",
                "m",
                "--output-format",
                "json",
                "-p",
                TASK,
                "--",
                "-x",
                "--y"
            ]),
            format!("--task --last --yes --model=m --json -x --y {TASK}")
        );
        assert_eq!(
            called(&["run", "--prompt", TASK, "mine", "--resume", "s1"]),
            format!("--task --session s1 --yes {TASK}")
        );
        scene.fails(&["run", "--prompt", TASK, "mine", "--ask"], &["there is nobody to ask", "Leave out --ask"]);
        assert_eq!(called(&["run", "mine", "--ask", "--", TASK]), format!("--ask-me {TASK}"));
        // Without a task it talks to a person, or to whoever gave it these arguments.
        assert_eq!(called(&["run", "mine", "--", TASK]), format!("--yes {TASK}"));
        // An adapter is a file, wherever it is; in the project an agent may have written it, and somebody must have read it.
        scene.write("../home/my.toml", ADAPTER);
        assert_eq!(called(&["run", "../home/my.toml", "-p", TASK]), format!("--task --yes {TASK}"));
        scene.write("my.toml", ADAPTER);
        let asks = ["asks for more than a project gets by itself: the agent 'mine'", "`agentkernel trust ./my.toml`"];
        scene.fails(&["run", "./my.toml", "-p", TASK], &asks);
        assert!(stdout(&mut scene.world.agentkernel(["trust", "my.toml"])).contains("my.toml"));
        assert_eq!(called(&["run", "./my.toml", "-p", TASK]), format!("--task --yes {TASK}"));
        // Nor does a link there lead to one that nobody has read.
        scene.sh("ln -s ../home/my.toml link.toml; ln -s ../home dir");
        for path in ["./link.toml", "./dir/my.toml", "./dir/../home/my.toml"] {
            scene.fails(&["run", path, "-p", TASK], &asks[..1]);
        }
        let _ = scene.output(&["run", "./my.toml", "-p", "sed -i 's/^title = .*/title = \"Other\"/' my.toml"]);
        assert!(scene.read("my.toml").contains("Other"));
        scene.fails(&["run", "./my.toml", "-p", TASK], &asks);
        let output = scene.output(&["run", "mine", "--json", "-p", "exit 3"]);
        let last: serde_json::Value = serde_json::from_slice(output.stderr.trim_ascii_end()).unwrap();
        assert_eq!(
            (&last["status"], &last["agent"]["name"], &last["agent"]["login"]),
            (&3.into(), &"mine".into(), &"MINE_KEY".into())
        );
        assert_eq!(last["agent"]["allow"][0], "api.example.org:443");
        for (flags, hosts) in
            [(&[][..], "api.example.org:443"), (&["--telemetry"], "api.example.org:443, makers.example.org:443")]
        {
            let output = scene.output(&[&["run", "mine", "--verbose"], flags, &["-p", "true"]].concat());
            let line = format!("agentkernel: Mine 1.0 may reach {hosts}; logged in by MINE_KEY\n");
            assert_eq!(String::from_utf8_lossy(&output.stderr), line);
        }
    }
}

#[test]
fn what_logged_in_before_is_gone() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.write("../home/.mine/login.json", r#"{"token": "the-real-token", "other": "another-secret"}"#);
        let run = |task: &str| stdout(&mut scene.world.agentkernel(["run", "mine", "-p", task]));
        let inside = run("cat ~/.mine/login.json");
        assert!(inside.contains("agentkernel-token-") && !inside.contains("secret"), "{inside}");
        // The variable comes first; the agent would take the file.
        let inside = scene.does("cat ~/.mine/login.json 2>&1; echo $MINE_KEY");
        assert!(inside.contains("No such file") && inside.contains("agentkernel-MINE_KEY-"), "{inside}");
        // What the agent has written itself is its own.
        let _ = scene.does("echo mine > ~/.mine/login.json");
        assert!(scene.does("cat ~/.mine/login.json").contains("mine"));
    }
}

/// An agent that is told of one login and given another can't begin.
#[test]
fn settings_say_what_logs_in() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let preset = |login: &str, value: &str| {
            format!("[[presets]]\nfile = '.mine/set.json'\nkey = ['login']\nvalue = '\"{value}\"'\nlogin = '{login}'\n")
        };
        let own = ADAPTER.replace("\".mine/settings\"", "\".mine/set.json\"");
        let own = format!("{own}\n{}{}{RENEWAL}", preset("MINE_KEY", "key"), preset("~/.mine/login.json", "file"));
        scene.write("../home/.config/agentkernel/agents/mine.toml", &own);
        let by_file = || stdout(&mut scene.world.agentkernel(["run", "mine", "-p", "cat ~/.mine/set.json"]));
        let by_key = || scene.does("cat ~/.mine/set.json");
        scene.write("../home/.mine/login.json", r#"{"token": "the-real-token", "refresh": "another"}"#);
        for _ in 0..2 {
            assert_eq!(by_key(), "{\n  \"login\": \"key\"\n}\n");
            assert_eq!(by_file(), "{\n  \"login\": \"file\"\n}\n");
        }
        scene.write("../home/.mine/set.json", r#"{"login": "other", "mine": 1}"#);
        assert_eq!(by_key(), r#"{"login": "key", "mine": 1}"#);
        assert_eq!(by_file(), r#"{"login": "file", "mine": 1}"#);
        assert_eq!(scene.read("../home/.mine/set.json"), r#"{"login": "other", "mine": 1}"#);
        // What renews it is at the same host, which is one.
        let output = scene.world.agentkernel(["run", "mine", "--verbose", "-p", "true"]).output().unwrap();
        let line = "agentkernel: Mine 1.0 may reach login.example.org:443; logged in by ~/.mine/login.json\n";
        assert_eq!(String::from_utf8_lossy(&output.stderr), line);
    }
}

#[test]
fn a_secret_whose_variable_is_not_set_logs_nobody_in() {
    let scene = Scene::new(Who::Me);
    let _ = stdout(&mut scene.world.agentkernel(["agents", "login", "mine", "--from-env", "NOPE"]));
    let listed = |set: bool| {
        let mut command = scene.world.agentkernel(["agents", "--json"]);
        if set {
            command.env("NOPE", "the-real-key");
        }
        let all: serde_json::Value = serde_json::from_str(&stdout(&mut command)).unwrap();
        let mine = all.as_array().unwrap().iter().find(|agent| agent["name"] == "mine").unwrap();
        mine["credentials"].as_str().unwrap().to_owned()
    };
    assert_eq!(listed(false), "secret MINE_KEY (NOPE is not set)");
    assert_eq!(listed(true), "secret MINE_KEY");
    scene.fails(&["run", "mine", "-p", "true"], &["the variable NOPE is not set"]);
    let output = scene.output(&["agents", "login", "mine", "--check"]);
    let words = told(&output);
    assert!(!output.status.success() && words.contains("agentkernel: The variable NOPE is not set\n"), "{words}");
}

/// Nobody hears what is told.
#[test]
fn an_agent_works_where_nothing_can_be_told() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let line = "\"$0\" run --verbose mine -p 'echo out; exit 3' 2> /dev/full";
        let mut command = scene.world.command("sh");
        let output =
            command.args(["-c", line]).arg(scene.world.binary()).env("MINE_KEY", "the-real-key").output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(3), &b"out\n"[..]), "{}", told(&output));
        assert_eq!(stdout(&mut scene.world.agentkernel(["ps", "-aq"])), "");
    }
}

#[test]
fn what_can_t_be_asked_is_told_in_one_line() {
    let scene = Scene::new(Who::Me);
    scene.fails(
        &["run", "mime", "-p", "x"],
        &["No agent is called 'mime'", "Did you mean 'mine'?", "`agentkernel run -- mime`"],
    );
    for (name, meant) in
        [("claude-code", "claude"), ("gemini-cli", "gemini"), ("Codex", "codex"), ("opencode-ai", "opencode")]
    {
        let meant = format!("Did you mean '{meant}'?");
        scene.fails(&["run", name, "-p", "x"], &[&format!("No agent is called '{name}'"), &meant]);
        let output = scene.world.agentkernel(["agents", "install", name]).output().unwrap();
        assert!(output.status.code() == Some(1) && told(&output).contains(&meant), "{}", told(&output));
    }
    scene.write("my-agent.toml", ADAPTER);
    scene.fails(
        &["run", "my-agent.toml", "-p", "x"],
        &["'my-agent.toml' is no program", "`agentkernel run ./my-agent.toml`"],
    );
    scene.sh("rm my-agent.toml");
    scene.fails(
        &["run", "mine", "-p", "x"],
        &["Nothing logs Mine in: it looks for MINE_KEY, or ~/.mine/login.json", "agents login mine"],
    );
    // What it is, it tells anybody.
    assert_eq!(scene.world.agentkernel(["run", "mine", "--", "--version"]).output().unwrap().status.code(), Some(127));
    assert_eq!(scene.read("called"), "--version\n");
    scene.write("../home/.mine/settings", r#"{ "env": { "MINE_KEY": "key-of-a-gateway" } }"#);
    scene.fails(
        &["run", "mine", "-p", "x"],
        &[
            "Nothing logs Mine in: MINE_KEY in ~/.mine/settings stays outside",
            "agentkernel secret set MINE_KEY --host HOST",
        ],
    );
    // Nor does what is for another host go to the adapter's.
    let of_gateway = |address: &str| {
        let mut run = scene.world.agentkernel(["run", "mine", "-p", "true"]);
        let output = run.env("MINE_KEY", "key-of-a-gateway").env("MINE_BASE_URL", address).output().unwrap();
        (output.status.code(), told(&output))
    };
    let (code, words) = of_gateway("https://gateway.example.org:8443/v1");
    assert_eq!(code, Some(125), "{words}");
    assert!(
        words.contains("MINE_BASE_URL says that MINE_KEY is for gateway.example.org, and it is not lent"),
        "{words}"
    );
    assert!(words.contains("`run mine --secret MINE_KEY --allow gateway.example.org -e MINE_BASE_URL`"), "{words}");
    assert_eq!(of_gateway("https://api.example.org/v1").0, Some(0));
    // One that looks at no such variable takes it otherwise, and in another one.
    let told_so = "address = \"MINE_BASE_URL\"\naddress_arguments = [\"-c\", \"base_url={} x\"]\nenv = \"INNER_KEY\"\n";
    let other = ADAPTER.replace("address = \"MINE_BASE_URL\"\n", told_so);
    scene.write("../home/.config/agentkernel/agents/mine.toml", &other);
    let (_, words) = of_gateway("https://me:word@gateway.example.org/v1");
    let hint = "'agentkernel secret set INNER_KEY --host gateway.example.org', then `run mine --secret INNER_KEY \
                --allow gateway.example.org -- -c 'base_url=https://gateway.example.org/v1 x'`";
    assert!(words.contains(hint) && !words.contains("me:word"), "{words}");
    scene.write("../home/.config/agentkernel/agents/mine.toml", ADAPTER);
    scene.fails(&["run", "mine", "a task"], &["Unexpected argument 'a task'", "-p TASK"]);
    scene.fails(&["run", "mine", "--modle", "x"], &["No option '--modle'", "Did you mean '--model'?"]);
    scene.fails(
        &["run", "--no-login", "mine", "--output-format", "stream-json", "-p", "x"],
        &["Mine can't tell in JSON what happens"],
    );
    scene.fails(&["run", "mine", "--no-login", "--continue"], &["Mine can't go on with its last session"]);
    scene.fails(&["run", "./none.toml", "-p", "x"], &["./none.toml: No such file or directory"]);
    scene.fails(
        &["run", "mine@9.9", "-p", "x"],
        &["'mine' is run without a version", "`agentkernel agents install mine@9.9`", "`agentkernel run -- mine@9.9`"],
    );
    scene.fails(&["run", "--model", "m", "--", "true"], &["`--model` is for agents, and no agent is named"]);
    scene.write("../home/.config/agentkernel/config.toml", "[network]\nallow = ['example.com']\n");
    let output = scene.output(&["run", "mine", "-p", "x"]);
    assert!(
        told(&output).contains("Mine must reach api.example.org:443, which is beyond your own limits"),
        "{}",
        told(&output)
    );
    // A plain command is what it was.
    assert_eq!(scene.output(&["run", "--", "mine"]).status.code(), Some(127));
    assert_eq!(scene.output(&["run", "sh", "-c", "exit 4"]).status.code(), Some(4));
    let json = scene.output(&["run", "mime", "--json"]);
    assert!(json.stdout.is_empty() && !json.status.success(), "{}", told(&json));
}

#[test]
fn an_agent_finds_again_what_it_kept_for_the_project() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let first = scene
            .does("cat ~/.mine/first; echo one > ~/.mine/session; mkdir -p ~/.local/share/mine/x; echo gone > ~/other");
        assert!(first.starts_with(&format!("{} agentkernel-MINE_KEY-", scene.world.project().display())), "{first}");
        let again = scene.does("cat ~/.mine/session ~/.mine/first; ls ~/.local/share/mine; cat ~/other 2>&1 | wc -l; touch ~/.local/share/own");
        assert_eq!(again, format!("one\n{first}x\n1\n"), "{who:?}");
        // What directs it, by a link too, is told.
        let _ = scene.does("mkdir -p ~/.mine/hidden; echo x > ~/.mine/hidden/one; ln -s hidden ~/.mine/skills");
        let output = scene.output(&["run", "mine", "--verbose", "-p", "rm -r ~/.mine/hidden ~/.mine/skills"]);
        let words = "Mine goes by what an earlier run here has left: ~/.mine/skills\n";
        assert!(told(&output).contains(words), "{}", told(&output));
        assert!(!told(&scene.output(&["run", "mine", "--verbose", "-p", "true"])).contains("earlier run"));
        // In another project there is nothing, and nothing of it is in the project.
        let _ = stdout(scene.world.command("mkdir").arg("../home/another"));
        let mut other = scene.world.agentkernel(["run", "mine", "-p", "cat ~/.mine/session 2>&1 | wc -l; ls ~/.mine"]);
        let other = other.current_dir(scene.world.home().join("another")).env("MINE_KEY", "x").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&other.stdout), "1\nfirst\n", "{}", told(&other));
        let found = stdout(scene.world.command("find").args([".", "-name", "session"]));
        assert_eq!(found, "");
        assert_eq!(stdout(&mut scene.world.agentkernel(["agents", "forget", "mine"])), "mine\n");
        assert_eq!(scene.does("ls ~/.mine"), "first\n");
        let running = stdout(scene.world.agentkernel(["run", "-d", "mine", "-p", "sleep 600"]).env("MINE_KEY", "x"));
        let output = scene.output(&["agents", "forget", "mine"]);
        assert!(told(&output).contains("still runs Mine in this project"), "{}", told(&output));
        let _ = stdout(&mut scene.world.agentkernel(["rm", "-f", running.trim()]));
    }
}

/// Whoever has run in a sandbox can't keep the next from beginning.
#[test]
fn what_is_in_the_way_of_an_agents_files_goes() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.write("../home/.mine/settings", "set\n");
        scene.write("../home/.mine/skills/one", "one\n");
        scene.write("../home/.mine/login.json", r#"{"token": "the-real-token"}"#);
        let run = |task: &str| {
            let output = scene.world.agentkernel(["run", "mine", "-p", task]).output().unwrap();
            assert!(output.status.success(), "{who:?}, {task}: {}", told(&output));
            String::from_utf8(output.stdout).unwrap()
        };
        let _ = run("echo kept > ~/.mine/own");
        let look = "cat ~/.mine/settings ~/.mine/skills/one ~/.mine/own; wc -c < ~/.mine/first; cat ~/.mine/login.json";
        let (first, login) = (run("wc -c < ~/.mine/first"), run("cat ~/.mine/login.json"));
        for put in [
            "mkdir -p first/x login.json/x",
            "ln -s /etc/passwd first; ln -s /etc/passwd login.json",
            "mkfifo login.json; touch first",
            "mkdir -p login.json/x; chmod 0 login.json",
            "chmod 0 .",
            "chmod 500 .",
        ] {
            let _ = run(&format!("cd ~/.mine; case '{put}' in chmod*) ;; *) rm -rf first login.json;; esac; {put}"));
            assert_eq!(run(look), format!("set\none\nkept\n{first}{login}"), "{who:?}: {put}");
        }
    }
}

#[test]
fn the_users_settings_come_along_and_stay_his() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let task = "cat ~/.mine/settings; cat ~/.mine/skills/one ~/.config/mine/two; echo bad 2> /dev/null > ~/.mine/settings;
            rm -rf ~/.mine/skills ~/.mine/settings ~/.config/mine; echo bad > ~/.mine/skills/three; echo fine > ~/.mine/own && echo done";
        let quiet = |task: &str| scene.does(&format!("({task}) 2> /dev/null"));
        assert_eq!(quiet("cat ~/.mine/settings; echo $MINE_HOME; echo $MINE_QUIET"), {
            let home = scene.does("echo ~");
            format!("{}/.mine\n1\n", home.trim())
        });
        for (name, text) in [(".mine/settings", "set\n"), ("skills/one", "one\n"), (".config/mine/two", "two\n")] {
            scene.write(&format!("../home/{name}"), text);
        }
        // By a link, too, wherever it leads.
        let _ = stdout(scene.world.command("ln").args(["-s", "../skills", "../home/.mine/skills"]));
        assert_eq!(quiet(task), "set\none\ntwo\ndone\n", "{who:?}");
        let here = stdout(
            scene
                .world
                .command("sh")
                .args(["-c", "cd ../home; cat .mine/settings skills/* .config/mine/two; ls .mine"]),
        );
        assert_eq!(here, "set\none\ntwo\nsettings\nskills\n", "{who:?}");
        // What he has no more does not leave an empty one.
        let _ = stdout(scene.world.command("rm").args(["-r", "../home/.mine"]));
        assert_eq!(quiet("ls ~/.mine"), "first\nown\n", "{who:?}");
    }
}

#[test]
fn what_logs_in_stays_outside() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let placeholder = scene.does("echo $MINE_KEY");
        assert!(placeholder.starts_with("agentkernel-MINE_KEY-"), "{placeholder}");
        // The same one next time: it may stand in what the agent keeps.
        assert_eq!(scene.does("env | grep -c the-real.key; echo $MINE_KEY"), format!("0\n{placeholder}"));
        // Who sees to it himself, does.
        let run = |arguments: &[&str]| {
            let all =
                [&["run", "mine"], arguments, &["-p", "echo $MINE_KEY; cat ~/.mine/login.json 2> /dev/null"]].concat();
            String::from_utf8(scene.world.agentkernel(all).output().unwrap().stdout).unwrap()
        };
        assert_eq!(run(&["-e", "MINE_KEY=own"]), "own\n");
        assert_eq!(run(&["--no-login"]), "\n");
        scene.write("../home/.mine/login.json", r#"{"token": "the-real-token", "user": "me"}"#);
        let lent: serde_json::Value = serde_json::from_str(&run(&[])).unwrap();
        assert!(lent["token"].as_str().unwrap().starts_with("agentkernel-token-") && lent["user"] == "me", "{lent}");
        // An agent that works with several services has both, but for what he gives it himself.
        let several = ADAPTER.replacen("name = \"mine\"", "name = \"several\"\nevery_login = true", 1);
        scene.write("../home/.config/agentkernel/agents/several.toml", &several);
        let both = |arguments: &[&str]| {
            let task = ["-p", "echo $MINE_KEY; cat ~/.mine/login.json | tail -c +11"];
            let output = scene.output(&[&["run", "several"], arguments, &task].concat());
            String::from_utf8(output.stdout).unwrap()
        };
        let seen = both(&[]);
        assert!(seen.starts_with("agentkernel-MINE_KEY-") && seen.contains("\nagentkernel-token-"), "{seen}");
        let seen = both(&["-e", "MINE_KEY=own"]);
        assert!(seen.starts_with("own\nagentkernel-token-"), "{seen}");
        let spec = scene.output(&["run", "mine", "--net", "none", "-p", "echo $MINE_KEY"]);
        assert_eq!(String::from_utf8_lossy(&spec.stdout), "\n", "{}", told(&spec));
        let search = "grep -rlE 'the-real-(key|token)' ../home/state || true";
        let state = stdout(scene.world.command("sh").args(["-c", search]));
        assert_eq!(state, "");
    }
}

#[test]
fn an_agent_is_not_root_and_git_knows_whose_it_is() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.write("../home/.gitconfig", "[user]\nname = Me Too\nemail = me@example.org\n");
        let task = "id -u; git init -q /tmp/r && cd /tmp/r && git commit -q --allow-empty -m x && git log --format='%an <%ae> %cn'";
        if installed("git") {
            let (uid, author) = scene.does(task).split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            assert_ne!(uid, "0");
            assert_eq!(author, "Me Too <me@example.org> Me Too\n");
        }
        assert_eq!(scene.does("touch by-it && chmod 600 by-it && ls by-it"), "by-it\n");
        let made = fs::metadata(scene.world.project().join("by-it")).unwrap();
        let project = fs::metadata(scene.world.project()).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), std::os::unix::fs::MetadataExt::uid(&project));
        assert_eq!(made.permissions().mode() & 0o777, 0o600);
        let root = scene.output(&["run", "-u", "root", "mine", "-p", "id -u"]);
        assert_eq!(String::from_utf8_lossy(&root.stdout), "0\n", "{}", told(&root));
    }
}

/// What git has of a worktree lies elsewhere.
#[test]
fn in_a_worktree_it_is_told_how_git_finds_its_repository() {
    if !installed("git") {
        return;
    }
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.sh("git init -q . && git -c user.name=x -c user.email=x@example.org commit -q --allow-empty -m first");
        scene.sh("git worktree add -q ../home/worktree");
        let repository = scene.world.project().join(".git");
        let run = |more: &[&str]| {
            let mut command =
                scene.world.agentkernel([&["run", "mine", "--verbose"], more, &["-p", "git log --oneline"]].concat());
            command.current_dir(scene.world.home().join("worktree")).env("MINE_KEY", "x").output().unwrap()
        };
        let output = run(&[]);
        let mount = format!("{0}:{0}:ro", repository.display());
        assert!(told(&output).contains(&format!("'-v {mount}' lets git read it")), "{who:?}: {}", told(&output));
        let output = run(&["-v", &mount]);
        assert!(told(&output).contains(" first\n") && !told(&output).contains("has not"), "{who:?}: {}", told(&output));
    }
}

#[test]
fn undo_goes_back_to_before_an_agent() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.write("src/file", "mine\n");
        scene.does("rm -rf src; echo x > new");
        let list = stdout(&mut scene.world.agentkernel(["undo", "--list"]));
        assert!(list.trim_end().ends_with("mine"), "{list}");
        let _ = stdout(&mut scene.world.agentkernel(["undo"]));
        assert_eq!(scene.read("src/file"), "mine\n");
        assert!(fs::symlink_metadata(scene.world.project().join("new")).is_err());
        let _ = stdout(&mut scene.world.agentkernel(["undo", "--forget"]));
        let _ = scene.output(&["run", "mine", "--no-checkpoint", "-p", "true"]);
        let list = stdout(&mut scene.world.agentkernel(["undo", "--list"]));
        assert_eq!(list.lines().count(), 1, "{list}");
    }
}

#[test]
fn less_memory_than_it_needs_is_told() {
    for who in Who::all() {
        if !support::may_limit(who) {
            support::skipped("an agent with little memory", "this user may make no cgroups");
            continue;
        }
        let scene = Scene::new(who);
        let words = |memory: &str| {
            let output = scene.output(&["run", "mine", "--verbose", "--memory", memory, "-p", "true"]);
            assert!(output.status.success(), "{}", told(&output));
            told(&output)
        };
        assert!(words("100M").contains("Mine needs 200M of memory, and the sandbox has less"), "{}", words("100M"));
        assert!(!words("200M").contains("needs"));
    }
}

/// What an agent cannot do without is looked for before it starts, in whatever it runs over.
#[test]
fn a_program_that_an_image_lacks_is_told_in_one_line() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let own = ADAPTER.replace("[needs]\n", "[needs]\nprograms = [\"sh\", \"bash\", \"no-such-shell\"]\n");
        scene.write("../home/.config/agentkernel/agents/mine.toml", &own);
        let small =
            "mkdir -p ../home/small/bin && cp /bin/busybox ../home/small/bin/ && ln -s busybox ../home/small/bin/sh";
        let _ = stdout(scene.world.command("sh").args(["-ec", small]));
        let small = scene.world.project().join("../home/small").canonicalize().unwrap();
        let small = format!("dir:{}", small.display());
        for (image, lacks) in [(small.as_str(), "no bash and no no-such-shell"), ("host", "no no-such-shell")] {
            let run = ["run", "mine", "--image", image, "--no-login", "-p", "echo begun > begun"];
            let output = scene.world.agentkernel(run).output().unwrap();
            let words = told(&output);
            assert_eq!(output.status.code(), Some(127), "{words}");
            assert!(
                words.contains(&format!("agentkernel: The image has {lacks}, which the command needs\n")),
                "{words}"
            );
            assert!(words.contains("hint: --image names one that has"), "{words}");
            assert!(!scene.world.project().join("begun").exists(), "{words}");
        }
    }
}
