//! `gc`: removes what dead sandboxes left behind.

use super::{
    Failure, Status, build,
    failure::FAILED,
    print, print_json,
    table::{bytes, printable},
};
use crate::{
    SandboxId,
    image::{Images, Removed},
    store::{Store, Sweeping, Swept},
};
use clap::Args;
use serde::Serialize;

/// Remove what dead sandboxes left behind.
#[derive(Debug, Args)]
pub(super) struct Gc {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Gc {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        let mut rows: Vec<Row> = Vec::new();
        if !self.dry_run {
            let row = |id: SandboxId| Row {
                sandbox: Some(id.to_string()),
                what: "remove it, its build was killed".to_owned(),
                error: None,
            };
            let clear = || -> Result<(), Failure> {
                rows.extend(build::clear_dead(&store)?.into_iter().map(row));
                Ok(())
            };
            drop(Images::open(&store)?.building(clear)?);
        }
        let swept = crate::client::sweep(&store, self.dry_run)?;
        rows.extend(swept.iter().map(Row::from));
        // After the sandboxes, which may have held some of it.
        rows.extend(crate::client::sweep_cache(&store, self.dry_run)?.into_iter().map(|what| Row {
            sandbox: None,
            what: format!("remove {what}, which nothing uses"),
            error: None,
        }));
        let removed = Images::open(&store)?.clear(&store, self.dry_run)?;
        if removed != Removed::default() {
            let (layers, blobs, bytes) = (removed.layers, removed.blobs, bytes(removed.bytes));
            let what = format!("remove {layers} layers and {blobs} blobs of {bytes}, which are of no image");
            rows.push(Row { sandbox: None, what, error: None });
        }
        if self.json {
            print_json(&rows)?;
        } else {
            for row in &rows {
                let done = match (&row.error, self.dry_run) {
                    (None, false) => "done",
                    (None, true) => "would be done",
                    (Some(error), _) => error,
                };
                let whose = row.sandbox.as_deref().unwrap_or("cache");
                print(&format!("{}\n", printable(&format!("{whose}: {}: {done}", row.what))))?;
            }
            if rows.is_empty() {
                print("Nothing to clear\n")?;
            }
        }
        Ok(if rows.iter().any(|row| row.error.is_some()) { FAILED } else { 0 })
    }
}

#[derive(Serialize)]
struct Row {
    /// None: it is about the cache, which all share.
    sandbox: Option<String>,
    what: String,
    error: Option<String>,
}

impl From<&Swept> for Row {
    fn from(swept: &Swept) -> Self {
        let what = match &swept.what {
            Sweeping::Ephemeral => "remove it, its supervisor died".into(),
            Sweeping::HalfMade => "remove it, it was never finished".into(),
            Sweeping::Removal => "finish its removal".into(),
            Sweeping::Lost => "record that it was lost".into(),
            Sweeping::Name(name) => format!("free its name '{name}'"),
        };
        let error = swept.error.as_ref().map(|error| Failure::chain(error).cause);
        Self { sandbox: Some(swept.id.to_string()), what, error }
    }
}
