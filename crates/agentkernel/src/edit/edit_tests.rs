use super::*;
use proptest::prelude::*;
use serde_json::json;

fn json(key: &[&str], value: Value) -> Edit {
    Edit::Json { key: key.iter().map(ToString::to_string).collect(), value, list: false, known_by: None }
}

fn server() -> Edit {
    json(&["mcpServers", "agentkernel"], json!({ "args": ["mcp"], "command": "agentkernel" }))
}

fn table() -> Edit {
    let key = ["mcp_servers", "agentkernel"].map(str::to_owned).to_vec();
    Edit::Toml { key, value: json!({ "args": ["mcp"], "command": "agentkernel" }) }
}

fn hook() -> Edit {
    let key = ["hooks", "PreToolUse"].map(str::to_owned).to_vec();
    Edit::Json { key, value: json!({ "matcher": "Bash" }), list: true, known_by: None }
}

fn section() -> Edit {
    Edit::Section { text: "## Sandboxes\n\nUse them.\n".into() }
}

fn put(edit: &Edit, before: &str) -> String {
    match edit.put(Some(before)).unwrap() {
        Put::Done(after) => after,
        other => panic!("{other:?}: {before}"),
    }
}

fn fault(edit: &Edit, text: &str) -> (usize, usize, String) {
    let fault = edit.put(Some(text)).unwrap_err();
    let (line, column) = fault.place(text);
    (line, column, fault.cause)
}

const ENTRY: &str =
    "\"agentkernel\": {\n      \"args\": [\n        \"mcp\"\n      ],\n      \"command\": \"agentkernel\"\n    }";

#[test]
fn an_entry_stands_in_the_style_of_the_file() {
    let whole = format!("{{\n  \"mcpServers\": {{\n    {ENTRY}\n  }}\n}}");
    for (before, after) in [
        ("", format!("{whole}\n")),
        ("\n", format!("\n{whole}\n")),
        ("{}", whole.clone()),
        ("{ }\n", format!("{whole}\n")),
        ("// mine\n", format!("// mine\n{whole}\n")),
        ("// mine", format!("// mine\n{whole}\n")),
        // What others have, with a remark on their line.
        (
            "{\n  \"a\": 1 // one, two\n}\n",
            format!("{{\n  \"a\": 1, // one, two\n  \"mcpServers\": {{\n    {ENTRY}\n  }}\n}}\n"),
        ),
        (
            "{\n  \"a\": 1, /* one */ // two\n  // the end\n}\n",
            format!(
                "{{\n  \"a\": 1, /* one */ // two\n  \"mcpServers\": {{\n    {ENTRY}\n  }},\n  // the end\n}}\n"
            ),
        ),
        (
            "{\n  \"mcpServers\": {\n    // none yet\n  }\n}\n",
            format!("{{\n  \"mcpServers\": {{\n    // none yet\n    {ENTRY}\n  }}\n}}\n"),
        ),
        (
            r#"{"mcpServers": {"x": {"command": "x"}}}"#,
            r#"{"mcpServers": {"x": {"command": "x"}, "agentkernel": {"args":["mcp"],"command":"agentkernel"}}}"#.into(),
        ),
        (
            r#"{"mcpServers": {"x": 1, }}"#,
            r#"{"mcpServers": {"x": 1, "agentkernel": {"args":["mcp"],"command":"agentkernel"}, }}"#.into(),
        ),
        // Of two, the last is what a reader takes.
        (
            "{\"mcpServers\": {\"x\": 1}, \"mcpServers\": {\"y\": \"}\"}}",
            "{\"mcpServers\": {\"x\": 1}, \"mcpServers\": {\"y\": \"}\", \"agentkernel\": {\"args\":[\"mcp\"],\"command\":\"agentkernel\"}}}".into(),
        ),
    ] {
        assert_eq!(put(&server(), before), after, "{before}");
        assert_eq!(server().put(Some(&after)).unwrap(), Put::There);
    }
    // Tabs, CRLF and a mark.
    let after = put(&server(), "\u{feff}{\r\n\t\"a\": {\r\n\t\t\"b\": 1\r\n\t},\r\n}\r\n");
    assert_eq!(
        after,
        "\u{feff}{\r\n\t\"a\": {\r\n\t\t\"b\": 1\r\n\t},\r\n\t\"mcpServers\": {\r\n\t\t\"agentkernel\": {\r\n\t\t\t\"args\": [\r\n\t\t\t\t\"mcp\"\r\n\t\t\t],\r\n\t\t\t\"command\": \"agentkernel\"\r\n\t\t}\r\n\t},\r\n}\r\n"
    );
}

