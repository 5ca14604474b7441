//! Hides from the server what a stream is for: an exec, a transfer of files, a connection.

use crate::{link::LinkError, poll::Event, pump::Cx};
use wire::{Channel, Exit};

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do until something happens.
    Wait,
    /// There is more to do; let others have their turn first.
    Again,
    /// The stream is over on this side: it was closed, and its state can go.
    Done,
}

/// One stream of the link and what it drives. Everything but [`step`](Self::step) only takes note; a step follows.
pub trait Activity {
    /// Data from the supervisor.
    fn data(&mut self, cx: &mut Cx<'_>, bytes: &[u8]);

    /// No more data from the supervisor.
    fn eof(&mut self, channel: Channel);

    /// A message from the supervisor.
    ///
    /// # Errors
    /// If it is none that belongs here.
    fn control(&mut self, cx: &mut Cx<'_>, payload: &[u8]) -> Result<(), LinkError>;

    /// The supervisor is done with the stream.
    fn closed(&mut self, cx: &mut Cx<'_>);

    /// One of its descriptors has something to say.
    fn ready(&mut self, event: Event);

    /// Its process has ended.
    fn exited(&mut self, exit: Exit);

    /// The sandbox is asked to end.
    fn hang_up(&self) {}

    /// Nobody waits for the stream any longer: says how its process has ended, if it has.
    fn last_word(&mut self, _cx: &mut Cx<'_>) {}

    /// Whether the end of the sandbox waits until this stream is over.
    fn has_process(&self) -> bool {
        true
    }

    /// Moves what can be moved.
    fn step(&mut self, cx: &mut Cx<'_>) -> Step;
}
