use super::*;
use proptest::prelude::*;

fn json_of(text: &str) -> Settings {
    without_credentials(text, Form::Json, "${{}}").unwrap()
}

#[test]
fn what_logs_in_is_left_out_of_json() {
    let text = r#"{
  // mine, with "a comma",
  "theme": "dark", /* or: "light" */
  "security": { "auth": { "selectedType": "gemini-api-key" } },
  "mcpServers": {
    "forge": {
      "command": "npx", "args": ["-y", "forge-mcp", "--api-key", "abc", "--token=def", "--level", "high"],
      "env": { "FORGE_TOKEN": "s3cret", "LOG_LEVEL": "debug", "OTHER_KEY": "${OTHER_KEY}", "BROWSER_PATH": "/bin/x" }
    },
    "db": { "command": "db", "args": ["postgresql://me:word@db.example/x", "https://db.example/y"] },
    "far": { "url": "https://far.example/", "headers": { "Authorization" : "Bearer abc", "X-Any": "abc", "Accept": "*/*",
      "X-Ref": "$TOKEN" } }
  },
  "provider": { "p": { "options": { "apiKey": "abc\"def", "apiKeyEnv": "P_KEY" } } },
  "keys": [{ "key": "ctrl+k", "command": "run" }],
}
"#;
    let settings = json_of(text);
    let expected = text
        .replace("\"abc\", \"--token=def\"", "\"\", \"\"")
        .replace("\"s3cret\"", "\"${FORGE_TOKEN}\"")
        .replace("me:word@", "")
        .replace("\"Bearer abc\", \"X-Any\": \"abc\"", "\"\", \"X-Any\": \"\"")
        .replace(r#""abc\"def""#, "\"\"");
    assert_eq!(settings.text, expected);
    let places = [
        "mcpServers.forge.args",
        "mcpServers.forge.args",
        "mcpServers.forge.env.FORGE_TOKEN",
        "mcpServers.db.args",
        "mcpServers.far.headers.Authorization",
        "mcpServers.far.headers.X-Any",
        "provider.p.options.apiKey",
    ];
    assert_eq!(settings.left_out, places);
    // What is left says nothing more.
    assert_eq!(json_of(&settings.text), Settings { text: settings.text.clone(), left_out: Vec::new() });
}

