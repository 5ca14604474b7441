use super::super::{settings::without_credentials, tests::embedded};
use super::*;

const FILE: &str = ".gemini/settings.json";

fn gemini(text: Option<&str>, wishes: &[Wish], kept: bool) -> Option<serde_json::Value> {
    gemini_with(text, Given { wishes, login: None }, kept)
}

fn gemini_with(text: Option<&str>, given: Given<'_>, kept: bool) -> Option<serde_json::Value> {
    let preset = preset(&embedded("gemini"), Path::new(FILE), text, given, kept)?;
    // What was there stays as it was written.
    assert!(text.is_none_or(|text| preset.contains("// mine") == text.contains("// mine")), "{preset}");
    Some(serde_json::from_str(&preset.replace("// mine", "")).unwrap())
}

#[test]
fn what_the_user_has_not_set_is_set() {
    let all = gemini(None, &[], true).unwrap();
    assert_eq!(all["privacy"]["usageStatisticsEnabled"], false);
    assert_eq!(all["general"]["enableAutoUpdate"], false);
    assert_eq!(all["security"]["auth"]["selectedType"], "gemini-api-key");
    let text = "{ // mine\n  \"ui\": { \"theme\": \"Light\" }, \"general\": { \"enableAutoUpdate\": true }\n}";
    let some = gemini(Some(text), &[], false).unwrap();
    assert_eq!((&some["ui"]["theme"], &some["general"]["enableAutoUpdate"]), (&"Light".into(), &true.into()));
    assert_eq!(some["privacy"]["usageStatisticsEnabled"], false);
    // Once is enough; what is no settings is left alone.
    let whole = preset(&embedded("gemini"), Path::new(FILE), None, Given::default(), true).unwrap();
    assert_eq!(gemini(Some(&whole), &[], true), None);
    assert_eq!(gemini(Some("{ broken"), &[], true), None);
    assert_eq!(preset(&embedded("gemini"), Path::new(".gemini/other.json"), None, Given::default(), true), None);
}

#[test]
fn what_is_wished_is_not_set() {
    let none = gemini(None, &[Wish::Telemetry, Wish::Updates], true).unwrap();
    assert_eq!(none, serde_json::json!({"security": {"auth": {"selectedType": "gemini-api-key"}}}));
    let whole = preset(&embedded("gemini"), Path::new(FILE), None, Given::default(), true).unwrap();
    let less = gemini(Some(&whole), &[Wish::Telemetry], true).unwrap();
    assert!(less["privacy"]["usageStatisticsEnabled"].is_null() && less["general"]["enableAutoUpdate"] == false);
    // What the user has set himself is his.
    assert_eq!(gemini(Some(&whole), &[Wish::Telemetry], false), None);
}

#[test]
fn what_would_keep_it_from_working_stays_outside() {
    let of = |name: &str, file: &str, text: &str, wishes: &[Wish]| {
        let form = Form::of(Path::new(file)).unwrap();
        unset(&embedded(name), Path::new(file), text.to_owned(), form, Given { wishes, login: None })
    };
    let text = r#"{ "sandbox": { "enabled": true }, "permissions": { "disableBypassPermissionsMode": "disable", "deny": [] } }"#;
    let (left, taken) = of("claude", ".claude/settings.json", text, &[]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&left).unwrap(),
        serde_json::json!({"permissions": {"deny": []}})
    );
    assert_eq!(taken, ["sandbox", "permissions.disableBypassPermissionsMode"]);
    // Who is asked may have it so.
    assert_eq!(of("claude", ".claude/settings.json", text, &[Wish::Questions]).1, ["sandbox"]);
    let text = "# mine\nmodel_instructions_file = \"/home/me/x.md\"\nmodel = \"m\"\n";
    let expected = ("model = \"m\"\n".to_owned(), vec!["model_instructions_file".to_owned()]);
    assert_eq!(of("codex", ".codex/config.toml", text, &[]), expected);
    for text in ["{ broken", "{}", "[]", "a = 1"] {
        assert_eq!(of("claude", ".claude/settings.json", text, &[]), (text.to_owned(), vec![]));
    }
}

