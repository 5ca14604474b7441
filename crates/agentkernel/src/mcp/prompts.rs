//! Prompts: what a user picks to have a model use sandboxes well.

use rmcp::{
    ErrorData,
    model::{GetPromptRequestParams, GetPromptResult, ListPromptsResult, Prompt, PromptArgument, PromptMessage, Role},
};
use serde_json::Value;

const SAFELY: &str = "do_safely";
const DENIALS: &str = "explain_denials";

/// All of them.
pub(super) fn list() -> ListPromptsResult {
    let argument = |name: &str, description: &str| {
        Some(vec![PromptArgument::new(name).with_description(description).with_required(true)])
    };
    ListPromptsResult::with_all_items(vec![
        Prompt::new(
            SAFELY,
            Some("Do a task in a sandbox that leaves the project as it is"),
            argument("task", "What is to be done"),
        )
        .with_title("Do it in a sandbox"),
        Prompt::new(
            DENIALS,
            Some("Find out what a sandbox was refused, and what to allow"),
            argument("sandbox", "Name or id of the sandbox"),
        )
        .with_title("Explain what was refused"),
    ])
}

/// One of them.
pub(super) fn get(request: &GetPromptRequestParams) -> Result<GetPromptResult, ErrorData> {
    let argument = |name: &str| {
        let value = request.arguments.as_ref().and_then(|arguments| arguments.get(name)).and_then(Value::as_str);
        value.ok_or_else(|| ErrorData::invalid_params(format!("The prompt takes '{name}'"), None))
    };
    let text = match request.name.as_str() {
        SAFELY => {
            let task = argument("task")?;
            format!(
                "Do this in a sandbox of agentkernel: {task}\n\nMake one with 'create' and workspace \"overlay\", so that this project's \
                 files stay as they are, and run every command in it with 'exec'. When it works, show me what would change, \
                 and ask before anything is written to the project itself. Remove the sandbox at the end."
            )
        }
        DENIALS => {
            let sandbox = argument("sandbox")?;
            format!(
                "Look with 'net_log' (denied) at what sandbox '{sandbox}' was refused. Tell me for each host which program wanted it and \
                 what for, as far as you can know, and whether it is needed for what I am doing. Propose the fewest rules that \
                 would do, as lines for [network] allow in agentkernel.toml. Allow nothing yourself."
            )
        }
        name => return Err(ErrorData::invalid_params(format!("There is no prompt '{name}'"), None)),
    };
    Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]))
}
