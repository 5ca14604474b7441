//! What is measured, in turn, and how it is printed.

use super::super::quantile;
use anyhow::{Context, Result};
use std::{fmt, fs, time::Duration};

/// What was measured on one way.
pub struct Row<W> {
    way: W,
    worker: Option<u64>,
    samples: Vec<f64>,
    /// The worker's time on a processor, which is the same however many others want one.
    cpu: Duration,
}

/// A line for each way, the first of which the others are compared with.
pub fn print<W: fmt::Display>(what: &str, unit: &str, rows: &[Row<W>], compare: fn(f64, f64) -> String) {
    let base = rows.first().map_or(f64::NAN, |row| middle(&row.samples));
    for Row { way, worker, samples, cpu } in rows {
        let value = middle(samples);
        let at = |percent| quantile(samples, percent).copied().unwrap_or(f64::NAN);
        let cpu = match worker {
            Some(_) => format!(", {:.3} ms of a processor each", cpu.as_secs_f64() * 1e3 / samples.len() as f64),
            None => String::new(),
        };
        println!(
            "  {what:<10} {way:<13} {:>4} runs  p10 {:>8.3}  p50 {value:>8.3}  p90 {:>8.3} {unit:<5}  {}{cpu}",
            samples.len(),
            at(10),
            at(90),
            compare(value, base)
        );
    }
}

pub fn of_direct(value: f64, direct: f64) -> String {
    format!("{:.2} of direct", value / direct)
}

/// Of what is sorted.
pub fn middle(samples: &[f64]) -> f64 {
    quantile(samples, 50).copied().unwrap_or(f64::NAN)
}

/// How long all threads of a process were on a processor.
fn cpu(pid: Option<u64>) -> Result<Duration> {
    let Some(pid) = pid else { return Ok(Duration::ZERO) };
    let mut all = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        // A thread that has ended meanwhile takes its time with it: workers keep theirs.
        let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        all += text.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(all))
}

/// Measures every way once a round, in turn, so that whatever disturbs the machine disturbs them all. A worker is the
/// process that does the work on a way.
pub fn in_turn<W: Copy>(
    rounds: usize,
    ways: &[W],
    workers: impl IntoIterator<Item = Option<u64>>,
    measure: impl Fn(W) -> Result<Vec<f64>>,
) -> Result<Vec<Row<W>>> {
    let row = |(&way, worker)| Row { way, worker, samples: Vec::new(), cpu: Duration::ZERO };
    let mut rows: Vec<_> = ways.iter().zip(workers).map(row).collect();
    for round in 0..rounds {
        for turn in 0..rows.len() {
            let at = (round + turn) % ways.len();
            let row = &mut rows[at];
            let before = cpu(row.worker)?;
            row.samples.extend(measure(row.way)?);
            row.cpu += cpu(row.worker)?.saturating_sub(before);
        }
    }
    for row in &mut rows {
        row.samples.sort_by(f64::total_cmp);
    }
    Ok(rows)
}

pub fn resident(pid: u64) -> Result<String> {
    Ok(format!("{} KiB, {} KiB", memory(pid, "VmRSS")?, memory(pid, "RssAnon")?))
}

/// A line of /proc/PID/status, in KiB.
pub fn memory(pid: u64, key: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("Cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).with_context(|| format!("{path} has no {key}"))
}