#[test]
fn a_list_gets_one_more() {
    let before = "{\n  \"hooks\": {\n    \"PreToolUse\": [\n      {\"matcher\": \"Write\"}\n    ]\n  }\n}\n";
    let after = put(&hook(), before);
    assert_eq!(
        after,
        "{\n  \"hooks\": {\n    \"PreToolUse\": [\n      {\"matcher\": \"Write\"},\n      {\n        \"matcher\": \"Bash\"\n      }\n    ]\n  }\n}\n"
    );
    assert_eq!(hook().take(&after, Some(before)).unwrap().unwrap(), before);
    assert_eq!(hook().put(Some(&after)).unwrap(), Put::There);
    assert_eq!(
        put(&hook(), "{\"hooks\": {\"PreToolUse\": []}}"),
        "{\"hooks\": {\"PreToolUse\": [\n  {\n    \"matcher\": \"Bash\"\n  }\n]}}"
    );
    assert_eq!(fault(&hook(), "{\"hooks\": {\n\"PreToolUse\": {}}}"), (2, 15, "`hooks.PreToolUse` is no list".into()));
}

#[test]
fn one_of_a_list_is_known_though_others_have_written_it_anew() {
    let ours = Edit::Json {
        key: Vec::new(),
        value: json!({"a": {"id": "x"}, "v": 2}),
        list: true,
        known_by: Some("/a/id".into()),
    };
    assert_eq!(put(&ours, "[{\"a\":{\"id\":\"y\"}}]"), "[{\"a\":{\"id\":\"y\"}}, {\"a\":{\"id\":\"x\"},\"v\":2}]");
    assert_eq!(put(&ours, "[{\"a\":{\"id\":\"x\"},\"v\":1},0]"), "[{\"a\":{\"id\":\"x\"},\"v\":2},0]");
    let anew = "[0, {\"v\": 2, \"a\": {\"id\": \"x\", \"b\": 0}}]";
    assert!(ours.is_in(Some(anew)) && !ours.is_in(Some("[{\"v\": 2}, {\"a\": 0}]")));
    assert_eq!(ours.take(anew, Some("[]")).unwrap().unwrap(), "[0]");
    assert_eq!(ours.take("[]", Some("[]")).unwrap().unwrap(), "[]");
    let twice = put(&ours, "[{\"a\":{\"id\":\"x\"}}, 0, {\"a\":{\"id\":\"x\"}}]");
    assert_eq!(ours.take(&twice, Some("[]")).unwrap().unwrap(), "[ 0]");
    assert_eq!(fault(&ours, "{}"), (1, 1, "the whole of it is no list".into()));
}

