//! `gc`: removes what dead sandboxes left behind.

use super::{Status, print, print_json};
use crate::store::Store;
use clap::Args;

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
        let swept = crate::client::sweep(&store, self.dry_run)?;
        if self.json {
            print_json(&swept)?;
        } else {
            let would = if self.dry_run { "Would remove " } else { "Removed " };
            for item in &swept {
                print(&format!("{would}{item}\n"))?;
            }
            if swept.is_empty() {
                print("Nothing to remove\n")?;
            }
        }
        Ok(0)
    }
}
