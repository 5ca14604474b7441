//! The caller's terminal: raw while a session lasts, as it was afterwards.

use egress::Secret;
use rustix::{
    fd::{AsFd, BorrowedFd},
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};
use std::io::{self, Write};
use wire::WinSize;

/// Which of the standard descriptors are terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stdio {
    /// Standard input.
    pub input: bool,
    /// Standard output.
    pub output: bool,
    /// Standard error.
    pub error: bool,
}

/// Asks for this process.
#[must_use]
pub fn is_terminal() -> Stdio {
    use rustix::{stdio, termios::isatty};
    Stdio { input: isatty(stdio::stdin()), output: isatty(stdio::stdout()), error: isatty(stdio::stderr()) }
}

/// Whether standard input is a directory, which nobody can read from.
#[must_use]
pub fn input_is_directory() -> bool {
    use rustix::fs::{FileType, fstat};
    fstat(rustix::stdio::stdin()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// The size of the caller's terminal, or the classic one where there is none.
#[must_use]
pub fn window_size() -> WinSize {
    let size = [rustix::stdio::stdout(), rustix::stdio::stdin()].into_iter().find_map(|fd| tcgetwinsize(fd).ok());
    match size {
        Some(size) if size.ws_row > 0 && size.ws_col > 0 => WinSize { rows: size.ws_row, cols: size.ws_col },
        _ => WinSize::default(),
    }
}

/// A terminal in raw mode; dropping it restores the mode that it had.
pub(super) struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    pub(super) fn enter(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal.as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // Nothing better can be done for a terminal that is gone.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Asks for a line that is not shown as it is typed; `None`: ctrl-c.
///
/// # Errors
/// If the terminal is gone.
pub fn ask_hidden(prompt: &str) -> io::Result<Option<Secret>> {
    /// Longer than anything that is asked for.
    const LONGEST: usize = 1 << 17;
    const INTERRUPT: u8 = 0x03;
    const END: u8 = 0x04;
    const BACKSPACE: u8 = 0x08;
    const ERASE_LINE: u8 = 0x15;
    const DELETE: u8 = 0x7f;
    let terminal = rustix::stdio::stdin();
    let mut shown = io::stderr();
    // At once, so that no part of it stays where a buffer was before it grew.
    let mut line = Vec::with_capacity(LONGEST);
    let raw = Raw::enter(terminal)?;
    // Whoever sees it may type: from here on nothing of that is shown.
    write!(shown, "{prompt}")?;
    let done = loop {
        let mut byte = [0];
        if rustix::io::read(terminal, &mut byte)? == 0 {
            break true;
        }
        match byte[0] {
            INTERRUPT => break false,
            END | b'\r' | b'\n' => break true,
            BACKSPACE | DELETE => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            ERASE_LINE => line.clear(),
            byte if line.len() < LONGEST => line.push(byte),
            _ => {}
        }
    };
    drop(raw);
    writeln!(shown)?;
    let line = Secret::new(line);
    Ok(done.then_some(line))
}

/// Finds `ctrl-p ctrl-q` in what is typed, as Docker does.
#[derive(Debug, Default)]
pub(super) struct DetachKeys {
    held: bool,
}

impl DetachKeys {
    const FIRST: u8 = 0x10;
    const SECOND: u8 = 0x11;

    /// Passes typed bytes on; true once the sequence was typed: what follows is not passed on. A ctrl-p waits for
    /// the next key.
    pub(super) fn filter(&mut self, typed: &[u8], passed: &mut Vec<u8>) -> bool {
        for &byte in typed {
            if self.held {
                if byte == Self::SECOND {
                    return true;
                }
                passed.push(Self::FIRST);
            }
            self.held = byte == Self::FIRST;
            if !self.held {
                passed.push(byte);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(parts: &[&[u8]]) -> (bool, Vec<u8>) {
        let (mut keys, mut passed) = (DetachKeys::default(), Vec::new());
        let found = parts.iter().any(|part| keys.filter(part, &mut passed));
        (found, passed)
    }

    #[test]
    fn finds_the_sequence_wherever_it_is_cut() {
        assert_eq!(run(&[b"ab\x10\x11cd"]), (true, b"ab".to_vec()));
        assert_eq!(run(&[b"ab\x10", b"\x11"]), (true, b"ab".to_vec()));
        assert_eq!(run(&[b"\x10\x10\x11"]), (true, b"\x10".to_vec()));
    }

    #[test]
    fn passes_everything_else() {
        assert_eq!(run(&[b"a\x10b\x11\x10", b"c"]), (false, b"a\x10b\x11\x10c".to_vec()));
    }
}
