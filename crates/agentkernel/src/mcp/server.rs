//! What the protocol asks for, and who answers.

use super::{
    answers::Answers,
    background::{Background, Begun},
    calls::{self, Call, Course},
    frames::Order,
    helper::Workers,
    prompts, resources,
    roots::{self, Root},
    tools, unknown, worker,
};
use http::HeaderValue;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CustomRequest, CustomResult,
        GetPromptRequestParams, GetPromptResponse, Implementation, InputRequest, InputRequiredResult, InputResponses,
        JsonObject, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
        Tool,
    },
    service::{NotificationContext, RequestContext},
};
use serde::Serialize;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, Semaphore, broadcast},
    time::timeout,
};
use wire::Failure;

/// How long a client may take to tell its roots. One that does not is taken at its working directory.
const ROOTS: Duration = Duration::from_secs(10);

/// One client's server.
#[derive(Clone)]
pub(super) struct Server(Arc<Inner>);

/// Calls that are at work at once.
const AT_ONCE: usize = 64;

struct Inner {
    workers: Workers,
    free: Semaphore,
    background: Background,
    tools: Vec<Tool>,
    /// Where it was started: the root of a client that names none.
    cwd: Root,
    /// Those that the client has named; asked for when they are needed.
    roots: Mutex<Option<Vec<Root>>>,
    by: Roots,
    /// Tells of sessions that their clients have ended.
    ended: broadcast::Sender<HeaderValue>,
    /// Tells which answers go out.
    answers: Arc<Answers>,
}

/// What binds clients to projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// What the client tells: it has started the server, and is its only one.
    Told,
    /// Where the server was started: clients are several, and each would have others.
    Here,
}

/// What a call waits for before it can be made.
pub(super) enum Wanted<T> {
    Here(T),
    /// The client must be asked, in the way of the protocol's later revisions: by an answer that asks.
    Asked(InputRequiredResult),
}

impl Server {
    pub(super) fn new(workers: Workers, cwd: Root, by: Roots) -> Self {
        let (background, tools, roots) = (Background::new(), tools::all(), Mutex::default());
        let (free, ended) = (Semaphore::new(AT_ONCE), broadcast::Sender::new(AT_ONCE));
        let answers = Arc::new(Answers::new(by == Roots::Told));
        Self(Arc::new(Inner { workers, free, background, tools, cwd, roots, by, ended, answers }))
    }

    /// What a transport tells of the answers that go by it.
    pub(super) fn answers(&self) -> Arc<Answers> {
        self.0.answers.clone()
    }

    /// Ends the calls of a session of HTTP, for whose answers the protocol's own end waits.
    pub(super) fn end_session(&self, session: HeaderValue) {
        // Without a call there is nobody to hear it.
        let _ = self.0.ended.send(session);
    }

    /// Ends what was left running for the client.
    pub(super) async fn leave(&self) {
        self.0.background.leave().await;
    }

    /// The client's roots.
    pub(super) async fn roots(
        &self,
        context: &RequestContext<RoleServer>,
        answers: Option<&InputResponses>,
    ) -> Wanted<Vec<Root>> {
        if self.0.by == Roots::Here {
            return Wanted::Here(vec![self.0.cwd.clone()]);
        }
        let mut known = self.0.roots.lock().await;
        if let Some(roots) = &*known {
            return Wanted::Here(roots.clone());
        }
        let told = context.client_capabilities().is_some_and(|capabilities| capabilities.roots.is_some());
        let answer = match (told, calls::is_stateless(context)) {
            (false, _) => None,
            (true, false) => {
                #[expect(deprecated, reason = "roots bind a client to its projects as long as clients tell them")]
                let listed = timeout(ROOTS, context.peer.list_roots()).await;
                listed.ok().and_then(Result::ok).and_then(|listed| serde_json::to_value(listed).ok())
            }
            (true, true) => match answers.and_then(|answers| answers.get("roots")) {
                Some(answer) => Some(answer.clone()),
                None => {
                    let request = InputRequest::ListRoots(Default::default());
                    let requests = [("roots".to_owned(), request)].into();
                    return Wanted::Asked(InputRequiredResult::from_input_requests(requests));
                }
            },
        };
        let listed = answer.as_ref().and_then(|answer| answer.get("roots")).and_then(Value::as_array);
        let uris = listed.into_iter().flatten().filter_map(|root| root.get("uri").and_then(Value::as_str));
        let mut directories: Vec<Root> = uris.filter_map(|uri| Root::of(&roots::directory(uri)?).ok()).collect();
        if listed.is_none_or(Vec::is_empty) {
            directories.push(self.0.cwd.clone());
        }
        *known = Some(directories.clone());
        Wanted::Here(directories)
    }

