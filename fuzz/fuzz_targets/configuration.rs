//! A file that somebody else wrote, in which an entry is put: it is there then, and can be taken out.
#![no_main]

#[path = "../../crates/agentkernel/src/edit/mod.rs"]
mod edit;

use edit::{Edit, Put};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    let key = |outer: &str, inner: &str| vec![outer.to_owned(), inner.to_owned()];
    let value = json!({ "command": "agentkernel", "args": ["mcp"] });
    for edit in [
        Edit::Json {
            key: key("mcpServers", "agentkernel"),
            value: value.clone(),
            list: false,
            known_by: None,
            mark: None,
        },
        Edit::Json { key: key("hooks", "PreToolUse"), value: value.clone(), list: true, known_by: None, mark: None },
        Edit::Json {
            key: Vec::new(),
            value: json!({ "identifier": { "id": "a.b" } }),
            list: true,
            known_by: Some("/identifier/id".into()),
            mark: Some("\"a.b".into()),
        },
        Edit::Toml { key: key("mcp_servers", "agentkernel"), value, added: vec!["tools".to_owned()] },
        Edit::Section { text: "## Sandboxes\n".to_owned() },
        Edit::File { text: "all".to_owned() },
    ] {
        match edit.put(Some(text)) {
            Ok(Put::Done(after)) => {
                assert!(edit.is_in(Some(&after)) && edit.clone().exact().is_in(Some(&after)));
                assert!(edit.added(&after).is_empty());
                if let Ok(taken) = edit.take(&after, Some(text)) {
                    assert!(!edit.is_in(taken.as_deref()));
                }
            }
            Ok(Put::There) => assert!(edit.is_in(Some(text))),
            Ok(Put::Theirs) => {
                assert!(!edit.is_in(Some(text)));
                if let (Edit::Json { list: false, .. }, Ok(after)) = (&edit, edit.set(Some(text))) {
                    assert!(edit.is_in(Some(&after)));
                }
            }
            Err(fault) => {
                let (line, column) = fault.place(text);
                assert!(line > 0 && column > 0 && !fault.cause.is_empty());
            }
        }
    }
});
