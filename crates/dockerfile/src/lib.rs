//! Dockerfiles: from text to stages of instructions, by the rules of
//! <https://docs.docker.com/reference/dockerfile/>; and the patterns of `COPY` and `.dockerignore`.
//!
//! Nothing here reads a file, asks for an image or runs anything. What the language has and this does not is an error that
//! says so; nothing is passed over in silence.
#![forbid(unsafe_code)]

mod error;
mod flags;
mod ignore;
mod instruction;
mod lines;
mod parse;
mod pattern;
mod word;

pub use error::{DockerfileError, Kind};
pub use ignore::{Ignore, clean};
pub use instruction::{
    Check, Command, Copy, Dockerfile, Healthcheck, Inline, Instruction, Mount, Run, Sharing, Source, Stage, Step,
};
pub use parse::{parse, parse_trigger};
pub use pattern::Pattern;
pub use word::{Variables, Word};
