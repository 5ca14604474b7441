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
    let lent = find(&embedded("gemini"), caller.host()).unwrap().remove(0).lend(placeholder).unwrap();
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
fn of_a_file_of_variables_the_sandbox_has_a_variable() {
    let caller = Caller::new();
    let path = caller.write("home/.gemini/.env", "# mine\nGEMINI_API_KEY=\"the real one\"\nOTHER=x\n");
    let login = find(&embedded("gemini"), caller.host()).unwrap().remove(0);
    assert_eq!(login.to_string(), "~/.gemini/.env");
    let lent = login.lend(placeholder).unwrap();
    assert_eq!(lent.files, []);
    let [secret] = &lent.secrets[..] else { panic!("{lent:?}") };
    assert_eq!(secret.source, SecretSource::Field { file: path, keys: vec!["GEMINI_API_KEY".into()] });
    assert_eq!(secret.env.as_deref(), Some("GEMINI_API_KEY"));
}

#[test]
fn a_variable_may_be_another_one_inside() {
    let mut caller = Caller::new();
    caller.set("OPENAI_API_KEY", "the real one");
    let lent = find(&embedded("codex"), caller.host()).unwrap().remove(0).lend(placeholder).unwrap();
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
    let login = find(&embedded("codex"), caller.host()).unwrap().remove(0);
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
    let ([secret], [used]) = (&lent.secrets[..], &lent.logins[..]) else { panic!("{lent:?}") };
    let SecretSource::Field { file, keys } = &secret.source else { panic!("{secret:?}") };
    assert_eq!((file, &used.file), (&path, &path));
    assert_eq!(written[&keys[0]][&keys[1]], secret.placeholder.as_str());
    assert_eq!((&secret.env, &secret.file), (&None, &None));
    assert_eq!(secret.hosts, hosts(&["chatgpt.com"]));
    let Placeholders { access, refresh, id } = &used.login.placeholders;
    assert_eq!(*access, secret.placeholder);
    assert_eq!(written["tokens"]["refresh_token"], refresh.as_str());
    assert_eq!(written["tokens"]["id_token"], id.as_deref().unwrap());
    assert_eq!(id.as_ref().unwrap().split('.').nth(1), Some(claims));
    assert_ne!(written["last_refresh"], "2026-11-01");
    // Of whoever renews it nothing else is allowed.
    let allowed: Vec<String> = lent.allow().iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["chatgpt.com:443", "auth.openai.com:443"]);
    let requests = &lent.allow()[1].requests;
    assert!(requests.allows("POST", "/oauth/token") && !requests.allows("POST", "/oauth") && !requests.is_every());
    // What egress puts in is the field's value when the sandbox starts.
    let gathered = config::gather(&lent.secrets, &config::Seen::default(), caller.host()).unwrap();
    let values: Vec<&[u8]> = gathered.iter().map(|(_, value)| value.expose()).collect();
    assert_eq!(values, ["not.a.token.of.three".as_bytes()]);
    std::fs::write(&path, "{}").unwrap();
    let error = config::gather(&lent.secrets, &config::Seen::default(), caller.host()).err().unwrap().to_string();
    assert!(error.ends_with("auth.json has no `tokens.access_token`"), "{error}");
}

