//! Requests that are none of the protocol's: hides how one whose parameters are wrong is told from one that nobody knows.

use rmcp::{
    ErrorData,
    model::{
        CallToolRequestParams, CustomRequest, ErrorCode, GetPromptRequestParams, InitializeRequestParams,
        ReadResourceRequestParams,
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is answered to one.
pub(super) fn refusal(request: CustomRequest) -> ErrorData {
    let CustomRequest { method, params, .. } = request;
    let params = params.unwrap_or_default();
    let why = match &*method {
        "initialize" => why::<InitializeRequestParams>(params),
        "tools/call" => why::<CallToolRequestParams>(params),
        "prompts/get" => why::<GetPromptRequestParams>(params),
        "resources/read" => why::<ReadResourceRequestParams>(params),
        "ping" | "server/discover" | "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
            why::<Value>(params)
        }
        _ => return ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("There is no method '{method}'"), None),
    };
    ErrorData::invalid_params(format!("The parameters of '{method}' are wrong: {why}"), None)
}

/// Why they are no parameters of this kind.
fn why<T: DeserializeOwned>(params: Value) -> String {
    match params {
        Value::Null => "There are none".to_owned(),
        Value::Object(_) => match serde_json::from_value::<T>(params) {
            Err(error) => error.to_string(),
            // They are taken out of it before.
            Ok(_) => "'_meta' is not as it should be".to_owned(),
        },
        _ => "They are no object".to_owned(),
    }
}
