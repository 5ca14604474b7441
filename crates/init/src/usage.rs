//! Hides where /proc says what the sandbox's processes use.

use std::{fs, io};
use wire::link::Usage;

/// Sums over every process of this pid namespace. One that ends meanwhile is left out.
///
/// Processor time includes that of ended children: each live process carries that of the ones it waited for, and
/// init that of all orphans.
///
/// # Errors
/// If /proc cannot be read.
pub fn usage() -> io::Result<Usage> {
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let page = rustix::param::page_size() as u64;
    let mut sum = Usage::default();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let Some(process) = fs::read(entry.path().join("stat")).ok().and_then(|stat| parse(&stat)) else { continue };
        sum.processes += 1;
        sum.resident += process.resident_pages * page;
        sum.cpu_us += process.ticks * 1_000_000 / ticks;
    }
    Ok(sum)
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    ticks: u64,
    resident_pages: u64,
}

/// Reads /proc/PID/stat (proc_pid_stat(5)). The name in it can hold anything, parentheses and spaces included.
fn parse(stat: &[u8]) -> Option<Process> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = str::from_utf8(&stat[end + 1..]).ok()?;
    // The first field here is the third of the manual page: the state.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    // utime, stime, cutime, cstime are 14 to 17; rss is 24.
    Some(Process { ticks: (14..=17).map(number).sum::<Option<u64>>()?, resident_pages: number(24)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses() {
        let stat = b"7 (a) b (c)) S 1 7 7 0 -1 4194560 139 0 0 0 10 20 30 40 20 0 1 0 100 3000000 321 \
            18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0\n";
        assert_eq!(parse(stat), Some(Process { ticks: 100, resident_pages: 321 }));
    }

    #[test]
    fn cut_off() {
        assert_eq!(parse(b"7 (sh) S 1 7"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = usage().unwrap();
        assert!(usage.processes >= 1 && usage.resident > 0, "{usage:?}");
    }
}
