//! `[image]`: how a project's image is made, and what it is called.

use super::{
    ConfigError, ImageArg, Overrides, Project,
    forms::{self, FormError, wrong},
    parse::Located,
};
use oci::{Digest, Reference};
use std::path::{Path, PathBuf};

/// What `[image]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RecipeSettings {
    pub(super) from: Option<Located<Reference>>,
    pub(super) dockerfile: Option<Located<PathBuf>>,
    pub(super) packages: Vec<Located<String>>,
    pub(super) setup: Vec<Located<String>>,
    pub(super) cache: Vec<Located<PathBuf>>,
}

impl RecipeSettings {
    /// The first thing that it says.
    fn first(&self) -> Option<Located<()>> {
        let places = [
            self.from.as_ref().map(|located| located.with(())),
            self.dockerfile.as_ref().map(|located| located.with(())),
            self.packages.first().map(|located| located.with(())),
            self.setup.first().map(|located| located.with(())),
            self.cache.first().map(|located| located.with(())),
        ];
        places.into_iter().flatten().min_by_key(|located| (located.line, located.column))
    }
}

/// How an image is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// What it is called in the store.
    pub name: Reference,
    /// What it begins with.
    pub base: Base,
    /// What its own package manager installs.
    pub packages: Vec<String>,
    /// The line that says so; 0: none does.
    pub packages_line: usize,
    /// Commands after that, for the shell, with their lines.
    pub setup: Vec<(usize, String)>,
    /// Directories that the next build has again.
    pub cache: Vec<PathBuf>,
}

/// What an image begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// An image.
    Image(Reference),
    /// What a Dockerfile makes, by its absolute path.
    Dockerfile(PathBuf),
}

/// The recipe of a project's image, if nothing else is asked for.
///
/// # Errors
/// If it says too much, or too little.
pub fn recipe(overrides: &Overrides, project: &Project) -> Result<Option<Recipe>, ConfigError> {
    let Some(file) = project.file.as_ref().filter(|_| overrides.image.is_none()) else { return Ok(None) };
    let settings = &file.settings.recipe;
    let Some(first) = settings.first() else { return Ok(None) };
    let wrong = |cause: &str, hint: &str| Err(first.error(&file.path, cause, hint));
    if let Some(image) = file.settings.image.as_ref().filter(|image| image.value != ImageArg::Host) {
        let cause = "[image] says how the image is made, and `image` in [sandbox] names another";
        return Err(image.error(&file.path, cause, "Leave one of them out"));
    }
    let base = match (&settings.from, &settings.dockerfile) {
        (Some(from), None) => Base::Image(from.value.clone()),
        (None, Some(dockerfile)) => Base::Dockerfile(project.dir.join(&dockerfile.value)),
        (Some(_), Some(_)) => {
            return wrong("`from` and `dockerfile` both say what the image begins with", "Leave one out");
        }
        (None, None) if file.settings.whole => {
            return wrong(
                "Nothing is made of the host's own programs, or of a directory",
                "Begin with an image by name",
            );
        }
        (None, None) => return wrong("[image] doesn't say what the image begins with", "Write `from` or `dockerfile`"),
    };
    Ok(Some(Recipe {
        name: name(&project.dir)?,
        base,
        packages: settings.packages.iter().map(|located| located.value.clone()).collect(),
        packages_line: settings.packages.first().map_or(0, |located| located.line),
        setup: settings.setup.iter().map(|located| (located.line, located.value.clone())).collect(),
        cache: settings.cache.iter().map(|located| located.value.clone()).collect(),
    }))
}

/// What a project's image is called: by its directory, and nobody else's.
fn name(dir: &Path) -> Result<Reference, ConfigError> {
    let digest = Digest::of(dir.as_os_str().as_encoded_bytes());
    let own = dir.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let own: String = own.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let text = format!("localhost/project/x{own}-{}", digest.hex().get(..12).unwrap_or_default());
    text.parse().map_err(|error| ConfigError::value(format!("{text}: {error}"), ""))
}

/// The name of a package as every package manager has it: none that one of them would take for something else.
pub(super) fn package(text: &str) -> Result<(), FormError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "+._:=~@/-".contains(c);
    match text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(good) {
        true => Ok(()),
        false => wrong(text, "not the name of a package"),
    }
}

/// A directory in the image.
pub(super) fn cache(text: &str) -> Result<PathBuf, FormError> {
    let path = forms::absolute(Path::new(text))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+@-".contains(c);
    let kernel = ["/dev", "/proc", "/sys"].iter().any(|kernel| path.starts_with(kernel));
    match path.components().count() > 1 && text.chars().all(plain) && !kernel {
        true => Ok(path),
        false => wrong(text, "not a directory that can be kept"),
    }
}

#[cfg(test)]
#[path = "recipe_tests.rs"]
mod tests;
