//! Resources: what a sandbox has, by address.

use super::{
    address::SANDBOX,
    calls::Course,
    frames::Order,
    server::{Server, Wanted},
    worker::resource::{Found, TOOL, Wanted as Address},
};
use rmcp::{
    ErrorData, RoleServer,
    model::{
        ListResourceTemplatesResult, ListResourcesResult, ReadResourceRequestParams, ReadResourceResponse,
        ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
    },
    service::RequestContext,
};
use serde_json::{Value, json};

/// What each sandbox has: the end of its address, a title, and what it is.
const EACH: [(&str, &str, &str); 2] = [
    ("log", "Log", "What its programs have written, the beginning and the end of it"),
    ("policy", "Policy", "What it may reach"),
];

/// Logs and policies of the client's sandboxes. Files are too many to be listed.
pub(super) async fn list(
    server: &Server,
    context: &RequestContext<RoleServer>,
) -> Result<ListResourcesResult, ErrorData> {
    // A client that must be asked for its roots by an answer can't be asked by this one: it has none yet.
    let Wanted::Here(roots) = server.roots(context, None).await else { return Ok(ListResourcesResult::default()) };
    let order = Order { tool: "list".into(), arguments: json!({}), roots, follow: false, agreed: None };
    let listed = match server.call(order, None, context).await? {
        Course::Done(value) => value,
        Course::Failed(failure) => return Err(ErrorData::internal_error(failure.cause, None)),
        Course::Asked(_) => Value::Null,
    };
    let sandboxes = listed.get("sandboxes").and_then(Value::as_array);
    let of = |sandbox: &Value| {
        let id = sandbox.get("id").and_then(Value::as_str)?.to_owned();
        let name = sandbox.get("name").and_then(Value::as_str).unwrap_or(&id).to_owned();
        Some(EACH.map(|(end, title, description)| {
            Resource::new(format!("{SANDBOX}{id}/{end}"), format!("{name}/{end}"))
                .with_title(format!("{title} of {name}"))
                .with_description(description)
                .with_mime_type("text/plain")
        }))
    };
    Ok(ListResourcesResult::with_all_items(sandboxes.into_iter().flatten().filter_map(of).flatten().collect()))
}

/// The same for any sandbox, and its files.
pub(super) fn templates() -> ListResourceTemplatesResult {
    let each = EACH.map(|(end, title, description)| {
        ResourceTemplate::new(format!("{SANDBOX}{{sandbox}}/{end}"), end)
            .with_title(title)
            .with_description(description)
    });
    let files = ResourceTemplate::new(format!("{SANDBOX}{{sandbox}}/files/{{+path}}"), "file")
        .with_title("File")
        .with_description("A file as the sandbox sees it, the first MiB of it; the path begins at its root");
    ListResourceTemplatesResult::with_all_items(each.into_iter().chain([files]).collect())
}

/// One of them.
pub(super) async fn read(
    server: &Server,
    request: ReadResourceRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<ReadResourceResponse, ErrorData> {
    let roots = match server.roots(context, request.input_responses.as_ref()).await {
        Wanted::Here(roots) => roots,
        Wanted::Asked(question) => return Ok(question.into()),
    };
    let uri = request.uri;
    let arguments = json!(Address { uri: uri.clone() });
    let order = Order { tool: TOOL.into(), arguments, roots, follow: false, agreed: None };
    let found = match server.call(order, None, context).await? {
        Course::Done(value) => serde_json::from_value(value).ok(),
        Course::Failed(failure) => {
            return Err(ErrorData::resource_not_found(
                failure.cause,
                Some(json!({ "uri": uri, "hint": failure.hint })),
            ));
        }
        Course::Asked(_) => None,
    };
    let contents = match found {
        Some(Found::Text(text)) => ResourceContents::text(text, uri),
        Some(Found::Base64(blob)) => ResourceContents::blob(blob, uri),
        None => return Err(ErrorData::internal_error("The worker's answer makes no sense", None)),
    };
    Ok(ReadResourceResult::new(vec![contents]).into())
}
