//! A sandbox that goes on while a test looks at it from outside: what runs in it, what it runs by, what it leaves.

use crate::ground::{Ground, PRELUDE};
use std::{
    fs,
    io::{BufRead as _, BufReader, Lines},
    process::{Child, ChildStdout, Command, Output, Stdio},
};
use support::{eventually, inspected, stdout, told};

/// What every kept sandbox of a test is called.
pub const BOX: &str = "box";

/// A sandbox that runs until this is dropped.
pub struct Kept<'a> {
    pub ground: &'a Ground,
}

/// A program in a sandbox that the test listens to.
pub struct Talk {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl<'a> Kept<'a> {
    /// Starts one with these options of `create`.
    #[track_caller]
    pub fn new(ground: &'a Ground, options: &[&str]) -> Self {
        Self::with(ground, options, |_| {})
    }

    /// The same, with changes to the command that starts it.
    #[track_caller]
    pub fn with(ground: &'a Ground, options: &[&str], change: impl Fn(&mut Command)) -> Self {
        for words in [&[&["create", "--name", BOX], options].concat()[..], &["start", BOX]] {
            let mut command = ground.internet.agentkernel(&ground.world, words);
            change(&mut command);
            let _ = stdout(&mut command);
        }
        Self { ground }
    }

    fn exec(&self, script: &str) -> Command {
        let script = format!("{PRELUDE}\n{script}");
        let words = ["exec", BOX, "timeout", "70", "python3", "-u", "-c", &script];
        self.ground.internet.agentkernel(&self.ground.world, &words)
    }

    /// Runs a Python script, however it ends.
    pub fn python(&self, script: &str) -> Output {
        self.exec(script).output().unwrap()
    }

    /// Runs a Python script, which must end well.
    #[track_caller]
    pub fn works(&self, script: &str) -> String {
        let output = self.python(script);
        assert!(output.status.success(), "{}\n{:#?}", told(&output), self.ground.log(&[]));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a Python script.
    pub fn talk(&self, script: &str) -> Talk {
        let mut child = self.exec(script).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Talk { child, lines }
    }

    /// Its supervisor.
    pub fn supervisor(&self) -> u32 {
        inspected(&self.ground.world, BOX, "supervisor_pid")
    }

    /// Its first process.
    pub fn init(&self) -> u32 {
        inspected(&self.ground.world, BOX, "init_pid")
    }

    /// Its egress, if there is one now.
    pub fn egress(&self) -> Option<u32> {
        self.ground.world.processes().into_iter().find(|(_, name)| name == "ak-egress").map(|(pid, _)| pid)
    }

    /// Its egress, which there must be.
    #[track_caller]
    pub fn running_egress(&self) -> u32 {
        self.egress().unwrap_or_else(|| panic!("no egress: {:?}", self.ground.world.processes()))
    }

    /// Every process in it; none, where this user may not know.
    pub fn processes(&self) -> Vec<u32> {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(own) = namespace(self.init()) else { return Vec::new() };
        let all = fs::read_dir("/proc").unwrap().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
        pids.filter(|&pid| namespace(pid).as_ref() == Some(&own)).collect()
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let _ = self.ground.internet.agentkernel(&self.ground.world, &["rm", "-f", BOX]).output();
        if !std::thread::panicking() {
            eventually("nothing is left", || self.ground.world.leftovers().is_empty());
        }
    }
}

impl Talk {
    /// The next line that it prints.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.lines.next().unwrap_or_else(|| panic!("it has ended: {:?}", self.child.wait())).unwrap()
    }

    /// Waits until it ends: well, or this fails.
    #[track_caller]
    pub fn end(mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// How many descriptors a process has open; none, where this user may not know.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
