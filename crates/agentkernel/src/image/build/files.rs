//! Hides how `COPY` and `ADD` become a layer: which files are meant, and where each goes.

use super::{
    Builder, Event, Executor,
    added::Unpacked,
    copy::{Changes, CopyFailure, Origin, Recorder, Said, Tree, shown},
    error::{BuildError, at},
    layer::IDS,
    stage::{Deciding, State, work},
    users::Users,
};
use crate::image::{ImageError, view::join};
use dockerfile::{Copy, DockerfileError, Kind, Source, Step, Word, clean};
use std::rc::Rc;

/// What is copied.
enum Piece {
    /// What stands in the Dockerfile, by its name.
    Inline(String, String),
    /// A file, or what is in a directory.
    Path(Vec<u8>),
    /// What was in an archive.
    Archive(Unpacked),
}

/// What is copied, and where to.
struct Files<'a> {
    origin: Origin<'a>,
    pieces: Vec<Piece>,
    to: Vec<u8>,
    /// A file goes into it.
    is_dir: bool,
    changes: Changes,
}

impl Files<'_> {
    /// Looks at all of it, and puts it into a tree if there is one.
    fn place(&self, mut tree: Option<&mut Tree<'_>>, recorder: &mut Recorder) -> Result<(), CopyFailure> {
        let named = |name: &[u8]| if self.is_dir { join(&self.to, name) } else { self.to.clone() };
        for piece in &self.pieces {
            match piece {
                Piece::Inline(name, text) => {
                    let Changes { owner, mode } = self.changes;
                    let said = Said { mode: mode.unwrap_or(0o644), owner: owner.unwrap_or((0, 0)) };
                    let path = named(name.as_bytes());
                    recorder.file(&path, said, text.as_bytes());
                    if let Some(tree) = tree.as_deref_mut() {
                        tree.put(&path, text.as_bytes(), said)?;
                    }
                }
                Piece::Archive(unpacked) => {
                    let origin = Origin::image(&unpacked.view);
                    // Owner and mode are not about what it brings: those it has itself, as engines have it.
                    origin.transfer(b"", &self.to, tree.as_deref_mut(), Changes::default(), recorder)?;
                }
                Piece::Path(path) => {
                    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
                    let to = if self.origin.is_dir(path)? { self.to.clone() } else { named(name) };
                    self.origin.transfer(path, &to, tree.as_deref_mut(), self.changes, recorder)?;
                }
            }
        }
        Ok(())
    }
}

