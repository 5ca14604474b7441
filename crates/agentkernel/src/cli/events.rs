//! `events`: what happens to a running sandbox, as it happens.

use super::{Status, net, print, print_json, table};
use crate::{
    client::{Found, find_settled},
    event::{EventRecord, LifeEvent, LifeRecord},
    store::{Store, StoreError},
};
use clap::Args;

/// Show what happens to a running sandbox, until it ends: commands that start and end, connections that are made,
/// refused and closed.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Print a JSON object on each line
    #[arg(long)]
    json: bool,
    /// Name, id or prefix of an id
    sandbox: String,
}

impl Events {
    pub(super) fn run(self) -> Status {
        let entry = Store::open()?.find(&self.sandbox)?;
        let client = match find_settled(&entry)? {
            Found::Running(client) => client,
            Found::Idle(_) => return Err(StoreError::NotRunning { id: entry.id().clone() }.into()),
        };
        let mut events = client.events()?;
        loop {
            match events.next_event() {
                Ok(Some(record)) if self.json => print_json(&record)?,
                Ok(Some(record)) => print(&line(&record))?,
                Ok(None) => return Ok(0),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// An event as people read it.
fn line(record: &EventRecord) -> String {
    let LifeRecord { time_ms, sandbox, name, event } = match record {
        EventRecord::Life(record) => record,
        EventRecord::Audit(record) => return net::line(record),
    };
    let time = table::time(*time_ms);
    let name = name.clone().unwrap_or_else(|| sandbox.to_string());
    let words = match event {
        LifeEvent::ExecStarted { exec, pid, command } => format!("started  exec {exec} (pid {pid}): {command}"),
        LifeEvent::ExecFailed { exec, cause } => format!("failed  exec {exec}: {cause}"),
        LifeEvent::ExecEnded { exec, exit, .. } => format!("ended  exec {exec}: {exit}"),
        LifeEvent::Unheard { cause } => format!("unheard  refused changes of protected paths: {cause}"),
        LifeEvent::Lost { cause } => format!("lost  {cause}"),
        LifeEvent::Stopped { exit, .. } => format!("stopped  {exit}"),
        LifeEvent::Skipped { count } => format!("skipped  {count} events, which came faster than they were read"),
    };
    table::printable(&format!("{time}  {name}  {words}")) + "\n"
}