#[test]
fn what_stands_there_already_is_theirs() {
    for before in
        [r#"{"mcpServers": {"agentkernel": {"command": "/opt/other"}}}"#, r#"{"mcpServers": {"agentkernel": null}}"#]
    {
        assert_eq!(server().put(Some(before)).unwrap(), Put::Theirs);
        assert_eq!(server().take(before, None).unwrap().unwrap(), before);
    }
    assert_eq!(table().put(Some("[mcp_servers.agentkernel]\ncommand = 'x'\n")).unwrap(), Put::Theirs);
    let ours = "mcp_servers = { agentkernel = { args = ['mcp'], command = 'agentkernel' } }";
    assert_eq!(table().put(Some(ours)).unwrap(), Put::There);
    assert_eq!(Edit::File { text: "a".into() }.put(Some("b")).unwrap(), Put::Theirs);
}

#[test]
fn broken_files_are_told_with_the_place() {
    let (mut told, mut wanted) = (Vec::new(), Vec::new());
    for (text, line, column, cause) in [
        ("{\n  \"a\": 1\n  \"b\": 2\n}", 2, 9, "expected comma"),
        ("{\"ä\": }", 1, 7, "unexpected close brace"),
        ("\u{feff}{'a': 1}", 1, 2, "single-quoted strings are not allowed"),
        ("[]", 1, 1, "the whole of it is no object"),
        ("\u{feff}7", 1, 1, "the whole of it is no object"),
        ("{\n \"mcpServers\": []}", 2, 16, "`mcpServers` is no object"),
        ("{\"a\": 1} {}", 1, 10, "text cannot contain more than one JSON value"),
        ("<<<<<<< HEAD\n{}", 1, 1, "unexpected token"),
    ] {
        told.push((text, fault(&server(), text)));
        wanted.push((text, (line, column, cause.to_owned())));
    }
    for (text, line, column) in [
        ("a = 1\nb = \n", 2, 5),
        ("mcp_servers = 1\n", 1, 15),
        ("x = 1\n[[mcp_servers]]\n", 2, 1),
        ("a = 1\na = 2\n", 2, 1),
    ] {
        let (told_line, told_column, cause) = fault(&table(), text);
        told.push((text, (told_line, told_column, cause.clone())));
        wanted.push((text, (line, column, cause)));
    }
    assert_eq!(told, wanted);
    let told = fault(&section(), "x\n<!-- agentkernel: begin. -->\n");
    assert_eq!((told.0, told.1), (2, 1), "{told:?}");
    // As deep as it gets.
    assert!(server().put(Some(&"[".repeat(100_000))).is_err());
    assert!(server().put(Some(&"{\"a\":".repeat(100_000))).is_err());
    assert!(table().put(Some(&format!("a = {}", "[".repeat(100_000)))).is_err());
}

#[test]
fn tables_of_toml() {
    let lines = "[mcp_servers.agentkernel]\nargs = [\"mcp\"]\ncommand = \"agentkernel\"\n";
    for (before, after) in [
        ("", lines.to_owned()),
        ("model = \"x\" # mine", format!("model = \"x\" # mine\n\n{lines}")),
        ("[mcp_servers.x]\ncommand = \"x\"\n\n", format!("[mcp_servers.x]\ncommand = \"x\"\n\n{lines}")),
        ("mcp_servers.x.command = \"x\"\n", format!("mcp_servers.x.command = \"x\"\n\n{lines}")),
        ("[mcp_servers]\n[a]\n", format!("[mcp_servers]\n[a]\n\n{lines}")),
        (
            "mcp_servers = { x = { command = \"x\" } } # all\n",
            "mcp_servers = { x = { command = \"x\" }, agentkernel = { args = [\"mcp\"], command = \"agentkernel\" } } # all\n".into(),
        ),
        ("mcp_servers = {}\n", "mcp_servers = { agentkernel = { args = [\"mcp\"], command = \"agentkernel\" } }\n".into()),
        ("a = 1\r\n", format!("a = 1\r\n\r\n{}", lines.replace('\n', "\r\n"))),
        ("\u{feff}a = 1\n", format!("\u{feff}a = 1\n\n{lines}")),
    ] {
        assert_eq!(put(&table(), before), after, "{before}");
        assert_eq!(table().put(Some(&after)).unwrap(), Put::There, "{after}");
        let taken = table().take(&after, Some(before)).unwrap().unwrap();
        assert!(!taken.contains("agentkernel") && taken.contains('\r') == before.contains('\r'), "{taken}");
    }
}

#[test]
fn sections_of_texts() {
    for before in ["", "# Ours\n", "# Ours", "# Ours\r\n\r\ntext\r\n", "a\n\n\n"] {
        let after = put(&section(), before);
        assert!(after.starts_with(before) && after.contains("## Sandboxes"), "{after}");
        assert_eq!(section().put(Some(&after)).unwrap(), Put::There);
        // A newer one takes its place.
        let newer = Edit::Section { text: "new".into() };
        let replaced = put(&newer, &format!("{after}end\n"));
        assert!(replaced.starts_with(before) && replaced.ends_with("end\n") && !replaced.contains("Sandboxes"));
        assert_eq!(replaced.matches("agentkernel: begin").count(), 1);
        let rest = newer.take(&replaced, Some(before)).unwrap().unwrap();
        assert!(!rest.contains("agentkernel") && rest.ends_with("end\n"), "{rest}");
    }
    assert_eq!(section().take(&put(&section(), ""), None).unwrap(), None);
    assert_eq!(section().take("mine\n", None).unwrap().unwrap(), "mine\n");
}

#[test]
fn a_change_is_reversed_in_a_text_that_has_changed() {
    let before = "{\n  // mine\n  \"a\": 1\n}\n";
    let after = put(&server(), before);
    let now = after.replace("// mine", "// mine, too").replace("}\n}\n", "},\n  \"z\": 1\n}\n");
    let back = reverse(before, &after, &now).unwrap();
    assert_eq!(back, "{\n  // mine, too\n  \"a\": 1,\n  \"z\": 1\n}\n");
    assert_eq!(reverse("ab", "axb", "xx"), None);
    assert_eq!(reverse("ab", "ab", "ab"), None);
    // One text of more bytes than one for a character.
    assert_eq!(reverse("é", "éè", "aéè").unwrap(), "aé");
}

/// A configuration as people write them: its text, and what it says.
fn text_of(value: &Value, style: usize, depth: usize) -> String {
    let (newline, indent) = match style % 4 {
        0 => ("", String::new()),
        1 => ("\n", "  ".repeat(depth + 1)),
        2 => ("\r\n", "\t".repeat(depth + 1)),
        _ => ("\n", "    ".repeat(depth + 1)),
    };
    let outer = indent.get(..indent.len() / (depth + 1) * depth).unwrap_or_default();
    let wrap = |open: char, items: Vec<String>, close: char| {
        if items.is_empty() {
            return format!("{open}{close}");
        }
        let remark = if newline.is_empty() { "/* ,} */" } else { " // ,}" };
        let trailing = if style & 4 != 0 { "," } else { "" };
        let items = items.join(&format!(",{remark}{newline}{indent}"));
        format!("{open}{newline}{indent}{items}{trailing}{remark}{newline}{outer}{close}")
    };
    match value {
        Value::Object(map) => {
            let item =
                |(name, value): (&String, &Value)| format!("{}: {}", json!(name), text_of(value, style, depth + 1));
            wrap('{', map.iter().map(item).collect(), '}')
        }
        Value::Array(list) => wrap('[', list.iter().map(|value| text_of(value, style, depth + 1)).collect(), ']'),
        other => other.to_string(),
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z/*{},\"\\\\ é]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-d{},/\" ]{0,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn configuration() -> impl Strategy<Value = (String, Value)> {
    let map = prop::collection::btree_map("[a-d{},/\" ]{0,3}", value(), 0..4);
    (map, prop::option::of(prop::collection::btree_map("[a-d]{1,2}", value(), 0..3)), 0..8_usize, any::<bool>())
        .prop_map(|(map, servers, style, mark)| {
            let mut map: serde_json::Map<String, Value> = map.into_iter().collect();
            if let Some(servers) = servers {
                map.insert("mcpServers".into(), Value::Object(servers.into_iter().collect()));
            }
            let value = Value::Object(map);
            let mark = if mark { "\u{feff}" } else { "" };
            (format!("{mark}{}\n", text_of(&value, style, 0)), value)
        })
}

fn read(text: &str) -> Value {
    let body = text.trim_start_matches(MARK);
    jsonc_parser::parse_to_ast(body, &jsonc_parser::CollectOptions::default(), &jsonc_parser::ParseOptions::default())
        .unwrap()
        .value
        .map_or(Value::Null, Value::from)
}

#[test]
fn something_else_is_replaced_in_its_place() {
    let before = "\u{feff}{ // mine\n  \"mcpServers\": { \"agentkernel\": [1, /* two */ 2], \"other\": {} }\n}\n";
    let Edit::Json { value, .. } = server() else { panic!() };
    assert_eq!(server().put(Some(before)), Ok(Put::Theirs));
    let after = before.replace("[1, /* two */ 2]", &value.to_string());
    assert_eq!(server().set(Some(before)), Ok(after.clone()));
    assert_eq!(server().set(Some(&after)), Ok(after));
    assert!(server().set(Some("{ \"mcpServers\": 3 }")).is_err());
}

proptest! {
    #[test]
    fn nothing_else_is_changed((before, said) in configuration()) {
        let after = put(&server(), &before);
        let mut wanted = said.clone();
        wanted["mcpServers"]["agentkernel"] = json!({ "args": ["mcp"], "command": "agentkernel" });
        prop_assert_eq!(read(&after), wanted);
        prop_assert!(server().is_in(Some(&after)));
        prop_assert_eq!(after.contains("\r\n"), before.contains("\r\n"));
        // All that was there is there still, in its order.
        let mut rest = after.chars();
        prop_assert!(before.chars().filter(|c| !c.is_whitespace()).all(|c| rest.any(|other| other == c)));
        prop_assert_eq!(reverse(&before, &after, &after), Some(before.clone()));
        let taken = server().take(&after, Some(&before)).unwrap().unwrap();
        prop_assert_eq!(read(&taken), said);
        let remarks = |text: &str| (text.matches("/* ,} */").count(), text.matches("// ,}").count());
        prop_assert_eq!(remarks(&taken), remarks(&before));
    }

    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}:,\"a/* \n\r=.'#é]{0,40}") {
        if let Ok(after) = server().set(Some(&text)) {
            prop_assert!(server().is_in(Some(&after)));
        }
        for edit in [server(), hook(), table(), section()] {
            if let Ok(Put::Done(after)) = edit.put(Some(&text)) {
                prop_assert!(edit.is_in(Some(&after)));
                let taken = edit.take(&after, Some(&text)).unwrap();
                prop_assert!(!edit.is_in(taken.as_deref()));
            }
        }
    }
}
