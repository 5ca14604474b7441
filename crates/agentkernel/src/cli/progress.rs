//! Hides how a terminal shows how far an image is: a line for all of it, and one for each layer, drawn over and over.

use super::table;
use crate::image::{Layer, Stage};
use std::io::{Write as _, stderr};

/// How long a bar is.
const BAR: u64 = 24;
/// How much of a digest names a layer.
const DIGITS: usize = 12;
/// What is used of a terminal that does not tell its size.
const USUAL: (usize, usize) = (24, 80);

/// Bars on standard error, if that is a terminal. They are gone when this is.
pub(super) struct Bars {
    name: String,
    shown: bool,
    /// What stands there now.
    lines: Vec<String>,
}

impl Bars {
    /// For the image of this name; none where nobody wants them.
    pub(super) fn new(name: &str, wanted: bool) -> Self {
        let shown = wanted && rustix::termios::isatty(rustix::stdio::stderr());
        Self { name: table::printable(name), shown, lines: Vec::new() }
    }

    /// Shows how far the layers are.
    pub(super) fn draw(&mut self, layers: &[Layer], stages: &[Stage]) {
        if !self.shown {
            return;
        }
        let lines = lines(&self.name, layers, stages, size());
        if lines != self.lines {
            self.replace(lines);
        }
    }

    fn replace(&mut self, lines: Vec<String>) {
        let mut text = match self.lines.len() {
            0 => String::new(),
            drawn => format!("\x1b[{drawn}A"),
        };
        lines.iter().for_each(|line| text.extend([line, "\x1b[K\n"]));
        text.push_str("\x1b[J");
        // Nobody can be told of it elsewhere.
        let _ = stderr().write_all(text.as_bytes());
        self.lines = lines;
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if !self.lines.is_empty() {
            self.replace(Vec::new());
        }
    }
}

/// Rows and columns.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(rustix::stdio::stderr()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => USUAL,
    }
}

/// What is shown. No more than there is room for: what goes out at the top could not be drawn over.
fn lines(name: &str, layers: &[Layer], stages: &[Stage], (rows, columns): (usize, usize)) -> Vec<String> {
    let total: u64 = layers.iter().map(|layer| layer.size).sum();
    let here = |layer: &Layer, stage: &Stage| if let Stage::Coming(done) = stage { *done } else { layer.size };
    let done: u64 = layers.iter().zip(stages).map(|(layer, stage)| here(layer, stage)).sum();
    let ready = stages.iter().filter(|stage| **stage == Stage::Done).count();
    let (done, total) = (table::bytes(done), table::bytes(total));
    let mut lines = vec![format!("{name}: {done} of {total}, {ready} of {} layers", layers.len())];
    let room = rows.saturating_sub(2);
    // Those that are ready tell nothing new, if there is no room for all.
    let skipped = layers.len().saturating_sub(room).min(ready);
    let mut skip = skipped;
    for (layer, stage) in layers.iter().zip(stages) {
        if *stage == Stage::Done && skip > 0 {
            skip -= 1;
            continue;
        }
        let what = match stage {
            Stage::Coming(done) if *done < layer.size => bar(*done, layer.size),
            Stage::Coming(_) => "waits to be unpacked".to_owned(),
            Stage::Unpacking => "is unpacked".to_owned(),
            Stage::Done => "ready".to_owned(),
        };
        lines.push(format!("  {}  {what}", layer.blob.hex().get(..DIGITS).unwrap_or_default()));
    }
    lines.truncate(room + 1);
    // A line that is broken in two would be counted as one.
    lines.iter().map(|line| line.chars().take(columns.saturating_sub(1)).collect()).collect()
}

fn bar(done: u64, size: u64) -> String {
    let full = u128::from(done) * u128::from(BAR) / u128::from(size.max(1));
    let full = usize::try_from(full).unwrap_or_default();
    let empty = (BAR as usize).saturating_sub(full);
    format!("[{}{}] {} of {}", "#".repeat(full), "-".repeat(empty), table::bytes(done), table::bytes(size))
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
