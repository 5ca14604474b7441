//! The Agent Client Protocol between an editor and an agent that is in a sandbox.
//!
//! The editor acts on the host for whoever speaks to it: it reads and writes files and runs commands. The agent is not
//! trusted with that, so what it asks of the editor is looked at message by message, and done in the sandbox where that can
//! be.

mod files;
mod message;
mod protocol;
mod relay;
mod trail;

use crate::{
    Spec,
    client::{Client, ClientError, Outcome},
    config::HostFacts,
    lines::Lines,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    io::Errno,
};
use std::time::{Duration, Instant};

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

/// Stays between the editor, which is at standard input and `output`, and the main command of a sandbox, until one of them
/// goes. Where it was the editor, the sandbox has been ended.
///
/// # Errors
/// [`ClientError`]; what the editor has asked for has been answered by then.
pub fn serve(client: &mut Client, spec: &Spec, host: &HostFacts, output: OwnedFd) -> Result<End, ClientError> {
    relay::Relay::begin(client, spec, host, output)?.serve()
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
