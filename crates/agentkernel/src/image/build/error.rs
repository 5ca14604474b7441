//! Why an image was not built.

use super::{super::ImageError, copy::CopyFailure};
use dockerfile::DockerfileError;
use wire::Exit;

/// An image was not built; `E` is what can go wrong with whoever executes its steps.
#[derive(Debug)]
pub enum BuildError<E> {
    /// What the Dockerfile says can't be done.
    Dockerfile(DockerfileError),
    /// The store of images.
    Image(ImageError),
    /// A step could not be executed.
    Executor {
        /// Its line.
        line: usize,
        /// Why.
        error: E,
    },
    /// The command of a step failed.
    Exit {
        /// Its line.
        line: usize,
        /// How it ended.
        exit: Exit,
    },
}

impl<E> From<DockerfileError> for BuildError<E> {
    fn from(error: DockerfileError) -> Self {
        Self::Dockerfile(error)
    }
}

impl<E> From<ImageError> for BuildError<E> {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// A failure to copy, at a line.
pub(super) fn at(line: usize) -> impl Fn(CopyFailure) -> DockerfileError {
    move |CopyFailure { cause, hint }| DockerfileError::mistake(line, cause).hint(hint)
}
