//! A disk of a test's own under a user's state, to be filled, seen only in a mount namespace of its own.

use crate::{NOBODY, PATH, Who, World, skipped, told};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A file system in memory, which ends with this.
pub struct Disk {
    state: PathBuf,
    holder: Child,
}

/// Everyone, if this process may mount.
#[must_use]
pub fn everyone() -> Vec<Who> {
    if rustix::process::getuid().is_root() {
        return Who::all();
    }
    skipped("full and read-only state directories", "only root can mount one for the test");
    Vec::new()
}

/// A program of the host's, as root.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", PATH);
    command
}

impl Disk {
    /// One of this size, where a world that has none yet will have its state.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[must_use]
    pub fn new(world: &World, size: &str) -> Self {
        let state = world.state();
        fs::create_dir(&state).unwrap();
        let owner = if world.who() == Who::Nobody { NOBODY } else { 0 };
        let script = format!(
            "mount -t tmpfs -o size={size},mode=700,uid={owner},gid={owner} tmpfs '{}' && echo ready && exec sleep 600",
            state.display()
        );
        let mut holder =
            program("unshare").args(["--mount", "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { state, holder }
    }

    /// What root's shell says where the file system is mounted, in it.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn root(&self, script: &str) -> String {
        let inside = format!("cd '{}' && {script}", self.state.display());
        let output = self.enter().args(["sh", "-c", &inside]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn enter(&self) -> Command {
        let mut command = program("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()));
        command
    }

    /// Takes all that is free.
    pub fn fill(&self) {
        // To the last byte: dd writes less and less.
        let _ = self.root("cat /dev/zero > fill 2>/dev/null; yes > rest 2>/dev/null; true");
    }

    /// Gives it back.
    pub fn free(&self) {
        let _ = self.root("rm -f fill rest");
    }

    /// Mounts it anew with these options.
    pub fn remount(&self, options: &str) {
        let _ = self.root(&format!("mount -o remount,{options} ."));
    }

    /// The bytes that are taken.
    ///
    /// # Panics
    /// If they cannot be told.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.root("df -B1 --output=used .").lines().nth(1).unwrap().trim().parse().unwrap()
    }

    /// `agentkernel` of this world, in there.
    #[must_use]
    pub fn agentkernel(&self, world: &World, arguments: &[&str]) -> Command {
        let template = world.agentkernel(arguments);
        let mut command = self.enter();
        if world.who() == Who::Nobody {
            let (uid, gid) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
            command.args(["setpriv", &uid, &gid, "--clear-groups"]);
        }
        // nsenter goes to the root directory of the namespace.
        command.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]).arg(world.project());
        command.arg(template.get_program()).args(template.get_args()).env_clear();
        command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
