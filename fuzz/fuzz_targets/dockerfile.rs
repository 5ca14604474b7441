//! Dockerfiles and `.dockerignore`s as anybody writes them: no panic, one line of complaint with a place in the text, and
//! whatever is read has words that are read or refused.
#![no_main]

use dockerfile::{Command, Ignore, Instruction, Source, Word};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let variables = |name: &str| (name.len() > 1).then(|| name.repeat(2));
    let read = |word: &Word| {
        let _ = word.expand(&variables);
    };
    match dockerfile::parse(text) {
        Ok(made) => {
            assert!(!made.stages.is_empty());
            for step in made.stages.iter().flat_map(|stage| &stage.steps) {
                assert!(!step.text.contains('\n'));
                match &step.instruction {
                    Instruction::Env(pairs) | Instruction::Label(pairs) => {
                        pairs.iter().for_each(|(name, value)| [name, value].into_iter().for_each(read));
                    }
                    Instruction::Copy(copy) | Instruction::Add(copy) => {
                        assert!(!copy.sources.is_empty());
                        for source in &copy.sources {
                            match source {
                                Source::Path(word) => read(word),
                                Source::Inline(inline) => drop(inline.content.expand_document(&variables)),
                            }
                        }
                    }
                    Instruction::Run(run) => {
                        assert!(!matches!(&run.command, Command::Exec(list) if list.is_empty()));
                    }
                    Instruction::Onbuild(text) => assert!(dockerfile::parse_trigger(text).is_ok()),
                    _ => {}
                }
            }
        }
        Err(error) => {
            assert!((1..=text.lines().count().max(1)).contains(&error.line));
            assert!(!error.cause.contains('\n') && !error.hint.contains('\n'));
        }
    }
    if let Ok(ignore) = Ignore::parse(text) {
        for path in text.lines() {
            let _ = ignore.leaves_out(path);
        }
    }
});
