//! The Agent Client Protocol between an editor and an agent that is in a sandbox.
//!
//! The editor acts on the host for whoever speaks to it: it reads and writes files and runs commands. The agent is not
//! trusted with that, so what it asks of the editor is looked at message by message, and done in the sandbox where that can
//! be.

mod files;
mod message;
mod order;
mod place;
mod protocol;
mod relay;
mod terminals;
mod trail;

pub use order::Order;
pub use place::COMMAND;

use crate::{
    Spec,
    client::{Client, ClientError, Outcome},
    config::HostFacts,
    lines::Lines,
    store::{Entry, Store},
    walk::{Links, Writable},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    io::Errno,
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// The most bytes of one message. What an agent reads into a prompt, pictures too, is less.
const LONGEST: usize = 32 << 20;

/// How the agent's time with the editor ended.
#[derive(Debug)]
pub enum End {
    /// The agent ended.
    Agent(Outcome),
    /// The editor went away, or somebody told this process to end.
    Editor,
}

/// Where terminals of the editor's begin in which programs of the sandbox run.
#[derive(Debug)]
pub struct Terminals {
    /// The sandbox, which has the orders; none if it has ended already.
    entry: Option<Entry>,
    place: Result<place::Place, String>,
}

impl Terminals {
    /// Those of a sandbox. If there can be none, that is told to whoever wants some.
    #[must_use]
    pub fn of(store: &Store, spec: &Spec) -> Self {
        match store.find(spec.id.as_str()) {
            Ok(entry) => Self { entry: Some(entry), place: place(store.path(), spec) },
            Err(error) => Self { entry: None, place: Err(wire::cause(&error)) },
        }
    }
}

fn place(state: &Path, spec: &Spec) -> Result<place::Place, String> {
    let failed = |error: std::io::Error| format!("our own program is not to be found: {error}");
    let program = std::env::current_exe().map_err(failed)?;
    // It runs on the host.
    for path in [&program, state] {
        if spec.writable_on_host().iter().any(|writable| leads_through(path, writable)) {
            return Err(format!("{} is where the sandbox can write", path.display()));
        }
    }
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| format!("{} is no text", path.display()));
    let cwd = text(spec.project().ok_or("the sandbox has no project")?)?;
    place::Place::of(&text(&program)?, &text(state)?, spec.id.as_str(), &cwd)
}

/// Whether a path lies in a directory, leads through it, or what is in that directory decides where it leads. When in doubt,
/// it does.
fn leads_through(path: &Path, dir: &Path) -> bool {
    let walked = Writable::of(&[dir.to_owned()], Links::Followed).entry(path, true);
    walked.map_or(true, |entry| entry.passes || entry.path().map_or(true, |real| real.starts_with(dir)))
}

/// Stays between the editor, which is at standard input and `output`, and the main command of a sandbox, until one of them
/// goes. Where it was the editor, the sandbox has been ended.
///
/// # Errors
/// [`ClientError`]; what the editor has asked for has been answered by then.
pub fn serve(
    client: &mut Client,
    spec: &Spec,
    host: &HostFacts,
    terminals: Terminals,
    output: OwnedFd,
) -> Result<End, ClientError> {
    relay::Relay::begin(client, spec, host, terminals, output)?.serve()
}

/// Answers what an editor asks first, where there is no agent: by why.
pub fn refuse(output: BorrowedFd<'_>, why: &str) {
    /// Editors ask at once.
    const PATIENCE: Duration = Duration::from_secs(2);
    let (end, input) = (Instant::now() + PATIENCE, rustix::stdio::stdin());
    let mut protocol = protocol::Protocol::new(None, &[]);
    let mut lines = Lines::new(LONGEST);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::new(&input.as_fd(), PollFlags::IN)], Some(&crate::client::timespec(left))) {
            Err(Errno::INTR) => continue,
            Ok(1..) => {}
            _ => return,
        }
        let Ok(count @ 1..) = rustix::io::read(input, &mut buffer) else { return };
        lines.push(&buffer[..count]);
        if let Some(Ok(line)) = lines.next() {
            protocol.hear_editor(&line);
            protocol.farewell(why, None);
            let told: Vec<u8> = protocol.to_editor.into();
            // It may be gone.
            let _ = rustix::io::write(output, &told);
            return;
        }
    }
}
