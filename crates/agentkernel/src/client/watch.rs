//! A program in a sandbox for a caller that is a program itself: it looks on as the program goes, and can take it back.

use super::{Client, ClientError, Outcome};
use crate::connection::Incoming;
use rustix::{fd::BorrowedFd, process::Signal};
use std::time::{Duration, Instant};
use wire::{
    Channel, ExecSpec, Exit, api,
    link::{ExecControl, ExecReport},
};

/// How long a program that was told to end may take for it; and then, for its end by force to be told.
const GRACE: Duration = Duration::from_secs(2);

/// How a program is looked on at.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// Its standard input; empty: it has none.
    pub input: &'a [u8],
    /// When it is ended at the latest.
    pub limit: Option<Duration>,
    /// It is ended when there is something to read here, an end too.
    pub leash: BorrowedFd<'a>,
}

/// What is seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// It runs.
    Started,
    /// It has written this.
    Output(Channel, &'a [u8]),
}

/// Why it was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Its time was up.
    Time,
    /// The caller wanted it.
    Leash,
}

/// What is known of it at its end.
#[derive(Debug)]
pub struct Watched {
    /// How it ended.
    pub outcome: Outcome,
    /// What the sandbox has to say of it, such as connections that were refused.
    pub notices: Vec<String>,
}

impl Client {
    /// Runs a program to its end, or ends it: with SIGTERM, and a little later with SIGKILL.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Late`] if it was killed and its end is not told.
    pub fn watch(
        &mut self,
        spec: ExecSpec,
        watch: Watch<'_>,
        see: &mut dyn FnMut(Seen<'_>),
    ) -> Result<Watched, ClientError> {
        let stream = self.open(&api::Open::Exec { spec, detach: false, tied: false })?;
        self.end = watch.limit.and_then(|limit| Instant::now().checked_add(limit));
        let watched = self.look_on(stream, watch, see);
        self.end = None;
        self.connection.mux.close(stream);
        watched
    }

    fn look_on(
        &mut self,
        of: u32,
        Watch { mut input, leash, .. }: Watch<'_>,
        see: &mut dyn FnMut(Seen<'_>),
    ) -> Result<Watched, ClientError> {
        let (mut leash, mut cut) = (Some(leash), None);
        let mut signals = [Signal::TERM, Signal::KILL].into_iter();
        let (mut notices, mut lost) = (Vec::new(), None);
        let mut ended = !input.is_empty();
        loop {
            if !input.is_empty() {
                let sent = self.connection.mux.data(of, Channel::Stdin, input);
                input = &input[sent..];
            } else if std::mem::take(&mut ended) {
                self.connection.mux.eof(of, Channel::Stdin);
            }
            // Whoever writes all the time is never waited for.
            let late = self.end.is_some_and(|end| end <= Instant::now());
            let incoming = match if late { Err(ClientError::Late) } else { self.next_unless(leash) } {
                Err(error @ (ClientError::Interrupted | ClientError::Late)) => {
                    let why = if matches!(error, ClientError::Late) { Cut::Time } else { Cut::Leash };
                    (cut, leash) = (cut.or(Some(why)), None);
                    let Some(signal) = signals.next() else { return Err(ClientError::Late) };
                    let signal = ExecControl::Signal(signal.as_raw() as u8);
                    self.connection.control(of, &api::Control::Exec(signal));
                    self.end = Instant::now().checked_add(GRACE);
                    continue;
                }
                incoming => incoming?,
            };
            match incoming {
                Incoming::Data(stream, channel, bytes) => {
                    self.connection.mux.consumed(stream, bytes.len());
                    if stream == of {
                        see(Seen::Output(channel, &bytes));
                    }
                }
                Incoming::Control(stream, payload) if stream == of => match wire::decode(&payload) {
                    Ok(api::Report::Exec { report: ExecReport::Started { .. }, .. }) => see(Seen::Started),
                    Ok(api::Report::Exec { report: ExecReport::Exited(exit), .. }) => {
                        let outcome = match (lost, cut) {
                            (Some(why), _) if exit == Exit::Lost => Outcome::Lost { why },
                            (_, Some(Cut::Time)) => Outcome::Exited(Exit::Deadline),
                            _ => Outcome::Exited(exit),
                        };
                        return Ok(Watched { outcome, notices });
                    }
                    Ok(api::Report::Exec { report: ExecReport::Failed { kind, cause }, .. }) => {
                        return Ok(Watched { outcome: Outcome::Failed { kind, cause }, notices });
                    }
                    Ok(api::Report::Notice(notice)) => notices.push(notice),
                    Ok(api::Report::Lost(why)) => lost = Some(why),
                    Ok(api::Report::Failed(failure)) => return Err(failure.into()),
                    _ => return Err(ClientError::Nonsense),
                },
                Incoming::Closed(stream) if stream == of => return Err(ClientError::Gone),
                _ => {}
            }
        }
    }
}
