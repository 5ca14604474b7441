//! The ssh-agent of somebody whose keys are lent.

use crate::{World, eventually, stdout};
use rustix::process::{Pid, Signal};
use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, chown},
        net::UnixStream,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A running ssh-agent with one key, `~/.ssh/id`.
pub struct SshAgent {
    child: Child,
    /// Where it listens: `~/agent`.
    pub socket: PathBuf,
}

impl SshAgent {
    /// Starts one, with a new key if there is none yet.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(world: &World) -> Self {
        let (socket, key) = (world.home().join("agent"), world.home().join(".ssh/id"));
        let _ = fs::remove_file(&socket);
        if !key.exists() {
            let _ = stdout(world.command("mkdir").arg("-p").arg(world.home().join(".ssh")));
            // It wants its user to have a name.
            let _ =
                stdout(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&key));
            let owner = fs::metadata(world.home()).unwrap();
            for file in [&key, &key.with_extension("pub")] {
                chown(file, Some(owner.uid()), Some(owner.gid())).unwrap();
            }
        }
        let child = world.command("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn();
        let agent = Self { child: child.unwrap(), socket };
        eventually("the agent listens", || UnixStream::connect(&agent.socket).is_ok());
        let _ = stdout(world.command("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &agent.socket));
        agent
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
