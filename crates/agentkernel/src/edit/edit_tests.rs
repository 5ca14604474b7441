use super::*;
use proptest::prelude::*;
use serde_json::json;

fn json(key: &[&str], value: Value) -> Edit {
    Edit::Json { key: key.iter().map(ToString::to_string).collect(), value, list: false, known_by: None, mark: None }
}

fn server() -> Edit {
    json(&["mcpServers", "agentkernel"], json!({ "args": ["mcp"], "command": "agentkernel" }))
}

fn table() -> Edit {
    let key = ["mcp_servers", "agentkernel"].map(str::to_owned).to_vec();
    Edit::Toml { key, value: json!({ "args": ["mcp"], "command": "agentkernel" }), added: vec!["tools".into()] }
}

fn hook() -> Edit {
    let key = ["hooks", "PreToolUse"].map(str::to_owned).to_vec();
    Edit::Json { key, value: json!({ "matcher": "Bash" }), list: true, known_by: None, mark: None }
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
        mark: Some("\"id\":\"x".into()),
    };
    assert_eq!(put(&ours, "[{\"a\":{\"id\":\"y\"}}]"), "[{\"a\":{\"id\":\"y\"}}, {\"a\":{\"id\":\"x\"},\"v\":2}]");
    assert_eq!(ours.put(Some("[{\"a\":{\"id\":\"x\"},\"v\":1},0]")).unwrap(), Put::There);
    assert_eq!(ours.put(Some("[{\"a\":{\"id\":\"xy\"}}, 0]")).unwrap(), Put::Theirs);
    let anew = "[0, {\"v\": 2, \"a\": {\"id\": \"x\", \"b\": 0}}]";
    assert!(ours.is_in(Some(anew)) && !ours.is_in(Some("[{\"v\": 2}, {\"a\": 0}]")));
    assert_eq!(ours.take(anew, Some("[]")).unwrap().unwrap(), "[0]");
    assert_eq!(ours.take("[]", Some("[]")).unwrap().unwrap(), "[]");
    let twice = "[{\"a\":{\"id\":\"x\"}}, 0, {\"a\":{\"id\":\"x\"}}]";
    assert_eq!(ours.take(twice, Some("[]")).unwrap().unwrap(), "[0]");
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
        assert_eq!(table().take(&after, Some(before)).unwrap().unwrap(), before.replace("{}", "{ }"));
    }
}

#[test]
fn a_table_goes_with_what_was_added_below_it_and_without_comments_before_it() {
    let ours = "[mcp_servers.agentkernel]\nargs = [\"mcp\"]\ncommand = \"agentkernel\"\n";
    let tools = "\n[mcp_servers.agentkernel.tools.run]\napproval_mode = \"approve\"\n";
    let before = "model = \"x\"\n\n# Uncomment for work:\n# [mcp_servers.docs]\n";
    for (text, rest) in [
        (format!("{before}\n{ours}{tools}"), before.to_owned()),
        (
            format!("{before}\n{ours}{tools}# end\n\n[a]\nb = 1\n{tools}").replacen(tools, "", 1),
            format!("{before}# end\n\n[a]\nb = 1\n"),
        ),
        (format!("{before}\n{ours}").replace('\n', "\r\n"), before.replace('\n', "\r\n")),
        (format!("{before}\n{}", ours.replace("]\ncom", "] # remark\n# why\ncom")), format!("{before}# why\n")),
        (format!("{ours}\n[a]\n"), "[a]\n".to_owned()),
        (format!("\u{feff}{ours}{tools}"), "\u{feff}".to_owned()),
        (
            "[mcp_servers]\nagentkernel.args = [ # one\n  'mcp',\n]\nagentkernel.command = 'agentkernel'\nx = 1\n"
                .to_owned(),
            "[mcp_servers]\nx = 1\n".to_owned(),
        ),
        (
            "mcp_servers = { agentkernel = { command = 'agentkernel', args = ['mcp'] }, x = {} }\n".to_owned(),
            "mcp_servers = { x = {} }\n".to_owned(),
        ),
    ] {
        assert_eq!(table().put(Some(&text)).unwrap(), Put::There, "{text}");
        assert_eq!(table().take(&text, Some("?\n")).unwrap().unwrap(), rest, "{text}");
    }
    assert_eq!(table().added(&format!("{before}\n{ours}{tools}[a]\n")), tools);
    // It is another one then.
    for text in [format!("{ours}enabled = false\n"), format!("{ours}[mcp_servers.agentkernel.env]\nA = '1'\n")] {
        assert_eq!(table().put(Some(&text)).unwrap(), Put::Theirs);
        assert_eq!(table().take(&text, Some("")).unwrap().unwrap(), text);
    }
    let odd = "mcp_servers = { agentkernel.command = 'agentkernel', agentkernel.args = ['mcp'] }\n";
    assert!(table().take(odd, Some("")).unwrap_err().cause.contains("can't be taken out"));
}

