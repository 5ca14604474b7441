//! `stats`: what running sandboxes use.

use super::{Failure, Status, print, print_json, table};
use crate::{client::Client, store::Store};
use clap::Args;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Show what sandboxes use.
#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Names, ids or prefixes of ids; without, every running sandbox
    #[arg(value_name = "SANDBOX")]
    sandboxes: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    id: String,
    name: Option<String>,
    processes: u32,
    memory_bytes: u64,
    memory_limit_bytes: Option<u64>,
    cpu_us: u64,
    /// Processor time per time, over the last tenth of a second; 1.0 is one processor.
    cpu_share: f64,
}

impl Stats {
    pub(super) fn run(self) -> Status {
        const INTERVAL: Duration = Duration::from_millis(100);
        // Init may be the one who counts, and it may be somebody else's by now.
        const PATIENCE: Duration = Duration::from_secs(5);
        let store = Store::open()?;
        let named = !self.sandboxes.is_empty();
        let entries = if named {
            self.sandboxes.iter().map(|reference| store.find(reference)).collect::<Result<Vec<_>, _>>()?
        } else {
            store.list()?.iter().filter_map(|listed| store.get(&listed.id).transpose()).collect::<Result<_, _>>()?
        };
        let mut running = Vec::new();
        for entry in entries {
            let first = |mut client: Client| Ok((client.usage()?, Instant::now(), client));
            match Client::connect_within(&entry, PATIENCE).and_then(first) {
                Ok(first) => running.push((entry, first)),
                Err(error) if named => return Err(error.into()),
                Err(_) => {}
            }
        }
        if !running.is_empty() {
            std::thread::sleep(INTERVAL);
        }
        let mut rows = Vec::new();
        for (entry, (before, at, mut client)) in running {
            // One that has ended meanwhile uses nothing.
            let (Ok(now), Ok(spec)) = (client.usage(), entry.spec()) else { continue };
            let elapsed = at.elapsed().as_micros().max(1) as f64;
            rows.push(Row {
                id: entry.id().to_string(),
                name: spec.name.map(String::from),
                processes: now.processes,
                memory_bytes: now.resident,
                memory_limit_bytes: spec.limits.memory,
                cpu_us: now.cpu_us,
                cpu_share: now.cpu_us.saturating_sub(before.cpu_us) as f64 / elapsed,
            });
        }
        if self.json {
            print_json(&rows)?;
        } else {
            print(&text(&rows))?;
        }
        Ok::<u8, Failure>(0)
    }
}

fn text(rows: &[Row]) -> String {
    let cells = |row: &Row| {
        vec![
            row.id.clone(),
            row.name.clone().unwrap_or_default(),
            format!("{:.1}%", row.cpu_share * 100.0),
            match row.memory_limit_bytes {
                Some(limit) => format!("{} / {}", table::bytes(row.memory_bytes), table::bytes(limit)),
                None => table::bytes(row.memory_bytes),
            },
            row.processes.to_string(),
        ]
    };
    table::render(&["ID", "NAME", "CPU", "MEMORY", "PROCESSES"], &rows.iter().map(cells).collect::<Vec<_>>())
}
