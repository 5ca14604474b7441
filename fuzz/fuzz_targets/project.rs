//! A project's `agentkernel.toml`, which is the project's to write: no panic, and every mistake has a place in it.
#![no_main]

// The rooms of the binary that read it, without the programs that the binary carries.
#[path = "../../crates/agentkernel/src/config/mod.rs"]
#[allow(dead_code, unused_imports)]
mod config;
#[path = "../../crates/agentkernel/src/credentials/mod.rs"]
#[allow(dead_code, unused_imports)]
mod credentials;
#[path = "../../crates/agentkernel/src/engine/endpoint.rs"]
#[allow(dead_code)]
mod endpoint;
#[path = "../../crates/agentkernel/src/spec.rs"]
#[allow(dead_code)]
mod spec;
#[path = "../../crates/agentkernel/src/walk.rs"]
#[allow(dead_code)]
mod walk;

/// Of the room of engines, where one is.
mod engine {
    pub use crate::endpoint::Endpoint;
}

use libfuzzer_sys::fuzz_target;
use spec::*;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match config::ProjectFile::parse("agentkernel.toml".into(), text.to_owned()) {
        Ok(file) => assert_eq!(file.digest().len(), 64),
        Err(config::ConfigError::File { line, column, cause, hint, .. }) => {
            let lines: Vec<&str> = text.split('\n').collect();
            assert!((1..=lines.len()).contains(&line), "line {line} of {}", lines.len());
            assert!((1..=lines[line - 1].chars().count() + 1).contains(&column), "column {column}");
            // One line each, whatever the file puts into them.
            assert!(!cause.is_empty() && !cause.contains(char::is_control), "{cause:?}");
            assert!(!hint.contains(char::is_control), "{hint:?}");
        }
        Err(other) => panic!("{other}"),
    }
});