#[test]
fn lines_are_not_glued_together() {
    let before = "# only a comment";
    for (edit, more) in [(table(), "[projects.\"/x\"]\ntrust_level = \"trusted\"\n"), (section(), "More.\n")] {
        let after = put(&edit, before);
        let rest = edit.take(&format!("{after}{more}"), Some(before)).unwrap().unwrap();
        assert_eq!(rest, format!("{before}\n{more}"));
        let rest = edit.take(&format!("# top\n{after}"), Some(before)).unwrap().unwrap();
        assert_eq!(rest, format!("# top\n{before}"));
    }
}

#[test]
fn no_brace_comes_behind_a_comment() {
    let before = "{ \"mcpServers\": {}, \"permissions\": {\n  \"allow\": [\"a\"]\n} }";
    let now = put(&server(), before).replacen("\n", "\n  \"mine\": { \"command\": \"x\" },\n  // sandboxes\n", 1);
    assert_eq!(
        server().take(&now, Some(before)).unwrap().unwrap(),
        "{ \"mcpServers\": {\n  \"mine\": { \"command\": \"x\" }\n  // sandboxes\n}, \"permissions\": {\n  \"allow\": [\"a\"]\n} }"
    );
    let ours = "\"agentkernel\": {\"args\": [\"mcp\"], \"command\": \"agentkernel\"}";
    for (text, rest) in [
        (format!("{{\"mcpServers\": {{\"x\": 1, // one\n {ours}}}}}"), "{\"mcpServers\": {\"x\": 1 // one\n }}"),
        (
            format!("{{\"mcpServers\": {{// one\n{ours} /* two */ , // three\n \"x\": 1}}}}"),
            "{\"mcpServers\": {// one\n/* two */  // three\n \"x\": 1}}",
        ),
        (
            format!("{{\"mcpServers\": {{\"x\": \"//\\\\\", /* one */ {ours} // two\n}}}}"),
            "{\"mcpServers\": {\"x\": \"//\\\\\" /* one */ // two\n}}",
        ),
    ] {
        assert_eq!(server().take(&text, Some("{\"mcpServers\": {}}")).unwrap().unwrap(), rest, "{text}");
    }
}

