//! What a sandbox may use.

use super::Row;
use crate::bench::BOX;
use support::told;

pub const CASES: &[Row] = &[
    ("out of memory is told as such", "limits", |b| {
        let output = b.run(&["--memory", "48M"], &["tail", "/dev/zero"]).output().unwrap();
        assert_eq!(output.status.code(), Some(137), "{}", told(&output));
        assert!(told(&output).contains("memory limit was reached"), "{}", told(&output));
    }),
    ("who survives the death of a child is told of it", "limits", |b| {
        let output = b.sh(&["--memory", "48M"], "tail /dev/zero; echo survived");
        assert!(output.status.success() && told(&output).contains("survived"), "{}", told(&output));
        assert!(told(&output).contains("1 process was killed"), "{}", told(&output));
    }),
    ("files in memory count as memory", "limits", |b| {
        let output = b.sh(&["--memory", "48M"], "head -c 100000000 /dev/zero > /dev/shm/x; echo $?");
        assert_ne!(String::from_utf8_lossy(&output.stdout).trim(), "0", "{}", told(&output));
    }),
    ("an exec that runs out of memory leaves the others", "limits", |b| {
        b.kept(&["--memory", "48M"], &["sleep", "600"]);
        let output = b.agentkernel(&["exec", BOX, "tail", "/dev/zero"]).output().unwrap();
        assert_eq!(output.status.code(), Some(137), "{}", told(&output));
        assert_eq!(b.exec("echo here"), "here\n");
    }),
    ("a fork bomb is contained", "limits", |b| {
        let script = "n=0; while [ $n -lt 60 ]; do sleep 5 & n=$((n+1)); done; echo all";
        let output = b.sh(&["--pids", "24"], script);
        assert!(!told(&output).contains("all") && told(&output).contains("can't fork"), "{}", told(&output));
    }),
    ("the disk of an ephemeral sandbox is limited", "disk limit", |b| {
        let output = b.sh(&["--disk", "4M", "--workspace", "none"], "head -c 9000000 /dev/zero > /tmp/x || echo full");
        assert!(told(&output).contains("full"), "{}", told(&output));
    }),
    ("open files and file sizes are limited", "", |b| {
        b.write("agentkernel.toml", "[resources]\nnofile = 32\nfsize = \"1M\"\n");
        let output = b.sh(&[], "ulimit -n; head -c 2000000 /dev/zero > /tmp/x; echo $?");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.starts_with("32\n") && !text.ends_with("\n0\n"), "{}", told(&output));
    }),
    ("no core files", "", |b| {
        assert_eq!(b.works(&[], "ulimit -c"), "0\n");
    }),
    ("too little is refused", "", |b| {
        let output = b.run(&["--memory", "1M"], &["true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(told(&output).contains("too little"), "{}", told(&output));
    }),
    ("processors are limited", "limits", |b| {
        // In three to four seconds it has worked for less than one, where another would have for three.
        let script = "read up _ < /proc/uptime; end=$((${up%.*} + 4)); \
                      while read up _ < /proc/uptime; [ ${up%.*} -lt $end ]; do :; done; times | head -n 1";
        let text = b.works(&["--cpus", "0.25"], script);
        let used = |word: &str| word.strip_prefix("0m").and_then(|word| word.strip_suffix('s')?.parse::<f64>().ok());
        let used: Vec<f64> = text.split_whitespace().filter_map(used).collect();
        assert!(used.len() == 2 && used.iter().sum::<f64>() < 1.5, "{text}");
    }),
];
