//! The tools as clients see them.

use super::{
    background::{Output, OutputOf, StopExec},
    worker::{
        files::{Contents, ListFiles, Matches, Names, ReadFile, SearchFiles, WriteFile, Written},
        network::{Allowed, Listed, Log, NetAllow, NetCheck, NetLog, Ports, Verdict},
        programs::{Ended, Exec, Run},
        sandboxes::{Create, Named, Removed, Rm, Sandbox, Sandboxes},
        undo::{Checkpoints, OfProject, Undo, Undone},
    },
};
use rmcp::{
    handler::server::tool::{schema_for_input, schema_for_output},
    model::{JsonObject, Tool, ToolAnnotations},
};
use schemars::JsonSchema;
use serde_json::Value;
use std::{any::Any, sync::Arc};

/// What takes nothing.
#[derive(JsonSchema)]
struct Nothing {}

/// What `exec` gives back, and with `background` an id in place of it.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Executed {
    Ended(Ended),
    Left(super::background::Left),
}

/// What it does to things, as hints for the client.
struct Hints {
    reads: bool,
    destroys: bool,
    /// It may have to do with what is outside of this host.
    open: bool,
}

const READS: Hints = Hints { reads: true, destroys: false, open: false };
const MAKES: Hints = Hints { reads: false, destroys: false, open: false };
const REACHES: Hints = Hints { reads: false, destroys: false, open: true };
const DESTROYS: Hints = Hints { reads: false, destroys: true, open: false };
const RUNS: Hints = Hints { reads: false, destroys: true, open: true };

/// All of them, in the order in which they are told.
pub(super) fn all() -> Vec<Tool> {
    vec![
        tool::<Run, Ended>(
            "run",
            "Run a command in a new sandbox",
            "Runs one command in a sandbox of its own, which is gone afterwards. The project is there at the same path; by \
             default what is written in it is written, with workspace 'overlay' it is not. The network is what the project \
             allows, by default none.",
            RUNS,
        ),
        tool::<Create, Sandbox>(
            "create",
            "Make a sandbox that stays",
            "Makes a sandbox of this project and starts it. It stays, with its files, until 'rm'. Run commands in it with 'exec'.",
            // Its image may have to be fetched.
            REACHES,
        ),
        tool::<Exec, Executed>(
            "exec",
            "Run a command in a sandbox that runs",
            "Runs a command in a sandbox of this project. What it writes is told as it goes, if the client asks for progress. \
             With background it gives back an id at once.",
            RUNS,
        ),
        tool::<OutputOf, Output>(
            "read_output",
            "Read what a background command wrote",
            "Gives what a command that was left running by 'exec' has written since an offset, and whether it has ended.",
            READS,
        ),
        tool::<StopExec, Output>(
            "stop_exec",
            "End a background command",
            "Ends a command that was left running by 'exec', with SIGTERM and a little later with SIGKILL.",
            DESTROYS,
        ),
        tool::<Nothing, Sandboxes>(
            "list",
            "List this project's sandboxes",
            "Lists the sandboxes of this project.",
            READS,
        ),
        tool::<Named, Sandbox>("start", "Start a stopped sandbox", "Starts a sandbox that was stopped.", MAKES),
        tool::<Named, Sandbox>(
            "stop",
            "Stop a sandbox",
            "Ends all programs of a sandbox. The files of one that stays are still there; 'start' starts it again.",
            DESTROYS,
        ),
        tool::<Rm, Removed>("rm", "Remove a sandbox", "Removes a sandbox and all files that are only in it.", DESTROYS),
        tool::<ReadFile, Contents>(
            "read_file",
            "Read a file in a sandbox",
            "Reads a file as the sandbox sees it, or a part of it.",
            READS,
        ),
        tool::<WriteFile, Written>(
            "write_file",
            "Write a file in a sandbox",
            "Writes a whole file as the sandbox sees it, in place of what is there. In a workspace 'direct' that changes the project.",
            DESTROYS,
        ),
        tool::<ListFiles, Names>(
            "list_files",
            "List files in a sandbox",
            "Lists a directory as the sandbox sees it.",
            READS,
        ),
        tool::<SearchFiles, Matches>(
            "search_files",
            "Search files in a sandbox",
            "Finds lines that match a pattern, in files as the sandbox sees them.",
            READS,
        ),
        tool::<OfProject, Checkpoints>(
            "checkpoints",
            "List this project's checkpoints",
            "Lists what was kept of the project's files before sandboxes that were made with checkpoint.",
            READS,
        ),
        tool::<Undo, Undone>(
            "undo",
            "Make the project what it was",
            "Asks a human to make the project's files what they were at a checkpoint, whatever was done to them since. With \
             dry_run it tells the difference, and asks nobody.",
            DESTROYS,
        ),
        tool::<Ports, Listed>(
            "ports",
            "Ports of a sandbox on this host",
            "Lists a sandbox's ports on the host's loopback address. With publish a human is asked to add one.",
            MAKES,
        ),
        tool::<NetLog, Log>(
            "net_log",
            "What a sandbox reached",
            "Gives the last connections of a sandbox: what was allowed, what was refused, and why.",
            READS,
        ),
        tool::<NetCheck, Verdict>(
            "net_check",
            "Whether a host may be reached",
            "Tells whether a connection would be allowed, by which rule, and what would help if not. Nothing is connected or looked up.",
            READS,
        ),
        tool::<NetAllow, Allowed>(
            "net_allow",
            "Let a sandbox reach a host",
            "Asks a human to let a sandbox reach one more host. Without their word nothing is opened; where the client can't ask, \
             the command is given that a human can type.",
            REACHES,
        ),
    ]
}

