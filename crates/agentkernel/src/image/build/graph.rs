//! Hides which stages lead to the one that is wanted, and what the variables of `FROM` stand for.

use dockerfile::{Copy, Dockerfile, DockerfileError, Instruction, Mount, Stage, Word};
use oci::{Platform, Reference};
use std::collections::{BTreeMap, BTreeSet};

/// Where something begins, or is copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Nothing.
    Scratch,
    /// A stage before it, by its number.
    Stage(usize),
    /// An image.
    Image(Reference),
}

/// What is to be built of a Dockerfile.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub dockerfile: &'a Dockerfile,
    /// The variables of `FROM`, and defaults of those of stages.
    pub globals: BTreeMap<String, String>,
    /// The stages that are needed, in their order; the last one is wanted.
    pub needed: BTreeSet<usize>,
}

impl<'a> Graph<'a> {
    pub fn new(
        dockerfile: &'a Dockerfile,
        target: Option<&str>,
        arguments: &BTreeMap<String, String>,
        platform: &Platform,
    ) -> Result<Self, DockerfileError> {
        let mut globals = platforms(platform);
        for (name, default) in &dockerfile.arguments {
            let value = match (arguments.get(name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(word)) => {
                    let expanded = word.expand(&|name: &str| globals.get(name).cloned());
                    Some(expanded.map_err(|cause| DockerfileError::mistake(1, format!("ARG {name}: {cause}")))?)
                }
                (None, None) => None,
            };
            globals.extend(value.map(|value| (name.clone(), value)));
        }
        let mut graph = Self { dockerfile, globals, needed: BTreeSet::new() };
        let last = dockerfile.stages.len() - 1;
        let wanted = match target {
            None => last,
            Some(text) => graph.stage(text, dockerfile.stages.len()).ok_or_else(|| {
                let names: Vec<&str> = dockerfile.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
                let line = dockerfile.stages.last().map_or(1, |stage| stage.line);
                DockerfileError::mistake(line, format!("No stage is called '{}'", text.escape_debug())).hint(
                    match &names[..] {
                        [] => "Its stages have no names; they have numbers from 0 on".to_owned(),
                        names => format!("There are {}", names.join(", ")),
                    },
                )
            })?,
        };
        let mut left = vec![wanted];
        while let Some(index) = left.pop() {
            if graph.needed.insert(index) {
                left.extend(graph.uses(index)?);
            }
        }
        Ok(graph)
    }

    /// A stage by its name or number, among the first ones.
    fn stage(&self, text: &str, before: usize) -> Option<usize> {
        let name = text.to_ascii_lowercase();
        let stages = self.dockerfile.stages.get(..before)?;
        let named = stages.iter().rposition(|stage| stage.name.as_deref() == Some(&name));
        named.or_else(|| text.parse().ok().filter(|index| *index < before))
    }

    /// What `FROM` of a stage means.
    pub fn base(&self, index: usize) -> Result<From, DockerfileError> {
        let stage = self.at(index)?;
        let text = self.expand(stage.line, &stage.image)?;
        if text == "scratch" {
            return Ok(From::Scratch);
        }
        // By name alone: an image may be called 1.
        let name = text.to_ascii_lowercase();
        let before = self.dockerfile.stages.iter().take(index);
        match before.clone().rev().position(|stage| stage.name.as_deref() == Some(&name)) {
            Some(back) => Ok(From::Stage(index - 1 - back)),
            None => image(stage.line, &text),
        }
    }

    /// What `--from` in a stage means.
    pub fn from(&self, index: usize, line: usize, word: &Word) -> Result<From, DockerfileError> {
        let text = self.expand(line, word)?;
        let itself = self.at(index)?.name.as_deref() == Some(&*text.to_ascii_lowercase());
        match (self.stage(&text, index), text.parse::<usize>()) {
            (Some(stage), _) => Ok(From::Stage(stage)),
            (None, Ok(number)) if number != index => {
                Err(DockerfileError::mistake(line, format!("There is no stage {number} before this one")))
            }
            (None, number) if itself || number.is_ok() => {
                let cause = format!("'{}' is this stage itself", text.escape_debug());
                Err(DockerfileError::mistake(line, cause).hint("Name one before it, or an image"))
            }
            (None, _) => image(line, &text),
        }
    }

    pub fn at(&self, index: usize) -> Result<&'a Stage, DockerfileError> {
        self.dockerfile.stages.get(index).ok_or_else(|| DockerfileError::mistake(1, "There is no such stage"))
    }

    /// A word of `FROM`.
    pub fn expand(&self, line: usize, word: &Word) -> Result<String, DockerfileError> {
        let expanded = word.expand(&|name: &str| self.globals.get(name).cloned());
        expanded.map_err(|cause| DockerfileError::mistake(line, cause))
    }

    /// The stages that a stage uses.
    fn uses(&self, index: usize) -> Result<Vec<usize>, DockerfileError> {
        let mut all = vec![self.base(index)?];
        for step in &self.at(index)?.steps {
            let words: Vec<&Word> = match &step.instruction {
                Instruction::Copy(Copy { from, .. }) => from.iter().collect(),
                Instruction::Run(run) => {
                    let from = run.mounts.iter().map(|mount| match mount {
                        Mount::Bind { from, .. } => from.as_ref(),
                        _ => None,
                    });
                    from.flatten().collect()
                }
                _ => Vec::new(),
            };
            for word in words {
                all.push(self.from(index, step.line, word)?);
            }
        }
        Ok(all.into_iter().filter_map(|from| if let From::Stage(stage) = from { Some(stage) } else { None }).collect())
    }
}

fn image(line: usize, text: &str) -> Result<From, DockerfileError> {
    let refused = |error: oci::ReferenceError| {
        let cause = format!("'{}' is neither a stage before this nor an image: {error}", text.escape_debug());
        DockerfileError::mistake(line, cause)
    };
    text.parse().map(From::Image).map_err(refused)
}

/// The variables that tell of platforms. What is built for is what is built on.
fn platforms(platform: &Platform) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for of in ["TARGET", "BUILD"] {
        all.insert(format!("{of}PLATFORM"), platform.to_string());
        all.insert(format!("{of}OS"), platform.os.clone());
        all.insert(format!("{of}ARCH"), platform.architecture.clone());
        all.insert(format!("{of}VARIANT"), platform.variant.clone());
    }
    all
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
