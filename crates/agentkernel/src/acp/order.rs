//! What an agent wants run in a terminal: hides in which ways it can be asked for so that it cannot be run.

use super::message::Fault;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The most bytes of one: what the kernel takes at once is not much more.
const LONGEST: usize = 512 << 10;

/// A program, for a terminal of an editor's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// It; or, without arguments, a line for a shell.
    pub command: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Further variables, with their values.
    pub env: Vec<(String, String)>,
    /// Where in the sandbox it begins; an absolute path.
    pub cwd: String,
}

impl Order {
    /// The one that a request is about, which begins there if it does not say where.
    ///
    /// # Errors
    /// What is to be told to whoever has asked.
    pub(super) fn of(mut params: Map<String, Value>, cwd: &str) -> Result<Self, Fault> {
        let command = match text(params.remove("command"), "command")? {
            Some(command) if !command.is_empty() => command,
            _ => return Err(invalid("'command' is missing")),
        };
        let arguments = list(params.remove("args"), "'args' are a list of texts")?;
        let arguments = arguments
            .into_iter()
            .map(|argument| text(Some(argument), "args")?.ok_or_else(|| invalid("'args' are texts")));
        let env = list(params.remove("env"), "'env' is a list of variables")?;
        let cwd = text(params.remove("cwd"), "cwd")?.unwrap_or_else(|| cwd.to_owned());
        if !cwd.starts_with('/') {
            return Err(invalid("'cwd' is an absolute path"));
        }
        let order = Self {
            command,
            arguments: arguments.collect::<Result<_, _>>()?,
            env: env.into_iter().map(variable).collect::<Result<_, _>>()?,
            cwd,
        };
        if order.size() > LONGEST {
            return Err(invalid(&format!(
                "A command has at most {} KiB, with its arguments and variables",
                LONGEST >> 10
            )));
        }
        Ok(order)
    }

    /// How much is held for it.
    pub(super) fn size(&self) -> usize {
        let env = self.env.iter().map(|(name, value)| name.len() + value.len() + 2);
        let arguments = self.arguments.iter().map(|argument| argument.len() + 1);
        self.command.len() + self.cwd.len() + env.chain(arguments).sum::<usize>()
    }

    /// Whether the command is a line for a shell, as editors have it that run every command by one: it is alone, and is
    /// more than the name of a program.
    #[must_use]
    pub fn is_line(&self) -> bool {
        self.arguments.is_empty() && !super::place::is_plain(&self.command)
    }
}

fn invalid(message: &str) -> Fault {
    Fault::new(Fault::PARAMS, message)
}

/// A text that a program can be given.
fn text(value: Option<Value>, name: &str) -> Result<Option<String>, Fault> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.contains('\0') => Ok(Some(text)),
        Some(_) => Err(invalid(&format!("'{name}' has what is no text"))),
    }
}

fn list(value: Option<Value>, message: &str) -> Result<Vec<Value>, Fault> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(invalid(message)),
    }
}

fn variable(value: Value) -> Result<(String, String), Fault> {
    let Value::Object(mut variable) = value else { return Err(invalid("A variable is an object")) };
    let name = text(variable.remove("name"), "name")?.filter(|name| !name.is_empty() && !name.contains('='));
    let name = name.ok_or_else(|| invalid("A variable has a name without '='"))?;
    let value = text(variable.remove("value"), "value")?.ok_or_else(|| invalid("A variable has a value"))?;
    Ok((name, value))
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