fn tool<I: JsonSchema + Any, O: JsonSchema + Any>(
    name: &'static str,
    title: &str,
    description: &'static str,
    Hints { reads, destroys, open }: Hints,
) -> Tool {
    // Every type of a tool is an object, which a test holds.
    let mut input: JsonObject = schema_for_input::<I>().map_or_else(|_| JsonObject::new(), Arc::unwrap_or_clone);
    // What it doesn't know, it refuses.
    input.insert("additionalProperties".to_owned(), Value::Bool(false));
    let mut output: JsonObject = Arc::unwrap_or_clone(schema_for_output::<O>());
    // Clients look for these.
    input.entry("properties").or_insert_with(|| Value::Object(JsonObject::new()));
    output.entry("type").or_insert_with(|| Value::from("object"));
    [&mut input, &mut output].into_iter().flat_map(JsonObject::values_mut).for_each(put_bounds);
    if let Some(properties) = input.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(leave_out_null);
    }
    let annotations = ToolAnnotations::with_title(title).read_only(reads).destructive(destroys).open_world(open);
    let annotations = if reads { annotations.idempotent(true) } else { annotations };
    Tool::new(name, description, input)
        .with_title(title)
        .with_raw_output_schema(Arc::new(output))
        .with_annotations(annotations)
}

/// Says in a schema how large numbers may be, in place of how wide they are: of such formats, which JSON Schema does not
/// name, validators complain.
fn put_bounds(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let width = members.get("format").and_then(Value::as_str).and_then(|format| format.strip_prefix("uint"));
            if let Some(width) = width.and_then(|width| width.parse().ok()) {
                members.remove("format");
                // What is larger is no number that every client has.
                if let Some(most) = 1u64.checked_shl(width).filter(|_| width <= 32) {
                    members.entry("maximum").or_insert_with(|| Value::from(most - 1));
                }
            }
            members.values_mut().for_each(put_bounds);
        }
        Value::Array(members) => members.iter_mut().for_each(put_bounds),
        _ => {}
    }
}

/// What may be left out need not be there as nothing, which some clients can't say.
fn leave_out_null(property: &mut Value) {
    let Some(members) = property.as_object_mut() else { return };
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = &mut types[..] {
            let one = one.take();
            members.insert("type".to_owned(), one);
        }
    }
    members.retain(|key, value| key != "default" || !value.is_null());
}

/// The first argument that a tool does not know.
pub(super) fn unknown<'a>(tool: &Tool, arguments: &'a JsonObject) -> Option<&'a str> {
    let known = tool.input_schema.get("properties").and_then(Value::as_object);
    arguments.keys().map(String::as_str).find(|key| !known.is_some_and(|known| known.contains_key(*key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_has_schemas_and_says_what_it_does() {
        for tool in all() {
            let schemas = [&tool.input_schema, tool.output_schema.as_ref().unwrap()];
            for schema in schemas {
                assert_eq!(schema.get("type"), Some(&Value::from("object")), "{}", tool.name);
                let text = serde_json::to_string(schema).unwrap();
                assert!(!text.contains("[`") && !text.contains("\"uint"), "{}: {text}", tool.name);
            }
            assert!(tool.input_schema.contains_key("properties"), "{}", tool.name);
            let hints = tool.annotations.unwrap();
            // An image comes from a registry.
            let fetches = tool.input_schema["properties"].get("image").is_some();
            assert!(!fetches || hints.open_world_hint == Some(true), "{}", tool.name);
            assert!(
                hints.read_only_hint.is_some() && hints.destructive_hint.is_some() && hints.open_world_hint.is_some()
            );
        }
    }

    #[test]
    fn numbers_have_their_bounds() {
        let tools = all();
        let of = |name: &str, property: &str| {
            let tool = tools.iter().find(|tool| tool.name == name).unwrap();
            tool.input_schema["properties"][property].clone()
        };
        for tool in ["run", "exec"] {
            let time = of(tool, "timeout_seconds");
            assert_eq!(time["type"], "integer", "{time}");
            assert_eq!((&time["minimum"], &time["maximum"]), (&Value::from(1), &Value::from(u32::MAX)), "{time}");
            assert_eq!(time.get("default"), None, "{time}");
        }
        assert_eq!(of("read_output", "wait_seconds")["maximum"], 30);
        assert_eq!(of("search_files", "limit")["maximum"], u16::MAX);
        assert_eq!(of("read_file", "offset").get("maximum"), None);
        assert_eq!(of("run", "image")["type"], "string");
    }

    #[test]
    fn what_a_tool_does_not_know_is_found() {
        let tools = all();
        let run = tools.iter().find(|tool| tool.name == "run").unwrap();
        let of = |value: Value| value.as_object().unwrap().clone();
        assert_eq!(unknown(run, &of(serde_json::json!({"command": "true", "image": "x"}))), None);
        assert_eq!(unknown(run, &of(serde_json::json!({"command": "true", "network": "open"}))), Some("network"));
    }
}
