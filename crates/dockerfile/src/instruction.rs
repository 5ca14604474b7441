//! What a Dockerfile says, as values. Words are as they were written: what their variables stand for is known when it is
//! built.

use crate::word::Word;

/// A whole Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// Which frontend of BuildKit it was written for, if it says so. This is noted, and not obeyed.
    pub syntax: Option<String>,
    /// `ARG` before the first `FROM`: what `FROM` may use.
    pub arguments: Vec<(String, Option<Word>)>,
    /// What it builds, in its order. There is at least one.
    pub stages: Vec<Stage>,
}

/// A `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The line of `FROM`.
    pub line: usize,
    /// The instruction as it was written, on one line.
    pub text: String,
    /// An image, a stage before this one, or `scratch`.
    pub image: Word,
    /// `--platform`
    pub platform: Option<Word>,
    /// `AS NAME`, in lower case.
    pub name: Option<String>,
    /// What is done.
    pub steps: Vec<Step>,
}

/// An instruction, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its first line.
    pub line: usize,
    /// As it was written, on one line.
    pub text: String,
    /// What it says.
    pub instruction: Instruction,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `RUN`
    Run(Run),
    /// `COPY`
    Copy(Copy),
    /// `ADD`: the same, and a tar archive is unpacked.
    Add(Copy),
    /// `ENV`
    Env(Vec<(Word, Word)>),
    /// `ARG`: names with their defaults.
    Arg(Vec<(String, Option<Word>)>),
    /// `WORKDIR`
    Workdir(Word),
    /// `USER`
    User(Word),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `CMD`
    Cmd(Command),
    /// `LABEL`
    Label(Vec<(Word, Word)>),
    /// `EXPOSE`
    Expose(Vec<Word>),
    /// `VOLUME`
    Volume(Vec<Word>),
    /// `SHELL`
    Shell(Vec<String>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `STOPSIGNAL`
    Stopsignal(Word),
    /// `ONBUILD`: an instruction for whoever begins with this image.
    Onbuild(String),
    /// `MAINTAINER`
    Maintainer(String),
}

/// A program with its arguments, or a line for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// For the shell. What here-documents say follows on lines of their own.
    Shell(String),
    /// As it is.
    Exec(Vec<String>),
    /// A here-document alone, which begins with `#!`: a program of its own.
    Script(String),
}

/// `RUN`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What it runs.
    pub command: Command,
    /// What it sees that does not stay.
    pub mounts: Vec<Mount>,
}

/// `--mount`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// A directory that the next build has again.
    Cache {
        /// Its name; without, its place.
        id: Option<Word>,
        /// Where.
        target: Word,
        /// Whether it cannot be written to.
        read_only: bool,
        /// Whether others may have it at the same time.
        sharing: Sharing,
        /// Its mode when it is new.
        mode: u32,
        /// Its owner when it is new.
        owner: (u32, u32),
    },
    /// Files of the context, of a stage or of an image; read-only.
    Bind {
        /// Whose; without, the context's.
        from: Option<Word>,
        /// Which.
        source: Word,
        /// Where.
        target: Word,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Where.
        target: Word,
        /// Its size in bytes.
        size: Option<u64>,
    },
}

/// Whether two builds at once may have one cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// They may.
    Shared,
    /// The second one waits.
    Locked,
}

/// `COPY` and `ADD`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// `--from`: a stage or an image; without, the context.
    pub from: Option<Word>,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// What is copied.
    pub sources: Vec<Source>,
    /// Where to.
    pub to: Word,
}

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// What a pattern fits.
    Path(Word),
    /// What stands in the Dockerfile.
    Inline(Inline),
}

/// A here-document that becomes a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inline {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub content: Word,
    /// Whether variables in it are replaced.
    pub expand: bool,
}

/// `HEALTHCHECK`: times are in nanoseconds, 0 is the usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthcheck {
    /// How it is looked.
    pub check: Check,
    /// Between two looks.
    pub interval: u64,
    /// For one look.
    pub timeout: u64,
    /// In which failures do not count.
    pub start_period: u64,
    /// Between two looks in that time.
    pub start_interval: u64,
    /// How many failures in a row count.
    pub retries: u64,
}

/// How it is seen whether a program works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Not at all, whatever the image below says.
    None,
    /// By a program.
    Cmd(Command),
}
