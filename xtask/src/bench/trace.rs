//! Where the time of one start goes: the slowest system calls of every process on the way, by strace(1).
//!
//! The tracer slows everything down, short calls most: read it for the order of steps and for what is slow by itself.

use super::Bench;
use crate::run;
use anyhow::{Context, Result, bail};
use std::fs;

/// How many calls are worth a look.
const SHOWN: usize = 40;

struct Call {
    pid: String,
    at: f64,
    took: f64,
    text: String,
}

pub fn main(bench: &Bench) -> Result<()> {
    let strace = run::find("strace").context("strace is not installed")?;
    let log = bench.folder.path().join("trace");
    let mut argv = vec![strace.to_string_lossy().into_owned()];
    argv.extend(["-f", "-ttt", "-T", "-s", "60", "-o"].map(str::to_owned));
    argv.push(log.to_string_lossy().into_owned());
    argv.extend(bench.agentkernel(&["run", "--", "true"]));
    bench.check(&argv)?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let calls: Vec<Call> = text.lines().filter_map(call).collect();
    let (Some(first), Some(last)) = (calls.first(), calls.last()) else {
        bail!("strace told nothing");
    };
    let start = first.at;
    println!(
        "{} calls in {:.2} ms under the tracer; the {SHOWN} slowest in order:",
        calls.len(),
        (last.at - start) * 1e3
    );
    let mut slowest: Vec<&Call> = calls.iter().collect();
    slowest.sort_by(|a, b| b.took.total_cmp(&a.took));
    slowest.truncate(SHOWN);
    slowest.sort_by(|a, b| a.at.total_cmp(&b.at));
    for call in slowest {
        let text: String = call.text.chars().take(100).collect();
        println!("{:>9.3} ms {:>8.3} ms  {:>7}  {text}", (call.at - start) * 1e3, call.took * 1e3, call.pid);
    }
    Ok(())
}

/// A line of `strace -f -ttt -T`: `PID TIME call(...) = result <SECONDS>`.
fn call(line: &str) -> Option<Call> {
    let (pid, rest) = line.split_once(' ')?;
    let (at, text) = rest.trim_start().split_once(' ')?;
    let (text, took) = text.strip_suffix('>')?.rsplit_once(" <")?;
    Some(Call { pid: pid.to_owned(), at: at.parse().ok()?, took: took.parse().ok()?, text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::call;

    #[test]
    fn lines_of_strace_are_understood() {
        let got = call("4711  1700000000.250000 openat(AT_FDCWD, \"a <b>\", O_RDONLY) = 3 <0.001500>").unwrap();
        assert_eq!((got.pid.as_str(), got.at, got.took), ("4711", 1_700_000_000.25, 0.0015));
        assert_eq!(got.text, "openat(AT_FDCWD, \"a <b>\", O_RDONLY) = 3");
        assert!(call("4711 1700000000.250000 read(0,  <unfinished ...>").is_none());
        assert!(call("4711 1700000000.250000 +++ exited with 0 +++").is_none());
    }
}