/// Each is a whole value, or a part of settings, that has LEAK in it.
#[test]
fn nothing_usual_that_logs_in_stays() {
    for text in [
        r#"{"args": ["mcp-remote", "https://x.example", "--header", "Authorization: Bearer LEAK"]}"#,
        r#"{"args": ["--header=X-Api-Key: LEAK", "-H", "X-Other: LEAK"]}"#,
        r#"{"env": {"PGPASSWORD": "LEAK", "APITOKEN": "LEAK", "API_KEY2": "LEAK", "GITHUBTOKEN": "LEAK", "SSH_PASSPHRASE": "LEAK"}}"#,
        r#"{"env": {"DB_PASSWORD": "$LEAK-dollar!", "A_KEY": "${X}LEAK", "B_KEY": "{env:Z}LEAK"}}"#,
        r#"{"headers": {"X-A": "Bearer $LEAK-d"}, "b": {"headers": ["Authorization: Bearer LEAK", "Cookie: LEAK"]}}"#,
        r#"{"env": ["API_TOKEN=LEAK"], "a": {"env": [{"name": "API_TOKEN", "value": "LEAK"}]}}"#,
        r#"{"args": ["run", "-e", "FORGE_TOKEN=LEAK", "https://host/mcp/?exampleApiKey=LEAK", "https://LEAK@host/"]}"#,
        r#"{"passwd": "LEAK", "userPass": "LEAK", "cookie": "LEAK", "passphrase": "LEAK", "accessKeyId": "LEAK", "db_auth": "LEAK"}"#,
        r#"{"secrets": {"a": "LEAK"}, "tokens": ["LEAK"], "refreshTokens": {"b": {"c": "LEAK"}}}"#,
        "{\n  // \"apiKey\": \"LEAK\",\n  \"a\": 1 /* token: LEAK */ }",
    ] {
        let settings = json_of(text);
        assert!(!settings.text.replace("${LEAK", "").contains("LEAK"), "{}", settings.text);
        assert!(!settings.left_out.is_empty());
        serde_json::from_str::<serde_json::Value>(&settings.text)
            .unwrap_or_else(|error| panic!("{error}: {}", settings.text));
    }
    let toml = "# api_key = \"LEAK\"\nb = 1 # token: LEAK\na = [\"--header\", \"Authorization: Bearer LEAK\"]\n[x] # token = LEAK\nenv = [{ name = \"A_TOKEN\", value = \"LEAK\" }]\n";
    let lists =
        "args = [ \"a\", # token: LEAK\n  \"b\", # mine\n  \"c\" # password = LEAK\n, \"d\",\n  # key: LEAK\n]\n";
    for toml in [toml, lists] {
        let settings = without_credentials(toml, Form::Toml, "").unwrap();
        assert!(!settings.text.contains("LEAK"), "{}", settings.text);
        settings.text.parse::<DocumentMut>().unwrap();
        assert!(toml != lists || settings.text.contains("# mine"), "{}", settings.text);
    }
    // What tells it on the host is none of the sandbox's, and a command may have it in its middle.
    for text in [
        r#"{"apiKeyHelper": "/home/me/LEAK", "awsAuthRefresh": "LEAK", "awsCredentialExport": "LEAK"}"#,
        r#"{"apiKeyHelper": "echo sk-ant-api03-LEAK0123456789"}"#,
        r#"{"args": ["-c", "export T=ghp_LEAK0123456789abcdef; exec server"]}"#,
        r#"{"statusLine": {"command": "curl 'https://a.example' -d 'sk-ant-api03-LEAK0123456789'"}}"#,
        r#"{"env": {"OPENAPI_MCP_HEADERS": "{\"Authorization\": \"Bearer LEAK\", \"Notion-Version\": \"2022\"}"}}"#,
        r#"{"env": {"OTEL_EXPORTER_OTLP_HEADERS": "x-any=LEAK"}, "otlp_headers": "x-any=LEAK"}"#,
        r#"{"env": [{"name": "OTEL_EXPORTER_OTLP_HEADERS", "value": "x-any=LEAK"}]}"#,
        r#"{"env": {"OPTIONS": "--level high --token LEAK", "MORE": "-Dpassword=LEAK", "ALL": "{\"apiKey\": \"LEAK\"}"}}"#,
        r#"{"headersHelper": "echo '{\"X-Any\": \"LEAK\"}'"}"#,
        r#"{"args": ["--config", "{\"a\": {\"env\": {\"A_TOKEN\": \"LEAK\"}}}", "--headers", "{\"X-A\": \"LEAK\"}"]}"#,
        r#"{"url": "https://a.example/mcp?k=LEAK", "b": "see https://me:LEAK@b.example/"}"#,
        r#"{"url": "https://hooks.a.example/services/T0LEAK0/9xKq2LEAK7bV4wZ1pQ8rS3d"}"#,
        r#"{"notify": ["curl", "-u", "me:LEAK"], "other": "curl --user me:LEAK https://a.example"}"#,
        r#"{"headers": {"X-A": "${TOKEN:-LEAK0123456789}", "X-B": "${TOKEN:-LEAK-or}"}, "permissions": {"allow": ["Bash(srv --token LEAK)"]}}"#,
        r#"{"env": {"A": "X-Api-Key: LEAKpw", "B": "password: LEAKpw"}, "args": ["root:LEAKpw@tcp(127.0.0.1:3306)/db"]}"#,
        r#"{"args": ["-y", "@a/mcp", "AC0a1b2c3d4e5f60718293a4b5c6d7e8f9/SK1a2b3c4d5e6f708192a3b4c5d6e7f809:q8LEAKw7e6r5t4y3u2i1o0pAbCdq8Xw7e6r"]}"#,
        r#"{"url": "https://hook.a.example/mcp/api/v1/u/01234567-LEAK-abcd-abcd-0123456789ab/sse"}"#,
        r#"{"env": {"BW_SESSION": "k3J9LEAK/q2w8E4r6T1y7U5i3O0p+Az/SxD9cV7bN5mQ==", "DBPASS": "LEAK", "SEED_PHRASE": "LEAK"}}"#,
        r#"{"tokenUrl": "https://me:LEAK@a.example/", "refreshToken": "LEAK"}"#,
        r#"{"env": {"AZURE": "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=LEAK==;EndpointSuffix=y"}}"#,
        r#"{"args": ["Server=x;User Id=sa;Password=LEAK", "redis://:LEAK@x.example/0", "mysql://me:LEAK@x.example"]}"#,
        r#"{"url": "https://api.telegram.example/bot123456789:AAEhBP0av28LEAKx1y2z3w4v5u6/sendMessage"}"#,
        r#"{"args": ["--env=API_KEY=LEAK", "--user=u:LEAK", "--header=X-Any: LEAK", "api_key:LEAK", "TOKEN:LEAK"]}"#,
        r#"{"env": {"LINEAR": "lin_api_LEAK0123456789", "OTHER": "q8LEAKw7e6r5t4y3u2i1o0pA"}}"#,
    ] {
        let settings = json_of(text);
        assert!(!settings.text.contains("LEAK") && !settings.left_out.is_empty(), "{}", settings.text);
    }
    // A rule stays one.
    let rules = r#"{"permissions": {"allow": ["Bash(TOKEN=LEAK npm test:*)", "Bash(ls)"]}}"#;
    let settings = json_of(rules);
    assert_eq!(settings.text, rules.replace("Bash(TOKEN=LEAK npm test:*)", NO_RULE));
    // Commands in one text.
    for command in [
        "srv --token LEAK",
        "curl -sume:LEAK https://a.example; curl -ume:LEAK https://a.example",
        "sshpass -p LEAK ssh a.example",
        "sshpass -pLEAK ssh a.example",
        "/usr/bin/mysql -u me -pLEAK db",
        "redis-cli -h a.example -a LEAK",
        "docker login -u me -p LEAK a.example",
        "ls; mongosh -u me -p LEAK; ls",
        "cd x && 7z x -pLEAK a.7z",
        "set -gx API_KEY LEAK; srv",
        "srv --api-key='LEAK' -v",
        "export TOKEN=LEAK; srv",
        "TOKEN=\"LEAK\" srv",
        "sh -c 'export A=b; cd x && srv --api-key \"LEAK\"'",
        "curl -H \"X-Api-Key: LEAK\" https://a.example",
        "curl -H 'Authorization: Bearer LEAK' https://a.example",
        "curl -d '{\"Authorization\": \"Bearer LEAK\"}' https://a.example",
    ] {
        let settings = json_of(&serde_json::json!({ "command": command, "args": ["-c", command] }).to_string());
        assert_eq!(settings.text, r#"{"args":["-c",""],"command":""}"#, "{command}");
    }
    // What only sounds so stays.
    for text in [
        r#"{"maxTokens": "many", "bearer_token_env_var": "A", "keys": [{"key": "ctrl+k"}]}"#,
        r#"{"headers": {"Accept": "x"}, "args": ["--header", "Authorization: Bearer ${TOKEN}", "--token", "$TOKEN", "A_KEY=$A_KEY"]}"#,
        r#"{"command": "npm_config_registry=x npm_config_loglevel=error npm install", "note": "task sk-learn-and-more-of-it"}"#,
        r#"{"args": ["--user=1000:1000", "--env=LEVEL=high", "--env=TOKEN", "a:b", "key:", "token://x"]}"#,
        r#"{"args": ["mysql -u me -p db", "docker run -p 80:80 -u1000:1000 x", "sshpass -e ssh -p 2222 h", "sshpass -f /f ssh -p 22 h", "ssh -p2222 h mysqldump db",
            "cp -pr a b && mysql db", "mysql db; tar -pxf a.tar", "docker run -p 8080:80 --name login app", "docker run -d --name mongo -p 27017:27017 mongo", "docker login x.example && docker run -p 3000:3000 x",
            "grep -a x redis-cli", "curl -unix:$x", "bash -x API_KEY check", "7z a -p a.7z", "redis-cli -a $PW", "set -x KEY_FILE /a", "Basic usage", "curl -uri https://a"]}"#,
        r#"{"args": ["-u", "1000:1000", "--user", "me", "--token $TOKEN --key ${KEY}", "TOKEN=$(cat /a) srv"]}"#,
        r#"{"model": "claude-sonnet-4-5-20250929", "other": "us.anthropic.claude-3-7-sonnet-20250219-v1:0"}"#,
        r#"{"model": "qwen2.5-coder:32b-instruct-q4_K_M", "id": "550e8400-e29b-41d4-a716-446655440000"}"#,
        r#"{"command": "/nix/store/0c1v2b3n4m5a6s7d8f9g0h1j2k3l4q5w-node-22/bin/node", "args": ["sha256:0a1b2c3d4e5f60718293a4b5c6d7e8f9"]}"#,
        r#"{"args": ["github:a/b#0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"], "note": "use bearer tokens, and Authorization by it"}"#,
        r#"{"command": "awk '{print $1}' /a/b; echo \"a = b\"; [ -n \"$X\" ] && ls", "json": "{\"a\": [1, 2]}"}"#,
        r#"{"cli_auth_credentials_store": "file", "mcp_oauth_credentials_store": "keyring", "preferred_auth_method": "apikey"}"#,
        r#"{"mcpServers": {"g": {"authProviderType": "google_credentials", "oauth": {"authorizationUrl": "https://a.example/authorize", "tokenUrl": "https://a.example/token"}}}}"#,
        r#"{"env": {"ANTHROPIC_MODEL": "qwen3-235b-a22b-instruct-2507"}, "model": "qwen3-coder-30b-a3b-instruct", "image": "ghcr.io/a/b:v1.2.3"}"#,
        r#"{"permissions": {"deny": ["Bash(export TOKEN=*)", "Bash(srv --token *)", "Read(**/.secrets/*)"], "ask": ["Bash(curl -u me:x *)"]}}"#,
        r#"{"env": {"TOKENIZERS_PARALLELISM": "no"}, "args": ["--auth-timeout", "60"], "headers": {"X-A": "Bearer ${TOK:-none}"}}"#,
        r#"{"env_http_headers": {"X-Forge": "FORGE_HEADER", "Authorization": "FORGE_TOKEN"}, "shell_environment_policy": {"exclude": ["*TOKEN*", "AWS_*"]}}"#,
        r#"{"env": {"CLAUDE_CODE_MAX_OUTPUT_TOKENS": "32000", "MAX_THINKING_TOKENS": "8000", "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1"}}"#,
        r#"{"env": {"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "3600000", "DISABLE_COST_WARNINGS": "true", "USE_TOKEN": "false"}}"#,
        r#"{"permissions": {"allow": ["Bash(git log:*)", "WebFetch(domain:docs.example.org)", "mcp__forge__list_tokens"], "deny": ["Read(./.env)", "Read(./secrets/**)"]}}"#,
        r#"{"hooks": {"PostToolUse": [{"hooks": [{"type": "command", "command": "jq -r '.tool_input.file_path' | { read f; [ \"${f##*.}\" = ts ] && npx prettier --write \"$f\"; }"}]}]}}"#,
        r#"{"statusLine": {"type": "command", "command": "input=$(cat); echo \"[$(echo \"$input\" | jq -r .model.display_name)]\""}}"#,
        r#"{"mcpServers": {"a": {"command": "docker", "args": ["run", "-i", "--rm", "-e", "GITHUB_TOKEN", "ghcr.io/github/github-mcp-server"]}}}"#,
        r#"{"mcpServers": {"a": {"command": "npx", "args": ["-y", "@playwright/mcp@latest", "--viewport-size=1280x720", "--user-data-dir", "/home/me/.cache/pw"]}}}"#,
        r#"{"provider": {"p": {"npm": "@ai-sdk/openai-compatible", "options": {"baseURL": "http://127.0.0.1:1234/v1"}, "models": {"qwen/qwen3-coder-30b-a3b-instruct": {"name": "Qwen3 30B A3B 2507"}}}}}"#,
        r#"{"contextFileName": ["AGENTS.md"], "telemetry": {"enabled": false, "otlpEndpoint": "http://localhost:4317"}, "keybinds": {"leader": "ctrl+x"}}"#,
        "{ // keys that I like\n \"path\": \"/a/tokens\", \"name\": \"a=b\" }",
    ] {
        assert_eq!(json_of(text), Settings { text: text.to_owned(), left_out: Vec::new() });
    }
}

