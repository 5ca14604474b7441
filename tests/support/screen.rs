//! A terminal that a test types in and looks at: tmux.

use crate::{World, stdout};
use std::{process::Command, time::Duration};

/// A terminal of 100 x 30 cells that runs a shell in the project.
pub struct Screen<'a> {
    world: &'a World,
    socket: String,
}

impl<'a> Screen<'a> {
    /// One on this host.
    #[must_use]
    pub fn new(world: &'a World) -> Self {
        Self::by(world, world.command("tmux"))
    }

    /// One that `tmux`, with the environment and on the host of that command, runs for the user of this world.
    #[must_use]
    pub fn by(world: &'a World, mut tmux: Command) -> Self {
        let socket = format!("{}/tmux", world.home().display());
        tmux.env("TERM", "xterm-256color").args(["-S", &socket, "-f", "/dev/null"]);
        let _ = stdout(tmux.args(["new-session", "-d", "-x", "100", "-y", "30", "env PS1='$ ' sh"]));
        Self { world, socket }
    }

    /// What tmux answers to a command of its own.
    #[track_caller]
    pub fn tmux(&self, arguments: &[&str]) -> String {
        let mut command: Command = self.world.command("tmux");
        command.env("TERM", "xterm-256color");
        stdout(command.args(["-S", &self.socket]).args(arguments))
    }

    /// Presses keys, as tmux calls them.
    #[track_caller]
    pub fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a line, and Enter.
    #[track_caller]
    pub fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    /// Waits until the program in front, which is one already, is the outer shell again: what is typed ahead goes to whoever
    /// reads it.
    ///
    /// # Panics
    /// If that takes ten seconds.
    #[track_caller]
    pub fn settle(&self) {
        for _ in 0..400 {
            if self.tmux(&["display-message", "-p", "#{pane_current_command}"]).trim() == "sh" {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("the program in front does not end:\n{}", self.tmux(&["capture-pane", "-p"]));
    }

    /// Waits for a text, and gives all that is shown then.
    ///
    /// # Panics
    /// If that takes ten seconds.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        let mut screen = String::new();
        for _ in 0..400 {
            screen = self.tmux(&["capture-pane", "-p"]);
            if screen.contains(text) {
                return screen;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("'{text}' does not appear on:\n{screen}");
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        let _ = self.world.command("tmux").args(["-S", &self.socket, "kill-server"]).output();
    }
}