    /// What is about a sandbox, and a worker does.
    async fn tool(
        &self,
        name: &str,
        arguments: JsonObject,
        answers: Option<InputResponses>,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let roots = match self.roots(context, answers.as_ref()).await {
            Wanted::Here(roots) => roots,
            Wanted::Asked(question) => return Ok(question.into()),
        };
        let background = name == "exec" && arguments.get("background") == Some(&Value::Bool(true));
        let arguments = Value::Object(arguments);
        let follow = background || context.meta.get_progress_token().is_some();
        let order = Order { tool: name.to_owned(), arguments, roots, follow, agreed: None };
        if background {
            let command = order.arguments.get("command").cloned().unwrap_or_default();
            let command: Option<worker::programs::Command> = serde_json::from_value(command).ok();
            let command = command.map(|command| command.text()).unwrap_or_default();
            let begun = self.0.background.begin(&self.0.workers, &order, command, &self.0.answers, context);
            return Ok(match begun.await {
                Ok(Some(Begun::Left(left))) => answer(&left),
                Ok(Some(Begun::Over(Ok(value)))) => CallToolResult::structured(value).into(),
                Ok(Some(Begun::Over(Err(failure)))) => refusal(&failure),
                Ok(None) => return Err(calls::cancelled()),
                Err(error) => refusal(&calls::broken(&error)),
            });
        }
        Ok(match self.call(order, answers.as_ref(), context).await? {
            Course::Done(value) => CallToolResult::structured(value).into(),
            Course::Failed(failure) => refusal(&failure),
            Course::Asked(question) => question.into(),
        })
    }

    /// What is about a command that was left running.
    async fn left(
        &self,
        name: &str,
        arguments: JsonObject,
        answers: Option<InputResponses>,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let roots = match self.roots(context, answers.as_ref()).await {
            Wanted::Here(roots) => roots,
            Wanted::Asked(question) => return Ok(question.into()),
        };
        let (background, arguments) = (&self.0.background, Value::Object(arguments));
        let told = async {
            let projects = worker::projects(&worker::real(&roots)?)?;
            match name {
                "stop_exec" => background.stop(worker::read(arguments)?, &projects).await,
                _ => background.read(worker::read(arguments)?, &projects).await,
            }
        };
        Ok(told.await.map_or_else(|failure| refusal(&failure), |output| answer(&output)))
    }

    /// Has a worker do something.
    pub(super) async fn call(
        &self,
        order: Order,
        answers: Option<&InputResponses>,
        context: &RequestContext<RoleServer>,
    ) -> Result<Course, ErrorData> {
        let (ended, given) = (&self.0.ended, &self.0.answers);
        Call { workers: &self.0.workers, free: &self.0.free, context, answers, ended, given }.make(order).await
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts().build();
        let us = Implementation::new("agentkernel", env!("CARGO_PKG_VERSION"))
            .with_title("agentkernel")
            .with_description("Runs commands in isolated sandboxes of a project");
        ServerConfig::new(capabilities).with_server_info(us).with_instructions(include_str!("instructions.md"))
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.0.tools.clone()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let CallToolRequestParams { name, arguments, input_responses, .. } = request;
        let Some(tool) = self.0.tools.iter().find(|tool| tool.name == name) else {
            return Err(ErrorData::invalid_params(format!("There is no tool '{name}'"), None));
        };
        let arguments = arguments.unwrap_or_default();
        if let Some(unknown) = tools::unknown(tool, &arguments) {
            return Ok(refusal(&Failure {
                cause: format!("'{name}' does not take '{unknown}'"),
                hint: "Its input schema says what it takes".into(),
            }));
        }
        match &*name {
            "read_output" | "stop_exec" => self.left(&name, arguments, input_responses, &context).await,
            _ => self.tool(&name, arguments, input_responses, &context).await,
        }
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        resources::list(self, &context).await
    }

    async fn list_resource_templates(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(resources::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        resources::read(self, request, &context).await
    }

    async fn list_prompts(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(prompts::list())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        prompts::get(&request).map(Into::into)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(unknown::refusal(request))
    }

    async fn on_roots_list_changed(&self, _context: NotificationContext<RoleServer>) {
        *self.0.roots.lock().await = None;
    }
}

fn answer<T: Serialize>(value: &T) -> CallToolResponse {
    match serde_json::to_value(value) {
        Ok(value) => CallToolResult::structured(value).into(),
        Err(error) => refusal(&Failure::from(error.to_string())),
    }
}

/// What a model reads of a failure: it can do something about most.
fn refusal(failure: &Failure) -> CallToolResponse {
    let text =
        if failure.hint.is_empty() { failure.cause.clone() } else { format!("{}\n{}", failure.cause, failure.hint) };
    CallToolResult::error(vec![ContentBlock::text(text)]).into()
}
