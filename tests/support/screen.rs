//! A terminal that a test types in and looks at: tmux.

use crate::{World, stdout};
use std::{process::Command, time::Duration};

/// What lies between two keys of a person.
const PAUSE: Duration = Duration::from_millis(500);

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

    /// Types to a program that takes what comes quickly for pasted, and an Enter that comes before it is ready for nothing:
    /// presses it until something is so that comes of it.
    ///
    /// # Panics
    /// If that takes a minute.
    #[track_caller]
    pub fn say(&self, text: &str, mut done: impl FnMut() -> bool) {
        self.tmux(&["send-keys", "-l", text]);
        self.shows(text);
        for turn in 0..2400 {
            if turn % 200 == 20 {
                self.keys(&["Enter"]);
            }
            if done() {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("nothing comes of '{text}':\n{}", self.shown());
    }

    /// Presses keys, again if that is not enough, until the program in front, which is one already, is the outer shell.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn leave(&self, keys: &[&str]) {
        for _ in 0..20 {
            std::thread::sleep(PAUSE);
            for key in keys {
                self.keys(&[key]);
                std::thread::sleep(PAUSE);
            }
            if self.is_settled() {
                return;
            }
        }
        panic!("the program in front does not end:\n{}", self.shown());
    }

    /// Waits until the program in front, which is one already, is the outer shell again: what is typed ahead goes to whoever
    /// reads it.
    ///
    /// # Panics
    /// If that takes thirty seconds.
    #[track_caller]
    pub fn settle(&self) {
        self.until("the program in front ends", || self.is_settled());
    }

    /// Waits for a text, and gives all that is shown then.
    ///
    /// # Panics
    /// If that takes thirty seconds.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        let mut screen = String::new();
        self.until(text, || {
            screen = self.shown();
            screen.contains(text)
        });
        screen
    }

    /// Waits until something is so that comes of what was typed.
    ///
    /// # Panics
    /// If that takes thirty seconds.
    #[track_caller]
    pub fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        for _ in 0..1200 {
            if done() {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("not within thirty seconds: '{what}':\n{}", self.shown());
    }

    fn is_settled(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{pane_current_command}"]).trim() == "sh"
    }

    /// All that is shown now.
    #[must_use]
    pub fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        let _ = self.world.command("tmux").args(["-S", &self.socket, "kill-server"]).output();
    }
}