#[test]
fn sections_of_texts() {
    for before in ["", "# Ours\n", "# Ours", "# Ours\r\n\r\ntext\r\n", "a\n\n\n"] {
        let after = put(&section(), before);
        assert!(after.starts_with(before) && after.contains("## Sandboxes"), "{after}");
        assert_eq!(section().put(Some(&after)).unwrap(), Put::There);
        assert_eq!(section().take(&after, Some(before)).unwrap().unwrap(), before);
        // Somebody has changed it.
        let theirs = after.replace("## Sandboxes", "## Boxes");
        assert_eq!(section().put(Some(&theirs)).unwrap(), Put::Theirs);
        assert_eq!(section().take(&theirs, Some(before)).unwrap().unwrap(), theirs);
    }
    assert_eq!(section().take(&put(&section(), ""), None).unwrap(), None);
    assert_eq!(section().take("mine\n", None).unwrap().unwrap(), "mine\n");
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

/// Where each token of a text begins, or where each object opens.
fn tokens(text: &str, objects: bool) -> Vec<usize> {
    let body = text.trim_start_matches(MARK);
    let options = jsonc_parser::CollectOptions { tokens: true, ..Default::default() };
    let parsed = jsonc_parser::parse_to_ast(body, &options, &jsonc_parser::ParseOptions::default()).unwrap();
    let behind = text.len() - body.len();
    let tokens = parsed.tokens.unwrap().into_iter();
    let opens = |token: &jsonc_parser::tokens::Token<'_>| matches!(token, jsonc_parser::tokens::Token::OpenBrace);
    let tokens = tokens.filter(|token| !objects || opens(&token.token));
    tokens.map(|token| behind + token.range.start + usize::from(objects)).collect()
}

/// Where ours stands in a text.
fn place(text: &str, edit: &Edit) -> Range<usize> {
    let body = text.trim_start_matches(MARK);
    let root = jsonc_parser::parse_to_ast(body, &Default::default(), &Default::default()).unwrap().value.unwrap();
    let Edit::Json { key, value, list, .. } = edit else { panic!("{edit:?}") };
    let (mut node, mut range) = (&root, 0..0);
    for name in key {
        let property = node.as_object().unwrap().properties.iter().rfind(|one| one.name.as_str() == name).unwrap();
        (node, range) = (&property.value, property.range.start..property.range.end);
    }
    if *list {
        let elements = &node.as_array().unwrap().elements;
        let ours = elements.iter().find(|element| Value::from((*element).clone()) == *value).unwrap();
        let ours = jsonc_parser::common::Ranged::range(ours);
        range = ours.start..ours.end;
    }
    let behind = text.len() - body.len();
    behind + range.start..behind + range.end
}

/// What a text says, less what is ours, and less what is empty around that if it was not there before.
fn said_without(text: &str, edit: &Edit, before: &str) -> Value {
    let Edit::Json { key, value, list, .. } = edit else { panic!("{edit:?}") };
    let (mut said, before) = (read(text), read(before));
    for depth in (1..=key.len()).rev() {
        let pointer = |depth: usize| key[..depth].iter().map(|name| format!("/{name}")).collect::<String>();
        if let Some(Value::Array(all)) = said.pointer_mut(&pointer(depth)) {
            all.retain(|element| element != value);
        }
        let last = depth == key.len() && !list;
        let empty = [json!({}), json!([])].iter().any(|empty| said.pointer(&pointer(depth)) == Some(empty));
        if let Some(Value::Object(outer)) = said.pointer_mut(&pointer(depth - 1))
            && (last || empty && before.pointer(&pointer(depth)).is_none())
        {
            outer.remove(&key[depth - 1]);
        }
    }
    said
}

/// What is put in since: where, and which kind.
fn more(most: usize) -> impl Strategy<Value = Vec<(prop::sample::Index, usize)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0..5_usize), 0..most)
}

/// Puts something in at one of these places.
fn insert(text: &str, places: &[usize], at: prop::sample::Index, more: &str) -> String {
    let at = places[at.index(places.len())];
    format!("{}{more}{}", &text[..at], &text[at..])
}

/// Remarks in a text, in their order.
fn remarks(text: &str) -> Vec<&str> {
    text.split('\u{a7}').skip(1).map(|rest| &rest[..2]).collect()
}

/// Starts of lines.
fn line_starts(text: &str) -> Vec<usize> {
    let body = text.len() - text.trim_start_matches(MARK).len();
    let mut starts = vec![body];
    starts.extend(text.match_indices('\n').map(|(at, _)| at + 1));
    starts.extend(Some(text.len()).filter(|_| text.ends_with('\n')));
    starts
}

fn texts_of_toml() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "# mine",
        "\u{feff}model = 'x'\r\n\r\n[mcp_servers.x]\r\ncommand = 'x' # run\r\n",
        "[mcp_servers.x.env]\nA = \"\"\"\n# no remark\n\"\"\"\n\n# next\n[projects.\"/a b\"]\ntrust_level = \"trusted\"\n",
        "mcp_servers = { x = { command = \"x\" } } # all\n[a]\n",
        "mcp_servers = {}\n",
        "mcp_servers.x.command = \"x\"\n[[profiles]]\na = [\n  1, # one\n]\n\n\n",
        "[mcp_servers]\n# none\n\n[a]",
    ])
}