/// The name of a value may stand behind it, and a value may be a number.
#[test]
fn neither_order_nor_kind_hides_what_logs_in() {
    for (text, expected) in [
        (r#"{"env": [{"value": "abc", "name": "A_TOKEN"}]}"#, r#"{"env": [{"value": "", "name": "A_TOKEN"}]}"#),
        (r#"[{"value": "abc", "x": [{}], "name": "A_TOKEN"}]"#, r#"[{"value": "", "x": [{}], "name": "A_TOKEN"}]"#),
        (r#"{"value": 123456, "name": "A_TOKEN"}"#, r#"{"value": 0, "name": "A_TOKEN"}"#),
        (r#"{"name": "A_TOKEN", "value": 123456}"#, r#"{"name": "A_TOKEN", "value": 0}"#),
        (r#"{"env": {"A_TOKEN": 123456, "N": 5}}"#, r#"{"env": {"A_TOKEN": "${A_TOKEN}", "N": 5}}"#),
        (r#"{"apiKey": -123456.5e3,"password": 1234}"#, r#"{"apiKey": 0,"password": 0}"#),
        (r#"{"args": ["--token", 123456, "--level", 123456]}"#, r#"{"args": ["--token", 0, "--level", 123456]}"#),
    ] {
        let settings = json_of(text);
        assert_eq!(settings.text, expected);
        assert!(!settings.left_out.is_empty());
        assert_eq!(json_of(&settings.text), Settings { text: settings.text.clone(), left_out: Vec::new() });
    }
    let toml = "password = 123456 # mine\n[[env]]\nvalue = \"abc\"\nname = \"A_TOKEN\"\n";
    let settings = without_credentials(toml, Form::Toml, "").unwrap();
    assert_eq!(settings.text, toml.replace("123456", "0").replace("abc", ""));
    // Numbers of tokens, and names of what is none.
    for text in [
        r#"{"maxTokens": 200000, "tokens": 200000, "keyDelay": 5000, "key": 13, "token_budget": 4096, "authTimeout": 30000}"#,
        r#"[{"value": "abc", "name": "LEVEL"}, {"value": "def"}, {"name": "A_TOKEN"}, {"value": "ghi", "a": {"name": "A_TOKEN"}}]"#,
    ] {
        assert_eq!(json_of(text), Settings { text: text.to_owned(), left_out: Vec::new() });
    }
}

#[test]
fn what_logs_in_is_left_out_of_toml() {
    let text = r#"model = "m" # mine
[mcp_servers.forge]
command = "forge"
args = ["--token", "abc"]
env = { FORGE_TOKEN = "s3cret", LOG_LEVEL = "debug" }
bearer_token_env_var = "FORGE_TOKEN"
[mcp_servers.far.http_headers]
X-Key = "abc" # theirs
[[profiles]]
experimental_bearer_token = "abc"
env_key = "OPENAI_API_KEY"
"#;
    let settings = without_credentials(text, Form::Toml, "").unwrap();
    let expected = text
        .replace("\"--token\", \"abc\"", "\"--token\", \"\"")
        .replace("\"s3cret\"", "\"\"")
        .replace("X-Key = \"abc\"", "X-Key = \"\"")
        .replace("experimental_bearer_token = \"abc\"", "experimental_bearer_token = \"\"");
    assert_eq!(settings.text, expected);
    assert_eq!(settings.left_out.len(), 4);
    assert!(without_credentials("a = ", Form::Toml, "").is_err());
}

#[test]
fn keys_of_known_makers_are_found_wherever_they_are() {
    for known in
        ["sk-ant-0123456789abcdef", "ghp_0123456789abcdef", "AKIA0123456789ABCDEF", "-----BEGIN PRIVATE KEY-----"]
    {
        let text = format!("{{\"note\": [\"{known}\"]}}");
        assert_eq!(json_of(&text).text, "{\"note\": [\"\"]}");
    }
    for other in ["sk-learn", "ssh://git@host/x", "https://host/a@b:c", "https://host/?page=key", "a token of thanks"] {
        let text = format!("{{\"note\": [\"{other}\"]}}");
        assert_eq!(json_of(&text).text, text);
    }
}

#[test]
fn servers_of_the_user_and_of_the_project() {
    let text = r#"{"numStartups": 3, "mcpServers": {"a": {"command": "a"}, "b": {"command": "b"}},
        "projects": {"/p.q": {"mcpServers": {"b": {"command": "c"}}}}}"#;
    let local = |project: &str| ["projects", project, "mcpServers"].map(str::to_owned);
    let found = |text, project: &str| servers(text, "mcpServers", &local(project)).unwrap();
    assert_eq!(found(text, "/p.q").unwrap(), r#"{"mcpServers":{"a":{"command":"a"},"b":{"command":"c"}}}"#);
    assert_eq!(found(text, "/p").unwrap(), r#"{"mcpServers":{"a":{"command":"a"},"b":{"command":"b"}}}"#);
    assert_eq!(found("{}", "/p"), None);
    assert_eq!(servers(r#"{"a": {}}"#, "b", &[]), Ok(None));
    assert!(servers("{", "a", &[]).is_err());
}

/// Broken settings are no way around, nor a crash.
#[test]
fn what_is_no_json() {
    // With a quote missing, what is a value is a key.
    let quote = r#"{"env": {"A": "x, "A_TOKEN": "Hunter2pw", "B": "y"}}"#;
    for text in [r#"{"env": {"A_KEY": "abc", "#, r#"}]{"token": "abc"#, quote, &"[".repeat(100_000)] {
        assert_eq!(without_credentials(text, Form::Json, "").unwrap_err(), "it is no JSON");
    }
    assert_eq!(json_of("").text, "");
}

#[test]
fn what_logs_in_is_left_out_of_variables() {
    let of = |text: &str| without_credentials(text, Form::Variables, "").unwrap();
    let text = "LEVEL=2\nKEY_FILE=\"-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc\n-----END PRIVATE KEY-----\" # mine\n\
        API_TOKEN: Hunter2\nNOTE='two\nlines'\nexport A_SECRET=`x\ny`\nOPEN=\"no end\nLAST=x\n";
    let settings = of(text);
    assert_eq!(settings.text, "LEVEL=2\n\n\n\n\n\nNOTE='two\nlines'\n\n\nOPEN=\"no end\nLAST=x\n");
    assert_eq!(settings.left_out, ["env.KEY_FILE", "env.API_TOKEN", "env.A_SECRET"]);
    let config = "[core]\n\tbare = false\n[url \"https://me:tok@x.example/\"]\n\tinsteadOf = https://x.example/\n\
        [http]\n\textraHeader = Authorization: Basic abc\n[remote \"o\"]\n\turl = git@x.example:y.git\n";
    let left = "[core]\n\tbare = false\n\n\tinsteadOf = https://x.example/\n[http]\n\n[remote \"o\"]\n\turl = git@x.example:y.git\n";
    assert_eq!(of(config).text, left);
}

/// Each value goes on where another reader of such files would say that it ends.
#[test]
fn what_goes_on_in_a_next_line_is_left_out_with_the_first() {
    let of = |text: &str| without_credentials(text, Form::Variables, "").unwrap();
    for (text, left) in [
        ("MULTI_SECRET=\"x\\\"\nHunter68\"\nLEVEL=2\n", "\n\nLEVEL=2\n"),
        ("A_SECRET='x\\'\nHunter68'\nLEVEL=2\n", "\n\nLEVEL=2\n"),
        ("A_SECRET=\"x\\\" y\"\nLEVEL=2\n", "\nLEVEL=2\n"),
        // No other quote follows.
        ("A_SECRET=\"x\\\"\nLEVEL=2\n", "\nLEVEL=2\n"),
        ("DIR=\"C:\\a\\\"\nLEVEL=2\n", "DIR=\"C:\\a\\\"\nLEVEL=2\n"),
        ("DIR=\"C:\\a\\\"\nA_TOKEN=Hunter69\nB=\"x\"\nC=1\n", "\n\n\nC=1\n"),
        ("[http]\n\textraheader = Authorization: \\\n  Basic SHVudGVyNzY6eA==\n[core]\n", "[http]\n\n\n[core]\n"),
        ("[a]\r\n\turl = https://me:\\\r\nHunter70@x.example\r\n[core]\r\n", "[a]\r\n\n\n[core]\r\n"),
        ("DIR=C:\\a\\\nA_TOKEN=Hunter72\nB=1\n", "\n\nB=1\n"),
        ("; a \\\nA_TOKEN=Hunter71\n# b \\\nB=2\n", "; a \\\n\n# b \\\nB=2\n"),
        ("A=b\\\\\nB=c \\\n d\nC=e\\", "A=b\\\\\nB=c \\\n d\nC=e\\"),
    ] {
        assert_eq!(of(text).text, left, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_is_a_crash(text in "[\\[\\]{}:,\"/*\\\\a\n $-]{0,80}", known in any::<bool>()) {
        let _ = without_credentials(&text, Form::Variables, "");
        let _ = without_credentials(&format!("---\n{text}\n---\n"), Form::FrontMatter, "");
        let form = if known { Form::Json } else { Form::Toml };
        if let Ok(settings) = without_credentials(&text, form, "${{}}")
            && form == Form::Json && settings.left_out.is_empty()
        {
            prop_assert_eq!(settings.text, text);
        }
    }
}

#[test]
fn of_a_text_only_the_settings_before_it_are_looked_at() {
    let of = |text: &str| without_credentials(text, Form::FrontMatter, "").unwrap();
    let text = "---\nname: scan\ndescription: 'Finds tokens: theirs'\nmodel: opus\nmax-tokens: 8\ntools: Bash(*), Read\n---\n\
        # Use\nAPI_KEY: Hunter30agent\n";
    assert_eq!(of(text), Settings { text: text.to_owned(), left_out: Vec::new() });
    let servers = "---\r\nname: ag\r\nmcpServers:\r\n  x:\r\n    command: x\r\n    args:\r\n      - --api-key\r\n      - Hunter31\r\n      - --level\r\n      - high\r\n    env:\r\n      \
        API_KEY: Hunter30agent\r\n      \"B_TOKEN\": 'Hunter32'\r\n    headers: {\"Authorization\": \"Bearer Hunter33abc\"}\r\n  y:\r\n    args: [\"--token\", \"Hunter34\"]\r\n    \
        url: https://me:Hunter35@x.example\r\n---\r\ntext\r\n";
    let found = of(servers);
    assert!(!found.text.contains("Hunter"), "{}", found.text);
    assert!(found.text.contains("- --level\r\n      - high\r\n"), "{}", found.text);
    assert!(found.text.ends_with("---\r\ntext\r\n") && found.text.lines().count() == servers.lines().count());
    assert_eq!(found.left_out.len(), 6, "{:?}", found.left_out);
    // What does not begin with them has none.
    for text in ["API_KEY: Hunter36\n---\n---\n", "----\nAPI_KEY: Hunter36\n---\n", ""] {
        assert_eq!(of(text).text, text);
    }
    // Some readers take other lines for their end, or the end of the text.
    for (text, left) in [
        ("---\nAPI_KEY: Hunter36\nb: c\n--- # x\nTOKEN: Hunter37\n", "---\n\nb: c\n--- # x\nTOKEN: Hunter37\n"),
        ("\u{feff}---yaml\nAPI_KEY: Hunter36\n...\ntext\n", "\u{feff}---yaml\n\n...\ntext\n"),
        ("---\na: b---\nAPI_KEY: Hunter36\n# Use\ntext\n", "---\na: b---\n\n# Use\ntext\n"),
        ("---\nAPI_KEY: Hunter36\n", "---\n\n"),
    ] {
        let found = of(text);
        assert_eq!((found.text.as_str(), found.left_out.len()), (left, 1), "{text}");
    }
}

#[test]
fn a_value_of_yaml_is_left_out_with_all_its_lines() {
    let of = |front: &str| {
        let settings =
            without_credentials(&format!("---\n{front}---\nAPI_KEY: text\n"), Form::FrontMatter, "").unwrap();
        let front = settings.text.strip_prefix("---\n").unwrap().strip_suffix("---\nAPI_KEY: text\n").unwrap();
        (front.to_owned(), settings.left_out)
    };
    for (front, left) in [
        ("API_KEY: >\n  Hunter71folded\nname: x\n", "\n\nname: x\n"),
        ("PASSWORD: |\n  Hunter72lit\n\n    Hunter73 more\nname: x\n", "\n\n\n\nname: x\n"),
        ("env:\n  A_TOKEN: |-\n    Hunter74\n  LEVEL: 2\nname: x\n", "env:\n\n\n  LEVEL: 2\nname: x\n"),
        ("list:\n  - A_TOKEN: >+2\n      Hunter75\n    name: x\n  - b\n", "list:\n  -\n\n    name: x\n  - b\n"),
        ("args:\n  - --token\n  - >\n    Hunter76\n  - x\n", "args:\n  - --token\n\n\n  - x\n"),
        // Its value may begin in the next line.
        ("API_KEY:\n\n  # mine\n  Hunter77\nname: x\n", "\n\n\n\nname: x\n"),
        ("API_KEY:\n  \"Hunter78\n  Hunter79\"\nname: x\n", "\n\n\nname: x\n"),
        ("API_KEY: Hunter80\n  Hunter81\nname: x\n", "\n\nname: x\n"),
        ("API_KEY: \"x\\\" Hunter82\n  y\"\nname: 'a\\'\nlevel: 'b'\n", "\n\nname: 'a\\'\nlevel: 'b'\n"),
    ] {
        let (text, left_out) = of(front);
        assert_eq!(text, left, "{front}");
        assert_eq!(left_out.len(), 1, "{left_out:?}");
    }
    for front in [
        "description: |\n  Does it.\n\n  And more\nname: x\n",
        "auth:\n  type: oauth\n  scopes:\n    - read\nname: x\n",
        "names:\n- token\nAPI_KEY:\n  \"$API_KEY\"\n",
        "API_KEY:\nname: x\n",
    ] {
        assert_eq!(of(front), (front.to_owned(), Vec::new()));
    }
}

/// The same is looked for as in other settings, however it is written.
#[test]
fn yaml_is_left_out_by_the_same_rules() {
    let of = |front: &str| {
        let settings = without_credentials(&format!("---\n{front}---\ntext\n"), Form::FrontMatter, "").unwrap();
        let front = settings.text.strip_prefix("---\n").unwrap().strip_suffix("---\ntext\n").unwrap();
        (front.to_owned(), settings.left_out)
    };
    let list = "mcpServers:\n  - forge:\n      type: http\n      url: https://a.example/\n      headers:\n        X-Team: LEAK\n        Accept: x\n";
    for (front, left) in [
        (list, list.replace("        X-Team: LEAK", "")),
        ("headers: {X-Team: LEAK}\nname: x\n", "\nname: x\n".to_owned()),
        (
            "a:\n  headers: {\n    Accept: x,\n    \"X-Team\":LEAK\n  } # mine\nname: x\n",
            "a:\n\n\n\n\nname: x\n".to_owned(),
        ),
        ("options: {a: [1, {headers: {X-Team: LEAK}}]}\n", "\n".to_owned()),
        ("options:\n  headers:\n    X-Team:\n      LEAK\n  b: c\n", "options:\n  headers:\n\n\n  b: c\n".to_owned()),
        ("args:\n- --token\n- LEAK\n- x\nname: x\n", "args:\n- --token\n\n- x\nname: x\n".to_owned()),
        ("LIST_TOKENS:\n- LEAK\n- LEAK\nname: x\n", "LIST_TOKENS:\n\n\nname: x\n".to_owned()),
        ("command: >\n  forge\n  --token\n  LEAK\nname: x\n", "\n\n\n\nname: x\n".to_owned()),
        ("command: forge\n  --token\n  LEAK\nname: x\n", "\n\n\nname: x\n".to_owned()),
        ("args: [--token, LEAK,\n  x]\nname: x\n", "\n\nname: x\n".to_owned()),
        ("env:\n  - name: A_TOKEN\n    value: LEAK\n", "env:\n  - name: A_TOKEN\n\n".to_owned()),
        ("env:\n  - value: LEAK\n    name: A_TOKEN\n", "env:\n  -\n    name: A_TOKEN\n".to_owned()),
        ("url: \"https://LEAK@a.example/b\"\n", "url: \"https://a.example/b\"\n".to_owned()),
        ("url: https://a.example/b?token=LEAK # mine\n", "url: \"https://a.example/b\" # mine\n".to_owned()),
        ("note: |\n  To do:\n  A_TOKEN=LEAK\nname: x\n", "\n\n\nname: x\n".to_owned()),
        ("note: \"To do:\\nA_TOKEN: LEAK\"\nname: x\n", "\nname: x\n".to_owned()),
        ("name: x # token: LEAK\n", "name: x \n".to_owned()),
        ("{headers: {X-Team: LEAK}}\n", "\n".to_owned()),
        ("- A_TOKEN: LEAK\n- - A_TOKEN: LEAK\n", "-\n- -\n".to_owned()),
    ] {
        for (front, left) in [(front.to_owned(), left.clone()), (front.replace('\n', "\r\n"), left)] {
            let (text, left_out) = of(&front);
            assert_eq!(text.replace('\r', ""), left, "{front}");
            assert!(!left_out.is_empty(), "{front}");
        }
    }
    // What is not known as a whole.
    for (front, left) in [
        ("name: x\n? A_TOKEN\n: LEAK\nmodel: y\n", "name: x\n\n\nmodel: y\n"),
        ("a: &b\n  X-Team: LEAK\nheaders: *b\n", "\n\nheaders: *b\n"),
        ("headers: !!map\n  X-Team: LEAK\nname: x\n", "\n\nname: x\n"),
        ("mcp:\n  a:\n    b: c\n   headers:\n    X-Team: LEAK\nname: x\n", "\n\n\n\n\nname: x\n"),
        ("a:\n\theaders:\n\t\tX-Team: LEAK\nname: x\n", "\n\n\nname: x\n"),
        ("name: x\na: \"LEAK\nLEAK\"\nb: LEAK\n", "name: x\n\n\n\n"),
        ("name: x\na: {b: c,\nd: LEAK\n", "name: x\n\n\n"),
        ("name: x\rA_TOKEN: LEAK\n", "\n"),
    ] {
        let (text, left_out) = of(front);
        assert_eq!((text.as_str(), left_out.len()), (left, 1), "{front}: {left_out:?}");
        assert!(left_out[0].ends_with(" (written in a way that is not looked at)"), "{left_out:?}");
    }
    // What agents understand otherwise than YAML does.
    for front in [
        "description: Use it when: all is done. <example>Context: \\n'token: x'</example>\nargument-hint: [--fix] [path]\npaths: **/*.ts\n",
        "paths: {src,lib}/**/*.ts\nallowed-tools: Bash(git add:*), Bash(gh api:*)\ntools: *\nname: 'tis\nmodel: x\n",
        "description: |\n  The auth module: do it.\n  Then\n\n\nhooks:\n  PreToolUse:\n    - matcher: \"Bash\"\n      hooks:\n        - type: command\n          command: \"./x.sh\"\n",
        "a: [b, 'c''d', \"e\", {f: g, h}, [i]]\nb: {}\nc: []\nd:\ne: ~\n",
    ] {
        assert_eq!(of(front), (front.to_owned(), Vec::new()));
    }
}

/// An agent may refuse all settings for one that is none.
#[test]
fn an_address_stays_one() {
    for (address, left) in [
        ("https://audit.example/h?token=abc", "https://audit.example/h"),
        ("https://me:abc@audit.example:8443/h#x", "https://audit.example:8443/h"),
        ("https://hooks.example/services/0a1b2c3d4e5f6g7h8i9j", "https://hooks.example/"),
        ("https://x.example?sig=abc", "https://x.example"),
        ("git+ssh://me:abc@x.example/a;token=abc", "git+ssh://x.example/"),
    ] {
        let hook =
            |url: &str| format!(r#"{{"hooks": {{"Stop": [{{"hooks": [{{"type": "http", "url": "{url}"}}]}}]}}}}"#);
        assert_eq!(
            json_of(&hook(address)),
            Settings { text: hook(left), left_out: vec!["hooks.Stop.hooks.url".to_owned()] }
        );
        let server = |url: &str| format!("[mcp_servers.a]\nurl = \"{url}\"\n");
        let settings = without_credentials(&server(address), Form::Toml, "").unwrap();
        assert_eq!(settings.text, server(left));
    }
    // A variable may be lent.
    let text = r#"{"env": {"DATABASE": "https://me:abc@x.example/"}, "apiKey": "https://x.example/"}"#;
    assert_eq!(json_of(text).text, r#"{"env": {"DATABASE": "${DATABASE}"}, "apiKey": ""}"#);
}

/// However deep or long it is.
#[test]
fn no_yaml_is_too_much() {
    for front in
        ["- ".repeat(50_000), "[".repeat(50_000), "{a: ".repeat(50_000), "\"".repeat(50_001), "a:\n".repeat(50_000)]
    {
        let _ = without_credentials(&format!("---\n{front}\n---\n"), Form::FrontMatter, "");
    }
    let deep: String = (0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let settings = without_credentials(&format!("---\n{deep}---\n"), Form::FrontMatter, "").unwrap();
    assert_eq!(settings.left_out, ["a (written in a way that is not looked at)"]);
}

#[test]
fn what_is_called_by_what_logs_in_is_called_otherwise() {
    let of = |text: &str, form| without_credentials(text, form, "").unwrap();
    let json = r#"{"permission": {"bash": {"GH_TOKEN=ghp_abcdEFGH1234abcdEFGH *": "allow", "curl https://me:Hunter2@x.example": "deny", "ls": "allow"}}}"#;
    let found = of(json, Form::Json);
    assert_eq!(
        found.text,
        r#"{"permission": {"bash": {"agentkernel-left-this-out-1": "allow", "agentkernel-left-this-out-2": "deny", "ls": "allow"}}}"#
    );
    assert_eq!(found.left_out, ["a key of permission.bash", "a key of permission.bash"]);
    let toml = "[a]\n\"https://me:Hunter2@x.example\" = 1\nb = { \"K_TOKEN=Hunter2\" = 2, c = 3 }\n[\"PASSWORD=Hunter2\"]\nd = 4\n";
    let found = of(toml, Form::Toml);
    assert_eq!(found.text, "[a]\nb = { c = 3 }\n");
    assert_eq!(found.left_out, ["a key", "a key of a", "a key of a.b"]);
    let yaml = "---\na:\n  \"K_TOKEN=Hunter2\": 1\n  b: 2\n---\n";
    let found = of(yaml, Form::FrontMatter);
    assert_eq!(found, Settings { text: "---\na:\n\n  b: 2\n---\n".into(), left_out: vec!["a key of a".into()] });
    // A rule that keeps something from being done stays, unless nothing but what logs in looks so.
    let rules = r#"{"permission": {"bash": {"export TOKEN=*": "deny", "srv --token *": "ask"}}}"#;
    assert_eq!(of(rules, Form::Json), Settings { text: rules.into(), left_out: vec![] });
    let rules = "---\npermission:\n  bash:\n    \"export TOKEN=*\": deny\n---\n";
    assert_eq!(of(rules, Form::FrontMatter), Settings { text: rules.into(), left_out: vec![] });
    // What is only named so has its name.
    let text = r#"{"Authorization": "", "a: b": {"a=b": 1}, "https://x.example/a?b=c": {}}"#;
    assert_eq!(of(text, Form::Json), Settings { text: text.into(), left_out: vec![] });
}

#[test]
fn what_logs_in_is_found_in_other_guises() {
    let of = |text: &str, form| without_credentials(text, form, "").unwrap();
    for json in [
        r#"{"permissions": {"allow": ["Bash(curl -d '{\"password\":\"Hunter2Xy\"}' x)"]}}"#,
        r#"{"hooks": {"Stop": [{"command": "curl -d '[{\"a\": {\"apiKey\": \"Hunter2\"}}]' x"}]}}"#,
        r#"{"secret": {"nested": {"deep": "Hunter2"}}}"#,
    ] {
        let found = of(json, Form::Json);
        assert!(!found.text.contains("Hunter2") && found.left_out.len() == 1, "{json}: {found:?}");
    }
    let yaml = of("---\nname: x\n\"api\\x4bey\": Hunter2\nb: \"\\u0041\"\n---\n", Form::FrontMatter);
    assert_eq!(yaml.text, "---\nname: x\n\nb: \"\\u0041\"\n---\n");
    assert_eq!(Form::of(Path::new("a/SKILL.MD")), Some(Form::FrontMatter));
    // What has nothing of it is as it was.
    let text = r#"{"a": "curl -d '{\"q\": \"x\", \"key\": \"$K\"}' y", "b": "[x] {y}", "secrets": {"mode": {"a": 1}}}"#;
    assert_eq!(of(text, Form::Json), Settings { text: text.into(), left_out: vec![] });
}
