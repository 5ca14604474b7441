//! What happens to a running sandbox, as it happens.

use super::{Client, ClientError};
use crate::{
    connection::Incoming,
    event::{EventRecord, LifeEvent, LifeRecord},
};
use wire::api;

/// The most that a line may have: a longer one is none of ours.
const LONGEST: usize = 1 << 20;

/// The events of a sandbox, from now on until it ends.
#[derive(Debug)]
pub struct Events {
    client: Client,
    stream: u32,
    /// Read, and not given yet.
    bytes: Vec<u8>,
    /// The last one that was given told that the sandbox has ended.
    stopped: bool,
}

impl Client {
    /// Asks for what happens from now on.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn events(mut self) -> Result<Events, ClientError> {
        let stream = self.ask(api::Call::Events)?;
        loop {
            match self.next()? {
                Incoming::Control(asked, payload) if asked == stream => {
                    return match wire::decode(&payload) {
                        Ok(api::Report::Done) => Ok(Events { client: self, stream, bytes: Vec::new(), stopped: false }),
                        Ok(api::Report::Failed(failure)) => Err(failure.into()),
                        _ => Err(ClientError::Nonsense),
                    };
                }
                Incoming::Closed(asked) if asked == stream => return Err(ClientError::Gone),
                _ => {}
            }
        }
    }
}

impl Events {
    /// Waits for the next event; `None` once the sandbox has ended.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Gone`] if the supervisor died, [`ClientError::Missed`] if the last events are missing.
    pub fn next_event(&mut self) -> Result<Option<EventRecord>, ClientError> {
        loop {
            if let Some(end) = self.bytes.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                let record = serde_json::from_slice(&line).map_err(|_| ClientError::Nonsense)?;
                self.stopped =
                    matches!(&record, EventRecord::Life(LifeRecord { event: LifeEvent::Stopped { .. }, .. }));
                return Ok(Some(record));
            }
            if self.bytes.len() > LONGEST {
                return Err(ClientError::Nonsense);
            }
            match self.client.next()? {
                Incoming::Data(stream, _, bytes) if stream == self.stream => {
                    self.client.connection.mux.consumed(stream, bytes.len());
                    self.bytes.extend(bytes);
                }
                Incoming::Control(stream, payload) if stream == self.stream => {
                    return match wire::decode(&payload) {
                        // An event has told it.
                        Ok(api::Report::Lost(_)) => continue,
                        Ok(api::Report::Stopped(_)) if self.stopped => Ok(None),
                        Ok(api::Report::Stopped(_)) => Err(ClientError::Missed),
                        _ => Err(ClientError::Nonsense),
                    };
                }
                Incoming::Closed(stream) if stream == self.stream => return Err(ClientError::Gone),
                _ => {}
            }
        }
    }
}
