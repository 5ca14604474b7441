//! The server of MCP: what a model on the host does in sandboxes of its project, over the client like any other front end.
//!
//! Two kinds of processes. The server speaks the protocol and touches no sandbox. A supervisor is split off from a process
//! with one thread, which the server is not: so what a tool does is done by a worker, a process of its own for each call. It
//! is tied to the server by a socket. When that ends, by a cancelled call or with the server itself, in whatever way, the
//! worker ends what it runs.

mod address;
mod answers;
mod background;
mod calls;
mod delivery;
mod frames;
mod helper;
mod http;
mod inbox;
mod prompts;
mod resources;
mod roots;
mod server;
mod stdio;
mod token;
mod tools;
mod unknown;
mod worker;

use crate::{
    Spec,
    client::Client,
    config::{HostFacts, Overrides, Project},
    store::{Entry, Lock, Store},
    workspace::Restored,
};
use rmcp::ServiceExt as _;
use std::{
    io,
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::sleep};
use wire::Failure;

pub use http::{PATH, is_local};
pub use token::Token;

/// How long calls that are under way have for their answers when the client has nothing more to say. The protocol's own end
/// gives them five seconds, if it is not held up.
const LAST: Duration = Duration::from_secs(6);

/// How sandboxes are made and started: as the commands do it.
pub trait Starter {
    /// The project that the caller stands in, with what is known of its trust.
    ///
    /// # Errors
    /// In words.
    fn project(&self, store: &Store, host: &HostFacts) -> Result<Project, Failure>;

    /// Makes a sandbox of the project that the caller stands in.
    ///
    /// # Errors
    /// In words.
    fn make(&self, store: &Store, overrides: &Overrides) -> Result<(Spec, Entry, Lock), Failure>;

    /// Starts one that is tied to the caller.
    ///
    /// # Errors
    /// In words.
    fn launch(&self, store: Store, entry: Entry, lock: Lock, spec: Spec) -> Result<Client, Failure>;

    /// Starts a kept one in the background, and waits until it runs.
    ///
    /// # Errors
    /// In words.
    fn start(&self, store: Store, entry: Entry, lock: Lock, spec: Spec) -> Result<(), Failure>;

    /// Keeps what the project's files are before a new sandbox changes them; before what, in words.
    ///
    /// # Errors
    /// In words.
    fn checkpoint(&self, store: &Store, spec: &Spec, before: &str) -> Result<(), Failure>;

    /// Makes a project what it was at a checkpoint, by default the last one; or only tells what would be done.
    ///
    /// # Errors
    /// In words.
    fn undo(&self, store: &Store, project: &Path, number: Option<u32>, dry_run: bool) -> Result<Restored, Failure>;

    /// Whether no sandbox is in the way of that just now.
    ///
    /// # Errors
    /// In words, if one is.
    fn may_undo(&self, store: &Store, project: &Path) -> Result<(), Failure>;
}

/// Serves a client on standard input and output until it goes.
///
/// # Errors
/// If there are no processes or descriptors for it.
pub fn serve(starter: &dyn Starter) -> io::Result<()> {
    run(starter, async |workers| {
        let service = server::Server::new(workers, roots::Root::of(Path::new("."))?, server::Roots::Told);
        let (input, output) = rmcp::transport::io::stdio_pipes();
        let (begun, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let transport = stdio::Stdio::new(input, output, begun.clone(), ended.clone(), service.answers());
        let serve = async {
            // A client that goes before it has said what it wants is no failure.
            if let Ok(running) = service.clone().serve(transport).await {
                // There is one thread: nothing more is read before.
                begun.store(true, Ordering::Relaxed);
                let _ = running.waiting().await;
            }
        };
        let gone = async {
            ended.notified().await;
            tokio::select! {
                // There is nobody left whom an answer could reach.
                () = stdio::unread() => {}
                () = sleep(LAST) => {}
            }
        };
        tokio::select! {
            () = serve => {}
            // What is left of it waits for somebody who reads no answers.
            () = gone => {}
        }
        service.leave().await;
        Ok(())
    })
}

/// Serves clients that come over HTTP and have the token, until it is ended. They see the project of the working directory.
///
/// # Errors
/// If there are no processes or descriptors for it.
pub fn serve_http(starter: &dyn Starter, listener: TcpListener, token: Token) -> io::Result<()> {
    run(starter, async |workers| {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let service = server::Server::new(workers, roots::Root::of(Path::new("."))?, server::Roots::Here);
        http::serve(listener, token, service).await;
        Ok(())
    })
}

fn run(starter: &dyn Starter, serve: impl AsyncFnOnce(helper::Workers) -> io::Result<()>) -> io::Result<()> {
    let workers = helper::begin(starter)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let ended = workers.ended()?;
        tokio::select! {
            served = serve(workers) => served,
            // Without it no call can be made. The client sees the server's end, and can start another.
            error = ended => Err(error),
        }
    });
    runtime.shutdown_background();
    served
}