/// An agent that is told of one login and given another ends at once.
#[test]
fn what_logs_in_decides_over_settings_of_it() {
    let key = Given { login: Some("GEMINI_API_KEY"), ..Given::default() };
    let of_lines = Given { login: Some("~/.gemini/.env"), ..Given::default() };
    let file = Given { login: Some("~/.gemini/oauth_creds.json"), ..Given::default() };
    let kind = |text: Option<&str>, given, kept| {
        gemini_with(text, given, kept).map(|all| all["security"]["auth"]["selectedType"].as_str().unwrap().to_owned())
    };
    let of = |kind: &str| format!("{{ // mine\n \"security\": {{ \"auth\": {{ \"selectedType\": \"{kind}\" }} }}\n}}");
    for kept in [false, true] {
        for before in ["oauth-personal", "gemini-api-key", "vertex-ai"] {
            assert_eq!(kind(Some(&of(before)), key, kept).unwrap(), "gemini-api-key", "{before}");
            assert_eq!(kind(Some(&of(before)), of_lines, kept).unwrap(), "gemini-api-key", "{before}");
            assert_eq!(kind(Some(&of(before)), file, kept).unwrap(), "oauth-personal", "{before}");
        }
        assert_eq!(kind(None, key, kept).unwrap(), "gemini-api-key");
        assert_eq!(kind(None, file, kept).unwrap(), "oauth-personal");
    }
    // Whoever sees to it himself has what he has set, and not what we did before.
    assert_eq!(kind(Some(&of("oauth-personal")), Given::default(), false).unwrap(), "oauth-personal");
    assert_eq!(kind(Some(&of("oauth-personal")), Given::default(), true).unwrap(), "gemini-api-key");
    assert_eq!(kind(Some(&of("vertex-ai")), Given::default(), true).unwrap(), "vertex-ai");
}

#[test]
fn an_empty_variable_is_taken_out() {
    let text = "{ \"env\": { \"A\": \"\", \"B\": \"b\" } }".to_owned();
    let of = |name: &str| {
        let settings = Settings { text: text.clone(), left_out: vec![format!("env.{name}")] };
        without_empty(&settings, Form::Json, "")
    };
    let value: serde_json::Value = serde_json::from_str(&of("A")).unwrap();
    assert_eq!(value, serde_json::json!({"env": {"B": "b"}}));
    assert_eq!(of("B"), text);
}

#[test]
fn what_is_empty_now_is_not_there_where_it_may_be_missing() {
    let of = |text: &str, form, reference: &str, forward: &str| {
        let settings = without_credentials(text, form, reference).unwrap();
        assert!(!settings.left_out.is_empty(), "{text}");
        without_empty(&settings, form, forward)
    };
    let json = r#"{"provider": {"p": {"options": {"apiKey": "abc", "x": 1}}}, "mcp": {"a": {"url": "https://me:abc@x.example", "args": ["--token", "abc"]}}}"#;
    let expected = r#"{"provider": {"p": {"options": {"x": 1}}}, "mcp": {"a": {"url": "https://x.example", "args": ["--token", ""]}}}"#;
    assert_eq!(of(json, Form::Json, "{env:{}}", ""), expected);
    let toml = "# mine\napi_key = \"abc\"\nmodel = \"m\" # one\n[mcp_servers.a]\ncommand = \"x\"\nenv_vars = [\"HOME\"]\n\
        [mcp_servers.a.env]\nA_TOKEN = \"abc\"\nLEVEL = \"1\"\n[mcp_servers.b]\ncommand = \"y\"\nenv = { B_KEY = \"abc\" }\n\
        [mcp_servers.c]\nurl = \"https://me:abc@x.example\"\nhttp_headers = { Authorization = \"Bearer abc\" }\n[env]\nC_KEY = \"abc\"\n";
    let expected = "model = \"m\" # one\n[mcp_servers.a]\ncommand = \"x\"\nenv_vars = [\"HOME\", \"A_TOKEN\"]\n\
        [mcp_servers.a.env]\nLEVEL = \"1\"\n[mcp_servers.b]\ncommand = \"y\"\nenv = {}\nenv_vars = [\"B_KEY\"]\n\
        [mcp_servers.c]\nurl = \"https://x.example\"\nhttp_headers = {}\n[env]\n";
    assert_eq!(of(toml, Form::Toml, "", "env_vars").replace("{ }", "{}"), expected);
    assert!(!of(toml, Form::Toml, "", "").contains("B_KEY"));
}
