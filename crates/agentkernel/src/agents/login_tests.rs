use super::super::tests::{Caller, embedded};
use super::*;
use crate::config;
use egress::Pattern;

fn hosts(names: &[&str]) -> Vec<Pattern> {
    names.iter().map(|name| config::parse_secret_host(name).unwrap()).collect()
}

fn placeholder(name: &str) -> String {
    format!("agentkernel-{name}-0123")
}

#[test]
fn of_a_variable_the_sandbox_has_a_placeholder() {
    let mut caller = Caller::new();
    caller.set("GEMINI_API_KEY", "the real one");
    let lent = find(&embedded("gemini"), caller.host()).unwrap().unwrap().lend(placeholder).unwrap();
    assert_eq!(lent.files, []);
    let [secret] = &lent.secrets[..] else { panic!("{lent:?}") };
    assert_eq!(secret.source, SecretSource::Env("GEMINI_API_KEY".into()));
    assert_eq!(secret.env.as_deref(), Some("GEMINI_API_KEY"));
    assert_eq!(secret.hosts, hosts(&["generativelanguage.googleapis.com"]));
    assert!(secret.placeholder.starts_with("agentkernel-GEMINI_API_KEY-"));
    let allowed: Vec<String> = lent.allow().iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["generativelanguage.googleapis.com:443"]);
}

#[test]
fn a_variable_may_be_another_one_inside() {
    let mut caller = Caller::new();
    caller.set("OPENAI_API_KEY", "the real one");
    let lent = find(&embedded("codex"), caller.host()).unwrap().unwrap().lend(placeholder).unwrap();
    assert_eq!(lent.secrets[0].source, SecretSource::Env("OPENAI_API_KEY".into()));
    assert_eq!(lent.secrets[0].env.as_deref(), Some("CODEX_API_KEY"));
}

#[test]
fn of_a_file_the_sandbox_has_one_of_the_same_shape_without_its_secrets() {
    let caller = Caller::new();
    let claims = "eyJlbWFpbCI6Im1lQGV4YW1wbGUub3JnIn0";
    let token = format!("eyJhbGciOiJSUzI1NiJ9.{claims}.the-signature");
    let auth = format!(
        r#"{{"auth_mode":"chatgpt","OPENAI_API_KEY":null,"last_refresh":"2026-11-01","tokens":{{"account_id":"a",
            "id_token":"{token}","access_token":"not.a.token.of.three","refresh_token":"real-refresh"}}}}"#
    );
    let path = caller.write("home/.codex/auth.json", &auth);
    let login = find(&embedded("codex"), caller.host()).unwrap().unwrap();
    assert_eq!(login.to_string(), "~/.codex/auth.json");
    let lent = login.lend(placeholder).unwrap();
    let [(place, text)] = &lent.files[..] else { panic!("{lent:?}") };
    assert_eq!(place, Path::new(".codex/auth.json"));
    for real in ["the-signature", "real-refresh", "not.a.token.of.three"] {
        assert!(!text.contains(real), "{text}");
    }
    let written: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!((&written["auth_mode"], &written["tokens"]["account_id"]), (&"chatgpt".into(), &"a".into()));
    assert!(written["OPENAI_API_KEY"].is_null());
    // Each placeholder is what stands there, and what it says is what the agent reads in it.
    assert_eq!(lent.secrets.len(), 3);
    for secret in &lent.secrets {
        let SecretSource::Field { file, keys } = &secret.source else { panic!("{secret:?}") };
        assert_eq!(*file, path);
        assert_eq!(written[&keys[0]][&keys[1]], secret.placeholder.as_str());
        assert_eq!((&secret.env, &secret.file), (&None, &None));
        let expected = if keys[1] == "access_token" { "chatgpt.com" } else { "auth.openai.com" };
        assert_eq!(secret.hosts, hosts(&[expected]));
        if keys[1] == "id_token" {
            assert_eq!(secret.placeholder.split('.').nth(1), Some(claims));
        }
    }
    let allowed: Vec<String> = lent.allow().iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["chatgpt.com:443", "auth.openai.com:443"]);
    // What egress puts in is the field's value when the sandbox starts.
    let gathered = config::gather(&lent.secrets, caller.host()).unwrap();
    let values: Vec<&[u8]> = gathered.iter().map(|(_, value)| value.expose()).collect();
    assert!(values.contains(&"real-refresh".as_bytes()) && values.contains(&token.as_bytes()));
    std::fs::write(&path, "{}").unwrap();
    let error = config::gather(&lent.secrets, caller.host()).err().unwrap().to_string();
    assert!(error.ends_with("auth.json has no `tokens.access_token`"), "{error}");
}

#[test]
fn a_file_that_is_none_shows_nothing_of_itself() {
    let caller = Caller::new();
    caller.write("home/.codex/auth.json", "{\"OPENAI_API_KEY\": secret-secret}");
    let error = find(&embedded("codex"), caller.host()).unwrap_err();
    assert!(
        error.to_string().ends_with("auth.json:1:20: it is no JSON") && !format!("{error:?}").contains("secret"),
        "{error:?}"
    );
}

#[test]
fn what_logs_in_is_listed_once() {
    let codex = accepted(&embedded("codex"));
    assert_eq!(codex, ["CODEX_API_KEY", "OPENAI_API_KEY", "~/.codex/auth.json"]);
    assert!(accepted(&embedded("shell")).is_empty());
}