#[test]
fn what_the_sandbox_has_is_valid_for_long() {
    let caller = Caller::new();
    let (old, now) = (1_700_000_000_000_u64, super::SystemTime::now());
    let now = now.duration_since(super::UNIX_EPOCH).unwrap().as_millis() as u64;
    let text = format!(
        r#"{{"claudeAiOauth":{{"accessToken":"real-access","refreshToken":"real-refresh","expiresAt":{old},
            "scopes":["user:inference","user:profile"],"subscriptionType":"max"}}}}"#
    );
    let path = caller.write("home/.claude/.credentials.json", &text);
    let login = find(&embedded("claude"), caller.host()).unwrap().remove(0);
    assert_eq!(login.valid_until().unwrap(), Some((old, true)));
    let lent = login.lend(placeholder).unwrap();
    let written: serde_json::Value = serde_json::from_str(&lent.files[0].1).unwrap();
    let told = &written["claudeAiOauth"];
    // No longer than a timer of JavaScript.
    assert!((now + 1_000_000_000..now + (1 << 31)).contains(&told["expiresAt"].as_u64().unwrap()), "{told}");
    assert_eq!((&told["subscriptionType"], &told["scopes"][1]), (&"max".into(), &"user:profile".into()));
    assert!(!lent.files[0].1.contains("real-"), "{}", lent.files[0].1);
    let login = &lent.logins[0].login;
    assert_eq!(login.scope.as_deref(), Some("user:inference user:profile"));
    assert_eq!(login.name, "the login of ~/.claude/.credentials.json");
    assert!(
        login.remedy.contains("`claude auth login`") && login.remedy.ends_with("`agentkernel agents login claude`")
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    // Of a token of three parts, that itself says so.
    let token = format!("h.{}.s", URL_SAFE_NO_PAD.encode(r#"{"exp":1700000000,"sub":"me"}"#));
    let auth = format!(r#"{{"tokens":{{"access_token":"{token}","refresh_token":"r"}}}}"#);
    caller.write("home/.codex/auth.json", &auth);
    let login = find(&embedded("codex"), caller.host()).unwrap().remove(0);
    assert_eq!(login.valid_until().unwrap(), Some((old, true)));
    let placeholder = login.lend(placeholder).unwrap().secrets[0].placeholder.clone();
    assert!(egress::token_expiry(placeholder.as_bytes()).unwrap() > now + (1 << 31));
    let claims = URL_SAFE_NO_PAD.decode(placeholder.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&claims).unwrap()["sub"], "me");
}

#[test]
fn what_cannot_be_renewed_is_lent_as_it_is() {
    let caller = Caller::new();
    caller.write("home/.gemini/oauth_creds.json", r#"{"access_token":"real","expiry_date":1700000000000}"#);
    let login = find(&embedded("gemini"), caller.host()).unwrap().remove(0);
    let lent = login.lend(placeholder).unwrap();
    assert_eq!((lent.secrets.len(), lent.logins.len()), (1, 0));
    assert!(lent.files[0].1.contains("1700000000000"), "{}", lent.files[0].1);
}

#[test]
fn a_link_is_followed_now_and_not_later() {
    let caller = Caller::new();
    let real = caller.write("home/dotfiles/auth.json", r#"{"openai":{"access":"a","refresh":"r","expires":5}}"#);
    let place = caller.host().own_home().join(".local/share/opencode");
    std::fs::create_dir_all(&place).unwrap();
    std::os::unix::fs::symlink(&real, place.join("auth.json")).unwrap();
    let lent = find(&embedded("opencode"), caller.host()).unwrap().remove(0).lend(placeholder).unwrap();
    assert_eq!(lent.logins[0].file, real);
    assert_eq!(lent.files[0].0, Path::new(".local/share/opencode/auth.json"));
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
    assert_eq!(codex, ["CODEX_API_KEY", "~/.codex/auth.json", "OPENAI_API_KEY"]);
    assert!(accepted(&embedded("shell")).is_empty());
}

#[test]
fn what_else_a_file_holds_stays_outside() {
    let caller = Caller::new();
    let lend = |agent: &str, path: &str, text: &str| {
        caller.write(&format!("home/{path}"), text);
        let lent = find(&embedded(agent), caller.host()).unwrap().remove(0).lend(placeholder).unwrap();
        let [(_, text)] = &lent.files[..] else { panic!("{lent:?}") };
        assert!(!text.contains("REAL"), "{text}");
        serde_json::from_str::<serde_json::Value>(text).unwrap()
    };
    let written = lend(
        "opencode",
        ".local/share/opencode/auth.json",
        r#"{"anthropic":{"type":"api","key":"REAL1"},"openai":{"type":"wellknown","token":"REAL2"},
            "github-copilot":{"type":"oauth","refresh":"REAL3","access":"REAL4","expires":0},
            "perplexity":{"type":"api","key":"REAL5"}}"#,
    );
    let key = "agentkernel-anthropic_key-0123";
    assert_eq!(written, serde_json::json!({"anthropic": {"type": "api", "key": key}}));
    let written = lend(
        "claude",
        ".claude/.credentials.json",
        r#"{"claudeAiOauth":{"accessToken":"REAL1","refreshToken":"REAL2","expiresAt":1,"scopes":["a"],"subscriptionType":"max",
            "future":"REAL3"},"mcpOAuth":{"srv":{"accessToken":"REAL4","clientSecret":"REAL5"}}}"#,
    );
    let keys: Vec<&String> = written["claudeAiOauth"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["accessToken", "expiresAt", "refreshToken", "scopes", "subscriptionType"]);
    // The token that says who logged in is replaced, also where nothing is renewed.
    let token = format!("h.{}.REAL2", URL_SAFE_NO_PAD.encode(r#"{"email":"me@example.org"}"#));
    let auth = format!(
        r#"{{"auth_mode":"chatgpt","tokens":{{"access_token":"REAL1","id_token":"{token}","account_id":"a"}},
            "agent_identity":{{"agent_private_key":"REAL3"}},"personal_access_token":"REAL4"}}"#
    );
    let written = lend("codex", ".codex/auth.json", &auth);
    assert_eq!((&written["auth_mode"], &written["tokens"]["account_id"]), (&"chatgpt".into(), &"a".into()));
    assert!(written["tokens"]["id_token"].as_str().unwrap().starts_with("h.ey"));
    assert_eq!(written.as_object().unwrap().len(), 2);
    // Keys through what is no object lead nowhere.
    let mut value = serde_json::json!({"a": 1});
    place_in(&mut value, &["a".to_owned(), "b".to_owned()], 2.into());
    assert_eq!(value, serde_json::json!({"a": {"b": 2}}));
}

/// What else stands in a file of several services stays outside, and is told.
#[test]
fn services_that_are_not_lent_are_named() {
    let caller = Caller::new();
    let auth = r#"{"groq":{"type":"api","key":"REAL1"},"github-copilot":{"type":"oauth","refresh":"REAL2"},
        "anthropic":{"type":"oauth","access":"REAL3"},"opencode":{"type":"api","key":"REAL4"},"note":"x"}"#;
    caller.write("home/.local/share/opencode/auth.json", auth);
    let opencode = embedded("opencode");
    let others = vec!["anthropic".to_owned(), "github-copilot".to_owned()];
    assert_eq!(not_lent(&opencode, caller.host()), Some((".local/share/opencode/auth.json".into(), others)));
    let lent = Lent::of(&find(&opencode, caller.host()).unwrap(), placeholder).unwrap();
    let hosts: Vec<String> = lent.secrets.iter().flat_map(|it| &it.hosts).map(ToString::to_string).collect();
    assert_eq!(hosts, ["opencode.ai", "api.groq.com"]);
    let written: serde_json::Value = serde_json::from_str(&lent.files[0].1).unwrap();
    assert_eq!(written.as_object().unwrap().keys().collect::<Vec<_>>(), ["groq", "opencode"]);
    assert!(services(&opencode).contains(&"groq"));
    // Others keep one login in a file.
    caller.write("home/.codex/auth.json", r#"{"tokens":{"access_token":"x"},"agent_identity":{}}"#);
    assert_eq!(not_lent(&embedded("codex"), caller.host()), None);
}

/// An agent that works with several services has all that logs in to them; another the first that is there.
#[test]
fn of_several_services_all_logins_come_along() {
    let mut caller = Caller::new();
    caller.set("ANTHROPIC_API_KEY", "REAL1");
    caller.set("OPENAI_API_KEY", "REAL2");
    caller.write("home/.local/share/opencode/auth.json", r#"{"google":{"type":"api","key":"REAL3"}}"#);
    caller.write("home/.claude/.credentials.json", r#"{"claudeAiOauth":{"accessToken":"REAL4"}}"#);
    let found = |agent| find(&embedded(agent), caller.host()).unwrap();
    let words = |logins: &[Login]| logins.iter().map(ToString::to_string).collect::<Vec<_>>();
    let opencode = found("opencode");
    assert_eq!(words(&opencode), ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "~/.local/share/opencode/auth.json"]);
    let lent = Lent::of(&opencode, placeholder).unwrap();
    let names: Vec<&str> = lent.secrets.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(names, ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "google_key"]);
    assert_eq!(lent.files.len(), 1);
    let rules: Vec<String> = lent.allow().iter().map(ToString::to_string).collect();
    assert_eq!(rules, ["api.anthropic.com:443", "api.openai.com:443", "generativelanguage.googleapis.com:443"]);
    assert_eq!(words(&found("aider")), ["ANTHROPIC_API_KEY", "OPENAI_API_KEY"]);
    assert_eq!(words(&found("claude")), ["ANTHROPIC_API_KEY"]);
}

/// What stands in a file with much else, which stays outside, is a variable inside.
#[test]
fn a_key_of_a_file_may_be_a_variable() {
    let caller = Caller::new();
    let path = caller
        .write("home/.claude.json", r#"{"primaryApiKey":"REAL","oauthAccount":{"emailAddress":"me@example.org"}}"#);
    let [login] = &find(&embedded("claude"), caller.host()).unwrap()[..] else { panic!() };
    assert_eq!(login.to_string(), "~/.claude.json");
    let Lent { secrets, logins, files } = login.lend(placeholder).unwrap();
    assert_eq!((logins.len(), files), (0, Vec::new()));
    assert_eq!(secrets[0].env.as_deref(), Some("ANTHROPIC_API_KEY"));
    assert_eq!(secrets[0].source, SecretSource::Field { file: path, keys: vec!["primaryApiKey".into()] });
    // Subscriptions first, which the agent takes first itself.
    caller.write("home/.claude/.credentials.json", r#"{"claudeAiOauth":{"accessToken":"REAL"}}"#);
    assert_eq!(find(&embedded("claude"), caller.host()).unwrap()[0].to_string(), "~/.claude/.credentials.json");
}
