//! Servers that a bench starts, and that end with it.

use crate::run;
use anyhow::{Context, Result};
use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// A server that ends with this.
pub struct Server(Child);

pub fn eventually(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    for _ in 0..300 {
        if is_so() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    anyhow::bail!("Waited in vain until {what}")
}

impl Server {
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().with_context(|| format!("Cannot start {}", command.get_program().display()))?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first: an engine has processes and mounts of its own to end.
        let _ = run::capture(run::command("kill").arg(self.0.id().to_string()));
        let _ = self.0.wait();
    }
}
