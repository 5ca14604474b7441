//! Every key of a way in which an agent runs.

use super::{super::adapter::Mode, agent_name};
use crate::config::{Form, FormError, Key};

/// A key of [`MODE`]: arguments that stand as they are, or with `{}` in one of them.
macro_rules! arguments {
    ($name:literal, $field:ident, $asked:expr, $default:literal, $doc:literal, $example:literal) => {
        Key {
            name: $name,
            form: Form::Texts(|mode, texts| {
                mode.$field = asked($asked, texts)?;
                Ok(())
            }),
            default: $default,
            doc: $doc,
            example: $example,
        }
    };
}

/// Refuses arguments that have another number of places for what is asked than they should have.
pub(super) fn asked(places: usize, arguments: Vec<String>) -> Result<Vec<String>, FormError> {
    match arguments.iter().map(|argument| argument.matches("{}").count()).sum::<usize>() {
        found if found == places => Ok(arguments),
        found => Err(FormError::new(format!("it has {found} of `{{}}`, not {places}"))),
    }
}

pub(super) const MODE: &[Key<Mode>] = &[
    Key {
        name: "command",
        form: Form::Texts(|mode, texts| {
            mode.command = texts;
            Ok(())
        }),
        default: "the agent's own",
        doc: "In place of the agent's own `command`. What else is asked of all ways by arguments is left out then.",
        example: "[\"/opt/agentkernel/agents/agent-acp/agent-acp\"]",
    },
    Key {
        name: "layer",
        form: Form::Text(|mode, text| {
            mode.layer = agent_name(text.value)?;
            Ok(())
        }),
        default: "none",
        doc: "The adapter whose packages have that command. It is installed when it is needed first.",
        example: "\"agent-acp\"",
    },
    Key {
        name: "unattended_environment",
        form: Form::Variables(|mode, name, value| mode.unattended_environment.push((name, value))),
        default: "none",
        doc: "Variables with which it asks nobody before it acts.",
        example: "{ AGENT_MODE = \"full\" }",
    },
    Key {
        name: "attended_environment",
        form: Form::Variables(|mode, name, value| mode.attended_environment.push((name, value))),
        default: "none",
        doc: "Variables with which it asks.",
        example: "{ AGENT_MODE = \"ask\" }",
    },
    arguments!("arguments", arguments, 0, "none", "Those that stand first.", "[\"exec\"]"),
    arguments!("continue", continued, 0, "it can't", "To go on with the last session.", "[\"--continue\"]"),
    arguments!("resume", resume, 1, "it can't", "To go on with a session that is named.", "[\"--resume\", \"{}\"]"),
    arguments!(
        "unattended",
        unattended,
        0,
        "it never asks",
        "To ask nobody before it acts: the sandbox is the permission.",
        "[\"--yes\"]"
    ),
    arguments!(
        "attended",
        attended,
        0,
        "none",
        "In place of `unattended`, to ask; and what else it would do otherwise that can't be done in a sandbox.",
        "[\"--ask\"]"
    ),
    arguments!("model", model, 1, "it can't", "To use a model that is named.", "[\"--model\", \"{}\"]"),
    arguments!("json", json, 0, "it can't", "To answer in JSON.", "[\"--format\", \"json\"]"),
    arguments!(
        "stream_json",
        stream_json,
        0,
        "it can't",
        "To tell in JSON what happens, as it happens.",
        "[\"--format\", \"stream-json\"]"
    ),
    arguments!(
        "prompt",
        prompt,
        1,
        "it takes none",
        "The task. What the user gives besides stands before it.",
        "[\"--prompt\", \"{}\"]"
    ),
];