impl<E: Executor> Builder<'_, E> {
    /// With `add`, archives of the context are unpacked.
    pub(super) fn copy(
        &mut self,
        index: usize,
        state: &mut State,
        step: &Step,
        copy: &Copy,
        add: bool,
    ) -> Result<(), BuildError<E::Error>> {
        let line = step.line;
        let wrong = |cause: String| at(line)(CopyFailure::new(cause));
        let expand = |word: &Word| word.expand(&|name: &str| state.variable(name)).map_err(wrong);
        let below = self.images.view(&state.below())?;
        let owner = match copy.chown.as_ref().map(expand).transpose()? {
            Some(text) => {
                let users = Users::of(&below).map_err(|errno| self.images.failed("read", "etc/passwd", errno))?;
                let wrong = |cause: String| wrong(format!("--chown={text}: {cause}"));
                let owner = users.owner(&text).map_err(wrong)?;
                // A layer of root's has ids of one range; of another's, none at all.
                let is_kept = rustix::process::geteuid().is_root();
                if let Some(id) = [owner.0, owner.1].into_iter().find(|id| is_kept && *id >= IDS) {
                    return Err(wrong(format!("{id} is more than {}, the last that an image has here", IDS - 1)).into());
                }
                Some(owner)
            }
            None => None,
        };
        let mode = copy.chmod.as_ref().map(expand).transpose()?.map(|text| mode(&text));
        // Engines' own builders take no --chmod at all.
        let mode = mode
            .transpose()
            .map_err(|cause| DockerfileError { kind: Kind::BuildKit, ..DockerfileError::unsupported(line, cause) })?;

        let written = expand(&copy.to)?;
        let target = clean(&state.absolute(&written));
        let resolved = below.resolve(target.as_bytes(), true);
        let (to, found) = resolved.map_err(|errno| wrong(format!("/{target}: {errno}")))?;
        let says_dir = ["", "."].contains(&written.rsplit('/').next().unwrap_or_default());
        let is_dir = says_dir || found.is_some_and(|found| found.is_dir());

        let (context, own) = (Rc::clone(&self.context), self.view_from(index, line, copy.from.as_ref())?);
        let origin = self.images.origin(own.as_ref(), &context, self.request.ignore);
        let (mut pieces, mut patterns) = (Vec::new(), Vec::new());
        for source in &copy.sources {
            match source {
                Source::Inline(inline) if inline.expand => {
                    let text = inline.content.expand_document(&|name: &str| state.variable(name)).map_err(wrong)?;
                    pieces.push(Piece::Inline(inline.name.clone(), text));
                }
                Source::Inline(inline) => {
                    pieces.push(Piece::Inline(inline.name.clone(), inline.content.raw().to_owned()));
                }
                Source::Path(word) => {
                    let pattern = expand(word)?;
                    for path in origin.find(&pattern).map_err(at(line))? {
                        let archive = if add { self.unpack(&origin, &path, line)? } else { None };
                        pieces.push(archive.map_or(Piece::Path(path), Piece::Archive));
                    }
                    patterns.push(pattern);
                }
            }
        }
        // As engines have it, a pattern beside others may fit nothing: a lock file of one package manager or another.
        if pieces.is_empty() {
            return Err(wrong(format!("Nothing fits {}", shown(patterns.join(" ").as_bytes()))).into());
        }
        if pieces.len() > 1 && !is_dir {
            let cause = format!("{} sources can't all be /{target}", pieces.len());
            return Err(DockerfileError::mistake(line, cause).hint("End a directory with '/'").into());
        }
        let files = Files { origin, pieces, to, is_dir, changes: Changes { owner, mode } };
        let mut recorder = Recorder::new();
        files.place(None, &mut recorder).map_err(at(line))?;
        let left_out = recorder.left_out.to_string();
        let seen = recorder.finish();
        let key = self.key(state, Deciding::Copy { files: seen.clone(), owner });
        let known = self.known(&key)?;
        self.begin_step(&step.text, work(&known));
        if let Some(built) = known {
            state.layers.push(built);
            return Ok(());
        }
        self.tell_left_out(&left_out);
        if owner.is_some_and(|owner| owner != (0, 0)) && !rustix::process::geteuid().is_root() && !self.told_owner {
            self.told_owner = true;
            let words = "--chown has no effect: whoever is not root builds images of which all files are root's";
            self.executor.tell(Event::Notice(words.to_owned()));
        }
        let built = self.make(line, &below, owner.unwrap_or((0, 0)), |tree| {
            let mut recorder = Recorder::new();
            files.place(Some(tree), &mut recorder)?;
            // What the step is known by must be what it has made.
            match recorder.finish() == seen {
                true => Ok(()),
                false => Err(CopyFailure::new("Files were changed while they were copied")),
            }
        })?;
        self.remember(&key, state, built)
    }

    /// What is in an archive; `None` if it is none.
    fn unpack(
        &mut self,
        origin: &Origin<'_>,
        path: &[u8],
        line: usize,
    ) -> Result<Option<Unpacked>, BuildError<E::Error>> {
        let Some(file) = origin.open_file(path).map_err(at(line))? else { return Ok(None) };
        let unpacked = self.images.unpack_added(&file).map_err(|error| match error {
            ImageError::Refused(failure) => DockerfileError {
                line,
                cause: format!("ADD of {}: {}", shown(path), failure.cause),
                hint: failure.hint,
                kind: Kind::Unsupported,
            }
            .into(),
            other => BuildError::Image(other),
        })?;
        self.scratch.extend(unpacked.as_ref().map(|unpacked| unpacked.name.clone()));
        Ok(unpacked)
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("--chmod={} is not supported: it is no number of octal digits", text.escape_debug()))
}