fn said_by_toml(text: &str) -> Option<Value> {
    let mut said: Value = toml_edit::de::from_str(text.trim_start_matches(MARK)).ok()?;
    if let Some(servers) = said.get_mut("mcp_servers").and_then(Value::as_object_mut) {
        servers.remove("agentkernel");
        if servers.is_empty() {
            said.as_object_mut()?.remove("mcp_servers");
        }
    }
    Some(said)
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
    fn what_was_put_in_since_stays_in_json((before, _) in configuration(), list in any::<bool>(), more in more(12)) {
        let edit = if list { hook() } else { server() };
        let mut now = put(&edit, &before);
        for (number, (at, kind)) in more.into_iter().enumerate() {
            let remark = format!("\u{a7}{number:02}");
            let (places, more) = match kind {
                0 => (tokens(&now, false), "\n\n".to_owned()),
                1 => (tokens(&now, false), format!("//{remark}\n")),
                2 => (tokens(&now, false), format!("/*{remark}*/")),
                _ => (tokens(&now, true), format!("\"mine{number}\": {{}},")),
            };
            now = insert(&now, &places, at, &more);
        }
        let rest = edit.take(&now, Some(&before)).unwrap().unwrap();
        if !edit.is_in(Some(&now)) {
            prop_assert_eq!(rest, now);
            return Ok(());
        }
        let ours = place(&now, &edit);
        let others = format!("{}{}", &now[..ours.start], &now[ours.end..]);
        prop_assert_eq!(remarks(&rest), remarks(&others), "{}", now);
        prop_assert_eq!(said_without(&rest, &edit, &before), said_without(&now, &edit, &before), "{}", now);
    }

    #[test]
    fn what_was_put_in_since_stays_in_toml(before in texts_of_toml(), more in more(8)) {
        let mut now = put(&table(), before);
        for (number, (at, kind)) in more.into_iter().enumerate() {
            let line = match kind {
                0 => "\n".to_owned(),
                1 | 2 => format!("#\u{a7}{number:02}\n"),
                3 => format!("[t{number}]\na = 1\n"),
                _ => format!("\n[mcp_servers.agentkernel.tools.t{number}]\nmode = 1\n"),
            };
            let places = if kind == 4 { vec![now.len()] } else { line_starts(&now) };
            let after = insert(&now, &places, at, &line);
            now = Some(after).filter(|after| said_by_toml(after).is_some()).unwrap_or(now);
        }
        let rest = table().take(&now, Some(before)).unwrap().unwrap();
        if !table().is_in(Some(&now)) {
            prop_assert_eq!(rest, now);
            return Ok(());
        }
        prop_assert_eq!(said_by_toml(&rest), said_by_toml(&now), "{}", now);
        prop_assert!(matches!(table().put(Some(&rest)), Ok(Put::Done(_))), "{}", now);
        prop_assert_eq!(remarks(&rest), remarks(&now), "{}", now);
    }

    #[test]
    fn what_was_put_in_since_stays_in_texts(before in "(\u{feff})?([a-z#]{0,3}\r?\n){0,4}[a-z]{0,2}", more in more(6)) {
        let mut now = put(&section(), &before);
        for (number, (at, kind)) in more.into_iter().enumerate() {
            let line = if kind == 0 { "\n".to_owned() } else { format!("- {number}\n") };
            now = insert(&now, &line_starts(&now), at, &line);
        }
        let rest = section().take(&now, Some(&before)).unwrap().unwrap();
        if !section().is_in(Some(&now)) {
            prop_assert_eq!(rest, now);
            return Ok(());
        }
        let (head, tail) = now.split_once("<!-- agentkernel: begin").unwrap();
        let tail = tail.split_once("<!-- agentkernel: end -->").unwrap().1;
        let lines = |text: &str| text.trim_start_matches(MARK).lines().map(str::to_owned).filter(|line| !line.is_empty()).collect::<Vec<_>>();
        prop_assert_eq!(lines(&rest), [lines(head), lines(tail)].concat(), "{:?}", now);
    }

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
        let taken = server().take(&after, Some(&before)).unwrap().unwrap();
        prop_assert_eq!(read(&taken), said);
        let count = |text: &str| (text.matches("/* ,} */").count(), text.matches("// ,}").count());
        prop_assert_eq!(count(&taken), count(&before));
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
